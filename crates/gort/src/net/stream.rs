//! A TCP connection.
//!
//! A clone shares everything with its original: the descriptor, the turns, timeouts and deadlines.
//! `close` therefore closes it for all clones, as Go's does for all who hold the connection, while a
//! drop closes it only when the last clone goes.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort_core::clock::{self, NEVER};
use gort_core::netpoll::Direction;
use gort_core::os::socket;

use super::fd::{NetFd, zero_timeout};
use super::lookup;

/// A TCP connection; as [`std::net::TcpStream`], but waiting parks the goroutine.
///
/// Reading and writing work on `&TcpStream` too, from several goroutines at once. Each side has its
/// own line: readers take turns with readers, writers with writers, in the order of their calls. One
/// call of `write` sends its whole buffer before it returns, as a blocking socket does, so that the
/// bytes of two writers are never mixed.
///
/// The connection is closed when the last clone is dropped, or by [`close`](TcpStream::close).
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
/// let mut client = gort::net::TcpStream::connect(listener.local_addr()?)?;
/// let (mut server, _) = listener.accept()?;
/// client.write_all(b"ping")?;
/// let mut buf = [0; 4];
/// server.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"ping");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "TCPConn")]
pub struct TcpStream {
    fd: Arc<NetFd>,
}

impl TcpStream {
    /// Connects to `addr`; if that has several addresses, to the first that answers.
    ///
    /// Parks until the connection stands or has been refused. Names are looked up as by
    /// [`lookup_host`](super::lookup_host).
    ///
    /// # Errors
    ///
    /// That of the last address tried; an unknown host; `InvalidInput` if there is no address.
    #[doc(alias = "Dial")]
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        lookup::first_success(addr, |addr| TcpStream::connect_until(addr, NEVER))
    }

    /// Connects to `addr`, waiting for `timeout` at most.
    ///
    /// # Errors
    ///
    /// `TimedOut` when the time is up; `InvalidInput` for a timeout of zero; those of the system.
    #[doc(alias = "DialTimeout")]
    #[track_caller]
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        TcpStream::connect_until(addr, clock::deadline_after(timeout))
    }

    #[track_caller]
    fn connect_until(addr: &SocketAddr, deadline_ns: u64) -> io::Result<TcpStream> {
        let fd = socket::tcp(addr)?;
        match socket::connect(fd.as_fd(), addr) {
            Ok(()) => TcpStream::new(fd),
            Err(error) if socket::is_connecting(&error) => {
                let stream = TcpStream::new(fd)?;
                stream.fd.finish_connect(deadline_ns)?;
                Ok(stream)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes over a connected, non-blocking socket.
    pub(super) fn new(fd: OwnedFd) -> io::Result<TcpStream> {
        Ok(TcpStream {
            fd: Arc::new(NetFd::new(fd)?),
        })
    }

    /// Takes over a socket of std's, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made non-blocking or registered with the poller; it is closed then.
    pub fn from_std(stream: net::TcpStream) -> io::Result<TcpStream> {
        TcpStream::try_from(OwnedFd::from(stream))
    }

    /// Gives the socket back as std's, in blocking mode. If there are clones, it is a duplicate, and they
    /// keep working.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); no descriptor for a duplicate.
    pub fn into_std(self) -> io::Result<net::TcpStream> {
        let fd = OwnedFd::try_from(self)?;
        // Clones do not mind: their calls ask the kernel not to wait, whatever the mode.
        socket::set_nonblocking(fd.as_fd(), false)?;
        Ok(net::TcpStream::from(fd))
    }

    /// The address at the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close) or a reset.
    #[doc(alias = "RemoteAddr")]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        socket::peer_addr(self.fd.reference()?.as_fd())
    }

    /// The address at this end.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_addr(self.fd.reference()?.as_fd())
    }

    /// Closes one half of the connection, or both. Whoever waits in that half is woken: a reader by the
    /// end of the stream, a writer by an error.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection has ended already, or after [`close`](TcpStream::close).
    #[doc(alias = "CloseRead")]
    #[doc(alias = "CloseWrite")]
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket::shutdown(self.fd.reference()?.as_fd(), how)
    }

    /// Closes the connection, for all clones. Goroutines that wait in a call are woken, and get, as
    /// all later calls do, an error of the kind `NotConnected`: "use of closed network connection".
    /// Returns when the last of them has let go, which does not depend on the peer.
    ///
    /// Closing again is no error and does nothing.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let client = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// let reader = client.try_clone()?;
    /// let reader = gort::go(move || (&reader).read(&mut [0]));
    /// client.close()?;
    /// let error = reader.join().unwrap().unwrap_err();
    /// assert_eq!(error.to_string(), "use of closed network connection");
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn close(&self) -> io::Result<()> {
        self.fd.close();
        Ok(())
    }

    /// Another handle to the same connection, which shares its timeouts and deadlines.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let _reference = self.fd.reference()?;
        Ok(TcpStream {
            fd: Arc::clone(&self.fd),
        })
    }

    /// Sets the deadline for reading and writing; `None` clears it. It holds for all calls to come and
    /// for those that wait now; past it they fail with `TimedOut`, even where they could go on. A
    /// deadline in the past takes effect at once.
    ///
    /// Other than a timeout, a deadline is not renewed by each call.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    #[doc(alias = "SetDeadline")]
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.fd.set_deadline(None, deadline)
    }

    /// Sets the deadline for reading; see [`set_deadline`](TcpStream::set_deadline).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    #[doc(alias = "SetReadDeadline")]
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.fd.set_deadline(Some(Direction::Read), deadline)
    }

    /// Sets the deadline for writing; see [`set_deadline`](TcpStream::set_deadline).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    #[doc(alias = "SetWriteDeadline")]
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.fd.set_deadline(Some(Direction::Write), deadline)
    }

    /// Sets how long each read may take, including the wait for its turn; past it the read fails with
    /// `TimedOut` (where std says `WouldBlock`). It begins with the next call.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero; `NotConnected` after [`close`](TcpStream::close).
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.fd.set_timeout(Direction::Read, timeout)
    }

    /// Sets how long each write may take; see [`set_read_timeout`](TcpStream::set_read_timeout). A
    /// write that has sent a part when its time is up returns how much.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero; `NotConnected` after [`close`](TcpStream::close).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.fd.set_timeout(Direction::Write, timeout)
    }

    /// The timeout of each read.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.fd.timeout(Direction::Read)
    }

    /// The timeout of each write.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.fd.timeout(Direction::Write)
    }

    /// Receives like `read`, but leaves the bytes for the next read.
    ///
    /// # Errors
    ///
    /// As for `read`.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.fd.read(buf.len(), |fd| socket::peek(fd, buf))
    }

    /// Sets `TCP_NODELAY`: small writes are sent at once instead of being gathered. Off at first, as
    /// in std (Go switches it on).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    #[doc(alias = "SetNoDelay")]
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        socket::set_nodelay(self.fd.reference()?.as_fd(), nodelay)
    }

    /// Whether `TCP_NODELAY` is set.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        socket::nodelay(self.fd.reference()?.as_fd())
    }

    /// Sets the time-to-live of the packets sent.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        socket::set_ttl(self.fd.reference()?.as_fd(), ttl)
    }

    /// The time-to-live of the packets sent.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        socket::ttl(self.fd.reference()?.as_fd())
    }

    /// Takes the pending error of the socket and clears it.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        socket::take_error(self.fd.reference()?.as_fd())
    }

    /// With `true`, calls on this connection that would wait fail with `WouldBlock` instead, for
    /// all clones.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close).
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.fd.set_nonblocking(nonblocking)
    }
}

impl Read for &TcpStream {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fd.read(buf.len(), |fd| socket::recv(fd, buf))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.fd.read(len, |fd| socket::recv_vectored(fd, bufs))
    }
}

impl Write for &TcpStream {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.fd.write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.fd.write_vectored(bufs)
    }

    /// Does nothing: what `write` has taken is the kernel's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    /// Does nothing: what `write` has taken is the kernel's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("TcpStream");
        if let Ok(addr) = self.local_addr() {
            s.field("addr", &addr);
        }
        if let Ok(peer) = self.peer_addr() {
            s.field("peer", &peer);
        }
        s.field("fd", &self.as_raw_fd()).finish()
    }
}

impl AsFd for TcpStream {
    /// The descriptor, which stays open while it is borrowed: if the connection is closed meanwhile,
    /// it refers to a socket that is connected to nothing.
    ///
    /// # Panics
    ///
    /// After [`close`](TcpStream::close), unless it has been borrowed before.
    #[track_caller]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.expose().expect("the descriptor of a stream")
    }
}

impl AsRawFd for TcpStream {
    /// The number of the descriptor; -1 after [`close`](TcpStream::close).
    fn as_raw_fd(&self) -> RawFd {
        self.fd.raw().unwrap_or(-1)
    }
}

impl IntoRawFd for TcpStream {
    /// Gives the descriptor away, as `OwnedFd::try_from` does.
    ///
    /// # Panics
    ///
    /// After [`close`](TcpStream::close); or if there are clones and no descriptor for a duplicate.
    #[track_caller]
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::try_from(self)
            .expect("the descriptor of a stream")
            .into_raw_fd()
    }
}

/// Takes over a connected socket, and makes it non-blocking.
impl TryFrom<OwnedFd> for TcpStream {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<TcpStream> {
        Ok(TcpStream {
            fd: Arc::new(NetFd::adopt(fd)?),
        })
    }
}

/// Gives the descriptor away, still non-blocking; a duplicate if there are clones.
impl TryFrom<TcpStream> for OwnedFd {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<OwnedFd> {
        match Arc::try_unwrap(stream.fd) {
            Ok(fd) => fd.into_owned(),
            Err(fd) => fd.reference()?.as_fd().try_clone_to_owned(),
        }
    }
}

impl TryFrom<net::TcpStream> for TcpStream {
    type Error = io::Error;

    fn try_from(stream: net::TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream)
    }
}

impl TryFrom<TcpStream> for net::TcpStream {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<net::TcpStream> {
        stream.into_std()
    }
}

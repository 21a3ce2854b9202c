//! A TCP socket that accepts connections.
//!
//! `accept` reports every error but one, as Go's does: a connection that its peer has given up while it
//! stood in the queue is no error of the listener, so it is skipped. A server that wants to live
//! through a shortage of descriptors uses `incoming` or `accept_retrying`, which wait and go on.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort_core::netpoll::Direction;
use gort_core::os::socket;

use super::fd::NetFd;
use super::{TcpStream, lookup};

/// The first and the longest pause of `accept_retrying`: those of Go's HTTP server.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A TCP socket that accepts connections; as [`std::net::TcpListener`], but waiting parks the
/// goroutine.
///
/// Several goroutines may accept at once; they get the connections in the order of their calls.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let client = gort::go(move || -> std::io::Result<String> {
///     let mut greeting = String::new();
///     gort::net::TcpStream::connect(addr)?.read_to_string(&mut greeting)?;
///     Ok(greeting)
/// });
/// let (mut stream, _) = listener.accept()?;
/// stream.write_all(b"hello")?;
/// drop(stream);
/// assert_eq!(client.join().unwrap()?, "hello");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "TCPListener")]
pub struct TcpListener {
    fd: Arc<NetFd>,
}

impl TcpListener {
    /// Listens on `addr`; if that has several addresses, on the first that can be had. Port 0 lets the
    /// kernel choose.
    ///
    /// The address may be taken while old connections of it are in TIME_WAIT (`SO_REUSEADDR`), and
    /// the queue of connections is as long as the system allows.
    ///
    /// # Errors
    ///
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`; an unknown host.
    #[doc(alias = "Listen")]
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        TcpListener::builder(addr).bind()
    }

    /// A listener with other settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::TcpListener;
    ///
    /// let one = TcpListener::builder("127.0.0.1:0").backlog(16).reuse_port(true).bind()?;
    /// let two = TcpListener::builder(one.local_addr()?).reuse_port(true).bind()?;
    /// assert_eq!(one.local_addr()?, two.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "ListenConfig")]
    pub fn builder<A: ToSocketAddrs>(addr: A) -> TcpListenerBuilder<A> {
        TcpListenerBuilder {
            addr,
            backlog: u32::MAX,
            reuse_port: false,
        }
    }

    /// Takes over a socket of std's, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made non-blocking or registered with the poller; it is closed then.
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::try_from(OwnedFd::from(listener))
    }

    /// Gives the socket back as std's, in blocking mode. If there are clones, it is a duplicate,
    /// and stays non-blocking for their sake.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close); no descriptor for a duplicate.
    pub fn into_std(self) -> io::Result<net::TcpListener> {
        let is_shared = Arc::strong_count(&self.fd) > 1;
        let fd = OwnedFd::try_from(self)?;
        if !is_shared {
            socket::set_nonblocking(fd.as_fd(), false)?;
        }
        Ok(net::TcpListener::from(fd))
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close).
    #[doc(alias = "Addr")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_addr(self.fd.reference()?.as_fd())
    }

    /// Waits for a connection and returns it with its peer's address. Parks until there is one, or
    /// until the deadline or a close.
    ///
    /// # Errors
    ///
    /// `TimedOut` past the deadline; `NotConnected` ("use of closed network connection") after
    /// [`close`](TcpListener::close); a lack of descriptors or memory. After any but a close it may
    /// be called again; see [`accept_retrying`](TcpListener::accept_retrying).
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, peer) = self.fd.retry(Direction::Read, |fd| {
            loop {
                match socket::accept(fd) {
                    Err(error) if socket::is_aborted(&error) => {}
                    result => return result,
                }
            }
        })?;
        Ok((TcpStream::new(fd)?, peer))
    }

    /// Accepts as [`accept`](TcpListener::accept) does, but lives through a lack of descriptors or
    /// memory: it pauses, for 5 ms at first and twice as long each time, up to a second, and tries again.
    /// Meanwhile the connection waits in the kernel's queue.
    ///
    /// # Errors
    ///
    /// Those of [`accept`](TcpListener::accept) that no waiting can help against.
    #[track_caller]
    pub fn accept_retrying(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.accept() {
                Err(error) if socket::is_exhausted(&error) => self.fd.pause(pause)?,
                result => return result,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The connections as they come, by [`accept_retrying`](TcpListener::accept_retrying). Ends when
    /// the listener is closed.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Stops listening, for all clones. Goroutines that wait in `accept` are woken, and get, as all later
    /// calls do, an error of the kind `NotConnected`: "use of closed network connection". When it
    /// returns, the address is free.
    ///
    /// Closing again is no error and does nothing.
    ///
    /// # Errors
    ///
    /// None today.
    #[track_caller]
    pub fn close(&self) -> io::Result<()> {
        self.fd.close();
        Ok(())
    }

    /// Another handle to the same listener, which shares its deadline.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close).
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        let _reference = self.fd.reference()?;
        Ok(TcpListener {
            fd: Arc::clone(&self.fd),
        })
    }

    /// Sets the deadline for accepting; `None` clears it. It holds for all calls to come and for
    /// those that wait now; past it they fail with `TimedOut`, even if a connection is there. A
    /// deadline in the past takes effect at once.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close).
    #[doc(alias = "SetDeadline")]
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.fd.set_deadline(None, deadline)
    }

    /// Sets the time-to-live of the packets sent.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close); those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        socket::set_ttl(self.fd.reference()?.as_fd(), ttl)
    }

    /// The time-to-live of the packets sent.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close); those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        socket::ttl(self.fd.reference()?.as_fd())
    }

    /// Takes the pending error of the socket and clears it.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close); those of the system.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        socket::take_error(self.fd.reference()?.as_fd())
    }

    /// With `true`, `accept` fails with `WouldBlock` when there is no connection, for all clones.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close).
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.fd.set_nonblocking(nonblocking)
    }
}

/// The settings of a listener to be; from [`TcpListener::builder`].
#[derive(Clone, Debug)]
#[must_use = "call `bind` to listen"]
pub struct TcpListenerBuilder<A> {
    addr: A,
    backlog: u32,
    reuse_port: bool,
}

impl<A: ToSocketAddrs> TcpListenerBuilder<A> {
    /// How many connections the kernel queues until they are accepted. The system's limit
    /// (`net.core.somaxconn`), which is also the default, is not exceeded.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Lets several listeners share the address (`SO_REUSEPORT`), if each of them says so; the kernel
    /// spreads the connections over them.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::bind`].
    pub fn bind(self) -> io::Result<TcpListener> {
        let backlog = i32::try_from(self.backlog).unwrap_or(i32::MAX);
        lookup::first_success(self.addr, |addr| {
            let fd = socket::tcp(addr)?;
            socket::set_reuse_addr(fd.as_fd(), true)?;
            if self.reuse_port {
                socket::set_reuse_port(fd.as_fd(), true)?;
            }
            socket::bind(fd.as_fd(), addr)?;
            socket::listen(fd.as_fd(), backlog)?;
            Ok(TcpListener {
                fd: Arc::new(NetFd::new(fd)?),
            })
        })
    }
}

/// The connections of a listener; from [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        match self.listener.accept_retrying() {
            Ok((stream, _)) => Some(Ok(stream)),
            Err(_) if self.listener.fd.is_closed() => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("TcpListener");
        if let Ok(addr) = self.local_addr() {
            s.field("addr", &addr);
        }
        s.field("fd", &self.as_raw_fd()).finish()
    }
}

impl AsFd for TcpListener {
    /// The descriptor, which stays open while it is borrowed: if the listener is closed meanwhile,
    /// it refers to a socket that is connected to nothing.
    ///
    /// # Panics
    ///
    /// After [`close`](TcpListener::close), unless it has been borrowed before.
    #[track_caller]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.expose().expect("the descriptor of a listener")
    }
}

impl AsRawFd for TcpListener {
    /// The number of the descriptor; -1 after [`close`](TcpListener::close).
    fn as_raw_fd(&self) -> RawFd {
        self.fd.raw().unwrap_or(-1)
    }
}

impl IntoRawFd for TcpListener {
    /// Gives the descriptor away, as `OwnedFd::try_from` does.
    ///
    /// # Panics
    ///
    /// After [`close`](TcpListener::close); or if there are clones and no descriptor for a duplicate.
    #[track_caller]
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::try_from(self)
            .expect("the descriptor of a listener")
            .into_raw_fd()
    }
}

/// Takes over a listening socket, and makes it non-blocking.
impl TryFrom<OwnedFd> for TcpListener {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<TcpListener> {
        Ok(TcpListener {
            fd: Arc::new(NetFd::adopt(fd)?),
        })
    }
}

/// Gives the descriptor away, still non-blocking; a duplicate if there are clones.
impl TryFrom<TcpListener> for OwnedFd {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<OwnedFd> {
        match Arc::try_unwrap(listener.fd) {
            Ok(fd) => fd.into_owned(),
            Err(fd) => fd.reference()?.as_fd().try_clone_to_owned(),
        }
    }
}

impl TryFrom<net::TcpListener> for TcpListener {
    type Error = io::Error;

    fn try_from(listener: net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }
}

impl TryFrom<TcpListener> for net::TcpListener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<net::TcpListener> {
        listener.into_std()
    }
}

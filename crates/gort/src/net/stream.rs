//! A TCP connection.
//!
//! A clone shares everything with its original: the descriptor, the turns, timeouts and deadlines.
//! `close` therefore closes it for all clones, as Go's does for all who hold the connection, while a
//! drop closes it only when the last clone goes.

use std::io;
use std::net::{self, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use gort_core::clock::{self, NEVER};
use gort_core::os::socket;

use super::lookup;
use crate::fd::{Fd, Kind, zero_timeout};

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
    fd: Arc<Fd>,
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
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::TcpStream;
    ///
    /// // Nobody listens on port 1.
    /// let error = TcpStream::connect("127.0.0.1:1").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
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
        let fd = socket::stream(addr)?;
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
            fd: Arc::new(Fd::new(fd, Kind::Socket)?),
        })
    }

    /// Makes the kernel probe the peer after `idle` of silence, and then each `idle` again, and end the
    /// connection when it does not answer some times in a row (`SO_KEEPALIVE`, `TCP_KEEPIDLE`,
    /// `TCP_KEEPINTVL`; the kernel counts in seconds, rounded up). `None`, as it is at first, stops that.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = gort::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_keepalive(Some(Duration::from_secs(15)))?;
    /// assert_eq!(stream.keepalive()?, Some(Duration::from_secs(15)));
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "SetKeepAlive")]
    #[doc(alias = "SetKeepAlivePeriod")]
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        socket::set_keepalive(self.fd.reference()?.as_fd(), idle)
    }

    /// After how much silence the peer is probed; `None` for never.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.keepalive()?, None);
    /// stream.set_keepalive(Some(Duration::from_millis(1500)))?;
    /// assert_eq!(stream.keepalive()?, Some(Duration::from_secs(2))); // rounded up
    /// # std::io::Result::Ok(())
    /// ```
    pub fn keepalive(&self) -> io::Result<Option<Duration>> {
        socket::keepalive(self.fd.reference()?.as_fd())
    }

    /// Sets what becomes of bytes that are not sent yet when the connection is closed (`SO_LINGER`). With
    /// `None`, as it is at first, the kernel goes on sending them. With zero they are thrown away and the
    /// peer sees a reset. With more, the close waits for them so long at most; it blocks its thread
    /// meanwhile, as the kernel offers nothing else.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// use std::time::Duration;
    ///
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut peer, _) = listener.accept()?;
    /// stream.set_linger(Some(Duration::ZERO))?;
    /// drop(stream); // with a reset, not with an end of the stream
    /// let error = peer.read(&mut [0]).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "SetLinger")]
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        socket::set_linger(self.fd.reference()?.as_fd(), linger)
    }

    /// The time set by [`set_linger`](TcpStream::set_linger).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpStream::close); those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.linger()?, None);
    /// stream.set_linger(Some(Duration::from_secs(3)))?;
    /// assert_eq!(stream.linger()?, Some(Duration::from_secs(3)));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        socket::linger(self.fd.reference()?.as_fd())
    }
}

asked_methods! { net::TcpStream => TcpStream {
    /// The address at the other end.
    #[doc(alias = "RemoteAddr")]
    fn peer_addr() -> SocketAddr, example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
assert_eq!(stream.peer_addr()?, listener.local_addr()?);
# std::io::Result::Ok(())
```"#;

    /// The address at this end.
    fn local_addr() -> SocketAddr, example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
let (_stream, peer) = listener.accept()?;
assert_eq!(stream.local_addr()?, peer);
# std::io::Result::Ok(())
```"#;

    /// Closes one half of the connection, or both. Whoever waits in that half is woken: a reader by the
    /// end of the stream, a writer by an error.
    #[doc(alias = "CloseRead")]
    #[doc(alias = "CloseWrite")]
    fn shutdown(how: Shutdown) -> (), example = r#"```
use std::io::{Read, Write};

use gort::net::{Shutdown, TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let mut client = TcpStream::connect(listener.local_addr()?)?;
gort::go(move || -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let question = std::io::read_to_string(&stream)?; // until the client has shut down its half
    stream.write_all(question.to_uppercase().as_bytes())
});
client.write_all(b"a question")?;
client.shutdown(Shutdown::Write)?;
let mut answer = String::new();
client.read_to_string(&mut answer)?;
assert_eq!(answer, "A QUESTION");
# std::io::Result::Ok(())
```"#;

    /// Sets `TCP_NODELAY`: small writes are sent at once instead of being gathered. Off at first, as
    /// in std (Go switches it on).
    #[doc(alias = "SetNoDelay")]
    fn set_nodelay(nodelay: bool) -> (), example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
assert!(!stream.nodelay()?);
stream.set_nodelay(true)?;
assert!(stream.nodelay()?);
# std::io::Result::Ok(())
```"#;

    /// Whether `TCP_NODELAY` is set.
    fn nodelay() -> bool, example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
assert!(!stream.nodelay()?); // as in std
# std::io::Result::Ok(())
```"#;

    /// Sets the time-to-live of the packets sent.
    fn set_ttl(ttl: u32) -> (), example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
stream.set_ttl(1)?; // Not beyond this network.
assert_eq!(stream.ttl()?, 1);
# std::io::Result::Ok(())
```"#;

    /// The time-to-live of the packets sent.
    fn ttl() -> u32, example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
assert_ne!(stream.ttl()?, 0); // The system has a default.
stream.set_ttl(100)?;
assert_eq!(stream.ttl()?, 100);
# std::io::Result::Ok(())
```"#;

    /// Takes the pending error of the socket and clears it.
    fn take_error() -> Option<io::Error>, example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let stream = TcpStream::connect(listener.local_addr()?)?;
assert!(stream.take_error()?.is_none());
# std::io::Result::Ok(())
```"#;
} }

close_method!(
    TcpStream,
    "Closes the connection, for all clones.",
    example = r#"```
use std::io::Read;

let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
let client = gort::net::TcpStream::connect(listener.local_addr()?)?;
let reader = client.try_clone()?;
let reader = gort::go(move || (&reader).read(&mut [0]));
client.close()?;
let error = reader.join().unwrap().unwrap_err();
assert_eq!(error.to_string(), "use of closed network connection");
# std::io::Result::Ok(())
```"#
);
deadline_methods!(TcpStream);
stream_methods!(TcpStream);
debug_fields!(TcpStream { addr, peer, fd });
descriptor_methods!(TcpStream { fd }, std = net::TcpStream, kind = Kind::Socket);

//! A TCP socket that accepts connections.
//!
//! `accept` reports every error but one, as Go's does: a connection that its peer has given up while it
//! stood in the queue is no error of the listener, so it is skipped. A server that wants to live
//! through a shortage of descriptors uses `incoming` or `accept_retrying`, which wait and go on.

use std::io;
use std::iter::FusedIterator;
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;

use gort_core::netpoll::Direction;
use gort_core::os::socket;

use super::{TcpStream, lookup};
use crate::fd::{Fd, Kind};

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
    fd: Arc<Fd>,
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
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// let error = TcpListener::bind(listener.local_addr()?).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    /// # std::io::Result::Ok(())
    /// ```
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
            only_v6: None,
        }
    }

    /// Waits for a connection and returns it with its peer's address. Parks until there is one, or
    /// until the deadline or a close.
    ///
    /// # Errors
    ///
    /// `TimedOut` past the deadline; `NotConnected` ("use of closed network connection") after
    /// [`close`](TcpListener::close); a lack of descriptors or memory. After any but a close it may
    /// be called again; see [`accept_retrying`](TcpListener::accept_retrying).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (_stream, peer) = listener.accept()?;
    /// assert_eq!(peer, client.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, peer) = self.fd.retry(Direction::Read, |fd| {
            self.fd.look(fd, Direction::Read)?;
            loop {
                match socket::accept(fd) {
                    Err(error) if socket::is_aborted(&error) => {}
                    result => return result,
                }
            }
        })?;
        Ok((TcpStream::new(fd)?, peer))
    }

    /// As [`incoming`](TcpListener::incoming), but the iterator owns the listener.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// // Serves for as long as the program runs.
    /// gort::go(move || {
    ///     for stream in listener.into_incoming() {
    ///         gort::go(move || stream?.write_all(b"hello"));
    ///     }
    /// });
    /// for _ in 0..2 {
    ///     assert_eq!(std::io::read_to_string(TcpStream::connect(address)?)?, "hello");
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// Whether an IPv6 socket takes no IPv4 connections.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](TcpListener::close); those of the system, as for an IPv4 socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::TcpListener;
    ///
    /// let listener = TcpListener::builder("[::1]:0").only_v6(true).bind()?;
    /// assert!(listener.only_v6()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn only_v6(&self) -> io::Result<bool> {
        socket::only_v6(self.fd.reference()?.as_fd())
    }

    /// Does not work on a socket that is bound, as this one is: std has it, and says so too. Use
    /// [`TcpListenerBuilder::only_v6`].
    ///
    /// # Errors
    ///
    /// Always: `InvalidInput`, those of the system, or `NotConnected` after
    /// [`close`](TcpListener::close).
    ///
    /// # Examples
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// use gort::net::TcpListener;
    ///
    /// let listener = TcpListener::bind("[::1]:0")?;
    /// assert!(listener.set_only_v6(true).is_err());
    /// // In time:
    /// let listener = TcpListener::builder("[::1]:0").only_v6(true).bind()?;
    /// assert!(listener.only_v6()?);
    /// # std::io::Result::Ok(())
    /// ```
    #[deprecated = "too late for a bound socket; use `TcpListener::builder(addr).only_v6(true)`"]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        socket::set_only_v6(self.fd.reference()?.as_fd(), only_v6)
    }
}

accepting_methods!(TcpListener => TcpStream);
asked_methods! { net::TcpListener => TcpListener {
    /// The address it listens on.
    #[doc(alias = "Addr")]
    fn local_addr() -> SocketAddr, example = r#"```
use gort::net::{TcpListener, TcpStream};

let listener = TcpListener::bind("127.0.0.1:0")?;
let address = listener.local_addr()?; // with the port that the kernel has chosen
assert_eq!(TcpStream::connect(address)?.peer_addr()?, address);
# std::io::Result::Ok(())
```"#;

    /// Sets the time-to-live of the packets sent.
    fn set_ttl(ttl: u32) -> (), example = r#"```
use gort::net::TcpListener;

let listener = TcpListener::bind("127.0.0.1:0")?;
listener.set_ttl(1)?; // Not beyond this network.
assert_eq!(listener.ttl()?, 1);
# std::io::Result::Ok(())
```"#;

    /// The time-to-live of the packets sent.
    fn ttl() -> u32, example = r#"```
use gort::net::TcpListener;

let listener = TcpListener::bind("127.0.0.1:0")?;
assert_ne!(listener.ttl()?, 0); // The system has a default.
listener.set_ttl(100)?;
assert_eq!(listener.ttl()?, 100);
# std::io::Result::Ok(())
```"#;

    /// Takes the pending error of the socket and clears it.
    fn take_error() -> Option<io::Error>, example = r#"```
use gort::net::TcpListener;

let listener = TcpListener::bind("127.0.0.1:0")?;
assert!(listener.take_error()?.is_none());
# std::io::Result::Ok(())
```"#;
} }

close_method!(
    TcpListener,
    "Stops listening, for all clones. When it returns, the address is free.",
    example = r#"```
use gort::net::TcpListener;

let listener = TcpListener::bind("127.0.0.1:0")?;
let address = listener.local_addr()?;
gort::scope(|s| {
    let accepts = s.go(|| listener.accept().map(drop));
    listener.close()?;
    let error = accepts.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    std::io::Result::Ok(())
})?;
TcpListener::bind(address)?;
# std::io::Result::Ok(())
```"#
);
deadline_method!(TcpListener, set_deadline, None, "accepting", "SetDeadline");
debug_fields!(TcpListener { addr, fd });
descriptor_methods!(
    TcpListener { fd },
    std = net::TcpListener,
    kind = Kind::Socket
);

/// The settings of a listener to be; from [`TcpListener::builder`].
///
/// # Examples
///
/// ```
/// use gort::net::TcpListener;
///
/// // Settings that must be made before the socket is bound.
/// let builder = TcpListener::builder("127.0.0.1:0").backlog(128);
/// let listener = builder.bind()?;
/// assert_ne!(listener.local_addr()?.port(), 0);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call `bind` to listen"]
pub struct TcpListenerBuilder<A> {
    addr: A,
    backlog: u32,
    reuse_port: bool,
    only_v6: Option<bool>,
}

impl<A: ToSocketAddrs> TcpListenerBuilder<A> {
    /// How many connections the kernel queues until they are accepted. The system's limit
    /// (`net.core.somaxconn`), which is also the default, is not exceeded.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::builder("127.0.0.1:0").backlog(1).bind()?;
    /// // Returns once the connection is in the queue.
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(listener.accept()?.1, client.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Lets several listeners share the address (`SO_REUSEPORT`), if each of them says so; the kernel
    /// spreads the connections over them.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::TcpListener;
    ///
    /// let one = TcpListener::builder("127.0.0.1:0").reuse_port(true).bind()?;
    /// let address = one.local_addr()?;
    /// let _two = TcpListener::builder(address).reuse_port(true).bind()?;
    /// let error = TcpListener::bind(address).unwrap_err(); // does not say so
    /// assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether an IPv6 socket takes no IPv4 connections (`IPV6_V6ONLY`). The system decides if it is not said;
    /// an IPv4 address does not care.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{TcpListener, TcpStream};
    ///
    /// // One listener for both families:
    /// let listener = TcpListener::builder("[::]:0").only_v6(false).bind()?;
    /// let client = TcpStream::connect(("127.0.0.1", listener.local_addr()?.port()))?;
    /// let (_stream, peer) = listener.accept()?;
    /// assert_eq!(peer.ip().to_string(), "::ffff:127.0.0.1");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = Some(on);
        self
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::bind`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::TcpListener;
    ///
    /// let listener = TcpListener::builder("127.0.0.1:0").bind()?;
    /// assert!(listener.local_addr()?.ip().is_loopback());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind(self) -> io::Result<TcpListener> {
        let backlog = i32::try_from(self.backlog).unwrap_or(i32::MAX);
        lookup::first_success(self.addr, |addr| {
            let fd = socket::stream(addr)?;
            socket::set_reuse_addr(fd.as_fd(), true)?;
            if let (Some(on), true) = (self.only_v6, addr.is_ipv6()) {
                socket::set_only_v6(fd.as_fd(), on)?;
            }
            if self.reuse_port {
                socket::set_reuse_port(fd.as_fd(), true)?;
            }
            socket::bind(fd.as_fd(), addr)?;
            socket::listen(fd.as_fd(), backlog)?;
            Ok(TcpListener {
                fd: Arc::new(Fd::new(fd, Kind::Socket)?),
            })
        })
    }
}

/// The connections of a listener; from [`TcpListener::incoming`].
///
/// # Examples
///
/// ```
/// use gort::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let mut incoming = listener.incoming();
/// assert_eq!(incoming.next().unwrap()?.peer_addr()?, client.local_addr()?);
/// listener.close()?;
/// assert!(incoming.next().is_none());
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

/// The connections of a listener that it owns; from [`TcpListener::into_incoming`].
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// use gort::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let mut incoming = listener.into_incoming();
/// let server = gort::go(move || incoming.next().unwrap()?.write_all(b"hello"));
/// assert_eq!(std::io::read_to_string(TcpStream::connect(address)?)?, "hello");
/// server.join().unwrap()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        self.listener.next()
    }
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        self.listener.next()
    }
}

// Nothing comes after a close.
impl FusedIterator for Incoming<'_> {}
impl FusedIterator for IntoIncoming {}

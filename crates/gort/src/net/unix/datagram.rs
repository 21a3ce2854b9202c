//! A Unix socket for datagrams.
//!
//! Unlike UDP's these datagrams are never lost: a send waits while the receiver's queue is full.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;

use gort_core::netpoll::Direction;
use gort_core::os::socket;

use super::SocketAddr;
use crate::fd::{Fd, Kind};

/// A Unix socket for datagrams; as [`std::os::unix::net::UnixDatagram`], but waiting parks the
/// goroutine.
///
/// # Examples
///
/// ```
/// use gort::net::unix::UnixDatagram;
///
/// let (a, b) = UnixDatagram::pair()?;
/// gort::go(move || a.send(b"hello"));
/// let mut buf = [0; 100];
/// assert_eq!(b.recv(&mut buf)?, 5);
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "unixgram")]
pub struct UnixDatagram {
    fd: Arc<Fd>,
}

impl UnixDatagram {
    /// A socket at `path`, where it makes a file, which stays when the socket goes.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is a file already; `NotFound`, `PermissionDenied`; `InvalidInput` for a
    /// path that is too long for an address.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-datagram-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.send_to(b"hello", &path)?;
    /// let mut buf = [0; 16];
    /// let (len, sender) = server.recv_from(&mut buf)?;
    /// assert_eq!(&buf[..len], b"hello");
    /// assert!(sender.is_unnamed());
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "ListenUnixgram")]
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// A socket at `addr`; else as [`bind`](UnixDatagram::bind).
    ///
    /// # Errors
    ///
    /// As for [`bind`](UnixDatagram::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    ///
    /// use gort::net::unix::{SocketAddr, UnixDatagram};
    ///
    /// let name = format!("gort doc datagram bind {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let server = UnixDatagram::bind_addr(&address)?;
    /// UnixDatagram::unbound()?.send_to_addr(b"hello", &address)?;
    /// assert_eq!(server.recv(&mut [0; 16])?, 5);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixDatagram> {
        let fd = socket::datagram(addr)?;
        socket::bind(fd.as_fd(), addr)?;
        Ok(UnixDatagram {
            fd: Arc::new(Fd::new(fd, Kind::Socket)?),
        })
    }

    /// A socket without an address: it can send, and nobody can answer.
    ///
    /// # Errors
    ///
    /// A lack of descriptors or memory.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = gort::net::UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other and have no address.
    ///
    /// # Errors
    ///
    /// A lack of descriptors or memory.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = gort::net::UnixDatagram::pair()?;
    /// ours.send(b"one")?;
    /// ours.send(b"two")?;
    /// let mut buf = [0; 16];
    /// assert_eq!(theirs.recv(&mut buf)?, 3); // each by itself
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Socketpair")]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(a)?, UnixDatagram::from_std(b)?))
    }

    /// Says where [`send`](UnixDatagram::send) sends to, and that only datagrams from there are to be
    /// received.
    ///
    /// # Errors
    ///
    /// `NotFound`, `PermissionDenied`, `ConnectionRefused`; `NotConnected` after
    /// [`close`](UnixDatagram::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-datagram-connect-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect(&path)?;
    /// client.send(b"hello")?;
    /// assert_eq!(server.recv(&mut [0; 16])?, 5);
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`connect`](UnixDatagram::connect), to any address.
    ///
    /// # Errors
    ///
    /// As for [`connect`](UnixDatagram::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    ///
    /// use gort::net::unix::{SocketAddr, UnixDatagram};
    ///
    /// let name = format!("gort doc datagram connect {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let server = UnixDatagram::bind_addr(&address)?;
    /// let client = UnixDatagram::unbound()?;
    /// client.connect_addr(&address)?;
    /// client.send(b"hello")?;
    /// assert_eq!(server.recv(&mut [0; 16])?, 5);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        socket::connect(self.fd.reference()?.as_fd(), addr)
    }

    /// Waits for a datagram, puts it into `buf`, and returns how many bytes that were, and who sent
    /// them. What does not fit is lost. Parks until there is one, or until a deadline or a close.
    ///
    /// # Errors
    ///
    /// `TimedOut` past a deadline or timeout; `NotConnected` after [`close`](UnixDatagram::close).
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = gort::net::UnixDatagram::pair()?;
    /// theirs.send(b"a note to you")?;
    /// let mut buf = [0; 6];
    /// let (len, sender) = ours.recv_from(&mut buf)?; // The rest of it is lost.
    /// assert_eq!(&buf[..len], b"a note");
    /// assert!(sender.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "ReadFrom")]
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.fd
            .retry_unless_shut(Direction::Read, |fd| socket::recv_from(fd, buf))
    }

    /// Sends `buf` as one datagram to the socket at `path`. Parks while that one's queue is full.
    ///
    /// # Errors
    ///
    /// `NotFound`, `PermissionDenied`, `ConnectionRefused`; a datagram that is too long; `TimedOut` past a
    /// deadline or timeout; `NotConnected` after [`close`](UnixDatagram::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-datagram-send-to-{}", std::process::id()));
    /// let server = UnixDatagram::bind(&path)?;
    /// assert_eq!(UnixDatagram::unbound()?.send_to(b"hello", &path)?, 5);
    /// assert_eq!(server.recv(&mut [0; 16])?, 5);
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "WriteTo")]
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// As [`send_to`](UnixDatagram::send_to), to any address.
    ///
    /// # Errors
    ///
    /// As for [`send_to`](UnixDatagram::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    ///
    /// use gort::net::unix::{SocketAddr, UnixDatagram};
    ///
    /// let name = format!("gort doc datagram send {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let (one, two) = (UnixDatagram::bind_addr(&address)?, UnixDatagram::unbound()?);
    /// two.send_to_addr(b"hello", &address)?;
    /// one.send_to_addr(b"a note to myself", &one.local_addr()?)?;
    /// assert_eq!(one.recv(&mut [0; 16])?, 5);
    /// assert_eq!(one.recv(&mut [0; 16])?, 16);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn send_to_addr(&self, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
        // Nothing says when there is room in the queue of a socket that we are not connected to.
        self.fd
            .retry_paced(Direction::Write, |fd| socket::send_to(fd, buf, addr))
    }

    /// Sends `buf` as one datagram to the peer that the socket is connected to. Parks while that one's
    /// queue is full.
    ///
    /// # Errors
    ///
    /// Without [`connect`](UnixDatagram::connect) before; else as for
    /// [`send_to`](UnixDatagram::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, theirs) = gort::net::UnixDatagram::pair()?;
    /// assert_eq!(ours.send(b"hello")?, 5);
    /// drop(theirs);
    /// let error = ours.send(b"anybody there?").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.fd.retry(Direction::Write, |fd| socket::send(fd, buf))
    }
}

asked_methods! { net::UnixDatagram => UnixDatagram {
    /// The address of this socket.
    fn local_addr() -> SocketAddr, example = r#"```
use gort::net::UnixDatagram;

let path = std::env::temp_dir().join(format!("gort-doc-datagram-local-{}", std::process::id()));
let socket = UnixDatagram::bind(&path)?;
assert_eq!(socket.local_addr()?.as_pathname(), Some(&*path));
# std::fs::remove_file(&path)?;
# std::io::Result::Ok(())
```"#;

    /// The address that the socket is connected to.
    fn peer_addr() -> SocketAddr, example = r#"```
use gort::net::UnixDatagram;

let path = std::env::temp_dir().join(format!("gort-doc-datagram-peer-{}", std::process::id()));
let _server = UnixDatagram::bind(&path)?;
let client = UnixDatagram::unbound()?;
assert!(client.peer_addr().is_err());
client.connect(&path)?;
assert_eq!(client.peer_addr()?.as_pathname(), Some(&*path));
# std::fs::remove_file(&path)?;
# std::io::Result::Ok(())
```"#;

    /// Ends receiving, sending, or both. Whoever waits there is woken; who receives gets empty datagrams.
    fn shutdown(how: Shutdown) -> (), example = r#"```
use gort::net::{Shutdown, UnixDatagram};

let (ours, theirs) = UnixDatagram::pair()?;
ours.shutdown(Shutdown::Write)?;
assert_eq!(ours.send(b"no more").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
theirs.send(b"hello")?;
assert_eq!(ours.recv(&mut [0; 16])?, 5); // The other direction works on.
# std::io::Result::Ok(())
```"#;

    /// Takes the pending error of the socket and clears it.
    fn take_error() -> Option<io::Error>, example = r#"```
let (ours, _theirs) = gort::net::UnixDatagram::pair()?;
assert!(ours.take_error()?.is_none());
# std::io::Result::Ok(())
```"#;
} }

receiving_methods!(
    UnixDatagram,
    retry = retry_unless_shut,
    pair = r#"use gort::net::UnixDatagram;

let (ours, theirs) = UnixDatagram::pair()?;"#
);
close_method!(
    UnixDatagram,
    "Closes the socket, for all clones.",
    example = r#"```
use gort::net::UnixDatagram;

let (ours, _theirs) = UnixDatagram::pair()?;
let clone = ours.try_clone()?;
let receiver = gort::go(move || clone.recv(&mut [0; 16]));
ours.close()?;
let error = receiver.join().unwrap().unwrap_err();
assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
# std::io::Result::Ok(())
```"#
);
deadline_methods!(UnixDatagram);
debug_fields!(UnixDatagram { fd, local, peer });
descriptor_methods!(
    UnixDatagram { fd },
    std = net::UnixDatagram,
    kind = Kind::Socket
);

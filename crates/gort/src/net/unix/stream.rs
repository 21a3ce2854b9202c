//! A connection between two Unix sockets.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;

use gort_core::os::socket;

use super::SocketAddr;
use crate::fd::{Fd, Kind, PACE_MAX, PACE_MIN};

/// A connection between two Unix sockets; as [`std::os::unix::net::UnixStream`], but waiting parks the
/// goroutine.
///
/// What [`TcpStream`](crate::net::TcpStream) says about clones, turns and close holds here too.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use gort::net::unix::UnixStream;
///
/// let (mut a, mut b) = UnixStream::pair()?;
/// let reader = gort::go(move || -> std::io::Result<String> {
///     let mut text = String::new();
///     b.read_to_string(&mut text)?;
///     Ok(text)
/// });
/// a.write_all(b"hello")?;
/// a.close()?;
/// assert_eq!(reader.join().unwrap()?, "hello");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "UnixConn")]
pub struct UnixStream {
    fd: Arc<Fd>,
}

impl UnixStream {
    /// Connects to the socket at `path`. Parks while the listener's queue is full.
    ///
    /// # Errors
    ///
    /// `NotFound`, `PermissionDenied`; `ConnectionRefused` if nobody listens there any more;
    /// `InvalidInput` for a path that is too long for an address.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::net::{UnixListener, UnixStream};
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-connect-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// UnixStream::connect(&path)?.write_all(b"hello")?;
    /// assert_eq!(std::io::read_to_string(listener.accept()?.0)?, "hello");
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "DialUnix")]
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to the socket at `addr`; else as [`connect`](UnixStream::connect).
    ///
    /// # Errors
    ///
    /// As for [`connect`](UnixStream::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    ///
    /// use gort::net::unix::{SocketAddr, UnixListener, UnixStream};
    ///
    /// let name = format!("gort doc stream connect {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let client = UnixStream::connect_addr(&address)?;
    /// assert!(listener.accept()?.1.is_unnamed());
    /// assert!(client.peer_addr()?.as_abstract_name().is_some());
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<UnixStream> {
        let stream = UnixStream::new(socket::stream(addr)?)?;
        let mut pause = PACE_MIN;
        loop {
            let result = socket::connect(stream.fd.reference()?.as_fd(), addr);
            match result {
                Err(error) if socket::is_queue_full(&error) => {
                    stream.fd.pause(pause)?;
                    pause = (pause * 2).min(PACE_MAX);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|()| stream),
            }
        }
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
    /// use std::io::Write;
    ///
    /// use gort::net::UnixStream;
    ///
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// let reader = gort::go(move || std::io::read_to_string(theirs));
    /// ours.write_all(b"hello")?;
    /// drop(ours);
    /// assert_eq!(reader.join().unwrap()?, "hello");
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Socketpair")]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = net::UnixStream::pair()?;
        Ok((UnixStream::from_std(a)?, UnixStream::from_std(b)?))
    }

    /// Takes over a non-blocking socket.
    pub(super) fn new(fd: OwnedFd) -> io::Result<UnixStream> {
        Ok(UnixStream {
            fd: Arc::new(Fd::new(fd, Kind::Socket)?),
        })
    }
}

asked_methods! { net::UnixStream => UnixStream {
    /// The address at this end.
    fn local_addr() -> SocketAddr, example = r#"```
let (ours, _theirs) = gort::net::UnixStream::pair()?;
assert!(ours.local_addr()?.is_unnamed()); // as most but those of listeners
# std::io::Result::Ok(())
```"#;

    /// The address at the other end.
    #[doc(alias = "RemoteAddr")]
    fn peer_addr() -> SocketAddr, example = r#"```
use gort::net::{UnixListener, UnixStream};

let path = std::env::temp_dir().join(format!("gort-doc-stream-peer-{}", std::process::id()));
let listener = UnixListener::bind(&path)?;
let client = UnixStream::connect(&path)?;
assert_eq!(client.peer_addr()?.as_pathname(), Some(&*path));
listener.close()?;
# std::io::Result::Ok(())
```"#;

    /// Closes one half of the connection, or both. Whoever waits in that half is woken: a reader by the
    /// end of the stream, a writer by an error.
    #[doc(alias = "CloseRead")]
    #[doc(alias = "CloseWrite")]
    fn shutdown(how: Shutdown) -> (), example = r#"```
use std::io::{Read, Write};

use gort::net::{Shutdown, UnixStream};

let (mut ours, mut theirs) = UnixStream::pair()?;
ours.shutdown(Shutdown::Write)?;
assert_eq!(theirs.read(&mut [0])?, 0); // the end of the stream
theirs.write_all(b"!")?;
assert_eq!(ours.read(&mut [0])?, 1); // The other half works on.
# std::io::Result::Ok(())
```"#;

    /// Takes the pending error of the socket and clears it.
    fn take_error() -> Option<io::Error>, example = r#"```
let (ours, _theirs) = gort::net::UnixStream::pair()?;
assert!(ours.take_error()?.is_none());
# std::io::Result::Ok(())
```"#;
} }

close_method!(
    UnixStream,
    "Closes the connection, for all clones.",
    example = r#"```
use std::io::Read;

use gort::net::UnixStream;

let (ours, _theirs) = UnixStream::pair()?;
let mut clone = ours.try_clone()?;
let reader = gort::go(move || clone.read(&mut [0]));
ours.close()?;
let error = reader.join().unwrap().unwrap_err();
assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
# std::io::Result::Ok(())
```"#
);
deadline_methods!(UnixStream);
stream_methods!(UnixStream);
debug_fields!(UnixStream { fd, local, peer });
descriptor_methods!(
    UnixStream { fd },
    std = net::UnixStream,
    kind = Kind::Socket
);

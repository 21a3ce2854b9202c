//! A Unix socket that accepts connections, and the file that it has in the file system.
//!
//! std leaves the file where it is; Go removes it when the listener is closed. Ours does as std when it is
//! dropped, and as Go when it is closed: [`UnixListener::close`] is Go's word.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gort_core::netpoll::Direction;
use gort_core::os::socket;
use gort_core::sched;

use super::{SocketAddr, UnixStream};
use crate::fd::{Fd, Kind};

/// A Unix socket that accepts connections; as [`std::os::unix::net::UnixListener`], but waiting parks the
/// goroutine.
///
/// Dropping it leaves the socket's file behind, as std does; [`close`](UnixListener::close) removes it, as
/// Go does.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use gort::net::unix::{UnixListener, UnixStream};
///
/// let path = std::env::temp_dir().join(format!("gort-{}.sock", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let client = gort::go({
///     let path = path.clone();
///     move || UnixStream::connect(path)?.write_all(b"hello")
/// });
/// let (mut stream, _addr) = listener.accept()?;
/// let mut text = String::new();
/// stream.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// client.join().unwrap()?;
/// listener.close()?;
/// assert!(!path.exists());
/// # std::io::Result::Ok(())
/// ```
pub struct UnixListener {
    fd: Arc<Fd>,
    file: Arc<SocketFile>,
}

/// The file that a close removes.
#[derive(Debug, Default)]
struct SocketFile {
    /// None for an abstract or borrowed name.
    path: Option<PathBuf>,
    /// Written by the setter and cleared by the close that removes the file; both by one exchange.
    is_to_be_removed: AtomicBool,
}

impl UnixListener {
    /// Listens at `path`, where it makes a file. The queue of connections is as long as the system allows.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is a file already, even one that a listener has left behind;
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a path that is too long for an address.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UnixListener;
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-bind-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// // The file is in the way, even of a listener that is gone.
    /// let error = UnixListener::bind(&path).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "ListenUnix")]
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens at `addr`; else as [`bind`](UnixListener::bind).
    ///
    /// # Errors
    ///
    /// As for [`bind`](UnixListener::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use gort::net::unix::{SocketAddr, UnixListener, UnixStream};
    ///
    /// let name = format!("gort example {}", std::process::id());
    /// let addr = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&addr)?;
    /// UnixStream::connect_addr(&addr)?;
    /// assert!(listener.accept()?.1.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        let fd = socket::stream(addr)?;
        socket::bind(fd.as_fd(), addr)?;
        socket::listen(fd.as_fd(), i32::MAX)?;
        let path = addr.as_pathname().map(Path::to_path_buf);
        Ok(UnixListener {
            fd: Arc::new(Fd::new(fd, Kind::Socket)?),
            file: Arc::new(SocketFile {
                is_to_be_removed: AtomicBool::new(path.is_some()),
                path,
            }),
        })
    }

    /// Waits for a connection and returns it with its peer's address, which is mostly unnamed. Parks until
    /// there is one, or until the deadline or a close.
    ///
    /// # Errors
    ///
    /// `TimedOut` past the deadline; `NotConnected` after [`close`](UnixListener::close); a lack of
    /// descriptors or memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::{UnixListener, UnixStream};
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-accept-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let _client = UnixStream::connect(&path)?;
    /// let (_stream, peer) = listener.accept()?;
    /// assert!(peer.is_unnamed());
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (fd, peer) = self.fd.retry(Direction::Read, |fd| {
            self.fd.look(fd, Direction::Read)?;
            socket::accept(fd)
        })?;
        Ok((UnixStream::new(fd)?, peer))
    }

    /// Stops listening, for all clones, and removes the socket's file, unless
    /// [`set_unlink_on_close`](UnixListener::set_unlink_on_close) says otherwise.
    ///
    /// Goroutines that wait in `accept` are woken, and get, as all later calls do, an error of the kind
    /// `NotConnected`. Closing again is no error and does nothing: a file that has been made at the same
    /// path since stays.
    ///
    /// # Errors
    ///
    /// Those of removing the file; the listener is closed all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UnixListener;
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-close-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// listener.close()?;
    /// assert!(!path.exists());
    /// assert!(listener.accept().is_err());
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn close(&self) -> io::Result<()> {
        // As Go: the file goes first, so that nobody finds it and is refused.
        let removed = self.file.remove();
        self.fd.close();
        removed
    }

    /// Whether [`close`](UnixListener::close) is to remove the socket's file. It is for listeners that have
    /// made one, and never for those that were made from a descriptor, as they do not own the file.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UnixListener;
    ///
    /// let path = std::env::temp_dir().join(format!("gort-doc-unlink-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// listener.set_unlink_on_close(false);
    /// listener.close()?;
    /// assert!(path.exists()); // for whoever has the descriptor too
    /// # std::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "SetUnlinkOnClose")]
    pub fn set_unlink_on_close(&self, unlink: bool) {
        let is_to_be_removed = unlink && self.file.path.is_some() && !self.fd.is_closed();
        self.file
            .is_to_be_removed
            .store(is_to_be_removed, Ordering::Relaxed);
    }
}

impl SocketFile {
    fn remove(&self) -> io::Result<()> {
        match &self.path {
            Some(path) if self.is_to_be_removed.swap(false, Ordering::Relaxed) => {
                match sched::blocking(|| fs::remove_file(path)) {
                    // Somebody was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result,
                }
            }
            _ => Ok(()),
        }
    }
}

accepting_methods!(UnixListener => UnixStream);
asked_methods! { net::UnixListener => UnixListener {
    /// The address it listens at.
    #[doc(alias = "Addr")]
    fn local_addr() -> SocketAddr, example = r#"```
use gort::net::UnixListener;

let path = std::env::temp_dir().join(format!("gort-doc-listener-local-{}", std::process::id()));
let listener = UnixListener::bind(&path)?;
assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
listener.close()?;
# std::io::Result::Ok(())
```"#;

    /// Takes the pending error of the socket and clears it.
    fn take_error() -> Option<io::Error>, example = r#"```
use gort::net::UnixListener;

let path = std::env::temp_dir().join(format!("gort-doc-listener-error-{}", std::process::id()));
let listener = UnixListener::bind(&path)?;
assert!(listener.take_error()?.is_none());
listener.close()?;
# std::io::Result::Ok(())
```"#;
} }

deadline_method!(UnixListener, set_deadline, None, "accepting", "SetDeadline");
debug_fields!(UnixListener { fd, local });
descriptor_methods!(
    UnixListener { fd, file },
    std = net::UnixListener,
    kind = Kind::Socket
);

/// The connections of a listener; from [`UnixListener::incoming`].
///
/// # Examples
///
/// ```
/// use gort::net::{UnixListener, UnixStream};
///
/// let path = std::env::temp_dir().join(format!("gort-doc-incoming-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let _client = UnixStream::connect(&path)?;
/// let mut incoming = listener.incoming();
/// assert!(incoming.next().unwrap()?.peer_addr()?.is_unnamed());
/// listener.close()?;
/// assert!(incoming.next().is_none());
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        self.listener.next()
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

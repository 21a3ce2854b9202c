//! Kernel facilities, one file each; no policy. What std has as methods is lent to std: [`as_std`].

pub mod cgroup;
pub mod epoll;
pub mod file;
pub mod futex;
pub mod membarrier;
pub mod probe;
pub mod process;
pub mod signal;
pub mod socket;
pub mod thread;

use std::fs::File;
use std::mem::ManuallyDrop;
use std::net;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net as unix;

/// Types of std's that own a descriptor and do nothing to it but what their methods are asked for.
///
/// # Safety
///
/// Making one of a descriptor does nothing to it, and who has a reference cannot close it.
pub unsafe trait StdOwner: From<OwnedFd> {}

// SAFETY: a wrapper around an `OwnedFd`, as are those below.
unsafe impl StdOwner for File {}
// SAFETY: as above.
unsafe impl StdOwner for net::TcpStream {}
// SAFETY: as above.
unsafe impl StdOwner for net::TcpListener {}
// SAFETY: as above.
unsafe impl StdOwner for net::UdpSocket {}
// SAFETY: as above.
unsafe impl StdOwner for unix::UnixStream {}
// SAFETY: as above.
unsafe impl StdOwner for unix::UnixListener {}
// SAFETY: as above.
unsafe impl StdOwner for unix::UnixDatagram {}

/// Lends `fd` to a type of std's, for its methods: `as_std(fd, |file: &File| file.metadata())`.
///
/// They know nothing of goroutines, so only those that do not wait are of use.
pub fn as_std<S: StdOwner, R>(fd: BorrowedFd<'_>, f: impl FnOnce(&S) -> R) -> R {
    // SAFETY: the number is open while it is borrowed. The owner made of it is never dropped, and `f`
    // cannot close it either (`StdOwner`).
    let lent = ManuallyDrop::new(S::from(unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }));
    f(&lent)
}

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

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Lends `fd` to a type of std's, for its methods: `as_std(fd, |file: &File| file.metadata())`.
///
/// They know nothing of goroutines, so only those that do not wait are of use.
pub fn as_std<S: From<OwnedFd>, R>(fd: BorrowedFd<'_>, f: impl FnOnce(&S) -> R) -> R {
    // SAFETY: the number is open while it is borrowed, and the owner made of it is never dropped, so it
    // closes nothing; `f` only borrows it.
    let lent = ManuallyDrop::new(S::from(unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }));
    f(&lent)
}

//! Child processes: a descriptor that becomes readable when one ends.
//!
//! Elsewhere: starting and reaping, which are std's; waiting (`poll_fd`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A descriptor of the process `pid` (pidfd): readable once that has ended. Close-on-exec, as all of its kind.
///
/// It is the right process if the caller is its parent and has not waited for it: until then the number stays
/// with it.
///
/// # Errors
///
/// No such process; no descriptor; the kernel has none (before 5.3), or a filter refuses them.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this number, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::epoll;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    #[test]
    fn the_descriptor_of_a_process_becomes_readable_at_its_end() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let fd = pidfd_open(child.id());
        let poller = epoll::create().unwrap();
        let mut events = [MaybeUninit::uninit(); 1];
        let mut wait = |ns| {
            let events = epoll::wait(poller.as_fd(), &mut events, Some(ns));
            events.unwrap().len()
        };
        if let Ok(fd) = &fd {
            epoll::add(poller.as_fd(), fd.as_fd(), epoll::IN, 7).unwrap();
            assert_eq!(wait(0), 0);
        }
        drop(child.stdin.take());
        if fd.is_ok() {
            assert_eq!(wait(20_000_000_000), 1);
        }
        assert!(child.wait().unwrap().success());
        match fd {
            Ok(_) => assert_eq!(errno_of(pidfd_open(child.id())), libc::ESRCH),
            Err(error) => println!("skipped: no such descriptors here: {error}"),
        }
    }

    fn errno_of<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
        result.unwrap_err().raw_os_error().unwrap()
    }
}

//! Child processes: a descriptor that becomes readable when one ends, and a call that blocks until then.
//!
//! Elsewhere: starting and reaping, which are std's; waiting (`poll_fd`).

use std::io;
use std::mem::MaybeUninit;
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

/// Blocks the thread until the child `pid` has ended, and leaves it to be waited for.
///
/// # Errors
///
/// `ECHILD`: it is no child of this process, or somebody has waited for it.
pub fn wait_for_end(pid: u32) -> io::Result<()> {
    let mut info = MaybeUninit::uninit();
    loop {
        // SAFETY: there is room for what the call writes.
        let result = unsafe {
            libc::waitid(
                libc::P_PID,
                pid,
                info.as_mut_ptr(),
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::epoll;
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

    #[test]
    fn a_child_that_has_ended_is_still_to_be_waited_for() {
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        wait_for_end(child.id()).unwrap();
        wait_for_end(child.id()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(errno_of(wait_for_end(child.id())), libc::ECHILD);
    }

    fn errno_of<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
        result.unwrap_err().raw_os_error().unwrap()
    }
}

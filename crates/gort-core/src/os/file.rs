//! Files of all kinds that are no sockets: whether a read or write would wait, and how to find out
//! without changing the file.
//!
//! Descriptors that came from elsewhere (standard input and output, pipes to other processes) must not be
//! made non-blocking: `O_NONBLOCK` belongs to the open file, which others share, and they would get
//! errors that they do not expect. Whoever must not wait looks first ([`is_ready`]), and writes no
//! more than [`PIPE_BUF`] at a time. If another process is faster, the call waits after all.
//!
//! And locks on files ([`lock`]), which std has in newer versions only.
//!
//! Elsewhere: the calls themselves, which are std's ([`super::as_std`]); waiting (`poll_fd`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What can be written to a pipe at once when there is room for anything.
pub const PIPE_BUF: usize = libc::PIPE_BUF;

/// What a call would have to wait for.
#[derive(Clone, Copy, Debug)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room for [`PIPE_BUF`] bytes, or nobody to read them.
    Write,
}

/// Whether a call would return at once: with a result, the end, or an error.
pub fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<bool> {
    let events = match interest {
        Interest::Read => libc::POLLIN,
        Interest::Write => libc::POLLOUT,
    };
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    loop {
        // SAFETY: `entry` is one writable entry. A timeout of zero: the call does not wait.
        match unsafe { libc::poll(&raw mut entry, 1, 0) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            count => return Ok(count != 0),
        }
    }
}

/// How a file is locked, with `flock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileLock {
    /// By one open file.
    Exclusive,
    /// By any number of them.
    Shared,
}

impl FileLock {
    fn operation(self) -> libc::c_int {
        match self {
            FileLock::Exclusive => libc::LOCK_EX,
            FileLock::Shared => libc::LOCK_SH,
        }
    }
}

/// Locks the open file; waits for those who have it locked.
pub fn lock(fd: BorrowedFd<'_>, lock: FileLock) -> io::Result<()> {
    flock(fd, lock.operation())
}

/// Locks the open file if it can be had at once: whether it could.
pub fn try_lock(fd: BorrowedFd<'_>, lock: FileLock) -> io::Result<bool> {
    match flock(fd, lock.operation() | libc::LOCK_NB) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives up the open file's lock, if it has one.
pub fn unlock(fd: BorrowedFd<'_>) -> io::Result<()> {
    flock(fd, libc::LOCK_UN)
}

fn flock(fd: BorrowedFd<'_>, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: a descriptor, open as long as it is borrowed; no memory is passed.
    match unsafe { libc::flock(fd.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_is_ready_when_a_call_would_return() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let ready = |fd: BorrowedFd<'_>, interest| is_ready(fd, interest).unwrap();
        assert!(!ready(reader.as_fd(), Interest::Read));
        let mut written = 0;
        while ready(writer.as_fd(), Interest::Write) {
            written += writer.write(&[7; PIPE_BUF]).unwrap();
        }
        assert!(written >= PIPE_BUF);
        let mut read = 0;
        while ready(reader.as_fd(), Interest::Read) {
            read += reader.read(&mut [0; PIPE_BUF]).unwrap();
        }
        assert_eq!(read, written);
        // Ready for the end, and for the error.
        drop(writer);
        assert!(ready(reader.as_fd(), Interest::Read));
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(ready(writer.as_fd(), Interest::Write));
    }

    #[test]
    fn a_file_is_always_ready() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert!(is_ready(file.as_fd(), Interest::Read).unwrap());
    }
}

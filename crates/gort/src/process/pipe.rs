//! Our ends of a child's pipes.
//!
//! A pipe has two open files, one for each end. Ours is made non-blocking and waited for by the poller; the
//! child's is not touched, and waits in the kernel as programs expect. An end that is given away, to a
//! child or as a descriptor, waits in the kernel again.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{self, Stdio};

use gort_core::clock::NEVER;
use gort_core::netpoll::{Direction, PollError};
use gort_core::os::process::as_file;
use gort_core::os::socket::set_nonblocking;
use gort_core::poll_fd::PollFd;
use gort_core::{runtime, sched};

use crate::context::current as context;

/// One end. Nobody closes it but its drop.
struct Pipe(PollFd);

impl Pipe {
    fn new(fd: OwnedFd) -> io::Result<Pipe> {
        set_nonblocking(fd.as_fd(), true)?;
        runtime::ensure_started();
        Ok(Pipe(PollFd::new(fd)?))
    }

    /// Tries `attempt` until it does not say `WouldBlock`, and waits in between.
    #[track_caller]
    fn retry<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        // A call into the runtime is a place to yield, if the slice is used up.
        sched::checkpoint();
        context::check()?;
        let current = context::current();
        let cancellation = current.cancellation();
        let turn = self.0.lock_under(direction, NEVER, cancellation);
        let turn = turn.map_err(error)?;
        turn.prepare().map_err(error)?;
        loop {
            match as_file(turn.as_fd(), &mut attempt) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    turn.wait_under(NEVER, cancellation).map_err(error)?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.expose().expect("it is not closed before its drop")
    }

    /// The end as the kernel's pipes are.
    fn into_blocking(self) -> OwnedFd {
        let fd = self
            .0
            .into_owned()
            .expect("it is not closed before its drop");
        // Fails for no pipe: the number is open.
        let _ = set_nonblocking(fd.as_fd(), false);
        fd
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the poller says, as an error for users. There are no deadlines here, and no `close`.
pub(super) fn error(error: PollError) -> io::Error {
    match error {
        PollError::Canceled => context::ended(),
        other => io::Error::other(format!("cannot wait for a child: {other:?}")),
    }
}

/// The pipes of a child, which it then no longer has.
pub(super) fn ends_of(
    child: &mut process::Child,
) -> io::Result<(Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>)> {
    let stdin = child.stdin.take().map(OwnedFd::from);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    Ok((
        stdin.map(ChildStdin::try_from).transpose()?,
        stdout.map(ChildStdout::try_from).transpose()?,
        stderr.map(ChildStderr::try_from).transpose()?,
    ))
}

macro_rules! end {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Pipe);

        /// Makes it non-blocking, and registers it with the poller.
        impl TryFrom<OwnedFd> for $name {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<$name> {
                Ok($name(Pipe::new(fd)?))
            }
        }

        impl TryFrom<process::$name> for $name {
            type Error = io::Error;

            fn try_from(end: process::$name) -> io::Result<$name> {
                $name::try_from(OwnedFd::from(end))
            }
        }

        /// In blocking mode.
        impl From<$name> for OwnedFd {
            fn from(end: $name) -> OwnedFd {
                end.0.into_blocking()
            }
        }

        /// In blocking mode, for another child.
        impl From<$name> for Stdio {
            fn from(end: $name) -> Stdio {
                end.0.into_blocking().into()
            }
        }

        impl IntoRawFd for $name {
            fn into_raw_fd(self) -> RawFd {
                self.0.into_blocking().into_raw_fd()
            }
        }

        /// Non-blocking.
        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_fd().as_raw_fd()
            }
        }
    };
}

macro_rules! reader {
    ($(#[$doc:meta])* $name:ident) => {
        end!($(#[$doc])* $name);

        impl Read for &$name {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.retry(Direction::Read, |mut file| file.read(buf))
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.retry(Direction::Read, |mut file| file.read_vectored(bufs))
            }
        }

        impl Read for $name {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }
    };
}

end! {
    /// Our end of a child's standard input. Dropped, it is closed, and the child reads the end.
    ///
    /// Writing parks while the pipe is full. A child that has closed its end is an error of the kind
    /// `BrokenPipe`.
    #[doc(alias = "StdinPipe")]
    ChildStdin
}

reader! {
    /// Our end of a child's standard output. Reading parks until there is something, or the end.
    #[doc(alias = "StdoutPipe")]
    ChildStdout
}

reader! {
    /// Our end of a child's standard error. Reading parks until there is something, or the end.
    #[doc(alias = "StderrPipe")]
    ChildStderr
}

impl Write for &ChildStdin {
    /// As much as there is room for, at least something.
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.retry(Direction::Write, |mut file| file.write(buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0
            .retry(Direction::Write, |mut file| file.write_vectored(bufs))
    }

    /// Does nothing: there is no buffer of ours.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for ChildStdin {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    /// Does nothing: there is no buffer of ours.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

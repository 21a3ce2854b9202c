//! [`Child`]: a process that was started, and waiting for its end.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::process::{self, ExitStatus, Output};

use gort_core::netpoll::Direction;
use gort_core::os::process::{pidfd_open, wait_for_end};
use gort_core::sched;

use super::pipe::{ChildStderr, ChildStdin, ChildStdout};
use crate::context::{current as context, unstoppable};
use crate::fd::{Fd, Kind};
use crate::go::{Builder, scope};

/// A process that was started by [`Command::spawn`](super::Command::spawn); as [`std::process::Child`], but
/// waiting parks the goroutine.
///
/// A child that is dropped runs on, and when it ends it stays in the system's table, as nobody has waited for
/// it: as with std.
///
/// # Examples
///
/// ```
/// use std::os::unix::process::ExitStatusExt;
///
/// let mut child = gort::process::Command::new("sleep").arg("1000").spawn()?;
/// assert!(child.try_wait()?.is_none());
/// child.kill()?;
/// assert_eq!(child.wait()?.signal(), Some(9));
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Process")]
#[derive(Debug)]
pub struct Child {
    inner: process::Child,
    /// Our end of its standard input, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// Our end of its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// Our end of its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
}

impl Child {
    /// Takes over a child of std's.
    ///
    /// # Errors
    ///
    /// A pipe to it cannot be registered with the poller; the child is killed then.
    ///
    /// # Examples
    ///
    /// ```
    /// // From a library that knows std alone.
    /// let child = std::process::Command::new("true").spawn()?;
    /// let mut child = gort::process::Child::from_std(child)?;
    /// assert!(child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(child: process::Child) -> io::Result<Child> {
        Child::adopt(child)
    }

    #[track_caller]
    pub(super) fn adopt(mut inner: process::Child) -> io::Result<Child> {
        let stdin = inner.stdin.take().map(ChildStdin::from_std).transpose();
        let stdout = inner.stdout.take().map(ChildStdout::from_std).transpose();
        let stderr = inner.stderr.take().map(ChildStderr::from_std).transpose();
        match (stdin, stdout, stderr) {
            (Ok(stdin), Ok(stdout), Ok(stderr)) => Ok(Child {
                inner,
                stdin,
                stdout,
                stderr,
            }),
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                // A child with whom nobody talks.
                end(&mut inner);
                Err(error)
            }
        }
    }

    /// Waits for its end. If that fails, by a context that is done for example, nobody could wait for it any
    /// more, or kill it: so it is killed.
    #[track_caller]
    pub(super) fn wait_or_end(mut self) -> io::Result<ExitStatus> {
        let result = self.wait();
        if result.is_err() {
            end(&mut self.inner);
        }
        result
    }

    /// Waits for its end, parking until then, and gives its status; at once if it has been waited for.
    ///
    /// Its standard input is closed first, if it is a pipe and still here: a child that reads it to its
    /// end would not end before.
    ///
    /// # Errors
    ///
    /// It cannot be waited for (`ECHILD`): somebody else did, or the program ignores SIGCHLD. The
    /// [current context](crate::context::Context::enter) is done, and the child goes on: kill it if it shall
    /// not.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut child = gort::process::Command::new("sh").args(["-c", "exit 7"]).spawn()?;
    /// assert_eq!(child.wait()?.code(), Some(7));
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Wait")]
    #[track_caller]
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        // The number is the child's until we have waited for it.
        match pidfd_open(self.id()).and_then(|fd| Fd::new(fd, Kind::File)) {
            // Also asked for the first time when it is registered: it may have ended before.
            Ok(fd) => fd.retry(Direction::Read, |_| match self.try_wait()? {
                Some(status) => Ok(status),
                None => Err(ErrorKind::WouldBlock.into()),
            }),
            // Refused by the kernel or a filter, or no descriptor left: a thread can wait all the same.
            Err(_) => {
                let id = self.id();
                // Also for its error: the next call has the same.
                let _ended = unstoppable::blocking(move || wait_for_end(id))?;
                self.inner.wait()
            }
        }
    }

    /// Its status, if it has ended. Never blocks.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
    /// assert!(child.try_wait()?.is_none());
    /// drop(child.stdin.take());
    /// assert!(child.wait()?.success());
    /// assert!(child.try_wait()?.unwrap().success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.inner.try_wait()
    }

    /// Waits for its end and for that of its output, and gives both; parks until then. Reads standard output
    /// and error at the same time, so that a child may write to them in any order.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait); those of reading; no stack for the goroutine that helps. The child, whom nobody
    /// has any more, is killed then, and waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let child = Command::new("echo").arg("text").stdout(Stdio::piped()).spawn()?;
    /// assert_eq!(child.wait_with_output()?.stdout, b"text\n");
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let Err(error) = self.read_all(&mut stdout, &mut stderr) {
            end(&mut self.inner);
            return Err(error);
        }
        Ok(Output {
            status: self.wait_or_end()?,
            stdout,
            stderr,
        })
    }

    /// Closes its standard input, and reads all that it writes.
    #[track_caller]
    fn read_all(&mut self, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> io::Result<()> {
        drop(self.stdin.take());
        match (self.stdout.take(), self.stderr.take()) {
            (None, None) => Ok(()),
            (Some(mut out), None) => out.read_to_end(stdout).map(drop),
            (None, Some(mut err)) => err.read_to_end(stderr).map(drop),
            (Some(mut out), Some(mut err)) => scope(|s| {
                let helper = Builder::new().context(&context::current().to_context());
                let helper = helper.go_scoped(s, || err.read_to_end(stderr))?;
                let result = out.read_to_end(stdout);
                // Closed before we wait for the other: a child that still writes to it shall hear.
                drop(out);
                let of_helper = helper.join().map_err(io::Error::from)?;
                result.and(of_helper).map(drop)
            }),
        }
    }

    /// Ends it by SIGKILL. It is still to be waited for. No error if it has been waited for already.
    ///
    /// # Errors
    ///
    /// We may not, as it has become another user.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("3600").spawn()?;
    /// child.kill()?;
    /// assert!(!child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kill(&mut self) -> io::Result<()> {
        self.inner.kill()
    }

    /// Its number in the system. Another process may have it once this one was waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let child = Command::new("sh").args(["-c", "echo $$"]).stdout(Stdio::piped()).spawn()?;
    /// let id = child.id();
    /// assert_eq!(child.wait_with_output()?.stdout, format!("{id}\n").into_bytes());
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Pid")]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }
}

/// Kills a child that nobody will have, and takes it from the system's table.
fn end(child: &mut process::Child) {
    // If it is not to be waited for, its number may be another's by now. And it cannot be killed if it has
    // become another user: then it is not waited for either.
    if matches!(child.try_wait(), Ok(None)) && child.kill().is_ok() {
        let _ = sched::blocking(|| child.wait());
    }
}

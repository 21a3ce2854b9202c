//! Our ends of a child's pipes: those of [`io::pipe`](crate::io::pipe), by std's names.
//!
//! A pipe has two open files, one for each end. Ours is made non-blocking and waited for by the poller; the
//! child's is not touched, and waits in the kernel as programs expect. An end that is given away, to a
//! child or as a descriptor, waits in the kernel again.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{self, Stdio};

use crate::io::{PipeReader, PipeWriter};

macro_rules! end {
    ($(#[$doc:meta])* $name:ident($pipe:ty)) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name($pipe);

        impl $name {
            /// Takes over an end of std's, and makes it non-blocking.
            ///
            /// # Errors
            ///
            /// It cannot be registered with the poller; it is closed then.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::Write;
            /// use std::process::{Command, Stdio};
            ///
            /// use gort::process::{ChildStdin, ChildStdout};
            ///
            /// // From a library that knows std alone.
            /// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            /// ChildStdin::from_std(child.stdin.take().unwrap())?.write_all(b"text")?;
            /// let output = ChildStdout::from_std(child.stdout.take().unwrap())?;
            /// assert_eq!(std::io::read_to_string(output)?, "text");
            /// # child.wait()?;
            /// # std::io::Result::Ok(())
            /// ```
            pub fn from_std(end: process::$name) -> io::Result<$name> {
                <$pipe>::from_std(OwnedFd::from(end).into()).map($name)
            }
        }

        /// Takes over the descriptor, and makes it non-blocking. What goes wrong with that is the error of
        /// the calls that follow.
        impl From<OwnedFd> for $name {
            fn from(fd: OwnedFd) -> $name {
                $name(fd.into())
            }
        }

        /// Gives the descriptor away, in blocking mode.
        impl From<$name> for OwnedFd {
            fn from(end: $name) -> OwnedFd {
                end.0.into()
            }
        }

        /// For another child, in blocking mode.
        impl From<$name> for Stdio {
            fn from(end: $name) -> Stdio {
                end.0.into()
            }
        }

        impl IntoRawFd for $name {
            /// Gives the descriptor away, in blocking mode.
            fn into_raw_fd(self) -> RawFd {
                self.0.into_raw_fd()
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_raw_fd()
            }
        }
    };
}

macro_rules! reader {
    ($(#[$doc:meta])* $name:ident) => {
        end!($(#[$doc])* $name(PipeReader));

        read_methods!($name, |end, buf| (&end.0).read(buf), |end, bufs| {
            (&end.0).read_vectored(bufs)
        });
    };
}

end! {
    /// Our end of a child's standard input. Dropped, it is closed, and the child reads the end.
    ///
    /// Writing parks while the pipe is full, and returns when all is written. A child that has closed its end
    /// is an error of the kind `BrokenPipe`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    /// let mut input = child.stdin.take().unwrap();
    /// input.write_all(b"meow")?;
    /// drop(input); // the end of the child's input
    /// assert_eq!(std::io::read_to_string(child.stdout.take().unwrap())?, "meow");
    /// child.wait()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "StdinPipe")]
    ChildStdin(PipeWriter)
}

reader! {
    /// Our end of a child's standard output. Reading parks until there is something, or the end.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut child = Command::new("echo").arg("text").stdout(Stdio::piped()).spawn()?;
    /// assert_eq!(std::io::read_to_string(child.stdout.take().unwrap())?, "text\n");
    /// child.wait()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "StdoutPipe")]
    ChildStdout
}

reader! {
    /// Our end of a child's standard error. Reading parks until there is something, or the end.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut child = Command::new("sh").args(["-c", "echo oh >&2"]).stderr(Stdio::piped()).spawn()?;
    /// assert_eq!(std::io::read_to_string(child.stderr.take().unwrap())?, "oh\n");
    /// child.wait()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "StderrPipe")]
    ChildStderr
}

write_methods!(ChildStdin, |end, buf| (&end.0).write(buf), |end, bufs| {
    (&end.0).write_vectored(bufs)
});

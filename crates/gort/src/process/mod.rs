//! Child processes: [`Command`] and [`Child`] as in `std::process`, for goroutines.
//!
//! A goroutine that waits for a child parks; so does one that reads from it or writes to it, and no OS
//! thread waits with it. The kernel tells of a child's end by a descriptor (a pidfd); where that is refused, by
//! an old kernel or a filter, an OS thread waits instead.
//!
//! A [context](crate::context::Context::enter) that ends lets go of whoever waits for a child, its end or its pipes,
//! with the context's error. A [`Child`] runs on (and so does an OS thread that waits for it): whether it is to
//! be [killed](Child::kill) then is for whoever has it to say. One that nobody has is killed: that of
//! [`Command::status`], [`Command::output`] and [`Child::wait_with_output`]. So Go's `exec.CommandContext(ctx, …).Run()`
//! is `ctx.enter(|| command.status())`.
//!
//! Children are started by std, and a child gets what std gives it: our ends of its pipes do not wait in the
//! kernel, its own ends do.
//!
//! [`exit`], [`abort`] and [`id`] are std's. `exit` ends the program at once, as `os.Exit` does: the other
//! goroutines stop where they are, and nothing of theirs is dropped.
//!
//! Not there: `before_exec`, which std has deprecated, and `FromRawFd`, which is unsafe where `From<OwnedFd>`
//! is not.
//!
//! # Examples
//!
//! ```
//! use gort::process::Command;
//!
//! let echo = gort::go(|| Command::new("echo").arg("hello").output());
//! let output = echo.join().unwrap()?;
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"hello\n");
//! # std::io::Result::Ok(())
//! ```

mod child;
mod command;
mod ext;
mod pipe;

pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};

pub use child::Child;
pub use command::Command;
pub use ext::CommandExt;
pub use pipe::{ChildStderr, ChildStdin, ChildStdout};

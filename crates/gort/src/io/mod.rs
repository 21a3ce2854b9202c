//! `std::io` for goroutines: everything that std has, with pipes and standard streams that park.
//!
//! All of std's names are here, so a program changes `std::io` to `gort::io` and no more. What waits is our
//! own: [`pipe`], [`stdin`], [`stdout`], [`stderr`]. The rest is std's: the traits, buffers, adapters,
//! errors; they wait as what they wrap does.
//!
//! The standard streams are shared with other processes (a terminal with the shell, a pipe with a
//! whole pipeline), so their mode is left alone: a call parks until the stream is ready and then reads, or
//! writes little enough. A file is always ready, and read and written as [`fs`](crate::fs) does it in short calls.
//! To park, a stream keeps a duplicate of its descriptor: whoever puts another file in its place (`dup2`), to end the
//! old one, sees that end with the next call for the stream here.
//!
//! Input obeys the current context ([`Context::enter`](crate::context::Context::enter)), but for [`Stdin::lock`];
//! output does not.
//!
//! Elsewhere: what pipes and sockets share (`crate::fd`).

// Not `forbid`: `FromRawFd` has an unsafe method, which one macro implements.
#![deny(unsafe_code)]

mod copy;
mod inherited;
mod output;
mod pipe;
mod stdin;

#[doc(no_inline)]
pub use std::io::*;

pub use copy::copy;
pub use output::{Stderr, StderrLock, Stdout, StdoutLock, stderr, stdout};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use stdin::{Stdin, StdinLock, stdin};

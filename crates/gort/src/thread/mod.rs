//! The shapes of `std::thread` over goroutines, for code written for threads.
//!
//! What is called a thread here is a goroutine: a program that says `gort::thread` where it said
//! `std::thread` starts goroutines, and parks them where it blocked threads. New code has
//! [`gort::go`](crate::go) and [`gort::scope`](crate::scope()), whose handles are futures as well, take
//! a timeout, and tell a [`goexit`](crate::goexit) from a panic.
//!
//! All of it works on plain OS threads too: [`park`] there blocks the thread, and [`current`] describes it.
//! The two may be mixed: a goroutine can [`unpark`](Thread::unpark) a thread, and the other way round.
//!
//! ```
//! use gort::thread;
//!
//! let parked = thread::spawn(|| {
//!     thread::park();
//!     "unparked"
//! });
//! parked.thread().unpark();
//! assert_eq!(parked.join().unwrap(), "unparked");
//! ```
//!
//! # What differs from std
//!
//! * The token of `park` is gort's own: `std::thread::Thread::unpark` does not wake who waits in
//!   [`gort::thread::park`](park). A [`ThreadId`] is a number of gort's, not std's.
//! * A goroutine that called [`goexit`](crate::goexit) has no result: [`JoinHandle::join`] gives an error whose
//!   payload is a [`JoinError`](crate::JoinError).
//! * [`available_parallelism`] is what goroutines have: GOMAXPROCS.
//! * Stack sizes are address space and rounded up; the least is 64 KiB.
//! * [`sleep_until`] is stable here.
//!
//! # What is left out
//!
//! * `sleep_ms` and `park_timeout_ms`: std has deprecated them.
//! * `current_id`, `add_spawn_hook`, `Builder::no_hooks`, `Thread::into_raw` and `from_raw`: unstable in std.
//! * `std::os::unix::thread::JoinHandleExt`: a goroutine has no `pthread_t` that outlives a park.
//!
//! Elsewhere: goroutines (`go`); how they are stopped and woken (`gort_core::sched`).
//! Checked by `tests/thread`, and by std's own examples: `cargo xtask std-examples`.

mod builder;
mod current;
mod handle;
mod scope;
mod token;

pub use builder::{Builder, spawn};
pub use current::{Thread, ThreadId, current, park, park_timeout};
pub use handle::{JoinHandle, ScopedJoinHandle};
pub use scope::{Scope, scope};

/// A key of a thread-local, and the error of one that is gone: std's, as each goroutine has thread-locals of
/// its own.
pub use std::thread::{AccessError, LocalKey};

/// Whether this goroutine unwinds because of a panic: std's, as each goroutine has a panic count of its
/// own.
pub use std::thread::panicking;

/// What [`JoinHandle::join`] gives: a value, or the payload of a panic. The very type of std.
pub use std::thread::Result;

use std::io;
use std::num::NonZero;
// As `super::atomic` in `token`, which `testing/model` builds over loom's.
use std::sync::atomic;
use std::time::{Duration, Instant};

use crate::{go, runtime, time};

/// How many goroutines may run at once: GOMAXPROCS, see
/// [`runtime::gomaxprocs`]. Never blocks.
///
/// # Errors
///
/// None; it is a `Result` because std's is.
///
/// # Examples
///
/// ```
/// let workers = gort::thread::available_parallelism()?.get();
/// assert_eq!(workers, gort::runtime::gomaxprocs());
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "GOMAXPROCS")]
#[doc(alias = "NumCPU")]
pub fn available_parallelism() -> io::Result<NonZero<usize>> {
    NonZero::new(runtime::gomaxprocs()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Parks the goroutine (or blocks the plain thread) for at least `duration`. As
/// [`time::sleep`].
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let begin = Instant::now();
/// gort::thread::sleep(Duration::from_millis(2));
/// assert!(begin.elapsed() >= Duration::from_millis(2));
/// ```
#[track_caller]
pub fn sleep(duration: Duration) {
    time::sleep(duration);
}

/// Parks the goroutine (or blocks the plain thread) until `deadline`; returns at once if it has passed. As
/// [`time::sleep_until`].
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// gort::thread::sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    time::sleep_until(deadline);
}

/// Lets other goroutines run; a plain thread yields to the kernel's scheduler. As
/// [`gort::yield_now`](crate::yield_now).
///
/// # Examples
///
/// ```
/// gort::thread::yield_now();
/// ```
#[doc(alias = "Gosched")]
pub fn yield_now() {
    go::yield_now();
}

//! Goroutines for Rust: ordinary blocking code, std included, on Go's scheduler.
//!
//! A goroutine is a function that runs beside its caller, on a stack of its own of which only the
//! pages it uses exist. To the code in it, it is a thread: it has its own thread-locals, it may block
//! in locks, channels and sockets of this crate, and then another goroutine runs on the OS thread.
//!
//! ```
//! gort::run(|| {
//!     let (tx, rx) = gort::chan::unbounded();
//!     for i in 0..3 {
//!         let tx = tx.clone();
//!         gort::go(move || tx.send(i * i).unwrap());
//!     }
//!     drop(tx);
//!     assert_eq!(rx.iter().sum::<i32>(), 0 + 1 + 4);
//! });
//! ```
//!
//! # What keeps others waiting
//!
//! Up to GOMAXPROCS goroutines run at once. One that blocks its thread in a call of another library, or
//! computes for 10 ms, loses its turn if others want it; [`blocking`] and [`checkpoint`] give it up in time. Who held
//! a turn for more than 10 ms, in which function and how often, is in [`runtime::metrics`]; with
//! `GORT_STALL=log` in the environment each such place is reported on stderr.
//!
//! # Pages
//!
//! In the folder `docs` of the repository:
//!
//! * `should-i-use-gort.md`: against threads, tokio and may; where it runs; when not
//! * `coming-from-go.md`: what things are called, what differs
//! * `coming-from-threads-and-tokio.md`: what things are called, what differs
//! * `what-blocks-what.md`: which call keeps the goroutine, the thread, the turn
//! * `soundness.md`: why thread-locals hold, what is limited, what is known not to hold
//! * `cancellation.md`: contexts, deadlines, close; why there is no abort
//! * `stack-sizes.md`: defaults, the report of an overflow, how memory is committed
//! * `preemption-and-signals.md`: who loses its turn, EINTR, how to switch it off
//! * `what-a-goroutine-costs.md`: libraries that keep something per thread
//! * `using-gort-in-a-library.md`: who starts the runtime, what to leave to the program
//! * `versioning-and-msrv.md`: what a version promises; Rust 1.88 and how it is checked
//! * `gos-tools.md`: the commands and what they print
//! * `seeds.md`: programs of articles about Go, each an example, and what becomes of their pitfalls here

#![warn(missing_docs)]

pub mod alloc;
pub mod chan;
pub mod context;
mod deadlock;
pub mod debug;
mod dump;
#[macro_use]
mod fd;
pub mod fs;
mod go;
pub mod io;
pub mod net;
#[cfg(doctest)]
mod pages;
pub mod process;
pub mod runtime;
pub mod signal;
pub mod sync;
mod task;
pub mod thread;
pub mod time;
#[cfg(feature = "tracing")]
pub mod tracing;

pub use go::{
    Builder, Goroutine, GoroutineId, JoinError, JoinHandle, OsThreadGuard, Scope, ScopedJoinHandle,
    blocking, checkpoint, current, go, go_async, goexit, lock_os_thread, scope, try_current,
    yield_now,
};
/// The attribute of a `main` that is to run as the main goroutine.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use gort::chan;
///
/// #[gort::main]
/// fn main() -> Result<(), chan::RecvTimeoutError> {
///     let (answers, first) = chan::bounded(1);
///     gort::go(move || answers.send(6 * 7));
///     assert_eq!(first.recv_timeout(Duration::from_secs(10))?, 42);
///     Ok(())
/// }
/// ```
///
/// # In full
///
#[cfg(feature = "macros")]
pub use gort_macros::main;
/// The attribute of a test that is to run as a goroutine, and to fail if it leaks some or hangs.
///
/// # Examples
///
/// In a file of tests:
///
/// ```no_run
/// use gort::chan;
///
/// #[gort::test]
/// fn what_is_sent_arrives() {
///     let (tx, rx) = chan::bounded(0);
///     gort::go(move || tx.send(1).unwrap());
///     assert_eq!(rx.recv(), Ok(1));
/// }
///
/// #[gort::test(procs = 2, timeout = "10s", seed = 7)]
/// fn the_same_in_a_shaken_order() -> Result<(), chan::RecvError> {
///     let (tx, rx) = chan::bounded(0);
///     gort::go(move || tx.send(1).unwrap());
///     rx.recv().map(drop)
/// }
/// ```
///
/// # In full
///
#[cfg(feature = "macros")]
pub use gort_macros::test;
pub use runtime::{Config, ConfigError, DeadlockPolicy, PanicPolicy, run};
pub use task::block_on;

/// Runs a block when the scope ends, by return or by unwinding; several run last in, first out.
///
/// Go's `defer`. What the block uses is borrowed until then.
///
/// ```
/// let log = std::cell::RefCell::new(Vec::new());
/// {
///     gort::defer! { log.borrow_mut().push("first deferred, last run") }
///     gort::defer! { log.borrow_mut().push("last deferred, first run") }
///     log.borrow_mut().push("body");
/// }
/// assert_eq!(log.into_inner(), ["body", "last deferred, first run", "first deferred, last run"]);
/// ```
#[macro_export]
macro_rules! defer {
    ($($body:tt)*) => {
        let _deferred = $crate::__private::guard((), |()| { $($body)* });
    };
}

/// What the macros expand to; not for users.
#[doc(hidden)]
pub mod __private {
    pub use crate::runtime::{TestOptions, run_main, run_test};
    pub use scopeguard::guard;
}

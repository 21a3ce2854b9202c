//! Parking until a moment has come.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use gort_core::clock;

use crate::context::current::current;

/// Parks this goroutine for at least `duration`. On a plain OS thread it blocks that thread.
///
/// Returns at once for a duration of 0, and never for one that the clock cannot hold. It returns early when
/// the [current context](crate::context::Context::enter) is done.
///
/// # Examples
///
/// ```
/// gort::time::sleep(std::time::Duration::from_millis(1));
/// ```
#[doc(alias = "time.Sleep")]
#[track_caller]
pub fn sleep(duration: Duration) {
    if !duration.is_zero() {
        let deadline_ns = clock::deadline_after(duration);
        current().sleep_until(deadline_ns);
    }
}

/// Parks this goroutine until `deadline`. Returns at once if it has passed; early as [`sleep`].
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// // Each begins a millisecond after the one before, however long it takes.
/// let start = Instant::now();
/// for n in 1..=3 {
///     gort::time::sleep_until(start + n * Duration::from_millis(1));
/// }
/// assert!(start.elapsed() >= Duration::from_millis(3));
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    let deadline_ns = clock::from_instant(deadline);
    current().sleep_until(deadline_ns);
}

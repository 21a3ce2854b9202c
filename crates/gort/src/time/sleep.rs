//! Parking until a moment has come.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use gort_core::{clock, sched};

/// Parks this goroutine for at least `duration`. On a plain OS thread it blocks that thread.
///
/// Returns at once for a duration of 0, and never for one that the clock cannot hold.
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
        sched::sleep_until(clock::deadline_after(duration));
    }
}

/// Parks this goroutine until `deadline`. Returns at once if it has passed.
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    sched::sleep_until(clock::from_instant(deadline));
}

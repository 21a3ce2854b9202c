//! Time: sleeping.
//!
//! [`now`] is the runtime's clock, and every deadline in gort is measured by it. Deadlines are exact
//! to the nanosecond as far as the kernel wakes in time. Durations too long for the clock mean never.

#![forbid(unsafe_code)]

mod sleep;

pub use std::time::{Duration, Instant};

pub use sleep::{sleep, sleep_until};

use gort_core::clock;

/// The present moment on the runtime's clock.
///
/// # Examples
///
/// ```
/// let before = gort::time::now();
/// gort::time::sleep(gort::time::Duration::from_millis(1));
/// assert!(gort::time::now() >= before + gort::time::Duration::from_millis(1));
/// ```
#[inline]
pub fn now() -> Instant {
    clock::to_instant(clock::now_ns())
}

//! Time: sleeping, timers, tickers, deadlines for futures.
//!
//! [`now`] is the runtime's clock, and every deadline in gort is measured by it. Deadlines are exact
//! to the nanosecond as far as the kernel wakes in time. Durations too long for the clock mean never.
//!
//! Timers and tickers follow Go's rules since 1.23: their channels have length and capacity 0, hold
//! no stale value after `stop` or `reset`, and a value that is due but not received counts as "not
//! fired" for `stop`. A timer that is dropped leaves nothing behind.
//!
//! Elsewhere: channels that the clock fills (`chan::timed`; `chan::{after, at, tick}` for users), the
//! heaps of timers (`gort_core::timer`).

#![deny(unsafe_code)]

mod func_timer;
mod sleep;
mod ticker;
mod timeout;
mod timer;

pub use std::time::{Duration, Instant};

pub use sleep::{sleep, sleep_until};
pub use ticker::Ticker;
pub use timeout::{Elapsed, timeout};
pub use timer::{Timer, after_func};

use gort_core::clock;

use crate::chan::{Receiver, timed};

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

/// The moment `duration` from now for a timer. The last one the clock has stands for never, and a
/// timer set for it is still one that has not fired.
fn due_after(duration: Duration) -> u64 {
    clock::deadline_after(duration).min(u64::MAX - 1)
}

/// A channel of a timer (no period) or ticker: it reports length and capacity 0.
fn channel(due_ns: u64, period_ns: Option<u64>) -> Receiver<Instant> {
    timed::channel(clock::to_instant(due_ns), due_ns, period_ns, true)
}

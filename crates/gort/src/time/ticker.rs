//! [`Ticker`]: an event that comes again and again.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use super::{channel, due_after};
use crate::chan::{Receiver, timed};

/// A channel that holds the time at regular intervals. Go's `time.Ticker`.
///
/// Ticks that nobody receives in time are dropped: there is at most one to be received. Dropping the
/// ticker stops it.
///
/// # Examples
///
/// ```
/// use gort::time::{Duration, Ticker};
///
/// let ticker = Ticker::new(Duration::from_millis(1));
/// let first = ticker.chan().recv().unwrap();
/// assert!(ticker.chan().recv().unwrap() > first);
/// ```
#[doc(alias = "time.Ticker")]
#[must_use = "a ticker that is dropped does not tick"]
pub struct Ticker {
    receiver: Receiver<Instant>,
}

impl Ticker {
    /// A ticker whose first tick comes after `period`.
    ///
    /// # Panics
    ///
    /// If `period` is 0, with Go's text.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, Instant, Ticker};
    ///
    /// let start = Instant::now();
    /// let ticker = Ticker::new(Duration::from_millis(1));
    /// ticker.chan().recv().unwrap();
    /// assert!(start.elapsed() >= Duration::from_millis(1));
    /// ```
    #[doc(alias = "NewTicker")]
    #[track_caller]
    pub fn new(period: Duration) -> Ticker {
        assert!(!period.is_zero(), "non-positive interval for NewTicker");
        Ticker {
            receiver: channel(due_after(period), Some(period_ns(period))),
        }
    }

    /// The channel. Each value is the moment for which the tick was set.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, Ticker};
    ///
    /// let ticker = Ticker::new(Duration::from_millis(1));
    /// let ticks: Vec<_> = ticker.chan().iter().take(3).collect();
    /// assert!(ticks.is_sorted());
    /// ```
    pub fn chan(&self) -> &Receiver<Instant> {
        &self.receiver
    }

    /// Stops the ticker: nothing will be received any more. The channel stays open.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, Ticker};
    ///
    /// let ticker = Ticker::new(Duration::from_millis(1));
    /// ticker.stop();
    /// assert!(ticker.chan().recv_timeout(Duration::from_millis(5)).is_err());
    /// ```
    pub fn stop(&self) {
        timed::set(&self.receiver, None, None);
    }

    /// Goes on with another period; the next tick comes after it.
    ///
    /// # Panics
    ///
    /// If `period` is 0, with Go's text.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, Ticker};
    ///
    /// let ticker = Ticker::new(Duration::from_secs(3600));
    /// ticker.reset(Duration::from_millis(1));
    /// ticker.chan().recv().unwrap();
    /// ```
    #[track_caller]
    pub fn reset(&self, period: Duration) {
        assert!(!period.is_zero(), "non-positive interval for Ticker.Reset");
        timed::set(
            &self.receiver,
            Some(due_after(period)),
            Some(period_ns(period)),
        );
    }
}

fn period_ns(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

//! The runtime's clock: nanoseconds of CLOCK_MONOTONIC in a `u64`; `u64::MAX` is "never".
//!
//! std's `Instant` is the same clock but opaque, so conversions go through one moment known on both,
//! found at first use. It has to be the same moment to the nanosecond: if it were not, a value of a
//! timer could lie before the moment it was set for, or a sleep could end before its deadline.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Now, in nanoseconds.
#[inline]
pub fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `clock_gettime` writes one timespec. CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The point `duration` from now; [`NEVER`] where that does not fit, which is the highest.
pub fn deadline_after(duration: Duration) -> u64 {
    now_ns().saturating_add(to_ns(duration))
}

/// A duration in nanoseconds; the longest are [`NEVER`].
pub(crate) fn to_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// Resolution of the time since a park: 10 ms. Reading a clock at each park would cost more than the
/// park's bookkeeping.
///
/// The scheduler takes what parked in this step for what the caches still have. At 100 ms that was wrong of a crowd
/// of 20,000: waking each took 850 ns instead of 570.
pub const COARSE_NS: u64 = 10_000_000;

/// See [`COARSE_NS`]. Writers: sysmon, and whoever starts it or ends its long sleep: while it sleeps
/// nobody parks.
static COARSE: AtomicU32 = AtomicU32::new(0);

/// The coarse time, for parkers.
#[inline]
pub(crate) fn coarse_now() -> u32 {
    COARSE.load(Ordering::Relaxed)
}

pub(crate) fn set_coarse(now_ns: u64) {
    COARSE.store(to_coarse(now_ns), Ordering::Relaxed);
}

/// The steps of [`COARSE_NS`] at `ns`; they wrap after 497 days.
fn to_coarse(ns: u64) -> u32 {
    (ns / COARSE_NS) as u32
}

/// How long before `now_ns` the coarse time was `then`, up to 497 days; nothing for one that comes after.
pub(crate) fn since_coarse(then: u32, now_ns: u64) -> Duration {
    /// A minute and more: `now_ns` may have been read long ago.
    const LATER_MAX: u32 = 1 << 13;
    let steps = to_coarse(now_ns).wrapping_sub(then);
    let steps = if steps > u32::MAX - LATER_MAX {
        0
    } else {
        steps
    };
    Duration::from_nanos(u64::from(steps) * COARSE_NS)
}

/// One moment on both clocks.
fn base() -> (Instant, u64) {
    static BASE: OnceLock<(Instant, u64)> = OnceLock::new();
    *BASE.get_or_init(find_base)
}

/// An `Instant` and its nanoseconds.
///
/// It shows them as text only. Readings of the clock before and after it prove that we read the text
/// rightly; if std ever shows something else, the tightest of several pairs of readings has to do.
#[cold]
fn find_base() -> (Instant, u64) {
    let tries = (0..16).map(|_| {
        let before = now_ns();
        let instant = Instant::now();
        let after = now_ns();
        match shown_ns(instant).filter(|ns| (before..=after).contains(ns)) {
            Some(ns) => (0, instant, ns),
            None => (after - before, instant, before + (after - before) / 2),
        }
    });
    let (_, instant, ns) = tries
        .min_by_key(|&(error, ..)| error)
        .expect("there are tries");
    (instant, ns)
}

/// The nanoseconds in `Instant { tv_sec: 12, tv_nsec: 345 }`.
fn shown_ns(instant: Instant) -> Option<u64> {
    let text = format!("{instant:?}");
    let field = |name: &str| -> Option<u64> {
        let digits = &text[text.find(name)? + name.len()..];
        digits[..digits.find(|c: char| !c.is_ascii_digit())?]
            .parse()
            .ok()
    };
    field("tv_sec: ")?
        .checked_mul(1_000_000_000)?
        .checked_add(field("tv_nsec: ")?)
}

/// The nanoseconds at `instant`; 0 where it lies before the clock's start.
pub fn from_instant(instant: Instant) -> u64 {
    let (base, base_ns) = base();
    match instant.checked_duration_since(base) {
        Some(after) => {
            u64::try_from(after.as_nanos()).map_or(NEVER, |ns| base_ns.saturating_add(ns))
        }
        None => {
            let before = base.duration_since(instant).as_nanos();
            u64::try_from(before).map_or(0, |ns| base_ns.saturating_sub(ns))
        }
    }
}

/// The `Instant` at `ns`. Far points are cut to about a century from now, which std can hold.
pub fn to_instant(ns: u64) -> Instant {
    let (base, base_ns) = base();
    if ns >= base_ns {
        let ahead = Duration::from_nanos((ns - base_ns).min(100 * 365 * 86_400 * 1_000_000_000));
        base + ahead
    } else {
        base.checked_sub(Duration::from_nanos(base_ns - ns))
            .unwrap_or(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_convert_both_ways() {
        let now = Instant::now();
        let ns = from_instant(now);
        assert!(ns.abs_diff(now_ns()) < 1_000_000_000);
        assert_eq!(to_instant(ns), now);
        let earlier = now
            .checked_sub(Duration::from_millis(5))
            .expect("the machine is up 5 ms");
        assert_eq!(from_instant(earlier), ns - 5_000_000);
    }

    #[test]
    fn both_clocks_agree_to_the_nanosecond() {
        for _ in 0..1000 {
            let before = now_ns();
            let instant = Instant::now();
            let after = now_ns();
            let ns = from_instant(instant);
            assert!((before..=after).contains(&ns), "{before} {ns} {after}");
            assert_eq!(shown_ns(instant), Some(ns), "std shows something else now");
        }
    }

    #[test]
    fn a_coarse_time_that_comes_later_is_no_age() {
        let now_ns = 86_400 * 1_000_000_000;
        let then = to_coarse(now_ns - 7 * COARSE_NS);
        assert_eq!(since_coarse(then, now_ns), Duration::from_millis(70));
        let later = to_coarse(now_ns + COARSE_NS);
        assert_eq!(since_coarse(later, now_ns), Duration::ZERO);
        let before_the_wrap = u32::MAX;
        assert_eq!(
            since_coarse(before_the_wrap, COARSE_NS),
            Duration::from_millis(20)
        );
        let year_ns = 365 * 86_400 * 1_000_000_000;
        assert_eq!(
            since_coarse(1, year_ns + COARSE_NS),
            Duration::from_nanos(year_ns)
        );
    }

    #[test]
    fn the_longest_duration_is_never() {
        assert_eq!(deadline_after(Duration::MAX), NEVER);
        assert!(deadline_after(Duration::ZERO) <= now_ns());
    }
}

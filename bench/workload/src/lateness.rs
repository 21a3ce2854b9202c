//! How late a ticker of 1 ms is, seen by the one who waits for it.
//!
//! Tick `k` is due `k` ms after the start. Whoever is told at some moment has been served all ticks
//! due until then, each as late as it is at that moment. So a pause of 20 ms is not one late tick but
//! twenty, and a ticker that drops ticks for a slow receiver gains nothing by it. A tick that is not
//! served within [`GRACE`] of the last one is `never`, and stands in the table as that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Measured;

/// The time between two ticks.
pub const TICK: Duration = Duration::from_millis(1);

/// How long after the last tick a run is given up. The longest pause that a runtime makes before it
/// lets somebody else run is far below.
pub const GRACE: Duration = Duration::from_secs(3);

/// The lateness of each tick of a run. One goroutine serves, anybody looks.
#[derive(Debug)]
pub struct Lateness {
    start: Instant,
    late_ns: Box<[AtomicU64]>,
    served: AtomicUsize,
    seen: AtomicUsize,
}

impl Lateness {
    /// `n` ticks from now on.
    pub fn start(n: u64) -> Arc<Lateness> {
        Arc::new(Lateness {
            start: Instant::now(),
            late_ns: (0..n).map(|_| AtomicU64::new(0)).collect(),
            served: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
        })
    }

    /// When the first tick is due that nobody has served; none after the last.
    pub fn next(&self) -> Option<Instant> {
        let served = self.served.load(Ordering::Acquire);
        (served < self.late_ns.len()).then(|| self.due(served))
    }

    /// Serves all that is due now. True while more is to come.
    pub fn serve(&self) -> bool {
        self.serve_at(Instant::now())
    }

    fn serve_at(&self, now: Instant) -> bool {
        let mut served = self.served.load(Ordering::Relaxed);
        while served < self.late_ns.len() && self.due(served) <= now {
            let late = now - self.due(served);
            self.late_ns[served].store(late.as_nanos() as u64, Ordering::Relaxed);
            served += 1;
        }
        self.served.store(served, Ordering::Release);
        self.seen.fetch_add(1, Ordering::Relaxed);
        served < self.late_ns.len()
    }

    fn due(&self, index: usize) -> Instant {
        self.start + TICK * (index as u32 + 1)
    }

    /// Blocks this OS thread until the last tick is served, or until that will not happen any more.
    pub fn wait(&self) {
        let last = self.due(self.late_ns.len());
        while self.next().is_some() && Instant::now() < last + GRACE {
            // The thread is none of the runtime's; it only looks.
            thread::sleep(TICK * 5);
        }
    }

    /// The result line: `p50_us`, `p99_us`, `max_us`, `seen`.
    ///
    /// # Panics
    ///
    /// If a tick was counted twice or not at all.
    pub fn measured(&self) -> Measured {
        let served = self.served.load(Ordering::Acquire);
        let n = self.late_ns.len();
        let mut late_us: Vec<f64> = self.late_ns[..served]
            .iter()
            .map(|late| late.load(Ordering::Relaxed) as f64 / 1_000.0)
            .collect();
        late_us.resize(n, f64::INFINITY);
        late_us.sort_by(f64::total_cmp);
        let counted: usize = histogram(&late_us).iter().sum();
        assert_eq!(counted, n, "each tick is late by one time");
        let at = |share: f64| late_us[((n - 1) as f64 * share).round() as usize];
        Measured::new(n as u64, self.start.elapsed())
            .with("p50_us", at(0.50))
            .with("p99_us", at(0.99))
            .with("max_us", at(1.0))
            .with("seen", self.seen.load(Ordering::Relaxed) as f64)
            .with("served", served as f64)
    }
}

/// How many are below 2 µs, 4 µs, 8 µs and so on; the last is `never`.
fn histogram(late_us: &[f64]) -> [usize; 40] {
    let mut counts = [0; 40];
    for late in late_us {
        let bucket = late.max(1.0).log2().min(39.0) as usize;
        counts[bucket] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_makes_every_tick_in_it_late() {
        let lateness = Lateness::start(10);
        let start = lateness.start;
        assert!(lateness.serve_at(start + TICK));
        assert_eq!(lateness.next(), Some(start + TICK * 2));
        assert!(!lateness.serve_at(start + TICK * 10));
        assert_eq!(lateness.next(), None);
        let line = format!("{:?}", lateness.measured());
        for expected in [
            r#"("p50_us", 4000.0)"#,
            r#"("max_us", 8000.0)"#,
            r#"("seen", 2.0)"#,
            r#"("served", 10.0)"#,
        ] {
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn a_tick_that_nobody_serves_is_late_for_ever() {
        let lateness = Lateness::start(4);
        let start = lateness.start;
        assert!(lateness.serve_at(start + TICK));
        let line = format!("{:?}", lateness.measured());
        assert!(line.contains(r#"("p50_us", inf)"#), "{line}");
        assert!(line.contains(r#"("served", 1.0)"#), "{line}");
    }
}

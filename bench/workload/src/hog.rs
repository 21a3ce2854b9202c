//! Loops that call nothing, and how the rest of a program gets on beside them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Lateness, Measured};

/// How many loops [`Workload::Hog`](crate::Workload::Hog) has.
pub const HOGS: usize = 4;

/// Says when the loops of a run end, and what each has done.
#[derive(Debug, Default)]
pub struct Hogs {
    stop: AtomicBool,
    rounds: [AtomicU64; HOGS],
}

impl Hogs {
    /// Computes until [`stop`](Self::stop), without a call.
    pub fn burn(&self, hog: usize) {
        let rounds = burn(&self.stop);
        self.rounds[hog].store(rounds, Ordering::Relaxed);
    }

    /// Ends the loops.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Adds what the slowest loop has done, in per cent of the mean, once all have ended.
    pub fn measured(&self, measured: Measured) -> Measured {
        let rounds = self
            .rounds
            .each_ref()
            .map(|rounds| rounds.load(Ordering::Relaxed));
        let total: u64 = rounds.iter().sum();
        let least = rounds.into_iter().min().unwrap_or(0);
        assert!(total > 0, "no loop has run");
        let mean = total as f64 / HOGS as f64;
        measured.with("slowest_hog_percent", least as f64 / mean * 100.0)
    }
}

/// A chain of multiplications, which the compiler can neither leave out nor do two at a time.
#[inline(never)]
fn burn(stop: &AtomicBool) -> u64 {
    let (mut value, mut rounds) = (1_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        value = value
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        rounds += 1;
    }
    black_box(value);
    rounds
}

/// Computes and never ends.
pub fn burn_for_ever() -> ! {
    burn(&AtomicBool::new(false));
    unreachable!("nobody stops it")
}

/// What goes on beside a loop without end: [`Workload::HogRest`](crate::Workload::HogRest).
#[derive(Debug)]
pub struct Rest {
    /// The ticker's.
    pub lateness: Arc<Lateness>,
    /// Round trips over two channels.
    pub ping_pong: Steps,
    /// Round trips over a connection.
    pub echo: Steps,
}

impl Rest {
    /// From now on, for `n` ticks.
    pub fn start(n: u64) -> Arc<Rest> {
        Arc::new(Rest {
            lateness: Lateness::start(n),
            ping_pong: Steps::start(),
            echo: Steps::start(),
        })
    }

    /// Blocks this OS thread until the last tick, or until that will not come, and sums up.
    pub fn wait(&self) -> Measured {
        self.lateness.wait();
        let (ping_pongs, ping_pong_gap_ms) = self.ping_pong.end();
        let (echoes, echo_gap_ms) = self.echo.end();
        self.lateness
            .measured()
            .with("ping_pongs", ping_pongs)
            .with("ping_pong_gap_ms", ping_pong_gap_ms)
            .with("echoes", echoes)
            .with("echo_gap_ms", echo_gap_ms)
    }
}

/// Something that ought to happen again and again: how often it did, and the longest time it did not.
#[derive(Debug)]
pub struct Steps {
    start: Instant,
    last_ns: AtomicU64,
    gap_ns: AtomicU64,
    count: AtomicU64,
    is_over: AtomicBool,
}

impl Steps {
    /// From now on.
    pub fn start() -> Steps {
        Steps {
            start: Instant::now(),
            last_ns: AtomicU64::new(0),
            gap_ns: AtomicU64::new(0),
            count: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// It has happened. Called by one goroutine. True while it should go on.
    pub fn step(&self) -> bool {
        let now = self.start.elapsed().as_nanos() as u64;
        let last = self.last_ns.swap(now, Ordering::Relaxed);
        self.gap_ns.fetch_max(now - last, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        !self.is_over.load(Ordering::Relaxed)
    }

    /// It need not happen any more.
    ///
    /// Gives how often it did, and the longest time without it in ms: infinite if it never did or has
    /// stopped for a second.
    pub fn end(&self) -> (f64, f64) {
        self.is_over.store(true, Ordering::Relaxed);
        let since_last = self
            .start
            .elapsed()
            .saturating_sub(Duration::from_nanos(self.last_ns.load(Ordering::Relaxed)));
        let count = self.count.load(Ordering::Relaxed);
        let gap_ms = match count {
            0 => f64::INFINITY,
            _ if since_last > Duration::from_secs(1) => f64::INFINITY,
            _ => self.gap_ns.load(Ordering::Relaxed) as f64 / 1e6,
        };
        (count as f64, gap_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_loop_is_compared_with_the_mean() {
        let hogs = Hogs::default();
        for (hog, rounds) in [10, 20, 30, 20].into_iter().enumerate() {
            hogs.rounds[hog].store(rounds, Ordering::Relaxed);
        }
        let line = format!("{:?}", hogs.measured(Measured::new(1, Duration::ZERO)));
        assert!(line.contains(r#"("slowest_hog_percent", 50.0)"#), "{line}");
    }

    #[test]
    fn a_loop_ends_when_it_is_told_to() {
        let hogs = Hogs::default();
        std::thread::scope(|scope| {
            let hog = scope.spawn(|| hogs.burn(0));
            hogs.stop();
            hog.join().expect("no panic inside");
        });
    }

    #[test]
    fn what_never_happened_has_no_longest_gap() {
        let steps = Steps::start();
        assert_eq!(steps.end(), (0.0, f64::INFINITY));
        assert!(!steps.step());
        let (count, gap_ms) = steps.end();
        assert_eq!(count, 1.0);
        assert!(gap_ms.is_finite());
    }
}

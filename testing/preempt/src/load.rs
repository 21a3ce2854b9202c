//! What makes goroutines lose their P: others that compute, and timers that are due.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gort_test_support::Random;

/// Goroutines that run until this is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    goroutines: Vec<gort::JoinHandle<()>>,
}

impl Load {
    /// `hogs` loops that call nothing, and `tickers` that are due every 100 µs to 1 ms, each of which asks
    /// that somebody be preempted.
    pub(crate) fn start(hogs: usize, tickers: usize, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut goroutines = Vec::new();
        for _ in 0..hogs {
            let stop = Arc::clone(&stop);
            goroutines.push(gort::go(move || {
                let mut value = 1_u64;
                while !stop.load(Ordering::Relaxed) {
                    value = value
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                }
                black_box(value);
            }));
        }
        for ticker in 0..tickers {
            let stop = Arc::clone(&stop);
            let mut random = Random::new(seed ^ ticker as u64);
            goroutines.push(gort::go(move || {
                while !stop.load(Ordering::Relaxed) {
                    // waits: it is a timer that the load is made of.
                    gort::time::sleep(Duration::from_micros(100 + random.below(900)));
                }
            }));
        }
        Load { stop, goroutines }
    }

    /// Ends it, and waits for that.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for goroutine in self.goroutines {
            goroutine.join().expect("it does not panic");
        }
    }
}

/// Computes for about that long.
pub(crate) fn burn(length: Duration) {
    let start = std::time::Instant::now();
    let mut value = 1_u64;
    while start.elapsed() < length {
        for _ in 0..100 {
            value = value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
        }
    }
    black_box(value);
}

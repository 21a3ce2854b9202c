//! Timers against their stopping: sleeps, ticks, timeouts, `after` receivers that are dropped early.

use std::time::{Duration, Instant};

use gort::chan;
use gort_test_support::Random;

use crate::progress;

pub(super) fn round(random: &mut Random) -> u64 {
    let workers = 4 + random.below(60);
    let steps = 10 + random.below(40);
    let handles: Vec<_> = (0..workers)
        .map(|_| {
            let random = random.fork();
            gort::go(move || work(steps, random))
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    workers * steps
}

fn work(steps: u64, mut random: Random) {
    let never = chan::never::<()>();
    for _ in 0..steps {
        let length = Duration::from_micros(random.below(500));
        let start = Instant::now();
        match random.below(5) {
            0 => {
                // waits: sleeping is what is tested.
                gort::time::sleep(length);
                assert!(start.elapsed() >= length, "woken early");
            }
            1 => {
                let due = chan::after(length);
                due.recv().unwrap();
                assert!(start.elapsed() >= length, "woken early");
            }
            2 => {
                assert!(never.recv_timeout(length).unwrap_err().is_timeout());
                assert!(start.elapsed() >= length, "woken early");
            }
            3 => {
                // Dropped before it is due, most of the time.
                let due = chan::after(length * 10);
                gort::yield_now();
                drop(due);
            }
            _ => {
                let ticks = chan::tick(Duration::from_micros(50 + random.below(100)));
                for _ in 0..random.below(4) {
                    ticks.recv().unwrap();
                }
            }
        }
        progress();
    }
}

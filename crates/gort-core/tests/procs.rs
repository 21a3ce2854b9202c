//! GOMAXPROCS goes up and down while Ps are given up. Alone in its binary: what it looks for is an
//! invariant whose breach ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort_core::runtime;
use gort_core::sched::{self, SpawnOptions, join::Outcome};

/// Each round gives up a P in whose `run_next` there is a goroutine.
fn start_and_block(is_over: &AtomicBool) -> u64 {
    let mut rounds = 0;
    while !is_over.load(Ordering::Relaxed) {
        let other = sched::spawn(|| (), SpawnOptions::new()).expect("there is room");
        sched::blocking(|| ());
        assert!(matches!(other.join(), Outcome::Returned(())));
        rounds += 1;
    }
    rounds
}

#[test]
fn no_p_becomes_idle_with_work_when_the_number_is_raised_at_that_instant() {
    runtime::ensure_started();
    let is_over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            let work = move || start_and_block(&is_over);
            sched::spawn(work, SpawnOptions::new()).expect("there is room")
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        runtime::set_gomaxprocs(4);
        runtime::set_gomaxprocs(1);
    }
    is_over.store(true, Ordering::Relaxed);
    for worker in workers {
        assert!(matches!(worker.join(), Outcome::Returned(1..)));
    }
}

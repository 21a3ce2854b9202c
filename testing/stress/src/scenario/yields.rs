//! Goroutines that yield, some of them waiting for others by nothing else, while GOMAXPROCS goes up and down: each
//! gets its turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gort::runtime::set_gomaxprocs;
use gort_test_support::Random;

use crate::progress;

pub(super) fn round(random: &mut Random) -> u64 {
    let procs = set_gomaxprocs(0);
    let count = 2 + random.below(300);
    let total = Arc::new(AtomicU64::new(0));
    let handles: Vec<_> = (0..count)
        .map(|index| {
            let (mut own, total) = (random.fork(), Arc::clone(&total));
            let turns = own.below(200);
            gort::go(move || {
                if index % 4 == 0 {
                    wait_for_one_started_here(&mut own);
                }
                for _ in 0..turns {
                    gort::yield_now();
                    total.fetch_add(1, Ordering::Relaxed);
                }
                turns
            })
        })
        .collect();
    for _ in 0..random.below(20) {
        set_gomaxprocs(1 + random.index(procs + 1));
        for _ in 0..random.below(100) {
            gort::yield_now();
        }
        progress();
    }
    let turns: u64 = handles
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .sum();
    set_gomaxprocs(procs);
    assert_eq!(total.load(Ordering::Relaxed), turns);
    turns
}

/// Readies one that runs next, and yields until it has run.
fn wait_for_one_started_here(random: &mut Random) {
    let has_run = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&has_run);
    let pauses = random.below(50);
    gort::go(move || {
        for _ in 0..pauses {
            gort::yield_now();
        }
        seen.store(true, Ordering::Release);
    });
    while !has_run.load(Ordering::Acquire) {
        gort::yield_now();
    }
}

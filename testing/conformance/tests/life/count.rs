//! S2, S3, S5: many goroutines, one after the other and at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::runtime::num_goroutine;
use gort::sync::WaitGroup;
use gort_conformance::child;

use crate::support::sized;

/// Takes some 2 s.
const MANY: usize = if cfg!(debug_assertions) {
    200_000
} else {
    1_000_000
};

#[gort::test]
fn s002_a_wait_group_counts_a_million_goroutines() {
    let n = sized(MANY, 2_000, 10_000_000);
    let done = Arc::new(AtomicUsize::new(0));
    let wg = WaitGroup::new();
    for _ in 0..n {
        wg.add(1);
        let (wg, done) = (wg.clone(), Arc::clone(&done));
        gort::go(move || {
            done.fetch_add(1, Ordering::Relaxed);
            wg.done();
        });
        // On one P the others run only when this goroutine lets them.
        gort::checkpoint();
    }
    wg.wait();
    assert_eq!(done.load(Ordering::Relaxed), n);
}

/// How many live at once, and how many stacks there are, does not depend on how many there were.
#[test]
fn s003_a_long_run_of_short_goroutines_keeps_few() {
    child::of(|| {
        const AT_ONCE: usize = 1_000;
        const PROCS: usize = 2;
        // Those that wait when the starter yields run before it does, but for what other Ps have taken
        // into their rings of 256.
        const ALIVE_MAX: usize = AT_ONCE + PROCS * 256 + 10;
        gort::run(|| {
            let n = sized(MANY, 5_000, 10_000_000);
            let peak = Arc::new(AtomicUsize::new(0));
            let start = |count: usize| {
                for i in 0..count {
                    let peak = Arc::clone(&peak);
                    gort::go(move || {
                        if i % 100 == 0 {
                            peak.fetch_max(num_goroutine(), Ordering::Relaxed);
                        }
                    });
                    if i % AT_ONCE == 0 {
                        gort::yield_now();
                    }
                }
            };
            start(n / 10);
            let stacks_first = stacks_made();
            start(n - n / 10);
            let (peak, stacks) = (peak.load(Ordering::Relaxed), stacks_made());
            println!("of {n} {peak} at once; stacks {stacks_first}, then {stacks}");
            assert!(peak <= ALIVE_MAX, "{peak} alive of {n}");
            // Each P keeps up to 32 unused ones.
            let stacks_max = ALIVE_MAX + PROCS * 32;
            assert!(stacks <= stacks_max, "{stacks} stacks for {peak} at once");
        });
        // Main does not wait for the last ones (D8).
    })
    .procs(2)
    .passes();
}

/// Stacks that were ever made; the memory of none of them is given back.
fn stacks_made() -> usize {
    let classes = gort_core::runtime::report().stacks.classes;
    classes.iter().map(|class| class.slots).sum()
}

#[gort::test]
fn s005_each_goroutine_sees_its_own_loop_variable() {
    let handles: Vec<_> = (0..100).map(|i| gort::go(move || i)).collect();
    let seen: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

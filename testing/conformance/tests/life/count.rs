//! S2 to S5 and S24: many goroutines, one after the other and at once, and what they tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::chan;
use gort::runtime::num_goroutine;
use gort::sync::WaitGroup;
use gort_conformance::child;

use gort_conformance::look::{sized, stacks_made, until, until_waiting};
use gort_core::snapshot::{self, Goroutine};
use gort_core::wait_reason::WaitReason;

/// Takes some 2 s.
const MANY: usize = if cfg!(debug_assertions) {
    200_000
} else {
    1_000_000
};

#[gort::test(timeout = "10m")]
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

#[test]
fn s004_all_park_on_one_channel_and_end_when_it_closes() {
    child::of(|| {
        gort::run(|| {
            let n = sized(10_000, 500, 1_000_000);
            let (tx, rx) = chan::bounded::<()>(0);
            let handles: Vec<_> = (0..n)
                .map(|_| {
                    let rx = rx.clone();
                    gort::go(move || rx.recv())
                })
                .collect();
            until_waiting(&handles[n - 1], WaitReason::ChanReceive);
            let parked = || {
                let all = snapshot::goroutines();
                let waiting = |g: &&Goroutine| g.wait_reason == Some(WaitReason::ChanReceive);
                all.iter().filter(waiting).count()
            };
            until("all are parked", || parked() == n);
            assert_eq!(num_goroutine(), n + 1);
            assert!(tx.close());
            for handle in handles {
                assert_eq!(handle.join().unwrap(), Err(chan::RecvError));
            }
            assert_eq!(num_goroutine(), 1);
        });
    })
    .passes();
}

#[gort::test]
fn s024_close_is_heard_by_all() {
    let (tx, rx) = chan::bounded::<()>(0);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let rx = rx.clone();
            gort::go(move || rx.recv())
        })
        .collect();
    for handle in &waiting {
        until_waiting(handle, WaitReason::ChanReceive);
    }
    tx.close();
    for handle in waiting {
        assert_eq!(handle.join().unwrap(), Err(chan::RecvError));
    }
}

#[gort::test]
fn s024_a_channel_is_a_queue() {
    let (tx, rx) = chan::bounded(7);
    let sender = gort::go(move || {
        for i in 0..1_000 {
            tx.send(i).unwrap();
        }
    });
    assert!(rx.iter().eq(0..1_000));
    sender.join().unwrap();
}

#[gort::test]
fn s024_a_channel_of_one_is_a_lock() {
    let (lock, unlock) = chan::bounded(1);
    let count = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..10)
        .map(|_| {
            let (lock, unlock, count) = (lock.clone(), unlock.clone(), Arc::clone(&count));
            gort::go(move || {
                for i in 0..1_000 {
                    lock.send(()).unwrap();
                    // Not one step: without the lock others come between.
                    let before = count.load(Ordering::Relaxed);
                    if i % 16 == 0 {
                        gort::yield_now();
                    }
                    count.store(before + 1, Ordering::Relaxed);
                    unlock.recv().unwrap();
                }
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 10_000);
}

#[gort::test]
fn s005_each_goroutine_sees_its_own_loop_variable() {
    let handles: Vec<_> = (0..100).map(|i| gort::go(move || i)).collect();
    let seen: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

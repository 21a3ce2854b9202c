//! SY13 to SY16, S6, S9 to S12, S134.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use gort::sync::WaitGroup;
use gort_conformance::support::{assert_not_for_a_while, eventually_parked, go_named, panic_text};

const NEGATIVE: &str = "sync: negative WaitGroup counter";
const ADD_AND_WAIT: &str = "sync: WaitGroup misuse: Add called concurrently with Wait";
const REUSED: &str = "sync: WaitGroup is reused before previous Wait has returned";

#[gort::test]
fn sy13_s012_a_wait_group_is_reused_over_rounds() {
    const WORKERS: usize = 16;
    let (first, second) = (WaitGroup::new(), WaitGroup::new());
    for round in 0..8 {
        let passed = Arc::new(AtomicUsize::new(0));
        first.add(WORKERS as isize);
        second.add(WORKERS as isize);
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (first, second, passed) = (first.clone(), second.clone(), passed.clone());
                gort::go(move || {
                    first.done();
                    second.wait();
                    passed.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        first.wait();
        for _ in 0..WORKERS {
            assert_eq!(
                passed.load(Ordering::SeqCst),
                0,
                "round {round}: passed too early"
            );
            second.done();
        }
        workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        assert_eq!(passed.load(Ordering::SeqCst), WORKERS);
    }
}

#[test]
fn sy14_s009_a_wait_group_below_zero_panics() {
    let below = |f: &dyn Fn(&WaitGroup)| {
        let group = WaitGroup::new();
        let payload = catch_unwind(AssertUnwindSafe(|| f(&group))).expect_err("it panics");
        assert_eq!(panic_text(&*payload), NEGATIVE);
        // The counter is as it was.
        group.wait();
    };
    below(&|group| group.done());
    below(&|group| group.add(-1));
    below(&|group| group.add(isize::MIN));
    below(&|group| group.add(isize::MAX));
    below(&|group| {
        group.add(1);
        group.done();
        group.done();
    });
}

#[test]
fn s009_an_add_that_leaves_the_counter_above_zero_or_nobody_waiting_returns() {
    let group = WaitGroup::new();
    group.add(2);
    group.add(-1);
    group.add(3);
    group.add(-4);
    // Zero, nobody waits.
    group.wait();
    group.add(0);
    group.wait();
    assert!(format!("{group:?}").contains("counter: 0"));
}

#[gort::test]
fn s009_s011_the_last_done_wakes_every_waiter() {
    for count in [1, 2, 1000] {
        let group = WaitGroup::new();
        let returned = Arc::new(AtomicUsize::new(0));
        group.add(1);
        let waiters: Vec<_> = (0..count)
            .map(|i| {
                let (group, returned) = (group.clone(), returned.clone());
                go_named(&format!("waiter-{count}-{i}"), move || {
                    group.wait();
                    returned.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        eventually_parked(
            &format!("waiter-{count}-{}", count - 1),
            "sync.WaitGroup.Wait",
        );
        assert_not_for_a_while("nothing is done", || returned.load(Ordering::SeqCst) > 0);
        group.done();
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
        assert_eq!(returned.load(Ordering::SeqCst), count);
    }
}

#[gort::test(procs = 1)]
fn s011_a_wait_notices_that_its_group_is_reused() {
    let group = WaitGroup::new();
    // On one P the woken waiter has not run when we add again; only a lost time slice can let it.
    for _ in 0..100 {
        group.add(1);
        let waiter = {
            let group = group.clone();
            go_named("reused", move || group.wait())
        };
        eventually_parked("reused", "sync.WaitGroup.Wait");
        group.done();
        group.add(1);
        let outcome = waiter.join();
        group.done();
        if let Err(error) = outcome {
            assert_eq!(panic_text(&*error.into_panic()), REUSED);
            return;
        }
    }
    panic!("no reuse was noticed in 100 rounds");
}

#[test]
fn s006_sy15_counter_and_waiters_share_one_aligned_word() {
    assert!(align_of::<WaitGroup>() >= 8);
    #[repr(C)]
    struct Behind {
        _byte: u8,
        group: WaitGroup,
    }
    let behind = Behind {
        _byte: 1,
        group: WaitGroup::new(),
    };
    assert_eq!((&raw const behind.group).addr() % 8, 0);
    behind.group.add(1);
    let group = behind.group.clone();
    gort::go(move || group.done());
    behind.group.wait();
}

#[gort::test]
fn sy16_go_adds_and_finishes() {
    let group = WaitGroup::new();
    let i = Arc::new(AtomicU32::new(0));
    {
        let i = i.clone();
        group.go(move || {
            i.fetch_add(1, Ordering::Relaxed);
        });
    }
    group.wait();
    assert_eq!(i.load(Ordering::Relaxed), 1);
    // Also when the function does not return.
    group.go(|| panic!("on purpose"));
    group.go(|| gort::goexit());
    group.wait();
}

/// Adds inside the goroutines. What comes of it is chance; a hang or a third outcome is not.
fn assert_adds_inside_end(goroutines: usize) {
    let group = WaitGroup::new();
    let count = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..goroutines)
        .map(|_| {
            let (group, count) = (group.clone(), count.clone());
            gort::go(move || {
                group.add(1);
                count.fetch_add(1, Ordering::Relaxed);
                group.done();
            })
        })
        .collect();
    let waited = catch_unwind(AssertUnwindSafe(|| group.wait()));
    assert!(count.load(Ordering::Relaxed) <= goroutines);
    if let Err(payload) = waited {
        assert_eq!(panic_text(&*payload), REUSED);
    }
    for worker in workers {
        if let Err(error) = worker.join() {
            assert_eq!(panic_text(&*error.into_panic()), ADD_AND_WAIT);
        }
    }
    // Nothing is left counted.
    group.wait();
}

#[gort::test]
fn s010_add_inside_the_goroutine_ends_or_panics() {
    for _ in 0..200 {
        assert_adds_inside_end(1);
    }
}

#[gort::test]
fn s134_a_thousand_adds_inside_never_hang_and_go_counts_all() {
    for _ in 0..20 {
        assert_adds_inside_end(1000);
    }
    let group = WaitGroup::new();
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..1000 {
        let count = count.clone();
        group.go(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
    group.wait();
    assert_eq!(count.load(Ordering::Relaxed), 1000);
}

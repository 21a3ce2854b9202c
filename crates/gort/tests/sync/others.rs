//! Semaphore, Barrier, WaitGroup.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::sync::{Barrier, Semaphore, WaitGroup};
use gort_test_support::{eventually_parked, eventually_parked_or_over, go_named};

#[gort::test]
fn a_large_request_is_not_passed_by_small_ones() {
    let semaphore = Arc::new(Semaphore::new(3));
    let two = semaphore.acquire(2);
    let large = {
        let semaphore = semaphore.clone();
        go_named("large", move || semaphore.acquire(3).count())
    };
    eventually_parked("large", "semacquire");
    assert_eq!(semaphore.available_permits(), 1);
    assert!(
        semaphore.try_acquire(1).is_none(),
        "one is free, but another is first in line"
    );
    drop(two);
    assert_eq!(large.join().unwrap(), 3);
    assert_eq!(semaphore.available_permits(), 3);
}

#[gort::test]
fn one_that_gives_up_lets_those_behind_it_go_on() {
    // Longer, if the machine was too busy for both to be parked before the first gave up.
    let was_in_time = [20, 300, 3000].into_iter().any(|ms| {
        let semaphore = Arc::new(Semaphore::new(2));
        let one = semaphore.acquire(1);
        let impatient = go_named("impatient-acquirer", {
            let semaphore = semaphore.clone();
            move || {
                let patience = Duration::from_millis(ms);
                semaphore.try_acquire_for(2, patience).is_none()
            }
        });
        eventually_parked_or_over("impatient-acquirer", "semacquire", &impatient);
        let modest = go_named("modest-acquirer", {
            let semaphore = semaphore.clone();
            move || drop(semaphore.acquire(1))
        });
        // There is enough for it, but for the one in front.
        let was_behind = eventually_parked_or_over("modest-acquirer", "semacquire", &modest);
        assert!(impatient.join().unwrap());
        modest.join().unwrap();
        drop(one);
        assert_eq!(semaphore.available_permits(), 2);
        was_behind
    });
    assert!(was_in_time, "not even within 3 s");
}

#[gort::test]
fn permits_can_be_added_and_forgotten() {
    let semaphore = Arc::new(Semaphore::new(0));
    let acquirer = {
        let semaphore = semaphore.clone();
        go_named("needs-permits", move || semaphore.acquire(5).forget())
    };
    eventually_parked("needs-permits", "semacquire");
    semaphore.add_permits(4);
    semaphore.add_permits(2);
    acquirer.join().unwrap();
    assert_eq!(semaphore.available_permits(), 1);
    let too_many = catch_unwind(AssertUnwindSafe(|| semaphore.add_permits(u64::MAX >> 1)));
    assert!(too_many.is_err());
    assert_eq!(semaphore.available_permits(), 1);
    let start = Instant::now();
    assert!(
        semaphore
            .try_acquire_for(2, Duration::from_millis(2))
            .is_none()
    );
    assert!(start.elapsed() >= Duration::from_millis(2));
}

#[gort::test(procs = 4)]
fn a_crowd_never_holds_more_than_there_is() {
    let semaphore = Semaphore::new(5);
    let held = AtomicU64::new(0);
    gort::scope(|s| {
        for i in 0..8 {
            let (semaphore, held) = (&semaphore, &held);
            s.go(move || {
                for round in 0..400 {
                    let count = (i + round) % 5 + 1;
                    let permit = if round % 3 == 0 {
                        let patience = Duration::from_nanos(round * 997 % 20_000);
                        semaphore.try_acquire_for(count, patience)
                    } else {
                        Some(semaphore.acquire(count))
                    };
                    let Some(permit) = permit else { continue };
                    assert!(held.fetch_add(count, Ordering::SeqCst) + count <= 5);
                    if round % 4 == 0 {
                        gort::yield_now();
                    }
                    held.fetch_sub(count, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(semaphore.available_permits(), 5);
}

#[gort::test(procs = 4)]
fn a_barrier_separates_generations() {
    const SIZE: usize = 5;
    let barrier = Barrier::new(SIZE);
    let (arrived, leaders) = (AtomicUsize::new(0), AtomicUsize::new(0));
    gort::scope(|s| {
        for _ in 0..SIZE {
            s.go(|| {
                for generation in 1..=200 {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    if barrier.wait().is_leader() {
                        leaders.fetch_add(1, Ordering::SeqCst);
                    }
                    // All of this generation, and at most the rest of the next.
                    let seen = arrived.load(Ordering::SeqCst);
                    assert!((generation * SIZE..(generation + 1) * SIZE).contains(&seen));
                }
            });
        }
    });
    assert_eq!(leaders.into_inner(), 200);
    assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
}

#[test]
fn a_thread_waits_for_a_group_of_goroutines() {
    let group = WaitGroup::new();
    let sum = Arc::new(AtomicU64::new(0));
    for i in 0..1000 {
        let sum = sum.clone();
        group.go(move || {
            sum.fetch_add(i, Ordering::Relaxed);
        });
    }
    group.wait();
    assert_eq!(sum.load(Ordering::Relaxed), 499_500);
}

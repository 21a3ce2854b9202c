//! SY21 to SY24, S135.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gort::sync::{Condvar, Mutex};
use gort_conformance::support::{assert_not_for_a_while, eventually, eventually_parked, go_named};

const WAITING: &str = "sync.Cond.Wait";

#[gort::test]
fn sy21_one_signal_wakes_one_waiter() {
    let shared = Arc::new((Mutex::new(()), Condvar::new()));
    let awake = Arc::new(AtomicU32::new(0));
    assert!(!shared.1.notify_one(), "nobody waits");
    let waiters: Vec<_> = (0..2)
        .map(|i| {
            let (shared, awake) = (shared.clone(), awake.clone());
            let name = format!("signalled-{i}");
            let waiter = go_named(&name, move || {
                let mut guard = shared.0.lock();
                shared.1.wait(&mut guard);
                awake.fetch_add(1, Ordering::SeqCst);
            });
            eventually_parked(&name, WAITING);
            waiter
        })
        .collect();
    for signals in 1..=2 {
        assert_not_for_a_while("one more than signalled", || {
            awake.load(Ordering::SeqCst) >= signals
        });
        assert!(shared.1.notify_one());
        eventually("the signalled one wakes", || {
            awake.load(Ordering::SeqCst) == signals
        });
    }
    assert!(!shared.1.notify_one());
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
}

#[gort::test]
fn sy22_waiters_are_signalled_in_the_order_of_their_waits() {
    let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    // Always two wait: one of each generation is signalled after the next one has begun to wait.
    let mut waiters = Vec::new();
    for i in 0..100 {
        let pair = shared.clone();
        let name = format!("generation-{i}");
        waiters.push(go_named(&name, move || {
            let mut order = pair.0.lock();
            pair.1.wait(&mut order);
            order.push(i);
        }));
        eventually_parked(&name, WAITING);
        if i > 0 {
            assert!(shared.1.notify_one());
            eventually("the signalled one wakes", || shared.0.lock().len() == i);
            assert_eq!(
                shared.0.lock().last(),
                Some(&(i - 1)),
                "not the one that waited longest"
            );
        }
    }
    assert!(shared.1.notify_one());
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    assert_eq!(*shared.0.lock(), (0..100).collect::<Vec<_>>());
}

#[gort::test]
fn sy23_a_broadcast_wakes_all_each_round() {
    const WAITERS: usize = 200;
    /// Which round it is, who has seen it, and whether it is over.
    struct State {
        round: usize,
        seen: Vec<usize>,
        stop: bool,
    }
    let shared = Arc::new((
        Mutex::new(State {
            round: 0,
            seen: vec![0; WAITERS],
            stop: false,
        }),
        Condvar::new(),
        Condvar::new(),
    ));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|i| {
            let shared = shared.clone();
            gort::go(move || {
                let mut state = shared.0.lock();
                for last in 0.. {
                    shared.2.notify_one();
                    shared
                        .1
                        .wait_while(&mut state, |state| state.round == last && !state.stop);
                    if state.stop {
                        return;
                    }
                    assert_eq!(state.round, last + 1, "a round was missed or came twice");
                    state.seen[i] += 1;
                }
            })
        })
        .collect();
    let mut state = shared.0.lock();
    for round in 0..200 {
        // All have seen the last round and wait again, since each step holds the lock.
        shared.2.wait_while(&mut state, |state| {
            state.seen.iter().any(|&seen| seen != round)
        });
        state.round += 1;
        shared.1.notify_all();
    }
    shared.2.wait_while(&mut state, |state| {
        state.seen.iter().any(|&seen| seen != 200)
    });
    state.stop = true;
    shared.1.notify_all();
    drop(state);
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    assert_eq!(shared.1.notify_all(), 0, "harmless once everybody has left");
}

#[gort::test]
fn sy24_three_goroutines_pass_a_value_under_a_cond() {
    let x = Mutex::new(0);
    let cond = Condvar::new();
    gort::scope(|s| {
        s.go(|| {
            let mut x = x.lock();
            *x = 1;
            cond.wait(&mut x);
            assert_eq!(*x, 2);
            *x = 3;
            cond.notify_one();
        });
        s.go(|| {
            let mut x = loop {
                let x = x.lock();
                if *x == 1 {
                    break x;
                }
                drop(x);
                gort::yield_now();
            };
            *x = 2;
            cond.notify_one();
        });
        s.go(|| {
            loop {
                let mut x = x.lock();
                if *x == 2 {
                    cond.wait(&mut x);
                    assert_eq!(*x, 3);
                    break;
                }
                if *x == 3 {
                    break;
                }
                drop(x);
                gort::yield_now();
            }
        });
    });
    assert_eq!(*x.lock(), 3);
}

#[gort::test]
fn s135_a_broadcast_before_the_wait_is_lost() {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    assert_eq!(shared.1.notify_all(), 0);
    let waiter = {
        let shared = shared.clone();
        go_named("late", move || {
            let mut is_set = shared.0.lock();
            shared.1.wait(&mut is_set);
        })
    };
    eventually_parked("late", WAITING);
    assert_not_for_a_while("the broadcast came before", || waiter.is_finished());
    assert_eq!(shared.1.notify_all(), 1);
    waiter.join().unwrap();

    // With a condition checked in a loop it does not matter.
    *shared.0.lock() = true;
    shared.1.notify_all();
    let waiter = {
        let shared = shared.clone();
        gort::go(move || shared.1.wait_while(&mut shared.0.lock(), |is_set| !*is_set))
    };
    waiter.join().unwrap();
}

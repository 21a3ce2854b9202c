//! `Condvar`, in parking_lot's shape.

use std::time::Duration;

use gort::sync::mpsc::channel;
use gort::sync::{Condvar, Mutex};

const SHORT: Duration = Duration::from_millis(1);

/// `smoke`
#[gort::test]
fn to_notify_nobody_does_nothing() {
    let condvar = Condvar::new();
    assert!(!condvar.notify_one());
    assert_eq!(condvar.notify_all(), 0);
}

/// `notify_one`: the notifier can lock only when the waiter has let go.
#[gort::test(procs = 4)]
fn one_is_notified() {
    let (lock, condvar) = (Mutex::new(()), Condvar::new());
    gort::scope(|s| {
        let mut guard = lock.lock();
        s.go(|| {
            let _guard = lock.lock();
            assert!(condvar.notify_one());
        });
        condvar.wait(&mut guard);
        assert!(lock.is_locked());
    });
}

/// `notify_all`
#[gort::test(procs = 4)]
fn all_are_notified() {
    const WAITERS: usize = 10;
    let (count, condvar) = (Mutex::new(0), Condvar::new());
    let (tx, rx) = channel();
    gort::scope(|s| {
        for _ in 0..WAITERS {
            let (tx, count, condvar) = (tx.clone(), &count, &condvar);
            s.go(move || {
                let mut count = count.lock();
                *count += 1;
                if *count == WAITERS {
                    tx.send("all are here").unwrap();
                }
                while *count != 0 {
                    condvar.wait(&mut count);
                }
                tx.send("woken").unwrap();
            });
        }
        drop(tx);
        assert_eq!(rx.recv(), Ok("all are here"));
        *count.lock() = 0;
        condvar.notify_all();
        assert_eq!(rx.iter().filter(|text| *text == "woken").count(), WAITERS);
    });
}

/// `test_mutex_arc_condvar`, `wait_while`
#[gort::test(procs = 4)]
fn what_is_set_before_the_notification_is_seen_after_the_wait() {
    let (lock, condvar) = (Mutex::new(false), Condvar::new());
    let (tx, rx) = channel();
    gort::scope(|s| {
        s.go(|| {
            // When the lock is taken.
            rx.recv().unwrap();
            *lock.lock() = true;
            condvar.notify_one();
        });
        let mut is_set = lock.lock();
        tx.send(()).unwrap();
        assert!(!*is_set);
        while !*is_set {
            condvar.wait(&mut is_set);
        }

        *is_set = false;
        s.go(|| {
            *lock.lock() = true;
            condvar.notify_one();
        });
        condvar.wait_while(&mut is_set, |is_set| !*is_set);
        assert!(*is_set);
    });
}

/// `wait_timeout_wait`, `wait_timeout_while_wait`, `wait_timeout_while_instant_satisfy`
#[gort::test]
fn a_timed_wait_ends_without_a_notification_and_looks_first() {
    let (lock, condvar) = (Mutex::new(()), Condvar::new());
    let mut guard = lock.lock();
    assert!(condvar.wait_for(&mut guard, SHORT).timed_out());
    assert!(
        condvar
            .wait_while_for(&mut guard, |_| true, SHORT)
            .timed_out()
    );
    let satisfied = condvar.wait_while_for(&mut guard, |_| false, Duration::ZERO);
    assert!(!satisfied.timed_out());
}

/// `wait_timeout_wake`, `wait_timeout_while_wake`: also with a time that no clock will reach.
#[gort::test(procs = 4)]
fn a_timed_wait_ends_with_a_notification() {
    let (lock, condvar) = (Mutex::new(false), Condvar::new());
    let forever = Duration::from_millis(u64::MAX);
    gort::scope(|s| {
        let mut is_set = lock.lock();
        s.go(|| {
            *lock.lock() = true;
            condvar.notify_one();
        });
        assert!(!condvar.wait_for(&mut is_set, forever).timed_out());
        assert!(*is_set, "nobody else notifies");

        *is_set = false;
        s.go(|| {
            // The lock is free, so it waits; and not for this.
            drop(lock.lock());
            condvar.notify_one();
            *lock.lock() = true;
            condvar.notify_one();
        });
        let result = condvar.wait_while_for(&mut is_set, |is_set| !*is_set, forever);
        assert!(!result.timed_out() && *is_set);
    });
}

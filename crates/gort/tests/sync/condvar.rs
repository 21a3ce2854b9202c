//! Condvar: timeouts, counts, threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gort::sync::{Condvar, Mutex};
use gort_test_support::{eventually, eventually_parked, go_named};

const SHORT: Duration = Duration::from_millis(5);

#[gort::test]
fn a_timed_wait_ends_at_its_deadline_with_the_mutex_locked() {
    let (lock, cond) = (Mutex::new(0), Condvar::new());
    let mut guard = lock.lock();
    let start = Instant::now();
    assert!(cond.wait_for(&mut guard, SHORT).timed_out());
    assert!(start.elapsed() >= SHORT);
    assert!(lock.try_lock().is_none());
    assert!(cond.wait_until(&mut guard, start).timed_out());
    assert!(cond.wait_while_for(&mut guard, |_| true, SHORT).timed_out());
    assert!(
        !cond
            .wait_while_for(&mut guard, |_| false, SHORT)
            .timed_out()
    );
    assert!(!cond.notify_one(), "those that timed out are not counted");
}

#[gort::test]
fn notify_all_tells_how_many() {
    let shared = Arc::new((Mutex::new(()), Condvar::new()));
    let waiters: Vec<_> = (0..3)
        .map(|i| {
            let shared = shared.clone();
            let name = format!("counted-{i}");
            let waiter = go_named(&name, move || {
                let timeout = Duration::from_secs(60);
                shared.1.wait_for(&mut shared.0.lock(), timeout).timed_out()
            });
            eventually_parked(&name, "sync.Cond.Wait");
            waiter
        })
        .collect();
    assert_eq!(shared.1.notify_all(), 3);
    assert_eq!(shared.1.notify_all(), 0);
    for waiter in waiters {
        assert!(!waiter.join().unwrap());
    }
}

#[test]
fn threads_and_goroutines_wait_on_one_condvar() {
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let wait = |shared: &(Mutex<i32>, Condvar)| {
        let mut value = shared.0.lock();
        *value += 1;
        shared.1.wait_while(&mut value, |value| *value < 100);
    };
    let thread = {
        let shared = shared.clone();
        std::thread::spawn(move || wait(&shared))
    };
    let goroutine = {
        let shared = shared.clone();
        gort::go(move || wait(&shared))
    };
    eventually("both have begun", || *shared.0.lock() == 2);
    *shared.0.lock() = 100;
    shared.1.notify_all();
    goroutine.join().unwrap();
    thread.join().unwrap();
    assert_eq!(*shared.0.lock(), 100);
}

#[gort::test(procs = 4)]
fn timeouts_and_notifications_in_a_crowd() {
    // Tokens are made with one notification each; whoever gets one counts it.
    const TOKENS: usize = 2000;
    let shared = (Mutex::new((0, 0)), Condvar::new());
    let (lock, cond) = (&shared.0, &shared.1);
    gort::scope(|s| {
        for i in 0..6u64 {
            s.go(move || {
                for round in 0.. {
                    let mut state = lock.lock();
                    let patience = Duration::from_nanos(i * 977 + round * 331 % 30_000);
                    if i % 2 == 0 {
                        cond.wait_while_for(&mut state, |(made, _)| *made == 0, patience);
                    } else {
                        cond.wait_while(&mut state, |(made, taken)| *made == 0 && *taken < TOKENS);
                    }
                    if state.0 > 0 {
                        state.0 -= 1;
                        state.1 += 1;
                    }
                    if state.1 == TOKENS {
                        cond.notify_all();
                        return;
                    }
                }
            });
        }
        for _ in 0..TOKENS {
            lock.lock().0 += 1;
            cond.notify_one();
        }
    });
    assert_eq!(*lock.lock(), (0, TOKENS));
}

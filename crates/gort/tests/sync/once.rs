//! Once, OnceLock, LazyLock: std's rules.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use gort::sync::{LazyLock, Once, OnceLock};
use gort_test_support::{eventually, eventually_parked, go_named};

#[test]
fn a_cell_is_empty_again_after_a_panic() {
    let cell = OnceLock::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        cell.get_or_init(|| panic!("on purpose"));
    }));
    assert!(outcome.is_err());
    assert_eq!(cell.get(), None);
    assert_eq!(cell.get_or_init(|| 5), &5);
    assert_eq!(cell.set(6), Err(6));
}

#[test]
fn a_cell_drops_its_value_once() {
    let witness = Arc::new(());
    let mut cell = OnceLock::from(witness.clone());
    assert_eq!(
        cell.clone().into_inner().map(|it| Arc::strong_count(&it)),
        Some(3)
    );
    assert_eq!(Arc::strong_count(&witness), 2);
    assert!(cell.take().is_some());
    assert!(cell.take().is_none() && cell.get_mut().is_none());
    assert_eq!(Arc::strong_count(&witness), 1);
    cell.set(witness.clone()).unwrap();
    drop(cell);
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[gort::test]
fn waiters_of_a_run_that_panics_try_again() {
    let cell = Arc::new(OnceLock::new());
    let is_running = Arc::new(AtomicBool::new(false));
    let failing = {
        let (cell, is_running) = (cell.clone(), is_running.clone());
        go_named("failing", move || {
            cell.get_or_init(|| {
                is_running.store(true, Ordering::SeqCst);
                eventually_parked("retrying", "sync.Once.Do");
                panic!("on purpose");
            });
        })
    };
    let retrying = {
        let cell = cell.clone();
        go_named("retrying", move || {
            eventually("the other runs", || is_running.load(Ordering::SeqCst));
            *cell.get_or_init(|| 7)
        })
    };
    assert!(failing.join().is_err());
    assert_eq!(retrying.join().unwrap(), 7);
}

#[gort::test]
fn a_wait_for_a_cell_ends_when_somebody_sets_it() {
    let cell = Arc::new(OnceLock::new());
    let waiter = {
        let cell = cell.clone();
        go_named("waits-for-cell", move || *cell.wait())
    };
    eventually_parked("waits-for-cell", "sync.Once.Do");
    cell.set(3).unwrap();
    assert_eq!(waiter.join().unwrap(), 3);
}

#[test]
fn a_lazy_value_whose_function_panicked_is_poisoned() {
    let calls = AtomicU32::new(0);
    let lazy: LazyLock<u32, _> = LazyLock::new(|| {
        calls.fetch_add(1, Ordering::Relaxed);
        panic!("on purpose")
    });
    for expected in [
        "on purpose",
        "LazyLock instance has previously been poisoned",
    ] {
        let payload = catch_unwind(AssertUnwindSafe(|| *lazy)).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&expected));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_thread_waits_for_a_goroutines_run() {
    static ONCE: Once = Once::new();
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = || {
        ONCE.call_once(|| {
            // waits: the run takes a while, so that the others come during it
            gort::time::sleep(std::time::Duration::from_millis(2));
            RUNS.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    };
    let goroutine = gort::go(run);
    let thread = std::thread::spawn(run);
    run();
    goroutine.join().unwrap();
    thread.join().unwrap();
    assert!(ONCE.is_completed());
}

//! SY17, SY18, SY20, S131 to S133.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gort::sync::{LazyLock, Mutex, Once, OnceLock};
use gort_conformance::support::{
    assert_not_for_a_while, eventually, eventually_parked, go_named, panic_text, reason_of,
};

#[gort::test]
fn sy17_s132_a_once_runs_once_and_shows_its_effect() {
    let once = Once::new();
    let count = AtomicU32::new(0);
    gort::scope(|s| {
        for _ in 0..10 {
            s.go(|| {
                once.call_once(|| {
                    gort::yield_now();
                    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                });
                assert_eq!(count.load(Ordering::Relaxed), 1);
            });
        }
    });
    assert_eq!(count.into_inner(), 1);
}

#[gort::test]
fn s132_callers_return_only_after_the_run_has_ended() {
    let once = Arc::new(Once::new());
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let runner = {
        let (once, gate) = (once.clone(), gate.clone());
        go_named("runner", move || once.call_once(|| drop(gate.lock())))
    };
    eventually_parked("runner", "sync.Mutex.Lock");
    let second = {
        let once = once.clone();
        go_named("second", move || {
            once.call_once(|| unreachable!("it has run"))
        })
    };
    // Go shows the lock inside its Once.
    eventually("the second parks", || {
        matches!(
            reason_of("second").as_deref(),
            Some("sync.Once.Do" | "sync.Mutex.Lock")
        )
    });
    assert!(!once.is_completed());
    drop(closed);
    runner.join().unwrap();
    second.join().unwrap();
    assert!(once.is_completed());
}

#[gort::test(leaks = "allow")]
fn s132_a_once_called_inside_itself_waits_for_ever() {
    let once = Arc::new(Once::new());
    let inner = {
        let once = once.clone();
        go_named("inner", move || {
            let again = once.clone();
            once.call_once(move || again.call_once(|| {}));
        })
    };
    eventually("it parks", || {
        matches!(
            reason_of("inner").as_deref(),
            Some("sync.Once.Do" | "sync.Mutex.Lock")
        )
    });
    assert_not_for_a_while("it waits for itself", || inner.is_finished());
}

#[gort::test]
fn s131_a_once_that_panicked_is_done() {
    let once = Once::new();
    let zero = std::hint::black_box(0);
    let first = catch_unwind(AssertUnwindSafe(|| {
        once.call_once(|| {
            std::hint::black_box(1 / zero);
        });
    }));
    assert_eq!(
        panic_text(&*first.unwrap_err()),
        "attempt to divide by zero"
    );
    assert!(once.is_completed());
    once.call_once(|| unreachable!("it is done"));
}

#[gort::test]
fn s133_a_singleton_is_built_once() {
    static BUILT: AtomicU32 = AtomicU32::new(0);
    static LAZY: LazyLock<Box<u32>> =
        LazyLock::new(|| Box::new(BUILT.fetch_add(1, Ordering::SeqCst)));
    static CHECKED: OnceLock<Box<u32>> = OnceLock::new();
    static CHECKED_BUILT: AtomicU32 = AtomicU32::new(0);
    static EAGER: Mutex<u32> = Mutex::new(7);

    let pointers: Vec<_> = (0..100)
        .map(|_| {
            gort::go(|| {
                let lazy: &u32 = &LAZY;
                let checked = CHECKED.get_or_init(|| {
                    gort::yield_now();
                    Box::new(CHECKED_BUILT.fetch_add(1, Ordering::SeqCst))
                });
                ((&raw const *lazy).addr(), (&raw const **checked).addr())
            })
        })
        .collect();
    let pointers: Vec<_> = pointers
        .into_iter()
        .map(|handle| handle.join().unwrap())
        .collect();
    assert!(pointers.iter().all(|it| *it == pointers[0]));
    assert_eq!(BUILT.load(Ordering::SeqCst), 1);
    assert_eq!(CHECKED_BUILT.load(Ordering::SeqCst), 1);
    assert_eq!(*EAGER.lock(), 7);
}

#[test]
fn sy18_lazy_functions_and_values_run_once() {
    let calls = AtomicU32::new(0);
    let lazy = LazyLock::new(|| {
        calls.fetch_add(1, Ordering::Relaxed);
        (1, "two")
    });
    for _ in 0..11 {
        assert_eq!(*lazy, (1, "two"));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// As std's: the payload is the first caller's, who asked for the work; the others are told that it failed.
#[test]
fn sy19_a_lazy_function_that_panicked_panics_on_every_call_and_ran_once() {
    let calls = AtomicU32::new(0);
    let lazy = LazyLock::new(|| -> u32 {
        calls.fetch_add(1, Ordering::Relaxed);
        panic!("x")
    });
    let payload = || catch_unwind(AssertUnwindSafe(|| *lazy)).unwrap_err();
    assert_eq!(panic_text(&*payload()), "x");
    for _ in 0..3 {
        assert_eq!(
            panic_text(&*payload()),
            "LazyLock instance has previously been poisoned"
        );
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[gort::test]
fn sy20_a_lazy_functions_closure_is_dropped_after_the_first_call() {
    let witness = Arc::new(());

    let held = witness.clone();
    let lazy = LazyLock::new(move || Arc::strong_count(&held));
    assert_eq!(*lazy, 2);
    assert_eq!(
        Arc::strong_count(&witness),
        1,
        "dropped, though the wrapper lives"
    );

    // After a panic, and after a goexit, it does not run again either.
    let held = witness.clone();
    let lazy = Arc::new(LazyLock::new(move || -> u32 {
        let _held = held;
        gort::goexit()
    }));
    let forced = lazy.clone();
    let error = gort::go(move || **forced).join().unwrap_err();
    assert!(error.is_goexit());
    assert_eq!(Arc::strong_count(&witness), 1);
    let again = catch_unwind(AssertUnwindSafe(|| **lazy)).unwrap_err();
    assert_eq!(
        panic_text(&*again),
        "LazyLock instance has previously been poisoned"
    );
}

//! `Once`, `OnceLock`, `LazyLock`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::mpsc::channel;
use gort::sync::{LazyLock, Mutex, Once, OnceLock};

use super::CountsDrops;

/// `smoke_once`
#[gort::test]
fn a_once_runs_the_first_function_only() {
    static ONCE: Once = Once::new();
    let mut runs = 0;
    ONCE.call_once(|| runs += 1);
    ONCE.call_once(|| runs += 10);
    assert_eq!(runs, 1);
}

/// `stampede_once`, and `wait` as a call with nothing to do
#[gort::test(procs = 4)]
fn a_stampede_runs_it_once_and_sees_its_effect() {
    for _ in 0..50 {
        let (once, runs) = (Once::new(), AtomicUsize::new(0));
        gort::scope(|s| {
            for _ in 0..10 {
                s.go(|| {
                    (0..4).for_each(|_| gort::yield_now());
                    once.call_once(|| {
                        runs.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(runs.load(Ordering::Relaxed), 1);
                });
            }
        });
    }
}

/// `sync_once_cell`, `eval_once_macro`
#[gort::test]
fn a_cell_in_a_static_is_filled_once() {
    static CELL: OnceLock<i32> = OnceLock::new();
    assert_eq!(CELL.get(), None);
    gort::go(|| assert_eq!(CELL.get_or_init(|| 92), &92))
        .join()
        .unwrap();
    CELL.get_or_init(|| unreachable!("it is full"));
    assert_eq!(CELL.get(), Some(&92));
}

/// `sync_once_cell_get_mut`, `into_inner`, `clone`, `from_impl`, `partialeq_impl`, `drop_empty`
#[gort::test]
fn a_cell_as_a_value() {
    let mut cell = OnceLock::new();
    assert_eq!(cell.get_mut(), None);
    assert_eq!(cell.clone().get(), None);
    cell.set(90).unwrap();
    *cell.get_mut().unwrap() += 2;
    assert_eq!(cell.clone().get(), Some(&92));
    assert_eq!(cell, OnceLock::from(92));
    assert_ne!(cell, OnceLock::new());
    assert_ne!(cell, OnceLock::from(93));
    assert_eq!(cell.into_inner(), Some(92));
    assert_eq!(OnceLock::<String>::new().into_inner(), None);
}

/// `sync_once_cell_drop`, `is_sync_send`
#[gort::test]
fn a_cell_drops_its_value_where_it_is_dropped() {
    fn assert_both<T: Send + Sync>() {}
    assert_both::<OnceLock<String>>();
    assert_both::<LazyLock<String>>();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let cell = OnceLock::new();
    gort::go(move || {
        cell.get_or_init(|| CountsDrops(&DROPS));
        assert_eq!(DROPS.load(Ordering::SeqCst), 0);
        drop(cell);
    })
    .join()
    .unwrap();
    assert_eq!(DROPS.load(Ordering::SeqCst), 1);
}

/// `get_or_try_init`, as far as `get_or_init` has it: a panic leaves the cell empty
#[gort::test]
fn a_cell_stays_empty_after_a_panic() {
    let cell: OnceLock<String> = OnceLock::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        cell.get_or_init(|| panic!("on purpose"));
    }));
    assert!(outcome.is_err());
    assert_eq!(cell.get(), None);
    assert_eq!(cell.get_or_init(|| "hello".to_owned()), "hello");
}

/// `sync_once_cell_does_not_leak_partially_constructed_boxes`
#[gort::test(procs = 4)]
fn readers_see_a_whole_value_or_none() {
    const READERS: usize = 10;
    let cell: OnceLock<String> = OnceLock::new();
    let (tx, rx) = channel();
    gort::scope(|s| {
        for _ in 0..READERS {
            let (tx, cell) = (tx.clone(), &cell);
            s.go(move || {
                loop {
                    if let Some(text) = cell.get() {
                        return tx.send(text.clone()).unwrap();
                    }
                    gort::yield_now();
                }
            });
        }
        drop(tx);
        for _ in 0..3 {
            s.go(|| drop(cell.set("Hello, World".to_owned())));
        }
        let texts: Vec<_> = rx.iter().collect();
        assert_eq!(texts, vec!["Hello, World"; READERS]);
    });
}

/// `sync_lazy_new`, `static_sync_lazy`
#[gort::test(procs = 4)]
fn a_lazy_value_is_made_when_first_used() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static LAZY: LazyLock<Vec<i32>> = LazyLock::new(|| {
        CALLS.fetch_add(1, Ordering::SeqCst);
        vec![1, 2, 3]
    });
    assert_eq!(CALLS.load(Ordering::SeqCst), 0);
    gort::scope(|s| {
        for _ in 0..10 {
            s.go(|| assert_eq!(*LAZY, [1, 2, 3]));
        }
    });
    assert_eq!(LAZY.len(), 3);
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

/// `sync_lazy_default`
#[gort::test]
fn a_lazy_value_has_a_default() {
    let lazy: LazyLock<Mutex<u8>> = LazyLock::default();
    assert_eq!(*lazy.lock(), 0);
    *lazy.lock() = 21;
    assert_eq!(*lazy.lock(), 21);
}

/// `lazy_poisoning`, `lazy_lock_deref_panic`, `lazy_lock_preserves_closure_panic_message`
#[gort::test]
fn a_lazy_value_whose_function_panicked_says_so_for_ever() {
    let lazy: LazyLock<String> = LazyLock::new(|| panic!("on purpose"));
    let texts = [(); 3].map(|()| {
        let payload = catch_unwind(AssertUnwindSafe(|| lazy.len())).unwrap_err();
        *payload.downcast_ref::<&str>().expect("a text")
    });
    let later = "LazyLock instance has previously been poisoned";
    assert_eq!(texts, ["on purpose", later, later]);
}

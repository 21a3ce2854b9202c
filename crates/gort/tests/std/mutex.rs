//! `Mutex`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::mpsc::channel;
use gort::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::CountsDrops;

/// Neither `Copy` nor `Clone`.
#[derive(PartialEq, Eq, Debug)]
struct Plain(i32);

/// `smoke`, `try_lock`
#[gort::test]
fn it_can_be_locked_again_and_again() {
    let lock = Mutex::new(());
    drop(lock.lock());
    drop(lock.lock());
    let guard = lock.try_lock().expect("free");
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());
}

/// `lots_and_lots`
#[gort::test(procs = 4)]
fn many_count_together() {
    const EACH: u32 = 1_000;
    const GOROUTINES: u32 = 6;
    let lock = Arc::new(Mutex::new(0));
    let (tx, rx) = channel();
    for _ in 0..GOROUTINES {
        let (tx, lock) = (tx.clone(), lock.clone());
        gort::go(move || {
            (0..EACH).for_each(|_| *lock.lock() += 1);
            tx.send(()).unwrap();
        });
    }
    drop(tx);
    assert_eq!(rx.iter().count(), GOROUTINES as usize);
    assert_eq!(*lock.lock(), EACH * GOROUTINES);
}

/// `test_into_inner`, `test_get_mut`
#[gort::test]
fn its_owner_needs_no_lock() {
    let mut lock = Mutex::new(Plain(10));
    *lock.get_mut() = Plain(20);
    assert_eq!(lock.into_inner(), Plain(20));
}

/// `test_into_inner_drop`
#[gort::test]
fn what_is_taken_out_is_dropped_once() {
    let drops = AtomicUsize::new(0);
    let lock = Mutex::new(CountsDrops(&drops));
    let inner = lock.into_inner();
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(inner);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    drop(Mutex::new(CountsDrops(&drops)));
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

/// `test_mutex_arc_nested`
#[gort::test]
fn a_mutex_in_a_mutex() {
    let inner = Arc::new(Mutex::new(1));
    let outer = Arc::new(Mutex::new(inner.clone()));
    gort::go(move || {
        let outer = outer.lock();
        *outer.lock() += 1;
    })
    .join()
    .unwrap();
    assert_eq!(*inner.lock(), 2);
}

/// `test_mutex_unsized`
#[gort::test]
fn what_it_holds_may_have_no_size() {
    let lock: &Mutex<[i32]> = &Mutex::new([1, 2, 3]);
    {
        let mut slice = lock.lock();
        slice[0] = 4;
        slice[2] = 5;
    }
    assert_eq!(*lock.lock(), [4, 2, 5]);
}

/// `test_mapping_mapped_guard`
#[gort::test]
fn a_mapped_guard_can_be_mapped() {
    let lock = Mutex::new([0; 4]);
    let two = MutexGuard::map(lock.lock(), |all| &mut all[..2]);
    let mut second = MappedMutexGuard::map(two, |two| &mut two[1..]);
    assert_eq!(second.len(), 1);
    second[0] = 42;
    drop(second);
    assert_eq!(*lock.lock(), [0, 42, 0, 0]);
}

/// `test_panics`, and what is left of `panic_while_mapping_unlocked_poison` without poison
#[gort::test]
fn a_panic_unlocks_it_each_time() {
    let lock = Mutex::new(());
    for _ in 0..3 {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("on purpose");
        }));
        assert!(outcome.is_err() && lock.try_lock().is_some());
    }
    let in_map = catch_unwind(AssertUnwindSafe(|| {
        drop(MutexGuard::map(lock.lock(), |_| -> &mut () {
            panic!("on purpose")
        }));
    }));
    assert!(in_map.is_err() && lock.try_lock().is_some());
    let in_try_map = catch_unwind(AssertUnwindSafe(|| {
        let mapped = MutexGuard::map(lock.lock(), |it| it);
        drop(MappedMutexGuard::try_map(mapped, |_| -> Option<&mut ()> {
            panic!("on purpose")
        }));
    }));
    assert!(in_try_map.is_err() && lock.try_lock().is_some());
}

/// `test_mutex_arc_access_in_unwind`
#[gort::test]
fn a_destructor_locks_it_while_a_panic_unwinds() {
    struct AddsOne(Arc<Mutex<i32>>);
    impl Drop for AddsOne {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }
    let lock = Arc::new(Mutex::new(1));
    let adds = AddsOne(lock.clone());
    let outcome = gort::go(move || {
        let _adds = adds;
        panic!("on purpose");
    })
    .join();
    assert!(outcome.is_err());
    assert_eq!(*lock.lock(), 2);
}

/// `test_mutex_guard_unlocked`
#[gort::test]
fn a_guard_lets_go_for_a_while() {
    let lock = Mutex::new(1);
    let mut guard = lock.lock();
    assert!(lock.try_lock().is_none());
    MutexGuard::unlocked(&mut guard, || assert!(lock.try_lock().is_some()));
    assert!(lock.try_lock().is_none());
    *guard += 1;
}

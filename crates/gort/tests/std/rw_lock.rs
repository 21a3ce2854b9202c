//! `RwLock`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use gort_test_support::eventually_parked;

use super::CountsDrops;

/// `smoke`
#[gort::test]
fn it_can_be_locked_both_ways_again_and_again() {
    let lock = RwLock::new(());
    drop(lock.read());
    drop(lock.write());
    drop((lock.read(), lock.read_recursive()));
    drop(lock.write());
}

/// `frob`: reads and writes by chance, until all have ended
#[gort::test(procs = 4)]
fn readers_and_writers_by_chance() {
    const GOROUTINES: u64 = 10;
    let lock = RwLock::new(0u64);
    let written: u64 = gort::scope(|s| {
        let handles: Vec<_> = (1..=GOROUTINES)
            .map(|own| {
                let lock = &lock;
                s.go(move || {
                    let (mut state, mut written) = (own, 0);
                    for _ in 0..1_000 {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(own);
                        if (state >> 33).is_multiple_of(GOROUTINES) {
                            *lock.write() += 1;
                            written += 1;
                        } else {
                            drop(lock.read());
                        }
                    }
                    written
                })
            })
            .collect();
        handles.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert_eq!(*lock.read(), written);
}

/// `test_rw_arc`
#[gort::test(procs = 4)]
fn readers_never_see_a_writer_at_work() {
    let lock = RwLock::new(0);
    gort::scope(|s| {
        s.go(|| {
            let mut value = lock.write();
            for _ in 0..10 {
                let before = *value;
                *value = -1;
                gort::yield_now();
                *value = before + 1;
            }
        });
        for _ in 0..5 {
            s.go(|| assert!(*lock.read() >= 0));
        }
    });
    assert_eq!(*lock.read(), 10);
}

/// `test_rw_arc_access_in_unwind`
#[gort::test]
fn a_destructor_locks_it_while_a_panic_unwinds() {
    struct AddsOne(Arc<RwLock<i32>>);
    impl Drop for AddsOne {
        fn drop(&mut self) {
            *self.0.write() += 1;
        }
    }
    let lock = Arc::new(RwLock::new(1));
    let adds = AddsOne(lock.clone());
    let outcome = gort::go(move || {
        let _adds = adds;
        panic!("on purpose");
    })
    .join();
    assert!(outcome.is_err());
    assert_eq!(*lock.read(), 2);
}

/// `test_rwlock_unsized`, `test_into_inner`, `test_get_mut`
#[gort::test]
fn its_owner_needs_no_lock_and_what_it_holds_no_size() {
    let mut lock = RwLock::new([1, 2, 3]);
    lock.get_mut()[1] = 7;
    {
        let unsized_lock: &RwLock<[i32]> = &lock;
        let mut slice = unsized_lock.write();
        slice[0] = 4;
        slice[2] = 5;
        drop(slice);
        assert_eq!(*unsized_lock.read(), [4, 7, 5]);
    }
    assert_eq!(lock.into_inner(), [4, 7, 5]);
}

/// `test_into_inner_drop`
#[gort::test]
fn what_is_taken_out_is_dropped_once() {
    let drops = AtomicUsize::new(0);
    let inner = RwLock::new(CountsDrops(&drops)).into_inner();
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(inner);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

/// `test_rwlock_try_write`
#[gort::test]
fn a_reader_keeps_writers_out_mapped_or_not() {
    let lock = RwLock::new(0);
    let guard = lock.read();
    assert!(lock.try_write().is_none());
    let mapped = RwLockReadGuard::map(guard, |_| &());
    assert!(lock.try_write().is_none());
    drop(mapped);
    assert!(lock.try_write().is_some());
}

/// `test_downgrade_basic`, `test_downgrade_observe`
#[gort::test(procs = 4)]
fn what_was_written_stands_while_the_downgraded_lock_is_held() {
    const WRITERS: usize = 20;
    const EACH: usize = 100;
    let lock = RwLock::new(0);
    gort::scope(|s| {
        for _ in 0..WRITERS {
            s.go(|| {
                for _ in 0..EACH {
                    let mut guard = lock.write();
                    *guard += 1;
                    let written = *guard;
                    let guard = RwLockWriteGuard::downgrade(guard);
                    assert_eq!(*guard, written);
                }
            });
        }
    });
    assert_eq!(lock.into_inner(), WRITERS * EACH);
}

/// `test_downgrade_atomic`: no writer that waits gets in between.
#[gort::test(procs = 4)]
fn a_downgrade_lets_no_writer_pass() {
    const WRITERS: usize = 20;
    let lock = RwLock::new(0);
    gort::scope(|s| {
        let mut guard = lock.write();
        for i in 0..WRITERS {
            let name = format!("writer-{i}");
            let builder = gort::Builder::new().name(&*name);
            drop(builder.go_scoped(s, || *lock.write() += 1).unwrap());
            eventually_parked(&name, "sync.RWMutex.Lock");
        }
        *guard = -1;
        let guard = RwLockWriteGuard::downgrade(guard);
        assert_eq!(*guard, -1);
        drop(guard);
    });
    assert_eq!(lock.into_inner(), WRITERS as i32 - 1);
}

/// `test_mapping_mapped_guard`
#[gort::test]
fn mapped_guards_can_be_mapped() {
    let lock = RwLock::new([0; 4]);
    let two = RwLockWriteGuard::map(lock.write(), |all| &mut all[..2]);
    let mut second = MappedRwLockWriteGuard::map(two, |two| &mut two[1..]);
    second[0] = 42;
    drop(second);
    let two = RwLockReadGuard::map(lock.read(), |all| &all[..2]);
    let second = MappedRwLockReadGuard::map(two, |two| &two[1..]);
    assert_eq!(*second, [42]);
    drop(second);
    assert_eq!(lock.into_inner(), [0, 42, 0, 0]);
}

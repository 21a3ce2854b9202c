//! Locks of C that know their owner by the thread's id; the checks are in `csrc/locks.c`.
//!
//! With `GORT_TLS_TID=thread` a goroutine carries the id of the OS thread it runs on. Then two
//! goroutines are one owner while they share a thread, and one is two after it has changed its thread:
//! the cases of recursive, error-checking and read-write locks fail. Priority inheritance works then, for
//! locks that are not held across a park, and is refused otherwise.

use std::ffi::c_int;

use crate::drive::{has_own_blocks, many, park, scaled};
use crate::native::{self, ParkFn, assert_passed};

fn each(count: usize, check: unsafe extern "C" fn(ParkFn, c_int) -> c_int) {
    // SAFETY: before the locks are used.
    assert_passed(unsafe { native::torture_locks_init() });
    many(scaled(count), |i| {
        // SAFETY: the checks of `csrc/` take a function that parks, and any number.
        assert_passed(unsafe { check(native::park, i as c_int) });
    });
}

pub(super) fn a_recursive_mutex_has_one_owner() {
    each(1_000, native::torture_recursive);
}

pub(super) fn a_c11_mutex_has_one_owner() {
    each(1_000, native::torture_c11_recursive);
}

pub(super) fn a_checked_mutex_knows_its_owner() {
    each(1_000, native::torture_checked);
}

pub(super) fn a_rwlock_knows_its_writer() {
    each(1_000, native::torture_rwlock);
}

pub(super) fn priority_inheritance_works_or_is_refused() {
    let kernel_knows_us =
        !has_own_blocks() || std::env::var("GORT_TLS_TID").is_ok_and(|tid| tid == "thread");
    // SAFETY: before the lock is used.
    let answer = unsafe { native::torture_inheriting_init() };
    if !kernel_knows_us {
        assert_eq!(answer, libc::ENOTSUP);
        return println!("priority inheritance is refused: the kernel does not know goroutines");
    }
    assert_eq!(answer, 0);
    let (count, rounds) = (scaled(200), 100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: made above.
            assert_passed(unsafe { native::torture_inheriting(None, 10 * rounds) });
        });
        many(count, |_| {
            // SAFETY: made above.
            assert_passed(unsafe { native::torture_inheriting(Some(native::park), rounds) });
        });
    });
    // SAFETY: nobody changes it any more.
    let total = unsafe { native::torture_inheriting_count() };
    assert_eq!(total, (count as i64 + 10) * i64::from(rounds));
    if !has_own_blocks() {
        many(count, |_| {
            // SAFETY: made above.
            assert_passed(unsafe { native::torture_inheriting_held(native::park) });
        });
    }
}

pub(super) fn robust_mutexes_work() {
    // SAFETY: before the locks are used.
    assert_passed(unsafe { native::torture_locks_init() });
    let (count, rounds) = (scaled(200), 100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: made above.
            assert_passed(unsafe { native::torture_robust(None, 10 * rounds) });
        });
        many(count, |_| {
            // SAFETY: made above.
            assert_passed(unsafe { native::torture_robust(Some(native::park), rounds) });
        });
    });
    // SAFETY: nobody changes it any more.
    let total = unsafe { native::torture_robust_count() };
    assert_eq!(total, (count as i64 + 10) * i64::from(rounds));
    many(count, |_| {
        // SAFETY: made above.
        assert_passed(unsafe { native::torture_robust_held(native::park) });
    });
}

pub(super) fn semaphores_and_timed_locks_work() {
    many(scaled(200), |_| {
        park();
        // SAFETY: as in `each`.
        assert_passed(unsafe { native::torture_semaphore(native::park) });
    });
}

//! The mutex of users: `lock_api`'s types over [`RawMutex`].
//!
//! Elsewhere: the algorithm and its proof (`raw_mutex`).

use std::time::{Duration, Instant};

use lock_api::{RawMutex as _, RawMutexFair, RawMutexTimed};

use super::raw_mutex::RawMutex;
use super::wait_table::NEVER;
use super::{WaitReason, clock};

/// A mutual exclusion lock that parks the goroutine, never its thread. Go's `sync.Mutex`.
///
/// `lock` takes a free lock at once, even if others wait for it: that is what makes it fast. A waiter
/// that has not got it within a millisecond is handed the lock next, so nobody starves. On a plain
/// OS thread a wait blocks that thread.
///
/// There is no poisoning: a panic releases the guard like any other exit from its scope. Guards are
/// `Send`, so a goroutine may release what another has locked. A forgotten guard leaves the lock taken
/// for ever.
///
/// It is not reentrant: a goroutine that locks what it holds waits for ever.
///
/// # Panics
///
/// Never. Releasing a free lock (only `unsafe` code can) ends the process with
/// `sync: unlock of unlocked mutex`.
///
/// # Examples
///
/// ```
/// use gort::sync::Mutex;
///
/// static COUNT: Mutex<u32> = Mutex::new(0);
///
/// *COUNT.lock() += 1;
/// assert_eq!(*COUNT.lock(), 1);
/// ```
#[doc(alias = "sync.Mutex")]
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// Releases a [`Mutex`] when dropped. `Send`.
///
/// # Examples
///
/// ```
/// use gort::sync::{Mutex, MutexGuard};
///
/// let numbers = Mutex::new(vec![1]);
/// let mut guard: MutexGuard<'_, Vec<i32>> = numbers.lock();
/// guard.push(2);
/// assert!(numbers.try_lock().is_none());
/// drop(guard);
/// assert_eq!(*numbers.lock(), [1, 2]);
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A guard for a part of what a [`Mutex`] protects; see `MutexGuard::map`.
///
/// # Examples
///
/// ```
/// use gort::sync::{MappedMutexGuard, Mutex, MutexGuard};
///
/// let pair = Mutex::new((1, "one"));
/// let mut number: MappedMutexGuard<'_, i32> = MutexGuard::map(pair.lock(), |pair| &mut pair.0);
/// *number += 1;
/// drop(number);
/// assert_eq!(*pair.lock(), (2, "one"));
/// ```
pub type MappedMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawMutex, T>;

/// A [`MutexGuard`] that owns an `Arc` of its mutex; see `Mutex::lock_arc`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use gort::sync::{ArcMutexGuard, Mutex};
///
/// // Guards that borrow nothing, and may be sent.
/// let lock = Arc::new(Mutex::new(1));
/// let guard: ArcMutexGuard<i32> = lock.lock_arc();
/// gort::go(move || drop(guard)).join().unwrap();
/// assert!(lock.try_lock().is_some());
/// ```
pub type ArcMutexGuard<T> = lock_api::ArcMutexGuard<RawMutex, T>;

// SAFETY: `acquire` and `try_acquire` return success to one caller at a time, until that caller's
// release (M1).
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: RawMutex = RawMutex::new();

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    #[track_caller]
    fn lock(&self) {
        self.acquire(WaitReason::MutexLock, NEVER);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.try_acquire()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.release();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.is_acquired()
    }
}

// SAFETY: `release_fair` gives the lock to the first waiter, or frees it: in both cases the caller
// owns it no more, and at most one other does (M1).
unsafe impl RawMutexFair for RawMutex {
    #[inline]
    unsafe fn unlock_fair(&self) {
        self.release_fair();
    }

    #[inline]
    #[track_caller]
    unsafe fn bump(&self) {
        if self.has_waiters() {
            self.release_fair();
            self.lock();
        }
    }
}

// SAFETY: a `true` comes from `acquire`, as with `lock`.
unsafe impl RawMutexTimed for RawMutex {
    type Duration = Duration;
    type Instant = Instant;

    #[inline]
    #[track_caller]
    fn try_lock_for(&self, timeout: Duration) -> bool {
        self.try_acquire() || self.acquire(WaitReason::MutexLock, clock::deadline_after(timeout))
    }

    #[inline]
    #[track_caller]
    fn try_lock_until(&self, deadline: Instant) -> bool {
        self.try_acquire() || self.acquire(WaitReason::MutexLock, clock::from_instant(deadline))
    }
}

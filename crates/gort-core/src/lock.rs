//! The runtime's own lock: short, spins first, then blocks the M on a futex.
//!
//! It is for critical sections of some dozen instructions. Never held across `park`, `ready`, user
//! code, an allocation or a drop of a user's value: the holder may not depend on anything that a
//! goroutine could hold. Users' locks are `gort::sync`; they park the goroutine instead.
//!
//! Whoever holds it is inside the runtime ([`crate::inside`]): the holder is never made to wait for a P.
//!
//! | word | meaning                                   |
//! |------|-------------------------------------------|
//! | 0    | free                                      |
//! | 1    | held, nobody sleeps                       |
//! | 2    | held, somebody may sleep: unlock must wake|
//!
//! L1. Whoever goes to sleep has stored 2 first, and the futex compares with 2: an unlock either sees
//!     the 2 and wakes, or happened before the store, and then the swap that stored it took the lock.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::fork;
use crate::inside;
use crate::os::{futex, thread};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// Pauses between two tries, doubled each time from the first to the last: about 6 µs in all, less
/// than half of what a futex wake costs the waker (measured: 15 µs on a 2-core VM). Long pauses let
/// the other side use the lock several times while it has the line in its cache.
const SPIN_PAUSES_FIRST: u32 = 4;
const SPIN_PAUSES_LAST: u32 = 64;

/// A mutual exclusion lock for the runtime's own short sections.
pub struct Mutex<T: ?Sized> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives out the value to one thread at a time, which needs `T: Send`.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above; `&Mutex` gives no access but through the lock.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// Releases the lock when dropped.
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Mutex {
            word: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// The value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock, spinning briefly and then blocking this thread.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_raw();
        MutexGuard { lock: self }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        inside::enter_raw();
        let taken = self
            .word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            inside::leave_raw();
            return None;
        }
        Some(MutexGuard { lock: self })
    }

    /// Takes the lock without a guard, for code that locks many at once (a select).
    /// Pairs with [`unlock_raw`](Self::unlock_raw).
    #[inline]
    pub fn lock_raw(&self) {
        inside::enter_raw();
        if self
            .word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_slow();
        }
    }

    /// Releases what [`lock_raw`](Self::lock_raw) took.
    ///
    /// # Safety
    ///
    /// The caller holds the lock and has no reference into the value any more.
    #[inline]
    pub unsafe fn unlock_raw(&self) {
        if self.word.swap(FREE, Ordering::Release) == CONTENDED {
            futex::wake(&raw const self.word, 1);
        }
        inside::leave_raw();
    }

    /// The value, for a caller that took the lock with [`lock_raw`](Self::lock_raw).
    pub fn data_ptr(&self) -> *mut T {
        self.value.get()
    }

    /// The value; no lock is needed with `&mut`.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    fn lock_slow(&self) {
        fork::check("a lock that another thread held was taken");
        let mut pauses = SPIN_PAUSES_FIRST;
        while pauses <= SPIN_PAUSES_LAST {
            let word = self.word.load(Ordering::Relaxed);
            if word == FREE
                && self
                    .word
                    .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
            if word == CONTENDED {
                break;
            }
            thread::pause(pauses);
            pauses *= 2;
        }
        while self.word.swap(CONTENDED, Ordering::Acquire) != FREE {
            futex::wait(&self.word, CONTENDED, u64::MAX);
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its lock is held, so nobody else has the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes this the guard's only reference.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard proves that we hold the lock; it gave out no reference that outlives it.
        unsafe { self.lock.unlock_raw() }
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexGuard").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_and_loses_no_increment() {
        let lock = Mutex::new(0u64);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..100_000 {
                        *lock.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(lock.into_inner(), 400_000);
    }

    /// The lock of the runtime has no readers, so its activity is 0 or a writer's.
    #[test]
    fn sy12_threads_that_hammer_the_runtimes_lock_never_meet() {
        const ROUNDS: usize = 2000;
        for threads in [1, 3, 10] {
            let lock = Mutex::new(0u64);
            let activity = AtomicU32::new(0);
            std::thread::scope(|s| {
                for _ in 0..threads {
                    s.spawn(|| {
                        for round in 0..ROUNDS {
                            let mut count = if round % 7 == 0 {
                                match lock.try_lock() {
                                    Some(guard) => guard,
                                    None => lock.lock(),
                                }
                            } else {
                                lock.lock()
                            };
                            assert_eq!(activity.fetch_add(10_000, Ordering::Relaxed), 0);
                            if round % 100 == 0 {
                                // Others come to sleep, not only to spin.
                                std::thread::yield_now();
                            }
                            *count += 1;
                            assert_eq!(activity.fetch_sub(10_000, Ordering::Relaxed), 10_000);
                        }
                    });
                }
            });
            assert_eq!(lock.into_inner(), (threads * ROUNDS) as u64);
        }
    }

    #[test]
    fn try_lock_fails_while_held() {
        let lock = Mutex::new(());
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        assert!(
            lock.try_lock().is_none(),
            "the first try has changed nothing"
        );
        drop(guard);
        assert!(lock.try_lock().is_some());
    }
}

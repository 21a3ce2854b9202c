//! A lock that costs one locked instruction, for paths where that counts: channels.
//!
//! Releasing [`lock::Mutex`](crate::lock::Mutex) is an exchange, for the releaser must not miss who
//! went to sleep. Here it is a store, then a look whether anybody sleeps, with nothing between them
//! but a compiler fence; who goes to sleep pays instead, with a memory barrier in all threads. Sleeping
//! is rare, as waiters spin first, and costs more than that barrier anyway.
//! (Measured on the machine of DESIGN.md: exchange and exchange 26 ns, exchange and store 13 ns.)
//!
//! | word       | meaning                                                   | written by              |
//! |------------|-----------------------------------------------------------|-------------------------|
//! | `held`     | 1 while the lock is held                                  | locker, releaser        |
//! | `sleepers` | at least as many as sleep and nobody has set out to wake  | sleeper +1, waker -1    |
//! | `epoch`    | the futex: changes with each wake-up                      | waker                   |
//!
//! L1. A sleeper reads `epoch`, counts itself, passes the barrier, and tries the lock once more. The
//!     barrier falls somewhere into the program of each releaser: before the look at `sleepers`,
//!     which then sees the sleeper; or after it, and then the store before it is visible to the try.
//! L2. Who takes one from `sleepers` changes `epoch` next and wakes one. So whoever has counted itself
//!     and been uncounted does not sleep on the epoch it read before. `sleepers` may be too high
//!     (somebody got the lock without sleeping): that costs a wake-up of nobody, once.
//! L3. Where the kernel has no such barrier, sleepers look again every millisecond.
//!
//! Releasing touches the lock after it is free: whoever releases must keep it alive (`lock::Mutex`
//! asks for less). Otherwise the same rules hold: the holder is inside the runtime; short sections, no park, no allocation, no user
//! code.
//!
//! Checked by the tests below, and under loom by `testing/model/tests/light_lock.rs`, which builds
//! this file with a full fence for each half of the barrier, and without the light one must fail.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::atomic::{AtomicU32, Ordering, light_fence};
use crate::clock::{self, NEVER};
use crate::fork;
use crate::inside;
use crate::os::{futex, membarrier, thread};

const FREE: u32 = 0;
const HELD: u32 = 1;

/// As in `lock`.
const SPIN_PAUSES_FIRST: u32 = 4;
const SPIN_PAUSES_LAST: u32 = 64;

/// L3.
const BLIND_SLEEP_NS: u64 = 1_000_000;

/// A lock whose release is a store.
pub struct LightMutex<T> {
    held: AtomicU32,
    sleepers: AtomicU32,
    epoch: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives out the value to one thread at a time, which needs `T: Send`.
unsafe impl<T: Send> Send for LightMutex<T> {}
// SAFETY: as above; `&LightMutex` gives no access but through the lock.
unsafe impl<T: Send> Sync for LightMutex<T> {}

/// Releases the lock when dropped.
#[must_use = "dropped at once, it locks nothing"]
pub struct LightGuard<'a, T> {
    lock: &'a LightMutex<T>,
}

impl<T> LightMutex<T> {
    /// A free lock around `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self {
            held: AtomicU32::new(FREE),
            sleepers: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// A free lock around `value`; loom's atomics are not made in constants.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self {
            held: AtomicU32::new(FREE),
            sleepers: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock, spinning briefly and then blocking this thread.
    #[inline]
    pub fn lock(&self) -> LightGuard<'_, T> {
        inside::enter_raw();
        if !self.try_take() {
            self.lock_slow();
        }
        LightGuard { lock: self }
    }

    #[inline]
    fn try_take(&self) -> bool {
        self.held
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_slow(&self) {
        fork::check("a lock that another thread held was taken");
        loop {
            let mut pauses = SPIN_PAUSES_FIRST;
            while pauses <= SPIN_PAUSES_LAST {
                if self.held.load(Ordering::Relaxed) == FREE && self.try_take() {
                    return;
                }
                thread::pause(pauses);
                pauses *= 2;
            }
            // L1, L2.
            let epoch = self.epoch.load(Ordering::Acquire);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            let until_ns = if membarrier::barrier_in_all_threads() {
                NEVER
            } else {
                clock::now_ns() + BLIND_SLEEP_NS
            };
            if self.try_take() {
                return;
            }
            futex::wait(&self.epoch, epoch, until_ns);
        }
    }

    #[inline]
    fn release(&self) {
        self.held.store(FREE, Ordering::Release);
        // The light half of the barrier in `lock_slow` (L1).
        light_fence();
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.wake_one();
        }
        inside::leave_raw();
    }

    #[cold]
    fn wake_one(&self) {
        let uncount = |sleepers: u32| sleepers.checked_sub(1);
        if self
            .sleepers
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, uncount)
            .is_ok()
        {
            self.epoch.fetch_add(1, Ordering::Release);
            futex::wake(&raw const self.epoch, 1);
        }
    }
}

impl<T> Deref for LightGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its lock is held, so nobody else has the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LightGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes this the guard's only reference.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for LightGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.release();
    }
}

impl<T> fmt::Debug for LightMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LightMutex").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for LightGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LightGuard").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn excludes_and_loses_no_increment() {
        let lock = LightMutex::new(0u64);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..100_000 {
                        *lock.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 400_000);
    }

    /// Sections longer than the spinning, so that the others sleep: every one of them is woken.
    #[test]
    fn no_sleeper_is_forgotten() {
        let lock = LightMutex::new(0u32);
        let start = Instant::now();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..200 {
                        let mut value = lock.lock();
                        let entered = Instant::now();
                        while entered.elapsed() < Duration::from_micros(60) {
                            std::hint::spin_loop();
                        }
                        *value += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 800);
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

//! The state machine of the semaphore: permits that are free, and a queue in strict order of arrival.
//!
//! ```text
//! | WAITERS, 1 bit | free permits, 63 bits |
//! ```
//!
//! While somebody waits, permits change with the bucket locked only, and nobody takes any past the
//! queue: a large request is not starved by small ones (as in Go's `semaphore.Weighted`).
//!
//! S1. WAITERS is set if and only if the queue is not empty.
//! S2. **No lost wake-up**: if somebody waits, the first waiter asks for more than is free.
//!
//! Both hold whenever the bucket is unlocked. S2: a waiter queues by an exchange that sees too few
//! permits or a queue before it; permits are added to a word with WAITERS, and a first waiter gives
//! up, with the bucket locked, and then `grant` serves the queue until S2 is true again. A first
//! waiter that has timed out but is still queued makes S2 hold by its own request until it has left.
//!
//! A permit granted is subtracted before the waiter wakes.
//!
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/sync`, S8, SY01.

use super::WaitReason;
use super::atomic::{AtomicU64, Ordering};
use super::wait_table::{self, Bucket, Key, Wait, Woken};

const WAITERS: u64 = 1 << 63;

/// The most permits there can be.
pub(crate) const PERMITS_MAX: u64 = WAITERS - 1;

/// Free permits and who waits for some.
pub(super) struct RawSemaphore {
    /// Acquire on taking pairs with release on adding.
    state: AtomicU64,
}

impl RawSemaphore {
    #[cfg(not(loom))]
    pub(super) const fn new(permits: u64) -> RawSemaphore {
        assert!(permits <= PERMITS_MAX, "Semaphore: too many permits");
        RawSemaphore {
            state: AtomicU64::new(permits),
        }
    }

    #[cfg(loom)]
    pub(super) fn new(permits: u64) -> RawSemaphore {
        RawSemaphore {
            state: AtomicU64::new(permits),
        }
    }

    #[inline]
    fn key(&self) -> Key {
        Key::of(self)
    }

    /// How many are free. A hint.
    pub(super) fn free(&self) -> u64 {
        self.state.load(Ordering::Relaxed) & !WAITERS
    }

    #[inline]
    fn exchange(&self, from: u64, to: u64, order: Ordering) -> Result<u64, u64> {
        self.state
            .compare_exchange(from, to, order, Ordering::Relaxed)
    }

    /// Takes `count` permits if they are free and nobody waits.
    #[inline]
    pub(super) fn try_acquire(&self, count: u64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITERS == 0 && state >= count {
            match self.exchange(state, state - count, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes `count` permits, parking until the deadline for them. False: the deadline passed.
    #[inline]
    #[track_caller]
    pub(super) fn acquire(&self, count: u64, deadline_ns: u64) -> bool {
        self.try_acquire(count)
            || self.acquire_slow(count, Wait::new(WaitReason::SemAcquire, deadline_ns))
    }

    /// Takes `count` permits, parking as `how` says, if need be. False: not in time.
    #[cold]
    #[track_caller]
    pub(super) fn acquire_slow(&self, count: u64, how: Wait) -> bool {
        let bucket = wait_table::lock_to_wait(self.key());
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let is_free = state & WAITERS == 0 && state >= count;
            let next = if is_free {
                state - count
            } else {
                state | WAITERS
            };
            match self.exchange(state, next, Ordering::Acquire) {
                Ok(_) if is_free => return true,
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let how = Wait { asks: count, ..how };
        match bucket.wait(self.key(), how) {
            Woken::Granted(_) => true,
            Woken::TimedOut(mut bucket) => {
                if !cfg!(gort_fault = "semaphore_give_up") {
                    self.grant(&mut bucket);
                }
                false
            }
        }
    }

    /// Adds `count` permits and wakes those that can go on. False: there would be too many.
    #[inline]
    #[must_use]
    pub(super) fn add(&self, count: u64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITERS == 0 {
            if count > PERMITS_MAX - state {
                return false;
            }
            match self.exchange(state, state + count, Ordering::Release) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        self.add_slow(count)
    }

    #[cold]
    fn add_slow(&self, count: u64) -> bool {
        let mut bucket = wait_table::lock(self.key());
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if count > PERMITS_MAX - (state & !WAITERS) {
                return false;
            }
            match self.exchange(state, state + count, Ordering::AcqRel) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        self.grant(&mut bucket);
        true
    }

    /// With the bucket locked: serves the queue, in order, with what is free.
    fn grant(&self, bucket: &mut Bucket) {
        loop {
            let free = self.free();
            let Some(taken) = bucket.pop_if(self.key(), 0, |asks| asks <= free) else {
                break;
            };
            // S1: nobody else takes permits while WAITERS is set.
            self.state.fetch_sub(taken, Ordering::AcqRel);
        }
        if bucket.is_empty(self.key()) {
            self.state.fetch_and(!WAITERS, Ordering::AcqRel);
        }
    }
}

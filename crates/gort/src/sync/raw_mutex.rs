//! The state machine of the mutex: Go's `sync.Mutex`, in one word.
//!
//! Normal mode: the lock is free for whoever comes first. An unlock wakes the first waiter, which
//! competes with newcomers; these are running already and mostly win, which is fast. A waiter that
//! loses queues again, at the front. A waiter that fails to get the lock for more than 1 ms turns on
//! starvation mode: then an unlock hands the lock over to the first waiter and newcomers queue at the
//! back without trying. The mode ends with a waiter that is the last or waited less than 1 ms.
//!
//! | bit      | set by                                | cleared by                                    |
//! |----------|---------------------------------------|-----------------------------------------------|
//! | LOCKED   | whoever takes the free lock           | its owner, in `unlock`, unless it hands over  |
//! | WAITERS  | who queues, bucket locked             | who empties the queue, bucket locked          |
//! | WOKEN    | a spinner; an unlock that wakes       | the token's holder, when it takes the lock or |
//! |          |                                       | queues; an unlock that found nobody to wake   |
//! | STARVING | a woken waiter that queues again late | who empties the queue; a receiver of the lock |
//! |          |                                       | that waited less than 1 ms                    |
//!
//! Invariants, true whenever the bucket is unlocked (M1, M3 and M4 always):
//!
//! M1. LOCKED is set while and only while the lock has one owner: the goroutine that set it,
//!     or one that it was handed to. Handing over leaves LOCKED set.
//! M2. WAITERS is set if and only if the queue is not empty.
//! M3. WOKEN is a token with at most one holder, which is awake (or about to be) and whose next
//!     change of the state takes the token back.
//! M4. STARVING excludes WOKEN, and implies WAITERS at M2's times.
//! M5. **No lost wake-up**: WAITERS without LOCKED implies WOKEN.
//!
//! Proof of M5 over all changes that could break it. WAITERS is set by an exchange that sees LOCKED,
//! and stays set only under that condition. LOCKED is cleared in `unlock` by an exchange that sees no
//! WAITERS, or sees WOKEN, or with the bucket locked and WOKEN set by us before, or with the queue
//! found empty and WAITERS cleared in the same step. WOKEN is cleared by the holder in an exchange
//! that sets LOCKED, or in one that sees it set; or together with LOCKED when the queue is empty.
//! And WOKEN suffices: its holder (M3) takes the lock, and then its unlock wakes the next, or finds
//! the lock taken, and then that owner's unlock does, since it sees WAITERS without WOKEN.
//! M4: a waiter sets STARVING only after it was woken, that is, as the holder of WOKEN, in the exchange
//! that clears WOKEN; spinners do not take the token in starvation mode, and `unlock` does not set it.
//!
//! An owner in `unlock` touches the state for the last time in the exchange that frees the lock (or
//! before it wakes the one it hands over to), so the lock's memory may go as soon as another
//! goroutine gets the lock.
//!
//! A waiter whose deadline passes leaves the queue with the bucket locked; until then it can be
//! popped, and a popper that finds it timed out takes the next one (W3), so its going loses nothing.
//!
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/sync`, SY01 to SY07.

use std::fmt;

use super::atomic::{AtomicU32, Ordering};
use super::holder::{HeldBy, Holder};
use super::spin::Spin;
use super::wait_table::{self, Key, Wait, Woken};
use super::{WaitReason, clock, fatal, sched};

const LOCKED: u32 = 1;
const WAITERS: u32 = 2;
const WOKEN: u32 = 4;
const STARVING: u32 = 8;

/// Go's `starvationThresholdNs`.
const STARVING_AFTER_NS: u64 = 1_000_000;

/// Grants of an unlock to the waiter it wakes.
const TRY_AGAIN: u64 = 0;
const HANDED_OVER: u64 = 1;

/// A mutex without data: Go's algorithm. Eight bytes, as Go's; half of them say who has locked it.
///
/// It is `lock_api`'s raw mutex under [`Mutex`](super::Mutex).
///
/// # Examples
///
/// ```
/// use gort::sync::RawMutex;
///
/// // For what is written for any lock of `lock_api`.
/// fn next<R: lock_api::RawMutex>(count: &lock_api::Mutex<R, u32>) -> u32 {
///     let mut count = count.lock();
///     *count += 1;
///     *count
/// }
/// assert_eq!(next(&lock_api::Mutex::<RawMutex, _>::new(6)), 7);
/// ```
pub struct RawMutex {
    /// Writers: all who lock and unlock. Acquire on taking pairs with release on freeing.
    state: AtomicU32,
    pub(super) holder: Holder,
}

impl RawMutex {
    /// A free lock.
    #[cfg(not(loom))]
    pub(super) const fn new() -> RawMutex {
        RawMutex {
            state: AtomicU32::new(0),
            holder: Holder::new(),
        }
    }

    /// A free lock. (loom's atomics have no `const` constructor.)
    #[cfg(loom)]
    pub(super) fn new() -> RawMutex {
        RawMutex {
            state: AtomicU32::new(0),
            holder: Holder::new(),
        }
    }

    #[inline]
    fn key(&self) -> Key {
        Key::of(self)
    }

    /// The state, for the model's last look.
    #[cfg(loom)]
    pub(super) fn bits(&self) -> u32 {
        self.state.load(Ordering::Relaxed)
    }

    /// Takes the lock if it is free. In starvation mode it never is.
    ///
    /// LOCKED alone decides (M1), so one instruction (`lock bts`) does it whatever the other bits are.
    #[inline]
    pub(super) fn try_acquire(&self) -> bool {
        let is_ours = self.try_acquire_quietly();
        if is_ours {
            self.holder.note();
        }
        is_ours
    }

    #[inline]
    fn try_acquire_quietly(&self) -> bool {
        self.state.fetch_or(LOCKED, Ordering::Acquire) & LOCKED == 0
    }

    /// Takes the lock, parking until the deadline for it. False: the deadline passed.
    #[inline]
    #[track_caller]
    pub(super) fn acquire(&self, reason: WaitReason, deadline_ns: u64) -> bool {
        self.try_acquire() || self.acquire_slow(reason, deadline_ns)
    }

    /// As [`acquire`](Self::acquire), and leaves it to the caller to say who holds the lock.
    #[inline]
    #[track_caller]
    pub(super) fn acquire_quietly(&self, reason: WaitReason, deadline_ns: u64) -> bool {
        self.try_acquire_quietly() || self.acquire_slow(reason, deadline_ns)
    }

    /// Whether somebody owns the lock.
    #[inline]
    pub(super) fn is_acquired(&self) -> bool {
        self.state.load(Ordering::Relaxed) & LOCKED != 0
    }

    /// Whether an unlock would find a waiter. A hint.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITERS != 0
    }

    /// Frees the lock. Ends the process if it is free.
    #[inline]
    pub(super) fn release(&self) {
        if self.release_without_yield(false) {
            yield_to_receiver();
        }
    }

    /// Hands the lock over to the first waiter, or frees it if there is none.
    #[inline]
    pub(super) fn release_fair(&self) {
        if self.release_without_yield(true) {
            yield_to_receiver();
        }
    }

    /// Frees the lock, or hands it over if `is_fair` or in starvation mode; true if it did that.
    #[inline]
    pub(super) fn release_without_yield(&self, is_fair: bool) -> bool {
        match self.free(LOCKED) {
            Ok(_) => false,
            Err(state) => self.release_slow(state, is_fair),
        }
    }

    /// Acquire, because it may take the lock; release is not needed to take or to queue.
    #[inline]
    fn exchange(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.state
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    #[track_caller]
    fn acquire_slow(&self, reason: WaitReason, deadline_ns: u64) -> bool {
        let mut spin = Spin::new();
        let mut waiting_since_ns = None;
        let mut is_starving = false;
        // Whether we hold the WOKEN token.
        let mut is_woken = false;
        let token = |is_woken: bool| if is_woken { WOKEN } else { 0 };
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                if self
                    .exchange(state, (state | LOCKED) & !token(is_woken))
                    .is_ok()
                {
                    self.holder.note();
                    return true;
                }
                continue;
            }
            if state & STARVING == 0 && spin.pays() {
                // With the token in our hands the unlock need not wake anybody.
                if state & (WAITERS | WOKEN) == WAITERS
                    && self.exchange(state, state | WOKEN).is_ok()
                {
                    is_woken = true;
                }
                spin.pause();
                continue;
            }

            let bucket = wait_table::lock_to_wait(self.key());
            if !self.set_waiting(token(is_woken), is_starving) {
                continue;
            }
            // The token, if we held it, went back in that step.
            let mut how = Wait::new(reason, deadline_ns);
            how.front = waiting_since_ns.is_some();
            how.held_by = HeldBy::One(&raw const self.holder);
            let since_ns = *waiting_since_ns.get_or_insert_with(clock::now_ns);
            match bucket.wait(self.key(), how) {
                Woken::TimedOut(bucket) => {
                    if bucket.is_empty(self.key()) {
                        self.state
                            .fetch_and(!(WAITERS | STARVING), Ordering::Relaxed);
                    }
                    return false;
                }
                Woken::Granted(grant) => {
                    is_starving |= clock::now_ns() - since_ns > STARVING_AFTER_NS;
                    if grant == HANDED_OVER {
                        if !is_starving {
                            self.state.fetch_and(!STARVING, Ordering::Relaxed);
                        }
                        self.holder.note();
                        return true;
                    }
                    is_woken = true;
                    spin = Spin::new();
                }
            }
        }
    }

    /// With the bucket locked: marks that we wait, and gives the token back, if the lock is taken.
    fn set_waiting(&self, token: u32, is_starving: bool) -> bool {
        let mode = if is_starving { STARVING } else { 0 };
        let mut state = self.state.load(Ordering::Relaxed);
        while state & LOCKED != 0 || cfg!(gort_fault = "mutex_recheck") {
            match self.exchange(state, (state | WAITERS | mode) & !token) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    fn release_slow(&self, mut state: u32, is_fair: bool) -> bool {
        loop {
            if state & LOCKED == 0 {
                fatal!("sync: unlock of unlocked mutex");
            }
            let must_hand_over = state & STARVING != 0 || (is_fair && state & WAITERS != 0);
            if must_hand_over || state & (WAITERS | WOKEN) == WAITERS {
                break;
            }
            // Nobody waits, or somebody is awake and will look (M5).
            match self.free(state) {
                Ok(_) => return false,
                Err(now) => state = now,
            }
        }
        let mut bucket = wait_table::lock(self.key());
        // Bits other than WOKEN stand still from here on: we own the lock and hold the bucket.
        let state = self.state.load(Ordering::Relaxed);
        if is_fair || state & STARVING != 0 {
            // M1: the receiver owns the lock from the moment it is popped.
            let handed_over = bucket.pop(self.key(), HANDED_OVER);
            let gone = if handed_over { 0 } else { LOCKED };
            self.settle(bucket.is_empty(self.key()), gone);
            return handed_over;
        }
        if state & WAITERS == 0 || self.state.fetch_or(WOKEN, Ordering::Relaxed) & WOKEN != 0 {
            // The last waiter gave up, or a spinner took the token, before we had the bucket.
            self.settle(bucket.is_empty(self.key()), LOCKED);
            return false;
        }
        // Now the token is ours, to be given to the one we wake.
        let gone = if bucket.pop(self.key(), TRY_AGAIN) {
            LOCKED
        } else {
            LOCKED | WOKEN
        };
        self.settle(bucket.is_empty(self.key()), gone);
        false
    }

    /// Frees the lock, if the state is this one.
    #[inline]
    fn free(&self, state: u32) -> Result<u32, u32> {
        self.state
            .compare_exchange(state, state & !LOCKED, Ordering::Release, Ordering::Relaxed)
    }

    /// The last step of an unlock with the bucket locked: clears `gone`, and what an empty queue ends.
    fn settle(&self, is_empty: bool, gone: u32) {
        let gone = if is_empty {
            gone | WAITERS | STARVING
        } else {
            gone
        };
        self.state.fetch_and(!gone, Ordering::Release);
    }
}

/// After a hand-over the receiver should run now, on the rest of our time slice: until it does, the
/// lock is owned by somebody who does nothing with it. We go on after it, as Go's `semrelease1` does:
/// not behind all of the global queue.
#[cold]
fn yield_to_receiver() {
    sched::yield_to_next();
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex")
            .field("is_locked", &self.is_acquired())
            .finish()
    }
}

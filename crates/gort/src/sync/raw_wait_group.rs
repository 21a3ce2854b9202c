//! The state machine of the wait group: Go's, a counter and the number of waiters in one word.
//!
//! ```text
//! | counter, 32 bits, signed | waiters, 32 bits |
//! ```
//!
//! `add` is one addition. When it brings the counter to 0 while there are waiters, the round is over:
//! whoever did it resets the word and wakes them, with the bucket locked. A waiter registers with the
//! bucket locked too, so the waiters in the word and those in the queue are the same.
//!
//! G1. Whenever the bucket is unlocked and no `add` is between its addition and the end of its round,
//!     `waiters` is the length of the queue, and waiters imply a counter above 0.
//! G2. Between the addition that ends a round and the reset nothing may change the word. An `add` that
//!     does so comes from a caller that does not know whether its work belongs to this round or the
//!     next: both sides panic with Go's text, if they notice.
//!
//! No wake-up is lost: a waiter registers by an exchange that sees a counter above 0, so the addition
//! that brings it to 0 comes later, sees the waiter, and takes the bucket after it.
//!
//! What happened before a `done` is visible after the `wait` it ends: additions release and the last
//! one acquires; waiters are woken by it, or read the word it wrote.
//!
//! Checked by `testing/model` (this file under loom), the tests below, `crates/gort/tests/sync`, S9 to
//! S12, SY13, SY14.

use super::WaitReason;
use super::atomic::{AtomicU64, Ordering};
use super::wait_table::{self, Key, NEVER, Wait, Woken};

const ADD_AND_WAIT: &str = "sync: WaitGroup misuse: Add called concurrently with Wait";
const REUSED: &str = "sync: WaitGroup is reused before previous Wait has returned";
const NEGATIVE: &str = "sync: negative WaitGroup counter";

const ONE_WAITER: u64 = 1;

/// Work under way, and who waits for its end.
pub(super) struct RawWaitGroup {
    state: AtomicU64,
}

/// The two halves of the word.
fn unpack(state: u64) -> (i32, u32) {
    ((state >> 32) as i32, state as u32)
}

/// What is added to the word for `delta` in the counter.
fn counter_part(delta: i32) -> u64 {
    (delta as u32 as u64) << 32
}

impl RawWaitGroup {
    #[cfg(not(loom))]
    pub(super) const fn new() -> RawWaitGroup {
        RawWaitGroup {
            state: AtomicU64::new(0),
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> RawWaitGroup {
        RawWaitGroup {
            state: AtomicU64::new(0),
        }
    }

    /// How many are counted now. A hint.
    pub(super) fn counter(&self) -> i32 {
        unpack(self.state.load(Ordering::Relaxed)).0
    }

    /// Adds to the counter, and wakes the waiters if that makes it 0.
    #[inline]
    #[track_caller]
    pub(super) fn add(&self, delta: i32) {
        let before = self.state.fetch_add(counter_part(delta), Ordering::AcqRel);
        let (counter, waiters) = unpack(before.wrapping_add(counter_part(delta)));
        if counter < 0 {
            panic!("{NEGATIVE}");
        }
        if waiters != 0 && delta > 0 && counter == delta {
            panic!("{ADD_AND_WAIT}");
        }
        if counter == 0 && waiters != 0 {
            self.end_round(waiters);
        }
    }

    #[cold]
    #[track_caller]
    fn end_round(&self, waiters: u32) {
        let mut bucket = wait_table::lock(Key::of(self));
        let ended =
            self.state
                .compare_exchange(waiters.into(), 0, Ordering::AcqRel, Ordering::Relaxed);
        if ended.is_err() {
            drop(bucket);
            panic!("{ADD_AND_WAIT}");
        }
        let woken = bucket.pop_all(Key::of(self), 0);
        debug_assert_eq!(woken, waiters as usize, "G1");
    }

    /// Parks until the counter is 0.
    #[inline]
    #[track_caller]
    pub(super) fn wait(&self) {
        if unpack(self.state.load(Ordering::Acquire)).0 != 0 {
            self.wait_slow();
        }
    }

    #[cold]
    #[track_caller]
    fn wait_slow(&self) {
        let bucket = wait_table::lock_to_wait(Key::of(self));
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if unpack(state).0 == 0 {
                return;
            }
            match self.state.compare_exchange(
                state,
                state + ONE_WAITER,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        match bucket.wait(Key::of(self), Wait::new(WaitReason::WaitGroupWait, NEVER)) {
            Woken::Granted(_) => {}
            Woken::TimedOut(_) => unreachable!("the wait has no deadline"),
        }
        if self.state.load(Ordering::Acquire) != 0 {
            panic!("{REUSED}");
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn panic_text(f: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        payload
            .downcast_ref::<String>()
            .expect("a formatted panic")
            .clone()
    }

    #[test]
    fn the_counter_holds_two_to_the_31_minus_1() {
        let group = RawWaitGroup::new();
        group.add(i32::MAX);
        assert_eq!(group.counter(), i32::MAX);
        assert_eq!(panic_text(|| group.add(1)), NEGATIVE);
    }

    #[test]
    fn an_add_between_the_end_of_a_round_and_its_reset_panics() {
        // A waiter is registered and the counter is 0: the state between the two steps of the `add`
        // that ends the round.
        let group = RawWaitGroup {
            state: AtomicU64::new(ONE_WAITER),
        };
        assert_eq!(panic_text(|| group.add(1)), ADD_AND_WAIT);
        // And the one that ends the round finds the word changed.
        assert_eq!(panic_text(|| group.end_round(1)), ADD_AND_WAIT);
    }
}

//! The state machine of the wait group: Go's, a counter and the number of waiters in one word.
//!
//! ```text
//! | counter, 32 bits, signed | waiters, 32 bits |
//! ```
//!
//! `add` is one exchange. When it brings the counter to 0 while there are waiters, the round is over:
//! whoever did it takes the bucket, resets the word and wakes them. A waiter registers with the bucket
//! locked too, so the waiters in the word and those in the queue are the same.
//!
//! G1. Whenever the bucket is unlocked, `waiters` is the length of the queue.
//! G2. Waiters beside a counter of 0 mean that a round is ending: the one who ends it is on the way to
//!     the bucket. Until it has been there nothing changes the word: `wait` returns, and an `add`
//!     panics with Go's text, since its caller does not know whether its work belongs to this round or
//!     the next. Likewise an `add` below 0. A call that panics has changed nothing, so the group can be
//!     used on: in Go the process ends there, here it need not.
//!
//! No wake-up is lost: a waiter registers by an exchange that sees a counter above 0, so the exchange
//! that brings it to 0 comes later, sees the waiter, and takes the bucket after it.
//!
//! What happened before a `done` is visible after the `wait` it ends: exchanges release, and the last
//! one acquires; waiters are woken by it, or read the word it wrote.
//!
//! Rejected: Go's plain addition. It leaves the bad sum behind when it panics. Ending a round with the
//! bucket locked before the counter is 0 would make the misuse harmless, but also unnoticed.
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

fn pack(counter: i32, waiters: u32) -> u64 {
    u64::from(counter as u32) << 32 | u64::from(waiters)
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
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (counter, waiters) = unpack(state);
            // The sum is negative, or too large: then it would be negative in Go.
            let Some(sum) = counter.checked_add(delta).filter(|&sum| sum >= 0) else {
                panic!("{NEGATIVE}");
            };
            if waiters != 0 && counter == 0 && delta > 0 {
                panic!("{ADD_AND_WAIT}");
            }
            let next = pack(sum, waiters);
            match self
                .state
                .compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) if sum == 0 && counter != 0 && waiters != 0 => {
                    return self.end_round(waiters);
                }
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    fn end_round(&self, waiters: u32) {
        let mut bucket = wait_table::lock(Key::of(self));
        let ended = self.state.swap(0, Ordering::Release);
        debug_assert_eq!(ended, pack(0, waiters), "G2");
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
    fn s009_an_add_between_the_end_of_a_round_and_its_reset_panics() {
        // A waiter is registered and the counter is 0: the state between the two steps of the `add`
        // that ends the round.
        let group = RawWaitGroup {
            state: AtomicU64::new(ONE_WAITER),
        };
        assert_eq!(panic_text(|| group.add(1)), ADD_AND_WAIT);
        assert_eq!(panic_text(|| group.add(-1)), NEGATIVE);
        assert_eq!(
            group.state.into_inner(),
            ONE_WAITER,
            "a call that panics changes nothing"
        );
    }
}

//! The state machine of the wait group: Go's, a counter and the number of waiters in one word.
//!
//! ```text
//! | counter, 32 bits, signed | waiters, 32 bits |
//! ```
//!
//! `add` is one addition. When it brings the counter to 0 while there are waiters, the round is over:
//! whoever did it takes the bucket, takes the waiters out of the word and wakes them. A waiter
//! registers with the bucket locked too, so the waiters in the word and those in the queue are the same.
//!
//! G1. Whenever the bucket is unlocked, `waiters` is the length of the queue.
//! G2. Waiters beside a counter of 0 mean that a round is ending: somebody who made it 0 is on the way
//!     to the bucket.
//!
//! An `add` that finds a round ending panics with Go's text, since its caller does not know whether its
//! work belongs to this round or the next; likewise an `add` that leads below 0. In Go the process then
//! ends. Here the panic may be contained, so the bad addition is taken back first, by an ordinary one
//! that may end a round itself. In between others can see a sum that is wrong; what they do by it
//! (return from `wait`, wait for the taking back, end a round, panic) leaves G1 and G2 true, and waits
//! only for what is on its way. So misuse can let waiters go too early, as in Go, but nobody hangs.
//!
//! No wake-up is lost: a waiter registers by an exchange that sees a counter above 0, so the addition
//! that brings it to 0 comes later, sees the waiter, and takes the bucket after it.
//!
//! What happened before a `done` is visible after the `wait` it ends: additions release, and the last
//! one acquires; waiters are woken by it, or read the word it wrote.
//!
//! Rejected: a loop of exchanges, which would need no taking back, but costs 5 to 10 ns more in a loop
//! of `add` and `done`, and a repetition under contention. Ending a round with the bucket locked before
//! the counter is 0 would make the misuse harmless, but also unnoticed.
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
    u64::from(delta as u32) << 32
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
        let (counter, waiters) = unpack(before);
        let is_bad = counter.checked_add(delta).is_none_or(|sum| sum < 0)
            || (waiters != 0 && counter == 0 && delta > 0);
        if is_bad {
            self.take_back(delta, counter);
        }
        if counter.wrapping_add(delta) == 0 && waiters != 0 {
            self.end_round();
        }
    }

    #[cold]
    #[track_caller]
    fn take_back(&self, delta: i32, found: i32) -> ! {
        let back = counter_part(delta.wrapping_neg());
        let (counter, waiters) = unpack(
            self.state
                .fetch_add(back, Ordering::AcqRel)
                .wrapping_add(back),
        );
        if counter == 0 && waiters != 0 {
            self.end_round();
        }
        // Too large a sum would be negative in Go.
        panic!(
            "{}",
            if found == 0 && delta > 0 {
                ADD_AND_WAIT
            } else {
                NEGATIVE
            }
        );
    }

    #[cold]
    fn end_round(&self) {
        let mut bucket = wait_table::lock(Key::of(self));
        // Others may have ended it already, or registered more to wait (only after a misuse).
        let (_, waiters) = unpack(self.state.load(Ordering::Relaxed));
        self.state.fetch_sub(waiters.into(), Ordering::AcqRel);
        let woken = bucket.pop_all(Key::of(self), 0);
        debug_assert_eq!(woken, waiters as usize, "G1");
    }

    /// Parks until the counter is 0.
    #[inline]
    #[track_caller]
    pub(super) fn wait(&self) {
        if unpack(self.state.load(Ordering::Acquire)).0 > 0 {
            self.wait_slow();
        }
    }

    #[cold]
    #[track_caller]
    fn wait_slow(&self) {
        let bucket = wait_table::lock_to_wait(Key::of(self));
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if unpack(state).0 <= 0 && !cfg!(gort_fault = "wait_group_recheck") {
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
    use std::thread;

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
        let group = RawWaitGroup::new();
        group.add(1);
        thread::scope(|s| {
            let waiter = s.spawn(|| group.wait());
            while unpack(group.state.load(Ordering::Relaxed)).1 == 0 {
                thread::yield_now();
            }
            // The first of the two steps of the `add` that ends the round.
            group.state.fetch_add(counter_part(-1), Ordering::AcqRel);
            assert_eq!(panic_text(|| group.add(1)), ADD_AND_WAIT);
            // What it did was taken back, and nobody hangs.
            waiter.join().expect("the waiter returns");
        });
        group.end_round();
        assert_eq!(group.state.into_inner(), 0);
    }
}

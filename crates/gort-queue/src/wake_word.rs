//! How any number of calls to a waker become one `ready` for each park: the word of whoever polls a
//! future.
//!
//! A future's wakers may be called at any moment, from anywhere, as often as they like: while it is polled,
//! while it waits, long after it has ended. Its goroutine wants exactly one `ready` for each of its parks.
//!
//! | from    | to      | by                                    | then                                        |
//! |---------|---------|---------------------------------------|---------------------------------------------|
//! | RUNNING | PARKED  | the owner, after a poll (`stop`)      | it parks                                    |
//! | PARKED  | CALLED  | a caller (`call`)                     | that caller readies the owner, once         |
//! | RUNNING | CALLED  | a caller                              | `stop` fails: the owner polls again         |
//! | CALLED  | CALLED  | a caller                              | nothing: somebody has seen to it            |
//! | CALLED  | RUNNING | the owner, before a poll (`begin`)    | the poll sees what all callers wrote before |
//!
//! W1. The owner parks only after `stop` has said yes, and is readied only by the caller that found it
//!     PARKED: one `ready` for each park.
//! W2. A call that comes after `begin` is followed by another poll: it finds RUNNING, and fails the next
//!     `stop`, or PARKED. One that came before is seen by the poll itself. So no call is lost.
//! W3. After its last poll the owner does not call `stop` any more, and late callers find RUNNING or CALLED: they
//!     touch nothing but the word.
//!
//! Orderings: each change is AcqRel. `begin` is a swap for that reason, and not a store: it must read the
//! call that it takes back, so that the poll which follows sees what its caller wrote before; with a store
//! the poll's loads could even come before it.
//!
//! Elsewhere: the park and its `ready` (`status`), what is polled (`gort_core::sched::stackless`,
//! `gort::task`). Checked by the test below and `tests/loom_wake_word.rs`.

use crate::facade::{AtomicU32, Ordering, const_unless_loom};
use std::fmt;

/// The owner polls, or is about to, and nobody has called since `begin`.
const RUNNING: u32 = 0;
/// The owner is parked, or about to be.
const PARKED: u32 = 1;
/// Called since the last `begin`.
const CALLED: u32 = 2;

/// See the [module header](self).
pub struct WakeWord(AtomicU32);

impl WakeWord {
    const_unless_loom! {
        /// That of an owner that has yet to poll for the first time.
        pub fn new() -> Self {
            Self(AtomicU32::new(RUNNING))
        }
    }

    /// The owner, before each poll.
    #[inline]
    pub fn begin(&self) {
        if cfg!(gort_fault = "wake_word_begin") {
            // The fault that loom must find: the call is taken back unread.
            return self.0.store(RUNNING, Ordering::Relaxed);
        }
        self.0.swap(RUNNING, Ordering::AcqRel);
    }

    /// The owner, after a poll that ended without a result. True: it is to park, and somebody will ready
    /// it, once, perhaps before it has done so. False: it was called meanwhile, and polls again.
    #[inline]
    #[must_use = "if it was called meanwhile, nobody will ready it"]
    pub fn stop(&self) -> bool {
        self.0
            .compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// A waker. True: the owner is the caller's to ready.
    #[inline]
    #[must_use = "if it is parked, only this caller can ready the owner"]
    pub fn call(&self) -> bool {
        self.0.swap(CALLED, Ordering::AcqRel) == PARKED
    }
}

impl Default for WakeWord {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WakeWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.load(Ordering::Relaxed) {
            RUNNING => "Running",
            PARKED => "Parked",
            _ => "Called",
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::WakeWord;

    #[test]
    fn the_first_call_of_a_parked_owner_readies_it_and_no_other() {
        let word = WakeWord::new();
        word.begin();
        assert!(word.stop());
        assert!(word.call());
        assert!(!word.call());
        word.begin();
        assert!(!word.call());
        assert!(!word.stop(), "called while it polled");
        word.begin();
        assert!(word.stop());
    }
}

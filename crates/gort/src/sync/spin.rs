//! Whether to spin before queueing, and for how long: Go's rule for `sync.Mutex`.
//!
//! Spinning pays only if the owner runs at this moment on another processor, and nobody else waits for
//! ours (`sched::may_spin`). Then there are a few rounds of pauses, about a microsecond; a wake-up of
//! another thread costs many.

use std::hint;

use super::sched;

/// Go's `active_spin`.
const ROUNDS_MAX: u32 = 4;
/// Go's `active_spin_cnt`.
const PAUSES: u32 = 30;

/// One caller's budget for one wait.
pub(super) struct Spin {
    rounds: u32,
}

impl Spin {
    /// A full budget.
    #[inline]
    pub(super) fn new() -> Spin {
        Spin { rounds: 0 }
    }

    /// Whether another round is worth its time.
    #[inline]
    pub(super) fn pays(&self) -> bool {
        self.rounds < ROUNDS_MAX && sched::may_spin()
    }

    /// One round.
    #[inline]
    pub(super) fn pause(&mut self) {
        self.rounds += 1;
        for _ in 0..PAUSES {
            hint::spin_loop();
        }
    }
}

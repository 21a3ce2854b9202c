//! How long an operation waits, and how.
//!
//! Elsewhere: who waits for what (`waiter`), the wait itself (`gort_core::sched`).

use gort_core::clock;
use gort_core::g::{self, GRef};
use gort_core::sched::{self, Woken};
use gort_core::wait_reason::WaitReason;
use gort_queue::claim::Round;

/// How long an operation may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// Not at all.
    Never,
    /// Until this time; `u64::MAX`: for ever.
    Until(u64),
}

impl Wait {
    pub(super) const FOREVER: Self = Self::Until(u64::MAX);

    /// Whether there is no time left.
    pub(super) fn is_over(self) -> bool {
        match self {
            Self::Never => true,
            Self::Until(u64::MAX) => false,
            Self::Until(deadline_ns) => clock::now_ns() >= deadline_ns,
        }
    }

    /// When to stop waiting, if ever.
    pub(super) fn deadline_ns(self) -> Option<u64> {
        match self {
            Self::Until(deadline_ns) if deadline_ns != u64::MAX => Some(deadline_ns),
            _ => None,
        }
    }

    /// Parks until readied, or with a round until the deadline.
    #[track_caller]
    pub(super) fn park(self, reason: WaitReason, round: Option<Round>) -> Woken {
        match (round, self.deadline_ns()) {
            (Some(round), Some(deadline_ns)) => sched::park_until(reason, round, deadline_ns),
            _ => {
                sched::park(reason);
                Woken::Ready
            }
        }
    }
}

/// Has a plain thread look for a moment whether `is_ready`, before it goes to sleep: waking it would
/// cost the other side a system call. A goroutine parks at once, and lets others run.
pub(super) fn spin(gp: GRef, is_ready: impl Fn() -> bool) {
    /// About 3 µs; a futex wake-up costs 15 µs on the machine of DESIGN.md.
    const ROUNDS_MAX: u32 = 60;

    if gp.is_goroutine() {
        return;
    }
    for _ in 0..ROUNDS_MAX {
        if is_ready() {
            return;
        }
        std::hint::spin_loop();
    }
}

/// Waits though nothing can come.
#[cold]
#[track_caller]
pub(super) fn wait_for_nothing(reason: WaitReason, wait: Wait) {
    match wait {
        Wait::Never => {}
        Wait::Until(u64::MAX) => loop {
            sched::park(reason);
        },
        Wait::Until(deadline_ns) => {
            // Nobody else learns of the round, so only the clock ends it.
            let round = g::current().claim().open();
            sched::park_until(reason, round, deadline_ns);
        }
    }
}

//! The state machine of everything that is done once: [`Once`](super::Once),
//! [`OnceLock`](super::OnceLock), [`LazyLock`](super::LazyLock).
//!
//! A phase, and a bit WAITERS beside it:
//!
//! | from    | to          | by                                                                      |
//! |---------|-------------|-------------------------------------------------------------------------|
//! | NEW     | RUNNING     | the caller whose exchange it is; it runs the function. WAITERS stays    |
//! | RUNNING | DONE or NEW | the runner. With WAITERS set it locks the bucket, clears it, wakes all  |
//!
//! NEW comes after RUNNING where a panic is to leave no trace (`OnceLock`): then those that waited
//! try again, and one of them becomes the runner.
//!
//! O1. WAITERS is set if and only if the queue is not empty, whenever the bucket is unlocked, and not
//!     together with DONE.
//!
//! No wake-up is lost: WAITERS is set with the bucket locked by an exchange that sees the phase, so
//! the end of a run either comes before it (and the caller does not park) or sees it (and wakes).
//!
//! There are no waits with a deadline, so every waiter that is popped is woken.
//!
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/sync`, S131 to S133, SY17.

use super::WaitReason;
use super::atomic::{AtomicU8, Ordering};
use super::wait_table::{self, Key, NEVER, Wait, Woken};

const NEW: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;
const PHASE: u8 = 3;
const WAITERS: u8 = 4;

/// What a panic in the function leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterPanic {
    /// As if it had ended well.
    Done,
    /// As if nobody had called.
    New,
}

/// Whether something has been done.
pub(super) struct RawOnce {
    /// Release by the runner when it is done pairs with acquire by all who see it done.
    state: AtomicU8,
}

impl RawOnce {
    #[cfg(not(loom))]
    pub(super) const fn new() -> RawOnce {
        RawOnce {
            state: AtomicU8::new(NEW),
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> RawOnce {
        RawOnce {
            state: AtomicU8::new(NEW),
        }
    }

    /// Whether the function has ended.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Runs `f` if it has not been run, and returns when it has: by us or by another caller.
    #[inline]
    #[track_caller]
    pub(super) fn run(&self, after_panic: AfterPanic, f: impl FnOnce()) {
        if !self.is_done() && self.wait_or_run(true) {
            let mut finish = Finish {
                once: self,
                last: after_panic,
            };
            f();
            finish.last = AfterPanic::Done;
        }
    }

    /// Parks until it is done, by somebody else.
    #[inline]
    #[track_caller]
    pub(super) fn wait(&self) {
        if !self.is_done() {
            self.wait_or_run(false);
        }
    }

    /// Returns when it is done, or (true) when the caller has become the runner, if it `may_run`.
    #[cold]
    #[track_caller]
    fn wait_or_run(&self, may_run: bool) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state == DONE {
                return false;
            }
            if may_run && state & PHASE == NEW {
                match self.exchange(state, state | RUNNING) {
                    Ok(_) => return true,
                    Err(now) => state = now,
                }
                continue;
            }
            let bucket = wait_table::lock_to_wait(Key::of(self));
            if let Err(now) = self.exchange(state, state | WAITERS) {
                state = now;
                continue;
            }
            match bucket.wait(Key::of(self), Wait::new(WaitReason::OnceWait, NEVER)) {
                Woken::Granted(_) => state = self.state.load(Ordering::Acquire),
                Woken::TimedOut(_) => unreachable!("the wait has no deadline"),
            }
        }
    }

    #[inline]
    fn exchange(&self, from: u8, to: u8) -> Result<u8, u8> {
        self.state
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Acquire)
    }
}

/// Ends the run, also when it unwinds.
struct Finish<'a> {
    once: &'a RawOnce,
    last: AfterPanic,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let last = match self.last {
            AfterPanic::Done => DONE,
            AfterPanic::New => NEW,
        };
        let state = &self.once.state;
        if state
            .compare_exchange(RUNNING, last, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            let mut bucket = wait_table::lock(Key::of(self.once));
            state.store(last, Ordering::Release);
            bucket.pop_all(Key::of(self.once), 0);
        }
    }
}

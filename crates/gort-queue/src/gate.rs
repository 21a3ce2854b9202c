//! The gate between a goroutine's own code and the runtime: when may the P be taken from a thread
//! that runs it, without a signal and without its help?
//!
//! An M is *inside* while it holds one of the runtime's locks or works with its P, and *outside*
//! while it runs the goroutine's code, which may compute or sleep in the kernel for ever. Outside,
//! its P can be taken by a taker (sysmon); at its next entry the M finds out.
//!
//! | `request` | meaning                                           | written by                  |
//! |-----------|---------------------------------------------------|-----------------------------|
//! | NONE      | the M has a P, or is inside and sees to it        | owner; taker, from ASKED    |
//! | ASKED     | the taker wants to know whether the M is outside  | taker, from NONE            |
//! | TAKEN     | the P is gone; the M does not know it yet         | taker, from ASKED           |
//! | ANNOUNCED | the M gave its P away before a call that blocks   | owner, inside               |
//!
//! | from      | to        | by    | when                                                          |
//! |-----------|-----------|-------|---------------------------------------------------------------|
//! | NONE      | ASKED     | taker | it has seen no progress for too long                          |
//! | ASKED     | NONE      | owner | on entering: it is here, and keeps its P                      |
//! | ASKED     | NONE      | taker | it saw `depth` above 0: the M is inside, and comes by itself  |
//! | ASKED     | TAKEN     | taker | it saw `depth` 0: the P is the taker's from this moment on    |
//! | TAKEN     | NONE      | owner | on entering: it knows, and must get a P before it goes on     |
//! | NONE, ASKED | ANNOUNCED | owner | inside                                                      |
//! | ANNOUNCED | NONE      | owner | inside, with a P again                                        |
//!
//! K1. The owner stores `depth` 1, then looks at `request`; the taker stores ASKED, then looks at
//!     `depth`. Between the two steps each side has a fence, so not both can miss the other. The
//!     owner's is an order for the compiler only, where the taker's is a barrier in all threads
//!     (membarrier); where the kernel refuses that, both are real fences.
//! K2. So if the taker saw `depth` 0 and the owner entered after the fence, the owner saw ASKED or
//!     what came of it, and of the two changes from ASKED one wins.
//! K3. Leaving is a release store, and the taker's look an acquire load: what the owner did inside
//!     happens before what the next holder of the P does.
//! K4. There is one taker at a time.
//! K5. Which P the owner holds is read between the look at `depth` and the change to TAKEN. If the owner
//!     enters in between, that change fails (K2); so what was read is what the owner left with (K3). An
//!     owner that enters without asking for the answer leaves its P alone.
//!
//! Rejected: taking the P by a signal. The signal ends `nanosleep`, `poll` and the like in the
//! thread with EINTR, and those are the ones it is for. A flag that is set around system calls, as
//! Go has it, reaches only the calls that the runtime makes itself.
//!
//! Elsewhere: what the M does when its P is gone (`gort-core`, `sched::syscall` and `preempt`).
//! Checked by `tests/loom_gate.rs`.

use crate::facade::{AtomicU32, Ordering, const_unless_loom};
use std::fmt;

const NONE: u32 = 0;
const ASKED: u32 = 1;
const TAKEN: u32 = 2;
const ANNOUNCED: u32 = 3;

/// What an M finds when it enters the runtime and somebody has used the gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It has what it had.
    Kept,
    /// Its P was taken.
    Lost,
    /// It gave its P away itself.
    Announced,
}

/// The gate of one M. See the [module header](self).
#[repr(C)]
pub struct Gate {
    /// How many sections of the runtime the M is in. Writer: the owner.
    depth: AtomicU32,
    request: AtomicU32,
}

impl Gate {
    const_unless_loom! {
        /// The gate of an M that is inside, once: a new M begins in the runtime.
        pub fn new() -> Self {
            Self {
                depth: AtomicU32::new(1),
                request: AtomicU32::new(NONE),
            }
        }
    }

    /// The owner enters, or goes one deeper. True: somebody has used the gate, and the owner asks
    /// [`answer`](Self::answer) next. `fence` is the owner's half of K1.
    #[inline(always)]
    pub fn enter(&self, fence: impl FnOnce()) -> bool {
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth + 1, Ordering::Relaxed);
        if depth != 0 {
            return false;
        }
        fence();
        self.request.load(Ordering::Relaxed) != NONE
    }

    /// The owner, inside: what has become of its P. After [`Answer::Lost`] it has none, and the gate
    /// is as before.
    pub fn answer(&self) -> Answer {
        match self
            .request
            .compare_exchange(ASKED, NONE, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) | Err(NONE) => Answer::Kept,
            Err(TAKEN) => {
                // Nobody else changes TAKEN.
                self.request.store(NONE, Ordering::Release);
                Answer::Lost
            }
            Err(_) => Answer::Announced,
        }
    }

    /// The owner goes one up; from depth 1 it leaves.
    #[inline(always)]
    pub fn leave(&self) {
        let depth = self.depth.load(Ordering::Relaxed);
        debug_assert!(depth != 0, "a gate is left as often as it is entered");
        self.depth.store(depth - 1, Ordering::Release);
    }

    /// The owner, inside: it gives its P away itself.
    #[inline]
    pub fn announce(&self) {
        // An exchange, as the taker may be between ASKED and its answer.
        self.request.swap(ANNOUNCED, Ordering::AcqRel);
    }

    /// The owner, inside, has a P again after [`announce`](Self::announce).
    #[inline]
    pub fn end_announced(&self) {
        self.request.swap(NONE, Ordering::AcqRel);
    }

    /// How deep the owner is; exact for the owner alone.
    #[inline]
    pub fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// The taker begins. False: there is nothing to take. Then comes its half of the fence (K1), and
    /// then [`conclude`](Self::conclude).
    ///
    /// It may also leave it at that: then the owner finds out that it was asked at its next entry (without the
    /// fence: at one of the next), and what the taker wrote before is the owner's to see. It may ask again.
    pub fn ask(&self) -> bool {
        let asked =
            self.request
                .compare_exchange(NONE, ASKED, Ordering::Release, Ordering::Relaxed);
        matches!(asked, Ok(_) | Err(ASKED))
    }

    /// The taker, after its fence. `held` reads which P the M holds; if there is an answer, that P is the taker's.
    ///
    /// It is read while the M is outside: inside it may give one P up and get another (K5).
    pub fn conclude<T>(&self, held: impl FnOnce() -> T) -> Option<T> {
        let seen = (self.depth.load(Ordering::Acquire) == 0).then(held);
        let to = if seen.is_some() { TAKEN } else { NONE };
        // If it fails, the owner has entered meanwhile and said so.
        let concluded =
            self.request
                .compare_exchange(ASKED, to, Ordering::AcqRel, Ordering::Relaxed);
        concluded.ok().and(seen)
    }

    /// Whether the P was taken and the owner has not noticed yet.
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.request.load(Ordering::Relaxed) == TAKEN
    }

    /// Whether the M is in a call that it has announced. A hint, unless a fence goes with it.
    pub fn is_announced(&self) -> bool {
        self.request.load(Ordering::Relaxed) == ANNOUNCED
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("depth", &self.depth.load(Ordering::Relaxed))
            .field("request", &self.request.load(Ordering::Relaxed))
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_an_m_that_is_outside_loses_its_p() {
        let gate = Gate::new();
        assert!(gate.ask());
        assert!(gate.ask(), "by the same taker");
        assert_eq!(gate.conclude(|| ()), None, "it is inside");
        gate.leave();
        assert!(gate.ask());
        assert_eq!(gate.conclude(|| 7), Some(7));
        assert!(gate.is_taken());
        assert!(!gate.ask(), "it is gone already");
        assert!(gate.enter(|| ()));
        assert_eq!(gate.answer(), Answer::Lost);
        assert!(!gate.is_taken());
    }

    #[test]
    fn an_m_that_enters_meanwhile_keeps_its_p() {
        let gate = Gate::new();
        gate.leave();
        assert!(gate.ask());
        assert!(gate.enter(|| ()));
        assert_eq!(gate.answer(), Answer::Kept);
        gate.leave();
        assert_eq!(gate.conclude(|| ()), None);
    }

    #[test]
    fn what_was_announced_is_not_taken() {
        let gate = Gate::new();
        gate.announce();
        gate.leave();
        assert!(!gate.ask());
        assert!(gate.enter(|| ()));
        assert_eq!(gate.answer(), Answer::Announced);
        gate.end_announced();
        gate.leave();
        assert!(!gate.enter(|| ()));
    }
}

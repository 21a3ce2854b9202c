//! Who must wake another M: the protocol between submitting work and giving up the search for it.
//!
//! An M without work first spins: it holds a P and looks through all queues. While somebody spins, a
//! submitter wakes nobody; that is what keeps wake-ups rare. The danger is a submitter that counts
//! on a spinner who has just looked for the last time:
//!
//! ```text
//! submitter                         an M that gives up its P
//! 1. put the work into a queue      1. count the P as idle         (inc_idle)
//! 2. fence (SeqCst)                 2. stop counting as spinning   (stop_spinning_going_idle)
//! 3. nobody spins, a P is idle?     3. fence (SeqCst)
//!    then wake one (should_wake)    4. look through all queues again
//! ```
//!
//! One of the two fences is first. If the submitter's is, the second look finds the work. If the
//! other is, the submitter sees an idle P; if it sees no spinner either, it wakes one, and if it
//! sees one, then that one's fence is still to come and its second look finds the work.
//!
//! I1. `spinning` counts Ms that will look through all queues, or hand the duty on, before they
//!     sleep or run something.
//! I2. A spinner that finds work and was the last one hands the duty on: there may be more work,
//!     whose submitter counted on it. (`stop_spinning_found_work` says so, and the caller asks
//!     `should_wake` on behalf of that submitter.)
//! I3. A waker that finds no idle P after all takes back its spinner and asks again
//!     (`abandon_spinning`): meanwhile others may have counted on that spinner, and a P may have
//!     become idle.
//! I4. Whoever gives up a P takes the second look, even if it did not spin. (In Go such an M does
//!     not look; instead, each submitter that meets no spinner takes the scheduler's lock and, if no
//!     P is idle, leaves a note for it. We look, and save submitters the lock.)
//! I5. `idle` is changed under the lock that guards the list of idle Ps, together with the list.
//!
//! Elsewhere: the lists of idle Ms and Ps, and the waking itself (`sched::wake`).
//! Checked by the tests below and `tests/loom_idle.rs`.

use crate::facade::{AtomicU32, Ordering, const_unless_loom, fence};

/// How many Ms spin and how many Ps are idle.
#[derive(Debug)]
pub struct Idle {
    spinning: AtomicU32,
    idle: AtomicU32,
}

impl Idle {
    const_unless_loom! {
        /// Nobody spins and no P is idle.
        pub fn new() -> Self {
            Self {
                spinning: AtomicU32::new(0),
                idle: AtomicU32::new(0),
            }
        }
    }

    /// For a submitter, after its work is in a queue that others look into.
    ///
    /// True: the caller must start an M that spins; it is counted already. If it cannot, because no
    /// P is idle after all, it says so by [`abandon_spinning`](Self::abandon_spinning), which may
    /// tell it to try again.
    #[must_use = "an M that is counted as spinning has to be started"]
    #[inline]
    pub fn should_wake(&self) -> bool {
        if !cfg!(gort_fault = "idle_fence_submit") {
            // Between queueing the work and reading the counters: pairs with the fence in
            // `going_idle`.
            fence(Ordering::SeqCst);
        }
        // One is enough: it hands the duty on when it finds work (I2).
        self.idle.load(Ordering::Relaxed) != 0
            && self.spinning.load(Ordering::Relaxed) == 0
            && self
                .spinning
                .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// For an M that ran out of work: may it spin? True: it is counted, and does.
    ///
    /// Only while fewer than half of the `busy` Ps have a spinner (S50), so that one goroutine on
    /// many Ps does not keep them all awake. Two that ask at once may both get a yes.
    #[must_use = "the caller is counted as spinning"]
    #[inline]
    pub fn try_start_spinning(&self, busy: u32) -> bool {
        let may = self.spinning.load(Ordering::Relaxed).saturating_mul(2) < busy;
        if may {
            self.start_spinning();
        }
        may
    }

    /// For an M that spins whether or not there are enough others: it has seen work.
    #[inline]
    pub fn start_spinning(&self) {
        self.spinning.fetch_add(1, Ordering::AcqRel);
    }

    /// For an M that hands on its P when no P is idle and nobody spins. True: the M that gets the P is
    /// counted as spinning, and must look for work.
    #[must_use = "an M that is counted as spinning has to be started"]
    pub fn claim_first_spinner(&self) -> bool {
        self.spinning
            .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// For a spinner that found work and is going to run it.
    ///
    /// True: it was the last. The caller asks [`should_wake`](Self::should_wake) and starts another
    /// one if told to (I2).
    #[must_use = "the last spinner hands its duty on"]
    #[inline]
    pub fn stop_spinning_found_work(&self) -> bool {
        self.stop_spinning() == 0
    }

    /// For a spinner that found nothing, after it has put its P on the list of idle ones and counted
    /// it by [`inc_idle`](Self::inc_idle).
    ///
    /// It must look through all queues once more after this call. If it finds work there, it takes an
    /// idle P, calls [`start_spinning`](Self::start_spinning) and begins anew. If no P is idle any
    /// more, it may sleep: whoever took the last one will look when it gives it up.
    #[inline]
    pub fn stop_spinning_going_idle(&self) {
        self.stop_spinning();
        self.going_idle();
    }

    /// [`stop_spinning_going_idle`](Self::stop_spinning_going_idle) for an M that did not spin (I4).
    #[inline]
    pub fn going_idle(&self) {
        if !cfg!(gort_fault = "idle_fence_stop") {
            // Between the counters and the second look at the queues: pairs with the fence in
            // `should_wake`.
            fence(Ordering::SeqCst);
        }
    }

    /// For a waker that was told to start a spinner and then, under the lock of the idle Ps, found
    /// none: takes the spinner back.
    ///
    /// The answer is that of [`should_wake`](Self::should_wake), which has to be asked again (I3).
    #[must_use = "an M that is counted as spinning has to be started"]
    #[inline]
    pub fn abandon_spinning(&self) -> bool {
        self.stop_spinning();
        !cfg!(gort_fault = "idle_abandon") && self.should_wake()
    }

    /// Counts a P that goes on the list of idle ones, before its M stops to spin.
    #[inline]
    pub fn inc_idle(&self) {
        self.idle.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a P that was taken off the list of idle ones.
    #[inline]
    pub fn dec_idle(&self) {
        let before = self.idle.fetch_sub(1, Ordering::AcqRel);
        debug_assert_ne!(before, 0, "more Ps were taken than are idle");
    }

    /// The number of Ms that spin, at this moment.
    #[inline]
    pub fn spinning(&self) -> u32 {
        self.spinning.load(Ordering::Relaxed)
    }

    /// The number of idle Ps, at this moment.
    #[inline]
    pub fn idle(&self) -> u32 {
        self.idle.load(Ordering::Relaxed)
    }

    /// Returns how many are left.
    #[inline]
    fn stop_spinning(&self) -> u32 {
        let before = self.spinning.fetch_sub(1, Ordering::AcqRel);
        debug_assert_ne!(before, 0, "more Ms stop to spin than have started");
        before.wrapping_sub(1)
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn work_wakes_one_if_a_p_is_idle_and_nobody_spins() {
        let idle = Idle::new();
        assert!(!idle.should_wake(), "all Ps are busy");
        idle.inc_idle();
        idle.inc_idle();
        assert!(idle.should_wake());
        assert_eq!(idle.spinning(), 1);
        assert!(!idle.should_wake(), "one is on its way");
        idle.dec_idle();
        assert!(idle.stop_spinning_found_work(), "it was the last");
        assert!(idle.should_wake(), "it hands the duty on");
        idle.dec_idle();
        assert_eq!((idle.spinning(), idle.idle()), (1, 0));
    }

    #[test]
    fn only_the_last_spinner_hands_its_duty_on() {
        let idle = Idle::new();
        assert!(idle.try_start_spinning(8) && idle.try_start_spinning(8));
        assert!(!idle.stop_spinning_found_work());
        assert!(idle.stop_spinning_found_work());
    }

    #[test]
    fn s050_spinning_starts_only_below_half_the_busy_ps() {
        for busy in 0..20 {
            let idle = Idle::new();
            while idle.try_start_spinning(busy) {}
            assert_eq!(idle.spinning(), busy.div_ceil(2));
        }
    }

    #[test]
    fn a_waker_without_a_p_asks_again() {
        let idle = Idle::new();
        idle.inc_idle();
        assert!(idle.should_wake());
        idle.dec_idle(); // Somebody else was faster.
        idle.inc_idle(); // And has given it back.
        assert!(
            !idle.should_wake(),
            "others count on the spinner that is not to be"
        );
        assert!(idle.abandon_spinning());
        idle.dec_idle();
        assert!(!idle.abandon_spinning(), "all Ps are busy");
        assert_eq!((idle.spinning(), idle.idle()), (0, 0));
    }
}

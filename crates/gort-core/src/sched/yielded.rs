//! Where those that yield stand: each P has a part of the global queue for them.
//!
//! Who yields goes to the end of the global queue (S35). Were that one list, each yield on each P would take its
//! lock, and the goroutines would go round from processor to processor, their stacks and thread-locals with them.
//! (Measured: `yield_100` of `bench` on 2 Ps took 310 ns, on one 100.) So those that yielded on a P stay near it, in
//! a ring that is taken from as the global queue is:
//!
//! | who                                             | takes                                              |
//! |-------------------------------------------------|----------------------------------------------------|
//! | its P, whose own queue is empty                 | half a ring at most, when it is due ([`take_own`]) |
//! | a P whose turn for the global queue it is (S47) | one, of its own part or of another's ([`choose`])  |
//! | a P without work                                | half, after it has found the ring empty ([`steal`]) |
//!
//! Y1. Only the holder of the P pushes, and only what needs no M of its own: those are looked for in the global
//!     queue (`Global::take_with_own_m`).
//! Y2. A part counts as work that anybody may take (S3): whoever pushes tells the idle (`wake::submitted`), and
//!     whoever goes idle looks here last.
//! Y3. Who yields overtakes nobody: the first of a part remembers where the end of what all share was when it came
//!     ([`Yielded`]'s `behind`), and has its turn when so many have been taken there, or none is left. Who comes
//!     later joins it if nobody has been put into what all share since; else it goes there itself.
//! Y4. None waits in a part for good: what was before it in the global queue is taken, by somebody; a P whose own
//!     queue never gets empty has its turns; where its goroutine makes no switch, the others' turns come to its part,
//!     now and then whatever the lengths. (In a ring it is as all are who wait there: the P comes to it, or one without
//!     work, and with preemption off none may.) Nor do those wait for good who share: a part that is due gets empty,
//!     as nobody joins it while others wait there (Y3).
//! Y5. Turns even out the parts: they go to a longer one, so goroutines that wait for each other by yielding get
//!     as many turns on each P, in the long run.
//!
//! With one P there is nobody to be in the way, and all are in one list, in the order in which they came.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use gort_queue::local::LocalQueue;

use super::p::{self, P, SHARE_MAX};
use super::{SCHED, shake, wake};
use crate::g::{G, GRef};

/// In one turn of so many the part drawn, of all Ps', has it even if it is shorter than the own (Y4).
const TURNS_REGARDLESS: u32 = 8;

/// A P's part of the global queue.
pub(crate) struct Yielded {
    /// Its `run_next` stays empty.
    ring: LocalQueue<G>,
    /// How many had been put into what all Ps share when the ring's first came. Writer: the holder; for others a hint.
    behind: AtomicU64,
}

impl Yielded {
    pub(super) fn new() -> Self {
        Yielded {
            ring: LocalQueue::new(),
            behind: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.ring.has_ring_work()
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether those who stood in the global queue before the first have all been taken (Y3).
    pub(super) fn is_due(&self) -> bool {
        SCHED.global_taken.load(Ordering::Relaxed) >= self.behind.load(Ordering::Relaxed)
    }

    /// The first, for any thread.
    pub(super) fn take_one(&self) -> Option<GRef> {
        self.ring.steal_one().map(GRef)
    }

    /// Takes everything out.
    ///
    /// # Safety
    ///
    /// Its P is the caller's.
    pub(super) unsafe fn drain(&self, f: impl FnMut(NonNull<G>)) {
        // SAFETY: as the caller promises: the queue's owner is whoever has the P.
        unsafe { self.ring.drain(f) }
    }
}

/// Queues a goroutine that has yielded. Telling the idle is the caller's.
///
/// # Safety
///
/// The caller's M holds `pp`; `gp` is Runnable and on no queue (G1).
#[inline]
pub(super) unsafe fn push(pp: &P, gp: GRef) {
    let is_alone = SCHED.procs.load(Ordering::Relaxed) == 1;
    // SAFETY: as the caller promises.
    let is_shaken = || shake::is_on() && unsafe { shake::yields_to_all(pp) };
    if is_alone || gp.get().wants_own_m() || is_shaken() {
        return p::push_global_one(gp);
    }
    let len = SCHED.global_len.load(Ordering::Relaxed) as u64;
    let end = SCHED.global_taken.load(Ordering::Relaxed) + len;
    if pp.yielded.is_empty() {
        pp.yielded.behind.store(end, Ordering::Relaxed);
    } else if len != 0 && end > pp.yielded.behind.load(Ordering::Relaxed) {
        // More have come since the part's first: with it this one would overtake them (Y3).
        return p::push_global_one(gp);
    }
    // SAFETY: the holder of the P owns the queue; the rest is the caller's promise.
    if !unsafe { pp.yielded.ring.push(gp.0) } {
        p::push_global_one(gp);
    }
}

/// The first of the P's own part, and the next of it to its ring: half of one in all, so that there is room for those
/// whom it readies. Its ring is empty.
///
/// # Safety
///
/// The caller's M holds `pp`.
pub(super) unsafe fn take_own(pp: &P) -> Option<GRef> {
    let first = pp.yielded.take_one()?;
    if !pp.yielded.is_empty() {
        // SAFETY: the holder of the P owns its ring.
        unsafe { pp.run_queue.append(&pp.yielded.ring, SHARE_MAX as u32 - 1) };
        // While they were in neither queue, an M that was looking for the last time may have missed them.
        wake::submitted();
    }
    Some(first)
}

/// The part whose turn it is: another P's if it is as long as the own (Y5), and now and then whatever its length (Y4).
/// `None` if both are empty.
///
/// # Safety
///
/// The caller's M holds `pp`.
pub(super) unsafe fn choose(pp: &P) -> Option<&Yielded> {
    let own = Some(&pp.yielded).filter(|own| !own.is_empty());
    let made = p::made();
    if made == 1 {
        return own;
    }
    // SAFETY: the caller's M holds `pp`.
    let random = unsafe { pp.random() };
    let regardless = (random >> 16).is_multiple_of(TURNS_REGARDLESS);
    // Of those that GOMAXPROCS does not cover any more some may still have a holder, which computes.
    let procs = if regardless {
        made
    } else {
        SCHED.procs.load(Ordering::Relaxed).clamp(1, made)
    };
    let other = p::get((random % procs) as usize).map(|other| &other.yielded);
    let other =
        other.filter(|other| !other.is_empty() && (regardless || other.len() >= pp.yielded.len()));
    other.or(own)
}

/// Half of another P's part.
///
/// # Safety
///
/// The caller's M holds `pp`, which is not `victim`.
pub(super) unsafe fn steal(pp: &P, victim: &P) -> Option<GRef> {
    // SAFETY: the holder of the P owns its ring.
    let stolen = unsafe { pp.run_queue.steal_from(&victim.yielded.ring, false) };
    stolen.map(GRef)
}

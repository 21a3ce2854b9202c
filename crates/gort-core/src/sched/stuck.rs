//! A P that does not come to its own work is helped by those who come to the network for theirs.
//!
//! Who has run dry asks the network before it asks the other Ps, as in Go: what comes from there belongs to nobody yet.
//! But where the network never runs dry, the other Ps are never asked, and one whose goroutine computes, or whose thread
//! has lost its processor to another, keeps those in its queue waiting for as long as that goes on: for the kernel's
//! slice of some milliseconds, up to ours of 10 ms, without preemption until it is done, or luck helps. (`echo_64` of `bench` on 2 Ps, where
//! three threads share two cores: 40 connections at once waited 4 ms.)
//!
//! So an M that is about to ask the network watches the others, one at a time: if the P has made no switch since the
//! look before, for [`STUCK_NS`] at least, everything in its queue is taken over, and what is due of its timers. In
//! between it asks the network, which therefore waits for no more than one queue.

use std::ptr;
use std::sync::atomic::Ordering;

use super::m::M;
use super::p::{self, P};
use super::{find_work, wake};
use crate::clock;
use crate::g::GRef;

/// Without a switch for so long, a P is taken to be held up. Somewhat more than for a `run_next` (20 µs), as all goes.
const STUCK_NS: u64 = 50_000;

/// Thefts of half a queue each, which empty a full one, and its `run_next`.
const THEFTS_MAX: u32 = 10;

/// The P that an M watches.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Watched {
    index: u32,
    /// Its switches at the last look.
    switches: u64,
    looked_ns: u64,
}

/// The next goroutine for `mp`, whose `pp` has nothing in its queue, if the P that it watches is held up. Else it
/// watches the next one.
pub(super) fn help(mp: &'static M, pp: &'static P) -> Option<GRef> {
    let count = p::made();
    if count == 1 {
        return None;
    }
    let (watched, now) = (mp.watched.get(), clock::now_ns());
    if now - watched.looked_ns < STUCK_NS {
        return None;
    }
    let is_stuck = |victim: &&P| {
        !ptr::eq(*victim, pp)
            && victim.switches.load(Ordering::Relaxed) == watched.switches
            && (victim.has_work() || victim.timers.first_ns() <= now)
    };
    if let Some(victim) = p::get(watched.index as usize).filter(is_stuck) {
        mp.watched.set(Watched {
            looked_ns: now,
            ..watched
        });
        return take_over(mp, pp, victim);
    }
    let others = (1..=count).map(|step| (watched.index + step) % count);
    let next = others
        .filter_map(|index| p::get(index as usize))
        .find(|other| !ptr::eq(*other, pp))?;
    mp.watched.set(Watched {
        index: next.index,
        switches: next.switches.load(Ordering::Relaxed),
        looked_ns: now,
    });
    None
}

/// What is due of the victim's timers, and all that waits in its queue, goes to the queue of `pp`.
fn take_over(mp: &'static M, pp: &'static P, victim: &'static P) -> Option<GRef> {
    find_work::fire_due(mp, victim);
    for _ in 0..THEFTS_MAX {
        // SAFETY: our M holds `pp`, which is not the victim.
        let Some(gp) = (unsafe { find_work::steal_half(pp, victim, true) }) else {
            break;
        };
        // SAFETY: our M holds `pp`. What came back is Runnable, and on no queue any more (G1).
        unsafe { pp.push(gp) };
    }
    if pp.has_work_for_all() {
        // While they were in neither queue, an M that was looking for the last time may have missed them.
        wake::submitted();
    }
    find_work::take_own(pp)
}

//! Goroutines of the runtime's own on whose stacks async goroutines are polled.
//!
//! An async goroutine that comes up on a system stack is given to an idle carrier, which then runs there in
//! its place ([`take_for`]); nothing is allocated for it. A carrier that has polled one looks for the next by
//! itself, as any goroutine that stops does, and polls it right away if it is an async one: so a queue full of
//! them costs no switches.
//!
//! A poll may block, or park with the carrier's stack, for as long as it likes. So another has to be there:
//!
//! C1. While a poll runs, there is a carrier that is idle or coming, unless there was no memory for one
//!     ([`stand_by`], before each poll). Whoever took the last one sees to the next before it polls.
//! C2. An async goroutine for which there was no carrier stands in `waiting`. Under the lock either `waiting`
//!     or `idle` is empty: a carrier that stops looks there first. With C1 one is coming; without
//!     memory it is served when a poll ends.
//!
//! Checked by `tests/go_async` and `tests/async_many` of the crate `gort`.

use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};

use gort_queue::list::List;

use super::entry::{self, SpawnOptions};
use super::m::M;
use super::switch::{self, Action};
use super::{p, park, stackless};
use crate::g::{self, G, GRef, Kind};
use crate::inside;
use crate::lock::{Mutex, MutexGuard};
use crate::timer;
use crate::wait_reason::WaitReason;

/// Idle carriers that are kept: their stacks are warm. One more ends.
const IDLE_MAX: usize = 8;

struct Carriers {
    /// Parked, or about to be. The one that came last is first.
    idle: List<G>,
    /// Async goroutines for which there was none (C2).
    waiting: List<G>,
    /// Carriers that were started and have not asked for a goroutine yet.
    coming: usize,
    /// Carriers there are, those included.
    alive: usize,
}
// SAFETY: the lists own their Gs' links; `G` is Send.
unsafe impl Send for Carriers {}

static CARRIERS: Mutex<Carriers> = Mutex::new(Carriers {
    idle: List::new(),
    waiting: List::new(),
    coming: 0,
    alive: 0,
});

/// Whether a carrier is idle or coming. A hint: it is right once its writers have let go of the lock.
static HAS_SPARE: AtomicBool = AtomicBool::new(false);

impl Carriers {
    /// Before the lock is let go of, if `idle` or `coming` has changed.
    fn publish(&self) {
        let has_spare = !self.idle.is_empty() || self.coming != 0;
        HAS_SPARE.store(has_spare, Ordering::Relaxed);
    }
}

/// The carrier that is to run in place of `gp`, which is stackless and was taken off a queue. `None`: it is
/// seen to, now or later, and the caller looks for something else. On a system stack.
pub(super) fn take_for(gp: GRef) -> Option<GRef> {
    let carrier = {
        let mut carriers = CARRIERS.lock();
        let Some(carrier) = carriers.idle.pop_front() else {
            // SAFETY: `gp` is on no queue.
            unsafe { carriers.waiting.push_back(gp.0) };
            return None;
        };
        carriers.publish();
        p::from_queue(carrier)
    };
    // SAFETY: the carrier has no result yet, and reads the place after its park.
    unsafe { assigned(carrier).write(Some(gp)) };
    // One that has not left its stack yet is queued by whom it leaves for.
    timer::make_runnable(carrier)
}

/// Where a carrier finds the goroutine it was readied for. (It ends without having been: with a result of no
/// size.)
fn assigned(carrier: GRef) -> *mut Option<GRef> {
    carrier.get().result.get().cast()
}

/// Sees to it that a carrier is idle or coming (C1). Outside: it may allocate.
///
/// # Errors
///
/// There is none, and none can be had.
pub(super) fn stand_by() -> io::Result<()> {
    if HAS_SPARE.load(Ordering::Relaxed) {
        return Ok(());
    }
    stand_by_slow()
}

#[cold]
fn stand_by_slow() -> io::Result<()> {
    {
        let mut carriers = CARRIERS.lock();
        if !carriers.idle.is_empty() || carriers.coming != 0 {
            return Ok(());
        }
        carriers.coming = 1;
        carriers.alive += 1;
        carriers.publish();
    }
    let options = SpawnOptions {
        name: Some("carrier".into()),
        system: true,
        group: Some(0),
        ..SpawnOptions::new()
    };
    let Err(error) = entry::spawn(carry, options) else {
        return Ok(());
    };
    let mut carriers = CARRIERS.lock();
    carriers.coming -= 1;
    carriers.alive -= 1;
    carriers.publish();
    if carriers.alive == 0 {
        return Err(error);
    }
    Ok(())
}

/// A carrier's life.
fn carry() {
    let carrier = g::current();
    let mut is_coming = true;
    while let Some(gp) = next_for(carrier, std::mem::replace(&mut is_coming, false)) {
        // Without memory the others wait for this poll.
        let _ = stand_by();
        stackless::run_one_poll(carrier, gp);
    }
}

/// The next async goroutine for this carrier; parks until there is one. `None`: there are enough others.
fn next_for(carrier: GRef, is_coming: bool) -> Option<GRef> {
    let _inside = inside::enter();
    // SAFETY: the carrier is the current goroutine: its M is set.
    let mp = unsafe { M::of(carrier) };
    let is_bound = carrier.get().kind.get() == Kind::Bound;
    let mut next = None;
    if !is_coming {
        match if is_bound { pop(mp) } else { pick(mp) } {
            Next::Stackless(gp) => return Some(gp),
            Next::Other(gp) => next = gp,
        }
    }
    let mut carriers = CARRIERS.lock();
    if is_coming {
        carriers.coming -= 1;
    }
    let waiting = carriers.waiting.pop_front();
    if waiting.is_some() || carriers.idle.len() >= IDLE_MAX {
        carriers.alive -= usize::from(waiting.is_none());
        unlock(carriers);
        // We do not leave, or not by that way: its turn comes again soon.
        if let Some(gp) = next.or_else(|| mp.next_g.take()) {
            stackless::push(mp, gp);
        }
        return waiting.map(p::from_queue);
    }
    // SAFETY: the carrier is Running: on no list.
    unsafe { carriers.idle.push_front(carrier.0) };
    unlock(carriers);
    if is_bound {
        park::park_g(carrier, WaitReason::SystemIdle, Location::caller());
    } else {
        // SAFETY: the carrier is the current goroutine, stackful, on `mp` with a P, inside once. The lock
        // has not changed what was picked.
        unsafe { switch::leave_to(mp, carrier, Action::Park, next) };
    }
    // SAFETY: whoever readied us has written it before.
    unsafe { assigned(carrier).replace(None) }
}

fn unlock(carriers: MutexGuard<'_, Carriers>) {
    carriers.publish();
}

/// What comes next on this P.
enum Next {
    Stackless(GRef),
    /// Another goroutine, taken off its queue, to be switched to. `None`: ask the system stack.
    Other(Option<GRef>),
}

/// As any goroutine that stops.
fn pick(mp: &'static M) -> Next {
    let picked = switch::pick_direct(mp);
    if picked.is_none()
        && let Some(gp) = mp.next_g.take()
    {
        if gp.get().kind.get() == Kind::Stackless {
            return Next::Stackless(gp);
        }
        mp.next_g.set(Some(gp));
    }
    Next::Other(picked)
}

/// For a carrier with a thread of its own, whose M cannot switch to others: it polls what is an async goroutine,
/// and leaves all else to be found first on the system stack of whoever gets its P.
fn pop(mp: &'static M) -> Next {
    let pp = mp.held();
    if pp.attention.load(Ordering::Relaxed) != 0 {
        return Next::Other(None);
    }
    let tick = pp.sched_tick.load(Ordering::Relaxed);
    let mut found = None;
    let mut inherits = false;
    // SAFETY: our M holds `pp`: we own its queue.
    unsafe {
        if switch::is_globals_turn(pp, tick) {
            found = p::take_turn(pp);
            inherits = !switch::turn_begins_slice(tick);
        }
        if found.is_none()
            && let Some((gp, from_run_next)) = pp.run_queue.pop()
        {
            found = Some(p::from_queue(gp));
            inherits = from_run_next;
        }
    }
    let Some(gp) = found else {
        return Next::Other(None);
    };
    if !inherits {
        pp.sched_tick.store(tick.wrapping_add(1), Ordering::Relaxed);
    }
    if gp.get().kind.get() == Kind::Stackless {
        return Next::Stackless(gp);
    }
    // At the end of the ring it would stand behind async goroutines again, each time anew.
    // SAFETY: as above; `gp` is on no queue.
    if let Some(displaced) = unsafe { pp.run_queue.replace_run_next(gp.0) } {
        stackless::push(mp, p::from_queue(displaced));
    }
    Next::Other(None)
}

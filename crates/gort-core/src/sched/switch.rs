//! Leaving one context for the next.
//!
//! A goroutine that stops picks the next one on its own stack and switches straight to it; only
//! where there is none at hand, or the choice needs more than a few instructions (timers, the
//! poller, stealing, another M), does it switch to its M's system stack. What must happen for the
//! goroutine that was left (mark it Waiting, queue it, take its stack away) happens after the switch,
//! in the context that was entered: [`finish`]. So nobody can run a goroutine whose stack is still
//! in use, and no lock is held across a switch.

use gort_arch::{context, stack::Slot, tls};
use gort_queue::status::State;
use std::ptr;
use std::sync::atomic::Ordering;

use super::m::{M, transition};
use super::p::{self, P};
use super::{SCHED, fetch, join, shake, wake, yielded};
use crate::clock::{self, NEVER};
use crate::fork;
use crate::g::{G, GRef};
use crate::thread_state;

/// What is to be done for the goroutine that was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing: it was not left.
    None,
    /// Running to Waiting; if a `ready` came first, it is queued again.
    Park,
    /// Running to Runnable, at the end of the P's part of the global queue, or of what all share of it (`yielded`).
    Yield,
    /// Running to Runnable, at the end of the P's own ring.
    HandOver,
    /// Running to Runnable, at the end of the global queue; but its M gave up its P around a call
    /// that blocked, and there was none to come back to.
    Requeue,
    /// Running to Dead: stack and descriptor go back.
    Exit,
}

/// How often a P looks at the global queue first: 61, as Go's `schedtick`.
pub(super) const GLOBAL_TICKS: u32 = 61;
/// And at every so many picks: those who hand over to each other, beside one that a timer wakes, start a slice
/// per period of the timer, and 61 of these may be long. Some 100 µs of nothing but switches.
const GLOBAL_PICKS: u64 = 1024;
/// How often a switch between goroutines looks at the clock, if the P has timers.
const TIMER_TICKS: u64 = 16;

/// The thread-local block of `gp`, which `mp` runs or has just run: its own.
///
/// With the fault `shared_tls` it is the M's, as in stackful coroutines elsewhere. The torture suite must
/// notice.
#[inline(always)]
pub(crate) fn block_of(mp: &M, gp: GRef) -> usize {
    if is_tls_shared() {
        return mp.fs.get();
    }
    gp.get().fs.load(Ordering::Relaxed)
}

/// Where `gp` goes on: ours, and stopped.
#[inline(always)]
fn sp_of(gp: GRef) -> usize {
    gp.get().sp.load(Ordering::Relaxed)
}

#[inline(always)]
fn is_tls_shared() -> bool {
    cfg!(gort_fault = "shared_tls")
        && tls::support().is_some_and(|support| support.mode == tls::Mode::Shared)
}

/// In a shared block, who is current changes with each switch; `None` is the system stack.
#[inline(always)]
fn set_current_if_shared(mp: &M, gp: Option<GRef>) {
    if is_tls_shared() {
        thread_state::set_current(gp.map(|gp| gp.0.cast()));
        thread_state::set_running_m(gp.map_or(0, |_| ptr::from_ref(mp) as usize));
    }
}

/// Marks `gp` as running on `mp`.
#[inline]
pub(crate) fn begin(mp: &'static M, gp: GRef) {
    transition(gp, State::Runnable, State::Running);
    go_on(mp, gp);
}

/// [`begin`] for one that is Running already.
#[inline]
pub(super) fn go_on(mp: &'static M, gp: GRef) {
    set_current_if_shared(mp, Some(gp));
    gp.get()
        .m
        .store(ptr::from_ref(mp).cast_mut().cast(), Ordering::Relaxed);
    let fs = gp.get().fs.load(Ordering::Relaxed);
    if fs != 0 {
        // SAFETY: the block of a goroutine that was Runnable until now is idle (G2), or it is that of a
        // goroutine stopped in place, or of a carrier, which is the caller.
        unsafe { thread_state::set_running_m_of_block(fs, ptr::from_ref(mp) as usize) };
    }
    mp.current.set(Some(gp));
    let pp = mp.held();
    pp.count_switch();
    gp.get().ran_in.store(pp.era(), Ordering::Relaxed);
}

/// Whether it is the global queue's turn, before all others. Asked once for each pick.
#[inline(always)]
pub(super) fn is_globals_turn(pp: &P, tick: u32) -> bool {
    let picks = pp.count_pick();
    tick.is_multiple_of(GLOBAL_TICKS) || picks.is_multiple_of(GLOBAL_PICKS)
}

/// Whether the one that gets this turn of the global queue begins a slice. Between hand-overs it does not: it would
/// begin one for those who hand over too, so that their slice would never be over, and the ring never have its turn.
#[inline(always)]
pub(super) fn turn_begins_slice(tick: u32) -> bool {
    tick.is_multiple_of(GLOBAL_TICKS)
}

/// The next goroutine for this P, if it can be had in a few instructions. `None` sends the caller to
/// the system stack, where everything is considered.
///
/// # Safety
///
/// `mp` is the caller's M and holds `pp`.
#[inline]
unsafe fn pick(mp: &'static M, pp: &'static P) -> Option<GRef> {
    fetch::before_pick(mp);
    if pp.attention.load(Ordering::Relaxed) != 0 {
        return None;
    }
    // SAFETY: the caller's M holds `pp`.
    if shake::is_on() && unsafe { shake::takes_long_way(pp) } {
        return None;
    }
    let tick = pp.sched_tick.load(Ordering::Relaxed);
    if pp.timers.first_ns() != NEVER
        && pp.picks.load(Ordering::Relaxed).is_multiple_of(TIMER_TICKS)
        && pp.timers.first_ns() <= clock::now_ns()
    {
        return None;
    }
    let mut picked = None;
    let mut inherits = false;
    if is_globals_turn(pp, tick) {
        // SAFETY: the caller's M holds `pp`.
        picked = unsafe { p::take_turn(pp) };
        inherits = !turn_begins_slice(tick);
    }
    if picked.is_none() {
        // SAFETY: as above: the holder owns the queue.
        if let Some((gp, from_run_next)) = unsafe { pp.run_queue.pop() } {
            picked = Some(p::from_queue(gp));
            inherits = from_run_next;
        } else {
            inherits = false;
            // SAFETY: as above.
            picked = unsafe { p::take_share(pp) };
        }
    }
    let gp = picked?;
    if !inherits {
        pp.sched_tick.store(tick.wrapping_add(1), Ordering::Relaxed);
        // SAFETY: the caller's M holds `pp`.
        unsafe { fetch::at_pick(mp, pp, tick) };
    }
    if gp.get().wants_system_stack() {
        mp.next_g.set(Some(gp));
        return None;
    }
    Some(gp)
}

/// The goroutine to switch to without the system stack, if any. `None` may leave one in `mp.next_g`.
#[inline]
pub(super) fn pick_direct(mp: &'static M) -> Option<GRef> {
    match mp.p.get() {
        // A locked M runs nothing else (S4).
        // SAFETY: `mp` is the caller's M, and holds this P.
        Some(pp) if mp.locked_g.get().is_none() => unsafe { pick(mp, pp) },
        _ => None,
    }
}

/// Stops the current stackful goroutine and runs what comes next; returns when it is resumed,
/// perhaps on another M.
///
/// # Safety
///
/// `gp` is the current goroutine, stackful, on `mp`, which holds a P (or `action` is `Requeue`); it is
/// inside, once (I1 of `inside`), and is again when this returns.
#[inline]
pub(crate) unsafe fn leave(mp: &'static M, gp: GRef, action: Action) {
    let next = pick_direct(mp);
    // SAFETY: the caller's contract is the same.
    unsafe { leave_to(mp, gp, action, next) }
}

/// [`leave`] for a caller that has picked the next one itself; `None` is the system stack.
///
/// # Safety
///
/// As `leave`; `next` came from `pick_direct`, and nothing has happened since.
#[inline]
pub(super) unsafe fn leave_to(mp: &'static M, gp: GRef, action: Action, next: Option<GRef>) {
    let g = gp.get();
    assert_alone_inside(mp, gp);
    mp.left.set(Some(gp));
    mp.action.set(action);
    match next {
        Some(next) => {
            begin(mp, next);
            let (from, to) = (block_of(mp, gp), block_of(mp, next));
            // SAFETY: both blocks are live; `to` is idle (G2), `from` is ours.
            unsafe { tls::hand_over(&mut *mp.tls.get(), from, to) };
            // SAFETY: `next` is Runnable and off its queue: its stack is idle and ours (G2). Our own
            // context is resumed only after `finish` has let go of us.
            unsafe { context::switch(g.sp.as_ptr(), sp_of(next), to, 0) };
        }
        None => {
            set_current_if_shared(mp, None);
            // SAFETY: the system context of our M waits in `execute`, and only we switch to it.
            unsafe { context::switch(g.sp.as_ptr(), *mp.sp.get(), mp.fs.get(), 0) };
        }
    }
    // SAFETY: we run again, so our M is set.
    let mp = unsafe { M::of(gp) };
    // SAFETY: whoever was left for us has left its stack.
    unsafe { finish(mp) };
}

/// Ends the current stackful goroutine.
///
/// # Safety
///
/// As `leave`; nothing on the goroutine's stack is needed any more.
pub(crate) unsafe fn leave_for_good(mp: &'static M, gp: GRef) -> ! {
    assert_alone_inside(mp, gp);
    if let Some(pp) = mp.p.get() {
        // SAFETY: `slot` holds the slot the spawner put there, until `bury`.
        let slot = unsafe { Slot::from_raw(gp.get().slot.get()) };
        // Here and not in `bury`, which runs on the stack of whoever comes next: that one may have been parked where
        // its page is nearly full, and would need another.
        // SAFETY: the caller's M holds `pp`.
        unsafe { pp.make_room_for_slot(slot.class()) };
    }
    mp.left.set(Some(gp));
    mp.action.set(Action::Exit);
    let next = pick_direct(mp);
    match next {
        Some(next) => {
            begin(mp, next);
            let (from, to) = (block_of(mp, gp), block_of(mp, next));
            // SAFETY: as in `leave`.
            unsafe { tls::hand_over(&mut *mp.tls.get(), from, to) };
            // SAFETY: as in `leave`; our context is never resumed.
            unsafe { context::switch_final(sp_of(next), to, 0) }
        }
        None => {
            set_current_if_shared(mp, None);
            // SAFETY: as in `leave`; our context is never resumed.
            unsafe { context::switch_final(*mp.sp.get(), mp.fs.get(), 0) }
        }
    }
}

/// I1 of `inside`: a section of the next context would otherwise be one of ours.
#[inline]
fn assert_alone_inside(mp: &M, gp: GRef) {
    let depth = mp.gate.depth();
    if depth != 1 {
        fatal!(
            "goroutine {} leaves its stack inside {depth} sections of the runtime",
            gp.id()
        );
    }
}

/// Does for the goroutine that was left what it asked for. Runs first thing in the context entered:
/// another goroutine's stack or the system stack. Allocates nothing, frees nothing, runs no user code.
///
/// # Safety
///
/// `mp` is the caller's M, and the goroutine in `mp.left` has left its stack.
#[inline]
pub(crate) unsafe fn finish(mp: &'static M) {
    let Some(gp) = mp.left.take() else { return };
    match mp.action.replace(Action::None) {
        Action::None => fatal!("goroutine {} was left for no reason", gp.id()),
        Action::Park => {
            if !gp.get().status.stop() {
                // A `ready` came between the decision to park and here; it left the queueing to us.
                let pp = mp.held();
                // SAFETY: we hold `pp`; `stop` made `gp` Runnable, and nobody else has it.
                unsafe {
                    if shake::is_on() {
                        shake::enqueue(pp, gp);
                    } else {
                        pp.push(gp);
                        // On a goroutine's stack: that one may compute for long before this P comes
                        // to its queue.
                        if mp.current.get().is_some() {
                            wake::submitted();
                        }
                    }
                }
            }
        }
        Action::Yield => {
            transition(gp, State::Running, State::Runnable);
            // SAFETY: we hold the P; `gp` is Runnable, and nobody else has it.
            unsafe { yielded::push(mp.held(), gp) };
            wake::submitted();
        }
        Action::HandOver => {
            transition(gp, State::Running, State::Runnable);
            let pp = mp.held();
            // SAFETY: we hold `pp`; `gp` is Runnable, and nobody else has it.
            unsafe {
                if shake::is_on() {
                    shake::enqueue(pp, gp);
                } else {
                    pp.push(gp);
                    wake::submitted();
                }
            }
        }
        Action::Requeue => {
            transition(gp, State::Running, State::Runnable);
            p::push_global_one(gp);
            wake::submitted();
        }
        // SAFETY: as the caller promises.
        Action::Exit => unsafe { bury(mp, gp) },
    }
}

/// Takes stack and descriptor of a goroutine that has ended.
///
/// # Safety
///
/// As `finish`.
unsafe fn bury(mp: &'static M, gp: GRef) {
    let g: &G = gp.get();
    transition(gp, State::Running, State::Dead);
    // SAFETY: `slot` holds the slot the spawner put there; it is taken once.
    let slot = unsafe { Slot::from_raw(g.slot.replace(0)) };
    g.fs.store(0, Ordering::Relaxed);
    // Short-lived, or at work until now: what it has left in its block is in the caches here.
    if g.parked_coarse.load(Ordering::Relaxed) == clock::coarse_now() {
        // SAFETY: the goroutine has run its destructors and left its stack for good; `give_slot` is next.
        unsafe { tls::clean(slot) };
    }
    match mp.p.get() {
        Some(pp) => {
            // SAFETY: we hold `pp`; the goroutine has left its stack and block for good.
            unsafe { pp.give_slot(slot) };
            if join::left(gp) {
                // SAFETY: we hold `pp`; the handle is gone too (G5).
                unsafe { pp.give_g(gp) };
            }
        }
        None => {
            fork::check("a goroutine ended");
            fatal!("goroutine {} ended without a P", gp.id())
        }
    }
}

/// Whether nothing else wants to run here, as far as a glance tells.
pub(crate) fn is_alone(pp: &P) -> bool {
    !pp.has_work() && !SCHED.has_work() && pp.attention.load(Ordering::Relaxed) == 0
}

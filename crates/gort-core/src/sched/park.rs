//! The only door: stopping the current goroutine (or plain thread) and waking it.
//!
//! `park` needs no commit function and no lock held across the switch. The status word carries a
//! mark instead: a `ready` that comes while the goroutine is still Running sets NOTIFIED; the parker
//! sees it before it leaves, or the context it switches to sees it when it takes the goroutine off
//! (`switch::finish`). So a waiter registers itself under its lock, lets go of the lock, and parks;
//! wakers may come at any moment from the registration on. Go's form (`gopark` with an unlock
//! function that runs on g0) was rejected: it keeps the channel's lock for the length of a switch, and
//! here a waker would spin against it, while the mark costs nothing, as the status changes by a
//! compare-and-swap anyway.
//!
//! The protocol between the two sides is `gort_queue::status`'s, with its loom model. The caller's
//! duty: exactly one `ready` for each `park` (several possible wakers decide by `claim`).

use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;

use gort_queue::claim::{Round, TIMED_OUT};
use gort_queue::status::{State, Status};

use super::m::{self, M};
use super::switch::{self, Action};
use super::{SCHED, p, shake, syscall, wake};
use crate::clock::{self, NEVER};
use crate::fork;
use crate::g::{self, G, GRef, Kind, slab};
use crate::inside;
use crate::os::futex;
use crate::timer::{self, ReadyList, TimerNode};
use crate::wait_reason::WaitReason;

/// How a timed wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// Somebody claimed the wait; `claim().winner()` says who.
    Ready,
    /// The deadline passed first. Nobody else will wake this round.
    TimedOut,
}

/// Stops the current goroutine, or plain thread, until [`ready`] is called for it, once.
///
/// A `ready` that comes first is not lost: then `park` returns at once.
#[track_caller]
#[inline]
pub fn park(reason: WaitReason) {
    let gp = g::current();
    let _inside = inside::enter();
    park_g(gp, reason, Location::caller());
}

/// Inside, once.
#[inline]
pub(super) fn park_g(gp: GRef, reason: WaitReason, location: &'static Location<'static>) {
    let g = gp.get();
    if shake::is_on() {
        shake_before_park(gp);
    }
    if g.status.take_notified() {
        return;
    }
    if g.kind.get() != Kind::Thread
        && syscall::park_inside_blocking(gp, || park_g(gp, reason, location))
    {
        return;
    }
    g.reason.store(reason as u8, Ordering::Relaxed);
    g.parked_at
        .store(ptr::from_ref(location).cast_mut(), Ordering::Relaxed);
    g.parked_coarse
        .store(clock::coarse_now(), Ordering::Relaxed);
    match g.kind.get() {
        Kind::Stackful => {
            // SAFETY: `gp` is the current goroutine, stackful, and runs on its M with a P (S1).
            unsafe { switch::leave(M::of(gp), gp, Action::Park) }
        }
        Kind::Bound => park_bound(gp),
        Kind::Thread => {
            park_thread(g, NEVER);
        }
        Kind::Stackless => fatal!("A1: goroutine {} runs without a stack", gp.id()),
    }
}

/// Lets others run before `gp` parks, if the dice say so.
#[cold]
fn shake_before_park(gp: GRef) {
    fork::check("a wait began");
    if gp.get().kind.get() == Kind::Thread {
        return;
    }
    // SAFETY: `gp` is the current goroutine: its M is set.
    let pp = unsafe { M::of(gp) }.p.get();
    // SAFETY: our M holds `pp`.
    if pp.is_some_and(|pp| unsafe { shake::yields_before_park(pp) }) {
        yield_inside(gp);
    }
}

/// Whether a thread that was Waiting has been readied.
fn is_awake(g: &G) -> bool {
    g.status.load() != State::Waiting
}

/// A plain thread sleeps on its status word. True if it was woken, false at the deadline.
fn park_thread(g: &G, deadline_ns: u64) -> bool {
    fork::check("a wait began");
    if !g.status.stop_thread() {
        return true;
    }
    loop {
        if is_awake(g) {
            return true;
        }
        let waited = futex::wait(g.status.as_futex(), Status::WAITING_WORD, deadline_ns);
        if waited == futex::Waited::TimedOut {
            return is_awake(g);
        }
    }
}

/// A goroutine with a thread of its own: marks itself Waiting, gives its P away, and sleeps until
/// whoever dequeues it hands it another.
fn park_bound(gp: GRef) {
    // SAFETY: bound: the M is the thread's own.
    let mp = unsafe { M::of(gp) };
    if !gp.get().status.stop() {
        // A `ready` came first and left us Runnable and on no queue: run on.
        m::transition(gp, State::Runnable, State::Running);
        return;
    }
    sleep_bound(mp, gp);
}

/// Gives the P away and waits to be handed one as the goroutine's turn comes.
pub(super) fn sleep_bound(mp: &'static M, gp: GRef) {
    fork::check("a wait began");
    if mp.p.get().is_some() {
        let pp = mp.release();
        wake::hand_off(pp);
    }
    mp.sleep();
    m::take_next_p(mp);
    switch::begin(mp, gp);
}

/// Makes a parked goroutine (or plain thread) runnable. Exactly once per park.
///
/// From a goroutine it goes to `run_next` of the P: it runs as soon as the caller parks. From
/// anywhere else it goes to the global queue.
#[inline]
pub fn ready(gp: GRef) {
    let _inside = inside::enter();
    if let Some(gp) = timer::make_runnable(gp) {
        enqueue(gp);
    }
}

/// Lets go of a goroutine that `status.try_trace` has held parked. If it was readied meanwhile, it is
/// queued now: to the global queue, as its waker and its P have gone on.
pub(crate) fn end_trace(gp: GRef) {
    if !gp.get().status.end_trace() {
        p::push_global_one(gp);
        wake::submitted();
    }
}

/// Queues a Runnable goroutine that is on no queue. True if this P's ring was full. Inside.
#[inline]
pub(super) fn enqueue(gp: GRef) -> bool {
    let pp = m::current_p();
    let Some(pp) = pp else {
        p::push_global_one(gp);
        wake::submitted();
        return false;
    };
    if shake::is_on() {
        // SAFETY: our M holds `pp`; `gp` is Runnable and ours (G1).
        unsafe { shake::enqueue(pp, gp) };
        return false;
    }
    let was_empty = !pp.run_queue.has_ring_work();
    // SAFETY: our M holds `pp`: we own its queue; `gp` is Runnable and ours (G1).
    match unsafe { pp.run_queue.replace_run_next(gp.0) } {
        Some(displaced) => {
            // SAFETY: as above; the displaced one is on no queue now.
            let spilled = unsafe { pp.push(p::from_queue(displaced)) };
            wake::submitted();
            spilled
        }
        // Alone in line: it runs at our next switch (see `wake`).
        None if was_empty => false,
        None => {
            wake::submitted();
            false
        }
    }
}

/// Claims that a round has timed out, for timers: argument and round of one wait.
unsafe fn fire_timeout(arg: *mut (), _now_ns: u64, out: &mut ReadyList) {
    // SAFETY: `park_until` set the G as the argument; Gs are never freed.
    let gp = unsafe { GRef::from_ptr(arg.cast()) };
    let round = gp.claim().current();
    if gp.claim().try_claim(round, TIMED_OUT) {
        out.push(gp);
    }
}

/// Whose timed wait a timer ends, if that is what it is for.
pub(crate) fn waiter_of(timer: &TimerNode) -> Option<GRef> {
    let arg = timer.arg_for(fire_timeout)?;
    // SAFETY: `own_timer` set the G as the argument.
    Some(unsafe { GRef::from_ptr(arg.cast()) })
}

/// Parks until somebody claims `round` of the current G and readies it, or until `deadline_ns`.
///
/// The caller has opened `round` with `current().claim().open()` and has told the possible wakers.
/// After [`Woken::TimedOut`] none of them can claim the round any more; after [`Woken::Ready`] one
/// of them has. A waker that claims with [`TIMED_OUT`] ends the wait as the deadline does (`cancel`).
#[track_caller]
pub fn park_until(reason: WaitReason, round: Round, deadline_ns: u64) -> Woken {
    let gp = g::current();
    let location = Location::caller();
    if deadline_ns == NEVER {
        let _inside = inside::enter();
        park_g(gp, reason, location);
        return woken_by(gp);
    }
    if gp.get().kind.get() == Kind::Thread {
        return park_thread_until(gp, reason, round, deadline_ns, location);
    }
    if clock::now_ns() >= deadline_ns && gp.claim().try_claim(round, TIMED_OUT) {
        return Woken::TimedOut;
    }
    let timer = own_timer(gp);
    // SAFETY: the node is boxed in the G's cold facts, which stay with the G for good; its argument is
    // the G. It is stopped below, before anything else can use it.
    unsafe { timer.start(deadline_ns, 0) };
    {
        let _inside = inside::enter();
        park_g(gp, reason, location);
    }
    let woken = woken_by(gp);
    // SAFETY: no lock is held, and we are not its function.
    unsafe { timer.stop() };
    woken
}

/// Who has ended the wait of `gp`, the current G, that is just over.
fn woken_by(gp: GRef) -> Woken {
    if gp.claim().winner() == TIMED_OUT {
        Woken::TimedOut
    } else {
        Woken::Ready
    }
}

fn park_thread_until(
    gp: GRef,
    reason: WaitReason,
    round: Round,
    deadline_ns: u64,
    location: &'static Location<'static>,
) -> Woken {
    let g = gp.get();
    g.reason.store(reason as u8, Ordering::Relaxed);
    g.parked_at
        .store(ptr::from_ref(location).cast_mut(), Ordering::Relaxed);
    if park_thread(g, deadline_ns) {
        return woken_by(gp);
    }
    if gp.claim().try_claim(round, TIMED_OUT) {
        // Nobody will call `ready`: take the word back ourselves.
        let _ = g.status.ready_thread();
        return Woken::TimedOut;
    }
    // Somebody claimed the round just now; the `ready` is on its way.
    park_again(g);
    woken_by(gp)
}

/// Sleeps on although the deadline has passed: the status word is still Waiting.
fn park_again(g: &G) {
    while !is_awake(g) {
        futex::wait(g.status.as_futex(), Status::WAITING_WORD, NEVER);
    }
}

/// The timer of this goroutine's timed waits.
fn own_timer(gp: GRef) -> &'static TimerNode {
    // SAFETY: `gp` is the current goroutine, which changes nothing while it has the reference; the box
    // stays in its cold facts for good.
    let known = || unsafe { slab::own_cold(gp) }.and_then(|cold| cold.timer.as_deref());
    if known().is_none() {
        // The first timed wait. Only here the facts' lock is taken, which is one for all goroutines.
        let node = Box::new(TimerNode::new(fire_timeout));
        slab::with_cold_mut(gp, |cold| cold.timer = Some(node));
    }
    let node = known()
        .and_then(|timer| timer.downcast_ref::<TimerNode>())
        .expect("a TimerNode was put there, nothing else is");
    // SAFETY: not armed between two waits; the argument is the G that `fire_timeout` expects.
    unsafe { node.set_arg(gp.as_ptr().cast()) };
    node
}

/// Sleeps until `deadline_ns`.
#[track_caller]
pub fn sleep_until(deadline_ns: u64) {
    let round = g::current().claim().open();
    if deadline_ns == NEVER {
        // For ever: nobody knows the round.
        loop {
            park(WaitReason::Sleep);
        }
    }
    park_until(WaitReason::Sleep, round, deadline_ns);
}

/// Lets others run: the caller goes to the end of the global queue. A plain thread yields to the
/// kernel's scheduler.
pub fn yield_now() {
    let gp = match g::current_goroutine() {
        Some(gp) => gp,
        None => return std::thread::yield_now(),
    };
    let _inside = inside::enter();
    yield_inside(gp);
}

/// [`yield_now`] of goroutine `gp`, which is inside, once.
fn yield_inside(gp: GRef) {
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    let Some(pp) = mp.p.get() else { return };
    let is_bound = gp.get().kind.get() == Kind::Bound;
    let turns = pp.switches.load(Ordering::Relaxed).wrapping_add(1);
    // Timers are looked at every so often all the same (the network by sysmon, as in Go: somebody is in a queue). Not by
    // one with a thread of its own: sysmon does that, and asks for it.
    let looks_round = pp.turns().wrapping_add(1).is_multiple_of(32) && !is_bound;
    let stays = !looks_round && switch::is_alone(pp) && !shake::is_on();
    if stays || looks_round {
        // A switch counts itself: were it counted twice, its number would always be odd, or always even.
        pp.switches.store(turns, Ordering::Relaxed);
    }
    if stays {
        let tick = pp.sched_tick.load(Ordering::Relaxed).wrapping_add(1);
        pp.sched_tick.store(tick, Ordering::Relaxed);
        if !switch::is_globals_turn(pp, tick) {
            return;
        }
        // Alone here, but not for those who stand near other Ps (Y4 of `yielded`).
        // SAFETY: our M holds `pp`.
        let Some(waiting) = (unsafe { p::take_turn(pp) }) else {
            return;
        };
        // SAFETY: our M holds `pp`; nobody else has `waiting`.
        unsafe { pp.push(waiting) };
        wake::submitted();
    }
    if pp.asks(p::attention::YIELD) {
        // SAFETY: our M holds `pp`.
        unsafe { end_slice(pp) };
    }
    if is_bound {
        m::transition(gp, State::Running, State::Runnable);
        p::push_global_one(gp);
        wake::submitted();
        return sleep_bound(mp, gp);
    }
    // SAFETY: the current goroutine is stackful and runs on `mp`, which holds a P.
    unsafe { switch::leave(mp, gp, Action::Yield) };
}

/// What a goroutine does when it enters the runtime, has been asked for by sysmon, and has its P still: it gives way
/// if its turn is over (`preempt`).
pub(crate) fn give_way_if_asked() {
    let Some(gp) = g::current_goroutine().filter(|_| !fork::is_forked()) else {
        return;
    };
    // SAFETY: the current goroutine's M is set.
    if unsafe { M::of(gp) }
        .p
        .get()
        .is_some_and(p::P::is_to_give_way)
    {
        yield_inside(gp);
    }
}

/// Does what sysmon asks for when a slice is used up, for one that yields: somebody of the global queue has a turn,
/// and `run_next`, which would go on with the slice, stands behind the others. Before the caller stands there itself,
/// or the turn might be its own.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[cold]
unsafe fn end_slice(pp: &'static p::P) {
    pp.clear(p::attention::YIELD);
    // SAFETY: as the caller promises: we own its queue; who was taken out of one is on none (G1).
    unsafe {
        let turn = p::take_turn(pp);
        if let Some(next) = pp.run_queue.take_run_next() {
            p::push_global_one(p::from_queue(next));
        }
        if let Some(turn) = turn {
            pp.push(turn);
        }
    }
    wake::submitted();
}

/// Lets the goroutine run that the caller has just readied, on the rest of the caller's time slice; the
/// caller goes to the end of its P's own queue. Go's `goyield`, for locks that change hands. Does nothing
/// on a plain thread, and if nobody is queued here.
pub fn yield_to_next() {
    let Some(gp) = g::current_goroutine() else {
        return;
    };
    let _inside = inside::enter();
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    let Some(pp) = mp.p.get().filter(|pp| !pp.run_queue.is_empty()) else {
        return;
    };
    if gp.get().kind.get() == Kind::Bound {
        m::transition(gp, State::Running, State::Runnable);
        // SAFETY: our M holds `pp`; we are Runnable and on no queue. Whoever takes us off this one gives
        // our M a P, which it takes when it has given this one away.
        unsafe { pp.push(gp) };
        return sleep_bound(mp, gp);
    }
    // SAFETY: the current goroutine is stackful and runs on `mp`, which holds a P.
    unsafe { switch::leave(mp, gp, Action::HandOver) };
}

/// Whether spinning for a lock may pay: its owner may be running, and nobody waits for this P. Go's
/// `canSpin`. On a plain thread it may, unless goroutines have one P, and the owner is likely to have
/// lost it.
pub fn may_spin() -> bool {
    let procs = SCHED.procs.load(Ordering::Relaxed);
    // A glance, from outside: the answer may be about a P that is not ours any more.
    let Some(pp) = m::current_p() else {
        return procs != 1;
    };
    procs > SCHED.idle.idle() + SCHED.idle.spinning() + 1 && pp.run_queue.is_empty()
}

/// Yields only if the goroutine has used up its slice, or a timer of its P is due; a few
/// nanoseconds otherwise.
#[inline]
pub fn checkpoint() {
    // A glance, from outside: at worst it yields because of somebody else's slice.
    if let Some(pp) = m::current_p()
        && pp.attention.load(Ordering::Relaxed) != 0
    {
        yield_now();
    }
}

//! Giving up the P around a call that blocks the thread, and goroutines with a thread of their own.
//!
//! `blocking` hands the P on at once (Go's `entersyscallblock`): what it wraps is known to block. On
//! the way back the M takes its old P if that is idle, else any idle P; else the goroutine goes to
//! the global queue and its M sleeps. From a call that blocks and that nobody announced, sysmon takes
//! the P away; the goroutine notices at its next entry into the runtime ([`lost`]) or, if it computes,
//! in a signal handler ([`stop_in_place`]; see `preempt`).

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::thread;

use gort_queue::gate::Answer;
use gort_queue::status::State;

use super::m::{self, M};
use super::p::{self, P};
use super::switch::{self, Action};
use super::{SCHED, park, stopped, wake};
use crate::fork;
use crate::g::{self, GRef, Kind, flags, slab};
use crate::inside;
use crate::os::signal::ThreadSignals;

/// Runs `f`, which may block the thread, without holding up other goroutines: the P is handed off
/// first. Legal everywhere; on a plain thread, inside another `blocking`, and in the child of a `fork`, where
/// nobody would give the P back, it just calls `f`.
pub fn blocking<R>(f: impl FnOnce() -> R) -> R {
    /// Comes back also when `f` unwinds.
    struct Blocking(Option<(GRef, &'static P)>);
    impl Drop for Blocking {
        fn drop(&mut self) {
            if let Some((gp, old)) = self.0.take() {
                exit_blocking(gp, Some(old));
            }
        }
    }
    let _blocking = Blocking(enter_blocking());
    f()
}

/// Running to Syscall; the P goes to somebody else.
fn enter_blocking() -> Option<(GRef, &'static P)> {
    let gp = g::current_goroutine()?;
    if fork::is_forked() {
        return None;
    }
    let _inside = inside::enter();
    give_up_p(gp)
}

/// [`enter_blocking`] of goroutine `gp`, which is inside.
fn give_up_p(gp: GRef) -> Option<(GRef, &'static P)> {
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    // No P: inside another `blocking`.
    mp.p.get()?;
    m::transition(gp, State::Running, State::Syscall);
    mp.gate.announce();
    let pp = mp.release();
    wake::hand_off(pp);
    mp.signal.let_pass();
    Some((gp, pp))
}

/// Sends a signal to the thread of `mp` by `send`, which says whether it did, unless that is in a call that it has
/// announced: no such call ends early because of us. For sysmon alone.
pub(crate) fn send_signal(mp: &M, send: impl FnOnce() -> bool) -> bool {
    mp.signal.0.store(SIGNAL_MAY_COME, Ordering::Relaxed);
    // Pairs with the fence of `let_pass`: either we see the call announced, or it sees the signal.
    fence(Ordering::SeqCst);
    let is_sent = !mp.gate.is_announced() && send();
    let state = if is_sent { SIGNAL_SENT } else { NO_SIGNAL };
    mp.signal.0.store(state, Ordering::Release);
    is_sent
}

/// Whether sysmon is about to send a signal to an M's thread, or has sent one. Writers: sysmon; the thread, when a
/// signal that was sent must have come.
#[derive(Debug)]
pub(crate) struct SignalOnWay(AtomicU32);

const NO_SIGNAL: u32 = 0;
const SIGNAL_MAY_COME: u32 = 1;
const SIGNAL_SENT: u32 = 2;

impl SignalOnWay {
    pub(crate) const fn new() -> SignalOnWay {
        SignalOnWay(AtomicU32::new(NO_SIGNAL))
    }

    /// Returns when a signal that is on its way has come. For the thread itself, inside, with its call announced.
    fn let_pass(&self) {
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Acquire) != NO_SIGNAL {
            self.let_pass_slow();
        }
    }

    #[cold]
    fn let_pass_slow(&self) {
        while self.0.load(Ordering::Acquire) == SIGNAL_MAY_COME {
            // sysmon is between its look and its signal, and waits for nobody.
            thread::yield_now();
        }
        if self.0.load(Ordering::Relaxed) == SIGNAL_SENT {
            // What is pending comes before any call of the kernel's has returned.
            thread::yield_now();
            self.0.store(NO_SIGNAL, Ordering::Relaxed);
        }
    }
}

/// For a park inside `blocking`: parking takes a P, so the call is left for its length and announced
/// again when the goroutine goes on. True if that was needed, and `park` has run. The caller is inside.
#[inline(always)]
pub(super) fn park_inside_blocking(gp: GRef, park: impl FnOnce()) -> bool {
    // SAFETY: the current goroutine's M is set.
    let is_needed = unsafe { M::of(gp) }.p.get().is_none();
    if is_needed {
        park_with_p(gp, park);
    }
    is_needed
}

#[cold]
fn park_with_p(gp: GRef, park: impl FnOnce()) {
    take_p_again(gp, None);
    park();
    // The guard of `blocking` will look for the P that it gave up first: a hint as good as another.
    give_up_p(gp);
}

/// Syscall to Running, as soon as there is a P; `old` is the one that is best.
fn exit_blocking(gp: GRef, old: Option<&'static P>) {
    let _inside = inside::enter();
    take_p_again(gp, old);
}

/// [`exit_blocking`] of goroutine `gp`, which is inside.
fn take_p_again(gp: GRef, old: Option<&'static P>) {
    // SAFETY: the goroutine did not leave its M.
    unsafe { M::of(gp) }.gate.end_announced();
    m::transition(gp, State::Syscall, State::Running);
    regain(gp, old);
}

/// What a goroutine does when it enters the runtime and its P was taken meanwhile: it gets another, or
/// queues for one. Its M may be another afterwards.
pub(crate) fn lost() {
    let Some(gp) = g::current_goroutine() else {
        fatal!("a P was taken from a thread without a goroutine");
    };
    // SAFETY: the current goroutine's M is set.
    unsafe { M::of(gp) }.lose();
    // In the child of a fork there is nobody to give one, and most calls need none.
    if !fork::is_forked() {
        regain(gp, None);
    }
}

/// Gets a P for the running goroutine `gp`, whose M has none: at once if one is free, else in its turn.
/// The caller is inside, once.
fn regain(gp: GRef, old: Option<&'static P>) {
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    if take_free_p(mp, old) {
        return;
    }
    if gp.get().kind.get() == Kind::Bound {
        return wait_in_place(mp, gp, p::push_global_one);
    }
    // SAFETY: the current goroutine on its M; `Requeue` is the action for an M without a P.
    unsafe { switch::leave(mp, gp, Action::Requeue) };
}

/// Takes a P that nobody holds: `old` if it is one, any idle one, or one that waits for a thread.
fn take_free_p(mp: &'static M, old: Option<&'static P>) -> bool {
    let mut global = SCHED.global.lock();
    let pp = match old {
        Some(old) if global.take_idle_if(old) => Some((old, false)),
        _ => match global.take_idle() {
            Some(pp) => Some((pp, false)),
            None => global.take_wanting(),
        },
    };
    drop(global);
    let Some((pp, was_to_spin)) = pp else {
        return false;
    };
    mp.acquire(pp);
    // For sysmon: what ran here before does not go on.
    pp.count_switch();
    // Somebody had counted on an M that looks for work; we have other things to do.
    if was_to_spin && SCHED.idle.stop_spinning_found_work() {
        wake::submitted();
    }
    true
}

/// Waits for a P on the thread itself: the goroutine stands in a queue (`push`), and whoever takes it from
/// there hands its P over (S4).
fn wait_in_place(mp: &'static M, gp: GRef, push: fn(GRef)) {
    m::transition(gp, State::Running, State::Runnable);
    push(gp);
    wake::submitted();
    park::sleep_bound(mp, gp);
}

/// For the signal handler: `gp`, which runs on `mp`, was interrupted outside the runtime. If its P was taken, or
/// it is to let others go first, it waits for a P, here and now: `around` is called to call what does.
///
/// Async-signal-safe: the goroutine is outside, so that no lock of the runtime is held here.
pub(crate) fn stop_in_place(mp: &'static M, gp: GRef, around: impl FnOnce(&dyn Fn())) {
    // Not `inside::enter`, which would have the goroutine leave its stack.
    mp.gate.enter(inside::own_fence);
    let waits = match mp.gate.answer() {
        Answer::Lost => {
            mp.lose();
            !take_free_p(mp, None)
        }
        Answer::Kept => mp.p.get().is_some_and(P::is_to_stop),
        Answer::Announced => false,
    };
    if waits {
        gp.get().set_flag(flags::PREEMPTED, true);
        around(&|| wait_in_place(mp, gp, stopped::push));
        gp.get().set_flag(flags::PREEMPTED, false);
    }
    mp.gate.leave();
}

/// Binds the current goroutine to its OS thread until [`unlock_os_thread`] was called as often. False
/// on a plain thread, which is bound already.
pub fn lock_os_thread() -> bool {
    let Some(gp) = g::current_goroutine() else {
        return false;
    };
    let depth = slab::with_cold_mut(gp, |cold| {
        cold.lock_depth += 1;
        cold.lock_depth
    });
    if depth == 1 && gp.get().kind.get() == Kind::Stackful {
        let _inside = inside::enter();
        gp.get().set_flag(flags::LOCKED, true);
        // SAFETY: the current goroutine's M is set.
        unsafe { M::of(gp) }.locked_g.set(Some(gp));
    }
    true
}

/// Undoes one [`lock_os_thread`] of the current goroutine.
pub fn unlock_os_thread() {
    let Some(gp) = g::current_goroutine() else {
        return;
    };
    let depth = slab::with_cold_mut(gp, |cold| {
        cold.lock_depth = cold.lock_depth.saturating_sub(1);
        cold.lock_depth
    });
    if depth == 0 {
        release_os_thread(gp);
    }
}

/// How many [`lock_os_thread`]s of the current goroutine are not undone yet.
pub fn os_thread_locks() -> u32 {
    g::current_goroutine()
        .and_then(|gp| slab::with_cold(gp, |cold| cold.lock_depth))
        .unwrap_or(0)
}

/// The current goroutine ends. If it is still locked to its thread, that one ends too.
///
/// Inside, and in the section in which the stack is left for good: unlocked, the goroutine must not lose its P and be
/// queued once more.
pub(super) fn end_locked(gp: GRef) {
    if gp.get().has_flag(flags::LOCKED) {
        gp.get().set_flag(flags::LOCKED, false);
        // SAFETY: the current goroutine's M is set. `locked_g` stays: the M runs nothing else.
        unsafe { M::of(gp) }.is_ending.set(true);
    }
}

/// The current goroutine, a stackful one, has changed the signal mask or the alternate stack of its
/// thread: as long as they are not those of an M, it is locked to it.
///
/// The kernel keeps both per thread. A goroutine that went on elsewhere would lose its own, and others
/// would come under them: a stack that is freed later under their feet, a mask that keeps preemption
/// out. Nothing is asked at a switch: libc's functions tell of a change (`gort_arch::tls`).
///
/// Never leaves the stack, and never asks what has become of the P: the change is this thread's, and made.
/// If the P was taken, the next entry finds out, and by then the goroutine is locked. So nothing here
/// needs a P, nor takes a lock.
pub(crate) fn signals_changed() {
    let Some(gp) = g::current_goroutine() else {
        return;
    };
    // SAFETY: the current goroutine's M is set, and stays the same until the next entry: one that is
    // stopped outside is stopped in place.
    let mp = unsafe { M::of(gp) };
    if mp.gate.depth() != 0 {
        // In a user's handler that interrupted the runtime: the handler's return undoes its mask.
        return;
    }
    // Not `inside::enter`, which is a yield point; but no handler stops us half-way.
    mp.gate.enter(inside::own_fence);
    let differs = ThreadSignals::now() != mp.signals.get();
    if differs != gp.get().has_flag(flags::OWN_SIGNALS) {
        gp.get().set_flag(flags::OWN_SIGNALS, differs);
        // SAFETY: the goroutine itself, outside until now, so not in the midst of a change.
        let cold = unsafe { slab::own_cold(gp) };
        let is_locked = differs || cold.is_some_and(|cold| cold.lock_depth != 0);
        gp.get().set_flag(flags::LOCKED, is_locked);
        mp.locked_g.set(is_locked.then_some(gp));
    }
    mp.gate.leave();
}

/// At a goroutine's end: its thread's signals are again what an M has.
#[inline]
pub(super) fn restore_signals(gp: GRef) {
    // Set by nobody but this goroutine, and handlers on its stack.
    if gp.get().has_flag(flags::OWN_SIGNALS) {
        restore_own_signals(gp);
    }
}

#[cold]
fn restore_own_signals(gp: GRef) {
    let _inside = inside::enter();
    gp.get().set_flag(flags::OWN_SIGNALS, false);
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    // SAFETY: locked since the change, so still on the M they were found on, whose stack stays.
    unsafe { mp.signals.get().restore() };
    if os_thread_locks() == 0 {
        release_os_thread(gp);
    }
}

/// Frees goroutine and M from each other, unless it has signals of its own there.
fn release_os_thread(gp: GRef) {
    let _inside = inside::enter();
    if gp.get().has_flag(flags::OWN_SIGNALS) {
        return;
    }
    if gp.get().has_flag(flags::LOCKED) {
        gp.get().set_flag(flags::LOCKED, false);
        // SAFETY: the current goroutine's M is set.
        unsafe { M::of(gp) }.locked_g.set(None);
    }
}

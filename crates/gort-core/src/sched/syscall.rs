//! Giving up the P around a call that blocks the thread, and goroutines with a thread of their own.
//!
//! `blocking` hands the P on at once (Go's `entersyscallblock`): what it wraps is known to block. On
//! the way back the M takes its old P if that is idle, else any idle P; else the goroutine goes to
//! the global queue and its M sleeps. A blocking call that nobody announced costs its P until sysmon
//! takes it away.

use gort_queue::status::State;

use super::m::{self, M};
use super::p::P;
use super::switch::{self, Action};
use super::{SCHED, park, wake};
use crate::g::{self, GRef, Kind, flags, slab};
use crate::os::signal::ThreadSignals;

/// Runs `f`, which may block the thread, without holding up other goroutines: the P is handed off
/// first. Legal everywhere; on a plain thread, and inside another `blocking`, it just calls `f`.
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
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    // No P: inside another `blocking`.
    mp.p.get()?;
    m::transition(gp, State::Running, State::Syscall);
    let pp = mp.release();
    wake::hand_off(pp);
    Some((gp, pp))
}

/// For a park inside `blocking`: parking takes a P, so the call is left for its length and announced
/// again when the goroutine goes on. True if that was needed, and `park` has run.
pub(super) fn park_inside_blocking(gp: GRef, park: impl FnOnce()) -> bool {
    // SAFETY: the current goroutine's M is set.
    if unsafe { M::of(gp) }.p.get().is_some() {
        return false;
    }
    exit_blocking(gp, None);
    park();
    // The guard of `blocking` will look for the P that it gave up first: a hint as good as another.
    enter_blocking();
    true
}

/// Syscall to Running, as soon as there is a P; `old` is the one that is best.
fn exit_blocking(gp: GRef, old: Option<&'static P>) {
    // SAFETY: the goroutine did not leave its M.
    let mp = unsafe { M::of(gp) };
    if SCHED.idle.idle() != 0 {
        let mut global = SCHED.global.lock();
        let pp = match old {
            Some(old) if global.take_idle_if(old) => Some(old),
            _ => global.take_idle(),
        };
        drop(global);
        if let Some(pp) = pp {
            mp.acquire(pp);
            m::transition(gp, State::Syscall, State::Running);
            return;
        }
    }
    if gp.get().kind.get() == Kind::Bound {
        m::transition(gp, State::Syscall, State::Runnable);
        super::p::push_global_one(gp);
        wake::submitted();
        return park::sleep_bound(mp, gp);
    }
    m::transition(gp, State::Syscall, State::Running);
    // SAFETY: the current goroutine on its M; `Requeue` is the action for an M without a P.
    unsafe { switch::leave(mp, gp, Action::Requeue) };
}

/// Binds the current goroutine to its OS thread until [`unlock_os_thread`] was called as often. False
/// on a plain thread, which is bound already.
pub fn lock_os_thread() -> bool {
    let Some(gp) = g::current_goroutine() else {
        return false;
    };
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    let depth = slab::with_cold_mut(gp, |cold| {
        cold.lock_depth += 1;
        cold.lock_depth
    });
    if depth == 1 && gp.get().kind.get() == Kind::Stackful {
        gp.get().set_flag(flags::LOCKED, true);
        mp.locked_g.set(Some(gp));
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
pub(crate) fn signals_changed() {
    let Some(gp) = g::current_goroutine() else {
        return;
    };
    // SAFETY: the current goroutine's M is set.
    let mp = unsafe { M::of(gp) };
    let differs = ThreadSignals::now() != mp.signals.get();
    if differs == gp.get().has_flag(flags::OWN_SIGNALS) {
        return;
    }
    gp.get().set_flag(flags::OWN_SIGNALS, differs);
    if differs {
        gp.get().set_flag(flags::LOCKED, true);
        mp.locked_g.set(Some(gp));
    } else if os_thread_locks() == 0 {
        release_os_thread(gp);
    }
}

/// At a goroutine's end: its thread's signals are again what an M has.
pub(super) fn restore_signals(gp: GRef) {
    if gp.get().has_flag(flags::OWN_SIGNALS) {
        gp.get().set_flag(flags::OWN_SIGNALS, false);
        // SAFETY: the current goroutine's M is set.
        let mp = unsafe { M::of(gp) };
        // SAFETY: locked since the change, so still on the M they were found on, whose stack stays.
        unsafe { mp.signals.get().restore() };
        if os_thread_locks() == 0 {
            release_os_thread(gp);
        }
    }
}

/// Frees goroutine and M from each other, unless it has signals of its own there.
fn release_os_thread(gp: GRef) {
    if gp.get().has_flag(flags::OWN_SIGNALS) {
        return;
    }
    if gp.get().has_flag(flags::LOCKED) {
        gp.get().set_flag(flags::LOCKED, false);
        // SAFETY: the current goroutine's M is set.
        unsafe { M::of(gp) }.locked_g.set(None);
    }
}

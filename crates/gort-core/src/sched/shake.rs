//! Shaking: the scheduler makes choices that are allowed but unusual, so that tests meet orders that
//! a quiet machine never shows.
//!
//! - `GORT_SHAKE=<seed>` leaves to chance where a goroutine is queued (`run_next`, the ring or the
//!   global queue), whether a switch takes the long way over the system stack, and whether a park is
//!   preceded by a yield. The seed also feeds each P's choice of victims.
//! - `GORT_SHAKE_MIGRATE=1` makes a goroutine that stopped go on on another M wherever there is one:
//!   everything goes through the global queue, and an M leaves to others what it ran last itself.
//!
//! A test with a seed of its own ([`reseed`]) does as `GORT_SHAKE` for its length.
//!
//! Whatever is chosen here could have happened anyway, by a race or a preemption: a run that fails only
//! when shaken has found a bug. With one seed each P makes its choices in the same order; which P is
//! first is still the machine's choice.
//!
//! Off, it costs a relaxed load where a choice is made. Checked by `crates/gort/tests/shake.rs`, which
//! counts.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::m::M;
use super::p::{self, Global, P};
use super::{SCHED, switch, wake};
use crate::fork;
use crate::g::GRef;

/// [`CHANCE`] and [`MIGRATE`]. Writers: `set`, before the first goroutine; `reseed`. Readers: all that
/// choose, at any time, as every choice is right at any time.
static MODE: AtomicU8 = AtomicU8::new(0);
/// 0 without `GORT_SHAKE`. Written with `MODE`.
static SEED: AtomicU64 = AtomicU64::new(0);
/// How often there was a new seed. A P that finds a new number begins anew with the seed.
static ROUND: AtomicU32 = AtomicU32::new(0);

const CHANCE: u8 = 1;
const MIGRATE: u8 = 2;
/// See [`set_always_on`].
const FORKED: u8 = 4;

/// Among how many goroutines an M looks for one that it did not run last.
const LOOKED_AT: usize = 64;
/// How often an M offers its own ones to the others before it takes one after all: a sleeper needs
/// some 40 µs to wake, and may be busy for good, so there has to be an end.
const OFFERS: u32 = 100;

/// Sets what is shaken. Before the first P.
pub(crate) fn set(seed: Option<u64>, migrate: bool) {
    SEED.store(seed.map_or(0, |seed| seed.max(1)), Ordering::Relaxed);
    let chance = if seed.is_some() { CHANCE } else { 0 };
    let migrate = if migrate { MIGRATE } else { 0 };
    MODE.store(chance | migrate, Ordering::Relaxed);
}

/// Leaves the order to chance with this seed from now on, or no longer; gives what was before. One caller
/// at a time.
pub(crate) fn reseed(seed: Option<u64>) -> Option<u64> {
    let old = self::seed();
    SEED.store(seed.map_or(0, |seed| seed.max(1)), Ordering::Relaxed);
    // A P that sees the new round sees the seed.
    ROUND.fetch_add(1, Ordering::Release);
    match seed {
        Some(_) => MODE.fetch_or(CHANCE, Ordering::Relaxed),
        None => MODE.fetch_and(!CHANCE, Ordering::Relaxed),
    };
    old
}

/// Has everybody take the cold paths, which look at `fork`: so nobody else has to. Async-signal-safe.
pub(crate) fn set_always_on() {
    MODE.store(MODE.load(Ordering::Relaxed) | FORKED, Ordering::Relaxed);
}

/// The seed, if the order is left to chance.
pub(crate) fn seed() -> Option<u64> {
    Some(SEED.load(Ordering::Relaxed)).filter(|seed| *seed != 0)
}

/// Whether anything is shaken.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    MODE.load(Ordering::Relaxed) != 0
}

/// Whether goroutines are to change their M at each stop.
#[inline(always)]
pub(crate) fn migrates() -> bool {
    MODE.load(Ordering::Relaxed) & MIGRATE != 0
}

/// Queues a Runnable goroutine that is on no queue, wherever it may be.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[cold]
pub(crate) unsafe fn enqueue(pp: &P, gp: GRef) {
    // SAFETY: as the caller promises.
    let place = unsafe { chance(3, pp) };
    if migrates() || place == 0 {
        p::push_global_one(gp);
    } else {
        let to_ring = match place {
            1 => Some(gp),
            // SAFETY: as above: we own the queue; `gp` is on none.
            _ => unsafe { pp.run_queue.replace_run_next(gp.0) }.map(p::from_queue),
        };
        if let Some(gp) = to_ring {
            // SAFETY: as above; one that was displaced is on no queue either.
            unsafe { pp.push(gp) };
        }
    }
    wake::submitted();
}

/// Whether the next goroutine is to be chosen on the system stack although it need not.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[cold]
pub(crate) unsafe fn takes_long_way(pp: &P) -> bool {
    fork::check("a goroutine stopped");
    // SAFETY: as the caller promises.
    is_left_to_chance() && unsafe { chance(4, pp) } == 0
}

/// Whether a goroutine that is about to park is to yield first, so that its waker comes before it.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[cold]
pub(crate) unsafe fn yields_before_park(pp: &P) -> bool {
    // SAFETY: as the caller promises.
    is_left_to_chance() && unsafe { chance(8, pp) } == 0
}

fn is_left_to_chance() -> bool {
    MODE.load(Ordering::Relaxed) & CHANCE != 0
}

/// Whether one that yields goes to what all Ps share, rather than to its P's part of the global queue.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[cold]
pub(super) unsafe fn yields_to_all(pp: &P) -> bool {
    // SAFETY: as the caller promises.
    migrates() || unsafe { chance(2, pp) == 0 }
}

/// Has `pp` begin anew with the seed, if this is a new round.
///
/// # Safety
///
/// The caller's M holds `pp`.
unsafe fn begin_round(pp: &P) {
    let round = ROUND.load(Ordering::Acquire);
    // SAFETY: as the caller promises.
    let own = unsafe { pp.own() };
    if own.random_round == round {
        return;
    }
    own.random_round = round;
    own.random = p::seed(pp.index.into());
    // So that each 61st schedule comes where it came the last time, and each 1024th pick. Never back: a tick
    // that sysmon has seen before is to it a slice that goes on.
    let tick = pp.sched_tick.load(Ordering::Relaxed);
    let next = tick.checked_next_multiple_of(switch::GLOBAL_TICKS);
    pp.sched_tick.store(next.unwrap_or(0), Ordering::Relaxed);
    let switches = pp.switches.load(Ordering::Relaxed);
    pp.round_switches.store(switches, Ordering::Relaxed);
    let picks = pp.picks.load(Ordering::Relaxed);
    pp.round_picks.store(picks, Ordering::Relaxed);
}

/// A number below `n`.
///
/// # Safety
///
/// The caller's M holds `pp`.
unsafe fn chance(n: u32, pp: &P) -> u32 {
    // SAFETY: as the caller promises.
    unsafe {
        begin_round(pp);
        pp.random() % n
    }
}

/// A goroutine from the global queue that `pp`'s M did not run last.
///
/// If there are only such, the others get time to take them. In the end they are taken after all: the
/// others may be busy for good, and be waiting for one of these.
#[cold]
pub(crate) fn take_global(pp: &P) -> Option<GRef> {
    let own = pp.m.load(Ordering::Relaxed);
    let has_others = SCHED.procs.load(Ordering::Relaxed) > 1;
    for _ in 0..if has_others { OFFERS } else { 0 } {
        let mut global = SCHED.global.lock();
        if global.queue.is_empty() {
            return None;
        }
        if let Some(gp) = take_others(&mut global, own) {
            return Some(gp);
        }
        drop(global);
        std::thread::yield_now();
    }
    let first = SCHED.global.lock().take(1).pop_front();
    first.map(p::from_queue)
}

/// The first goroutine near the head of the queue that `own` did not run last.
fn take_others(global: &mut Global, own: *mut M) -> Option<GRef> {
    let is_others = |gp| GRef(gp).get().m.load(Ordering::Relaxed) != own.cast();
    let index = global.queue.iter().take(LOOKED_AT).position(is_others)?;
    global.take_at(index)
}

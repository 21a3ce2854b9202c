//! A read-only view of the runtime, for dumps, metrics, tests and profiles. Nothing in `sched` knows
//! that it exists, but for the coarse clock that parkers copy.

use std::panic::Location;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gort_queue::status::State;

use crate::clock;
use crate::g::{GRef, Kind, flags, slab};
use crate::sched::{self, SCHED, p};
use crate::wait_reason::WaitReason;

/// How many goroutines there are; the runtime's own and plain threads do not count.
pub use crate::sched::p::num_goroutine;

/// One goroutine as it was at some moment during the snapshot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Goroutine {
    /// Its number.
    pub id: u64,
    /// Its name, if the builder gave one.
    pub name: Option<String>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// What it is doing.
    pub state: State,
    /// Why it waits, if it does.
    pub wait_reason: Option<WaitReason>,
    /// For how long, in steps of 100 ms.
    pub waited: Option<Duration>,
    /// Where it was started.
    pub created_at: Option<&'static Location<'static>>,
    /// Where it parked.
    pub parked_at: Option<&'static Location<'static>>,
    /// Whether it is bound or locked to an OS thread.
    pub locked_to_thread: bool,
    /// Its group (tests).
    pub group: u32,
}

/// All goroutines. Others go on meanwhile: one that is just starting or ending may be missing.
pub fn goroutines() -> Vec<Goroutine> {
    // Not the coarse time, which stands still while all goroutines wait.
    let now = clock::now_ns();
    let mut all = Vec::new();
    slab::each(|gp| {
        if let Some(goroutine) = describe(gp, now) {
            all.push(goroutine);
        }
    });
    all.sort_by_key(|goroutine| goroutine.id);
    all
}

fn describe(gp: GRef, now_ns: u64) -> Option<Goroutine> {
    let g = gp.get();
    let state = g.status.load();
    if g.kind.get() == Kind::Thread
        || g.has_flag(flags::SYSTEM)
        || matches!(state, State::Dead | State::Idle)
    {
        return None;
    }
    let waiting = state == State::Waiting;
    let parked_at = g.parked_at.load(Ordering::Relaxed);
    let id = gp.id();
    Some(Goroutine {
        id,
        name: gp.name(id),
        labels: gp.labels(id),
        state,
        wait_reason: waiting.then(|| gp.reason()),
        waited: waiting
            .then(|| clock::since_coarse(g.parked_coarse.load(Ordering::Relaxed), now_ns)),
        created_at: gp.created_at(),
        parked_at: match waiting {
            // SAFETY: only `&'static Location`s are stored.
            true => unsafe { parked_at.as_ref() },
            false => None,
        },
        locked_to_thread: g.wants_own_m(),
        group: gp.group(),
    })
}

/// Counters of the scheduler.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// GOMAXPROCS.
    pub procs: u32,
    /// Ps that nobody holds.
    pub idle_procs: u32,
    /// Ms that look for work.
    pub spinning: u32,
    /// Threads that run goroutines.
    pub threads: u32,
    /// Goroutines in the global queue.
    pub global_queue: usize,
    /// Goroutines in the Ps' queues.
    pub local_queues: usize,
    /// Timers waiting.
    pub timers: u64,
    /// Switches between goroutines so far.
    pub switches: u64,
    /// Goroutines.
    pub goroutines: usize,
}

/// The counters at this moment; each is right, together they need not be of one instant.
pub fn counters() -> Counters {
    Counters {
        procs: SCHED.procs.load(Ordering::Relaxed),
        idle_procs: SCHED.idle.idle(),
        spinning: SCHED.idle.spinning(),
        threads: sched::m::count(),
        global_queue: SCHED.global_len.load(Ordering::Relaxed),
        local_queues: p::all().map(|pp| pp.run_queue.len()).sum(),
        timers: p::all().map(|pp| u64::from(pp.timers.len())).sum(),
        switches: p::all().map(|pp| pp.switches.load(Ordering::Relaxed)).sum(),
        goroutines: num_goroutine(),
    }
}

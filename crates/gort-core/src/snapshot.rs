//! A read-only view of the runtime, for dumps, metrics, tests and profiles. Nothing in `sched` knows
//! that it exists, but for the coarse clock that parkers copy.

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gort_queue::status::State;

use crate::clock;
use crate::g::{GRef, Kind, flags, slab};
use crate::hibernate;
use crate::sched::{self, SCHED, p};
use crate::trace::{self, Stack, Tracer};
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
    /// For how long, in steps of 10 ms.
    pub waited: Option<Duration>,
    /// Where it was started.
    pub created_at: Option<&'static Location<'static>>,
    /// The number of the goroutine that started it, if one did.
    pub created_by: Option<u64>,
    /// Where it parked, if it is parked.
    pub parked_at: Option<&'static Location<'static>>,
    /// Where it parked the last time.
    pub last_parked_at: Option<&'static Location<'static>>,
    /// Whether it is bound or locked to an OS thread.
    pub locked_to_thread: bool,
    /// Its group (tests).
    pub group: u32,
    /// Its stack, if it was asked for and could be had.
    pub stack: Option<Stack>,
}

/// All goroutines. Others go on meanwhile: one that is just starting or ending may be missing.
pub fn goroutines() -> Vec<Goroutine> {
    collect(None, false)
}

/// All goroutines with the stacks of those that are parked or runnable, and the caller's.
///
/// A parked one is held where it is while its stack is walked, for some microseconds; a wake-up that comes
/// meanwhile takes effect after that. Of a runnable one a copy is walked. Those that use a processor are interrupted
/// and asked for theirs.
pub fn goroutines_with_stacks() -> Vec<Goroutine> {
    collect(Some(Tracer::new()), false)
}

/// As [`goroutines_with_stacks`], before the process ends: threads in system calls are asked too, though
/// the signal may end a call early.
pub(crate) fn goroutines_at_the_end() -> Vec<Goroutine> {
    collect(Some(Tracer::new()), true)
}

fn collect(mut tracer: Option<Tracer>, may_interrupt: bool) -> Vec<Goroutine> {
    // Not the coarse time, which stands still while all goroutines wait.
    let now = clock::now_ns();
    let mut all = Vec::new();
    slab::each(|gp| {
        let found = match &mut tracer {
            Some(tracer) => describe_with_stack(gp, now, tracer, may_interrupt),
            None => describe(gp, now),
        };
        if let Some(mut goroutine) = found {
            // What needs the allocator and a lock, with nobody held.
            goroutine.name = gp.name(goroutine.id);
            goroutine.labels = gp.labels(goroutine.id);
            goroutine.group = gp.group();
            all.push(goroutine);
        }
    });
    all.sort_by_key(|goroutine| goroutine.id);
    all
}

/// Who waits for whose end: pairs of goroutines' numbers. Others go on meanwhile.
pub fn joins() -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    slab::each(|gp| {
        if let Some(joiner) = sched::join::joiner_of(gp).filter(|joiner| joiner.is_goroutine()) {
            all.push((joiner.id(), gp.id()));
        }
    });
    all
}

/// Whether a goroutine in this state is on some thread, with its stack in use.
pub(crate) fn is_on_a_thread(state: State) -> bool {
    matches!(state, State::Running | State::Syscall | State::Preempted)
}

/// As `describe`, with the stack. What is said of a parked goroutine is of one moment.
fn describe_with_stack(
    gp: GRef,
    now_ns: u64,
    tracer: &mut Tracer,
    may_interrupt: bool,
) -> Option<Goroutine> {
    if gp.get().has_flag(flags::SYSTEM) {
        return None;
    }
    if trace::is_caller(gp) {
        let mut goroutine = describe(gp, now_ns)?;
        goroutine.stack = Some(tracer.own());
        return Some(goroutine);
    }
    let Some(mut held) = tracer.hold(gp) else {
        let mut goroutine = describe(gp, now_ns)?;
        goroutine.stack = match goroutine.state {
            // One that waits in a handler sleeps in a call of ours.
            state if is_on_a_thread(state) => {
                let may = may_interrupt || state == State::Preempted;
                tracer.ask(gp, goroutine.id, may)
            }
            _ if gp.get().kind.get() == Kind::Stackful => tracer.copy(gp),
            State::Waiting => stack_of_parked_elsewhere(gp, goroutine.id, tracer),
            _ => None,
        };
        return Some(goroutine);
    };
    let described = describe(gp, now_ns);
    let walk = described.as_ref().and_then(|_| held.walk());
    drop(held);
    let mut goroutine = described?;
    goroutine.stack = match walk {
        Some(walk) => Some(tracer.keep(walk)),
        None => stack_of_parked_elsewhere(gp, goroutine.id, tracer),
    };
    Some(goroutine)
}

/// The stack of a parked goroutine that has none of ours.
fn stack_of_parked_elsewhere(gp: GRef, id: u64, tracer: &mut Tracer) -> Option<Stack> {
    match gp.get().kind.get() {
        // Its thread sleeps in a call of ours, which goes on after a signal.
        Kind::Bound => tracer.ask(gp, id, true),
        // A pending future has none.
        _ => None,
    }
}

/// As `GRef::created_by`, but who hibernates goes on so.
fn created_by(gp: GRef) -> Option<u64> {
    let word = [AtomicUsize::new(0)];
    match gp.creator_place() {
        Some(place) if hibernate::peek(place, &word) == 1 => {
            let [word] = word;
            Some(word.into_inner() as u64).filter(|&id| id != 0)
        }
        _ => gp.created_by(),
    }
}

/// Neither allocates nor locks: its goroutine may be held.
fn describe(gp: GRef, now_ns: u64) -> Option<Goroutine> {
    let g = gp.get();
    let state = match g.status.load_shown() {
        // In a handler, where it stands in the queue.
        State::Runnable if g.has_flag(flags::PREEMPTED) => State::Preempted,
        state => state,
    };
    if g.kind.get() == Kind::Thread
        || g.has_flag(flags::SYSTEM)
        || matches!(state, State::Dead | State::Idle)
    {
        return None;
    }
    let waiting = state == State::Waiting;
    // SAFETY: only `&'static Location`s are stored.
    let parked_at = unsafe { g.parked_at.load(Ordering::Relaxed).as_ref() };
    Some(Goroutine {
        id: gp.id(),
        name: None,
        labels: Vec::new(),
        state,
        wait_reason: waiting.then(|| gp.reason()),
        waited: waiting
            .then(|| clock::since_coarse(g.parked_coarse.load(Ordering::Relaxed), now_ns)),
        created_at: gp.created_at(),
        created_by: created_by(gp),
        parked_at: parked_at.filter(|_| waiting),
        last_parked_at: parked_at,
        locked_to_thread: g.wants_own_m(),
        group: 0,
        stack: None,
    })
}

#[cfg(test)]
impl Goroutine {
    /// One that is runnable, and of which nothing else is known.
    pub(crate) fn for_tests(id: u64, name: Option<&str>) -> Goroutine {
        Goroutine {
            id,
            name: name.map(str::to_owned),
            labels: Vec::new(),
            state: State::Runnable,
            wait_reason: None,
            waited: None,
            created_at: None,
            created_by: None,
            parked_at: None,
            last_parked_at: None,
            locked_to_thread: false,
            group: 0,
            stack: None,
        }
    }
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
    /// Goroutines in the global queue and the Ps' parts of it, and those that wait in a signal handler.
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
        global_queue: SCHED.global_len.load(Ordering::Relaxed)
            + p::all().map(|pp| pp.yielded.len()).sum::<usize>()
            + sched::stopped::len(),
        local_queues: p::all().map(|pp| pp.run_queue.len()).sum(),
        timers: p::all().map(|pp| u64::from(pp.timers.len())).sum(),
        switches: p::all().map(|pp| pp.switches.load(Ordering::Relaxed)).sum(),
        goroutines: num_goroutine(),
    }
}

//! The watcher: a thread without a P that sees to what nobody at work would notice.
//!
//! - A P whose goroutine has been running for a slice (10 ms) is asked to yield. If it makes no switch in
//!   that time, or its thread sleeps in the kernel, and somebody has use for a P, the goroutine is stopped
//!   or loses its P (`preempt`). So it is when a timer is due.
//! - A P with a due timer, or with work that it does not get to, while others are idle: somebody is
//!   woken. If all are busy, the P is asked to look at its timers.
//! - A P that waits for a thread which does not begin goes to another.
//! - Threads that lost their P and compute are sent a signal.
//! - Who has held a P for more than 10 ms, or lost it and is not back, is reported (`stall`).
//! - Where goroutines were stopped, a P is asked once a slice to give one of them a turn (T2 of
//!   `sched::stopped`).
//! - The network, if nobody has polled it for 10 ms; 1 ms while goroutines compute that others come before.
//! - Once a second somebody is asked to read the process's limits again (`limits`), and another one to look for
//!   goroutines that are parked for long (`hibernate`).
//!
//! It sleeps 20 µs between looks, doubling after 50 looks that changed nothing, up to 10 ms (Go's
//! periods), and after 10 where all that came of the last was that more may be to do soon ([`Outcome`]). So a busy
//! machine is not disturbed all the time: a look costs who computes up to 17 µs, if both are on one processor.
//! While a P is idle and another busy it sleeps at most 1 ms, as then a goroutine may be waiting in
//! the busy one's `run_next`. When all Ps are idle for a second it sleeps until somebody gets to work.
//!
//! It allocates nothing and takes no lock that user code can hold.

use std::sync::atomic::{Ordering, fence};

use crate::clock;
use crate::deadlock::Watch;
use crate::hibernate;
use crate::limits;
use crate::netpoll;
use crate::os::{futex, thread};
use crate::preempt::{self, LostList, Thread};
use crate::sched::m;
use crate::sched::p::{self, P, attention};
use crate::sched::seen::{Seen, Still};
use crate::sched::stopped::{self, BACKGROUND_NS};
use crate::sched::{SCHED, find_work, shake, wake};
use crate::stall;
use crate::timer::ReadyList;

/// The least time between two looks.
const SLEEP_MIN_NS: u64 = 20_000;
/// The most.
const SLEEP_MAX_NS: u64 = 10_000_000;
/// The most while one P is idle and another is not.
const SLEEP_MIXED_NS: u64 = 1_000_000;
/// Looks at the least interval before it doubles.
const QUICK_LOOKS: u32 = 50;
/// And where more is to be seen soon: until [`ASKED_NS`] are over.
const QUICK_LOOKS_PENDING: u32 = (ASKED_NS / SLEEP_MIN_NS) as u32;
/// How long a goroutine may run before its P is asked to yield; Go's `forcePreemptNS`.
const SLICE_NS: u64 = 10_000_000;
/// How long the network may go unpolled.
const POLL_NS: u64 = 10_000_000;
/// How many batches of events are taken then at most.
const POLLS_MAX: u32 = 64;
/// How often the limits are read; Go's period.
const LIMITS_NS: u64 = 1_000_000_000;
/// How long all Ps must have been idle before the long sleep.
const CALM_NS: u64 = 1_000_000_000;

/// After how many slices a P is taken back that waits for a thread to begin. It has goroutines change places, so
/// not while the thread may be on its way.
const LEFT_SLICES: u64 = 5;
/// For how long an M that lost its P keeps sysmon from the long sleep: its stall is told of after a second.
const STALL_NS: u64 = 2_000_000_000;

/// What sysmon asks of the kernel's scheduler; the least there is.
const SLICE_OF_SYSMON_NS: u64 = 100_000;
/// How long a P must have made no switch before its thread's clock is looked at.
const STILL_MIN_NS: u64 = 50_000;
/// How long a goroutine that was asked to stop has for it, before its P is taken: its thread may not be on a
/// processor.
const ASKED_NS: u64 = 200_000;
/// After how many slices a P is taken from a thread that waits for a page.
const PAGE_SLICES: u64 = 10;
/// And from one that waits for a processor: it gives up its P when it has one. Another thread would wait as well,
/// and make it more who wait; but this one may be bound to a processor, or come last by the user's own wish.
const PROCESSOR_SLICES: u64 = 100;
/// For how long an M that lost its P is looked at more often.
const FRESH_NS: u64 = 20_000_000;

/// Starts the thread.
pub(crate) fn start() -> std::io::Result<()> {
    // It walks and prints all goroutines when none of them is left to do it.
    thread::builder("gort-sysmon".into(), 1 << 20)
        .spawn(watch)
        .map(drop)
}

fn watch() {
    thread::begin_own();
    thread::set_slice(SLICE_OF_SYSMON_NS);
    let mut deadlock = Watch::new();
    let mut lost = LostList::new();
    let mut quick_looks = QUICK_LOOKS;
    let mut sleep_ns = SLEEP_MIN_NS;
    let mut calm_since_ns = 0u64;
    let mut limits_read_ns = clock::now_ns();
    loop {
        if quick_looks > 0 {
            quick_looks -= 1;
            sleep_ns = SLEEP_MIN_NS;
        } else {
            sleep_ns = (sleep_ns * 2).min(SLEEP_MAX_NS);
        }
        pause(sleep_ns.min(longest_sleep(&lost, clock::now_ns())));
        let procs = SCHED.procs.load(Ordering::Relaxed);
        let now = clock::now_ns();
        clock::set_coarse(now);
        if now - limits_read_ns >= LIMITS_NS {
            limits_read_ns = now;
            limits::ask();
            hibernate::ask();
        }
        if are_all_idle(procs) {
            deadlock.look(now);
            if calm_since_ns == 0 {
                calm_since_ns = now;
            } else if now - calm_since_ns > CALM_NS && !lost.is_fresh(now, STALL_NS) {
                sleep_long(procs, &mut deadlock);
                calm_since_ns = 0;
                quick_looks = QUICK_LOOKS;
                continue;
            }
        } else {
            calm_since_ns = 0;
        }
        quick_looks = quick_looks.max(look(&mut lost, now).quick_looks());
    }
}

/// Whether nobody holds a P: one above a lowered GOMAXPROCS may still have a holder, and is on no list.
fn are_all_idle(procs: u32) -> bool {
    SCHED.idle.idle() >= procs
        && p::all()
            .all(|pp| pp.is_idle.load(Ordering::Relaxed) || pp.is_parked.load(Ordering::Relaxed))
}

/// What came of a look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All is as it was.
    Quiet,
    /// Somebody was asked to stop, and loses its P if it does not; or its thread sleeps, and it loses its P if that still
    /// sleeps at the next look.
    Pending,
    /// A P or a goroutine has changed places.
    Acted,
}

impl Outcome {
    fn note(&mut self, other: Outcome) {
        *self = (*self).max(other);
    }

    /// How many looks follow at the least interval.
    fn quick_looks(self) -> u32 {
        match self {
            Outcome::Quiet => 0,
            Outcome::Pending => QUICK_LOOKS_PENDING,
            Outcome::Acted => QUICK_LOOKS,
        }
    }
}

fn acted_if(acted: bool) -> Outcome {
    if acted {
        Outcome::Acted
    } else {
        Outcome::Quiet
    }
}

fn pending_if(pending: bool) -> Outcome {
    if pending {
        Outcome::Pending
    } else {
        Outcome::Quiet
    }
}

fn pause(ns: u64) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: ns as _,
    };
    // SAFETY: reads one timespec; the remaining time is not asked for.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// Nothing can happen without an M taking a P: timers and the network are the sleeping poller's.
fn sleep_long(procs: u32, deadlock: &mut Watch) {
    wake::SYSMON_ASLEEP.store(1, Ordering::SeqCst);
    // Pairs with the fence in `stir_sysmon`: whoever takes a P after this look sees SYSMON_ASLEEP and
    // wakes us.
    fence(Ordering::SeqCst);
    // After both: who brings a stack back from here on asks by itself (`hibernate::ask_for_sysmon`).
    hibernate::ask();
    while are_all_idle(procs) && wake::SYSMON_ASLEEP.load(Ordering::SeqCst) == 1 {
        let again_ns = deadlock.look(clock::now_ns());
        futex::wait(&wake::SYSMON_ASLEEP, 1, again_ns);
    }
    wake::SYSMON_ASLEEP.store(0, Ordering::SeqCst);
    for pp in p::all() {
        // SAFETY: sysmon's, which we are. All Ps were idle, though they were not looked at since.
        unsafe { &mut *pp.seen.get() }.was_held = false;
    }
}

/// Whether goroutines compute that others come before.
fn has_background() -> bool {
    stopped::len() != 0 || p::all().any(P::is_in_background)
}

/// One look at everything.
fn look(lost: &mut LostList, now: u64) -> Outcome {
    let mut outcome = acted_if(poll_network(now)).max(pending_if(lost.look()));
    let mut unserved = false;
    // With a P to spare somebody comes for the work; nobody has to lose one.
    let is_short = SCHED.idle.idle() == 0;
    let others_wait = is_short && has_work();
    let is_wanted = others_wait || is_short && stopped::len() != 0;
    // With a seed the order is to come from the dice, not from how busy the machine is.
    let is_seeded = shake::seed().is_some();
    let slice_ns = if is_seeded { SLICE_NS * 10 } else { SLICE_NS };
    for pp in p::all() {
        // SAFETY: `seen` is sysmon's, which we are, and referred to nowhere else.
        let seen = unsafe { &mut *pp.seen.get() };
        let is_running = !pp.m.load(Ordering::Relaxed).is_null();
        let tick = pp.sched_tick.load(Ordering::Relaxed);
        let switches = pp.switches.load(Ordering::Relaxed);
        let has_work = pp.has_work();
        let is_due = pp.timers.first_ns() <= now;
        let is_still = is_running && seen.was_held && switches == seen.switches;
        if !is_still {
            seen.was_asleep = false;
            seen.still = Still::since(now);
        } else if seen.still.is_due(now) {
            stall::tell_of_p(pp, switches, &mut seen.still, now);
        }
        // Not "has no holder": one that goes from M to M with each goroutine, as where they are threads, is
        // seen without one most of the time.
        let is_idle = pp.is_idle.load(Ordering::Relaxed) || pp.is_parked.load(Ordering::Relaxed);
        let was_held = std::mem::replace(&mut seen.was_held, !is_idle);
        if tick != seen.tick || is_idle || !was_held {
            seen.tick = tick;
            seen.since_ns = now;
        } else if now - seen.since_ns >= SLICE_NS && (has_work || is_wanted) {
            pp.ask(attention::YIELD);
            seen.since_ns = now;
            outcome.note(Outcome::Pending);
        }
        if is_running && is_due {
            pp.ask(attention::TIMERS);
        }
        if is_idle || stopped::len() == 0 || pp.has_resumed() {
            seen.turn_ns = now;
        } else if now - seen.turn_ns >= slice_ns {
            seen.turn_ns = now;
            pp.ask(attention::STOPPED);
        }
        if is_running || !pp.is_left() {
            seen.left_ns = None;
        } else if now - *seen.left_ns.get_or_insert(now) >= LEFT_SLICES * SLICE_NS {
            seen.left_ns = None;
            outcome.note(acted_if(m::take_back_left(pp)));
        }
        // One that GOMAXPROCS does not cover is to be put away, whoever else is idle.
        let is_retired = pp.is_retired();
        if is_still && (is_short || is_retired) && now - seen.still.since_ns >= STILL_MIN_NS {
            let wants = Wants {
                a_p: is_wanted || has_work || is_retired,
                before_stopped: others_wait,
                timers: is_due,
                early: !is_seeded,
                slice_ns,
            };
            outcome.note(take_back(pp, seen, wants, lost, now));
        }
        // Work that was here at the last look, and no switch since: its P does not get to it.
        unserved |= is_due || has_work && seen.had_work && switches == seen.switches;
        seen.had_work = has_work;
        seen.was_due = is_due;
        seen.switches = switches;
    }
    unserved |= SCHED.has_work();
    if unserved && SCHED.idle.idle() != 0 && SCHED.idle.should_wake() {
        wake::wake_slow();
        outcome.note(Outcome::Acted);
    }
    outcome
}

/// What is wanted of a P that makes no switch.
#[derive(Clone, Copy)]
struct Wants {
    /// Somebody waits for a P,
    a_p: bool,
    /// and comes before those that were stopped.
    before_stopped: bool,
    /// Its timers are due.
    timers: bool,
    /// Neither a thread that sleeps nor a timer that is due is a reason to wait for the slice's end.
    early: bool,
    /// How long a goroutine may run.
    slice_ns: u64,
}

/// Stops the goroutine of a P that has made no switch for a while, or takes the P, if that is due.
fn take_back(
    pp: &'static P,
    seen: &mut Seen,
    wants: Wants,
    lost: &mut LostList,
    now: u64,
) -> Outcome {
    let thread = preempt::look_at_thread(pp, &mut seen.cpu, now);
    let sleeps = thread == Thread::Sleeps;
    // At two looks: a thread that maps memory or takes a page fault is back at once.
    let was_asleep = std::mem::replace(&mut seen.was_asleep, sleeps);
    let is_asleep = sleeps && was_asleep;
    let still_ns = now - seen.still.since_ns;
    let is_over = (wants.a_p || wants.timers) && still_ns >= wants.slice_ns
        || wants.before_stopped && pp.is_in_background() && still_ns >= BACKGROUND_NS;
    let is_to_stop = is_over || wants.timers && wants.early;
    let was_asked = seen.asked_ns >= seen.still.since_ns;
    if thread == Thread::Computes && !was_asked {
        let asked = is_to_stop && preempt::ask_to_stop(pp, seen.switches);
        if asked {
            seen.asked_ns = now;
        } else if is_to_stop {
            preempt::ask_to_give_way(pp, seen.switches);
        }
        return pending_if(asked);
    }
    if was_asked && !is_asleep && now - seen.asked_ns < ASKED_NS {
        return Outcome::Quiet;
    }
    // Due at the last look too, and no switch since.
    let is_early = wants.early && (wants.a_p && is_asleep || wants.timers && seen.was_due);
    let slices = match thread {
        Thread::Computes | Thread::Sleeps => 1,
        Thread::Unsure => PAGE_SLICES,
        Thread::Waits => PROCESSOR_SLICES,
    };
    let is_to_go = is_over && still_ns >= slices * wants.slice_ns || is_early;
    let may_take = is_asleep || preempt::may_signal();
    let taken = may_take && is_to_go && preempt::retake(pp, seen.still.since_ns, lost);
    if taken {
        seen.still = Still::since(now);
    } else if is_to_stop {
        preempt::ask_to_give_way(pp, seen.switches);
    }
    acted_if(taken).max(pending_if(sleeps && !was_asleep))
}

/// Whether somebody waits for a P, other than the stopped.
fn has_work() -> bool {
    SCHED.global_len.load(Ordering::Relaxed) != 0 || p::all().any(P::has_work)
}

/// How long there may be nothing to look at.
fn longest_sleep(lost: &LostList, now: u64) -> u64 {
    let procs = SCHED.procs.load(Ordering::Relaxed);
    let idle = SCHED.idle.idle();
    let mut limit = SLEEP_MAX_NS;
    if idle > 0 && !are_all_idle(procs) || lost.is_fresh(now, FRESH_NS) || has_background() {
        limit = SLEEP_MIXED_NS;
    }
    if idle == 0 {
        // Nobody sleeps in the poller until the next timer: that is for us to see to.
        limit = limit.min(find_work::next_timer_ns().saturating_sub(now));
    }
    limit.max(SLEEP_MIN_NS)
}

fn poll_network(now: u64) -> bool {
    let last = SCHED.last_poll_ns.load(Ordering::Relaxed);
    if !netpoll::is_started() || last == 0 {
        return false;
    }
    // Who computes polls nothing, and gives way to what comes from there.
    let period_ns = if has_background() {
        BACKGROUND_NS
    } else {
        POLL_NS
    };
    if last + period_ns > now {
        return false;
    }
    if SCHED
        .last_poll_ns
        .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
        .is_err()
    {
        return false;
    }
    // Nobody else may come to poll for long: all that has come is taken, not one batch each period.
    let mut has_found = false;
    for _ in 0..POLLS_MAX {
        let mut list = ReadyList::new();
        netpoll::poll(0, &mut list);
        if list.is_empty() {
            break;
        }
        has_found = true;
        find_work::inject_without_p(&mut list);
    }
    has_found
}

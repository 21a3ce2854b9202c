//! How many Ms look for work, and when another one is woken.
//!
//! Waking a thread costs the waker about 15 µs here and the sleeper starts 40 µs later, against some
//! 10 ns for running the goroutine on the same P a moment later. So: hand over locally, wake late,
//! never wake two when one will do.
//!
//! - Work that only waits for its own P's next switch wakes nobody: a goroutine put into an empty
//!   `run_next` while the ring is empty ([`submitted`] is not called). If the running goroutine then
//!   goes on computing, sysmon sees the same `run_next` twice with no switch between, and wakes.
//! - Any other submission: if nobody spins and a P is idle, one M starts to spin. It finds the work,
//!   and on finding it wakes the next, if there is still more (Go's protocol; `gort_queue::idle` has
//!   it with its fences and its loom model).

use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::m::{self, M};
use super::p::P;
use super::{SCHED, find_work};
use crate::clock;
use crate::netpoll;
use crate::os::futex;

/// Tells the idle that there is work: after a goroutine was queued where another P may take it.
#[inline]
pub(crate) fn submitted() {
    if SCHED.idle.should_wake() {
        wake_slow();
    }
}

/// `should_wake` has counted a spinning M, which is ours to start.
#[cold]
pub(crate) fn wake_slow() {
    loop {
        let idle = SCHED.global.lock().take_idle();
        if let Some(pp) = idle {
            return m::start(pp, true);
        }
        // Somebody took the last idle P. Meanwhile others may have counted on our spinner, and a P may
        // have become idle: ask again (I3 of `gort_queue::idle`).
        if !SCHED.idle.abandon_spinning() {
            return;
        }
    }
}

/// Ends this M's spinning because it has work, and lets another start if there may be more.
pub(crate) fn found_work(mp: &M) {
    if mp.spinning.replace(false) && SCHED.idle.stop_spinning_found_work() {
        submitted();
    }
}

/// Makes the M that sleeps in the poller look again, if `when_ns` comes before its deadline.
pub(crate) fn poller_earlier(when_ns: u64) {
    // Between the timer in its heap and the look at the sleeper; pairs with the fence in
    // `sleep_in_poller`.
    fence(Ordering::SeqCst);
    if SCHED.last_poll_ns.load(Ordering::SeqCst) == 0 {
        let until = SCHED.poll_until_ns.load(Ordering::SeqCst);
        if until > when_ns {
            netpoll::interrupt();
        }
    } else {
        // Nobody sleeps in the poller: an M that looks for work will see the timer, or there is none
        // awake, and then one is started.
        submitted();
    }
}

/// Gives a P whose M goes on without it to another M, if there is anything to do for it; else it
/// becomes idle. The order of the questions is Go's `handoffp`.
pub(crate) fn hand_off(pp: &'static P) {
    let may_go_on = !pp.is_retired();
    let has_work = || pp.has_work() || SCHED.has_work();
    if may_go_on && has_work() {
        return m::start(pp, false);
    }
    // No work here. If nobody is idle or looking, somebody has to look.
    if may_go_on
        && SCHED.idle.spinning() == 0
        && SCHED.idle.idle() == 0
        && SCHED.idle.claim_first_spinner()
    {
        return m::start(pp, true);
    }
    let mut global = SCHED.global.lock();
    // Only under the lock is it sure: GOMAXPROCS may have been raised since the first question, and
    // what was left for `put_idle` to take away is to be run after all (S5).
    let is_retired = pp.is_retired();
    if !is_retired && has_work() {
        drop(global);
        return m::start(pp, false);
    }
    // The last P to go idle, and nobody sleeps in the poller: somebody has to.
    let procs = SCHED.procs.load(Ordering::Relaxed);
    if !is_retired
        && SCHED.idle.idle() + 1 >= procs
        && SCHED.last_poll_ns.load(Ordering::Relaxed) != 0
    {
        drop(global);
        return m::start(pp, false);
    }
    let first_timer_ns = pp.timers.first_ns();
    global.put_idle(pp);
    drop(global);
    // Whoever gives up a P looks once more (I4 of `gort_queue::idle`).
    SCHED.idle.going_idle();
    if find_work::has_work_anywhere() {
        submitted();
    }
    if first_timer_ns != clock::NEVER {
        poller_earlier(first_timer_ns);
    }
}

/// 1 while sysmon is in its long sleep. Writers: sysmon; who wakes it.
pub(crate) static SYSMON_ASLEEP: AtomicU32 = AtomicU32::new(0);

/// Ends sysmon's long sleep: a P was taken off the idle list.
#[inline]
pub(crate) fn stir_sysmon() {
    // Between the count of idle Ps and the look at the word; pairs with the fence in sysmon.
    fence(Ordering::SeqCst);
    if SYSMON_ASLEEP.load(Ordering::SeqCst) != 0 && SYSMON_ASLEEP.swap(0, Ordering::SeqCst) != 0 {
        // It kept the time for those who park, and the first may be quicker than it is.
        clock::set_coarse(clock::now_ns());
        futex::wake(&raw const SYSMON_ASLEEP, 1);
    }
}

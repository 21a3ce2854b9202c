//! From where the next goroutine comes, on the system stack. The order is Go's `findRunnable`:
//! due timers; every 61st time, and every 1024th switch, the global queue; the own queue; the global queue, with the
//! own part of it; the poller without waiting, unless a P is held up (`stuck`); other Ps' queues, and their parts of the
//! global one; those that were stopped, which in Go stand in the global queue; and then, with the P given up, all of it
//! once more before sleeping, the last one in the poller until the next timer.

use std::sync::atomic::{Ordering, fence};

use gort_arch::stack;

use super::m::{self, M};
use super::p::{self, P, attention};
use super::switch;
use super::{SCHED, callbacks, shake, stopped, stuck, wake, yielded};
use crate::clock::{self, NEVER};
use crate::g::GRef;
use crate::netpoll;
use crate::os::thread;
use crate::timer::ReadyList;

/// Rounds over all Ps before giving up, as in Go. Only the last may rob a `run_next`.
const STEAL_ROUNDS: u32 = 4;
/// Looks at the queues' lengths before sleeping, each after `IDLE_PAUSES` pauses: about 20 µs in all,
/// half of what it takes to wake a sleeper here.
const IDLE_LOOKS: u32 = 60;
const IDLE_PAUSES: u32 = 10;
/// A theft that has kept its thief at work for less costs both sides more than it brings: the cache lines of stack and
/// descriptor, of the queue, and of what the goroutine shares with those it was among.
const SHORT_THEFT_NS: u64 = 3_000;
/// After such a theft the owner is left alone for about 20 µs. (Measured: `select_4` of `bench` on 2 Ps takes 470 ns
/// instead of 780.)
const SHORT_THEFT_PAUSES: u32 = 400;
/// How long a `run_next` must have been waiting before a thief may have it: about 20 µs of pauses.
const RUN_NEXT_PAUSES: u32 = 400;

/// The next goroutine for this M, which holds a P; sleeps until there is one. The M holds a P again
/// when it returns, perhaps another.
pub(crate) fn find(mp: &'static M) -> GRef {
    loop {
        let pp = mp.held();
        if pp.asks(attention::RETIRE) || pp.is_retired() {
            pp.clear(attention::RETIRE);
            if pp.is_retired() {
                give_up_retired(mp, pp);
                continue;
            }
        }
        if let Some(gp) = mp.next_g.take() {
            return gp;
        }
        run_timers(mp, pp);
        if pp.asks(attention::STOPPED) {
            pp.clear(attention::STOPPED);
            if let Some(gp) = stopped::take(pp, false) {
                return gp;
            }
        }
        if let Some(gp) = take_own(pp) {
            return gp;
        }
        if let Some(gp) = poll_now(mp, pp) {
            return gp;
        }
        if mp.spinning.get() || SCHED.idle.try_start_spinning(busy()) {
            mp.spinning.set(true);
            pause_after_short_theft(mp);
            if let Some(gp) = steal(mp, pp) {
                mp.stole_ns.set(clock::now_ns());
                return gp;
            }
        }
        if let Some(gp) = stopped::take(pp, true) {
            return gp;
        }
        // Who looks for work may as well do some of a spawner's.
        if mp.spinning.get() && (stack::prepare() || look_longer(pp)) {
            continue;
        }
        if let Some(gp) = go_idle(mp, pp) {
            return gp;
        }
    }
}

fn busy() -> u32 {
    SCHED
        .procs
        .load(Ordering::Relaxed)
        .saturating_sub(SCHED.idle.idle())
}

/// Own and global queue.
pub(super) fn take_own(pp: &'static P) -> Option<GRef> {
    let tick = pp.sched_tick.load(Ordering::Relaxed);
    let mut found = None;
    let mut inherits = false;
    // Once in a slice too: those that hand over to each other all the time make one schedule of it, and the
    // global queue would have its turn once in 61 slices.
    if switch::is_globals_turn(pp, tick) || pp.asks(attention::YIELD) {
        // SAFETY: our M holds `pp`.
        found = unsafe { p::take_turn(pp) };
        inherits = !switch::turn_begins_slice(tick) && !pp.asks(attention::YIELD);
    }
    if pp.asks(attention::YIELD) {
        // The slice is used up, and `run_next` would go on with it: it goes to the end of the line, as
        // one that yields does. Not to the ring, where it may be alone (S45, S84).
        pp.clear(attention::YIELD);
        // SAFETY: our M holds `pp`: we own its queue.
        if let Some(gp) = unsafe { pp.run_queue.take_run_next() } {
            p::push_global_one(p::from_queue(gp));
            wake::submitted();
        }
    }
    if found.is_none() {
        // SAFETY: as above.
        if let Some((gp, from_run_next)) = unsafe { pp.run_queue.pop() } {
            found = Some(p::from_queue(gp));
            inherits = from_run_next;
        }
    }
    if found.is_none() {
        // SAFETY: as above.
        found = unsafe { p::take_share(pp) };
        inherits = false;
    }
    if found.is_some() && !inherits {
        pp.sched_tick.store(tick.wrapping_add(1), Ordering::Relaxed);
    }
    found
}

/// Fires this P's due timers and queues what they wake.
fn run_timers(mp: &'static M, pp: &'static P) {
    pp.clear(attention::TIMERS);
    fire_due(mp, pp);
}

/// Fires the due timers of `pp`, and queues what they wake on the P of this M. Whether they wake any.
pub(super) fn fire_due(mp: &'static M, pp: &'static P) -> bool {
    if pp.timers.first_ns() == NEVER {
        return false;
    }
    let mut list = ReadyList::new();
    pp.timers.run_due(clock::now_ns(), &mut list);
    let found = !list.is_empty();
    inject(mp, &mut list);
    found
}

/// Queues goroutines that a source of work has made runnable, on this M's P. The first runs next, as in Go:
/// it has waited for a moment, and behind a full ring it would come late.
pub(crate) fn inject(mp: &'static M, list: &mut ReadyList) {
    let pp = mp.held();
    let count = list.len();
    let had_work = !pp.run_queue.is_empty();
    let mut is_first = true;
    while let Some(gp) = list.pop() {
        // SAFETY: our M holds `pp`; the list gave up a Runnable goroutine, and one that it displaces as
        // `run_next` is on no queue either.
        unsafe {
            if shake::is_on() {
                shake::enqueue(pp, gp);
            } else if is_first {
                if let Some(displaced) = pp.run_queue.replace_run_next(gp.0) {
                    pp.push(p::from_queue(displaced));
                }
            } else {
                pp.push(gp);
            }
        }
        is_first = false;
    }
    callbacks::defer_all(list);
    // One of all runs here; the rest may be taken by others.
    if count > 1 || count == 1 && had_work {
        wake::submitted();
    }
}

/// As [`inject`], for a thread that holds no P: whoever looks for work finds them.
pub(crate) fn inject_without_p(list: &mut ReadyList) {
    p::push_global(list.take_goroutines());
    callbacks::defer_all(list);
    wake::submitted();
}

/// Polls the network without waiting, if anybody waits for it.
fn poll_now(mp: &'static M, pp: &'static P) -> Option<GRef> {
    if !netpoll::is_started() || netpoll::waiters() == 0 {
        return None;
    }
    if SCHED.last_poll_ns.load(Ordering::Relaxed) == 0 {
        // Somebody sleeps there and gets the events.
        return None;
    }
    if let Some(gp) = stuck::help(mp, pp) {
        return Some(gp);
    }
    let mut list = ReadyList::new();
    netpoll::poll(0, &mut list);
    if list.is_empty() {
        return None;
    }
    inject(mp, &mut list);
    take_own(pp)
}

/// Goroutines that talk to each other come to be on one P, but for the thieves that tear them apart: who is without
/// work again at once holds back for a moment. What lasts longer, or piles up, is shared as before.
fn pause_after_short_theft(mp: &'static M) {
    if clock::now_ns() - mp.stole_ns.get() < SHORT_THEFT_NS {
        thread::pause(SHORT_THEFT_PAUSES);
    }
}

/// Takes half of another P's queue, or of its part of the global one, or fires its due timers.
fn steal(mp: &'static M, pp: &'static P) -> Option<GRef> {
    // Retired Ps too: their holders may compute for long before they come to give them up.
    let count = p::made();
    for round in 0..STEAL_ROUNDS {
        let is_last = round == STEAL_ROUNDS - 1;
        // SAFETY: our M holds `pp`.
        for index in visiting_order(count, unsafe { pp.random() }) {
            let Some(victim) = p::get(index as usize) else {
                continue;
            };
            if std::ptr::eq(victim, pp) {
                continue;
            }
            if is_last
                && fire_due(mp, victim)
                && let Some(gp) = take_own(pp)
            {
                return Some(gp);
            }
            // SAFETY: our M holds `pp`, which is not the victim.
            if let Some(gp) = unsafe { steal_half(pp, victim, false) } {
                pp.sched_tick.fetch_add(1, Ordering::Relaxed);
                return Some(gp);
            }
            if is_last && let Some(gp) = steal_run_next(pp, victim) {
                return Some(gp);
            }
        }
    }
    None
}

/// Half of another P's queue, or `with_run_next` that, if it has no more, or half of its part of the global one. The last
/// of them comes back, the others are queued on `pp`.
///
/// # Safety
///
/// Our M holds `pp`, which is not `victim`.
pub(super) unsafe fn steal_half(pp: &P, victim: &P, with_run_next: bool) -> Option<GRef> {
    // SAFETY: the holder of `pp` owns its queue; the rest is the caller's promise.
    unsafe {
        let stolen = pp.run_queue.steal_from(&victim.run_queue, with_run_next);
        let stolen = stolen.map(p::from_queue);
        stolen.or_else(|| yielded::steal(pp, victim))
    }
}

/// Takes a `run_next` that its P does not get to: one that two goroutines wake each other through
/// changes hands faster than we could use it.
fn steal_run_next(pp: &'static P, victim: &'static P) -> Option<GRef> {
    if !victim.run_queue.has_run_next() {
        return None;
    }
    let switches = victim.switches.load(Ordering::Relaxed);
    thread::pause(RUN_NEXT_PAUSES);
    if victim.switches.load(Ordering::Relaxed) != switches {
        return None;
    }
    // SAFETY: our M holds `pp`.
    let gp = unsafe { pp.run_queue.steal_from(&victim.run_queue, true) }?;
    pp.sched_tick.fetch_add(1, Ordering::Relaxed);
    Some(p::from_queue(gp))
}

/// Every P once, in an order that differs from call to call: start anywhere, step by a number that
/// is coprime to the count (as Go's `stealOrder`).
pub(crate) fn visiting_order(count: u32, random: u32) -> impl Iterator<Item = u32> {
    let start = if count == 0 { 0 } else { random % count };
    let mut step = if count == 0 {
        1
    } else {
        (random >> 16) % count + 1
    };
    while gcd(step, count) != 1 {
        step = step % count + 1;
    }
    (0..count).scan(start, move |at, _| {
        let index = *at;
        *at = (*at + step) % count;
        Some(index)
    })
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Watches the queues' lengths for a while before the M sleeps. True: something came up.
///
/// Not if no other P is at work: nobody could queue anything there, and what the network brings is had sooner in
/// the poller.
fn look_longer(pp: &'static P) -> bool {
    for _ in 0..IDLE_LOOKS {
        if busy() <= 1 {
            return false;
        }
        thread::pause(IDLE_PAUSES);
        if SCHED.has_work() || pp.attention.load(Ordering::Relaxed) != 0 {
            return true;
        }
        if p::all().any(P::has_work_for_all) {
            return true;
        }
    }
    false
}

/// Gives up the P, looks at everything once more, and sleeps. `Some` if there was work after all.
fn go_idle(mp: &'static M, pp: &'static P) -> Option<GRef> {
    {
        let mut global = SCHED.global.lock();
        if !global.queue.is_empty() || stopped::len() != 0 || pp.is_retired() {
            return None;
        }
        mp.release();
        global.put_idle(pp);
    }
    // From here on whoever submits work sees an idle P, and wakes somebody unless somebody spins; what
    // was submitted before, we see (the fence is in `going_idle`).
    if mp.spinning.replace(false) {
        SCHED.idle.stop_spinning_going_idle();
    } else {
        SCHED.idle.going_idle();
    }
    if has_work_anywhere() && take_back(mp) {
        return None;
    }
    sleep_in_poller(mp, pp);
    if mp.p.get().is_none() {
        m::stop(mp);
    }
    None
}

/// Whether there is anything an idle M could take. Not counted: a `run_next`, which waits for its own
/// P's next switch (see `wake`).
pub(crate) fn has_work_anywhere() -> bool {
    SCHED.has_work() || p::all().any(P::has_work_for_all) || next_timer_ns() <= clock::now_ns()
}

/// Takes an idle P again, to look for the work that came up just now.
fn take_back(mp: &'static M) -> bool {
    let Some(pp) = SCHED.global.lock().take_idle() else {
        return false;
    };
    mp.acquire(pp);
    SCHED.idle.start_spinning();
    mp.spinning.set(true);
    true
}

/// When the first timer of any P is due.
pub(crate) fn next_timer_ns() -> u64 {
    p::all()
        .map(|pp| pp.timers.first_ns())
        .min()
        .unwrap_or(NEVER)
}

/// Sleeps in the poller until an event, an interruption or the next timer, unless another M does.
/// Has a P when there is something to do for it.
fn sleep_in_poller(mp: &'static M, old: &'static P) {
    if SCHED.last_poll_ns.swap(0, Ordering::SeqCst) == 0 {
        // Our P's timers are theirs to wait for now.
        let until = next_timer_ns();
        if until != NEVER {
            wake::poller_earlier(until);
        }
        return;
    }
    // Published before the timers are read: whoever adds a timer after our reading sees the old or
    // the new deadline here, and `last_poll_ns` 0, and interrupts us (`wake::poller_earlier`).
    SCHED.poll_until_ns.store(NEVER, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let until = next_timer_ns();
    SCHED.poll_until_ns.store(until, Ordering::SeqCst);
    let now = clock::now_ns();
    let delay = match until {
        NEVER => -1,
        until => until.saturating_sub(now).min(i64::MAX as u64) as i64,
    };
    let mut list = ReadyList::new();
    netpoll::poll(delay, &mut list);
    SCHED.poll_until_ns.store(0, Ordering::SeqCst);
    SCHED.last_poll_ns.store(clock::now_ns(), Ordering::SeqCst);
    let mut global = SCHED.global.lock();
    let pp = if global.take_idle_if(old) {
        Some(old)
    } else {
        global.take_idle()
    };
    drop(global);
    let Some(pp) = pp else {
        // All Ps are at work; their holders fire what is due, and run what the network brought.
        if !list.is_empty() {
            inject_without_p(&mut list);
        }
        return;
    };
    mp.acquire(pp);
    let now = clock::now_ns();
    for pp in p::all() {
        pp.timers.run_due(now, &mut list);
    }
    if list.is_empty() {
        // Interrupted: an earlier timer, or the poller has just come into being. Look around as a
        // spinning M, so that a submitter need not wake another.
        SCHED.idle.start_spinning();
        mp.spinning.set(true);
    }
    inject(mp, &mut list);
}

/// The P this M holds is no longer covered by GOMAXPROCS: its work goes to the others.
fn give_up_retired(mp: &'static M, pp: &'static P) {
    let mut global = SCHED.global.lock();
    if !pp.is_retired() {
        // GOMAXPROCS was raised again meanwhile: we keep it, with its work (S5).
        return;
    }
    mp.release();
    if let Some(gp) = mp.next_g.take() {
        // SAFETY: it was dequeued to be run here, and is on no queue (G1). `put_idle` counts it.
        unsafe { global.queue.push_back(gp.0) };
    }
    global.put_idle(pp);
    drop(global);
    if mp.spinning.replace(false) {
        SCHED.idle.stop_spinning_going_idle();
    }
    wake::submitted();
    m::stop(mp);
}

#[cfg(test)]
mod tests {
    use super::visiting_order;

    #[test]
    fn sc11_steal_order_visits_each_p_once() {
        for count in 1..=64 {
            for random in 0..64u32 {
                let mut seen = vec![false; count as usize];
                for index in visiting_order(count, random.wrapping_mul(0x9E37_79B9)) {
                    assert!(
                        !std::mem::replace(&mut seen[index as usize], true),
                        "{index} twice"
                    );
                }
                assert!(seen.iter().all(|seen| *seen));
            }
        }
    }
}

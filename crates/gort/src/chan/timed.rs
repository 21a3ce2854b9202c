//! Channels that the clock fills: `after`, `at`, `tick`, and those of timers and tickers.
//!
//! Nothing is stored when such a channel falls due: whoever looks compares `due_ns` with the clock.
//! So the value is there the very moment it is due, creating a channel touches no timer heap, and a
//! timer that is stopped or set anew has no stale value to drain. Only while somebody waits does
//! the channel have a timer armed, to wake the receiver that has waited longest.
//!
//! T1. `timing` is read and written under the channel's lock.
//! T2. Only the one who has set `is_setting` starts or stops the timer, outside the lock; then it looks
//!     again whether that is still what is wanted. `armed_ns` is what the timer was last set to, or
//!     `NEVER` once it has fired since, also if that came while it was set: to set it anew is harmless,
//!     to take it for armed is not.
//! T3. All values of one setting are later moments than those of the settings before. So of the values
//!     that come back from a receiver that never saw them, the ones before `first_ns` are stale.
//! T4. If somebody waits and `due_ns` is set, the timer is armed, or a receiver that was handed a
//!     value, or gave up, will arm it when it runs (`arm`), or the deferred job will.
//!
//! Elsewhere: `gort::time`, which makes timers and tickers of these.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gort_core::clock::{self, NEVER};
use gort_core::runtime;
use gort_core::timer::{Deferred, ReadyList, TimerNode};

use super::buffer::Buffer;
use super::core::Core;
use super::receiver::Receiver;
use super::state::{Chan, Ops, Taken};
use super::waiter::{After, Outcome};

/// A channel that the clock fills.
#[repr(C)]
pub(super) struct TimedChan {
    chan: Chan,
    /// When the next value is there. `NEVER`: none is coming. Written under the lock; a reader without
    /// it takes it for a hint.
    due_ns: AtomicU64,
    timing: UnsafeCell<Timing>,
    /// Whether length and capacity read 0, as those of Go's timers.
    is_hidden: bool,
    /// Wakes the longest waiting receiver.
    timer: TimerNode,
    /// Does the same where wakers may be woken.
    job: Job,
}

/// Found by the deferred job by its place in front.
#[repr(C)]
struct Job {
    deferred: Deferred,
    owner: UnsafeCell<*const TimedChan>,
}

struct Timing {
    /// The value.
    due: Instant,
    /// From one value to the next; none: there is only one.
    period_ns: Option<u64>,
    /// The first value since the timer was set anew; `NEVER`: it was stopped. 0 before (T3).
    first_ns: u64,
    /// The latest value that was received (T3).
    taken_ns: u64,
    /// When the timer fires; `NEVER`: it is not armed.
    armed_ns: u64,
    /// Whether somebody is about to start or stop the timer.
    is_setting: bool,
    /// Whether the job is on its way.
    is_deferred: bool,
}

// SAFETY: what is not `Sync` by itself is under the lock (T1), or written before the channel is shared.
unsafe impl Sync for TimedChan {}
// SAFETY: as above.
unsafe impl Send for TimedChan {}

/// A channel that holds `due` from then on, and again after each period.
pub(crate) fn channel(
    due: Instant,
    due_ns: u64,
    period_ns: Option<u64>,
    is_hidden: bool,
) -> Receiver<Instant> {
    let timed = NonNull::from(Box::leak(Box::new(TimedChan {
        chan: Chan::with(Buffer::none(), 0, OPS, 0),
        due_ns: AtomicU64::new(due_ns),
        timing: UnsafeCell::new(Timing {
            due,
            period_ns,
            first_ns: 0,
            taken_ns: 0,
            armed_ns: NEVER,
            is_setting: false,
            is_deferred: false,
        }),
        is_hidden,
        timer: TimerNode::new(fire),
        job: Job {
            deferred: Deferred::new(run_job),
            owner: UnsafeCell::new(std::ptr::null()),
        },
    })));
    // SAFETY: nobody else knows the new channel. The timer's argument and the job's owner are it
    // itself, which is freed only after the timer was stopped and while no job is on its way.
    unsafe {
        (*timed.as_ptr()).chan.timed = Some(timed);
        *timed.as_ref().job.owner.get() = timed.as_ptr();
        timed.as_ref().timer.set_arg(timed.as_ptr().cast());
        Receiver::new(Some(timed.cast()))
    }
}

const OPS: &Ops = &Ops {
    pop_fast: |_, _| false,
    take,
    // Nobody sends.
    refill: |_, _, _| {},
    // SAFETY: called with an `Instant` to move out.
    give_back: |chan, value| give_back(chan, unsafe { value.cast::<Instant>().read() }),
    value: std::alloc::Layout::new::<Instant>(),
    free,
    closed: None,
};

impl TimedChan {
    /// # Safety
    ///
    /// The caller has the lock, and no other reference from here.
    #[expect(clippy::mut_from_ref, reason = "the lock makes it unique")]
    unsafe fn timing(&self) -> &mut Timing {
        // SAFETY: under the lock (T1), and the caller has no other.
        unsafe { &mut *self.timing.get() }
    }

    fn due_ns(&self) -> u64 {
        self.due_ns.load(Ordering::Relaxed)
    }

    /// Whether a value is there, as far as the clock is concerned.
    fn is_due(&self) -> bool {
        let due_ns = self.due_ns();
        due_ns != NEVER && clock::now_ns() >= due_ns
    }

    /// Takes the value, if it is due.
    ///
    /// # Safety
    ///
    /// The caller has the lock, and no reference to the timing.
    unsafe fn take_due(&self, now_ns: u64) -> Option<Instant> {
        let due_ns = self.due_ns();
        if due_ns == NEVER || now_ns < due_ns {
            return None;
        }
        // SAFETY: the caller's word.
        let timing = unsafe { self.timing() };
        let value = timing.due;
        timing.taken_ns = timing.taken_ns.max(due_ns);
        let next_ns = match timing.period_ns {
            None => NEVER,
            Some(period_ns) => {
                let next_ns = due_ns.saturating_add(period_ns);
                if next_ns > now_ns {
                    next_ns
                } else if self.is_hidden {
                    // In step with the first one, as Go's tickers are; those that were missed are left out.
                    let missed = (now_ns - next_ns) / period_ns + 1;
                    next_ns.saturating_add(missed.saturating_mul(period_ns))
                } else {
                    // As crossbeam's: who was late gets a whole period of rest.
                    now_ns.saturating_add(period_ns)
                }
            }
        };
        if next_ns != NEVER {
            timing.due = clock::to_instant(next_ns);
        }
        self.due_ns.store(next_ns, Ordering::Relaxed);
        Some(value)
    }
}

/// The whole of a timed channel.
fn timed_of(chan: &Chan) -> &TimedChan {
    let timed = chan.timed.expect("asked only of timed channels");
    // SAFETY: the channel is a part of that allocation and lives as long.
    unsafe { timed.as_ref() }
}

/// `Ops::take`.
unsafe fn take(chan: &Chan, core: &mut Core, to: *mut (), after: &mut After) -> Taken {
    // SAFETY: the channel is for `Instant`s; the rest is the caller's word. It holds none; but it may be
    // closed.
    let taken = unsafe { chan.take::<Instant>(core, to.cast(), after) };
    if taken != Taken::Empty {
        return taken;
    }
    let timed = timed_of(chan);
    if timed.due_ns() == NEVER {
        return Taken::Empty;
    }
    // SAFETY: the caller has the lock.
    match unsafe { timed.take_due(clock::now_ns()) } {
        Some(value) => {
            // SAFETY: room for an `Instant` (the caller's word).
            unsafe { to.cast::<Instant>().write(value) };
            Taken::Value
        }
        None => Taken::Empty,
    }
}

/// Whether a receiver would not wait, as far as the clock is concerned. Exact under the lock.
pub(super) fn may_be_due(chan: &Chan) -> bool {
    timed_of(chan).is_due()
}

/// The number of values: 1 when due.
pub(super) fn len(chan: &Chan) -> usize {
    let timed = timed_of(chan);
    if timed.is_hidden {
        0
    } else {
        usize::from(timed.is_due())
    }
}

/// 1, or 0 for the channel of a timer.
pub(super) fn capacity(chan: &Chan) -> usize {
    usize::from(!timed_of(chan).is_hidden)
}

/// Takes back a value that a receiver got but never saw: it is there again, unless the timer was set
/// anew since (D14).
fn give_back(chan: &Chan, value: Instant) {
    let timed = timed_of(chan);
    let core = chan.lock();
    // SAFETY: we have the lock.
    let timing = unsafe { timed.timing() };
    let due_ns = clock::from_instant(value);
    if timing.first_ns <= due_ns && due_ns < timed.due_ns() {
        timing.due = value;
        timed.due_ns.store(due_ns, Ordering::Relaxed);
    }
    drop(core);
    rearm(chan);
}

/// Arms the timer of a timed channel, if somebody waits (T4). Not under the lock.
#[inline]
pub(super) fn rearm(chan: &Chan) {
    // On these channels sending seems possible exactly while somebody is queued to receive.
    if chan.timed.is_some() && chan.may_send() {
        arm(chan);
    }
}

/// Sets the timer as it has to be now.
fn arm(chan: &Chan) {
    let timed = timed_of(chan);
    let mut core = chan.lock();
    loop {
        // SAFETY: we have the lock.
        let timing = unsafe { timed.timing() };
        // A timer that nobody needs any more may fire; only one that shall never fire is stopped.
        let due_ns = timed.due_ns();
        let is_right = timing.armed_ns == due_ns;
        let is_needed = core.has_receiver() || due_ns == NEVER;
        if timing.is_setting || is_right || !is_needed {
            return;
        }
        timing.is_setting = true;
        timing.armed_ns = due_ns;
        drop(core);
        // SAFETY: the timer is pinned in the channel's allocation, and its argument stays valid until
        // `free` has stopped it. Nobody else sets it now (T2).
        unsafe {
            if due_ns == NEVER {
                timed.timer.stop();
            } else {
                runtime::ensure_started();
                timed.timer.reset(due_ns, 0);
            }
        }
        core = chan.lock();
        // SAFETY: we have the lock again.
        unsafe { timed.timing() }.is_setting = false;
    }
}

/// Sets when the next value is there, or that none is; for timers and tickers. True if one was
/// still coming, or was there and had not been received.
pub(crate) fn set(
    receiver: &Receiver<Instant>,
    due_ns: Option<u64>,
    period_ns: Option<u64>,
) -> bool {
    let chan = receiver.chan().expect("a timer's channel is not nil");
    let timed = timed_of(chan);
    let core = chan.lock();
    // SAFETY: we have the lock.
    let timing = unsafe { timed.timing() };
    // A nanosecond later than asked for, if it would be the same moment as the last one (T3).
    let due_ns = due_ns.map(|due_ns| due_ns.max(timing.taken_ns + 1));
    let due_before_ns = timed
        .due_ns
        .swap(due_ns.unwrap_or(NEVER), Ordering::Relaxed);
    timing.due = due_ns.map_or(timing.due, clock::to_instant);
    timing.first_ns = due_ns.unwrap_or(NEVER);
    timing.period_ns = period_ns;
    drop(core);
    arm(chan);
    due_before_ns != NEVER
}

/// Gives values that are due to those who wait.
///
/// # Safety
///
/// The caller has the lock; `core` is the channel's.
unsafe fn deliver(timed: &TimedChan, core: &mut Core, now_ns: u64, after: &mut After) {
    while timed.due_ns() <= now_ns && timed.due_ns() != NEVER && !after.is_full() {
        let Some(receiver) = core.pop_receiver() else {
            core.tell_receivers(after);
            return;
        };
        // SAFETY: won, so in place (W1).
        if unsafe { receiver.as_ref() }.data.is_contested() {
            // A select shall choose among all that is due by the time it looks, not get what was due
            // a moment earlier. It arms the timer for those behind it.
            // SAFETY: won, and off its queue.
            unsafe { after.finish(receiver, Outcome::Retry) };
            return;
        }
        // SAFETY: the caller has the lock.
        let Some(value) = (unsafe { timed.take_due(now_ns) }) else {
            unreachable!("it was due a moment ago");
        };
        // SAFETY: a receiver that was won waits with an empty slot for an `Instant` (W2).
        unsafe {
            receiver.as_ref().data.slot().cast::<Instant>().write(value);
            after.finish(receiver, Outcome::Done);
        }
    }
}

/// The timer's function. Runs on a system stack: wakes through `out`, and leaves tasks to the job.
unsafe fn fire(arg: *mut (), now_ns: u64, out: &mut ReadyList) {
    // SAFETY: `channel` set the argument to the channel, which `free` keeps until we are through.
    let timed = unsafe { &*arg.cast::<TimedChan>() };
    let mut after = After::new();
    let mut core = timed.chan.lock();
    // SAFETY: we have the lock.
    let timing = unsafe { timed.timing() };
    timing.armed_ns = NEVER;
    if core.has_task_receiver() {
        // The job has a receiver's share in the channel until it has run. A forgotten future may be queued
        // although there is no receiver left to take a share from: whoever drops the last one sees to it.
        if !timing.is_deferred && timed.chan.try_add_receiver() {
            timing.is_deferred = true;
            out.defer(NonNull::from(&timed.job.deferred));
        }
    } else {
        // SAFETY: we have the lock, and the channel's core.
        unsafe { deliver(timed, &mut core, now_ns, &mut after) };
    }
    drop(core);
    after.push_to(out);
}

/// The job: what `fire` does, for waiters that may be tasks.
unsafe fn run_job(deferred: NonNull<Deferred>) {
    // SAFETY: `fire` deferred the first field of a `Job`, whose owner it has kept alive.
    let timed = unsafe { &**deferred.cast::<Job>().as_ref().owner.get() };
    loop {
        let mut after = After::new();
        let mut core = timed.chan.lock();
        // SAFETY: we have the lock, and the channel's core.
        let is_done = unsafe {
            deliver(timed, &mut core, clock::now_ns(), &mut after);
            timed.timing().is_deferred = after.is_full();
            !after.is_full()
        };
        drop(core);
        after.act();
        if is_done {
            break;
        }
    }
    arm(&timed.chan);
    // SAFETY: the share that `fire` took.
    unsafe { Chan::drop_receiver::<Instant>(NonNull::from(timed).cast()) };
}

/// `Ops::free`.
unsafe fn free(chan: NonNull<Chan>) {
    // SAFETY: `channel` boxed it; nobody has a handle any more, the job neither; and the timer, once
    // stopped, neither runs nor will.
    unsafe {
        let timed = chan.as_ref().timed.expect("a timed channel's `Ops`");
        timed.as_ref().timer.stop();
        drop(Box::from_raw(timed.as_ptr()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::mem::ManuallyDrop;
    use std::task::{Context, Waker};

    use super::*;

    fn timed(receiver: &Receiver<Instant>) -> &TimedChan {
        timed_of(receiver.chan().expect("not nil"))
    }

    fn fire_now(timed: &TimedChan) {
        let arg = std::ptr::from_ref(timed).cast_mut().cast();
        // SAFETY: the channel is the argument that its timer has.
        unsafe { fire(arg, clock::now_ns(), &mut ReadyList::new()) };
    }

    /// T2, with the timer faster than the one who sets it.
    #[test]
    fn a_timer_that_fires_while_it_is_set_is_not_taken_for_armed() {
        let receiver = channel(Instant::now(), clock::now_ns(), None, false);
        let timed = timed(&receiver);
        {
            let _core = timed.chan.lock();
            // SAFETY: we have the lock.
            let timing = unsafe { timed.timing() };
            timing.is_setting = true;
            timing.armed_ns = timed.due_ns();
        }
        fire_now(timed);
        let _core = timed.chan.lock();
        // SAFETY: we have the lock.
        assert_eq!(unsafe { timed.timing() }.armed_ns, NEVER);
    }

    /// A forgotten future is queued for good, and the timer fires while the last receiver is being dropped.
    #[test]
    fn a_channel_that_is_on_its_way_out_has_no_job() {
        let receiver = channel(Instant::now(), clock::now_ns(), None, false);
        let timed = timed(&receiver);
        let mut forgotten = ManuallyDrop::new(Box::pin(receiver.recv_async()));
        {
            // Not due for as long as it is polled.
            let due_ns = timed.due_ns.swap(NEVER, Ordering::Relaxed);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(forgotten.as_mut().poll(&mut cx).is_pending());
            timed.due_ns.store(due_ns, Ordering::Relaxed);
        }
        // As the drop of the last one begins.
        timed.chan.receivers.store(0, Ordering::Relaxed);
        fire_now(timed);
        assert_eq!(timed.chan.receivers.swap(1, Ordering::Relaxed), 0);
        let _core = timed.chan.lock();
        // SAFETY: we have the lock.
        assert!(!unsafe { timed.timing() }.is_deferred);
    }
}

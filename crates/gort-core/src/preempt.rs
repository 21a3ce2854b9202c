//! Taking Ps back from goroutines that do not come to give them up.
//!
//! A goroutine may compute for long without calling the runtime, and any library may block its thread.
//! Either holds a P that others wait for. What sysmon does about it:
//!
//! | the thread         | what is done                                                               |
//! |--------------------|----------------------------------------------------------------------------|
//! | computes           | it is sent SIGURG ([`ask_to_stop`]); the handler gives the P away and waits |
//! |                    | for another, in place (`syscall::stop_in_place`)                           |
//! | sleeps in a call   | the P is taken, without a signal and without the thread's help             |
//! |                    | ([`retake`]; the protocol is `gort_queue::gate`): a signal would end       |
//! |                    | `nanosleep`, `poll` and the like with EINTR                                |
//! | was asked, and has | the same: it waits for a processor, or has the signal blocked              |
//! | not stopped        |                                                                            |
//! | was inside, or on  | the goroutine is asked to give way ([`ask_to_give_way`]), and does as it   |
//! | its way in         | next enters: it yields                                                     |
//!
//! The last is for goroutines that call the runtime all the time and never wait there. An attempt at any of the others
//! takes some microseconds, and most would meet them inside. (Without it, beside one that also has the signal blocked,
//! 99 of 100 retakes did, and it kept its P for up to 1.3 s.)
//!
//! And with a thread whose P was taken:
//!
//! | it ...               | then                                                                     |
//! |----------------------|--------------------------------------------------------------------------|
//! | comes to the runtime | at its next entry it finds out, and queues for a P (`syscall::lost`)     |
//! | sleeps on            | nothing: it needs no P                                                   |
//! | computes             | sysmon sees its CPU clock advance and sends SIGURG; the handler waits     |
//!
//! Waiting in the handler is sound for any code at any instruction, inside malloc or with a library's lock
//! held, as the goroutine keeps its thread. It costs that thread for as long. Those who wait stand in a
//! queue of their own (`sched::stopped`); whoever takes one from there hands over its P (S4 of `sched`).
//!
//! So up to GOMAXPROCS goroutines run, and those that sysmon has not yet seen computing without a P.
//!
//! Rejected: to take the P first, and to signal when the thread is seen to go on. For as long a thread
//! without a P competes for the processor with the one that has it, and the kernel lets the wrong one wait
//! until its next tick (4 ms here): 4 loops beside a 1 ms ticker on 2 Ps, p50 1.3 instead of 0.5 ms.
//!
//! W1. Nobody waits for a stopped goroutine without it having a way to a P: a P is taken only if there is
//!     an M to take over (`m::has_spare`), and where a P has no M, it goes to one that waits in a handler.
//!     For to make a thread takes malloc's locks, and the stopped goroutine may hold them.
//! W2. The handler does nothing if the M is inside the runtime, on a system stack, or has a P that it was not
//!     asked to give away. It takes no lock that code outside holds, and allocates nothing.
//!
//! Checked by `testing/preempt`, which stops goroutines inside malloc, stdio, std's locks and C.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

use crate::clock;
use crate::g::GRef;
use crate::halt;
use crate::inside;
use crate::os::thread::{self, CpuSeen, Doing};
use crate::os::{membarrier, signal};
use crate::sched::m::{self, M};
use crate::sched::p::P;
use crate::sched::seen::Still;
use crate::sched::{park, syscall, wake};
use crate::stall;
use crate::thread_state;
use crate::trace;

pub use crate::inside::{assert_outside, is_inside};

/// How much of the time a thread must have been computing for its P to be worth a signal, as a divisor.
const BURNING_SHARE: u64 = 4;
/// How many Ms that lost their P are looked at in a row: each costs a system call or a few, and thousands may be
/// blocked in a library's calls, while others wait for sysmon to come to the next P.
const LOST_LOOKS: usize = 16;
/// Between two looks at a thread's CPU clock: less says nothing.
const LOOK_MIN_NS: u64 = 20_000;

/// Whether threads may be sent signals (`Config::preempt`).
static MAY_SIGNAL: AtomicBool = AtomicBool::new(false);
/// Called in the handler before it waits; a `fn(GRef)`. For tests.
static OBSERVER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

static RETAKES: AtomicU64 = AtomicU64::new(0);
static RETAKE_RACES: AtomicU64 = AtomicU64::new(0);
static SIGNALS: AtomicU64 = AtomicU64::new(0);
static PREEMPTIONS: AtomicU64 = AtomicU64::new(0);

/// How often what happened, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Ps taken from threads.
    pub retakes: u64,
    /// Attempts that met the thread on its way into the runtime.
    pub retake_races: u64,
    /// Signals sent to threads that computed without a P.
    pub signals: u64,
    /// Goroutines that were made to wait in the handler.
    pub preemptions: u64,
}

/// Reads the counters.
pub fn counters() -> Counters {
    Counters {
        retakes: RETAKES.load(Ordering::Relaxed),
        retake_races: RETAKE_RACES.load(Ordering::Relaxed),
        signals: SIGNALS.load(Ordering::Relaxed),
        preemptions: PREEMPTIONS.load(Ordering::Relaxed),
    }
}

/// Has `observer` called in the signal handler, on the goroutine that is about to wait there. It must be
/// async-signal-safe. For tests.
#[doc(hidden)]
pub fn set_observer(observer: fn(GRef)) {
    OBSERVER.store(observer as *mut (), Ordering::Release);
}

/// Prepares for all of it; once, at start. Without `may_signal`, goroutines that compute keep their Ps.
pub(crate) fn start(may_signal: bool) {
    let real_fences = !membarrier::barrier_in_all_threads();
    inside::install(asked, syscall::lost, park::give_way_if_asked, real_fences);
    MAY_SIGNAL.store(may_signal, Ordering::Relaxed);
    if may_signal {
        signal::install(libc::SIGURG, on_signal, libc::SA_ONSTACK | libc::SA_RESTART);
        trace::set_answered();
        halt::set_answered();
    }
}

/// A goroutine enters the runtime, and sysmon has used its gate: to take its P, or to be noticed (`stall`).
fn asked() {
    if let Some(gp) = crate::g::current_goroutine() {
        // SAFETY: the current goroutine's M is set.
        stall::came_back(unsafe { M::of(gp) }, gp);
    }
}

/// Whether goroutines that compute can be stopped.
pub(crate) fn may_signal() -> bool {
    MAY_SIGNAL.load(Ordering::Relaxed)
}

/// SIGURG: from sysmon to a thread that computes without a P, from whoever wants to see its stack or ends the
/// process, or from somebody else. Async-signal-safe.
extern "C" fn on_signal(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if halt::has_begun() {
        return halt::stay();
    }
    // SAFETY: errno's address is valid in every thread, and in a goroutine's block.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel's context of this signal.
    unsafe { trace::on_signal(context) };
    // SAFETY: as above.
    unsafe { stop_if_asked(context) };
    // SAFETY: the kernel's info, if any.
    let is_ours = unsafe { info.as_ref() }.is_some_and(|info| info.si_code == libc::SI_TKILL);
    if !is_ours {
        // SAFETY: what the kernel gave to us.
        unsafe { signal::chain(signo, info, context) };
    }
    // SAFETY: as above. The goroutine, and with it the block, is the same as before.
    unsafe { *libc::__errno_location() = errno };
}

/// Waits for a P if the interrupted goroutine is outside the runtime, and computes without one or is asked to
/// let others go first (W2).
///
/// # Safety
///
/// `context` is the `ucontext_t` of the handler that calls.
unsafe fn stop_if_asked(context: *const c_void) {
    // SAFETY: the word is 0 or an M, which is never freed.
    let Some(mp) = (unsafe { (thread_state::running_m() as *const M).as_ref() }) else {
        return;
    };
    if mp.gate.depth() != 0 || !mp.gate.is_taken() && !mp.p.get().is_some_and(P::is_to_stop) {
        return;
    }
    let Some(gp) = crate::g::running_here() else {
        return;
    };
    let stop = || {
        syscall::stop_in_place(mp, gp, |wait| {
            PREEMPTIONS.fetch_add(1, Ordering::Relaxed);
            let observer = OBSERVER.load(Ordering::Acquire);
            if !observer.is_null() {
                // SAFETY: only `set_observer` stores here, a `fn(GRef)`.
                let observer: fn(GRef) = unsafe { std::mem::transmute(observer) };
                observer(gp);
            }
            // While it waits it can be asked for its stack. Not before it is inside: a handler on top of this one
            // would come to wait as well, and so on, until the stack is full of them.
            signal::unblock(libc::SIGURG);
            wait();
            signal::block(libc::SIGURG);
        });
    };
    // SAFETY: as the caller promises.
    unsafe { stall::until_stopped(mp, gp, context, stop) };
}

/// Asks the goroutine that computes on `pp`, since its switch number `switches`, to stop in the handler. False:
/// its thread is not outside, it sleeps after all, or nobody could go on with the P.
pub(crate) fn ask_to_stop(pp: &'static P, switches: u64) -> bool {
    // SAFETY: null or an M, made before it was stored there (`M::acquire`), which is never freed.
    let Some(mp) = (unsafe { pp.m.load(Ordering::Acquire).as_ref() }) else {
        return false;
    };
    if mp.gate.depth() != 0 || !may_signal() || !m::has_spare() {
        return false;
    }
    pp.stop_at.store(switches, Ordering::Relaxed);
    send(mp)
}

/// Asks the goroutine that has run on `pp` since its switch number `switches` to give way when it next comes to the
/// runtime, which it may do at any time.
pub(crate) fn ask_to_give_way(pp: &'static P, switches: u64) {
    // SAFETY: null or an M, made before it was stored there (`M::acquire`), which is never freed.
    let Some(mp) = (unsafe { pp.m.load(Ordering::Acquire).as_ref() }) else {
        return;
    };
    pp.give_way_at.store(switches, Ordering::Relaxed);
    // If it finds this out one entry late, or was asked already and does not see for what, it is asked again.
    mp.gate.ask();
}

/// Sends a thread that computes into the handler. False: it has gone to sleep, or is about to and has said so, and a
/// signal would end that.
fn send(mp: &'static M) -> bool {
    syscall::send_signal(mp, || {
        let tid = mp.tid.load(Ordering::Relaxed);
        // Looked at last.
        if matches!(thread::doing(tid), Doing::Blocked(_)) {
            return false;
        }
        SIGNALS.fetch_add(1, Ordering::Relaxed);
        signal::send(tid, libc::SIGURG);
        true
    })
}

/// Takes the P from the M that holds it, if that is in user code, and hands it on. False: it is not, or there
/// is nobody to hand it to.
///
/// It has made no switch since `since_ns`. For sysmon alone (K4 of `gort_queue::gate`).
pub(crate) fn retake(pp: &'static P, since_ns: u64, list: &mut LostList) -> bool {
    // SAFETY: null or an M, made before it was stored there (`M::acquire`), which is never freed.
    let Some(mp) = (unsafe { pp.m.load(Ordering::Acquire).as_ref() }) else {
        return false;
    };
    if mp.gate.depth() != 0 || !m::has_spare() {
        return false;
    }
    if !mp.gate.ask() {
        return false;
    }
    if !membarrier::barrier_in_all_threads() {
        fence(Ordering::SeqCst);
    }
    let Some(held) = mp.gate.conclude(|| mp.p.get()) else {
        RETAKE_RACES.fetch_add(1, Ordering::Relaxed);
        return false;
    };
    // From here on the P is ours: whichever the M held when it was seen outside (K5).
    let Some(held) = held else {
        fatal!("S1: M {} ran a goroutine without a P", mp.id);
    };
    RETAKES.fetch_add(1, Ordering::Relaxed);
    held.m.store(ptr::null_mut(), Ordering::Relaxed);
    list.add(mp, since_ns);
    wake::hand_off(held);
    true
}

/// Ms whose P was taken and that have not noticed. sysmon's.
#[derive(Debug)]
pub(crate) struct LostList {
    first: *const M,
    /// The one after which the next look goes on; null at the start. It is listed: only who comes by from the start
    /// takes it off.
    looked_at: *const M,
    /// When the last one came.
    added_ns: u64,
}

impl LostList {
    pub(crate) const fn new() -> LostList {
        LostList {
            first: ptr::null(),
            looked_at: ptr::null(),
            added_ns: 0,
        }
    }

    /// Whether one came within the last `ns`.
    pub(crate) fn is_fresh(&self, now_ns: u64, ns: u64) -> bool {
        !self.first.is_null() && now_ns - self.added_ns.min(now_ns) < ns
    }

    fn add(&mut self, mp: &'static M, since_ns: u64) {
        // SAFETY: `watch` is sysmon's, which we are.
        let watch = unsafe { &mut *mp.watch.get() };
        self.added_ns = clock::now_ns();
        watch.still = Still::since(since_ns);
        watch.looked_ns = self.added_ns;
        watch.cpu_ns = thread::cpu_ns(mp.tid.load(Ordering::Relaxed)).unwrap_or(0);
        if !watch.is_listed {
            watch.is_listed = true;
            watch.next = self.first;
            self.first = mp;
        }
    }

    /// Sends those that compute into the handler, and forgets those that have noticed: some of the list at a time,
    /// one after the other, to its end at most.
    pub(crate) fn look(&mut self) -> bool {
        let mut link = self.next_link();
        let mut acted = false;
        for _ in 0..LOST_LOOKS {
            // SAFETY: the list's head or the link of an M on it; Ms are never freed.
            let Some(mp) = (unsafe { (*link).as_ref() }) else {
                break;
            };
            // SAFETY: `watch` is sysmon's, which we are.
            let watch = unsafe { &mut *mp.watch.get() };
            if !mp.gate.is_taken() {
                watch.is_listed = false;
                // SAFETY: as above.
                unsafe { *link = watch.next };
                continue;
            }
            let now = clock::now_ns();
            if watch.still.is_due(now) {
                stall::tell_of_lost(mp, &mut watch.still, now);
            }
            let elapsed = now.saturating_sub(watch.looked_ns);
            let tid = mp.tid.load(Ordering::Relaxed);
            if elapsed >= LOOK_MIN_NS
                && let Some(cpu) = thread::cpu_ns(tid)
            {
                let used = cpu.saturating_sub(watch.cpu_ns);
                watch.looked_ns = now;
                watch.cpu_ns = cpu;
                if used * BURNING_SHARE >= elapsed && mp.gate.is_taken() && may_signal() {
                    acted |= send(mp);
                }
            }
            link = &raw mut watch.next;
            self.looked_at = mp;
        }
        acted
    }

    /// The link at which to go on.
    fn next_link(&mut self) -> *mut *const M {
        // SAFETY: null or an M on the list; Ms are never freed.
        if let Some(mp) = unsafe { self.looked_at.as_ref() } {
            // SAFETY: `watch` is sysmon's, which we are.
            let watch = unsafe { &mut *mp.watch.get() };
            if !watch.next.is_null() {
                return &raw mut watch.next;
            }
        }
        self.looked_at = ptr::null();
        &raw mut self.first
    }
}

/// What the thread of a P was seen doing since the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Thread {
    /// It has been using a processor.
    Computes,
    /// It sleeps in a system call.
    Sleeps,
    /// It waits for a processor.
    Waits,
    /// It waits for a page, there soon; or this is the first look at it.
    Unsure,
}

/// What the thread that holds `pp` is doing. The last look left its clock in `seen`.
pub(crate) fn look_at_thread(pp: &P, seen: &mut CpuSeen, now_ns: u64) -> Thread {
    // SAFETY: null or an M, made before it was stored there (`M::acquire`), which is never freed.
    let Some(mp) = (unsafe { pp.m.load(Ordering::Acquire).as_ref() }) else {
        return Thread::Unsure;
    };
    let tid = mp.tid.load(Ordering::Relaxed);
    let Some(cpu_ns) = thread::cpu_ns(tid) else {
        return Thread::Unsure;
    };
    let before = std::mem::replace(
        seen,
        CpuSeen {
            tid,
            cpu_ns,
            now_ns,
        },
    );
    let elapsed = now_ns.saturating_sub(before.now_ns);
    if before.tid != tid || elapsed < LOOK_MIN_NS {
        return Thread::Unsure;
    }
    if cpu_ns.saturating_sub(before.cpu_ns) * BURNING_SHARE >= elapsed {
        return Thread::Computes;
    }
    match thread::doing(tid) {
        Doing::Running => Thread::Waits,
        Doing::Blocked(-1) => Thread::Unsure,
        Doing::Blocked(_) | Doing::Unknown => Thread::Sleeps,
    }
}

#[cfg(test)]
mod tests {
    use gort_queue::gate::Answer;

    use super::*;

    /// An M whose P was taken; its thread is the caller's.
    fn lost(list: &mut LostList) -> &'static M {
        let mp = M::for_tests();
        mp.gate.leave();
        assert!(mp.gate.ask() && mp.gate.conclude(|| ()).is_some());
        mp.tid.store(thread::tid(), Ordering::Relaxed);
        list.add(mp, clock::now_ns());
        mp
    }

    /// Replaces when it was looked at.
    fn replace_looked_ns(mp: &M, looked_ns: u64) -> u64 {
        // SAFETY: only this test knows the M, and only for a moment.
        std::mem::replace(unsafe { &mut (*mp.watch.get()).looked_ns }, looked_ns)
    }

    #[test]
    fn of_many_that_are_blocked_each_has_its_look_and_none_holds_up_the_rest() {
        let mut list = LostList::new();
        let mut all: Vec<_> = (0..LOST_LOOKS * 5 / 2).map(|_| lost(&mut list)).collect();
        for round in 0..4 {
            let mut unseen = all.clone();
            for mp in &all {
                replace_looked_ns(mp, 0);
            }
            while !unseen.is_empty() {
                list.look();
                let before = unseen.len();
                unseen.retain(|mp| replace_looked_ns(mp, 0) == 0);
                assert!(
                    (1..=LOST_LOOKS).contains(&(before - unseen.len())),
                    "{round}"
                );
            }
            // Some notice, and one more comes, while a look at the list is half way through.
            list.look();
            for index in [all.len() - 1, all.len() / 2, 0] {
                let mp = all.remove(index);
                assert_eq!(mp.gate.answer(), Answer::Lost);
            }
            all.push(lost(&mut list));
            // Twice by all, to be done with this half and to be through it once more.
            for _ in 0..all.len() {
                list.look();
            }
        }
        for mp in all {
            mp.gate.answer();
        }
        while !list.first.is_null() {
            list.look();
        }
    }
}

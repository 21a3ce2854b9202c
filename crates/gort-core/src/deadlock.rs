//! Deadlock: all goroutines are parked, and nothing is left that could wake one.
//!
//! sysmon asks a [`Watch`] while all Ps are idle. It looks once they have been for 10 ms, and then
//! again only if a plain thread of the user's was what could still wake somebody, as nobody tells us
//! when that ends. A verdict needs two judgements in a row; the argument holds for one.
//!
//! Silence while there is anything of: a P at work, a timer armed, somebody in the poller's care, a goroutine
//! that is not Waiting (in a call, on a thread that lost its P, on its way), a thread that is neither
//! the runtime's nor waiting in `run`. So a program that never called `run` is never judged: its main
//! thread is such a thread.
//!
//! A1. A goroutine that executes has an M with a P; or it executes without one (an announced call, a P that
//!     sysmon took away), and then its status is not Waiting, until it has a P again or queues itself.
//! A2. A P leaves the idle list under the global lock, where that is counted (`Global::ps_taken`).
//! A3. Whoever wakes a goroutine makes it Runnable first, by the status word, and then queues it. It
//!     stays Runnable until an M with a P runs it.
//! A4. Whoever wakes is a goroutine that executes; a timer, which only an M with a P fires; the poller, which
//!     counts a waiter out (`netpoll::waiters`) only after having made it Runnable; or a plain thread.
//! A5. A thread of the runtime's is counted after it has begun (`os::thread::begin_own`), and counted out before
//!     it ends (`os::thread::end_own`). If neither count changes, the difference is at most the number of
//!     those that were there at any moment between. A thread in `run` is flagged and Waiting until the
//!     end of its goroutine has woken it.
//!
//! [`judge`] finds all Ps idle at a moment *a* and again at *b*, with the same count. Between, by A2, no
//! goroutine began to execute on a P, and no timer fired. Between *a* and *b* it finds the rest of the list empty,
//! the threads first. So at that moment there is no thread that could wake one (A5; one that has ended before
//! has woken whom it wanted to, and whoever it woke is found Runnable, or has run: A3, A2). Then each
//! goroutine is seen Waiting. One that was not before, and is now, had no P to execute with, and
//! would have needed one to become Waiting (A1). So all were Waiting together at *a*, with no waker
//! left (A4), and stay so.
//!
//! Where main has called `goexit` and no goroutine is left, there is nobody to be woken, and plain threads do
//! not count.
//!
//! It can miss: a thread of a library that only sleeps is taken for one that could wake somebody; so is a
//! timer whose channel nobody reads. What it does not know are wake-ups from signal handlers; ours
//! make none, but for the one that raises a counter for a goroutine in the poller's care (`notify`).
//!
//! Elsewhere: the report's text (`gort::dump`, which comes as a function).
//! Checked by `testing/crash`; for false alarms by its `alive_storm`, which must raise one as soon as any of
//! the questions in `judge` is not asked.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, ptr};

use gort_queue::status::State;

use crate::clock::NEVER;
use crate::fatal;
use crate::g::{self, Kind, flags, slab};
use crate::netpoll;
use crate::os::thread;
use crate::sched::{self, SCHED, find_work};
use crate::wait_reason::WaitReason;

/// For how long all Ps must have been idle before the first look.
const CALM: Duration = Duration::from_millis(10);
/// The longest pause between two looks at a process in which only plain threads could wake somebody.
const PAUSE_MAX_NS: u64 = 10_000_000_000;

// Its docs are where `gort` re-exports it, as their example needs `gort`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum DeadlockPolicy {
    /// The process reports all goroutines and ends with status 2, as in Go.
    #[default]
    Exit,
    /// It reports them, once, and goes on waiting.
    Report,
    /// Nobody looks.
    Off,
}

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadlock {
    /// All goroutines wait for each other.
    AllAsleep,
    /// The main goroutine called `goexit`, and all others have ended.
    NoGoroutines,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deadlock::AllAsleep => "all goroutines are asleep - deadlock!",
            Deadlock::NoGoroutines => "no goroutines (main called runtime.Goexit) - deadlock!",
        })
    }
}

/// Makes the text that follows the first line of a report.
pub type Describe = fn() -> String;

/// [`CALM`] in nanoseconds, but for tests.
static CALM_NS: AtomicU64 = AtomicU64::new(CALM.as_nanos() as u64);
/// Judgements so far, for tests. Writer: sysmon.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// For tests: how long all Ps must have been idle before the first look. With zero there are as many looks
/// as there can be.
#[doc(hidden)]
pub fn set_calm(calm: Duration) {
    CALM_NS.store(calm.as_nanos() as u64, Ordering::Relaxed);
}

/// For tests: how often it was judged whether there is a deadlock.
#[doc(hidden)]
pub fn looks() -> u64 {
    LOOKS.load(Ordering::Relaxed)
}

static POLICY: AtomicU8 = AtomicU8::new(DeadlockPolicy::Exit as u8);
/// A [`Describe`]. Writer: `set_describe`.
static DESCRIBE: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
/// Threads that wait in `run`: without one nobody is to be told.
static IN_RUN: AtomicU32 = AtomicU32::new(0);
static MAIN_EXITED: AtomicBool = AtomicBool::new(false);

/// Sets the policy; at start.
pub(crate) fn configure(policy: DeadlockPolicy) {
    POLICY.store(policy as u8, Ordering::Relaxed);
}

/// Sets what describes the goroutines.
pub fn set_describe(describe: Describe) {
    DESCRIBE.store(describe as *mut (), Ordering::Release);
}

/// Calls `wait`, which does nothing but wait for a goroutine: the calling plain thread wakes nobody
/// meanwhile.
pub(crate) fn waiting_in_run<R>(wait: impl FnOnce() -> R) -> R {
    let g = g::current().get();
    g.set_flag(flags::IN_USE | flags::IN_RUN, true);
    IN_RUN.fetch_add(1, Ordering::Relaxed);
    let result = wait();
    IN_RUN.fetch_sub(1, Ordering::Relaxed);
    g.set_flag(flags::IN_USE | flags::IN_RUN, false);
    result
}

/// The main goroutine called `goexit`: the calling plain thread, which waited for it, waits for the end of
/// the process, which comes when nothing can happen any more.
pub fn wait_after_main_exited() -> ! {
    MAIN_EXITED.store(true, Ordering::Relaxed);
    waiting_in_run(|| {
        loop {
            sched::park(WaitReason::Join);
        }
    })
}

/// When sysmon looks, and what it has seen.
pub(crate) struct Watch {
    /// `Global::ps_taken` when the last calm began.
    ps_taken: u64,
    /// When to look, unless a P was taken since.
    again_ns: u64,
    pause_ns: u64,
    has_reported: bool,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        Watch {
            ps_taken: u64::MAX,
            again_ns: NEVER,
            pause_ns: 0,
            has_reported: false,
        }
    }

    /// Looks if it is time to. While all Ps are idle; again at the time returned, at the latest.
    pub(crate) fn look(&mut self, now_ns: u64) -> u64 {
        if !self.is_wanted() {
            return NEVER;
        }
        let ps_taken = SCHED.global.lock().ps_taken;
        if ps_taken != self.ps_taken {
            self.ps_taken = ps_taken;
            self.pause_ns = CALM_NS.load(Ordering::Relaxed);
            self.again_ns = now_ns.saturating_add(self.pause_ns);
        }
        if now_ns >= self.again_ns {
            let mut verdict = judge();
            if self.pause_ns == 0 {
                // A test, which wants its money's worth.
                verdict = (0..100)
                    .map(|_| judge())
                    .find(|&verdict| verdict != Verdict::Unsure)
                    .unwrap_or(verdict);
            }
            self.again_ns = match verdict {
                Verdict::Alive => NEVER,
                Verdict::Unsure if self.pause_ns == 0 => now_ns,
                Verdict::Unsure => {
                    self.pause_ns = (self.pause_ns * 2).min(PAUSE_MAX_NS);
                    now_ns.saturating_add(self.pause_ns)
                }
                Verdict::Dead(_) => {
                    // Nothing in the argument asks for it.
                    std::thread::yield_now();
                    if let Verdict::Dead(deadlock) = judge()
                        && SCHED.global.lock().ps_taken == ps_taken
                    {
                        self.report(deadlock);
                    }
                    NEVER
                }
            };
        }
        self.again_ns
    }

    fn is_wanted(&self) -> bool {
        IN_RUN.load(Ordering::Relaxed) != 0
            && (policy() == DeadlockPolicy::Exit
                || policy() == DeadlockPolicy::Report && !self.has_reported
                || MAIN_EXITED.load(Ordering::Relaxed))
    }

    /// Tells, and ends the process if that is the policy.
    ///
    /// Allocates and takes locks: nobody is left who could hold them and go on.
    fn report(&mut self, deadlock: Deadlock) {
        let policy = policy();
        if policy != DeadlockPolicy::Exit && deadlock == Deadlock::AllAsleep {
            if policy == DeadlockPolicy::Off || self.has_reported {
                return;
            }
            self.has_reported = true;
        }
        let mut text = format!("fatal error: {deadlock}\n");
        let describe = DESCRIBE.load(Ordering::Acquire);
        if deadlock == Deadlock::AllAsleep && !describe.is_null() {
            // SAFETY: only `set_describe` stores here, a `Describe`.
            let describe: Describe = unsafe { std::mem::transmute(describe) };
            text.push('\n');
            text.push_str(&describe());
        }
        fatal::write_bytes(text.as_bytes());
        if policy == DeadlockPolicy::Exit || deadlock == Deadlock::NoGoroutines {
            fatal::exit();
        }
    }
}

fn policy() -> DeadlockPolicy {
    match POLICY.load(Ordering::Relaxed) {
        0 => DeadlockPolicy::Exit,
        1 => DeadlockPolicy::Report,
        _ => DeadlockPolicy::Off,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Somebody goes on or can be woken, and an M will take a P for it.
    Alive,
    /// Somebody can be woken, or not, and no P need be taken until that changes.
    Unsure,
    Dead(Deadlock),
}

/// The argument is in the module's header.
fn judge() -> Verdict {
    LOOKS.fetch_add(1, Ordering::Relaxed);
    // a
    let Some(ps_taken) = ps_taken_if_all_idle() else {
        return Verdict::Unsure;
    };
    let threads_ours = thread::own();
    let Some(threads) = thread::count() else {
        return Verdict::Alive;
    };
    if find_work::next_timer_ns() != NEVER || netpoll::waiters() != 0 {
        return Verdict::Alive;
    }
    let census = count_parked();
    if census.is_any_about {
        return Verdict::Alive;
    }
    if census.is_any_held {
        return Verdict::Unsure;
    }
    // b
    if ps_taken_if_all_idle() != Some(ps_taken) || thread::own() != threads_ours {
        return Verdict::Unsure;
    }
    if census.goroutines == 0 && MAIN_EXITED.load(Ordering::Relaxed) {
        return Verdict::Dead(Deadlock::NoGoroutines);
    }
    let (begun, ended) = threads_ours;
    if census.goroutines == 0 || threads != begun - ended + census.threads_in_run {
        return Verdict::Unsure;
    }
    Verdict::Dead(Deadlock::AllAsleep)
}

fn ps_taken_if_all_idle() -> Option<u64> {
    let global = SCHED.global.lock();
    global.all_idle().then_some(global.ps_taken)
}

/// What [`count_parked`] has found.
#[derive(Default)]
struct Census {
    goroutines: usize,
    /// A goroutine is not parked. It will need a P to become so.
    is_any_about: bool,
    /// A parked goroutine is held by somebody who walks its stack, or puts it away. It is let go without a P.
    is_any_held: bool,
    threads_in_run: u32,
}

/// Counts the goroutines, and the threads in `run`, as far as they are parked.
fn count_parked() -> Census {
    let mut census = Census::default();
    slab::each(|gp| {
        let g = gp.get();
        match g.status.load() {
            State::Dead | State::Idle => {}
            State::Waiting if g.kind.get() == Kind::Thread => census.threads_in_run += 1,
            State::Waiting if g.has_flag(flags::SYSTEM) => {}
            State::Waiting => census.goroutines += 1,
            State::Traced => census.is_any_held = true,
            // It is about to leave `run`, and counts as any other thread.
            _ if g.kind.get() == Kind::Thread => {}
            _ => census.is_any_about = true,
        }
    });
    census
}

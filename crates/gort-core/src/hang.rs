//! Hangs of one group of goroutines: a test whose members are all parked, with nothing that could wake one,
//! while other tests go on beside it.
//!
//! Other groups are taken for strangers: they share neither channels nor the like with this one. Where
//! that is too much to assume, as for locks and `Once`s, which may be statics, a member that waits for such a
//! thing is given the benefit of the doubt for as long as there are other groups.
//!
//! H1. All members are Waiting, and have been for [`SETTLED`]: none has run meanwhile, so nothing that
//!     a member has done is on its way.
//! H2. No timer is armed but those that end a timed wait of another group's goroutine; and none is being fired
//!     that was taken from its heap before: each P is idle, or has switched since. No member, and no goroutine
//!     that belongs to no group, waits for a descriptor; nor does anybody want signals (`notify`).
//! H3. Goroutines that belong to no group (a plain thread started them), and the runtime's own, are
//!     Waiting too.
//! H4. There is no thread that could wake a member: the others are the runtime's, those that run tests
//!     ([`Harness`]) or wait in `run`, and libtest's main thread, which waits for those.
//!
//! The argument is that of [`deadlock`](crate::deadlock), with H1 for the epoch. It cannot be as strict, as
//! others run meanwhile: somebody who was interrupted for `SETTLED` between taking a timer and firing it is
//! why H2 asks for a switch.
//!
//! Elsewhere: what a test does about it (`gort::runtime`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort_queue::status::State;

use crate::clock;
use crate::g::{GRef, Kind, flags, slab};
use crate::os::thread;
use crate::sched::{p, park};
use crate::wait_reason::WaitReason;

/// How long members must have been parked.
const SETTLED: Duration = Duration::from_millis(200);

/// Whether the process's first thread, which libtest runs on, has a [`Harness`]: then it is counted
/// already.
static MAIN_WAITS: AtomicBool = AtomicBool::new(false);

/// While there is one, the thread that made it runs a test: it waits for what that needs and for its end,
/// and wakes nobody.
#[derive(Debug)]
pub struct Harness {
    is_main: bool,
}

impl Harness {
    /// Says so of the calling plain thread.
    #[expect(
        clippy::new_without_default,
        reason = "it does something to the thread"
    )]
    pub fn new() -> Harness {
        thread::begin_own();
        let is_main = thread::tid() == std::process::id();
        if is_main {
            MAIN_WAITS.store(true, Ordering::Release);
        }
        Harness { is_main }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if self.is_main {
            MAIN_WAITS.store(false, Ordering::Release);
        }
        thread::end_own();
    }
}

/// Looks from time to time whether a group hangs.
#[derive(Debug)]
pub struct Watch {
    group: u32,
    /// When the switches of all Ps were read, and what they were.
    since: Instant,
    switches: Vec<u64>,
}

impl Watch {
    /// Watches `group`, for a thread that has a [`Harness`].
    pub fn new(group: u32, _harness: &Harness) -> Watch {
        Watch {
            group,
            since: Instant::now(),
            switches: switches(),
        }
    }

    /// Whether no member of the group can ever go on. Looks no more often than it may find something new.
    pub fn hangs(&mut self) -> bool {
        if self.since.elapsed() < SETTLED {
            return false;
        }
        let hangs = self.have_ps_switched() && self.judge();
        self.since = Instant::now();
        self.switches = switches();
        hangs
    }

    fn have_ps_switched(&self) -> bool {
        p::all().zip(&self.switches).all(|(pp, &before)| {
            pp.m.load(Ordering::Relaxed).is_null() || pp.switches.load(Ordering::Relaxed) != before
        })
    }

    fn judge(&self) -> bool {
        let Some(census) = Census::take(self.group) else {
            return false;
        };
        // After the members, as in `deadlock`: a thread that has ended since has woken whom it wanted to.
        if !are_threads_known(census.threads_in_run) || !are_timers_others(self.group) {
            return false;
        }
        // Whom it may have woken is seen now.
        Census::take(self.group).is_some_and(|again| again.members == census.members)
    }
}

fn switches() -> Vec<u64> {
    p::all()
        .map(|pp| pp.switches.load(Ordering::Relaxed))
        .collect()
}

/// H4.
fn are_threads_known(threads_in_run: u32) -> bool {
    let ours = thread::own();
    let is_main_apart = !MAIN_WAITS.load(Ordering::Acquire);
    let Some(threads) = thread::count() else {
        return false;
    };
    let (begun, ended) = ours;
    thread::own() == ours && threads == begun - ended + threads_in_run + u32::from(is_main_apart)
}

/// H2, the timers.
fn are_timers_others(group: u32) -> bool {
    p::all().all(|pp| {
        // Whose group it is is asked without the heap's lock. More are too many to tell.
        let mut waiters = [None; 64];
        let mut places = waiters.iter_mut();
        let are_waits = pp.timers.all(|timer| {
            let waiter = park::waiter_of(timer);
            match places.next() {
                Some(place) => *place = waiter,
                None => return false,
            }
            waiter.is_some()
        });
        let is_other = |waiter: &GRef| ![0, group].contains(&waiter.group());
        are_waits && waiters.iter().flatten().all(is_other)
    })
}

/// What may be said of a group whose members cannot go on.
struct Census {
    members: usize,
    threads_in_run: u32,
}

impl Census {
    /// `None`: somebody runs, or may be woken from outside.
    fn take(group: u32) -> Option<Census> {
        let now_ns = clock::now_ns();
        let mut members = 0;
        let mut threads_in_run = 0;
        let mut has_others = false;
        let mut needs_others = false;
        let mut may_go_on = false;
        slab::each(|gp| {
            let g = gp.get();
            let state = g.status.load();
            if matches!(state, State::Dead | State::Idle) {
                return;
            }
            let is_parked = state == State::Waiting;
            if g.kind.get() == Kind::Thread {
                // One that is not Waiting is about to leave `run`.
                threads_in_run += u32::from(is_parked);
                return;
            }
            let reason = gp.reason();
            let waits_outside = matches!(reason, WaitReason::IoWait | WaitReason::Sleep);
            match gp.group() {
                own if own == group => {
                    members += 1;
                    let parked_at = g.parked_coarse.load(Ordering::Relaxed);
                    let is_settled = clock::since_coarse(parked_at, now_ns) > SETTLED;
                    may_go_on |= !is_parked || !is_settled || waits_outside;
                    needs_others |= is_shared(reason);
                }
                // Of the runtime's own, the one that tells of signals waits for a descriptor.
                0 if g.has_flag(flags::SYSTEM) => {
                    may_go_on |= !is_parked || reason == WaitReason::IoWait;
                }
                0 => may_go_on |= !is_parked || waits_outside,
                _ => has_others = true,
            }
        });
        let is_hung = members != 0 && !may_go_on && !(needs_others && has_others);
        is_hung.then_some(Census {
            members,
            threads_in_run,
        })
    }
}

/// Whether tests may wait for each other by this: often a static.
fn is_shared(reason: WaitReason) -> bool {
    matches!(
        reason,
        WaitReason::MutexLock
            | WaitReason::RwLockRead
            | WaitReason::RwLockWrite
            | WaitReason::OnceWait
            | WaitReason::SemAcquire
    )
}

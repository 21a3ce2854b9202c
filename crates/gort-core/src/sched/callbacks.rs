//! Work that timers and the poller may not do themselves, as it allocates or runs user code: calling
//! wakers, starting goroutines. Goroutines of the runtime's own do it.
//!
//! Mostly there is one at work. But a waker may wait for something, for another waker perhaps:
//!
//! C1. While a task runs, another runner is parked in `idle` or on its way. So tasks never wait for
//!     one that blocks.
//!
//! `defer_all`, which may stand on a system stack, only readies runners; runners start others.

use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::task::Waker;

use super::entry::{self, SpawnOptions};
use super::park;
use crate::g::{self, GRef};
use crate::lock::Mutex;
use crate::timer::{self, Deferred, ReadyList};
use crate::wait_reason::WaitReason;

/// Parked runners that are kept: one for the next task, and one to stand by while that runs.
const IDLE_MAX: usize = 2;

struct Callbacks {
    tasks: ReadyList,
    /// Runners that are parked.
    idle: [Option<GRef>; IDLE_MAX],
    /// Runners that were started or readied, and have not asked for a task yet.
    coming: u32,
}
// SAFETY: the tasks are handed from thread to thread by their makers' contract (`Deferred::new`).
unsafe impl Send for Callbacks {}

static CALLBACKS: Mutex<Callbacks> = Mutex::new(Callbacks {
    tasks: ReadyList::new(),
    idle: [None; IDLE_MAX],
    coming: 0,
});

impl Callbacks {
    /// A parked runner for the caller to ready, unless one is on its way.
    fn call_runner(&mut self) -> Option<GRef> {
        if self.coming != 0 {
            return None;
        }
        let gp = self.idle.iter_mut().find_map(Option::take)?;
        self.coming = 1;
        Some(gp)
    }
}

/// Hands what a source of work has deferred to a goroutine that runs such things.
pub(crate) fn defer_all(list: &mut ReadyList) {
    if !list.has_deferred() {
        return;
    }
    let runner = {
        let mut callbacks = CALLBACKS.lock();
        callbacks.tasks.append_deferred(list);
        callbacks.call_runner()
    };
    if let Some(gp) = runner {
        park::ready(gp);
    }
}

/// Defers one task; from anywhere that holds no lock of the runtime.
pub fn defer(task: NonNull<Deferred>) {
    let mut list = ReadyList::new();
    list.defer(task);
    defer_all(&mut list);
}

/// Has `waker` called by a goroutine of the runtime's, which has been started: for whoever may not run the code of
/// others, as that might park. From anywhere that holds no lock of the runtime; allocates.
pub fn wake(waker: Waker) {
    #[repr(C)]
    struct Job {
        deferred: Deferred,
        waker: Waker,
    }

    unsafe fn run(deferred: NonNull<Deferred>) {
        // SAFETY: deferred below as the first field of a leaked `Job`, and run once.
        let job = unsafe { Box::from_raw(deferred.cast::<Job>().as_ptr()) };
        job.waker.wake();
    }

    let job = Box::new(Job {
        deferred: Deferred::new(run),
        waker,
    });
    defer(NonNull::from(Box::leak(job)).cast());
}

/// Starts the first runner; once, at start.
pub(crate) fn start() {
    CALLBACKS.lock().coming += 1;
    if let Err(error) = start_runner() {
        fatal!("no goroutine for callbacks: {error}");
    }
}

/// Starts a runner, which the caller has counted as coming.
fn start_runner() -> std::io::Result<()> {
    let options = SpawnOptions {
        name: Some("callbacks".into()),
        system: true,
        group: Some(0),
        ..SpawnOptions::new()
    };
    entry::spawn(run_callbacks, options).map(drop)
}

/// What a runner does next.
enum Step {
    Run(NonNull<Deferred>),
    /// Run it, but first see to it that another runner stands by (C1).
    RunAfter(NonNull<Deferred>, StandBy),
    Park,
    End,
}

enum StandBy {
    Ready(GRef),
    Start,
}

fn next_step(callbacks: &mut Callbacks) -> Step {
    let Some(task) = callbacks.tasks.pop_deferred() else {
        return match callbacks.idle.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(g::current());
                Step::Park
            }
            None => Step::End,
        };
    };
    if callbacks.coming != 0 {
        return Step::Run(task);
    }
    if callbacks.idle.iter().any(Option::is_some) {
        // It stands by where it is, unless there are tasks that would wait for this one.
        return match callbacks.tasks.has_deferred() {
            true => callbacks.call_runner().map_or(Step::Run(task), |gp| {
                Step::RunAfter(task, StandBy::Ready(gp))
            }),
            false => Step::Run(task),
        };
    }
    callbacks.coming = 1;
    Step::RunAfter(task, StandBy::Start)
}

/// Runs deferred tasks, one after the other, until there are enough others to wait for more.
fn run_callbacks() {
    let mut is_coming = true;
    loop {
        let step = {
            let mut callbacks = CALLBACKS.lock();
            if std::mem::replace(&mut is_coming, false) {
                callbacks.coming -= 1;
            }
            next_step(&mut callbacks)
        };
        match step {
            Step::Run(task) => run_one(task),
            Step::RunAfter(task, stand_by) => {
                match stand_by {
                    StandBy::Ready(gp) => park::ready(gp),
                    // Without a stack for it the tasks wait for each other.
                    StandBy::Start if start_runner().is_err() => CALLBACKS.lock().coming -= 1,
                    StandBy::Start => {}
                }
                run_one(task);
            }
            Step::Park => {
                park::park(WaitReason::SystemIdle);
                is_coming = true;
            }
            Step::End => return,
        }
    }
}

fn run_one(task: NonNull<Deferred>) {
    let run = AssertUnwindSafe(|| {
        // SAFETY: the task was just popped, and is run once.
        unsafe { timer::run_deferred(task) }
    });
    // A waker that panics has been reported by the hook; the others still want theirs. The payload's
    // drop might panic as well.
    if let Err(payload) = panic::catch_unwind(run) {
        std::mem::forget(payload);
    }
}

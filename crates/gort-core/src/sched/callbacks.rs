//! Work that timers and the poller may not do themselves, as it allocates or runs user code: calling
//! wakers, starting goroutines. One goroutine of the runtime's own does it.

use std::ptr::NonNull;

use super::entry::{self, SpawnOptions};
use super::park;
use crate::g::{self, GRef};
use crate::lock::Mutex;
use crate::timer::{self, Deferred, ReadyList};
use crate::wait_reason::WaitReason;

struct Callbacks {
    tasks: ReadyList,
    /// The goroutine that runs the tasks, while it is parked.
    idle: Option<GRef>,
}
// SAFETY: the tasks are handed from thread to thread by their makers' contract (`Deferred::new`).
unsafe impl Send for Callbacks {}

static CALLBACKS: Mutex<Callbacks> = Mutex::new(Callbacks {
    tasks: ReadyList::new(),
    idle: None,
});

/// Hands what a source of work has deferred to the goroutine that runs such things.
pub(crate) fn defer_all(list: &mut ReadyList) {
    if !list.has_deferred() {
        return;
    }
    let idle = {
        let mut callbacks = CALLBACKS.lock();
        callbacks.tasks.append_deferred(list);
        callbacks.idle.take()
    };
    if let Some(gp) = idle {
        park::ready(gp);
    }
}

/// Defers one task; from anywhere that holds no lock of the runtime.
pub fn defer(task: NonNull<Deferred>) {
    let mut list = ReadyList::new();
    list.defer(task);
    defer_all(&mut list);
}

/// Starts the goroutine; once, at start.
pub(crate) fn start() {
    let options = SpawnOptions {
        name: Some("callbacks".into()),
        system: true,
        group: Some(0),
        ..SpawnOptions::new()
    };
    if let Err(error) = entry::spawn(run_callbacks, options) {
        fatal!("no goroutine for callbacks: {error}");
    }
}

/// Runs deferred tasks for ever, one after the other.
fn run_callbacks() {
    loop {
        let task = {
            let mut callbacks = CALLBACKS.lock();
            let task = callbacks.tasks.pop_deferred();
            if task.is_none() {
                callbacks.idle = Some(g::current());
            }
            task
        };
        match task {
            Some(task) => {
                let run = std::panic::AssertUnwindSafe(|| {
                    // SAFETY: the task was just popped, and is run once.
                    unsafe { timer::run_deferred(task) }
                });
                // A waker that panics has been reported by the hook; the others still want theirs.
                let _ = std::panic::catch_unwind(run);
            }
            None => park::park(WaitReason::SystemIdle),
        }
    }
}

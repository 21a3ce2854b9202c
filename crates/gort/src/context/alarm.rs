//! The timer of a context's own deadline.
//!
//! It fires on a system stack, where nothing may be woken that is the user's; so it defers a job to a
//! goroutine of the runtime, and that ends the context.
//!
//! A1. An armed timer has a reference to the node that the alarm belongs to. Who disarms it gives that
//!     back; if it fires it is the job's, which gives it back when it has run. So the alarm's memory, a
//!     part of the node, stays as long as timer or job may be used.
//! A2. The timer is armed at most once, and stopped by whoever ends the scope.

use std::cell::Cell;
use std::ptr::NonNull;

use gort_core::lock::Mutex;
use gort_core::timer::{Deferred, ReadyList, TimerNode};

use super::error::{Cause, ContextError};
use super::node::{Node, NodeRef};
use super::scope::Verdict;

/// Found by the job by its place in front.
#[repr(C)]
pub(super) struct Alarm {
    job: Deferred,
    timer: TimerNode,
    /// The node that this belongs to. Written before it is armed.
    node: Cell<NonNull<Node>>,
    /// What the deadline is to be given as the cause of; taken by the job.
    cause: Mutex<Option<Cause>>,
}

// SAFETY: `node` is written before the alarm is shared; `job` is touched by the lists it is on, one at a
// time.
unsafe impl Sync for Alarm {}
// SAFETY: no field is tied to a thread.
unsafe impl Send for Alarm {}

impl Alarm {
    /// An alarm for the node that will be at `node`, not armed.
    pub(super) fn new(node: NonNull<Node>, cause: Option<Cause>) -> Box<Alarm> {
        let alarm = Box::new(Alarm {
            job: Deferred::new(run_job),
            timer: TimerNode::new(fire),
            node: Cell::new(node),
            cause: Mutex::new(cause),
        });
        // SAFETY: `fire` demands an `Alarm` that lives while the timer is armed, which A1 gives it.
        unsafe { alarm.timer.set_arg((&raw const *alarm).cast_mut().cast()) };
        alarm
    }

    /// Arms the timer; once, for the node that this belongs to.
    pub(super) fn arm(&self, node: &NodeRef, due_ns: u64) {
        debug_assert!(std::ptr::eq(self.node.get().as_ptr(), &**node));
        // A1.
        let _armed = node.clone().into_raw();
        // SAFETY: that reference keeps the timer in place and alive while it is armed. No lock is held.
        unsafe { self.timer.start(due_ns, 0) };
    }

    /// Disarms the timer, if it is armed.
    pub(super) fn stop(&self) {
        // SAFETY: no lock is held, and the timer's function does not come here.
        if unsafe { self.timer.stop() } {
            // SAFETY: the armed timer's reference, which is ours now (A1). The caller has another.
            drop(unsafe { NodeRef::from_raw(self.node.get()) });
        }
    }

    /// What the end by this deadline is to be.
    pub(super) fn verdict(&self) -> Verdict {
        Verdict {
            error: ContextError::DeadlineExceeded,
            cause: self.cause.lock().take(),
        }
    }

    /// Whether it will fire.
    #[cfg(test)]
    pub(super) fn is_armed(&self) -> bool {
        self.timer.is_armed()
    }
}

/// The timer's function: on a system stack.
unsafe fn fire(arg: *mut (), _now_ns: u64, out: &mut ReadyList) {
    let alarm: *const Alarm = arg.cast_const().cast();
    // SAFETY: the armed timer's reference, which becomes the job's, keeps the alarm (A1). A timer fires
    // once, so the job is deferred once (A2).
    out.defer(NonNull::from(unsafe { &(*alarm).job }));
}

/// Ends the context.
unsafe fn run_job(job: NonNull<Deferred>) {
    // SAFETY: the job is the first field of an alarm, which the job's reference keeps (A1).
    let alarm: &Alarm = unsafe { job.cast().as_ref() };
    let verdict = alarm.verdict();
    // SAFETY: the job's reference, used once.
    let node = unsafe { NodeRef::from_raw(alarm.node.get()) };
    node.end(verdict);
}

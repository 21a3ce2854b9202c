//! The timer of a function: when it fires, the function runs in a goroutine of its own.
//!
//! A timer fires on a system stack, where nothing may be allocated or run; so it defers a job to an
//! ordinary goroutine of the runtime, and that starts the function's goroutine.
//!
//! Who keeps the memory alive:
//!
//! F1. There is one reference for the handle, one while the timer is armed, and one for each firing
//!     until its goroutine has ended. Arming takes one; a stop that finds the timer armed gives it
//!     back; firing passes it on to the job, and the job to the goroutine.
//! F2. `fired` counts the firings that no job has taken over. The one that makes it 1 defers the job, so
//!     the job is never deferred while it is.
//!
//! Checked by `crates/gort/tests/time`, TI02, TI05, S19, S144.

#![expect(
    unsafe_code,
    reason = "a timer is armed by its address, and firing may not allocate what would hide that"
)]

use std::mem;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort_core::sched::{self, SpawnOptions};
use gort_core::timer::{Deferred, ReadyList, TimerNode};
use gort_core::{clock, fatal, g, runtime};

/// What is run when the timer fires.
type Func = Box<dyn Fn() + Send + Sync>;

/// The handle. Dropping it leaves the timer as it is.
pub(super) struct FuncTimer {
    shared: Arc<Shared>,
}

/// Found by the job by its place in front.
#[repr(C)]
struct Shared {
    job: Deferred,
    timer: TimerNode,
    /// F2. Release by the firing, acquire by the job.
    fired: AtomicUsize,
    func: Func,
    /// Of whoever made the timer: its goroutines count as started there.
    group: u32,
    created_at: &'static Location<'static>,
}

// SAFETY: `job` is touched by the lists it is on, one at a time (F2); the rest is Sync by itself.
unsafe impl Sync for Shared {}
// SAFETY: no field is tied to a thread; `Func` is Send.
unsafe impl Send for Shared {}

impl FuncTimer {
    /// A timer that is not armed.
    #[track_caller]
    pub(super) fn new(func: Func) -> FuncTimer {
        runtime::ensure_started();
        let shared = Arc::new(Shared {
            job: Deferred::new(run_job),
            timer: TimerNode::new(fire),
            fired: AtomicUsize::new(0),
            func,
            group: g::current_goroutine().map_or(0, |creator| creator.group()),
            created_at: Location::caller(),
        });
        // SAFETY: `fire` demands a `Shared` that lives while the timer is armed, which F1 gives it.
        unsafe { shared.timer.set_arg(Arc::as_ptr(&shared).cast_mut().cast()) };
        FuncTimer { shared }
    }

    /// Arms the timer for `due_ns`. True if it was armed.
    pub(super) fn reset(&self, due_ns: u64) -> bool {
        debug_assert_ne!(due_ns, clock::NEVER, "a timer for never would not be armed");
        let reference = Arc::clone(&self.shared);
        // SAFETY: the reference just taken keeps the node in place and alive while it is armed (F1). We
        // hold no lock.
        let was_armed = unsafe { self.shared.timer.reset(due_ns, 0) };
        if !was_armed {
            // It is the armed timer's now (F1). Otherwise the timer has one already.
            mem::forget(reference);
        }
        was_armed
    }

    /// Disarms the timer. True if it was armed.
    pub(super) fn stop(&self) -> bool {
        // SAFETY: we hold no lock.
        let was_armed = unsafe { self.shared.timer.stop() };
        if was_armed {
            // SAFETY: the armed timer had a reference, which is ours now (F1).
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.shared)) };
        }
        was_armed
    }
}

/// The timer's function: on a system stack.
unsafe fn fire(arg: *mut (), _now_ns: u64, out: &mut ReadyList) {
    let shared: *const Shared = arg.cast_const().cast();
    // SAFETY: the armed timer's reference, which becomes this firing's, keeps it alive (F1).
    let fired = unsafe { (*shared).fired.fetch_add(1, Ordering::AcqRel) };
    if fired == 0 {
        // SAFETY: not null, and in place until the job has run.
        out.defer(unsafe { NonNull::new_unchecked(ptr::addr_of!((*shared).job).cast_mut()) });
    }
}

/// Starts a goroutine for each firing.
unsafe fn run_job(job: NonNull<Deferred>) {
    let shared: *const Shared = job.as_ptr().cast_const().cast();
    // SAFETY: `job` is the first field of a `Shared`, alive by the firings' references (F1).
    let fired = unsafe { (*shared).fired.swap(0, Ordering::AcqRel) };
    for _ in 0..fired {
        // SAFETY: the reference of one firing, each taken once (F1). The pointer came from `Arc::as_ptr`.
        let shared = unsafe { Arc::from_raw(shared) };
        let options = SpawnOptions {
            group: Some(shared.group),
            location: shared.created_at,
            ..SpawnOptions::new()
        };
        if let Err(error) = sched::spawn(move || (shared.func)(), options)
            && !runtime::is_shut()
        {
            // Nobody is there to be told, and a program whose timers do not run is broken.
            fatal!("no goroutine for a timer's function: {error}");
        }
    }
}

//! Being inside the runtime: the goroutine's M keeps its P, and no signal makes it wait.
//!
//! A goroutine that computes may lose its P at any instruction, and be made to wait right there, inside
//! malloc or with one of its locks held; one that sleeps in the kernel loses its P without noticing. The
//! runtime's own code must not: it holds locks that others need to go on, and works with its P. It is
//! marked: [`enter`] and the guard's drop. The protocol is `gort_queue::gate`.
//!
//! **Invariant**: code inside never allocates, frees, takes a lock that user code can hold (stdio's,
//! the loader's, std's), runs user code, drops a user's value, or calls the unwinder. A goroutine may
//! have been stopped in the middle of any of those, and what it is waiting for would be us. Slow paths
//! that must do such things do them before they enter or after they have left. [`assert_outside`] is for
//! allocators that check this.
//!
//! To enter is a yield point: a goroutine that has lost its P gets one first, one whose turn is over gives its
//! P up, and either may have moved to another M when `enter` returns. Sections nest, and only the outermost is one.
//!
//! I1. A goroutine switches contexts at depth 1, its own section: no lock is held across a switch.
//! I2. Code that uses an M or a P beyond one load is inside, or on a system stack, where there is no
//!     goroutine to be stopped: there, and on plain threads, entering does nothing.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};

use gort_queue::gate::{Answer, Gate};

use crate::atomic::light_fence;
use crate::thread_state;

/// A section of the runtime; it ends when this is dropped.
#[must_use = "dropped at once, it marks nothing"]
#[derive(Debug)]
pub(crate) struct Inside(PhantomData<*mut ()>);

/// Whether the kernel refuses barriers in other threads, so that each entry needs a fence.
static REAL_FENCES: AtomicBool = AtomicBool::new(false);
/// What to do when somebody has used the gate, and then when the P was taken or kept: `fn()`s. Set at start.
static ASKED: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static LOST: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static KEPT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets what a goroutine does on finding that somebody has used its gate, what it does then if its P was taken
/// and if it was not, and whether entries need a fence of their own. Once, at start.
pub(crate) fn install(asked: fn(), lost: fn(), kept: fn(), real_fences: bool) {
    ASKED.store(asked as *mut (), Ordering::Release);
    LOST.store(lost as *mut (), Ordering::Release);
    KEPT.store(kept as *mut (), Ordering::Release);
    REAL_FENCES.store(real_fences, Ordering::Release);
}

/// The gate of the M that runs the calling goroutine. `M` begins with its gate.
#[inline(always)]
fn gate() -> Option<&'static Gate> {
    // SAFETY: the word is 0 or the address of an M, which begins with its gate and is never freed.
    unsafe { (thread_state::running_m() as *const Gate).as_ref() }
}

/// Enters the runtime.
#[inline(always)]
pub(crate) fn enter() -> Inside {
    enter_raw();
    Inside(PhantomData)
}

/// [`enter`] without a guard.
#[inline(always)]
pub(crate) fn enter_raw() {
    if let Some(gate) = gate()
        && gate.enter(own_fence)
    {
        answer(gate);
    }
}

/// Undoes one [`enter_raw`].
#[inline(always)]
pub(crate) fn leave_raw() {
    if let Some(gate) = gate() {
        gate.leave();
    }
}

/// The owner's half of K1 of `gort_queue::gate`.
#[inline(always)]
pub(crate) fn own_fence() {
    light_fence();
    if REAL_FENCES.load(Ordering::Relaxed) {
        fence(Ordering::SeqCst);
    }
}

/// Somebody has used the gate.
#[cold]
fn answer(gate: &Gate) {
    // What was written before the question is seen here.
    fence(Ordering::Acquire);
    call(&ASKED);
    match gate.answer() {
        Answer::Lost => call(&LOST),
        Answer::Kept => call(&KEPT),
        Answer::Announced => {}
    }
}

fn call(function: &AtomicPtr<()>) {
    let function = function.load(Ordering::Acquire);
    if function.is_null() {
        fatal!("a gate was used before the runtime has started");
    }
    // SAFETY: only `install` stores there, a `fn()`.
    let function: fn() = unsafe { std::mem::transmute(function) };
    function();
}

/// Calls `f` outside, and enters again. For what a goroutine does on finding that somebody has used its gate, before
/// the answer: its entry begins anew.
pub(crate) fn step_out(f: impl FnOnce()) {
    let Some(gate) = gate() else {
        return f();
    };
    gate.leave();
    f();
    // Whatever it finds, the answer is asked for next.
    gate.enter(own_fence);
}

impl Drop for Inside {
    #[inline(always)]
    fn drop(&mut self) {
        // Asked anew: the goroutine may have changed its M since it entered.
        leave_raw();
    }
}

/// Ends the process if the caller is inside the runtime: for allocators in tests, which see whoever
/// allocates or frees there.
#[doc(hidden)]
pub fn assert_outside(what: &str) {
    if is_inside() {
        // Not again for what the report itself allocates.
        let Some(gate) = gate() else {
            crate::fatal::exit_with(format_args!("{what} on a system stack of the runtime"))
        };
        for _ in 0..gate.depth() {
            gate.leave();
        }
        crate::fatal::write_line(format_args!(
            "{}",
            std::backtrace::Backtrace::force_capture()
        ));
        crate::fatal::exit_with(format_args!("{what} inside the runtime"));
    }
}

/// Whether the caller is inside the runtime: on a goroutine in a section, or on an M's system stack.
#[doc(hidden)]
pub fn is_inside() -> bool {
    match gate() {
        Some(gate) => gate.depth() != 0,
        None => thread_state::current().is_none() && thread_state::self_m() != 0,
    }
}

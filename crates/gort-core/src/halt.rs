//! The end of the process: all others stop where they are, so that nothing follows its last words.
//!
//! Who ends the process calls [`others`], which sends SIGURG to each M; the handler stays ([`stay`]). Ms that
//! sleep are sent it too: one that has not stopped yet could wake them.
//!
//! H1. One stops the others, once. A second one stays as they do.
//! H2. Those that stay may hold any lock, malloc's or the runtime's. So after `others` the caller allocates
//!     nothing, takes no lock and does not enter the runtime; nor does SIGURG make it wait for a P, as its
//!     handler returns at once.
//!
//! Plain threads of the user's go on, and so do Ms that have the signal blocked, do not come out of the kernel in
//! time, or are only just being made. Where the runtime may not use signals, all do.
//!
//! Checked by the conformance case PN18.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::clock;
use crate::os::{signal, thread};
use crate::sched::m;

/// How long those that do not stop are waited for.
const WAIT_NS: u64 = 100_000_000;

/// Whether SIGURG's handler calls [`stay`]. Writer: `set_answered`.
static IS_ANSWERED: AtomicBool = AtomicBool::new(false);
/// The thread that ends the process, or 0. Writer: `others`, once (H1).
static LAST: AtomicU32 = AtomicU32::new(0);

/// SIGURG's handler calls [`stay`] from now on, before anything else.
pub(crate) fn set_answered() {
    IS_ANSWERED.store(true, Ordering::Relaxed);
}

/// Whether the process is ending, and others are to stop.
pub(crate) fn has_begun() -> bool {
    LAST.load(Ordering::Relaxed) != 0
}

/// Stops all other Ms for good. For who ends the process next, and does no more than H2 allows.
pub(crate) fn others() {
    if !IS_ANSWERED.load(Ordering::Relaxed) {
        return;
    }
    let own = thread::tid();
    let first = LAST.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
    if first.is_err() {
        wait_for_the_end();
    }
    let deadline_ns = clock::now_ns() + WAIT_NS;
    loop {
        let mut are_all = true;
        m::each(|mp| {
            let tid = mp.tid.load(Ordering::Relaxed);
            let goes_on = tid != 0 && tid != own && !mp.has_halted.load(Ordering::Relaxed);
            if goes_on && signal::send(tid, libc::SIGURG) {
                are_all = false;
            }
        });
        if are_all || clock::now_ns() >= deadline_ns {
            return;
        }
        std::thread::yield_now();
    }
}

/// Does not return to an M while the process is ending, but to the thread that ends it and to plain ones. For
/// SIGURG's handler, if it [`has_begun`]. Async-signal-safe.
pub(crate) fn stay() {
    if LAST.load(Ordering::Relaxed) == thread::tid() {
        return;
    }
    if let Some(mp) = m::current() {
        mp.has_halted.store(true, Ordering::Relaxed);
        wait_for_the_end();
    }
}

fn wait_for_the_end() -> ! {
    loop {
        // SAFETY: `pause` takes nothing.
        unsafe { libc::pause() };
    }
}

//! The queue of those that wait for a P in a signal handler (`preempt`).
//!
//! They have shown that they compute. Whoever else is runnable was woken by something, and is likely to
//! wait for the next thing soon. So the stopped do not stand in the same line:
//!
//! T1. A P takes one when it has found nothing else to do: not in its own queue nor the global one, on the
//!     network, or with the others. That one runs *in the background*: when others have been waiting for
//!     [`BACKGROUND_NS`], it is stopped again.
//! T2. A P that has run none of them for a slice (10 ms) while there were some takes one before anything
//!     else, and that one has a whole slice. So what is always busy and what computes share a P equally.
//!
//! Rejected: the global queue for all, as in Go. Every 61st time a stopped one came before those that a
//! timer had woken, and a P's share of the queue put some into its ring before them: each time ten ticks of
//! a 1 ms ticker were late. (4 loops beside it: p99 15-20 ms.)
//!
//! To take a stopped goroutine is to hand over the P to its thread (S4 of `sched`).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::SCHED;
use super::p::{P, from_queue};
use crate::g::GRef;

/// For how long one runs in the background although others wait.
pub(crate) const BACKGROUND_NS: u64 = 1_000_000;

/// How many there are, written under the global lock; a hint elsewhere.
static LEN: AtomicUsize = AtomicUsize::new(0);

/// How many goroutines wait in a handler.
#[inline]
pub(crate) fn len() -> usize {
    LEN.load(Ordering::Relaxed)
}

/// Queues a Runnable goroutine whose M waits in the handler. To wake somebody is the caller's.
pub(super) fn push(gp: GRef) {
    let mut global = SCHED.global.lock();
    // SAFETY: the caller's goroutine is Runnable and on no queue (G1).
    unsafe { global.stopped.push_back(gp.0) };
    LEN.store(global.stopped.len(), Ordering::Relaxed);
}

/// The first in line, for the M that holds `pp`; in the background (T1) or not (T2).
pub(super) fn take(pp: &P, in_background: bool) -> Option<GRef> {
    if len() == 0 {
        return None;
    }
    let gp = SCHED.global.lock().take_stopped()?;
    // Its M begins it with a switch.
    let switch = pp.switches.load(Ordering::Relaxed).wrapping_add(1);
    pp.in_background.store(in_background, Ordering::Relaxed);
    pp.resumed_at.store(switch, Ordering::Relaxed);
    Some(gp)
}

impl super::p::Global {
    /// The first in line.
    pub(super) fn take_stopped(&mut self) -> Option<GRef> {
        let gp = self.stopped.pop_front()?;
        LEN.store(self.stopped.len(), Ordering::Relaxed);
        Some(from_queue(gp))
    }
}

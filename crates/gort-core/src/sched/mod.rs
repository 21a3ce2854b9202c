//! The scheduler: who runs what, where.
//!
//! A goroutine (`G`) is run by a thread (`M`) that holds a right to run (`P`). This module decides
//! which; its two doors for everything above are [`park`] and [`ready`].
//!
//! - `p`: a P with its run queue, timers and caches; the global queue; idle Ps and Ms.
//! - `m`: a thread: its loop on the system stack, sleeping, and the thread that makes threads.
//! - `switch`: leaving one context for the next, and what is done for the one that was left.
//! - `find_work`: from where the next goroutine comes.
//! - `wake`: how many threads look for work (spinning), and when another is woken.
//! - `park`: stopping and waking the current G, with and without a deadline.
//! - `stuck`: helping a P that does not come to its own work.
//! - `stopped`: the queue of those that wait in a signal handler.
//! - `syscall`: giving up the P around a call that blocks the thread; threads of one's own.
//! - `entry`, `join`, `scope`: a goroutine's beginning, end, result.
//! - `stackless`, `carriers`: goroutines that are futures, and the stacks on which they are polled.
//! - `fetch`: what will run soon is brought into the caches.
//! - `yielded`: each P's part of the global queue, for those that yield.
//! - `shake`: unusual choices, for tests.
//!
//! Invariants (the status word's G1..G3 are in `gort_queue::status`):
//!
//! S1. An M runs goroutine code only while it holds a P (`m.p`), except between `enter_blocking` and
//!     `exit_blocking`.
//! S2. A P is held by one M, or on the idle list, or waiting (`Global::want_m`) for an M to be made,
//!     or in the `next_p` of an M that has been woken for it.
//! S3. Runnable goroutines are in some P's queue, in the global queue or a P's part of it, among the
//!     stopped, or in the hands of an M that is about to run them. If there is one and a P is idle, then
//!     some M spins, or is being woken, or the goroutine is the `run_next` of a running P (see `wake` for
//!     that one exception).
//! S4. The M of a goroutine that is locked or bound to it runs nothing else.
//! S5. A P on the idle list has no goroutine in its queue, nor in its part of the global one: nobody would
//!     come for its `run_next`. Whether GOMAXPROCS covers a P is asked under the global lock before it is
//!     put there, as only under that lock it changes.

mod arrival;
pub mod callbacks;
pub(crate) mod carriers;
pub mod entry;
mod fetch;
pub(crate) mod find_work;
pub mod join;
pub(crate) mod m;
pub(crate) mod p;
pub(crate) mod park;
pub mod scope;
pub(crate) mod seen;
pub(crate) mod shake;
pub mod stackless;
pub(crate) mod stopped;
mod stuck;
mod switch;
pub(crate) mod syscall;
pub(crate) mod wake;
mod yielded;

pub(crate) use entry::set_die_of_panic;
pub use entry::{SpawnOptions, exiting, goexit, spawn, spawn_unchecked};
pub use gort_arch::context::prefetch_line;
pub use join::JoinHandle;
pub(crate) use park::end_trace;
pub use park::{
    Woken, checkpoint, may_spin, park, park_until, ready, sleep_until, yield_now, yield_to_next,
};
pub use stackless::spawn_async;
pub use syscall::{blocking, lock_os_thread, os_thread_locks, unlock_os_thread};

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use gort_queue::idle::Idle;

use crate::lock::Mutex;
use p::Global;

/// What all Ps and Ms share. Hot words on lines of their own.
pub(crate) struct Sched {
    /// The global queue and the idle lists.
    pub(crate) global: Mutex<Global>,
    /// Length of the global queue, written under its lock; a hint elsewhere.
    pub(crate) global_len: AtomicUsize,
    /// How many have been taken out of it so far, nearly all from its head; written under its lock, a hint elsewhere.
    pub(crate) global_taken: AtomicU64,
    /// Spinning Ms and idle Ps.
    pub(crate) idle: Idle,
    /// GOMAXPROCS.
    pub(crate) procs: AtomicU32,
    /// When the network was last polled; 0 while an M sleeps in the poller.
    pub(crate) last_poll_ns: AtomicU64,
    /// Until when that M sleeps.
    pub(crate) poll_until_ns: AtomicU64,
    /// Goroutines started by plain threads minus those ended without a P: one term of the count.
    pub(crate) live_outside: std::sync::atomic::AtomicI64,
    /// The next goroutine's number; Ps take batches.
    pub(crate) next_id: AtomicU64,
}

impl Sched {
    /// Whether a goroutine waits that belongs to no P.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.global_len.load(Ordering::Relaxed) != 0 || stopped::len() != 0
    }
}

pub(crate) static SCHED: Sched = Sched {
    global: Mutex::new(Global::new()),
    global_len: AtomicUsize::new(0),
    global_taken: AtomicU64::new(0),
    idle: Idle::new(),
    procs: AtomicU32::new(0),
    last_poll_ns: AtomicU64::new(0),
    poll_until_ns: AtomicU64::new(0),
    live_outside: std::sync::atomic::AtomicI64::new(0),
    next_id: AtomicU64::new(1),
};

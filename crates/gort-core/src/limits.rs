//! How many goroutines may run at once if nobody has said so: as many as there are processors for the
//! process, by its affinity mask and by its control groups' CPU quota, at its start and while it runs.
//!
//! Both are read again once a second by a thread of their own, since reading files allocates and may
//! block, and sysmon does neither. But sysmon says when ([`ask`]): while it is in its long sleep nothing
//! runs, and nothing is read. What is done about a change is the runtime's, which passes it in.
//!
//! Not followed: a number that came from `Config`, the environment or `set_gomaxprocs`.
//!
//! Checked by the tests of `os::cgroup` and `tests/limits.rs`.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::clock::NEVER;
use crate::os::{cgroup, futex, thread};

/// Processors for this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usable {
    /// How many, at least 1.
    pub(crate) procs: usize,
    /// Whether the quota, rounded up, is less than the mask has.
    pub(crate) by_quota: bool,
}

/// What there is now, for the calling thread and those it makes.
pub(crate) fn usable() -> Usable {
    let by_mask = thread::affinity_count();
    let by_quota = cgroup::cpu_quota().map_or(usize::MAX, |quota| (quota.ceil() as usize).max(1));
    Usable {
        procs: by_mask.min(by_quota),
        by_quota: by_quota < by_mask,
    }
}

/// Whether the limits are followed. Writers: start, `set_gomaxprocs`. Reader: sysmon.
static FOLLOWED: AtomicBool = AtomicBool::new(false);
/// Looks asked for; the thread waits for it to change.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Starts the thread, unless it runs. It calls `tell` with each reading. One caller at a time.
pub(crate) fn start(tell: fn(Usable)) -> io::Result<()> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    thread::builder("gort-limits".into(), 128 << 10).spawn(move || watch(tell))?;
    STARTED.store(true, Ordering::Relaxed);
    Ok(())
}

fn watch(tell: fn(Usable)) {
    thread::begin_own();
    let mut seen = 0;
    loop {
        while ASKED.load(Ordering::Acquire) == seen {
            futex::wait(&ASKED, seen, NEVER);
        }
        seen = ASKED.load(Ordering::Acquire);
        tell(usable());
    }
}

/// Begins to follow the limits, or leaves off.
pub(crate) fn set_followed(followed: bool) {
    FOLLOWED.store(followed, Ordering::Relaxed);
}

/// Asks for a look, if the limits are followed. Neither allocates nor locks.
pub(crate) fn ask() {
    if FOLLOWED.load(Ordering::Relaxed) {
        ASKED.fetch_add(1, Ordering::Release);
        futex::wake(&raw const ASKED, 1);
    }
}

//! The thread that names, writes and allocates for those who must not.
//!
//! A signal handler may have interrupted malloc or the loader, and sysmon takes no lock that user code can
//! hold. What they have to say is said here: they leave it where the job finds it, and [`ask`]. The thread
//! runs no goroutine and is nobody's waker, so it works whatever the goroutines are doing.
//!
//! A job that hangs, because a goroutine was stopped with a lock in hand or nobody reads stderr, keeps
//! the others: who waits for one waits with a bound.
//!
//! Elsewhere: the jobs (`overflow`, `report`, `stall`), which come as functions.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use gort_arch::trace;

use crate::clock::NEVER;
use crate::os::{futex, thread};

/// What the thread can be asked for. The first in the list comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Job {
    /// A stack has overflowed.
    Overflow,
    /// SIGQUIT has come.
    Quit,
    /// Stalls have ended.
    Stalls,
}

const JOBS: usize = 3;

/// A bit for each job that is asked for. Writers: [`ask`]; the thread, which takes them.
static ASKED: AtomicU32 = AtomicU32::new(0);
/// What to do for each, a `fn()`. Writer: [`set`], before the first question.
static TO_DO: [AtomicPtr<()>; JOBS] = [const { AtomicPtr::new(ptr::null_mut()) }; JOBS];

/// Starts the thread, unless it runs. One caller at a time.
///
/// # Errors
///
/// There is no thread to be had.
pub(crate) fn start() -> std::io::Result<()> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // What the unwinder does at its first use is not for a handler, nor for when others hold what it needs.
    trace::prepare();
    thread::builder("gort-reporter".into(), 1 << 20).spawn(serve)?;
    STARTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Says what is to be done for `job`.
pub(crate) fn set(job: Job, to_do: fn()) {
    TO_DO[job as usize].store(to_do as *mut (), Ordering::Release);
}

/// Asks for `job`; several questions may get one answer. Async-signal-safe.
pub(crate) fn ask(job: Job) {
    ASKED.fetch_or(1 << job as u32, Ordering::Release);
    futex::wake(&raw const ASKED, 1);
}

fn serve() {
    thread::begin_own();
    loop {
        let asked = ASKED.swap(0, Ordering::Acquire);
        if asked == 0 {
            futex::wait(&ASKED, 0, NEVER);
        }
        for (bit, to_do) in TO_DO.iter().enumerate() {
            let to_do = to_do.load(Ordering::Acquire);
            if asked & 1 << bit != 0 && !to_do.is_null() {
                // SAFETY: only `set` stores here, a `fn()`.
                let to_do: fn() = unsafe { std::mem::transmute(to_do) };
                to_do();
            }
        }
    }
}

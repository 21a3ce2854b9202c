//! Signals on their way from the handler to a goroutine that tells whoever wants them.
//!
//! The handler sets the signal's bit in `PENDING` and raises an event counter, for which that goroutine is
//! parked in the poller. Signals of one kind that come before it has looked are one, as they are in the
//! kernel.
//!
//! A handler that was there before is called too, and what was there is done instead of all this with a signal
//! that nobody wants (N1), and in the child of a fork, which has the parent's counter. SIGQUIT is left out:
//! what was there may be our own dump, which ends the process.
//!
//! N1. `WANTED` has a signal's bit from before the handler is installed for it until after it is uninstalled: who
//!     is in the handler without it has come late, as the signal did before, or was called by a handler that had
//!     replaced ours. Neither meets the default action: it was not meant for the late one, and the other's caller
//!     stands in its place. (If ours is installed and nobody wants the signal, who had replaced it has put it back.)
//! N2. *None is lost.* The handler sets the bit and then raises; [`wait`] forgets old readiness, clears the
//!     counter, and then looks at the bits. What is raised later is news for the poller.
//! N3. *None is told late.* The first one to want a signal begins without what came before (`catch`), and what is
//!     taken is told under the lock under which who wants what is changed. (A handler that had seen its signal
//!     wanted, and sets the bit only then, is late all the same.)
//!
//! The goroutine waits for a descriptor: so there is no deadlock while somebody wants signals (`deadlock`, A4),
//! nor does a test hang (`hang`, H2).
//!
//! Elsewhere: who wants what (`gort::signal`), the actions of the process (`os::signal`).

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::clock::NEVER;
use crate::netpoll::{Direction, PollError};
use crate::os::signal::Place;
use crate::os::{epoll, signal};
use crate::poll_fd::PollFd;
use crate::runtime;

/// Signals that somebody wants; signal `n` is bit `n - 1`. Writers: `catch`, `release`. Reader: the handler.
static WANTED: AtomicU64 = AtomicU64::new(0);
/// Those that have come. Writers: the handler, `catch`. Taken by `take`.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// Set by `interrupt`, taken by `wait`.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The event counter. Never closed: the handler has its number.
static COUNTER: OnceLock<PollFd> = OnceLock::new();
/// Its number, for the handler. Written once, by `start`.
static COUNTER_FD: AtomicI32 = AtomicI32::new(-1);
/// The process that has the goroutine. Written once, by `start`.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// A signal's bit in a set.
pub fn bit(signo: c_int) -> u64 {
    1 << (signo - 1)
}

/// Makes what the handler needs; before the first [`catch`] and [`wait`].
///
/// # Errors
///
/// No descriptor can be had, or the poller cannot be started.
pub fn start() -> io::Result<()> {
    runtime::ensure_started();
    if COUNTER.get().is_some() {
        return Ok(());
    }
    let counter = PollFd::new(epoll::counter_create()?)?;
    // If somebody was faster, theirs is as good.
    COUNTER.get_or_init(|| {
        // Before anybody finds the counter, and installs the handler.
        let fd = counter.expose().expect("nobody closes it").as_raw_fd();
        OWNER.store(std::process::id(), Ordering::Relaxed);
        COUNTER_FD.store(fd, Ordering::Release);
        counter
    });
    Ok(())
}

/// From now on `signo` is told to the goroutine in [`wait`]. Callers come one after the other; [`start`] has been
/// called.
///
/// # Panics
///
/// `signo` is no signal, or one that cannot be caught.
pub fn catch(signo: c_int) {
    if WANTED.load(Ordering::SeqCst) & bit(signo) == 0 {
        // N3: it came when the last one who wanted it was going.
        PENDING.fetch_and(!bit(signo), Ordering::SeqCst);
    }
    // N1.
    WANTED.fetch_or(bit(signo), Ordering::SeqCst);
    signal::install_alone(signo, on_signal, libc::SA_ONSTACK | libc::SA_RESTART);
}

/// Undoes [`catch`]: what was done with `signo` before is done again.
pub fn release(signo: c_int) {
    // N1.
    signal::uninstall(signo, on_signal);
    WANTED.fetch_and(!bit(signo), Ordering::SeqCst);
}

/// Has `signo` ignored, caught or not; gives what was done with it before [`catch`] and this. A [`release`] that
/// follows changes nothing.
pub fn ignore(signo: c_int) -> signal::Action {
    signal::ignore(signo, on_signal)
}

/// Parks until signals have come, which wait for [`take`]; or until [`interrupt`]. May also return early.
///
/// # Errors
///
/// None while the counter is open: it is never closed.
pub fn wait() -> Result<(), PollError> {
    let counter = COUNTER.get().expect("`start` comes first");
    let turn = counter.lock(Direction::Read, NEVER)?;
    // N2.
    turn.prepare()?;
    epoll::counter_clear(turn.as_fd());
    if PENDING.load(Ordering::SeqCst) != 0 || INTERRUPTED.swap(false, Ordering::SeqCst) {
        return Ok(());
    }
    turn.wait(NEVER)
}

/// Takes the signals that have come, for those who want them now: under the lock under which [`catch`] and [`release`]
/// are called (N3).
pub fn take() -> u64 {
    PENDING.swap(0, Ordering::SeqCst)
}

/// Has the goroutine in [`wait`] return, or the next one that comes there.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    raise();
}

/// Async-signal-safe.
fn raise() {
    let fd = COUNTER_FD.load(Ordering::Acquire);
    if fd >= 0 {
        // SAFETY: the number of an open descriptor, which is never closed.
        epoll::counter_raise(unsafe { BorrowedFd::borrow_raw(fd) });
    }
}

/// Async-signal-safe.
extern "C" fn on_signal(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno's address is valid in every thread, and in a goroutine's block.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the call has no preconditions.
    let pid = unsafe { libc::getpid() } as u32;
    let is_forked = pid != OWNER.load(Ordering::Relaxed);
    let is_wanted = !is_forked && WANTED.load(Ordering::SeqCst) & bit(signo) != 0;
    let next = signal::next(signo, Place::here(context));
    if is_wanted && !next.is_nested() {
        PENDING.fetch_or(bit(signo), Ordering::SeqCst);
        raise();
    }
    // SAFETY: a handler's own arguments.
    unsafe {
        if !is_wanted && signal::is_installed(signo, on_signal) {
            signal::as_interrupted(signo, context);
            next.chain(info, context);
        } else if !is_wanted || signo != libc::SIGQUIT {
            next.chain_to_handler(info, context);
        }
    }
    // SAFETY: as above. The goroutine, and with it the block, is the same as before.
    unsafe { *libc::__errno_location() = errno };
}

//! Asking a thread for the stack it stands on.
//!
//! A goroutine that is on a thread (running, in a call, or bound to one) cannot be walked from outside: its
//! stack changes. Its thread is sent SIGURG, whose handler calls [`on_signal`]; that walks what the signal
//! interrupted, into memory of ours, and says so. One question at a time.
//!
//! | state   | set by      | then                                                          |
//! |---------|-------------|---------------------------------------------------------------|
//! | FREE    | the asker   | nobody asks                                                   |
//! | ASKED   | the asker   | target and thread are set; the thread may answer              |
//! | WALKING | the handler | the answer is the handler's to write                          |
//! | MISSED  | the handler | the thread has the signal, and something else on it: no answer |
//! | DONE    | the handler | the answer is the asker's to read                             |
//!
//! The asker gives up after 100 ms: the thread may have the signal blocked, or not get a processor. If the
//! handler is at work just then, the words stay its own until it is done; questions get no answer till then.
//!
//! The walk takes no lock (glibc 2.35 and later) and does not allocate, so it may interrupt any code.
//! Elsewhere: the handler itself, and who else uses the signal (`preempt`).
//! Checked by `tests/running.rs`.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gort_arch::stack::Slot;
use gort_arch::trace::{self as arch, Walk};

use super::FRAMES_MAX;
use crate::clock;
use crate::g::{self, G, GRef, Kind, flags};
use crate::os::{futex, thread};
use crate::sched::m;

const FREE: u32 = 0;
const ASKED: u32 = 1;
const WALKING: u32 = 2;
const MISSED: u32 = 3;
const DONE: u32 = 4;

static STATE: AtomicU32 = AtomicU32::new(FREE);
/// The goroutine that is asked for, its number, and the thread that is to answer. Writer: the asker before
/// ASKED. Reader: the handler after it.
static TARGET: AtomicPtr<G> = AtomicPtr::new(std::ptr::null_mut());
static TARGET_ID: AtomicU64 = AtomicU64::new(0);
static TARGET_TID: AtomicU32 = AtomicU32::new(0);
/// The answer. Writer: the handler in WALKING. Reader: the asker after DONE.
static ANSWER: [AtomicUsize; FRAMES_MAX] = [const { AtomicUsize::new(0) }; FRAMES_MAX];
static ANSWER_LEN: AtomicUsize = AtomicUsize::new(0);
static ANSWER_IS_CUT: AtomicBool = AtomicBool::new(false);

/// Whether SIGURG's handler calls `on_signal`. Writer: `set_answered`.
static IS_ANSWERED: AtomicBool = AtomicBool::new(false);

/// How long an asker waits; Go has no such bound, as it stops the world.
pub(super) const ANSWER_NS: u64 = 100_000_000;

/// SIGURG's handler calls [`on_signal`] from now on.
pub fn set_answered() {
    // What the unwinder does at its first use is not for a handler.
    arch::prepare();
    IS_ANSWERED.store(true, Ordering::Release);
}

/// Asks for the stack of goroutine `id`, which is, or was just now, `gp` and on a thread. `None` if it does
/// not answer, or is not on that thread any more.
///
/// Unless `may_interrupt`, a thread that sleeps in the kernel is left alone: a signal would end some calls
/// early.
pub(super) fn ask(
    gp: GRef,
    id: u64,
    may_interrupt: bool,
    buffer: &mut [usize; FRAMES_MAX],
) -> Option<Walk> {
    static ASKERS: Mutex<()> = Mutex::new(());
    if !IS_ANSWERED.load(Ordering::Acquire) {
        return None;
    }
    let tid = m::tid_of(gp)?;
    if !may_interrupt && !thread::is_on_a_processor(tid) {
        return None;
    }
    let _one = ASKERS.lock().unwrap_or_else(PoisonError::into_inner);
    match STATE.load(Ordering::Acquire) {
        // The answer to somebody who has given up.
        FREE | DONE | MISSED => {}
        _ => return None,
    }
    TARGET.store(gp.as_ptr(), Ordering::Relaxed);
    TARGET_ID.store(id, Ordering::Relaxed);
    TARGET_TID.store(tid, Ordering::Relaxed);
    STATE.store(ASKED, Ordering::Release);
    thread::signal(tid, libc::SIGURG);
    let deadline_ns = clock::now_ns() + ANSWER_NS;
    loop {
        match STATE.load(Ordering::Acquire) {
            DONE => break,
            ASKED if clock::now_ns() >= deadline_ns => {
                let took_back =
                    STATE.compare_exchange(ASKED, FREE, Ordering::Relaxed, Ordering::Relaxed);
                if took_back.is_ok() {
                    return None;
                }
            }
            WALKING if clock::now_ns() >= deadline_ns + ANSWER_NS => return None,
            state @ ASKED => {
                futex::wait(&STATE, state, deadline_ns);
            }
            state @ WALKING => {
                futex::wait(&STATE, state, deadline_ns + ANSWER_NS);
            }
            _ => return None,
        }
    }
    let walk = Walk {
        len: ANSWER_LEN.load(Ordering::Relaxed),
        is_cut: ANSWER_IS_CUT.load(Ordering::Relaxed),
    };
    for (to, from) in buffer.iter_mut().zip(&ANSWER[..walk.len]) {
        *to = from.load(Ordering::Relaxed);
    }
    STATE.store(FREE, Ordering::Release);
    Some(walk)
}

/// Async-signal-safe: answers a question that this thread is asked. For SIGURG's handler, with its third
/// argument, before anything else. True if the signal came (also) for that.
///
/// # Safety
///
/// `context` is the `ucontext_t` of the signal handler that calls.
pub unsafe fn on_signal(context: *mut c_void) -> bool {
    if STATE.load(Ordering::Acquire) != ASKED || TARGET_TID.load(Ordering::Relaxed) != thread::tid()
    {
        return false;
    }
    let change = |from, to| {
        let done = STATE.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        done.is_ok()
    };
    // SAFETY: as the caller promises.
    if !unsafe { stands_on_target(context) } {
        if change(ASKED, MISSED) {
            futex::wake(&raw const STATE, 1);
        }
        return true;
    }
    if change(ASKED, WALKING) {
        let mut addresses = [0; FRAMES_MAX];
        // SAFETY: as the caller promises.
        let walk = unsafe { arch::interrupted(context, &mut addresses) };
        for (to, from) in ANSWER.iter().zip(&addresses[..walk.len]) {
            to.store(*from, Ordering::Relaxed);
        }
        ANSWER_LEN.store(walk.len, Ordering::Relaxed);
        ANSWER_IS_CUT.store(walk.is_cut, Ordering::Relaxed);
        STATE.store(DONE, Ordering::Release);
        futex::wake(&raw const STATE, 1);
    }
    true
}

/// Whether what was interrupted is the goroutine that is asked for, on its own stack.
///
/// # Safety
///
/// As `on_signal`.
unsafe fn stands_on_target(context: *mut c_void) -> bool {
    let Some(gp) = g::running_here() else {
        return false;
    };
    if gp.as_ptr() != TARGET.load(Ordering::Relaxed) || gp.id() != TARGET_ID.load(Ordering::Relaxed)
    {
        return false;
    }
    if gp.get().kind.get() != Kind::Stackful {
        return true;
    }
    if gp.get().has_flag(flags::PREEMPTED) {
        // In a handler already, which waits for a P: on another stack, with this goroutine's below.
        return true;
    }
    // In the midst of a switch the block may be the one's and the stack the other's.
    // SAFETY: the current goroutine, stackful, has its slot.
    let slot = unsafe { Slot::from_raw(gp.get().slot.get()) };
    // SAFETY: as the caller promises.
    slot.contains(unsafe { stack_pointer(context) })
}

/// # Safety
///
/// As `on_signal`.
#[cfg(target_arch = "x86_64")]
unsafe fn stack_pointer(context: *mut c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel's context of a signal.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] as usize }
}

/// Elsewhere there are no stackful goroutines.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn stack_pointer(_context: *mut c_void) -> usize {
    0
}

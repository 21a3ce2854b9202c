//! Thread-local storage: a goroutine is a thread to all code.
//!
//! Each slot holds a thread-local block and thread control block of libc's own shape, and the switch
//! changes the FS base together with the stack pointer. So `thread_local!`, `errno`, the panic count,
//! `thread::current()`, stdio's lock owners belong to the goroutine, and an address of one of them,
//! kept in a register across a call that parks, stays right when the goroutine moves to another M.
//!
//! Nothing about libc's structures is guessed: sizes and offsets come from symbols that glibc exports
//! for debuggers, the contents from two new threads, compared word by word (`template`), and a probe
//! goroutine must find what it should (`probe`). Whenever something is not as expected, the answer of
//! [`init`] is [`Mode::Thread`] with the reason: there each goroutine has an OS thread, which is
//! always right.
//!
//! What crosses from the M into a goroutine's block and back: the words of libc's malloc (its
//! per-thread cache stays with the M, so ten million goroutines have no ten million caches). So
//! nothing may move a goroutine to another M while it is inside malloc; the scheduler preempts in
//! place, see `preempt`.
//!
//! Which thread id the control block of a goroutine carries is [`Tid`].
//!
//! With `--cfg gort_tsan` there is thread mode alone: ThreadSanitizer keeps its idea of a thread in
//! thread-local storage and calls our stand-ins for libc's functions before it is ready for our code.
//!
//! Elsewhere: where the block lies (`stack`), when it is switched (the scheduler). Checked by
//! `tests/tls.rs`; `GORT_TLS=thread` chooses thread mode from outside.

#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(gort_tsan)
))]
mod own;
#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(gort_tsan)
))]
use own as imp;

#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(gort_tsan)
)))]
mod thread_only;
#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(gort_tsan)
)))]
use thread_only as imp;

mod static_info;

use std::sync::OnceLock;

use crate::stack::{Slot, StackError};

/// How goroutines come to their thread-locals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Each goroutine has its own block; the switch changes the FS base.
    Own,
    /// Each goroutine has an OS thread.
    Thread,
    /// All goroutines of an M use its block: unsound, and here to show that the tests notice. Only in
    /// builds with `--cfg gort_fault="shared_tls"` and `GORT_TLS=shared-for-tests`.
    Shared,
}

/// What the program asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Request {
    /// Own blocks where they can be had; `GORT_TLS=thread` or `own` decides otherwise.
    #[default]
    Auto,
    /// Own blocks, whatever the environment says. Thread mode where they cannot be had.
    Own,
    /// An OS thread for each goroutine.
    Thread,
}

/// The thread id in the control block of a goroutine, which C's mutexes take for the owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tid {
    /// An id of its own, above every thread's and below 2^30. A recursive or error-checking mutex, a
    /// rwlock, the loader's lock belong to one goroutine, also when several run on one M. The kernel
    /// does not know the id, so a contended priority-inheritance mutex would wait for ever:
    /// `pthread_mutexattr_setprotocol` then answers ENOTSUP. The default.
    Unique,
    /// The M's. Priority-inheritance mutexes work while they are not held across a park, but two
    /// goroutines on one M are one owner to C, so that a callback that parks can let a second
    /// goroutine into a recursive mutex.
    Thread,
}

/// What [`init`] found.
#[derive(Clone, Debug)]
pub struct Support {
    /// How goroutines come to their thread-locals.
    pub mode: Mode,
    /// One line that says why, for `gort doctor` and bug reports.
    pub reason: String,
    /// Whether the FS base is changed with `wrfsbase`.
    pub fsgsbase: bool,
    /// The thread id in a goroutine's control block. Of no meaning in thread mode.
    pub tid: Tid,
    /// Bytes of thread-locals of the program and the libraries loaded at start.
    pub static_bytes: usize,
    /// Bytes kept free in each block for initial-exec thread-locals of libraries loaded later.
    pub surplus_bytes: usize,
    /// Words of libc's malloc that the M lends to the goroutine it runs.
    pub malloc_words: usize,
}

static SUPPORT: OnceLock<Support> = OnceLock::new();

/// Builds the template of a thread-local block, checks itself, and says what goroutines will have.
///
/// Called before the first goroutine, from any thread; the first call decides. Creates and joins two
/// threads. Never panics: whatever is not as expected becomes [`Mode::Thread`] with a reason.
pub fn init(request: Request) -> &'static Support {
    SUPPORT.get_or_init(|| {
        crate::context::init(std::env::var_os("GORT_FSGSBASE").is_some_and(|v| v == "0"));
        let wish = std::env::var("GORT_TLS").ok();
        let why = match (request, wish.as_deref()) {
            (Request::Auto | Request::Thread, Some("thread")) => Err("GORT_TLS=thread".to_owned()),
            (Request::Thread, _) => Err("asked for by the program".to_owned()),
            // It should not panic; if it does, that is one more reason not to trust it.
            (Request::Auto | Request::Own, _) => std::panic::catch_unwind(imp::init)
                .unwrap_or_else(|_| Err("the self-check panicked".to_owned())),
        };
        let mut support = why.unwrap_or_else(|reason| Support {
            mode: Mode::Thread,
            reason: format!("thread: {reason}"),
            fsgsbase: crate::context::has_fast_fs(),
            tid: Tid::Thread,
            static_bytes: 0,
            surplus_bytes: 0,
            malloc_words: 0,
        });
        if cfg!(gort_fault = "shared_tls")
            && wish.as_deref() == Some("shared-for-tests")
            && support.mode == Mode::Own
        {
            support.mode = Mode::Shared;
            support.reason = "shared: GORT_TLS=shared-for-tests (unsound, for tests only)".into();
        }
        support
    })
}

/// What [`init`] found, if it has been called.
pub fn support() -> Option<&'static Support> {
    SUPPORT.get()
}

/// The thread-local side of an M: its own FS base and thread id.
///
/// The default value stands for no thread and may be passed to nothing but assignments.
#[derive(Clone, Copy, Default, Debug)]
pub struct ThreadTls {
    fs: usize,
    tid: u32,
}

impl ThreadTls {
    /// The state of the calling thread, which becomes an M. Makes its malloc state, so that there is one
    /// to lend, and ends its restartable sequences (see `end_rseq`).
    ///
    /// # Safety
    ///
    /// Called on the M itself, on its own FS base; the M lives as long as goroutines run on it.
    pub unsafe fn capture() -> ThreadTls {
        imp::end_rseq();
        ThreadTls::of_this_thread()
    }

    fn of_this_thread() -> ThreadTls {
        imp::force_malloc_state();
        ThreadTls {
            fs: imp::fs_base(),
            tid: crate::sys::gettid(),
        }
    }

    /// The M's own FS base, which is also its `pthread_t`.
    #[inline]
    pub fn fs(&self) -> usize {
        self.fs
    }

    /// The M's thread id as the kernel knows it.
    #[inline]
    pub fn tid(&self) -> u32 {
        self.tid
    }
}

/// Before switching from the M's own FS to the block `fs`: lends the malloc words to the block.
///
/// # Safety
///
/// `m` was captured on this thread, which is on its own FS base. `fs` is the block of a slot that
/// this M is about to run, in [`Mode::Own`].
#[inline(always)]
pub unsafe fn enter(m: &mut ThreadTls, fs: usize) {
    // SAFETY: the caller's contract is the same.
    unsafe { imp::lend(m.fs, fs, m.tid) }
}

/// After switching back from the block `fs` to the M's own FS: takes the malloc words back.
///
/// # Safety
///
/// As [`enter`]; the goroutine of `fs` stopped on this M, and nobody runs it yet.
#[inline(always)]
pub unsafe fn leave(m: &mut ThreadTls, fs: usize) {
    // SAFETY: the caller's contract is the same.
    unsafe { imp::take_back(fs, m.fs) }
}

/// From goroutine straight to goroutine on the same M: hands the malloc words on.
///
/// Called before the switch, while the first goroutine's FS base is set; nothing may call malloc
/// between this and the switch.
///
/// # Safety
///
/// `from_fs` is the block of the goroutine that runs on `m`, `to_fs` of the one about to run there.
#[inline(always)]
pub unsafe fn hand_over(m: &mut ThreadTls, from_fs: usize, to_fs: usize) {
    // SAFETY: the caller's contract is the same.
    unsafe { imp::lend(from_fs, to_fs, m.tid) }
}

/// Has the processor fetch what it touches of a goroutine's block when the goroutine goes on, and ends. A hint that does
/// nothing else, whatever `fs` is.
#[inline]
pub fn prefetch(fs: usize) {
    imp::prefetch(fs);
}

/// Ends the thread that the goroutine is to libc: runs the destructors of `thread_local!`s and of
/// pthread keys, and frees what libc keeps for it. User code runs here, and may park.
///
/// # Safety
///
/// Called once, on the goroutine, as the last user code it runs; afterwards it only switches away.
pub unsafe fn run_destructors() {
    if cfg!(gort_fault = "shared_tls") && support().is_some_and(|s| s.mode == Mode::Shared) {
        return; // they are the M's
    }
    // SAFETY: the caller's contract is the same.
    unsafe { imp::run_destructors() }
}

/// Makes the block of a slot that is about to be used look like a new thread's. Calls malloc the first
/// time.
///
/// # Errors
///
/// When malloc has nothing.
///
/// # Safety
///
/// The slot is the caller's alone: never used, or its last goroutine ran [`run_destructors`] and has
/// switched away for good. The caller runs on another FS base.
#[inline]
pub unsafe fn renew(slot: Slot) -> Result<(), StackError> {
    // SAFETY: the caller's contract is the same.
    unsafe { imp::renew(slot) }
}

/// Does most of the next [`renew`]'s work now, where the block is still in this processor's caches. Not for a
/// goroutine that was parked for long: each line of its block would be a miss, here and there.
///
/// # Safety
///
/// The slot is the caller's alone. A goroutine ran there, which has called [`run_destructors`] and has switched
/// away for good; [`renew`] comes before the next use. The caller runs on another FS base.
#[inline]
pub unsafe fn clean(slot: Slot) {
    // SAFETY: the caller's contract is the same.
    unsafe { imp::clean(slot) }
}

/// Runs `f` on the M's own FS base, for code that must meet the OS thread: the `set*id` family, and
/// allocators that keep a cache per thread. A panic in `f` goes on in the caller.
///
/// In there the goroutine's thread-locals are out of sight, and no goroutine can be found: `f` must
/// not call the scheduler.
///
/// # Safety
///
/// Called on the goroutine whose block is `fs` and which runs on `m`. `f` does not switch contexts,
/// and gives back no reference to a thread-local of the M.
pub unsafe fn on_thread_fs<R>(m: &mut ThreadTls, fs: usize, f: impl FnOnce() -> R) -> R {
    // SAFETY: the caller's contract is the same.
    unsafe { imp::on_thread_fs(m, fs, f) }
}

/// Bytes of a slot that the thread-local block takes, the part that stays untouched included.
pub fn block_bytes() -> usize {
    imp::block_bytes()
}

/// Bytes that libc takes from a new thread's stack for its thread-locals and control block: whoever wants so
/// much stack asks for as much more. 0 where libc puts them elsewhere.
pub fn bytes_in_thread_stack() -> usize {
    static_info::find().map_or(0, |(bytes, _)| bytes)
}

/// The place of a thread-local relative to the FS base, given its address on this thread.
///
/// `fs + offset` is then its address in another block. `None` if it does not lie in static storage,
/// as in a library loaded with `dlopen`, or if there are no own blocks.
pub fn thread_local_offset(addr_on_this_thread: usize) -> Option<isize> {
    imp::thread_local_offset(addr_on_this_thread)
}

/// Looks for libraries that were loaded since the last call, and gives their initial-exec
/// thread-locals a place in every block. Ends the process with a clear text if there is no room.
///
/// Cheap when nothing was loaded. libc loads libraries by itself in `getaddrinfo` and `iconv`;
/// `stack::allocate` calls this too. May wait for the loader's lock: not for code inside the runtime.
pub fn check_loaded() {
    imp::check_loaded();
}

/// Tells the functions that stand before libc's own how to find the goroutine they run on: its slot,
/// and the M it runs on.
///
/// `f` must be async-signal-safe, and answer `None` on an FS base that is not a goroutine's.
pub fn set_current_hook(f: fn() -> Option<(Slot, *mut ThreadTls)>) {
    imp::set_current_hook(f);
}

/// Has `f` called when a goroutine has changed the signal mask or the alternate signal stack of the
/// thread it runs on: on the goroutine, after the change, not in a handler on the alternate stack.
pub fn set_signals_hook(f: fn()) {
    imp::set_signals_hook(f);
}

//! Functions that stand before libc's, because libc would answer from the control block of a thread
//! that a goroutine is not.
//!
//! | function                                   | on a goroutine                                      |
//! |--------------------------------------------|-----------------------------------------------------|
//! | `pthread_getattr_np`                       | the slot's bounds, also for another goroutine       |
//! | `sched_getcpu`, `gettid`                   | the kernel's answer                                 |
//! | `pthread_gettid_np`, affinity, scheduling  | of itself: the M's                                  |
//! | parameters, `pthread_getcpuclockid`,       |                                                     |
//! | `pthread_sigqueue`                         |                                                     |
//! | `setuid` and its family                    | on the M's FS: libc signals all *other* threads and |
//! |                                            | waits for them, and takes the FS base for "I"       |
//! | `pthread_mutexattr_setprotocol`            | refuses what needs the kernel to know the owner     |
//! | `sigaltstack`, `pthread_sigmask`,          | as in libc, of the M; then the scheduler is told,   |
//! | `sigprocmask`                              | which keeps others off that M                       |
//! | `dlopen`                                   | in `dlopen`                                         |
//!
//! And one signal handler: glibc's for SIGSETXID, which runs the same system call on every thread,
//! runs on the M's FS wherever it interrupts.
//!
//! On a thread that is not on a goroutine, and before `tls::init`, each does what libc does. In the
//! child of a `fork` the goroutine that forked *is* the thread that libc knows, so there too.
//!
//! These symbols are found before libc's because the program defines them. `init` refers to them,
//! which is what links them in.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};

use super::current;
use crate::context;
use crate::stack::{self, Slot};
use crate::sys;
use crate::tls::ThreadTls;

/// The function of libc behind one of ours.
pub(super) struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Next {
    pub(super) const fn new(name: &'static CStr) -> Next {
        Next {
            name,
            address: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Its address; null if this libc does not have it.
    pub(super) fn address(&self) -> *mut c_void {
        let known = self.address.load(Acquire);
        if !known.is_null() {
            return known;
        }
        // SAFETY: a terminated name. "Next" is seen from this code, which is part of the program.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.address.store(found, Release);
        found
    }
}

/// libc's function behind one of ours, as a function of the type given.
macro_rules! next {
    ($next:expr, fn($($arg:ty),*) -> $result:ty) => {{
        let address = $next.address();
        // SAFETY: the type is that of the libc function of this name.
        (!address.is_null()).then(|| unsafe {
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) -> $result>(address)
        })
    }};
}
pub(super) use next;

/// Defines functions that run libc's on the M's FS.
macro_rules! on_the_thread {
    ($($name:ident($($arg:ident: $type:ty),*) by $next:ident;)*) => {
        $(
            static $next: Next = Next::new(
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("no name"),
                },
            );

            /// As in libc.
            ///
            /// # Safety
            ///
            /// As in libc.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
                let Some(f) = next!($next, fn($($type),*) -> c_int) else { return missing() };
                // SAFETY: the caller keeps libc's contract. The function does not switch contexts.
                on_thread(|| unsafe { f($($arg),*) })
            }
        )*

        fn resolve_family() {
            $($next.address();)*
        }

        fn addresses_of_family() -> impl Iterator<Item = *const ()> {
            [$($name as *const ()),*].into_iter()
        }
    };
}

on_the_thread! {
    setuid(uid: libc::uid_t) by SETUID;
    setgid(gid: libc::gid_t) by SETGID;
    seteuid(uid: libc::uid_t) by SETEUID;
    setegid(gid: libc::gid_t) by SETEGID;
    setreuid(real: libc::uid_t, effective: libc::uid_t) by SETREUID;
    setregid(real: libc::gid_t, effective: libc::gid_t) by SETREGID;
    setresuid(real: libc::uid_t, effective: libc::uid_t, saved: libc::uid_t) by SETRESUID;
    setresgid(real: libc::gid_t, effective: libc::gid_t, saved: libc::gid_t) by SETRESGID;
    setgroups(len: libc::size_t, groups: *const libc::gid_t) by SETGROUPS;
    initgroups(user: *const libc::c_char, group: libc::gid_t) by INITGROUPS;
}

static PTHREAD_GETATTR_NP: Next = Next::new(c"pthread_getattr_np");
static SCHED_GETCPU: Next = Next::new(c"sched_getcpu");
static GETTID: Next = Next::new(c"gettid");
static PTHREAD_GETTID_NP: Next = Next::new(c"pthread_gettid_np");
static PTHREAD_GETAFFINITY_NP: Next = Next::new(c"pthread_getaffinity_np");
static PTHREAD_SETAFFINITY_NP: Next = Next::new(c"pthread_setaffinity_np");
static PTHREAD_GETSCHEDPARAM: Next = Next::new(c"pthread_getschedparam");
static PTHREAD_SETSCHEDPARAM: Next = Next::new(c"pthread_setschedparam");
static PTHREAD_SETSCHEDPRIO: Next = Next::new(c"pthread_setschedprio");
static PTHREAD_GETCPUCLOCKID: Next = Next::new(c"pthread_getcpuclockid");
static PTHREAD_SIGQUEUE: Next = Next::new(c"pthread_sigqueue");
static PTHREAD_MUTEXATTR_SETPROTOCOL: Next = Next::new(c"pthread_mutexattr_setprotocol");

/// Whether control blocks carry ids that the kernel does not know.
static UNIQUE_TIDS: AtomicBool = AtomicBool::new(false);
/// libc's handler of SIGSETXID; 0 if ours is not installed.
static SETXID_HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Looks up what must be found without the loader's lock later, as in the child of a `fork`, and
/// installs the signal handler.
pub(super) fn start(unique_tids: bool) {
    resolve_family();
    for next in [
        &PTHREAD_GETATTR_NP,
        &SCHED_GETCPU,
        &GETTID,
        &PTHREAD_GETAFFINITY_NP,
        &PTHREAD_SETAFFINITY_NP,
        &PTHREAD_GETSCHEDPARAM,
        &PTHREAD_SETSCHEDPARAM,
        &PTHREAD_SETSCHEDPRIO,
        &PTHREAD_GETCPUCLOCKID,
        &PTHREAD_SIGQUEUE,
        &PTHREAD_MUTEXATTR_SETPROTOCOL,
    ] {
        next.address();
    }
    core::hint::black_box((addresses_of_family().count(), addresses_of_others()));
    UNIQUE_TIDS.store(unique_tids, Release);
    wrap_setxid_handler();
}

fn addresses_of_others() -> [*const (); 15] {
    [
        pthread_getattr_np as *const (),
        sched_getcpu as *const (),
        gettid as *const (),
        pthread_gettid_np as *const (),
        pthread_getaffinity_np as *const (),
        pthread_setaffinity_np as *const (),
        pthread_getschedparam as *const (),
        pthread_setschedparam as *const (),
        pthread_setschedprio as *const (),
        pthread_getcpuclockid as *const (),
        pthread_sigqueue as *const (),
        pthread_mutexattr_setprotocol as *const (),
        sigaltstack as *const (),
        pthread_sigmask as *const (),
        sigprocmask as *const (),
    ]
}

/// The running goroutine and its M, unless this is the child of a `fork`, where the goroutine is the
/// only thread that libc knows.
fn current_on_thread() -> Option<(Slot, *mut ThreadTls)> {
    let (slot, m) = current()?;
    // SAFETY: the M of a running goroutine lives.
    let tid = unsafe { (*m).tid() };
    (context::fs_base() == slot.fs() && sys::gettid() == tid).then_some((slot, m))
}

/// Runs a libc function on the M's FS, and brings `errno` back if it says -1.
pub(super) fn on_thread(f: impl FnOnce() -> c_int) -> c_int {
    let Some((slot, m)) = current_on_thread() else {
        return f();
    };
    let call = || {
        let result = f();
        // SAFETY: the address of the errno of the FS we are on.
        (result, unsafe { *libc::__errno_location() })
    };
    // SAFETY: we run on the goroutine of `slot`, on `m`. Only libc is called there.
    let (result, errno) = unsafe { crate::tls::on_thread_fs(&mut *m, slot.fs(), call) };
    if result == -1 {
        // SAFETY: as above; this is the goroutine's errno again.
        unsafe { *libc::__errno_location() = errno };
    }
    result
}

/// libc does not have the function: what the kernel would say.
fn missing() -> c_int {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

/// The thread that libc knows: for the running goroutine itself its M, else `thread`.
fn known_thread(thread: libc::pthread_t) -> libc::pthread_t {
    match current_on_thread() {
        // SAFETY: the M of a running goroutine lives. Its FS base is its `pthread_t`.
        Some((slot, m)) if thread as usize == slot.fs() => unsafe { (*m).fs() as libc::pthread_t },
        _ => thread,
    }
}

/// As in libc; a goroutine's stack is the part of its slot above the guard.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getattr_np(
    thread: libc::pthread_t,
    attributes: *mut libc::pthread_attr_t,
) -> c_int {
    if let Some(slot) = stack::find(thread as usize)
        && slot.fs() == thread as usize
    {
        let low = slot.limit() as usize;
        // SAFETY: the caller gives attributes that are valid for a write.
        unsafe {
            libc::pthread_attr_init(attributes);
            libc::pthread_attr_setguardsize(attributes, slot.class().guard_bytes());
            // Up to the end, as libc counts its own block to a thread's stack.
            return libc::pthread_attr_setstack(attributes, low as *mut c_void, slot.end() - low);
        }
    }
    match next!(
        PTHREAD_GETATTR_NP,
        fn(libc::pthread_t, *mut libc::pthread_attr_t) -> c_int
    ) {
        // SAFETY: the caller keeps libc's contract.
        Some(f) => unsafe { f(thread, attributes) },
        None => libc::ENOSYS,
    }
}

/// As in libc, which would read the rseq area of a thread.
///
/// # Safety
///
/// None: it is `unsafe` because the symbol is libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getcpu() -> c_int {
    if current().is_none()
        && let Some(f) = next!(SCHED_GETCPU, fn() -> c_int)
    {
        // SAFETY: no preconditions.
        return unsafe { f() };
    }
    let mut cpu = 0u32;
    // SAFETY: the kernel writes one word.
    let error = unsafe { sys::raw(libc::SYS_getcpu, [(&raw mut cpu) as usize, 0, 0, 0]) };
    if error < 0 { missing() } else { cpu as c_int }
}

/// As in libc, which may read the id from the control block.
///
/// # Safety
///
/// None: it is `unsafe` because the symbol is libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettid() -> libc::pid_t {
    if current().is_none()
        && let Some(f) = next!(GETTID, fn() -> libc::pid_t)
    {
        // SAFETY: no preconditions.
        return unsafe { f() };
    }
    sys::gettid() as libc::pid_t
}

/// As in libc (glibc 2.42).
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_gettid_np(thread: libc::pthread_t) -> libc::pid_t {
    match next!(PTHREAD_GETTID_NP, fn(libc::pthread_t) -> libc::pid_t) {
        // SAFETY: the caller keeps libc's contract.
        Some(f) => unsafe { f(known_thread(thread)) },
        // SAFETY: no preconditions.
        None if thread == unsafe { libc::pthread_self() } => sys::gettid() as libc::pid_t,
        None => missing(),
    }
}

/// As in libc.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getaffinity_np(
    thread: libc::pthread_t,
    bytes: libc::size_t,
    set: *mut libc::cpu_set_t,
) -> c_int {
    let f = next!(
        PTHREAD_GETAFFINITY_NP,
        fn(libc::pthread_t, libc::size_t, *mut libc::cpu_set_t) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe {
        f(known_thread(thread), bytes, set)
    })
}

/// As in libc; of a goroutine, its M.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setaffinity_np(
    thread: libc::pthread_t,
    bytes: libc::size_t,
    set: *const libc::cpu_set_t,
) -> c_int {
    let f = next!(
        PTHREAD_SETAFFINITY_NP,
        fn(libc::pthread_t, libc::size_t, *const libc::cpu_set_t) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe {
        f(known_thread(thread), bytes, set)
    })
}

/// As in libc.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getschedparam(
    thread: libc::pthread_t,
    policy: *mut c_int,
    parameters: *mut libc::sched_param,
) -> c_int {
    let f = next!(
        PTHREAD_GETSCHEDPARAM,
        fn(libc::pthread_t, *mut c_int, *mut libc::sched_param) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe {
        f(known_thread(thread), policy, parameters)
    })
}

/// As in libc; of a goroutine, its M.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setschedparam(
    thread: libc::pthread_t,
    policy: c_int,
    parameters: *const libc::sched_param,
) -> c_int {
    let f = next!(
        PTHREAD_SETSCHEDPARAM,
        fn(libc::pthread_t, c_int, *const libc::sched_param) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe {
        f(known_thread(thread), policy, parameters)
    })
}

/// As in libc; of a goroutine, its M.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setschedprio(thread: libc::pthread_t, priority: c_int) -> c_int {
    let f = next!(PTHREAD_SETSCHEDPRIO, fn(libc::pthread_t, c_int) -> c_int);
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe {
        f(known_thread(thread), priority)
    })
}

/// As in libc; of a goroutine, its M's clock.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getcpuclockid(
    thread: libc::pthread_t,
    clock: *mut libc::clockid_t,
) -> c_int {
    let f = next!(
        PTHREAD_GETCPUCLOCKID,
        fn(libc::pthread_t, *mut libc::clockid_t) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe { f(known_thread(thread), clock) })
}

/// As in libc; to a goroutine itself, to its M.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigqueue(
    thread: libc::pthread_t,
    number: c_int,
    value: libc::sigval,
) -> c_int {
    let f = next!(
        PTHREAD_SIGQUEUE,
        fn(libc::pthread_t, c_int, libc::sigval) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe {
        f(known_thread(thread), number, value)
    })
}

/// As in libc, but once goroutines exist whose ids the kernel does not know, a mutex cannot ask the
/// kernel to raise its owner's priority: ENOTSUP.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutexattr_setprotocol(
    attributes: *mut libc::pthread_mutexattr_t,
    protocol: c_int,
) -> c_int {
    if protocol != libc::PTHREAD_PRIO_NONE && UNIQUE_TIDS.load(Acquire) {
        return libc::ENOTSUP;
    }
    let f = next!(
        PTHREAD_MUTEXATTR_SETPROTOCOL,
        fn(*mut libc::pthread_mutexattr_t, c_int) -> c_int
    );
    // SAFETY: the caller keeps libc's contract.
    f.map_or(libc::ENOSYS, |f| unsafe { f(attributes, protocol) })
}

/// A function without arguments; null until `set_signals_hook`.
static SIGNALS_HOOK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

pub(super) fn set_signals_hook(f: fn()) {
    SIGNALS_HOOK.store(f as *mut (), Release);
}

/// Tells who wants to know that the running goroutine has changed its thread's signals.
///
/// What a handler changes is undone by its return, if it changes the mask, and refused, if the stack:
/// nobody is told of handlers on the alternate stack. Of others it cannot be seen what they are.
fn signals_changed() {
    let here = 0_u8;
    let hook = SIGNALS_HOOK.load(Acquire);
    if hook.is_null()
        || !current_on_thread().is_some_and(|(slot, _)| slot.contains((&raw const here) as usize))
    {
        return;
    }
    // SAFETY: only `set_signals_hook` stores there, a function of this type.
    unsafe { core::mem::transmute::<*mut (), fn()>(hook)() }
}

/// As in libc. Async-signal-safe, also before the start: by the system call.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int {
    // SAFETY: the caller keeps the contract, which is the kernel's.
    let error = unsafe { sys::raw(libc::SYS_sigaltstack, [new as usize, old as usize, 0, 0]) };
    if error < 0 {
        // SAFETY: the address of this thread's errno.
        unsafe { *libc::__errno_location() = -error as c_int };
        return -1;
    }
    if !new.is_null() {
        signals_changed();
    }
    0
}

/// As in libc. Async-signal-safe, also before the start: by the system call.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    /// The signals that libc sends itself, which nobody may block: 32 (SIGCANCEL) and 33 (SIGSETXID).
    const LIBCS: u64 = 0b11 << 31;
    let mut mask = 0_u64;
    let new_mask = if new.is_null() {
        0
    } else {
        // SAFETY: the kernel's set is the first 64 bits of libc's, which the caller gives.
        mask = unsafe { new.cast::<u64>().read_unaligned() } & !LIBCS;
        (&raw const mask) as usize
    };
    let bytes = size_of_val(&mask);
    // SAFETY: the kernel reads `mask` and writes 64 bits of the caller's set.
    let error = unsafe {
        sys::raw(
            libc::SYS_rt_sigprocmask,
            [how as usize, new_mask, old as usize, bytes],
        )
    };
    if error == 0 && !new.is_null() {
        signals_changed();
    }
    -error as c_int
}

/// As in libc.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: the caller's contract is the same.
    let error = unsafe { pthread_sigmask(how, new, old) };
    if error == 0 {
        return 0;
    }
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// The signal by which glibc makes every thread change its ids.
const SIGSETXID: usize = 33;

/// `struct sigaction` as the kernel has it on x86-64.
#[repr(C)]
#[derive(Default)]
struct KernelSigaction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// Stands before libc's handler. libc installs it when the first thread is created, once, and
/// `template` has created threads.
fn wrap_setxid_handler() {
    let mut action = KernelSigaction::default();
    let bytes = size_of_val(&action.mask);
    let number = libc::SYS_rt_sigaction;
    // SAFETY: the kernel writes one structure.
    let error = unsafe { sys::raw(number, [SIGSETXID, 0, (&raw mut action) as usize, bytes]) };
    if error != 0 || action.handler <= 1 || action.handler == on_setxid as *const () as usize {
        return;
    }
    SETXID_HANDLER.store(action.handler, Release);
    action.handler = on_setxid as *const () as usize;
    // Not on the goroutine's stack, of which little may be left.
    action.flags |= libc::SA_ONSTACK as usize;
    // SAFETY: the kernel reads one structure; the handler has the type that SA_SIGINFO wants, and the
    // restorer is libc's own.
    unsafe { sys::raw(number, [SIGSETXID, (&raw const action) as usize, 0, bytes]) };
}

/// What libc's handler is called with.
struct Signal {
    number: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
}

/// Async-signal-safe.
unsafe extern "C" fn on_setxid(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    unsafe extern "C" fn run(data: usize) {
        let handler = SETXID_HANDLER.load(Acquire);
        // SAFETY: `on_setxid` passes the address of its `signal`, and waits.
        let signal = unsafe { &*(data as *const Signal) };
        // SAFETY: libc's handler, installed with SA_SIGINFO, gets what the kernel passed.
        unsafe {
            let handler = core::mem::transmute::<
                usize,
                unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void),
            >(handler);
            handler(signal.number, signal.info, signal.context);
        }
    }
    let signal = Signal {
        number,
        info,
        context,
    };
    let data = (&raw const signal) as usize;
    match current_on_thread() {
        // SAFETY: this goroutine runs on `m`, whose own block is idle meanwhile. libc's handler calls
        // the kernel and changes marks of its thread; it neither unwinds nor allocates.
        Some((slot, m)) => unsafe { context::call_on_fs((*m).fs(), slot.fs(), run, data) },
        // SAFETY: on a plain thread, as without us.
        None => unsafe { run(data) },
    }
}

//! Signals: handlers that keep what was there before, and signals to one thread.
//!
//! A process has one handler per signal, and libraries share it by chaining: [`install`] remembers the
//! action it replaces, and our handler passes on with [`chain`] whatever is not ours. What was there
//! then acts as the kernel would have had it: its mask applies, a one-shot handler is used once, and
//! the default action is taken by the kernel itself. One difference remains: it runs on the stack ours
//! runs on, the alternate one.
//!
//! Alternate stacks, and what else the kernel keeps for each thread, are in `of_thread`; handlers that go on to
//! each other in a circle in `nesting`.
//!
//! Elsewhere: which signals are taken and what is done about them (`preempt`, `overflow`).

mod nesting;
mod of_thread;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

pub use nesting::Place;
pub use of_thread::{AlternateStack, ThreadSignals, alternate_stack};

/// A signal's handler with all its arguments.
pub type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Signals are numbered from 1 to 64.
const SIGNALS: usize = 65;

/// The numbers of signals, by name.
pub mod number {
    pub use libc::{
        SIGABRT, SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL,
        SIGPIPE, SIGPROF, SIGPWR, SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP,
        SIGTTIN, SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
    };
}

/// The highest signal.
pub const LAST: c_int = SIGNALS as c_int - 1;

/// Whether there is a signal of that number for programs. Between the others and the real-time ones libc
/// keeps some for itself (glibc 32 and 33).
pub fn is_signal(number: c_int) -> bool {
    (1..32).contains(&number) || (libc::SIGRTMIN()..=LAST).contains(&number)
}

/// An action that [`install`] replaced.
#[derive(Debug)]
struct Replaced {
    action: libc::sigaction,
    /// Whether a one-shot handler has been called. Readers and writers: `chain`.
    used: AtomicBool,
    /// What was replaced the time before.
    older: Option<&'static Replaced>,
}

/// By signal number; null where nothing was replaced. Written by `install`, never freed: a handler
/// may be reading it at any time.
static REPLACED: [AtomicPtr<Replaced>; SIGNALS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

/// What [`install`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Old {
    /// The default action.
    Default,
    /// The signal was ignored.
    Ignored,
    /// Somebody's handler.
    Handler,
    /// The very handler that was to be installed.
    Ours,
}

/// Makes `handler` the process's handler of `signo`, with `SA_SIGINFO` and the further `flags`, and
/// remembers what it replaces for [`chain`]. Installed again it changes nothing; when somebody has
/// replaced it meanwhile, it comes first again and chains to them.
///
/// # Panics
///
/// `signo` is no signal, or one that cannot be handled.
pub fn install(signo: c_int, handler: Handler, flags: c_int) -> Old {
    install_with_mask(signo, handler, flags, empty_set())
}

/// As [`install`]; while the handler runs all other signals wait. Where several may come at once, their frames would
/// not fit on the alternate stack that std gives to its threads. What is chained to wants the mask [`as_interrupted`].
pub fn install_alone(signo: c_int, handler: Handler, flags: c_int) -> Old {
    let mut mask = empty_set();
    // SAFETY: `mask` is a set.
    unsafe { libc::sigfillset(&raw mut mask) };
    install_with_mask(signo, handler, flags, mask)
}

fn install_with_mask(signo: c_int, handler: Handler, flags: c_int, mask: libc::sigset_t) -> Old {
    let ours = handler as *const () as libc::sighandler_t;
    let found = action_of(signo);
    if found.sa_sigaction == ours {
        return Old::Ours;
    }
    // What was there is known before the first signal can come to us.
    remember(signo, found);
    let mut action = default_action();
    action.sa_sigaction = ours;
    action.sa_flags = libc::SA_SIGINFO | flags;
    action.sa_mask = mask;
    let replaced = set_action(signo, &action);
    if replaced.sa_sigaction != found.sa_sigaction && replaced.sa_sigaction != ours {
        // Another thread installed its own between our look and our change: chain to that one.
        remember(signo, replaced);
    }
    match found.sa_sigaction {
        libc::SIG_DFL => Old::Default,
        libc::SIG_IGN => Old::Ignored,
        _ => Old::Handler,
    }
}

/// Undoes [`install`]: the signal has the action again that `handler` replaced. If somebody else has put theirs
/// in its place, nothing changes: that one may go on to `handler`, which has to [`chain`] then.
///
/// # Panics
///
/// `signo` is no signal.
pub fn uninstall(signo: c_int, handler: Handler) {
    if !is_installed(signo, handler) {
        return;
    }
    if let Some(replaced) = replaced(signo) {
        set_action(signo, &replaced.to_restore());
    }
}

/// What is done with a signal.
pub struct Action(libc::sigaction);

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Action").field(&self.0.sa_sigaction).finish()
    }
}

/// Has `signo` ignored; gives what was done with it before, and before `handler` if that is [`install`]ed. At once:
/// no signal meets what was before.
///
/// # Panics
///
/// `signo` is no signal, or one that cannot be ignored.
pub fn ignore(signo: c_int, handler: Handler) -> Action {
    let mut action = default_action();
    action.sa_sigaction = libc::SIG_IGN;
    let before = set_action(signo, &action);
    let is_ours = before.sa_sigaction == handler as *const () as libc::sighandler_t;
    match replaced(signo).filter(|_| is_ours) {
        Some(replaced) => Action(replaced.to_restore()),
        None => Action(before),
    }
}

/// Does again with `signo` what was done before [`ignore`], unless it is ignored no more.
pub fn restore(signo: c_int, before: &Action) {
    if is_ignored(signo) {
        set_action(signo, &before.0);
    }
}

/// Whether `handler` is what the kernel calls for `signo`; it may have been called by another one. Async-signal-safe.
pub fn is_installed(signo: c_int, handler: Handler) -> bool {
    action_of(signo).sa_sigaction == handler as *const () as libc::sighandler_t
}

/// Whether `signo` is ignored, whoever has seen to that.
pub fn is_ignored(signo: c_int) -> bool {
    action_of(signo).sa_sigaction == libc::SIG_IGN
}

/// What `install` has replaced. Async-signal-safe.
fn replaced(signo: c_int) -> Option<&'static Replaced> {
    // SAFETY: what is published there stays, and is written no more but for its atomic.
    unsafe { REPLACED[signo as usize].load(Ordering::Acquire).as_ref() }
}

impl Replaced {
    fn is_handler(&self) -> bool {
        let address = self.action.sa_sigaction;
        address != libc::SIG_DFL && address != libc::SIG_IGN
    }

    fn is_one_shot(&self) -> bool {
        self.action.sa_flags & libc::SA_RESETHAND != 0
    }

    /// Whether it was to be used once, and has been.
    fn is_spent(&self) -> bool {
        self.is_one_shot() && self.used.load(Ordering::Relaxed)
    }

    /// What is to be done if we go.
    fn to_restore(&self) -> libc::sigaction {
        if self.is_spent() {
            default_action()
        } else {
            self.action
        }
    }
}

fn remember(signo: c_int, action: libc::sigaction) {
    // What is remembered cannot be freed. Who installs the same again and again finds the same again.
    if replaced(signo).is_some_and(|known| !known.is_one_shot() && is_same(&known.action, &action))
    {
        return;
    }
    let replaced = Box::new(Replaced {
        action,
        used: AtomicBool::new(false),
        older: replaced(signo),
    });
    REPLACED[signo as usize].store(Box::into_raw(replaced), Ordering::Release);
}

/// Whether `signo` has its default action, whoever set it.
pub fn is_default(signo: c_int) -> bool {
    action_of(signo).sa_sigaction == libc::SIG_DFL
}

/// Does with a signal what would have been done before [`install`]. Async-signal-safe; for use in the
/// handler, with its arguments.
///
/// May return only after the handler that was there has, and not at all if that one jumps away or the
/// signal ends the process. A fault that nobody handles comes again when our handler returns, and then
/// ends the process with the right status.
///
/// # Safety
///
/// The arguments are those of a signal handler that was installed with [`install`] and runs.
pub unsafe fn chain(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { go_on_to(replaced(signo), signo, info, context) };
}

/// # Safety
///
/// As [`chain`].
unsafe fn go_on_to(
    replaced: Option<&'static Replaced>,
    signo: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: the caller's `info` is the kernel's.
    let is_fault = is_fault(signo) && unsafe { (*info).si_code } > 0;
    let Some(replaced) = replaced else {
        return act_by_default(signo, is_fault);
    };
    let action = &replaced.action;
    let is_spent = replaced.is_one_shot() && replaced.used.swap(true, Ordering::Relaxed);
    match action.sa_sigaction {
        _ if is_spent => act_by_default(signo, is_fault),
        libc::SIG_DFL => act_by_default(signo, is_fault),
        // The kernel lets nobody ignore a fault.
        libc::SIG_IGN if is_fault => act_by_default(signo, is_fault),
        libc::SIG_IGN => {}
        address => {
            let mask = Masked::as_for(signo, action);
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: an action with SA_SIGINFO has a handler of this form.
                let handler: Handler = unsafe { mem::transmute(address) };
                handler(signo, info, context);
            } else {
                // SAFETY: an action without SA_SIGINFO has a handler of this form.
                let handler: extern "C" fn(c_int) = unsafe { mem::transmute(address) };
                handler(signo);
            }
            drop(mask);
        }
    }
}

/// What a handler goes on to that may be installed more than once, with others in between: see `nesting`.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    signo: c_int,
    place: Place,
    is_nested: bool,
    action: Option<&'static Replaced>,
}

/// What the handler at `place`, which runs for `signo`, goes on to: what it has replaced; or if that has called it, what
/// it replaced before. Async-signal-safe.
pub fn next(signo: c_int, place: Place) -> Next {
    let caller = nesting::caller_of(signo, place);
    let action = match (caller, replaced(signo)) {
        (Some(caller), _) => caller.older,
        // Put over ours at first, then replaced by ours, and now in its place again: it goes on to ours. (A signal
        // that came to ours while that changed is taken for one that came this way.)
        (None, Some(replaced))
            if replaced.older.is_some()
                && action_of(signo).sa_sigaction == replaced.action.sa_sigaction =>
        {
            replaced.older
        }
        (None, replaced) => replaced,
    };
    Next {
        signo,
        place,
        is_nested: caller.is_some(),
        action,
    }
}

impl Next {
    /// Whether the handler has gone on already, and was called from there.
    pub fn is_nested(self) -> bool {
        self.is_nested
    }

    /// As [`chain`].
    ///
    /// # Safety
    ///
    /// As [`chain`]; and the handler is the one that asked for what is next.
    pub unsafe fn chain(self, info: *mut libc::siginfo_t, context: *mut c_void) {
        let go_on = || {
            // SAFETY: the caller's word.
            unsafe { go_on_to(self.action, self.signo, info, context) }
        };
        match self.action {
            // Whoever has called us stands in place of the default action.
            action if self.is_nested && !action.is_some_and(Replaced::is_handler) => {}
            Some(action) => nesting::with(self.signo, self.place, action, go_on),
            None => go_on(),
        }
    }

    /// As [`chain`](Self::chain), but only if there was somebody's handler, and [`as_interrupted`] then.
    /// Async-signal-safe. Neither is the default action taken, nor anything ignored.
    ///
    /// # Safety
    ///
    /// As `chain`.
    pub unsafe fn chain_to_handler(self, info: *mut libc::siginfo_t, context: *mut c_void) {
        let is_handler = |it: &Replaced| it.is_handler() && !it.is_spent();
        if self.action.is_some_and(is_handler) {
            // SAFETY: the caller's word.
            unsafe {
                as_interrupted(self.signo, context);
                self.chain(info, context);
            }
        }
    }
}

/// Gives the thread the mask that a handler of [`install`] would have, in one of [`install_alone`]. Async-signal-safe.
/// The kernel sets it back when the handler returns.
///
/// # Safety
///
/// `context` is that of the handler, which runs for `signo`.
pub unsafe fn as_interrupted(signo: c_int, context: *mut c_void) {
    // SAFETY: the kernel's context, of which the kernel has written a set of 64 bits.
    let interrupted =
        unsafe { *(&raw const (*context.cast::<libc::ucontext_t>()).uc_sigmask).cast::<u64>() };
    set_mask(libc::SIG_SETMASK, interrupted | 1 << (signo - 1));
}

/// Whether the kernel sends `signo` for what an instruction did.
fn is_fault(signo: c_int) -> bool {
    matches!(
        signo,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP
    )
}

/// The default action, taken by the kernel. Async-signal-safe.
fn act_by_default(signo: c_int, is_fault: bool) {
    match signo {
        libc::SIGURG | libc::SIGCHLD | libc::SIGWINCH | libc::SIGCONT => {}
        libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
            // SAFETY: `kill` takes any numbers.
            unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
        }
        _ => {
            let default = default_action();
            // SAFETY: reads one action. With an `assert` instead of the answer ignored a handler
            // could unwind.
            unsafe { libc::sigaction(signo, &raw const default, ptr::null_mut()) };
            if !is_fault {
                // Comes at once: it is let through, and ends the process.
                send(super::thread::tid(), signo);
                let mut set = empty_set();
                // SAFETY: `set` is a set, `signo` a signal; the old mask is not asked for.
                unsafe {
                    libc::sigaddset(&raw mut set, signo);
                    libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
                }
            }
        }
    }
}

/// Sends `signo` to one thread of this process. False if there is no such thread (any more).
/// Async-signal-safe.
pub fn send(tid: u32, signo: c_int) -> bool {
    // SAFETY: `tgkill` takes any numbers; the process is ours.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signo) == 0 }
}

/// Lets `signo` through in its own handler. For handlers alone: it goes past libc, whose function tells the
/// scheduler of goroutines that change their mask.
pub(crate) fn unblock(signo: c_int) {
    change_mask(libc::SIG_UNBLOCK, signo);
}

/// Undoes [`unblock`].
pub(crate) fn block(signo: c_int) {
    change_mask(libc::SIG_BLOCK, signo);
}

fn change_mask(how: c_int, signo: c_int) {
    set_mask(how, 1 << (signo - 1));
}

/// `set` is the kernel's: 64 bits, signal 1 the lowest.
fn set_mask(how: c_int, set: u64) {
    // SAFETY: reads one set of 8 bytes; the old one is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set,
            ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
}

/// The signal mask that a chained handler expects; the one before comes back with the drop.
struct Masked(libc::sigset_t);

impl Masked {
    fn as_for(signo: c_int, action: &libc::sigaction) -> Masked {
        let mut before = empty_set();
        let mut own = empty_set();
        // SAFETY: the sets are sets, and `signo` is a signal.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const action.sa_mask, &raw mut before);
            if action.sa_flags & libc::SA_NODEFER != 0 {
                libc::sigaddset(&raw mut own, signo);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const own, ptr::null_mut());
            }
        }
        Masked(before)
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: the set is one that `pthread_sigmask` gave; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Keeps every signal from this thread, for good. Async-signal-safe.
pub(crate) fn block_all() {
    let mut set = empty_set();
    // SAFETY: `set` is a set; the old mask is not asked for.
    unsafe {
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// No signal comes to this thread until this is dropped.
pub(crate) struct Blocked {
    before: u64,
}

/// Keeps every signal from this thread for a while, libc's own ones too. Async-signal-safe.
pub(crate) fn blocked() -> Blocked {
    let (all, mut before) = (!0_u64, 0_u64);
    // Not through libc's function, which tells the scheduler of it.
    // SAFETY: reads one set of 8 bytes and writes another.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    Blocked { before }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(libc::SIG_SETMASK, self.before);
    }
}

/// Whether a fault, whose handler has this context, was the attempt to run code where it cannot be run.
/// Async-signal-safe.
///
/// # Safety
///
/// The third argument of a running handler of SIGSEGV or SIGBUS.
pub(crate) unsafe fn is_fetch(context: *const c_void) -> bool {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        /// A bit of the processor's error code.
        const INSTRUCTION: i64 = 1 << 4;
        // SAFETY: the kernel's context.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        context.uc_mcontext.gregs[libc::REG_ERR as usize] & INSTRUCTION != 0
    }
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    {
        let _ = context;
        false
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` writes the whole set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// The default action.
fn default_action() -> libc::sigaction {
    // SAFETY: all zero is a valid `sigaction`: no mask, no flags, `SIG_DFL`.
    unsafe { mem::zeroed() }
}

fn is_same(one: &libc::sigaction, other: &libc::sigaction) -> bool {
    let has = |action: &libc::sigaction, signo| {
        // SAFETY: reads one set, for a signal.
        unsafe { libc::sigismember(&raw const action.sa_mask, signo) == 1 }
    };
    one.sa_sigaction == other.sa_sigaction
        && one.sa_flags == other.sa_flags
        && (1..SIGNALS as c_int).all(|signo| has(one, signo) == has(other, signo))
}

fn action_of(signo: c_int) -> libc::sigaction {
    let mut action = MaybeUninit::zeroed();
    // SAFETY: writes one action; none is set.
    let result = unsafe { libc::sigaction(signo, ptr::null(), action.as_mut_ptr()) };
    assert_eq!(result, 0, "{signo} is no signal");
    // SAFETY: written by `sigaction`, which succeeded.
    unsafe { action.assume_init() }
}

fn set_action(signo: c_int, action: &libc::sigaction) -> libc::sigaction {
    let mut old = MaybeUninit::zeroed();
    // SAFETY: reads one action and writes one.
    let result = unsafe { libc::sigaction(signo, action, old.as_mut_ptr()) };
    assert_eq!(result, 0, "signal {signo} cannot be handled");
    // SAFETY: written by `sigaction`, which succeeded.
    unsafe { old.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    static OURS: AtomicUsize = AtomicUsize::new(0);
    static THEIRS: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn ours(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        OURS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: a handler's own arguments.
        unsafe { chain(signo, info, context) };
    }

    extern "C" fn theirs_with_info(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel's siginfo.
        assert_eq!(unsafe { (*info).si_code }, libc::SI_TKILL);
        THEIRS.fetch_add(1, Ordering::Relaxed);
    }

    extern "C" fn theirs_plain(signo: c_int) {
        assert_eq!(signo, libc::SIGUSR2);
        THEIRS.fetch_add(1, Ordering::Relaxed);
    }

    #[track_caller]
    fn set(signo: c_int, address: usize, flags: c_int) {
        // SAFETY: all zero is valid; the address is a handler of the form that `flags` says.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = address;
        action.sa_flags = flags;
        set_action(signo, &action);
    }

    fn raised(signo: c_int) -> (usize, usize) {
        let before = (OURS.load(Ordering::Relaxed), THEIRS.load(Ordering::Relaxed));
        assert!(send(super::super::thread::tid(), signo));
        let after = (OURS.load(Ordering::Relaxed), THEIRS.load(Ordering::Relaxed));
        (after.0 - before.0, after.1 - before.1)
    }

    /// One test: handlers and counters are the process's.
    #[test]
    fn what_was_there_is_called_after_ours() {
        set(
            libc::SIGUSR1,
            theirs_with_info as *const () as usize,
            libc::SA_SIGINFO,
        );
        assert_eq!(install(libc::SIGUSR1, ours, libc::SA_ONSTACK), Old::Handler);
        assert_eq!(raised(libc::SIGUSR1), (1, 1));
        assert_eq!(install(libc::SIGUSR1, ours, libc::SA_ONSTACK), Old::Ours);
        assert_eq!(raised(libc::SIGUSR1), (1, 1));

        set(libc::SIGUSR2, theirs_plain as *const () as usize, 0);
        assert_eq!(install(libc::SIGUSR2, ours, libc::SA_ONSTACK), Old::Handler);
        assert_eq!(raised(libc::SIGUSR2), (1, 1));

        set(libc::SIGUSR2, libc::SIG_IGN, 0);
        assert_eq!(install(libc::SIGUSR2, ours, libc::SA_ONSTACK), Old::Ignored);
        assert_eq!(raised(libc::SIGUSR2), (1, 0));

        assert!(is_default(libc::SIGWINCH));
        assert_eq!(
            install(libc::SIGWINCH, ours, libc::SA_ONSTACK),
            Old::Default
        );
        assert!(!is_default(libc::SIGWINCH));
        assert_eq!(raised(libc::SIGWINCH), (1, 0));
    }

    #[test]
    fn a_signal_to_a_thread_that_is_gone_is_refused() {
        let tid = std::thread::spawn(super::super::thread::tid)
            .join()
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while send(tid, 0) {
            assert!(std::time::Instant::now() < deadline, "the thread stays");
            std::thread::yield_now();
        }
    }
}

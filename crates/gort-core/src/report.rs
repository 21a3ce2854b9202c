//! What a program says about its goroutines without having asked: at a panic, at its end by one, at
//! SIGQUIT.
//!
//! *Panics.* The panic hook is wrapped once, at the start of the runtime: the hook that was there runs
//! as before, and then one line says which goroutine it was. A program that sets its hook later replaces
//! ours with it.
//!
//! *`PanicPolicy::Abort`.* A panic that leaves its goroutine ends the process with Go's text and status 2. By
//! then the stack is unwound; the hook has kept the one that panicked. Others run on until the end of the
//! dump.
//!
//! *SIGQUIT.* Its handler wakes a thread that was started for it; that thread writes the dump and ends the
//! process with status 2. The thread is nobody's waker and holds nothing, so it works whatever the goroutines
//! are doing. The handler is used once: a second SIGQUIT, should the first dump hang, ends the process as
//! if there were no handler.
//!
//! Checked by `crates/gort/tests/debug` and `testing/crash`.

use std::cell::RefCell;
use std::ffi::c_int;
use std::io::{self, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use gort_arch::trace as arch;

use crate::dump;
use crate::g::{self, GRef};
use crate::os::{futex, thread};
use crate::sched;
use crate::settings;
use crate::snapshot;
use crate::trace::{Stack, Tracer};

// ---- panics ----

/// Wraps the panic hook and tells `sched` how to die of a panic; once.
///
/// Not by a thread that panics, for which std forbids it: then panic messages are std's alone.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        sched::set_die_of_panic(die_of_panic);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if settings::panics_abort() && g::current_goroutine().is_some() {
                keep_stack();
            }
            before(info);
            if let Some(gp) = g::current_goroutine() {
                // Not `eprintln`: if stderr is gone it panics, and a panic in a hook aborts.
                let _ = writeln!(io::stderr(), "{}", Who(gp));
            }
        }));
    });
}

/// The line about a goroutine under its panic's message.
struct Who(GRef);

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.0.id();
        write!(f, "goroutine {id}")?;
        if let Some(name) = self.0.name(id) {
            write!(f, " (\"{name}\")")?;
        }
        match self.0.created_at() {
            Some(at) => write!(f, ", created at {at}"),
            None => Ok(()),
        }
    }
}

thread_local! {
    /// The stack of the goroutine's last panic. In its own block, as all thread-locals.
    static PANICKED_ON: RefCell<Option<Stack>> = const { RefCell::new(None) };
}

/// Keeps the stack for [`die_of_panic`]: it will be unwound by then.
fn keep_stack() {
    let stack = Tracer::new().own();
    // In a destructor of thread-locals, or in a panic of ours: then the report does without.
    let _ = PANICKED_ON.try_with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut() {
            *kept = Some(stack);
        }
    });
}

/// Ends the process because a panic has left the current goroutine; its message has been printed.
fn die_of_panic() -> ! {
    let stack = PANICKED_ON.try_with(|kept| kept.try_borrow_mut().ok().and_then(|mut k| k.take()));
    let mut goroutines = snapshot::goroutines_at_the_end();
    let own = g::current_goroutine().map(GRef::id);
    // Go shows the one that panicked first.
    goroutines.sort_by_key(|goroutine| Some(goroutine.id) != own);
    if let Some(first) = goroutines.first_mut()
        && let Ok(Some(stack)) = stack
        && Some(first.id) == own
    {
        first.stack = Some(stack);
    }
    exit_with(&format!("\n{}", dump::text(&goroutines)))
}

/// Writes to stderr, past std's lock of it, and ends the process with status 2. No destructor or atexit
/// handler runs: the other goroutines are still at work.
fn exit_with(text: &str) -> ! {
    write_all(text);
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(2) }
}

fn write_all(text: &str) {
    /// The standard error descriptor, without a lock and a buffer.
    struct Raw;
    impl Write for Raw {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // SAFETY: reads `bytes`, a live slice.
            let written = unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
            usize::try_from(written).map_err(|_| io::Error::last_os_error())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    // With stderr gone there is nobody to tell.
    let _ = Raw.write_all(text.as_bytes());
}

// ---- SIGQUIT ----

/// 1 once SIGQUIT has come. Writer: the handler. Reader: the thread that writes the dump.
static QUIT: AtomicU32 = AtomicU32::new(0);
/// The process that has this thread; a child made by `fork` has none. Writer: `take_sigquit`.
static QUIT_PID: AtomicU32 = AtomicU32::new(0);

/// From now on SIGQUIT writes a dump and ends the process, if it had its default action; once.
pub(crate) fn take_sigquit() {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if !has_default_action(libc::SIGQUIT) || TAKEN.swap(true, Ordering::Relaxed) {
        return;
    }
    let thread = std::thread::Builder::new()
        .name("gort-sigquit".into())
        .stack_size(1 << 20)
        .spawn(write_dump_when_asked);
    if thread.is_err() {
        // Without the thread SIGQUIT is what it was: the program can do without the dump.
        return;
    }
    QUIT_PID.store(std::process::id(), Ordering::Relaxed);
    // SAFETY: zero is a valid `sigaction`; the handler takes the number alone, as without SA_SIGINFO, and
    // is async-signal-safe. What it replaces is the default action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigquit as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_RESETHAND;
        libc::sigaction(libc::SIGQUIT, &action, std::ptr::null_mut());
    }
}

fn has_default_action(signal: c_int) -> bool {
    // SAFETY: zero is a valid `sigaction`, and `sigaction` fills it in, changing nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_DFL
    }
}

/// Async-signal-safe.
extern "C" fn on_sigquit(signal: c_int) {
    // SAFETY: `getpid`, `gettid` and `tgkill` take any numbers. In a child that has only the thread that
    // forked, the signal comes again when we return, to the default action (SA_RESETHAND).
    unsafe {
        let pid = libc::getpid();
        if pid as u32 != QUIT_PID.load(Ordering::Relaxed) {
            libc::syscall(
                libc::SYS_tgkill,
                pid,
                libc::syscall(libc::SYS_gettid),
                signal,
            );
            return;
        }
    }
    QUIT.store(1, Ordering::Release);
    futex::wake(&raw const QUIT, 1);
}

fn write_dump_when_asked() {
    thread::begin_own();
    // Not for the first time while others may hold what it needs.
    arch::prepare();
    while QUIT.load(Ordering::Acquire) == 0 {
        futex::wait(&QUIT, 0, u64::MAX);
    }
    // At once, whatever happens to the rest.
    write_all("SIGQUIT: quit\n\n");
    exit_with(&dump::at_the_end())
}

//! What a program says about its goroutines without having asked: at a panic, at its end by one, at
//! SIGQUIT.
//!
//! *Panics.* The panic hook is wrapped once, at the start of the runtime: the hook that was there runs
//! as before, and then one line says which goroutine it was. A program that sets its hook later replaces
//! ours with it.
//!
//! *`PanicPolicy::Abort`.* A panic that leaves its goroutine ends the process with Go's text and status 2. By
//! then the stack is unwound; the hook has kept the one that panicked. Others run on while the dump is made, and
//! are stopped before it is written (`halt`).
//!
//! *SIGQUIT.* Its handler asks the [`reporter`], which writes the dump and ends the process with status 2. The
//! handler is used once: a second SIGQUIT, should the first dump hang, ends the process as
//! if there were no handler.
//!
//! Checked by `crates/gort/tests/debug` and `testing/crash`.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::io::{self, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::dump;
use crate::fatal;
use crate::g::{self, GRef};
use crate::halt;
use crate::os::signal;
use crate::reporter::{self, Job};
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
                // Made before stderr is locked: the runtime is asked for it, and one that has lost its P while
                // it waited for stderr waits for another there.
                let line = format!("{}\n", Who(gp));
                // Not `eprintln`: if stderr is gone it panics, and a panic in a hook aborts.
                let _ = io::stderr().write_all(line.as_bytes());
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
        match self.0.creation() {
            Some(creation) => write!(f, ", {creation}"),
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

/// Stops all others, writes to stderr, past std's lock of it, and ends the process with status 2. No destructor or
/// atexit handler runs: the other goroutines were at work.
fn exit_with(text: &str) -> ! {
    halt::others();
    fatal::write_bytes(text.as_bytes());
    fatal::exit()
}

// ---- SIGQUIT ----

/// The process that has a reporter; a child that shares our memory until its `exec` has none. Writer:
/// `take_sigquit`.
static PID: AtomicU32 = AtomicU32::new(0);

/// From now on SIGQUIT writes a dump and ends the process, if it had its default action; once. The
/// reporter is there.
pub(crate) fn take_sigquit() {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if !signal::is_default(libc::SIGQUIT) || TAKEN.swap(true, Ordering::Relaxed) {
        return;
    }
    PID.store(std::process::id(), Ordering::Relaxed);
    reporter::set(Job::Quit, quit);
    signal::install(
        libc::SIGQUIT,
        on_sigquit,
        libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_RESETHAND,
    );
}

/// Async-signal-safe.
extern "C" fn on_sigquit(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: `getpid` takes nothing and cannot fail.
    if unsafe { libc::getpid() } as u32 == PID.load(Ordering::Relaxed) {
        reporter::ask(Job::Quit);
    } else {
        // SAFETY: a handler's own arguments.
        unsafe { signal::chain(signo, info, context) };
    }
}

fn quit() {
    // At once, whatever happens to the rest.
    fatal::write_bytes(b"SIGQUIT: quit\n\n");
    exit_with(&dump::at_the_end())
}

//! After `fork`: in the child only the thread that forked exists, and nothing can be scheduled there.
//!
//! The other Ms, sysmon and whoever held a lock are gone. A child may do what POSIX lets it do, call
//! async-signal-safe functions until `exec` or `_exit`; `Command`, with `pre_exec` or without, does no
//! more. What needs the scheduler ends the child with a clear text instead of waiting for ever: each
//! place where a thread is about to sleep, or a goroutine to be started, calls [`check`].
//!
//! `runtime` registers the handler; hot paths have no check of their own (see `shake::always_on`).

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this process is the child of one in which the runtime ran, and has not called `exec`.
/// Writer: the child's only thread.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Called in the child. Async-signal-safe.
pub(crate) fn set_forked() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether threads of the runtime are missing because of a `fork`. Async-signal-safe.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Ends the process if it is such a child, which tries to do `what`. Neither allocates nor locks.
#[cold]
pub(crate) fn check(what: &str) {
    if is_forked() {
        fatal!(
            "{what} after fork without exec: the child has none of the runtime's threads; only \
             async-signal-safe calls are allowed there, until exec or _exit"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::light_lock::LightMutex;
    use crate::lock::Mutex;
    use std::sync::mpsc;

    static HEAVY: Mutex<()> = Mutex::new(());
    static LIGHT: LightMutex<()> = LightMutex::new(());

    /// How a child ends that does `f`, and would exit with 7.
    #[track_caller]
    fn assert_child_aborts(f: fn()) {
        // SAFETY: the child marks itself and takes a lock, which neither allocates nor waits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            set_forked();
            f();
            // SAFETY: `_exit` takes any status.
            unsafe { libc::_exit(7) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child, and writes its status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFSIGNALED(status), "status {status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGABRT);
    }

    #[test]
    fn a_lock_that_another_thread_holds_ends_the_child() {
        let (held, is_held) = mpsc::channel();
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|s| {
            s.spawn(move || {
                let _heavy = HEAVY.lock();
                let _light = LIGHT.lock();
                held.send(()).unwrap();
                // Until the sender is gone.
                let _ = is_done.recv();
            });
            is_held.recv().unwrap();
            assert_child_aborts(|| drop(HEAVY.lock()));
            assert_child_aborts(|| drop(LIGHT.lock()));
            drop(done);
        });
    }
}

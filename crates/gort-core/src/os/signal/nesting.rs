//! Which replaced actions are at work, on which threads: so that handlers that call each other end.
//!
//! A library's handler remembers the one it replaces, as ours does, and each goes on to what it has remembered. Put
//! over ours it goes on to ours; and if ours is installed once more, over that, each of the two goes on to the
//! other. So ours, called again from what it has gone on to, goes on to what it had replaced the time before.
//!
//! Such a call is for the same signal, on the same thread, has the kernel's context of the first one, and stands
//! further down on the stack ([`Place`]). A signal that comes anew, though the handler has unblocked it, or has jumped
//! away from the last one and left its entry here, has another context, or begins where the last one did.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use gort_arch::context::stack_pointer;

use super::Replaced;
use crate::os::thread;

/// Where a handler runs: which delivery of a signal it was called for, and how far down on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    context: usize,
    frame: usize,
}

impl Place {
    /// Of the handler that calls this, and got `context` from the kernel or from who called it.
    #[inline(always)]
    pub fn here(context: *mut c_void) -> Place {
        Place {
            context: context.addr(),
            frame: stack_pointer(),
        }
    }
}

/// A replaced action at work. All but the key is written and read by the thread that the key names.
struct Entry {
    /// Thread and signal, as [`key`] has them; 0 for a free entry.
    key: AtomicU64,
    action: AtomicPtr<Replaced>,
    /// The place of the handler that has gone on to it.
    context: AtomicUsize,
    frame: AtomicUsize,
}

/// So many threads may be in handlers that were there before ours. With more, a circle is not noticed.
const ENTRIES_MAX: usize = 64;

static ENTRIES: [Entry; ENTRIES_MAX] = [const {
    Entry {
        key: AtomicU64::new(0),
        action: AtomicPtr::new(ptr::null_mut()),
        context: AtomicUsize::new(0),
        frame: AtomicUsize::new(0),
    }
}; ENTRIES_MAX];

/// This thread, and a signal. Never 0.
fn key(signo: c_int) -> u64 {
    u64::from(thread::tid()) << 8 | signo as u64
}

fn entry_of(key: u64) -> Option<&'static Entry> {
    ENTRIES
        .iter()
        .find(|entry| entry.key.load(Ordering::Relaxed) == key)
}

impl Entry {
    fn get(&self) -> (*mut Replaced, Place) {
        let place = Place {
            context: self.context.load(Ordering::Relaxed),
            frame: self.frame.load(Ordering::Relaxed),
        };
        (self.action.load(Ordering::Relaxed), place)
    }

    fn set(&self, (action, place): (*mut Replaced, Place)) {
        self.context.store(place.context, Ordering::Relaxed);
        self.frame.store(place.frame, Ordering::Relaxed);
        self.action.store(action, Ordering::Relaxed);
    }
}

/// The action for `signo` that has called the handler at `place`, after a handler of ours had gone on to it.
/// Async-signal-safe.
pub(super) fn caller_of(signo: c_int, place: Place) -> Option<&'static Replaced> {
    let (action, outer) = entry_of(key(signo))?.get();
    let is_within = outer.context == place.context && place.frame < outer.frame;
    // SAFETY: what is stored there is never freed.
    unsafe { action.as_ref() }.filter(|_| is_within)
}

/// Calls `f`, in which the handler at `place` goes on to `action`. Async-signal-safe.
pub(super) fn with(signo: c_int, place: Place, action: &'static Replaced, f: impl FnOnce()) {
    let key = key(signo);
    let now = (ptr::from_ref(action).cast_mut(), place);
    if let Some(entry) = entry_of(key) {
        let outer = entry.get();
        entry.set(now);
        f();
        entry.set(outer);
        return;
    }
    let free = ENTRIES.iter().find(|entry| {
        let taken = entry
            .key
            .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
        taken.is_ok()
    });
    if let Some(entry) = free {
        entry.set(now);
    }
    f();
    if let Some(entry) = free {
        entry.key.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicBool;

    /// Of no handler that is ever called.
    const SIGNO: c_int = libc::SIGWINCH;

    fn place(context: usize, frame: usize) -> Place {
        Place { context, frame }
    }

    fn action() -> &'static Replaced {
        Box::leak(Box::new(Replaced {
            action: super::super::default_action(),
            used: AtomicBool::new(false),
            older: None,
        }))
    }

    #[track_caller]
    fn assert_caller(place: Place, expected: Option<&'static Replaced>) {
        let found = caller_of(SIGNO, place);
        assert_eq!(found.map(ptr::from_ref), expected.map(ptr::from_ref));
    }

    #[test]
    fn a_call_from_within_is_told_from_a_signal_that_comes_anew() {
        let (first, second) = (action(), action());
        assert_caller(place(7, 100), None);
        with(SIGNO, place(7, 100), first, || {
            assert_caller(place(7, 90), Some(first));
            // Unblocked, it comes in the midst of the first.
            assert_caller(place(6, 80), None);
            with(SIGNO, place(6, 80), second, || {
                assert_caller(place(6, 70), Some(second));
            });
            assert_caller(place(7, 90), Some(first));
        });
        assert_caller(place(7, 90), None);
    }

    #[test]
    fn a_handler_that_never_came_back_is_nobodys_caller() {
        let (gone, next) = (action(), action());
        let jump = || with(SIGNO, place(7, 100), gone, || panic!("as a jump leaves it"));
        assert!(catch_unwind(AssertUnwindSafe(jump)).is_err());
        // The next signal on that thread, at the same place of the alternate stack.
        assert_caller(place(7, 100), None);
        with(SIGNO, place(7, 100), next, || {
            assert_caller(place(7, 90), Some(next));
        });
    }
}

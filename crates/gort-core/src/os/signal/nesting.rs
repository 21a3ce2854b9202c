//! Which replaced actions are at work, on which threads: so that handlers that call each other end.
//!
//! A library's handler remembers the one it replaces, as ours does, and each goes on to what it has remembered. Put
//! over ours it goes on to ours; and if ours is installed once more, over that, each of the two goes on to the
//! other. So ours, called again from what it has gone on to, goes on to what it had replaced the time before.
//!
//! A handler runs on one thread from its beginning to its end, and its signal waits meanwhile there: a second call
//! for the same signal, on the same thread, comes from within the first.
//!
//! A handler that never comes back (it jumps away) leaves its entry. What comes after it, for the same signal on the
//! same thread, is taken for a call from within it.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::Replaced;
use crate::os::thread;

/// A replaced action at work.
struct Entry {
    /// Thread and signal, as [`key`] has them; 0 for a free entry.
    key: AtomicU64,
    /// Written and read by that thread.
    action: AtomicPtr<Replaced>,
}

/// So many threads may be in handlers that were there before ours. With more, a circle is not noticed.
const ENTRIES: usize = 64;

static ENTRIES_USED: [Entry; ENTRIES] = [const {
    Entry {
        key: AtomicU64::new(0),
        action: AtomicPtr::new(ptr::null_mut()),
    }
}; ENTRIES];

/// This thread, and a signal. Never 0.
fn key(signo: c_int) -> u64 {
    u64::from(thread::tid()) << 8 | signo as u64
}

fn entry_of(key: u64) -> Option<&'static Entry> {
    ENTRIES_USED
        .iter()
        .find(|entry| entry.key.load(Ordering::Relaxed) == key)
}

/// The action that a handler for `signo`, further down on this stack, has gone on to. Async-signal-safe.
pub(super) fn at_work(signo: c_int) -> Option<&'static Replaced> {
    let entry = entry_of(key(signo))?;
    // SAFETY: what is stored there is never freed.
    unsafe { entry.action.load(Ordering::Relaxed).as_ref() }
}

/// Calls `f`, during which `action` is [`at_work`] for `signo`. Async-signal-safe.
pub(super) fn with(signo: c_int, action: &'static Replaced, f: impl FnOnce()) {
    let key = key(signo);
    let action = ptr::from_ref(action).cast_mut();
    if let Some(entry) = entry_of(key) {
        let outer = entry.action.swap(action, Ordering::Relaxed);
        f();
        entry.action.store(outer, Ordering::Relaxed);
        return;
    }
    let free = ENTRIES_USED.iter().find(|entry| {
        // Only this thread looks for this key: nobody else reads what is written below.
        let taken = entry
            .key
            .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
        taken.is_ok()
    });
    if let Some(entry) = free {
        entry.action.store(action, Ordering::Relaxed);
    }
    f();
    if let Some(entry) = free {
        entry.key.store(0, Ordering::Relaxed);
    }
}

//! Debug builds: who is inside a read-write lock as a reader, and where it entered, so that a goroutine that
//! waits for itself is told so.
//!
//! A reader that enters again while a writer waits for it to leave waits for ever (D13). Release
//! builds let it: the report of the deadlock names both places, as far as the last reader is known.
//! Here all are, in one table for the process.
//!
//! A guard may be sent elsewhere. When a goroutine leaves that has not entered, it is not known whose
//! guard it had, and all that is known of that lock is forgotten: then a recursion goes unnoticed. A goroutine
//! that has sent its guard away, still alive, counts as a holder.
//!
//! The models of the locks have a stand-in that does nothing.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard};

use super::g;
use super::wait_table::{Key, NEVER};

/// A reader that is inside.
struct Inside {
    /// Its descriptor and number; a plain thread's is 0.
    who: (usize, u64),
    at: &'static Location<'static>,
}

#[derive(Default)]
struct Readers {
    inside: Vec<Inside>,
    /// The writer that waits has a deadline, after which readers may go on.
    writer_may_give_up: bool,
}

static LOCKS: Mutex<BTreeMap<Key, Readers>> = Mutex::new(BTreeMap::new());

fn locks() -> MutexGuard<'static, BTreeMap<Key, Readers>> {
    LOCKS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn current() -> (usize, u64) {
    let gp = g::current();
    (gp.as_ptr().addr(), gp.id())
}

/// The caller has entered as a reader.
#[inline]
#[track_caller]
pub(super) fn entered(lock: Key) {
    if cfg!(debug_assertions) {
        let inside = Inside {
            who: current(),
            at: Location::caller(),
        };
        locks().entry(lock).or_default().inside.push(inside);
    }
}

/// The caller is about to leave as a reader.
#[inline]
pub(super) fn leaving(lock: Key) {
    if cfg!(debug_assertions) {
        let who = current();
        let mut locks = locks();
        let Some(readers) = locks.get_mut(&lock) else {
            return;
        };
        let own = readers.inside.iter().rposition(|inside| inside.who == who);
        match own {
            Some(index) if readers.inside.len() > 1 => drop(readers.inside.swap_remove(index)),
            _ => drop(locks.remove(&lock)),
        }
    }
}

/// A writer is going to wait for the readers inside.
#[inline]
pub(super) fn writer_waits(lock: Key, deadline_ns: u64) {
    if cfg!(debug_assertions)
        && let Some(readers) = locks().get_mut(&lock)
    {
        readers.writer_may_give_up = deadline_ns != NEVER;
    }
}

/// The caller is going to wait as a reader, for a writer that waits for the readers inside.
///
/// # Panics
///
/// If the caller is one of those, and neither has a deadline.
#[inline]
#[track_caller]
pub(super) fn check(lock: Key, deadline_ns: u64) {
    if cfg!(debug_assertions) && deadline_ns == NEVER {
        let who = current();
        let first = {
            let locks = locks();
            let readers = locks
                .get(&lock)
                .filter(|readers| !readers.writer_may_give_up);
            let is_own = |inside: &&Inside| inside.who == who;
            readers.and_then(|readers| readers.inside.iter().find(is_own).map(|first| first.at))
        };
        if let Some(first) = first {
            panic!(
                "sync: RWMutex read-locked twice by one goroutine, while a writer waits for it: first at \
                 {first}, again at {}",
                Location::caller()
            );
        }
    }
}

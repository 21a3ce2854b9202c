//! Debug builds: who is inside a read-write lock as a reader, and where it entered, so that a goroutine that
//! waits for itself is told so.
//!
//! A reader that enters again while a writer waits for it to leave waits for ever (D13). Release
//! builds let it: the report of the deadlock names both places, as far as the last reader is known.
//! Here all are, in one table for the process.
//!
//! A guard may be sent elsewhere, and a raw lock is not told which guard it is that goes. So:
//!
//! * When a goroutine leaves that has not entered, it is not known whose guard it had, and all that is known of
//!   that lock is forgotten: then a recursion goes unnoticed.
//! * One that has entered is taken to leave with its own guard. It may have had another's: so from then on the
//!   other goroutines' entries are doubtful, and who enters again on such an entry is told so on stderr, and
//!   waits. Only without that doubt it panics.
//! * A goroutine that has sent its guard away, of which nothing is seen before that guard goes, counts as a
//!   holder. If it reads again while a writer waits for that guard, it panics, though it would be served.
//! * A guard that was forgotten leaves an entry behind, at an address where another lock may be later. Unless a
//!   writer is inside, which may be about to become a reader or have been one, never more readers are noted than
//!   are inside: they are noted once they have entered, until they are about to leave. If there are more, all
//!   that is known of the lock is forgotten.
//!
//! * Of a lock with very many readers only some are noted: when there would be more, those known are forgotten.
//!
//! In the child of a `fork` nothing is noted: another thread may have been at the table, and a child that
//! has no use for the scheduler is to go on.
//!
//! The models of the locks have a stand-in that does nothing.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::wait_table::{Key, NEVER};
use super::{fatal, fork, g};

/// By numbers that are given once: a descriptor is used again.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Goroutine(u64),
    Thread(u64),
}

/// A reader that is inside.
struct Inside {
    who: Who,
    at: &'static Location<'static>,
    /// Somebody else has left since, perhaps with this one's guard.
    is_doubtful: bool,
}

#[derive(Default)]
struct Readers {
    inside: Vec<Inside>,
    /// The writer that waits has a deadline, after which readers may go on.
    writer_may_give_up: bool,
}

/// Readers of a lock that are noted: each that leaves looks at all.
const NOTED_MAX: usize = 64;

static LOCKS: Mutex<BTreeMap<Key, Readers>> = Mutex::new(BTreeMap::new());

fn locks() -> MutexGuard<'static, BTreeMap<Key, Readers>> {
    LOCKS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn current() -> Who {
    let gp = g::current();
    if gp.is_goroutine() {
        Who::Goroutine(gp.id())
    } else {
        Who::Thread(number_of_thread())
    }
}

/// A plain thread's number, given once. Not `ThreadId`: std has none for a thread whose thread-locals are
/// being destroyed, where locks work.
fn number_of_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        /// 0: none yet.
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }
    NUMBER.get()
}

fn is_on() -> bool {
    cfg!(debug_assertions) && !fork::is_forked()
}

/// The caller has entered as a reader.
#[inline]
#[track_caller]
pub(super) fn entered(lock: Key) {
    if is_on() {
        let inside = Inside {
            who: current(),
            at: Location::caller(),
            is_doubtful: false,
        };
        let mut locks = locks();
        let readers = &mut locks.entry(lock).or_default().inside;
        if readers.len() == NOTED_MAX {
            readers.clear();
        }
        readers.push(inside);
    }
}

/// The caller is about to leave as a reader.
#[inline]
pub(super) fn leaving(lock: Key) {
    if is_on() {
        let who = current();
        let mut locks = locks();
        let Some(readers) = locks.get_mut(&lock) else {
            return;
        };
        let own = readers.inside.iter().rposition(|inside| inside.who == who);
        match own {
            Some(index) if readers.inside.len() > 1 => {
                readers.inside.remove(index);
                let others = readers.inside.iter_mut();
                others
                    .filter(|inside| inside.who != who)
                    .for_each(|inside| inside.is_doubtful = true);
            }
            _ => drop(locks.remove(&lock)),
        }
    }
}

/// A writer is going to wait for the readers inside.
#[inline]
pub(super) fn writer_waits(lock: Key, deadline_ns: u64) {
    if is_on()
        && let Some(readers) = locks().get_mut(&lock)
    {
        readers.writer_may_give_up = deadline_ns != NEVER;
    }
}

/// The caller is going to wait as a reader, for a writer that waits for the readers inside. `inside` tells how
/// many those are, unless a writer is inside.
///
/// # Panics
///
/// If the caller is one of those, without doubt, and neither has a deadline.
#[inline]
#[track_caller]
pub(super) fn check(lock: Key, deadline_ns: u64, inside: impl FnOnce() -> Option<u32>) {
    if is_on() && deadline_ns == NEVER {
        let Some((first, is_doubtful)) = first_entry(lock, inside) else {
            return;
        };
        let again = Location::caller();
        if !is_doubtful {
            panic!(
                "sync: RWMutex read-locked twice by one goroutine, while a writer waits for it: first at \
                 {first}, again at {again}"
            );
        }
        if tell_of(again) {
            fatal::write_line(format_args!(
                "gort: sync: RWMutex read-locked twice by one goroutine, while a writer waits: first at \
                 {first}, again at {again}; it waits for ever, unless another has its first guard"
            ));
        }
    }
}

/// Where the caller has entered first, and whether it is doubtful that it is inside still.
fn first_entry(
    lock: Key,
    inside: impl FnOnce() -> Option<u32>,
) -> Option<(&'static Location<'static>, bool)> {
    let who = current();
    let mut locks = locks();
    let readers = locks.get(&lock)?;
    // While the table is locked those noted do not leave.
    if inside().is_some_and(|count| readers.inside.len() > count as usize) {
        locks.remove(&lock);
        return None;
    }
    if readers.writer_may_give_up {
        return None;
    }
    let own = readers.inside.iter().filter(|inside| inside.who == who);
    let first = own.min_by_key(|inside| inside.is_doubtful)?;
    Some((first.at, first.is_doubtful))
}

/// Whether to tell of a place: once.
fn tell_of(place: &'static Location<'static>) -> bool {
    static TOLD: Mutex<BTreeSet<&'static Location<'static>>> = Mutex::new(BTreeSet::new());
    TOLD.lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .insert(place)
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::mpsc;
    use std::time::Duration;

    use gort_test_support::eventually;

    use super::*;
    use crate::sync::raw_rw_lock::{FOR_ALL, RawRwLock};
    use crate::sync::{RwLock, wait_table};

    /// The table allocates, which nobody may who has locked a bucket.
    #[test]
    fn no_bucket_is_locked_while_a_reader_is_noted() {
        static LOCK: RawRwLock = RawRwLock::new();
        let table = locks();
        // It finds the lock free when it has the bucket.
        let reader = std::thread::spawn(|| LOCK.read_slow(FOR_ALL, NEVER));
        eventually("the reader is inside", || LOCK.is_acquired());
        let (tell, told) = mpsc::channel();
        let other = std::thread::spawn(move || {
            drop(wait_table::lock(LOCK.readers_key()));
            let _ = tell.send(());
        });
        let was_free = told.recv_timeout(Duration::from_secs(10)).is_ok();
        drop(table);
        assert!(reader.join().unwrap());
        LOCK.leave_read();
        other.join().unwrap();
        assert!(
            was_free,
            "the reader waits for the table with the bucket locked"
        );
    }

    /// The child would wait for a thread that it does not have.
    #[test]
    fn a_child_forked_while_the_table_is_locked_goes_on() {
        const SECONDS: u32 = 10;
        // From then on children know what they are.
        crate::go(|| ()).join().unwrap();
        let lock = RwLock::new(1);
        let (mut end, child_end) = std::io::pipe().unwrap();
        let table = locks();
        // SAFETY: the child takes a lock of ours, calls what is async-signal-safe, and ends.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no fork");
        if pid == 0 {
            // SAFETY: takes any number; SIGALRM ends the child.
            unsafe { libc::alarm(SECONDS) };
            let value = [*lock.read()];
            // SAFETY: writes one byte to a descriptor that is ours; takes any status.
            unsafe {
                libc::write(child_end.as_raw_fd(), value.as_ptr().cast(), 1);
                libc::_exit(0);
            }
        }
        drop((table, child_end));
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut end, &mut said).unwrap();
        // SAFETY: our own child, whose status is not asked for.
        assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
        assert_eq!(said, [1], "the child did not come through its lock");
    }
}

//! The state machine of the read-write lock: one word, and a mutex that keeps writers in line.
//!
//! As Go's `sync.RWMutex`: a writer first takes `writers`, then announces itself if readers are
//! inside; from then on new readers queue, and the last reader inside hands the lock to it. A writer
//! that leaves lets in all readers that queued, together, and only then frees `writers`: so writers
//! cannot starve readers either.
//!
//! | part           | meaning                                                                   |
//! |----------------|---------------------------------------------------------------------------|
//! | WRITER         | a writer is inside                                                        |
//! | PENDING        | a writer is queued (at the second key) until the readers inside have left |
//! | READERS_QUEUED | readers are queued (at the first key)                                     |
//! | count          | readers inside, the upgradable one too, in units of ONE_READER                                    |
//!
//! Invariants, whenever the bucket is unlocked:
//!
//! R1. WRITER excludes PENDING and readers inside.
//! R2. READERS_QUEUED is set if and only if the readers' queue is not empty; PENDING if and only if
//!     the writer's is, which has at most one waiter (the owner of `writers`).
//! R3. READERS_QUEUED implies WRITER or PENDING: somebody will let them in.
//! R4. PENDING implies readers inside: the last of them will hand over.
//!
//! R3 and R4 together with R1 are the absence of lost wake-ups: whoever waits, waits for somebody who
//! is inside. Proof by the changes. READERS_QUEUED is set by an exchange that sees WRITER or PENDING,
//! with the bucket locked; PENDING by one that sees readers inside. WRITER is cleared, and PENDING
//! is cleared without becoming WRITER, only with READERS_QUEUED clear or cleared in the same step.
//! The count falls to 0 by an exchange that sees PENDING clear, or turns it into WRITER.
//!
//! Whoever is granted the lock is counted in (or has WRITER set for it) before it is woken.
//!
//! A writer that gives up after its deadline clears PENDING and lets the queued readers in: it was
//! their only obstacle. The last reader may pop it at the same moment and find that it has timed out
//! (W3); then that reader holds WRITER in its place, and leaves like a writer at once.
//!
//! One reader at a time may be **upgradable**: it owns `writers` as well, so that no writer is inside or queued
//! while it is, and to become the writer it gives up its count and waits for the other readers, as a writer
//! does that has come to its turn. If it gives up after its deadline it counts itself in again; nobody has
//! written meanwhile, since it owns `writers` all the time.
//!
//! Rejected: Go's two counters, changed by plain additions. The announcement and the retreat of a
//! writer that times out would have to change both at once.
//!
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/sync`, SY08 to SY11, S118
//! to S120.

use std::fmt;

use super::atomic::{AtomicU32, Ordering};
use super::holder::{HeldBy, Holder, Place};
use super::raw_mutex::RawMutex;
use super::wait_table::{self, Bucket, Key, Wait, Woken};
use super::{WaitReason, fatal, recursion};

const WRITER: u32 = 1;
const PENDING: u32 = 2;
const READERS_QUEUED: u32 = 4;
const ONE_READER: u32 = 8;

/// Which of the obstacles keep a reader out.
pub(super) const FOR_ALL: u32 = WRITER | PENDING;
/// For a reader that may hold the lock already.
const FOR_RECURSIVE: u32 = WRITER;

/// A read-write lock without data, in which a waiting writer stops new readers.
///
/// It is `lock_api`'s raw lock under [`RwLock`](super::RwLock).
///
/// # Examples
///
/// ```
/// use gort::sync::RawRwLock;
///
/// // For what is written for any lock of `lock_api`.
/// fn length<R: lock_api::RawRwLock>(names: &lock_api::RwLock<R, Vec<&str>>) -> usize {
///     names.read().len()
/// }
/// assert_eq!(length(&lock_api::RwLock::<RawRwLock, _>::new(vec!["g", "m"])), 2);
/// ```
pub struct RawRwLock {
    /// Acquire on entering pairs with release on leaving.
    state: AtomicU32,
    /// Owned by the writer that is inside or next.
    writers: RawMutex,
    /// Who entered last as a reader, and where.
    reader: Holder,
    read_at: Place,
}

impl RawRwLock {
    /// A free lock.
    #[cfg(not(loom))]
    pub(super) const fn new() -> RawRwLock {
        RawRwLock {
            state: AtomicU32::new(0),
            writers: RawMutex::new(),
            reader: Holder::new(),
            read_at: Place::new(),
        }
    }

    /// A free lock. (loom's atomics have no `const` constructor.)
    #[cfg(loom)]
    pub(super) fn new() -> RawRwLock {
        RawRwLock {
            state: AtomicU32::new(0),
            writers: RawMutex::new(),
            reader: Holder::new(),
            read_at: Place::new(),
        }
    }

    #[inline]
    pub(super) fn readers_key(&self) -> Key {
        Key::of(&self.state)
    }

    #[inline]
    fn writer_key(&self) -> Key {
        Key::second_of(&self.state)
    }

    #[inline]
    fn exchange(&self, from: u32, to: u32, order: Ordering) -> Result<u32, u32> {
        self.state
            .compare_exchange(from, to, order, Ordering::Relaxed)
    }

    /// Whether anybody is inside.
    #[inline]
    pub(super) fn is_acquired(&self) -> bool {
        self.state.load(Ordering::Relaxed) & !(PENDING | READERS_QUEUED) != 0
    }

    /// Whether a writer is inside.
    #[inline]
    pub(super) fn is_acquired_by_writer(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    /// Whether a reader or writer is queued. A hint.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (PENDING | READERS_QUEUED) != 0
            || self.writers.has_waiters()
    }

    /// How many readers are inside; `None` if a writer is.
    fn reader_count(&self) -> Option<u32> {
        let state = self.state.load(Ordering::Relaxed);
        (state & WRITER == 0).then_some(state / ONE_READER)
    }

    // Readers.

    /// Enters as a reader if no writer is inside or waiting.
    #[inline]
    #[track_caller]
    pub(super) fn try_read(&self) -> bool {
        self.enter_unless(FOR_ALL)
    }

    /// Enters as a reader if no writer is inside.
    #[inline]
    #[track_caller]
    pub(super) fn try_read_recursive(&self) -> bool {
        self.enter_unless(FOR_RECURSIVE)
    }

    /// Enters as a reader, parking until the deadline. False: the deadline passed.
    #[inline]
    #[track_caller]
    pub(super) fn read(&self, deadline_ns: u64) -> bool {
        self.enter_unless(FOR_ALL) || self.read_slow(FOR_ALL, deadline_ns)
    }

    /// As [`read`](Self::read), past writers that wait.
    #[inline]
    #[track_caller]
    pub(super) fn read_recursive(&self, deadline_ns: u64) -> bool {
        self.enter_unless(FOR_RECURSIVE) || self.read_slow(FOR_RECURSIVE, deadline_ns)
    }

    #[inline]
    #[track_caller]
    fn enter_unless(&self, obstacles: u32) -> bool {
        // A guess that is right where it is hot saves the load: after another locked instruction on
        // the word, as in a loop, that would wait for it (5 of 12 ns). A wrong one tells the state.
        let mut state = 0;
        while state & obstacles == 0 {
            match self.exchange(state, with_reader(state), Ordering::Acquire) {
                Ok(_) => {
                    self.entered();
                    return true;
                }
                Err(now) => state = now,
            }
        }
        false
    }

    /// For reports: we are inside as a reader.
    #[inline]
    #[track_caller]
    fn entered(&self) {
        self.reader.note();
        self.read_at.note();
        recursion::entered(self.readers_key());
    }

    /// As [`read`](Self::read), looking at the lock with its bucket locked.
    #[cold]
    #[track_caller]
    pub(super) fn read_slow(&self, obstacles: u32, deadline_ns: u64) -> bool {
        if obstacles & self.state.load(Ordering::Relaxed) & PENDING != 0 {
            recursion::check(self.readers_key(), deadline_ns, || self.reader_count());
        }
        let bucket = wait_table::lock_to_wait(self.readers_key());
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (next, order) = if state & obstacles == 0 {
                (with_reader(state), Ordering::Acquire)
            } else {
                (state | READERS_QUEUED, Ordering::Relaxed)
            };
            match self.exchange(state, next, order) {
                Ok(_) if state & obstacles == 0 => {
                    // To note a reader allocates, in debug builds.
                    drop(bucket);
                    self.entered();
                    return true;
                }
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let mut how = Wait::new(WaitReason::RwLockRead, deadline_ns);
        // The writer that is inside or next.
        how.held_by = HeldBy::One(&raw const self.writers.holder);
        match bucket.wait(self.readers_key(), how) {
            Woken::Granted(_) => {
                self.entered();
                true
            }
            Woken::TimedOut(bucket) => {
                if bucket.is_empty(self.readers_key()) {
                    self.state.fetch_and(!READERS_QUEUED, Ordering::Relaxed);
                }
                false
            }
        }
    }

    /// Leaves as a reader. Ends the process if there is none.
    #[inline]
    pub(super) fn leave_read(&self) {
        recursion::leaving(self.readers_key());
        // A guess, as in `enter_unless`.
        let mut state = ONE_READER;
        loop {
            if state < ONE_READER {
                fatal!("sync: RUnlock of unlocked RWMutex");
            }
            if is_last_before_writer(state) {
                return self.leave_read_slow();
            }
            match self.exchange(state, state - ONE_READER, Ordering::Release) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    fn leave_read_slow(&self) {
        let mut bucket = wait_table::lock(self.writer_key());
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let hands_over = is_last_before_writer(state);
            let next = state - ONE_READER;
            let next = if hands_over {
                next - PENDING + WRITER
            } else {
                next
            };
            // Acquire as well: if the writer has timed out we leave in its place, below.
            match self.exchange(state, next, Ordering::AcqRel) {
                Ok(_) if hands_over => break,
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        if !bucket.pop(self.writer_key(), 0) && !cfg!(gort_fault = "rw_hand_over") {
            self.let_readers_in(&mut bucket, WRITER);
        }
    }

    // Writers.

    /// Enters as the writer if nobody is inside or before us.
    #[inline]
    pub(super) fn try_write(&self) -> bool {
        if !self.writers.try_acquire() {
            return false;
        }
        let entered = self.exchange(0, WRITER, Ordering::Acquire).is_ok();
        if !entered {
            self.writers.release();
        }
        entered
    }

    /// Enters as the writer, parking until the deadline. False: the deadline passed.
    #[inline]
    #[track_caller]
    pub(super) fn write(&self, deadline_ns: u64) -> bool {
        if !self
            .writers
            .acquire_quietly(WaitReason::RwLockWrite, deadline_ns)
        {
            return false;
        }
        let is_inside = self.exchange(0, WRITER, Ordering::Acquire).is_ok();
        // Not between the two: a locked instruction waits for the stores before it (3 of 32 ns).
        self.writers.holder.note();
        is_inside || self.write_slow(deadline_ns)
    }

    #[cold]
    #[track_caller]
    fn write_slow(&self, deadline_ns: u64) -> bool {
        recursion::writer_waits(self.readers_key(), deadline_ns);
        let is_inside = self.enter_after_readers(0, deadline_ns);
        if !is_inside {
            self.writers.release();
        }
        is_inside
    }

    /// The owner of `writers`, counted `own_count` times, becomes the writer once the other readers have
    /// left. False: the deadline passed, and it is not counted any more.
    #[track_caller]
    fn enter_after_readers(&self, own_count: u32, deadline_ns: u64) -> bool {
        let bucket = wait_table::lock_to_wait(self.writer_key());
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // We own `writers`: neither WRITER nor PENDING is set, so by R3 no reader is queued.
            let others = state - own_count * ONE_READER;
            let is_free = others < ONE_READER;
            let next = if is_free { WRITER } else { others | PENDING };
            match self.exchange(state, next, Ordering::Acquire) {
                Ok(_) if is_free => return true,
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let mut how = Wait::new(WaitReason::RwLockWrite, deadline_ns);
        how.held_by = HeldBy::Readers(&raw const self.reader, &raw const self.read_at);
        match bucket.wait(self.writer_key(), how) {
            Woken::Granted(_) => true,
            Woken::TimedOut(mut bucket) => {
                // The last reader may have been here, found us timed out, and cleared it.
                if self.state.load(Ordering::Relaxed) & PENDING != 0 {
                    self.let_readers_in(&mut bucket, PENDING);
                }
                false
            }
        }
    }

    /// Leaves as the writer. Ends the process if there is none.
    #[inline]
    pub(super) fn leave_write(&self) {
        self.leave_write_inside();
        self.writers.release();
    }

    /// As [`leave_write`](Self::leave_write), and hands over to the next writer, if there is one.
    #[inline]
    pub(super) fn leave_write_fair(&self) {
        self.leave_write_inside();
        self.writers.release_fair();
    }

    /// The writer becomes a reader; those that wait to read enter with it.
    #[inline]
    #[track_caller]
    pub(super) fn downgrade(&self) {
        self.downgrade_to_upgradable();
        self.writers.release();
    }

    /// The writer becomes the upgradable reader; those that wait to read enter with it.
    #[inline]
    #[track_caller]
    pub(super) fn downgrade_to_upgradable(&self) {
        self.entered();
        if let Err(state) = self.exchange(WRITER, ONE_READER, Ordering::Release) {
            if state & WRITER == 0 {
                fatal!("sync: Unlock of unlocked RWMutex");
            }
            let mut bucket = wait_table::lock(self.readers_key());
            self.state.fetch_add(ONE_READER, Ordering::Relaxed);
            self.let_readers_in(&mut bucket, WRITER);
        }
    }

    #[inline]
    fn leave_write_inside(&self) {
        if let Err(state) = self.exchange(WRITER, 0, Ordering::Release) {
            self.leave_write_slow(state);
        }
    }

    #[cold]
    fn leave_write_slow(&self, state: u32) {
        if state & WRITER == 0 {
            fatal!("sync: Unlock of unlocked RWMutex");
        }
        let mut bucket = wait_table::lock(self.readers_key());
        self.let_readers_in(&mut bucket, WRITER);
    }

    // The upgradable reader. It is counted as a reader, and owns `writers`.

    /// Enters as the upgradable reader if no writer and no other upgradable reader is inside or waiting.
    #[inline]
    #[track_caller]
    pub(super) fn try_read_upgradable(&self) -> bool {
        let is_ours = self.writers.try_acquire();
        if is_ours {
            self.enter_as_owner();
        }
        is_ours
    }

    /// Enters as the upgradable reader, parking until the deadline. False: the deadline passed.
    #[inline]
    #[track_caller]
    pub(super) fn read_upgradable(&self, deadline_ns: u64) -> bool {
        let is_ours = self.writers.acquire(WaitReason::RwLockRead, deadline_ns);
        if is_ours {
            self.enter_as_owner();
        }
        is_ours
    }

    /// The owner of `writers` enters as a reader.
    #[track_caller]
    fn enter_as_owner(&self) {
        let is_inside = self.enter_unless(FOR_ALL);
        debug_assert!(is_inside, "a writer is there that does not own `writers`");
    }

    /// Leaves as the upgradable reader.
    #[inline]
    pub(super) fn leave_upgradable(&self) {
        self.leave_read();
        self.writers.release();
    }

    /// As [`leave_upgradable`](Self::leave_upgradable), and hands over to the next that waits to write or
    /// to read upgradably, if there is one.
    #[inline]
    pub(super) fn leave_upgradable_fair(&self) {
        self.leave_read();
        self.writers.release_fair();
    }

    /// The upgradable reader becomes an ordinary one.
    #[inline]
    pub(super) fn downgrade_upgradable(&self) {
        self.writers.release();
    }

    /// The upgradable reader becomes the writer if nobody else reads. False: it stays what it is.
    #[inline]
    pub(super) fn try_upgrade(&self) -> bool {
        let is_writer = self.exchange(ONE_READER, WRITER, Ordering::Acquire).is_ok();
        if is_writer {
            recursion::leaving(self.readers_key());
        }
        is_writer
    }

    /// The upgradable reader becomes the writer, parking until the deadline for the other readers to leave.
    /// False: the deadline passed, and it stays what it is.
    #[inline]
    #[track_caller]
    pub(super) fn upgrade(&self, deadline_ns: u64) -> bool {
        self.try_upgrade() || self.upgrade_slow(deadline_ns)
    }

    #[cold]
    #[track_caller]
    fn upgrade_slow(&self, deadline_ns: u64) -> bool {
        recursion::leaving(self.readers_key());
        recursion::writer_waits(self.readers_key(), deadline_ns);
        let is_writer = self.enter_after_readers(1, deadline_ns);
        if !is_writer {
            self.enter_as_owner();
        }
        is_writer
    }

    /// With the bucket locked: removes the writer's bit `obstacle` and lets in all readers that wait.
    fn let_readers_in(&self, bucket: &mut Bucket, obstacle: u32) {
        let count = bucket.pop_all(self.readers_key(), 0) as u32;
        // While the obstacle stands only readers inside, leaving, change the state without the bucket.
        let queued = self.state.load(Ordering::Relaxed) & READERS_QUEUED;
        let entering = ONE_READER * count;
        self.state.fetch_add(
            entering.wrapping_sub(obstacle).wrapping_sub(queued),
            Ordering::Release,
        );
    }
}

/// The state with one more reader inside.
///
/// # Panics
///
/// With more than half a billion readers inside: guards were forgotten in a loop.
#[inline]
fn with_reader(state: u32) -> u32 {
    state
        .checked_add(ONE_READER)
        .expect("RwLock: too many readers")
}

/// Whether one reader is inside, and a writer waits for it to leave.
#[inline]
fn is_last_before_writer(state: u32) -> bool {
    state & PENDING != 0 && state & !(READERS_QUEUED | PENDING) == ONE_READER
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("RawRwLock")
            .field("is_written", &(state & WRITER != 0))
            .field("readers", &(state / ONE_READER))
            .finish()
    }
}

//! The read-write lock of users: `lock_api`'s types over [`RawRwLock`].
//!
//! Elsewhere: the algorithm and its proof (`raw_rw_lock`).

use std::time::{Duration, Instant};

use lock_api::{
    RawRwLockDowngrade, RawRwLockFair, RawRwLockRecursive, RawRwLockTimed, RawRwLockUpgrade,
    RawRwLockUpgradeDowngrade, RawRwLockUpgradeFair, RawRwLockUpgradeTimed,
};

use super::clock;
use super::raw_rw_lock::RawRwLock;
use super::wait_table::NEVER;

/// A lock that many may read under, or one write, parking goroutines, never their threads. Go's
/// `sync.RWMutex`.
///
/// A writer that waits stops new readers; readers that queued meanwhile enter together when it
/// leaves, before the next writer. On a plain OS thread a wait blocks that thread. No poisoning;
/// guards are `Send`.
///
/// Reading twice in one goroutine is not safe against waiting for ever: a writer that comes between
/// waits for the first guard, and the second `read` for that writer. `read_recursive` goes past
/// waiting writers. Debug builds panic instead of waiting so, and name both places; if the first guard may have
/// gone with another goroutine that has left since, they say so on stderr and wait. They take a guard that was
/// sent elsewhere for its maker's until it goes.
///
/// Who reads and then may have to write uses `upgradable_read`: nobody writes in between. See
/// [`RwLockUpgradableReadGuard`].
///
/// # Examples
///
/// ```
/// use gort::sync::RwLock;
///
/// let names = RwLock::new(vec!["g"]);
/// assert_eq!(names.read().len(), 1);
/// names.write().push("m");
/// assert_eq!(*names.read(), ["g", "m"]);
/// ```
#[doc(alias = "RWMutex")]
#[doc(alias = "sync.RWMutex")]
#[doc(alias = "RLock")]
#[doc(alias = "RUnlock")]
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

/// Ends a read of a [`RwLock`] when dropped. `Send`.
///
/// # Examples
///
/// ```
/// use gort::sync::{RwLock, RwLockReadGuard};
///
/// let lock = RwLock::new(vec![1, 2]);
/// let (one, other): (RwLockReadGuard<'_, _>, _) = (lock.read(), lock.try_read().unwrap());
/// assert_eq!(one.len(), other.len());
/// assert!(lock.try_write().is_none());
/// ```
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;

/// Ends a write of a [`RwLock`] when dropped. `Send`.
///
/// # Examples
///
/// ```
/// use gort::sync::{RwLock, RwLockWriteGuard};
///
/// let lock = RwLock::new(vec![1, 2]);
/// let mut guard: RwLockWriteGuard<'_, Vec<i32>> = lock.write();
/// guard.push(3);
/// let read = RwLockWriteGuard::downgrade(guard); // no other writer comes between
/// assert_eq!(read.len(), 3);
/// ```
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// Ends an upgradable read of a [`RwLock`] when dropped; see `RwLock::upgradable_read`. `Send`.
///
/// Others may read meanwhile, but only one may read upgradably, and none may write. So what was read still
/// holds when [`upgrade`](lock_api::RwLockUpgradableReadGuard::upgrade) has made it a write, which parks until the
/// other readers have left.
///
/// ```
/// use gort::sync::{RwLock, RwLockUpgradableReadGuard};
///
/// let numbers = RwLock::new(vec![1]);
/// let seen = numbers.upgradable_read();
/// if !seen.contains(&2) {
///     let mut numbers = RwLockUpgradableReadGuard::upgrade(seen);
///     numbers.push(2);
/// }
/// assert_eq!(*numbers.read(), [1, 2]);
/// ```
pub type RwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;

/// A read guard for a part of what a [`RwLock`] protects; see `RwLockReadGuard::map`.
///
/// # Examples
///
/// ```
/// use gort::sync::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
///
/// let pair = RwLock::new((1, "one"));
/// let name: MappedRwLockReadGuard<'_, &str> = RwLockReadGuard::map(pair.read(), |pair| &pair.1);
/// assert_eq!(*name, "one");
/// assert!(pair.try_write().is_none());
/// ```
pub type MappedRwLockReadGuard<'a, T> = lock_api::MappedRwLockReadGuard<'a, RawRwLock, T>;

/// A write guard for a part of what a [`RwLock`] protects; see `RwLockWriteGuard::map`.
///
/// # Examples
///
/// ```
/// use gort::sync::{MappedRwLockWriteGuard, RwLock, RwLockWriteGuard};
///
/// let pair = RwLock::new((1, "one"));
/// let mut number: MappedRwLockWriteGuard<'_, i32> =
///     RwLockWriteGuard::map(pair.write(), |pair| &mut pair.0);
/// *number += 1;
/// drop(number);
/// assert_eq!(*pair.read(), (2, "one"));
/// ```
pub type MappedRwLockWriteGuard<'a, T> = lock_api::MappedRwLockWriteGuard<'a, RawRwLock, T>;

/// A [`RwLockReadGuard`] that owns an `Arc` of its lock; see `RwLock::read_arc`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use gort::sync::{ArcRwLockReadGuard, RwLock};
///
/// let guard: ArcRwLockReadGuard<i32> = Arc::new(RwLock::new(1)).read_arc();
/// let reader = gort::go(move || *guard + 1); // borrows from nobody
/// assert_eq!(reader.join().unwrap(), 2);
/// ```
pub type ArcRwLockReadGuard<T> = lock_api::ArcRwLockReadGuard<RawRwLock, T>;

/// A [`RwLockWriteGuard`] that owns an `Arc` of its lock; see `RwLock::write_arc`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use gort::sync::{ArcRwLockWriteGuard, RwLock};
///
/// let number = Arc::new(RwLock::new(1));
/// let mut guard: ArcRwLockWriteGuard<i32> = number.write_arc();
/// let writer = gort::go(move || *guard += 1); // borrows from nobody
/// writer.join().unwrap();
/// assert_eq!(*number.read(), 2);
/// ```
pub type ArcRwLockWriteGuard<T> = lock_api::ArcRwLockWriteGuard<RawRwLock, T>;

/// A [`RwLockUpgradableReadGuard`] that owns an `Arc` of its lock; see `RwLock::upgradable_read_arc`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use gort::sync::{ArcRwLockUpgradableReadGuard, RwLock};
///
/// let number = Arc::new(RwLock::new(0));
/// let seen: ArcRwLockUpgradableReadGuard<i32> = number.upgradable_read_arc();
/// if *seen == 0 {
///     *ArcRwLockUpgradableReadGuard::upgrade(seen) = 1;
/// }
/// assert_eq!(*number.read(), 1);
/// ```
pub type ArcRwLockUpgradableReadGuard<T> = lock_api::ArcRwLockUpgradableReadGuard<RawRwLock, T>;

// SAFETY: a writer inside excludes everybody else (R1).
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: RawRwLock = RawRwLock::new();

    type GuardMarker = lock_api::GuardSend;

    #[inline]
    #[track_caller]
    fn lock_shared(&self) {
        self.read(NEVER);
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared(&self) -> bool {
        self.try_read()
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.leave_read();
    }

    #[inline]
    #[track_caller]
    fn lock_exclusive(&self) {
        self.write(NEVER);
    }

    #[inline]
    fn try_lock_exclusive(&self) -> bool {
        self.try_write()
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.leave_write();
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.is_acquired()
    }

    #[inline]
    fn is_locked_exclusive(&self) -> bool {
        self.is_acquired_by_writer()
    }
}

// SAFETY: both leave, as the ordinary unlocks do; only who comes next differs.
unsafe impl RawRwLockFair for RawRwLock {
    #[inline]
    unsafe fn unlock_shared_fair(&self) {
        // The last reader always hands over to the waiting writer.
        self.leave_read();
    }

    #[inline]
    unsafe fn unlock_exclusive_fair(&self) {
        self.leave_write_fair();
    }

    #[inline]
    #[track_caller]
    unsafe fn bump_shared(&self) {
        if self.has_waiters() {
            self.leave_read();
            self.read(NEVER);
        }
    }

    #[inline]
    #[track_caller]
    unsafe fn bump_exclusive(&self) {
        if self.has_waiters() {
            self.leave_write_fair();
            self.write(NEVER);
        }
    }
}

// SAFETY: afterwards the caller is a reader inside, and no writer is (R1).
unsafe impl RawRwLockDowngrade for RawRwLock {
    #[inline]
    #[track_caller]
    unsafe fn downgrade(&self) {
        RawRwLock::downgrade(self);
    }
}

// SAFETY: a `true` comes from `read` or `write`, as with the untimed forms.
unsafe impl RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    #[inline]
    #[track_caller]
    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        self.try_read() || self.read(clock::deadline_after(timeout))
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared_until(&self, deadline: Instant) -> bool {
        self.try_read() || self.read(clock::from_instant(deadline))
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.try_write() || self.write(clock::deadline_after(timeout))
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive_until(&self, deadline: Instant) -> bool {
        self.try_write() || self.write(clock::from_instant(deadline))
    }
}

// SAFETY: a reader enters only where no writer is inside, as with the ordinary forms.
unsafe impl RawRwLockRecursive for RawRwLock {
    #[inline]
    #[track_caller]
    fn lock_shared_recursive(&self) {
        self.read_recursive(NEVER);
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared_recursive(&self) -> bool {
        self.try_read_recursive()
    }
}

// SAFETY: the upgradable reader is counted as a reader and owns `writers`, so that no writer is inside and no
// other upgradable reader; `upgrade` makes a writer of it once the others have left.
unsafe impl RawRwLockUpgrade for RawRwLock {
    #[inline]
    #[track_caller]
    fn lock_upgradable(&self) {
        self.read_upgradable(NEVER);
    }

    #[inline]
    #[track_caller]
    fn try_lock_upgradable(&self) -> bool {
        self.try_read_upgradable()
    }

    #[inline]
    unsafe fn unlock_upgradable(&self) {
        self.leave_upgradable();
    }

    #[inline]
    #[track_caller]
    unsafe fn upgrade(&self) {
        RawRwLock::upgrade(self, NEVER);
    }

    #[inline]
    unsafe fn try_upgrade(&self) -> bool {
        RawRwLock::try_upgrade(self)
    }
}

// SAFETY: it leaves, as the ordinary unlock does; only who comes next differs.
unsafe impl RawRwLockUpgradeFair for RawRwLock {
    #[inline]
    unsafe fn unlock_upgradable_fair(&self) {
        self.leave_upgradable_fair();
    }

    #[inline]
    #[track_caller]
    unsafe fn bump_upgradable(&self) {
        if self.has_waiters() {
            self.leave_upgradable_fair();
            self.read_upgradable(NEVER);
        }
    }
}

// SAFETY: afterwards the caller is what it has become, and no writer is inside.
unsafe impl RawRwLockUpgradeDowngrade for RawRwLock {
    #[inline]
    unsafe fn downgrade_upgradable(&self) {
        RawRwLock::downgrade_upgradable(self);
    }

    #[inline]
    #[track_caller]
    unsafe fn downgrade_to_upgradable(&self) {
        RawRwLock::downgrade_to_upgradable(self);
    }
}

// SAFETY: a `true` comes from `read_upgradable` or `upgrade`, as with the untimed forms.
unsafe impl RawRwLockUpgradeTimed for RawRwLock {
    #[inline]
    #[track_caller]
    fn try_lock_upgradable_for(&self, timeout: Duration) -> bool {
        self.try_read_upgradable() || self.read_upgradable(clock::deadline_after(timeout))
    }

    #[inline]
    #[track_caller]
    fn try_lock_upgradable_until(&self, deadline: Instant) -> bool {
        self.try_read_upgradable() || self.read_upgradable(clock::from_instant(deadline))
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade_for(&self, timeout: Duration) -> bool {
        RawRwLock::upgrade(self, clock::deadline_after(timeout))
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade_until(&self, deadline: Instant) -> bool {
        RawRwLock::upgrade(self, clock::from_instant(deadline))
    }
}

//! The condition variable, in parking_lot's shape with Go's order.
//!
//! A waiter queues *before* it releases the mutex, so a notification that comes between finds it; and
//! a notification takes a waiter out of the queue at once, so a later waiter cannot take an earlier
//! one's (Go's ticket numbers serve the same end). Waiters are woken in the order they came.
//!
//! `has_waiters` spares a notification the table if nobody waits. It is set and cleared with the
//! bucket locked: true if and only if the queue is not empty. Reading it without the lock is enough:
//! a waiter sets it before it releases the mutex, and whoever changes the condition under the mutex
//! afterwards sees the flag.
//!
//! Woken waiters compete for the mutex like any others; they are not moved from queue to queue. A
//! wake-up costs a tenth of a microsecond here, and the moving would tie a condition to one mutex.
//!
//! Checked by `crates/gort/tests/sync`, SY21 to SY25, S135.

use std::fmt;
use std::time::{Duration, Instant};

use gort_core::cancel::Cancellation;
use lock_api::RawMutex as _;

use super::atomic::{AtomicBool, Ordering};
use super::mutex::MutexGuard;
use super::wait_table::{self, Key, NEVER, Wait, Woken};
use super::{WaitReason, clock};

/// Waits, with a [`Mutex`](super::Mutex) released meanwhile, until others say that something has
/// changed. Go's `sync.Cond`.
///
/// Always wait in a loop, or with [`wait_while`](Self::wait_while): between the notification and
/// the moment the mutex is locked again others may have changed the condition back. A notification
/// that nobody waits for is lost.
///
/// # Examples
///
/// ```
/// use gort::sync::{Condvar, Mutex};
///
/// static IS_READY: Mutex<bool> = Mutex::new(false);
/// static CHANGED: Condvar = Condvar::new();
///
/// let other = std::thread::spawn(|| {
///     *IS_READY.lock() = true;
///     CHANGED.notify_one();
/// });
/// let mut is_ready = IS_READY.lock();
/// while !*is_ready {
///     CHANGED.wait(&mut is_ready);
/// }
/// # drop(is_ready);
/// # other.join().unwrap();
/// ```
#[doc(alias = "Cond")]
#[doc(alias = "sync.Cond")]
#[derive(Default)]
pub struct Condvar {
    has_waiters: AtomicBool,
}

/// Whether a wait with a deadline ended because of it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use gort::sync::{Condvar, Mutex, WaitTimeoutResult};
///
/// let (lock, changed) = (Mutex::new(()), Condvar::new());
/// let result: WaitTimeoutResult = changed.wait_for(&mut lock.lock(), Duration::ZERO);
/// assert!(result.timed_out());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the deadline passed without a notification.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (is_ready, changed) = (Mutex::new(true), Condvar::new());
    /// let mut guard = is_ready.lock();
    /// let result = changed.wait_while_for(&mut guard, |is_ready| !*is_ready, Duration::from_secs(1));
    /// assert!(!result.timed_out()); // there was nothing to wait for
    /// ```
    #[inline]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition variable that nobody waits on.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::Condvar;
    ///
    /// static CHANGED: Condvar = Condvar::new();
    ///
    /// assert!(!CHANGED.notify_one()); // nobody waits
    /// ```
    #[inline]
    pub const fn new() -> Condvar {
        Condvar {
            has_waiters: AtomicBool::new(false),
        }
    }

    #[inline]
    fn key(&self) -> Key {
        Key::of(self)
    }

    /// Wakes the goroutine that has waited longest. Tells whether there was one.
    ///
    /// Never blocks. The mutex need not be locked.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (count, changed) = (Mutex::new(0), Condvar::new());
    /// assert!(!changed.notify_one()); // nobody waits: it is lost
    /// gort::scope(|s| {
    ///     s.go(|| changed.wait_while(&mut count.lock(), |count| *count == 0));
    ///     *count.lock() += 1;
    ///     changed.notify_one();
    /// });
    /// ```
    #[doc(alias = "Signal")]
    #[inline]
    pub fn notify_one(&self) -> bool {
        self.has_waiters.load(Ordering::Relaxed) && self.notify_one_slow()
    }

    #[cold]
    fn notify_one_slow(&self) -> bool {
        let mut bucket = wait_table::lock(self.key());
        let is_notified = bucket.pop(self.key(), 0);
        if bucket.is_empty(self.key()) {
            self.has_waiters.store(false, Ordering::Relaxed);
        }
        is_notified
    }

    /// Wakes all that wait, in the order they came. Tells how many.
    ///
    /// Never blocks. The mutex need not be locked.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (is_open, opened) = (Mutex::new(false), Condvar::new());
    /// gort::scope(|s| {
    ///     for _ in 0..3 {
    ///         s.go(|| opened.wait_while(&mut is_open.lock(), |is_open| !*is_open));
    ///     }
    ///     *is_open.lock() = true;
    ///     opened.notify_all();
    /// });
    /// ```
    #[doc(alias = "Broadcast")]
    #[inline]
    pub fn notify_all(&self) -> usize {
        if self.has_waiters.load(Ordering::Relaxed) {
            self.notify_all_slow()
        } else {
            0
        }
    }

    #[cold]
    fn notify_all_slow(&self) -> usize {
        let mut bucket = wait_table::lock(self.key());
        let count = bucket.pop_all(self.key(), 0);
        self.has_waiters.store(false, Ordering::Relaxed);
        count
    }

    /// Releases the mutex, parks until notified, and locks the mutex again.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (is_ready, changed) = (Mutex::new(false), Condvar::new());
    /// gort::scope(|s| {
    ///     s.go(|| {
    ///         *is_ready.lock() = true;
    ///         changed.notify_one();
    ///     });
    ///     let mut guard = is_ready.lock();
    ///     while !*guard {
    ///         changed.wait(&mut guard);
    ///     }
    ///     assert!(*guard);
    /// });
    /// ```
    #[track_caller]
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_until_ns(guard, NEVER, None);
    }

    /// As [`wait`](Self::wait), until `timeout` has passed at the latest.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (lock, changed) = (Mutex::new(()), Condvar::new());
    /// let result = changed.wait_for(&mut lock.lock(), Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// ```
    #[track_caller]
    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.wait_until_ns(guard, clock::deadline_after(timeout), None)
    }

    /// As [`wait`](Self::wait), until `deadline` at the latest.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (lock, changed) = (Mutex::new(()), Condvar::new());
    /// assert!(changed.wait_until(&mut lock.lock(), Instant::now()).timed_out());
    /// ```
    #[track_caller]
    pub fn wait_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_until_ns(guard, clock::from_instant(deadline), None)
    }

    /// Waits as long as `condition` says so. It is asked with the mutex locked, first of all before
    /// any wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (stock, changed) = (Mutex::new(0), Condvar::new());
    /// gort::scope(|s| {
    ///     s.go(|| {
    ///         *stock.lock() = 5;
    ///         changed.notify_all();
    ///     });
    ///     let mut guard = stock.lock();
    ///     changed.wait_while(&mut guard, |stock| *stock == 0);
    ///     assert_eq!(*guard, 5);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_while<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) {
        self.wait_while_until_ns(guard, condition, NEVER);
    }

    /// As [`wait_while`](Self::wait_while), until `timeout` has passed at the latest. The result says
    /// that it timed out only if the condition still holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (stock, changed) = (Mutex::new(0), Condvar::new());
    /// let mut guard = stock.lock();
    /// let result = changed.wait_while_for(&mut guard, |stock| *stock == 0, Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// *guard = 1;
    /// let result = changed.wait_while_for(&mut guard, |stock| *stock == 0, Duration::from_millis(1));
    /// assert!(!result.timed_out());
    /// ```
    #[track_caller]
    pub fn wait_while_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.wait_while_until_ns(guard, condition, clock::deadline_after(timeout))
    }

    /// As [`wait_while_for`](Self::wait_while_for), until `deadline`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// use gort::sync::{Condvar, Mutex};
    ///
    /// let (stock, changed) = (Mutex::new(0), Condvar::new());
    /// let mut guard = stock.lock();
    /// let result = changed.wait_while_until(&mut guard, |stock| *stock == 0, Instant::now());
    /// assert!(result.timed_out());
    /// ```
    #[track_caller]
    pub fn wait_while_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_while_until_ns(guard, condition, clock::from_instant(deadline))
    }

    #[track_caller]
    fn wait_while_until_ns<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        deadline_ns: u64,
    ) -> WaitTimeoutResult {
        let mut result = WaitTimeoutResult(false);
        while condition(guard) {
            if result.timed_out() {
                return result;
            }
            result = self.wait_until_ns(guard, deadline_ns, None);
        }
        WaitTimeoutResult(false)
    }

    /// As [`wait_until`](Self::wait_until); ends as well when `cancellation` is called off.
    #[track_caller]
    pub(crate) fn wait_under<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Option<Instant>,
        cancellation: Option<&Cancellation>,
    ) -> WaitTimeoutResult {
        let deadline_ns = deadline.map_or(NEVER, clock::from_instant);
        self.wait_until_ns(guard, deadline_ns, cancellation)
    }

    #[track_caller]
    fn wait_until_ns<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline_ns: u64,
        cancellation: Option<&Cancellation>,
    ) -> WaitTimeoutResult {
        // SAFETY: the raw mutex is unlocked here and locked again before the guard is used.
        let mutex = unsafe { MutexGuard::mutex(guard).raw() };
        let bucket = wait_table::lock_to_wait(self.key());
        self.has_waiters.store(true, Ordering::Relaxed);
        let how = Wait {
            cancellation,
            ..Wait::new(WaitReason::CondWait, deadline_ns)
        };
        // A hand-over needs no yield: we are about to park.
        let unlock = || {
            mutex.release_without_yield(false);
        };
        let is_timed_out = match bucket.wait_after(self.key(), how, unlock) {
            Woken::Granted(_) => false,
            Woken::TimedOut(bucket) => {
                if bucket.is_empty(self.key()) {
                    self.has_waiters.store(false, Ordering::Relaxed);
                }
                true
            }
        };
        mutex.lock();
        WaitTimeoutResult(is_timed_out)
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

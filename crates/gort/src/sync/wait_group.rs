//! [`WaitGroup`]: handles to one [`RawWaitGroup`].

use std::fmt;
use std::sync::Arc;

use super::raw_wait_group::RawWaitGroup;

/// Waits for a number of goroutines to finish. Go's `sync.WaitGroup`.
///
/// Clones are handles to the same counter. Dropping one is not [`done`](Self::done).
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::sync::Arc;
///
/// let group = gort::sync::WaitGroup::new();
/// let sum = Arc::new(AtomicU32::new(0));
/// for i in 1..=10 {
///     let sum = sum.clone();
///     group.go(move || {
///         sum.fetch_add(i, Ordering::Relaxed);
///     });
/// }
/// group.wait();
/// assert_eq!(sum.load(Ordering::Relaxed), 55);
/// ```
#[doc(alias = "sync.WaitGroup")]
#[derive(Clone)]
pub struct WaitGroup {
    raw: Arc<RawWaitGroup>,
}

impl WaitGroup {
    /// A group that waits for nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = gort::sync::WaitGroup::new();
    /// let (tx, rx) = gort::chan::bounded(3);
    /// for n in 0..3 {
    ///     let tx = tx.clone();
    ///     group.go(move || tx.send(n).unwrap());
    /// }
    /// group.wait();
    /// assert_eq!(rx.len(), 3);
    /// ```
    pub fn new() -> WaitGroup {
        WaitGroup {
            raw: Arc::new(RawWaitGroup::new()),
        }
    }

    /// Adds `delta`, which may be negative, to the counter. When it becomes 0, all waiters wake.
    ///
    /// Add before what is counted starts, and not from inside it: else `wait` may come first, see 0
    /// and return. [`go`](Self::go) does that rightly.
    ///
    /// # Panics
    ///
    /// With Go's texts: if the counter becomes negative or exceeds 2³¹ - 1
    /// (`sync: negative WaitGroup counter`); if it finds, by chance, that a `wait` is returning at this
    /// moment (`sync: WaitGroup misuse: Add called concurrently with Wait`).
    ///
    /// # Examples
    ///
    /// ```
    /// let group = gort::sync::WaitGroup::new();
    /// group.add(3); // before they start
    /// for _ in 0..3 {
    ///     let group = group.clone();
    ///     gort::go(move || group.done());
    /// }
    /// group.wait();
    /// ```
    #[inline]
    #[track_caller]
    pub fn add(&self, delta: isize) {
        match i32::try_from(delta) {
            Ok(delta) => self.raw.add(delta),
            // No sum with it is in range.
            Err(_) => panic!("sync: negative WaitGroup counter"),
        }
    }

    /// Subtracts 1 from the counter.
    ///
    /// # Panics
    ///
    /// As [`add`](Self::add).
    ///
    /// # Examples
    ///
    /// ```
    /// let group = gort::sync::WaitGroup::new();
    /// group.add(1);
    /// let other = group.clone();
    /// let worker = gort::go(move || {
    ///     other.done();
    ///     "and more work, for which nobody waits"
    /// });
    /// group.wait();
    /// assert!(worker.join().is_ok());
    /// ```
    #[inline]
    #[track_caller]
    pub fn done(&self) {
        self.raw.add(-1);
    }

    /// Parks until the counter is 0. What happened before the `done`s is then visible here.
    ///
    /// # Panics
    ///
    /// If the group is used for a new round before all waiters of the last one have returned
    /// (`sync: WaitGroup is reused before previous Wait has returned`), where that is noticed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// let (group, is_done) = (gort::sync::WaitGroup::new(), Arc::new(AtomicBool::new(false)));
    /// let other = is_done.clone();
    /// group.go(move || other.store(true, Ordering::Relaxed));
    /// group.wait();
    /// assert!(is_done.load(Ordering::Relaxed));
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        self.raw.wait();
    }

    /// How many are counted now. A hint.
    pub(super) fn count(&self) -> i32 {
        self.raw.counter()
    }

    /// Runs `f` in a new goroutine that this group counts from now until it ends: also if it panics or
    /// calls `goexit`.
    ///
    /// # Panics
    ///
    /// As [`gort::go`](crate::go), with the count taken back.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = gort::sync::WaitGroup::new();
    /// group.go(|| println!("counted"));
    /// group.go(|| panic!("counted down all the same"));
    /// group.wait();
    /// ```
    #[track_caller]
    pub fn go(&self, f: impl FnOnce() + Send + 'static) {
        /// Counts down when dropped, wherever that happens.
        struct Counted(WaitGroup);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.done();
            }
        }
        self.add(1);
        let counted = Counted(self.clone());
        drop(crate::go(move || {
            let _counted = counted;
            f();
        }));
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("counter", &self.raw.counter())
            .finish_non_exhaustive()
    }
}

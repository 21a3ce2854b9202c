//! [`Barrier`]: n goroutines wait for each other, in std's shape.
//!
//! `arrived` changes with the bucket locked only, and is the length of the queue: the n-th to come
//! takes all others out and starts the next generation in the same step. So a fast goroutine that
//! comes again at once waits in the next generation, behind nobody of this one.

use std::fmt;

use super::WaitReason;
use super::atomic::{AtomicUsize, Ordering};
use super::wait_table::{self, Key, NEVER, Wait, Woken};

/// Lets goroutines wait until a number of them has arrived. As `std::sync::Barrier`.
///
/// # Examples
///
/// ```
/// use gort::sync::Barrier;
///
/// let barrier = Barrier::new(2);
/// std::thread::scope(|s| {
///     let other = s.spawn(|| barrier.wait().is_leader());
///     let here = barrier.wait().is_leader();
///     assert!(here != other.join().unwrap());
/// });
/// ```
pub struct Barrier {
    /// How many a generation has.
    size: usize,
    arrived: AtomicUsize,
}

/// Tells one of those that a [`Barrier`] let go from the others.
///
/// # Examples
///
/// ```
/// use gort::sync::{Barrier, BarrierWaitResult};
///
/// let result: BarrierWaitResult = Barrier::new(1).wait();
/// assert!(result.is_leader());
/// ```
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// True for one of each generation: the last to arrive.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = gort::sync::Barrier::new(3);
    /// let leaders = gort::scope(|s| {
    ///     let all: Vec<_> = (0..3).map(|_| s.go(|| barrier.wait().is_leader())).collect();
    ///     all.into_iter().filter_map(|one| one.join().ok()).filter(|is_leader| *is_leader).count()
    /// });
    /// assert_eq!(leaders, 1);
    /// ```
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// A barrier that lets go when `size` goroutines wait. With 0 or 1 nobody waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::Barrier;
    ///
    /// static ALONE: Barrier = Barrier::new(1);
    ///
    /// assert!(ALONE.wait().is_leader());
    /// ```
    #[inline]
    pub const fn new(size: usize) -> Barrier {
        Barrier {
            size,
            arrived: AtomicUsize::new(0),
        }
    }

    /// Parks until all have arrived. The barrier can be used again at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::Barrier;
    ///
    /// // One of them prints for all, after all have arrived.
    /// let barrier = Barrier::new(3);
    /// gort::scope(|s| {
    ///     for _ in 0..3 {
    ///         s.go(|| {
    ///             if barrier.wait().is_leader() {
    ///                 println!("all are here");
    ///             }
    ///         });
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        let mut bucket = wait_table::lock_to_wait(Key::of(self));
        let arrived = self.arrived.load(Ordering::Relaxed) + 1;
        if arrived >= self.size {
            self.arrived.store(0, Ordering::Relaxed);
            bucket.pop_all(Key::of(self), 0);
            return BarrierWaitResult(true);
        }
        self.arrived.store(arrived, Ordering::Relaxed);
        match bucket.wait(Key::of(self), Wait::new(WaitReason::BarrierWait, NEVER)) {
            Woken::Granted(_) => BarrierWaitResult(false),
            Woken::TimedOut(_) => unreachable!("the wait has no deadline"),
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

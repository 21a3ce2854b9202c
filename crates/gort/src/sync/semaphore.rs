//! [`Semaphore`]: permits that goroutines take and give back.
//!
//! Elsewhere: the state machine (`raw_semaphore`).

use std::fmt;
use std::mem;
use std::time::Duration;

use super::raw_semaphore::RawSemaphore;
use super::wait_table::{NEVER, Wait};
use super::{WaitReason, clock};
use crate::context::{Context, ContextError};

/// A number of permits. Go's `semaphore.Weighted`.
///
/// Requests are served in the order they come: while one waits, later ones queue behind it even if
/// there are permits enough for them. On a plain OS thread a wait blocks that thread.
///
/// # Examples
///
/// ```
/// use gort::sync::Semaphore;
///
/// static UPLOADS: Semaphore = Semaphore::new(3);
///
/// let two = UPLOADS.acquire(2);
/// assert!(UPLOADS.try_acquire(2).is_none());
/// drop(two);
/// assert!(UPLOADS.try_acquire(2).is_some());
/// ```
#[doc(alias = "semaphore.Weighted")]
pub struct Semaphore {
    raw: RawSemaphore,
}

/// Permits taken from a [`Semaphore`]; they go back when it is dropped. `Send`.
///
/// # Examples
///
/// ```
/// let slots = gort::sync::Semaphore::new(3);
/// let permit = slots.acquire(2);
/// assert_eq!((permit.count(), slots.available_permits()), (2, 1));
/// drop(permit);
/// assert_eq!(slots.available_permits(), 3);
/// // One less for good.
/// slots.acquire(1).forget();
/// assert_eq!(slots.available_permits(), 2);
/// ```
#[must_use = "the permits go back at once if this is not kept"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: u64,
}

impl Semaphore {
    /// A semaphore with `permits` free permits.
    ///
    /// # Panics
    ///
    /// With 2⁶³ permits or more.
    ///
    /// # Examples
    ///
    /// ```
    /// static SLOTS: gort::sync::Semaphore = gort::sync::Semaphore::new(3);
    ///
    /// assert_eq!(SLOTS.available_permits(), 3);
    /// ```
    #[inline]
    pub const fn new(permits: u64) -> Semaphore {
        Semaphore {
            raw: RawSemaphore::new(permits),
        }
    }

    /// Takes `count` permits, parking until that many are free and all who came before are served.
    ///
    /// Parks for ever if there are not so many permits at all and none are
    /// [added](Self::add_permits).
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = gort::sync::Semaphore::new(2);
    /// let slots = &slots;
    /// gort::scope(|s| {
    ///     for n in 0..10 {
    ///         s.go(move || {
    ///             let _slot = slots.acquire(1);
    ///             println!("{n} is one of two at most");
    ///         });
    ///     }
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self, count: u64) -> Permit<'_> {
        self.raw.acquire(count, NEVER);
        Permit {
            semaphore: self,
            count,
        }
    }

    /// Takes `count` permits if they are free and nobody waits. Never blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = gort::sync::Semaphore::new(1);
    /// let slot = slots.try_acquire(1);
    /// assert!(slot.is_some());
    /// assert!(slots.try_acquire(1).is_none());
    /// ```
    #[inline]
    pub fn try_acquire(&self, count: u64) -> Option<Permit<'_>> {
        self.raw.try_acquire(count).then(|| Permit {
            semaphore: self,
            count,
        })
    }

    /// As [`acquire`](Self::acquire); `None` if `timeout` has passed before.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let slots = gort::sync::Semaphore::new(1);
    /// let taken = slots.acquire(1);
    /// assert!(slots.try_acquire_for(1, Duration::from_millis(1)).is_none());
    /// drop(taken);
    /// assert!(slots.try_acquire_for(1, Duration::from_millis(1)).is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_acquire_for(&self, count: u64, timeout: Duration) -> Option<Permit<'_>> {
        let is_acquired =
            self.raw.try_acquire(count) || self.raw.acquire(count, clock::deadline_after(timeout));
        is_acquired.then(|| Permit {
            semaphore: self,
            count,
        })
    }

    /// As [`acquire`](Self::acquire), until `ctx` is done.
    ///
    /// A context that is done comes first, though there be permits. Giving up changes nothing for those
    /// who wait behind, but that they move up.
    ///
    /// # Errors
    ///
    /// Why the context is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    /// use gort::sync::Semaphore;
    /// use std::time::Duration;
    ///
    /// let slots = Semaphore::new(1);
    /// let (ctx, _cancel) = context::background().with_timeout(Duration::from_millis(1));
    /// let error = slots.acquire_ctx(&ctx, 2).unwrap_err();
    /// assert_eq!(error, ContextError::DeadlineExceeded);
    /// ```
    #[doc(alias = "semaphore.Acquire")]
    #[track_caller]
    pub fn acquire_ctx(&self, ctx: &Context, count: u64) -> Result<Permit<'_>, ContextError> {
        if let Some(error) = ctx.err() {
            return Err(error);
        }
        let how = Wait {
            cancellation: ctx.cancellation(),
            ..Wait::new(WaitReason::SemAcquire, NEVER)
        };
        if self.raw.try_acquire(count) || self.raw.acquire_slow(count, how) {
            return Ok(Permit {
                semaphore: self,
                count,
            });
        }
        Err(ctx.err().expect("nothing else ends the wait"))
    }

    /// Adds `count` permits to those there are.
    ///
    /// # Panics
    ///
    /// If there would be 2⁶³ free permits or more.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = gort::sync::Semaphore::new(0);
    /// gort::scope(|s| {
    ///     s.go(|| drop(slots.acquire(1)));
    ///     slots.add_permits(1);
    /// });
    /// assert_eq!(slots.available_permits(), 1);
    /// ```
    #[inline]
    #[track_caller]
    #[doc(alias = "Release")]
    pub fn add_permits(&self, count: u64) {
        assert!(self.raw.add(count), "Semaphore: too many permits");
    }

    /// How many permits are free now. Others may take them before you use the answer.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = gort::sync::Semaphore::new(3);
    /// let _two = slots.acquire(2);
    /// assert_eq!(slots.available_permits(), 1);
    /// ```
    #[inline]
    pub fn available_permits(&self) -> u64 {
        self.raw.free()
    }
}

impl Permit<'_> {
    /// How many permits this stands for.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = gort::sync::Semaphore::new(3);
    /// assert_eq!(slots.acquire(2).count(), 2);
    /// ```
    #[inline]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Keeps the permits from going back: the semaphore has that many less for good.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = gort::sync::Semaphore::new(3);
    /// slots.acquire(1).forget();
    /// assert_eq!(slots.available_permits(), 2);
    /// slots.add_permits(1); // somebody else gives it back
    /// assert_eq!(slots.available_permits(), 3);
    /// ```
    #[inline]
    pub fn forget(self) {
        mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // The sum fitted before they were taken; it can be too large only if others were added since.
        let is_added = self.semaphore.raw.add(self.count);
        assert!(
            is_added || std::thread::panicking(),
            "Semaphore: too many permits"
        );
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available_permits())
            .finish()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

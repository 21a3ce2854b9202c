//! [`Once`]: a function that is called once. Go's `sync.Once`.
//!
//! Elsewhere: the state machine (`raw_once`).

use std::fmt;

use super::raw_once::{AfterPanic, RawOnce};

/// Runs a function once. Go's `sync.Once`.
///
/// Callers that come while it runs park until it has ended. A function that panics counts as done, as
/// in Go: the panic goes to its caller, and nobody runs it again. For values use
/// [`OnceLock`](super::OnceLock) or [`LazyLock`](super::LazyLock), where a panic leaves no value.
///
/// # Examples
///
/// ```
/// use gort::sync::Once;
///
/// static GREETED: Once = Once::new();
///
/// let mut count = 0;
/// for _ in 0..3 {
///     GREETED.call_once(|| count += 1);
/// }
/// assert_eq!(count, 1);
/// assert!(GREETED.is_completed());
/// ```
#[doc(alias = "sync.Once")]
pub struct Once {
    raw: RawOnce,
}

impl Once {
    /// Nothing has been done.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::Once;
    ///
    /// static GREETED: Once = Once::new();
    ///
    /// assert!(!GREETED.is_completed());
    /// ```
    #[inline]
    pub const fn new() -> Once {
        Once {
            raw: RawOnce::new(),
        }
    }

    /// Calls `f` if no function has been called through this `Once` before, and returns when the one
    /// that was has ended. What it did is then visible here.
    ///
    /// Parks for ever if called on the same `Once` inside `f`.
    ///
    /// # Panics
    ///
    /// If `f` does, in the caller that runs it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let (once, calls) = (gort::sync::Once::new(), AtomicU32::new(0));
    /// gort::scope(|s| {
    ///     for _ in 0..3 {
    ///         s.go(|| once.call_once(|| _ = calls.fetch_add(1, Ordering::Relaxed)));
    ///     }
    /// });
    /// assert_eq!(calls.into_inner(), 1);
    /// ```
    #[doc(alias = "Do")]
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        self.raw.run(AfterPanic::Done, f);
    }

    /// Whether a call has ended, well or with a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// let once = gort::sync::Once::new();
    /// assert!(!once.is_completed());
    /// once.call_once(|| println!("hello"));
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.raw.is_done()
    }

    /// Parks until another caller's function has ended; runs nothing itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::Once;
    ///
    /// let loaded = Once::new();
    /// gort::scope(|s| {
    ///     s.go(|| loaded.call_once(|| println!("loading")));
    ///     loaded.wait();
    ///     assert!(loaded.is_completed());
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        self.raw.wait();
    }
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("is_completed", &self.is_completed())
            .finish()
    }
}

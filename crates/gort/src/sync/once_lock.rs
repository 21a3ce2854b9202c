//! [`OnceLock`]: a cell that is written once, with std's rules.
//!
//! C1. The cell holds a value if and only if `once` is done, or its runner is at its very end. Nobody
//!     writes it but the runner, and through `&mut`.
//!
//! Elsewhere: the state machine (`raw_once`).

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::raw_once::{AfterPanic, RawOnce};

/// A cell that can be written once. As `std::sync::OnceLock`, but a wait parks the goroutine.
///
/// # Examples
///
/// ```
/// use gort::sync::OnceLock;
///
/// static NAME: OnceLock<String> = OnceLock::new();
///
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "gort".to_owned()), "gort");
/// assert_eq!(NAME.set("other".to_owned()), Err("other".to_owned()));
/// ```
#[doc(alias = "OnceValue")]
pub struct OnceLock<T> {
    once: RawOnce,
    value: UnsafeCell<MaybeUninit<T>>,
    /// Dropping the cell drops a `T`.
    owns: PhantomData<T>,
}

// SAFETY: `&OnceLock` gives out `&T` (hence `T: Sync`) and moves in a `T` that another thread may
// drop or take out (hence `T: Send`). Writing is exclusive (C1).
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}
// SAFETY: it owns a `T` and an atomic.
unsafe impl<T: Send> Send for OnceLock<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// An empty cell.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::OnceLock;
    ///
    /// static NAME: OnceLock<String> = OnceLock::new();
    ///
    /// assert!(NAME.get().is_none());
    /// ```
    #[inline]
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            once: RawOnce::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            owns: PhantomData,
        }
    }

    /// The value, if there is one. Never blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = gort::sync::OnceLock::new();
    /// assert_eq!(cell.get(), None);
    /// cell.set(1).unwrap();
    /// assert_eq!(cell.get(), Some(&1));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: done, so the value is there (C1), and nobody writes it while `self` is borrowed.
        self.once
            .is_done()
            .then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = gort::sync::OnceLock::from(1);
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!(cell.get(), Some(&2));
    /// ```
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: done, so the value is there (C1); `&mut self` makes us the only user.
        self.once
            .is_done()
            .then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// The value; parks until there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::OnceLock;
    ///
    /// let address = OnceLock::new();
    /// gort::scope(|s| {
    ///     s.go(|| address.set("127.0.0.1:80").unwrap());
    ///     assert_eq!(*address.wait(), "127.0.0.1:80");
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> &T {
        self.once.wait();
        self.get().expect("the wait ends with a value")
    }

    /// Writes the value. Parks while another caller is writing.
    ///
    /// # Errors
    ///
    /// The value comes back if the cell has one already.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = gort::sync::OnceLock::new();
    /// assert_eq!(cell.set("first"), Ok(()));
    /// assert_eq!(cell.set("second"), Err("second"));
    /// assert_eq!(cell.get(), Some(&"first"));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("the function is called once"));
        match value {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// The value, made by `f` if there is none yet. Parks while another caller makes it.
    ///
    /// Parks for ever if called on the same cell inside `f`.
    ///
    /// # Panics
    ///
    /// If `f` does: the cell stays empty, and the next caller tries with its own function.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::OnceLock;
    ///
    /// let cell = OnceLock::new();
    /// gort::scope(|s| {
    ///     let cell = &cell;
    ///     let others: Vec<_> = (0..3).map(|n| s.go(move || *cell.get_or_init(|| n))).collect();
    ///     // One of them has made it, for all.
    ///     for other in others {
    ///         assert_eq!(other.join().unwrap(), *cell.get().unwrap());
    ///     }
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        self.once.run(AfterPanic::New, || {
            let value = f();
            // SAFETY: we are the one runner, and no reader looks before the run is done (C1).
            unsafe { (*self.value.get()).write(value) };
        });
        self.get().expect("the run ends with a value or unwinds")
    }

    /// Takes the value out, if there is one; the cell is empty again.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::OnceLock;
    ///
    /// let mut cell = OnceLock::from(1);
    /// assert_eq!(cell.take(), Some(1));
    /// assert_eq!(cell.set(2), Ok(()));
    /// assert_eq!(cell.into_inner(), Some(2));
    /// ```
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        let is_done = self.once.is_done();
        self.once = RawOnce::new();
        // SAFETY: the value was there (C1), and with the new `once` nobody reads it again.
        is_done.then(|| unsafe { self.value.get_mut().assume_init_read() })
    }

    /// The value, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = gort::sync::OnceLock::from("text".to_owned());
    /// let text: Option<String> = cell.into_inner();
    /// assert_eq!(text.as_deref(), Some("text"));
    /// ```
    #[inline]
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }
}

impl<T> Drop for OnceLock<T> {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        let cell = OnceLock::new();
        // A new cell is empty, so nothing comes back.
        let _ = cell.set(value);
        cell
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        self.get()
            .cloned()
            .map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}

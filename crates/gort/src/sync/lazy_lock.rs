//! [`LazyLock`]: a value made at its first use, with std's rules.
//!
//! The function is taken out by the one runner of the [`OnceLock`]. If it panics the cell stays empty
//! and the function is gone: later uses panic.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::once_lock::OnceLock;

/// A value that is made at its first use. As `std::sync::LazyLock`, but a wait parks the goroutine.
///
/// # Panics
///
/// The first use panics if the function does; every later one says that the value is poisoned.
///
/// # Examples
///
/// ```
/// use gort::sync::LazyLock;
///
/// static PRIMES: LazyLock<Vec<u32>> = LazyLock::new(|| vec![2, 3, 5, 7]);
///
/// assert_eq!(PRIMES.len(), 4);
/// ```
#[doc(alias = "OnceFunc")]
#[doc(alias = "OnceValue")]
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    /// Taken by the runner of `cell`, and through `&mut`.
    init: Cell<Option<F>>,
}

// SAFETY: `cell` is Sync under these bounds. `init` is touched by the one runner of `cell` only,
// which may be on another thread than the maker (hence `F: Send`); no `&F` is given out.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `f` will make.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::LazyLock;
    ///
    /// let half = 21;
    /// let whole = LazyLock::new(move || 2 * half);
    /// assert_eq!(*whole, 42);
    /// ```
    #[inline]
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            cell: OnceLock::new(),
            init: Cell::new(Some(f)),
        }
    }

    /// Makes the value if it has not been made, and gives it. Parks while another caller makes it.
    ///
    /// # Panics
    ///
    /// If the function panics, now or in an earlier use.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::LazyLock;
    ///
    /// let table = LazyLock::new(|| (0..4).map(|n| n * n).collect::<Vec<_>>());
    /// LazyLock::force(&table); // now, and not in the midst of a request
    /// assert_eq!(table[3], 9);
    /// ```
    #[inline]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.cell.get_or_init(|| match this.init.take() {
            Some(init) => init(),
            None => panic!("LazyLock instance has previously been poisoned"),
        })
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("LazyLock");
        match self.cell.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}

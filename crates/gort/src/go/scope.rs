//! Goroutines that may borrow, since a scope waits for them.

use std::panic::{RefUnwindSafe, UnwindSafe};

use gort_core::sched::scope as core_scope;

use super::handle::result_of;
use super::{Builder, Goroutine, JoinError};

/// A scope whose goroutines may borrow from outside it; see [`scope`].
///
/// # Examples
///
/// ```
/// // A goroutine of a scope may start others in it.
/// let text = String::from("a b c");
/// let words = gort::sync::Mutex::new(0);
/// gort::scope(|s| {
///     s.go(|| {
///         for _word in text.split(' ') {
///             s.go(|| *words.lock() += 1);
///         }
///     });
/// });
/// assert_eq!(words.into_inner(), 3);
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Scope<'scope, 'env: 'scope>(core_scope::Scope<'scope, 'env>);

/// As std's: starting a goroutine is all that a shared one does, and a panic leaves nothing half done.
impl RefUnwindSafe for Scope<'_, '_> {}

/// Runs `f` with a scope in which goroutines may borrow local values, and waits for all of them.
///
/// As `std::thread::scope`: all goroutines of the scope have ended when it returns, on every path.
///
/// # Panics
///
/// If `f` panics, with its payload; or if a goroutine of the scope panicked and was not joined.
///
/// # Examples
///
/// ```
/// let mut parts = vec![1, 2, 3, 4];
/// gort::scope(|s| {
///     for part in &mut parts {
///         s.go(move || *part *= 10);
///     }
/// });
/// assert_eq!(parts, [10, 20, 30, 40]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    core_scope::scope(|scope| f(Scope::from_core(scope)))
}

impl<'scope, 'env> Scope<'scope, 'env> {
    fn from_core(scope: &'scope core_scope::Scope<'scope, 'env>) -> &'scope Self {
        // SAFETY: `Scope` is a transparent wrapper, so a reference to one is a reference to the other,
        // of the same lifetime.
        unsafe { &*std::ptr::from_ref(scope).cast() }
    }

    pub(super) fn as_core(&'scope self) -> &'scope core_scope::Scope<'scope, 'env> {
        &self.0
    }

    /// Starts a goroutine in the scope; see [`go`](super::go()).
    ///
    /// # Panics
    ///
    /// If no stack can be had; [`Builder::go_scoped`] gives an error instead.
    ///
    /// # Examples
    ///
    /// ```
    /// let text = String::from("a b c");
    /// let words = gort::scope(|s| s.go(|| text.split(' ').count()).join().unwrap());
    /// assert_eq!(words, 3);
    /// ```
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().go_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("cannot start a goroutine: {error}"),
        }
    }
}

/// Waits for a goroutine of a scope.
///
/// # Examples
///
/// ```
/// let numbers = [1, 2, 3, 4];
/// let sum = gort::scope(|s| {
///     let (left, right) = numbers.split_at(2);
///     let left = s.go(|| left.iter().sum::<i32>());
///     let right = s.go(|| right.iter().sum::<i32>());
///     left.join().unwrap() + right.join().unwrap()
/// });
/// assert_eq!(sum, 10);
/// ```
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    inner: core_scope::ScopedHandle<'scope, T>,
    goroutine: Goroutine,
}

// As for `JoinHandle`.
impl<T> UnwindSafe for ScopedJoinHandle<'_, T> {}
impl<T> RefUnwindSafe for ScopedJoinHandle<'_, T> {}

impl<'scope, T> ScopedJoinHandle<'scope, T> {
    pub(super) fn new(inner: core_scope::ScopedHandle<'scope, T>) -> Self {
        ScopedJoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        }
    }

    /// Parks until the goroutine has ended, and gives its result.
    ///
    /// # Errors
    ///
    /// It panicked, or called [`goexit`](super::goexit).
    ///
    /// # Panics
    ///
    /// In the goroutine itself.
    ///
    /// # Examples
    ///
    /// ```
    /// gort::scope(|s| {
    ///     assert_eq!(s.go(|| "done").join().unwrap(), "done");
    ///     // One that was joined does not make the scope panic.
    ///     assert!(s.go(|| panic!("out of paper")).join().unwrap_err().is_panic());
    /// });
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        result_of(self.inner.join())
    }

    /// Whether the goroutine has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// gort::scope(|s| {
    ///     let handle = s.go(|| "done");
    ///     while !handle.is_finished() {
    ///         gort::yield_now();
    ///     }
    ///     assert_eq!(handle.join().unwrap(), "done"); // does not park
    /// });
    /// ```
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// The goroutine.
    ///
    /// # Examples
    ///
    /// ```
    /// gort::scope(|s| {
    ///     let handle = s.go(|| gort::current().id());
    ///     let id = handle.goroutine().id();
    ///     assert_eq!(handle.join().unwrap(), id);
    /// });
    /// ```
    pub fn goroutine(&self) -> &Goroutine {
        &self.goroutine
    }
}

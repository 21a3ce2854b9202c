//! Scopes in std's words, over those of [`go`](crate::go).

use super::builder::Builder;
use super::handle::ScopedJoinHandle;
use crate::go;

/// A scope whose goroutines may borrow from outside it; see [`scope`].
///
/// # Examples
///
/// ```
/// use gort::thread::Scope;
///
/// fn start<'scope>(s: &'scope Scope<'scope, '_>, part: &'scope mut i32) {
///     s.spawn(move || *part += 1);
/// }
///
/// let mut parts = [1, 2, 3];
/// gort::thread::scope(|s| parts.iter_mut().for_each(|part| start(s, part)));
/// assert_eq!(parts, [2, 3, 4]);
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Scope<'scope, 'env: 'scope>(go::Scope<'scope, 'env>);

/// Runs `f` with a scope in which goroutines may borrow local values, and waits for all of them.
///
/// # Panics
///
/// If `f` panics, with its payload; or if a goroutine of the scope panicked and was not joined.
///
/// # Examples
///
/// ```
/// let mut parts = vec![1, 2, 3, 4];
/// gort::thread::scope(|s| {
///     for part in &mut parts {
///         s.spawn(move || *part *= 10);
///     }
/// });
/// assert_eq!(parts, [10, 20, 30, 40]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    go::scope(|scope| f(Scope::from_go(scope)))
}

impl<'scope, 'env> Scope<'scope, 'env> {
    fn from_go(scope: &'scope go::Scope<'scope, 'env>) -> &'scope Self {
        // SAFETY: `Scope` is a transparent wrapper, so a reference to one is a reference to the other,
        // of the same lifetime.
        unsafe { &*std::ptr::from_ref(scope).cast() }
    }

    pub(super) fn as_go(&'scope self) -> &'scope go::Scope<'scope, 'env> {
        &self.0
    }

    /// Starts a goroutine in the scope; see [`spawn`](super::spawn()).
    ///
    /// # Panics
    ///
    /// If no stack can be had; [`Builder::spawn_scoped`] gives an error instead.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut words = vec!["b", "a"];
    /// gort::thread::scope(|s| {
    ///     s.spawn(|| words.sort());
    /// });
    /// assert_eq!(words, ["a", "b"]);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().spawn_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("failed to spawn thread: {error}"),
        }
    }
}

//! Scopes in std's words, over those of [`go`](crate::go).

use std::fmt;

use super::Result;
use super::builder::{Builder, payload_of};
use super::current::Thread;
use crate::go;

/// A scope whose goroutines may borrow from outside it; see [`scope`].
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

/// Waits for a goroutine of a scope.
pub struct ScopedJoinHandle<'scope, T> {
    inner: go::ScopedJoinHandle<'scope, T>,
    thread: Thread,
}

impl<'scope, T> ScopedJoinHandle<'scope, T> {
    pub(super) fn new(inner: go::ScopedJoinHandle<'scope, T>, thread: Thread) -> Self {
        ScopedJoinHandle { inner, thread }
    }

    /// The goroutine, for [`Thread::unpark`].
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Parks until the goroutine has ended, and gives its result.
    ///
    /// # Errors
    ///
    /// The payload of its panic; a [`JoinError`](crate::JoinError) if it called
    /// [`goexit`](crate::goexit).
    #[track_caller]
    pub fn join(self) -> Result<T> {
        self.inner.join().map_err(payload_of)
    }

    /// Whether the goroutine has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

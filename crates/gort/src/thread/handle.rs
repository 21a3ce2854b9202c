//! Waiting for a goroutine in std's words, over the handles of [`go`](crate::go()).

use std::any::Any;
use std::fmt;

use super::Result;
use super::current::Thread;
use crate::go::{self, JoinError};

/// Waits for a goroutine that [`spawn`](super::spawn()) has started. Dropping it detaches the goroutine, which
/// runs on.
///
/// # Examples
///
/// ```
/// let handle = gort::thread::spawn(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
pub struct JoinHandle<T> {
    inner: go::JoinHandle<T>,
    thread: Thread,
}

/// Waits for a goroutine of a scope.
///
/// # Examples
///
/// ```
/// let numbers = [1, 2, 3];
/// let sum = gort::thread::scope(|s| s.spawn(|| numbers.iter().sum::<i32>()).join().unwrap());
/// assert_eq!(sum, 6);
/// ```
pub struct ScopedJoinHandle<'scope, T> {
    inner: go::ScopedJoinHandle<'scope, T>,
    thread: Thread,
}

/// What both have.
macro_rules! handle_methods {
    ($name:ident $(, $scope:lifetime)?) => {
        impl<$($scope,)? T> $name<$($scope,)? T> {
            pub(super) fn new(inner: go::$name<$($scope,)? T>, thread: Thread) -> Self {
                $name { inner, thread }
            }

            /// The goroutine, for [`Thread::unpark`].
            ///
            /// # Examples
            ///
            /// ```
            /// let handle = gort::thread::spawn(gort::thread::park);
            /// handle.thread().unpark();
            /// handle.join().unwrap();
            /// ```
            #[must_use]
            pub fn thread(&self) -> &Thread {
                &self.thread
            }

            /// Parks until the goroutine has ended, its thread-local destructors included, and gives its
            /// result.
            ///
            /// # Errors
            ///
            /// The payload of its panic; a [`JoinError`] if it called [`goexit`](crate::goexit).
            ///
            /// # Panics
            ///
            /// In the goroutine itself: it would wait for ever.
            ///
            /// # Examples
            ///
            /// ```
            /// let handle = gort::thread::spawn(|| "result");
            /// assert_eq!(handle.join().unwrap(), "result");
            /// ```
            #[track_caller]
            pub fn join(self) -> Result<T> {
                self.inner.join().map_err(payload_of)
            }

            /// Whether the goroutine has ended; then `join` does not park.
            ///
            /// # Examples
            ///
            /// ```
            /// let (tx, rx) = gort::chan::bounded::<()>(0);
            /// gort::thread::scope(|s| {
            ///     let handle = s.spawn(|| rx.recv());
            ///     assert!(!handle.is_finished());
            ///     drop(tx);
            ///     assert!(handle.join().unwrap().is_err());
            /// });
            /// ```
            #[must_use]
            pub fn is_finished(&self) -> bool {
                self.inner.is_finished()
            }
        }

        impl<$($scope,)? T> fmt::Debug for $name<$($scope,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("thread", &self.thread)
                    .finish_non_exhaustive()
            }
        }
    };
}

handle_methods!(JoinHandle);
handle_methods!(ScopedJoinHandle, 'scope);

/// What std's handles give.
fn payload_of(error: JoinError) -> Box<dyn Any + Send> {
    if error.is_panic() {
        error.into_panic()
    } else {
        Box::new(error)
    }
}

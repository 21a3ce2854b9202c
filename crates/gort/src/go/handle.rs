//! Waiting for a goroutine, and how it can end.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use gort_core::clock;
use gort_core::sched;
use gort_core::sched::join::Outcome;

use super::Goroutine;

/// Waits for a goroutine. Dropping it detaches the goroutine, which runs on.
///
/// It is a future as well: awaiting it gives what [`join`](JoinHandle::join) gives. In the goroutine itself
/// it is pending for ever; it does not panic as `join` does, for the task that awaits it may be one of many.
///
/// There is no abort:
/// a goroutine is ordinary code, and ending it at an arbitrary point would leave its locks held and its
/// invariants broken. Tell it to stop, by a channel or a [context](crate::context).
///
/// # Examples
///
/// ```
/// let handle = gort::go(|| 6 * 7);
/// assert_eq!(gort::block_on(handle).unwrap(), 42); // or handle.join()
/// ```
#[derive(Debug)]
pub struct JoinHandle<T> {
    inner: sched::JoinHandle<T>,
    goroutine: Goroutine,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(inner: sched::JoinHandle<T>) -> JoinHandle<T> {
        JoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        }
    }

    /// Parks until the goroutine has ended, its thread-local destructors included, and gives its
    /// result.
    ///
    /// # Errors
    ///
    /// It panicked, or called [`goexit`](super::goexit).
    ///
    /// # Panics
    ///
    /// In the goroutine itself: it would wait for ever. And if it was awaited, and has given its result.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::go(|| "done");
    /// assert_eq!(handle.join().unwrap(), "done");
    ///
    /// let error = gort::go(|| panic!("out of paper")).join().unwrap_err();
    /// assert_eq!(error.to_string(), "the goroutine panicked: out of paper");
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        result_of(self.inner.join())
    }

    /// As [`join`](Self::join), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The handle back, if the goroutine has not ended by then.
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (tx, rx) = gort::chan::bounded::<i32>(0);
    /// let handle = gort::go(move || rx.recv());
    /// let Err(handle) = handle.join_timeout(Duration::from_millis(1)) else {
    ///     unreachable!("nobody has sent yet")
    /// };
    /// tx.send(1).unwrap();
    /// assert_eq!(handle.join().unwrap(), Ok(1));
    /// ```
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        match self.inner.join_until(clock::deadline_after(timeout)) {
            Ok(outcome) => Ok(result_of(outcome)),
            Err(inner) => Err(JoinHandle::new(inner)),
        }
    }

    /// Whether the goroutine has ended; then `join` does not park.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded::<()>(0);
    /// let handle = gort::go(move || rx.recv());
    /// assert!(!handle.is_finished());
    /// drop(tx);
    /// while !handle.is_finished() {
    ///     gort::yield_now();
    /// }
    /// assert!(handle.join().unwrap().is_err());
    /// ```
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// The goroutine.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded::<()>(0);
    /// let handle = gort::Builder::new().name("clerk").go(move || rx.recv())?;
    /// assert_eq!(handle.goroutine().name().as_deref(), Some("clerk"));
    /// drop(tx);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn goroutine(&self) -> &Goroutine {
        &self.goroutine
    }
}

// What a panic may leave half done belongs to the goroutine, and is dropped with it.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.poll_join(cx).map(result_of)
    }
}

pub(super) fn result_of<T>(outcome: Outcome<T>) -> Result<T, JoinError> {
    match outcome {
        Outcome::Returned(value) => Ok(value),
        Outcome::Panicked(payload) => Err(JoinError(Why::Panic {
            message: message_of(&*payload).map(Into::into),
            payload: Mutex::new(payload),
        })),
        Outcome::Exited => Err(JoinError(Why::Goexit)),
    }
}

/// What a panic says, if it was begun by `panic!` and its like.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Why a goroutine has no result.
///
/// It is `Send` and `Sync`, so that `handle.join()?` works where errors are `Box<dyn Error + Send + Sync>`.
///
/// # Examples
///
/// ```
/// let error = gort::go(|| panic!("out of paper")).join().unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "out of paper");
///
/// let error = gort::go(|| gort::goexit()).join().unwrap_err();
/// assert!(error.is_goexit());
///
/// fn add() -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
///     let (a, b) = (gort::go(|| 1), gort::go(|| 2));
///     Ok(a.join()? + b.join()?)
/// }
/// assert_eq!(add().unwrap(), 3);
/// ```
pub struct JoinError(Why);

enum Why {
    Panic {
        message: Option<Box<str>>,
        /// Never locked: the mutex is there because a payload need not be `Sync`, and the error is.
        payload: Mutex<Box<dyn Any + Send>>,
    },
    Goexit,
}

impl JoinError {
    /// Whether it panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = gort::go(|| panic!("out of paper")).join().unwrap_err();
    /// assert!(error.is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        !self.is_goexit()
    }

    /// Whether it called [`goexit`](super::goexit).
    ///
    /// # Examples
    ///
    /// ```
    /// let error = gort::go(|| gort::goexit()).join().unwrap_err();
    /// assert!(error.is_goexit());
    /// ```
    pub fn is_goexit(&self) -> bool {
        matches!(self.0, Why::Goexit)
    }

    /// The panic's payload, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    ///
    /// If it did not panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::panic;
    ///
    /// let error = gort::go(|| panic!("out of paper")).join().unwrap_err();
    /// // As if it had happened here.
    /// let caught = panic::catch_unwind(|| panic::resume_unwind(error.into_panic()));
    /// assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"out of paper"));
    /// ```
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.0 {
            Why::Panic { payload, .. } => {
                payload.into_inner().unwrap_or_else(PoisonError::into_inner)
            }
            Why::Goexit => panic!("the goroutine did not panic: it called goexit"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Goexit => f.write_str("JoinError::Goexit"),
            Why::Panic {
                message: Some(message),
                ..
            } => write!(f, "JoinError::Panic({message:?})"),
            Why::Panic { .. } => f.write_str("JoinError::Panic(..)"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Goexit => f.write_str("the goroutine called goexit"),
            Why::Panic {
                message: Some(message),
                ..
            } => write!(f, "the goroutine panicked: {message}"),
            Why::Panic { .. } => f.write_str("the goroutine panicked"),
        }
    }
}

impl std::error::Error for JoinError {}

/// Of kind `Other`, and carries the error. So `handle.join()??` works in functions that do I/O.
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}

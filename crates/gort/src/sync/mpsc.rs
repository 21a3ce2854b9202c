//! Channels in the shape of `std::sync::mpsc`, over [`chan`].
//!
//! For code written for std: the names, methods and error types are std's (the very types), a wait
//! parks the goroutine. New code has more from [`chan`]: several receivers, `select!`.
//!
//! ```
//! use gort::sync::mpsc;
//!
//! let (tx, rx) = mpsc::channel();
//! let other = tx.clone();
//! gort::go(move || other.send(1).unwrap());
//! gort::go(move || tx.send(2).unwrap());
//! assert_eq!(rx.iter().sum::<i32>(), 3);
//! ```

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use crate::chan;

/// A channel whose `send` never blocks.
///
/// # Examples
///
/// ```
/// use gort::sync::mpsc;
///
/// let (tx, rx) = mpsc::channel();
/// for n in 0..3 {
///     let tx = tx.clone();
///     gort::go(move || tx.send(n).unwrap());
/// }
/// drop(tx);
/// assert_eq!(rx.iter().sum::<i32>(), 3);
/// ```
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = chan::unbounded();
    (Sender(tx), Receiver(rx))
}

/// A channel that holds `bound` values; a `send` beyond them waits. With 0 each `send` waits for its
/// `recv`.
///
/// # Examples
///
/// ```
/// use gort::sync::mpsc::{self, TrySendError};
///
/// let (tx, rx) = mpsc::sync_channel(1);
/// tx.send(1).unwrap();
/// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
/// let more = gort::go(move || tx.send(3)); // parks until there is room
/// assert_eq!(rx.recv(), Ok(1));
/// assert_eq!(rx.recv(), Ok(3));
/// assert_eq!(more.join().unwrap(), Ok(()));
/// assert!(rx.recv().is_err());
/// ```
#[must_use]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (tx, rx) = chan::bounded(bound);
    (SyncSender(tx), Receiver(rx))
}

/// The sending half of [`channel`].
pub struct Sender<T>(chan::Sender<T>);

/// The sending half of [`sync_channel`].
pub struct SyncSender<T>(chan::Sender<T>);

/// The receiving half of both. There is one of it.
pub struct Receiver<T>(chan::Receiver<T>);

impl<T> Sender<T> {
    /// Sends a value. Never blocks.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone.
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value).map_err(|error| SendError(error.0))
    }
}

impl<T> SyncSender<T> {
    /// Sends a value, parking while the channel is full.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone, or goes before the value has a place.
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value).map_err(|error| SendError(error.0))
    }

    /// Sends a value if that needs no waiting.
    ///
    /// # Errors
    ///
    /// The value, if the channel is full or the receiver is gone.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(value).map_err(|error| match error {
            chan::TrySendError::Full(value) => TrySendError::Full(value),
            chan::TrySendError::Disconnected(value) => TrySendError::Disconnected(value),
        })
    }
}

impl<T> Receiver<T> {
    /// Receives the oldest value, parking until there is one.
    ///
    /// # Errors
    ///
    /// All senders are gone, and all values received.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv().map_err(|chan::RecvError| RecvError)
    }

    /// Receives a value if there is one.
    ///
    /// # Errors
    ///
    /// There is none now, or none will come.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|error| match error {
            chan::TryRecvError::Empty => TryRecvError::Empty,
            chan::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// As [`recv`](Self::recv), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The time is up, or no value will come.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::sync::mpsc::{self, RecvTimeoutError};
    ///
    /// let (_tx, rx) = mpsc::channel::<i32>();
    /// assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// ```
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(timeout).map_err(|error| match error {
            chan::RecvTimeoutError::Timeout => RecvTimeoutError::Timeout,
            chan::RecvTimeoutError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// The values to come, parking for each, until all senders are gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// The values that are there, until one would have to be waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::sync::mpsc::channel();
    /// tx.send(1).unwrap();
    /// tx.send(2).unwrap();
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// As [`Iter`], and owns the receiver.
#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender(self.0.clone())
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> Self {
        SyncSender(self.0.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

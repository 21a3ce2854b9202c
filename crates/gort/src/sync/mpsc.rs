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
/// # Panics
///
/// "makechan: size out of range", if so many values cannot exist in memory.
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
///
/// # Examples
///
/// ```
/// use gort::sync::mpsc::{self, Sender};
///
/// let (tx, rx): (Sender<u32>, _) = mpsc::channel();
/// let other = tx.clone(); // for another goroutine
/// drop(tx);
/// assert_eq!(other.send(1), Ok(()));
/// assert_eq!(rx.recv(), Ok(1));
/// ```
pub struct Sender<T>(chan::Sender<T>);

/// The sending half of [`sync_channel`].
///
/// # Examples
///
/// ```
/// use gort::sync::mpsc::{self, SyncSender};
///
/// let (tx, rx): (SyncSender<u32>, _) = mpsc::sync_channel(0);
/// gort::go(move || tx.send(1).unwrap()); // returns when the value is received
/// assert_eq!(rx.recv(), Ok(1));
/// ```
pub struct SyncSender<T>(chan::Sender<T>);

/// The receiving half of both. There is one of it.
///
/// # Examples
///
/// ```
/// use gort::sync::mpsc::{self, Receiver};
///
/// let (tx, rx): (_, Receiver<u32>) = mpsc::channel();
/// gort::go(move || (1..=3).for_each(|n| tx.send(n).unwrap()));
/// assert_eq!(rx.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
/// ```
pub struct Receiver<T>(chan::Receiver<T>);

impl<T> Sender<T> {
    /// Sends a value. Never blocks.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::mpsc::{self, SendError};
    ///
    /// let (tx, rx) = mpsc::channel();
    /// assert_eq!(tx.send("heard"), Ok(()));
    /// drop(rx);
    /// assert_eq!(tx.send("unheard"), Err(SendError("unheard")));
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::sync::mpsc::sync_channel(1);
    /// assert_eq!(tx.send(1), Ok(())); // there is room
    /// gort::go(move || tx.send(2)); // parks until the first is received
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2]);
    /// ```
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value).map_err(|error| SendError(error.0))
    }

    /// Sends a value if that needs no waiting.
    ///
    /// # Errors
    ///
    /// The value, if the channel is full or the receiver is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::mpsc::{self, TrySendError};
    ///
    /// let (tx, _rx) = mpsc::sync_channel(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::mpsc::{self, RecvError};
    ///
    /// let (tx, rx) = mpsc::channel();
    /// gort::go(move || tx.send("text").unwrap());
    /// assert_eq!(rx.recv(), Ok("text"));
    /// assert_eq!(rx.recv(), Err(RecvError)); // the sender is gone
    /// ```
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv().map_err(|chan::RecvError| RecvError)
    }

    /// Receives a value if there is one.
    ///
    /// # Errors
    ///
    /// There is none now, or none will come.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::mpsc::{self, TryRecvError};
    ///
    /// let (tx, rx) = mpsc::channel();
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.send(1).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// drop(tx);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::sync::mpsc::channel();
    /// gort::go(move || (1..=3).for_each(|n| tx.send(n).unwrap()));
    /// assert_eq!(rx.iter().sum::<u32>(), 6);
    /// ```
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
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::sync::mpsc::channel();
/// gort::go(move || (1..=3).for_each(|n| tx.send(n).unwrap()));
/// let mut sum = 0;
/// for n in &rx {
///     sum += n;
/// }
/// assert_eq!(sum, 6);
/// ```
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// See [`Receiver::try_iter`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::sync::mpsc::channel();
/// tx.send(1).unwrap();
/// let mut values = rx.try_iter();
/// assert_eq!((values.next(), values.next()), (Some(1), None));
/// tx.send(2).unwrap();
/// assert_eq!(values.next(), Some(2));
/// ```
#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// As [`Iter`], and owns the receiver.
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::sync::mpsc::channel();
/// gort::go(move || (1..=3).for_each(|n| tx.send(n).unwrap()));
/// let squares = rx.into_iter().map(|n| n * n);
/// assert_eq!(squares.collect::<Vec<_>>(), [1, 4, 9]);
/// ```
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

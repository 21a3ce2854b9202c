//! Channel operations that end with a context: [`Receiver::recv_ctx`], [`Sender::send_ctx`].

use std::error::Error;
use std::fmt;

use super::{Context, ContextError};
use crate::chan::{Receiver, RecvError, SendError, Sender, select};

/// Why [`Receiver::recv_ctx`] returned no value.
///
/// # Examples
///
/// ```
/// use gort::chan;
/// use gort::context::{self, ContextError, RecvCtxError};
///
/// let (ctx, cancel) = context::background().with_cancel();
/// let (tx, rx) = chan::bounded::<i32>(1);
/// drop(tx);
/// assert!(rx.recv_ctx(&ctx).unwrap_err().is_disconnected());
/// cancel.cancel();
/// assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(ContextError::Canceled)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecvCtxError {
    /// The context is done.
    Context(ContextError),
    /// The channel is empty, and closed or without senders.
    Disconnected,
}

/// Why [`Sender::send_ctx`] did not send. The value is inside.
///
/// # Examples
///
/// ```
/// use gort::{chan, context};
///
/// let (ctx, cancel) = context::background().with_cancel();
/// let (tx, _rx) = chan::bounded(1);
/// cancel.cancel();
/// let error = tx.send_ctx(&ctx, "kept").unwrap_err();
/// assert!(error.context().is_some());
/// assert_eq!(error.into_inner(), "kept");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendCtxError<T> {
    /// The context is done.
    Context(T, ContextError),
    /// The channel is closed, or every receiver is gone.
    Disconnected(T),
}

impl<T> Receiver<T> {
    /// Receives a value, waiting until there is one or `ctx` is done.
    ///
    /// A context that is done comes first, whatever is in the channel: a loop over `recv_ctx` ends with its
    /// context.
    ///
    /// # Errors
    ///
    /// [`RecvCtxError::Context`]; or [`RecvCtxError::Disconnected`] once nothing can come any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError, RecvCtxError};
    ///
    /// let (s, r) = gort::chan::bounded(1);
    /// let (ctx, cancel) = context::background().with_cancel();
    /// s.send(1).unwrap();
    /// assert_eq!(r.recv_ctx(&ctx), Ok(1));
    /// cancel.cancel();
    /// let error = r.recv_ctx(&ctx).unwrap_err();
    /// assert_eq!(error, RecvCtxError::Context(ContextError::Canceled));
    /// ```
    #[track_caller]
    pub fn recv_ctx(&self, ctx: &Context) -> Result<T, RecvCtxError> {
        let done = |error| Err(RecvCtxError::Context(error));
        if let Some(error) = ctx.err() {
            return done(error);
        }
        select! {
            recv(self) -> value => value.map_err(|RecvError| RecvCtxError::Disconnected),
            recv(ctx.done()) -> _ => done(ended(ctx)),
        }
    }
}

impl<T> Sender<T> {
    /// Sends `value`, waiting for room or a receiver until `ctx` is done.
    ///
    /// A context that is done comes first: nothing is sent then, though there be room.
    ///
    /// # Errors
    ///
    /// [`SendCtxError::Context`] or [`SendCtxError::Disconnected`], with the value inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context;
    /// use std::time::Duration;
    ///
    /// let (s, _r) = gort::chan::bounded(0);
    /// let (ctx, _cancel) = context::background().with_timeout(Duration::from_millis(1));
    /// let error = s.send_ctx(&ctx, "nobody receives").unwrap_err();
    /// assert_eq!(error.to_string(), "context deadline exceeded");
    /// assert_eq!(error.into_inner(), "nobody receives");
    /// ```
    #[track_caller]
    pub fn send_ctx(&self, ctx: &Context, value: T) -> Result<(), SendCtxError<T>> {
        if let Some(error) = ctx.err() {
            return Err(SendCtxError::Context(value, error));
        }
        select! {
            send(self, value) -> sent => {
                sent.map_err(|SendError(value)| SendCtxError::Disconnected(value))
            }
            recv(ctx.done()) -> _ => Err(SendCtxError::Context(value, ended(ctx))),
        }
    }
}

/// The error of a context whose `done` is closed.
fn ended(ctx: &Context) -> ContextError {
    ctx.err()
        .expect("done is closed by the end alone, which has an error")
}

impl RecvCtxError {
    /// Whether nothing can come any more.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::unbounded::<i32>();
    /// drop(tx);
    /// let error = rx.recv_ctx(&gort::context::background()).unwrap_err();
    /// assert!(error.is_disconnected());
    /// ```
    pub fn is_disconnected(self) -> bool {
        self == RecvCtxError::Disconnected
    }

    /// The context's error, if it is that.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    ///
    /// let (_tx, rx) = gort::chan::unbounded::<i32>();
    /// let (ctx, cancel) = context::background().with_cancel();
    /// cancel.cancel();
    /// assert_eq!(rx.recv_ctx(&ctx).unwrap_err().context(), Some(ContextError::Canceled));
    /// ```
    pub fn context(self) -> Option<ContextError> {
        match self {
            RecvCtxError::Context(error) => Some(error),
            RecvCtxError::Disconnected => None,
        }
    }
}

impl fmt::Display for RecvCtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvCtxError::Context(error) => error.fmt(f),
            RecvCtxError::Disconnected => RecvError.fmt(f),
        }
    }
}

impl Error for RecvCtxError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RecvCtxError::Context(error) => Some(error),
            RecvCtxError::Disconnected => None,
        }
    }
}

impl<T> SendCtxError<T> {
    /// The value that was not sent.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded(1);
    /// drop(rx);
    /// let error = tx.send_ctx(&gort::context::background(), "kept").unwrap_err();
    /// assert_eq!(error.into_inner(), "kept");
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            SendCtxError::Context(value, _) | SendCtxError::Disconnected(value) => value,
        }
    }

    /// Whether the channel is closed, or every receiver gone.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded(1);
    /// drop(rx);
    /// let error = tx.send_ctx(&gort::context::background(), 1).unwrap_err();
    /// assert!(error.is_disconnected());
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendCtxError::Disconnected(_))
    }

    /// The context's error, if it is that.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    ///
    /// let (tx, _rx) = gort::chan::bounded(1);
    /// let (ctx, cancel) = context::background().with_cancel();
    /// cancel.cancel();
    /// assert_eq!(tx.send_ctx(&ctx, 1).unwrap_err().context(), Some(ContextError::Canceled));
    /// ```
    pub fn context(&self) -> Option<ContextError> {
        match self {
            SendCtxError::Context(_, error) => Some(*error),
            SendCtxError::Disconnected(_) => None,
        }
    }
}

impl<T> fmt::Debug for SendCtxError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendCtxError::Context(_, error) => write!(f, "Context(.., {error:?})"),
            SendCtxError::Disconnected(_) => f.write_str("Disconnected(..)"),
        }
    }
}

impl<T> fmt::Display for SendCtxError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendCtxError::Context(_, error) => error.fmt(f),
            SendCtxError::Disconnected(_) => SendError(()).fmt(f),
        }
    }
}

impl<T> Error for SendCtxError<T> {}

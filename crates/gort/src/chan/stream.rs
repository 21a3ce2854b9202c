//! The ends of a channel as a `Stream` and a `Sink`, for combinators of async code.
//!
//! Either owns its handle, and what a `recv_async` or `send_async` would be, started again for each value. That lies in
//! a box, so that streams and sinks can be moved between two polls and need no pinning.
//!
//! B1. The box is used through its pointer only, for while a waiter in it is queued others look at it; and freed by our
//!     drop, after the waiter was taken off. A stream that is forgotten leaks it.
//!
//! Elsewhere: how a value is received and sent, and what dropping early undoes (`future`).

use std::fmt;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use super::error::SendError;
use super::future::{Receiving, Sending};
use super::receiver::Receiver;
use super::sender::Sender;

/// The values of a channel, as a stream; made by [`Receiver::into_stream`].
///
/// # Examples
///
/// ```
/// use futures::StreamExt;
///
/// let (tx, rx) = gort::chan::unbounded();
/// let values = rx.into_stream().map(|n| n * 10);
/// tx.send(1).unwrap();
/// tx.send(2).unwrap();
/// drop(tx);
/// assert_eq!(gort::block_on(values.collect::<Vec<_>>()), [10, 20]);
/// ```
#[must_use = "streams do nothing unless they are polled"]
pub struct RecvStream<T> {
    receiver: Receiver<T>,
    receiving: NonNull<Receiving<T>>,
    has_ended: bool,
}

/// A channel that values are sent to, as a sink; made by [`Sender::into_sink`].
///
/// # Examples
///
/// ```
/// use futures::SinkExt;
///
/// let (tx, rx) = gort::chan::unbounded();
/// let mut sink = tx.into_sink();
/// gort::block_on(sink.send(1)).unwrap();
/// assert_eq!(rx.recv(), Ok(1));
/// ```
#[must_use = "sinks do nothing unless they are polled"]
pub struct SendSink<T> {
    sender: Sender<T>,
    /// None: nothing has been sent yet.
    sending: Option<NonNull<Sending<T>>>,
    is_closed: bool,
}

// SAFETY: a handle, and a value on its way; the waiter in the box is used under the channel's lock by
// whoever finds it, so where it is polled or dropped does not matter.
unsafe impl<T: Send> Send for RecvStream<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SendSink<T> {}
// SAFETY: a shared reference gives access to nothing but `Debug` and a flag.
unsafe impl<T: Send> Sync for RecvStream<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendSink<T> {}

impl<T> Receiver<T> {
    /// Makes a stream of the values, which ends when the channel is empty and closed, or without senders.
    ///
    /// Dropping the stream, or the future of one of its items, loses no value of the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{pin::pin, task::{Context, Poll, Waker}};
    /// use futures_core::Stream;
    ///
    /// let (s, r) = gort::chan::unbounded();
    /// let mut values = pin!(r.into_stream());
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(values.as_mut().poll_next(&mut context), Poll::Pending);
    /// s.send(1).unwrap();
    /// drop(s);
    /// assert_eq!(values.as_mut().poll_next(&mut context), Poll::Ready(Some(1)));
    /// assert_eq!(values.as_mut().poll_next(&mut context), Poll::Ready(None));
    /// ```
    pub fn into_stream(self) -> RecvStream<T> {
        RecvStream {
            receiver: self,
            receiving: NonNull::from(Box::leak(Box::new(Receiving::new()))),
            has_ended: false,
        }
    }
}

impl<T> Sender<T> {
    /// Makes a sink whose values go into the channel.
    ///
    /// It holds one value at most, until it is in the channel: `poll_flush` is ready when that has
    /// happened. `poll_close` flushes, and then drops this sender. If the sink is dropped, so is the value that it holds.
    ///
    /// # Errors
    ///
    /// The sink's operations give [`SendError`] if the channel is closed or every receiver is gone, with the value that
    /// could not be sent; it may be one from an earlier `start_send`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{pin::pin, task::{Context, Poll, Waker}};
    /// use futures_sink::Sink;
    ///
    /// let (s, r) = gort::chan::bounded(0);
    /// let mut sink = pin!(s.into_sink());
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(sink.as_mut().poll_ready(&mut context), Poll::Ready(Ok(())));
    /// sink.as_mut().start_send(1).unwrap();
    /// assert_eq!(sink.as_mut().poll_flush(&mut context), Poll::Pending);
    /// assert_eq!(r.recv(), Ok(1));
    /// assert_eq!(sink.as_mut().poll_flush(&mut context), Poll::Ready(Ok(())));
    /// ```
    pub fn into_sink(self) -> SendSink<T> {
        SendSink {
            sender: self,
            sending: None,
            is_closed: false,
        }
    }
}

impl<T> Stream for RecvStream<T> {
    type Item = T;

    /// Receives the next value; `None`, for ever, once the channel has ended.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        // SAFETY: ours until our drop, and only ever shared (B1).
        let receiving = unsafe { self.receiving.as_ref() };
        if receiving.is_ready() {
            receiving.restart();
        }
        // SAFETY: in its box until our drop has cancelled it; our receiver.
        let polled = unsafe { receiving.poll(&self.receiver, context) };
        polled.map(|received| {
            self.has_ended = received.is_err();
            received.ok()
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.has_ended.then_some(0))
    }
}

impl<T> FusedStream for RecvStream<T> {
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}

impl<T> SendSink<T> {
    /// Waits until the value in the sink, if any, is in the channel.
    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let Some(sending) = self.sending else {
            return Poll::Ready(Ok(()));
        };
        // SAFETY: ours until our drop, and only ever shared (B1).
        let sending = unsafe { sending.as_ref() };
        if sending.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // SAFETY: in its box until our drop has cancelled it; our sender, which changes only when nothing
        // is being sent.
        unsafe { sending.poll(&self.sender, context) }
    }
}

impl<T> Sink<T> for SendSink<T> {
    type Error = SendError<T>;

    /// Waits until the value before is in the channel.
    fn poll_ready(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_sent(context)
    }

    /// Takes `value`, to be put into the channel when the sink is next asked to be ready, flushed or closed.
    ///
    /// # Panics
    ///
    /// If `poll_ready` was not asked first, and the value before is still waiting.
    fn start_send(mut self: Pin<&mut Self>, value: T) -> Result<(), SendError<T>> {
        if self.is_closed {
            return Err(SendError(value));
        }
        match self.sending {
            // SAFETY: ours until our drop, and only ever shared (B1).
            Some(sending) => unsafe { sending.as_ref() }.restart(value),
            None => {
                self.sending = Some(NonNull::from(Box::leak(Box::new(Sending::new(value)))));
            }
        }
        Ok(())
    }

    /// Waits until all values are in the channel.
    fn poll_flush(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_sent(context)
    }

    /// Waits until all values are in the channel, and drops the sender.
    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        let polled = self.poll_sent(context);
        if polled.is_ready() {
            self.is_closed = true;
            // Nothing is being sent; a later `start_send` is refused.
            self.sender = super::nil().0;
        }
        polled
    }
}

impl<T> Drop for RecvStream<T> {
    fn drop(&mut self) {
        // SAFETY: leaked in `into_stream`, polled with this receiver and not again; once cancelled nobody
        // else knows of it (B1).
        unsafe {
            self.receiving.as_ref().cancel(&self.receiver);
            drop(Box::from_raw(self.receiving.as_ptr()));
        }
    }
}

impl<T> Drop for SendSink<T> {
    fn drop(&mut self) {
        let Some(sending) = self.sending else { return };
        // SAFETY: leaked in `start_send`, polled with this sender and not again; as above.
        unsafe {
            sending.as_ref().cancel(&self.sender);
            drop(Box::from_raw(sending.as_ptr()));
        }
    }
}

impl<T> fmt::Debug for RecvStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("RecvStream { .. }")
    }
}

impl<T> fmt::Debug for SendSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendSink { .. }")
    }
}

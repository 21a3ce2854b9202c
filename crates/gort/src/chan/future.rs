//! Sending and receiving in async code.
//!
//! The futures hold their waiter, and the value, in their own pinned memory ([`Receiving`],
//! [`Sending`]): awaiting allocates nothing. A future that is dropped takes its waiter off the queue;
//! the value of a `send_async` goes with it, unless a receiver has it already; a value that a
//! `recv_async` was handed but not polled for goes back to the channel. A future that is forgotten
//! leaves its waiter queued for ever: its memory cannot be used for anything else, so that is a leak
//! (of at most one value) and no more.
//!
//! F1. `waiter` is written only while no queue and no peer knows it: before it is queued, and after it
//!     was seen, under the lock, to be finished.
//!
//! Elsewhere: what becomes of the waiters (`state`), async selects (`select`), streams and sinks, which
//! receive and send one value after the other (`stream`).

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use gort_queue::wait_list::Node;

use super::core::Core;
use super::error::{RecvError, SendError};
use super::receiver::Receiver;
use super::sender::Sender;
use super::state::{Chan, Offered, Taken};
use super::timed;
use super::waiter::{After, Outcome, Party, Role, Task, Waiter, WaiterRef};

/// Where a future is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nobody knows of it.
    Idle,
    /// Its waiter was queued, and has not been seen finished.
    Queued,
    /// It has given its result.
    Ready,
}

/// One waiter and its task, in a pinned place.
struct Pending {
    stage: Cell<Stage>,
    task: Task,
    waiter: UnsafeCell<MaybeUninit<Node<Waiter>>>,
    _pinned: PhantomPinned,
}

impl Pending {
    fn new() -> Self {
        Self {
            stage: Cell::new(Stage::Idle),
            task: Task::new(),
            waiter: UnsafeCell::new(MaybeUninit::uninit()),
            _pinned: PhantomPinned,
        }
    }

    /// Makes a waiter, to be queued.
    ///
    /// # Safety
    ///
    /// `self` is pinned, and its waiter is on no queue (F1). `slot` is in the same pinned memory.
    unsafe fn prepare(&self, slot: *mut ()) -> WaiterRef {
        let party = Party::Task(NonNull::from(&self.task));
        self.stage.set(Stage::Queued);
        // SAFETY: nobody knows the waiter (the caller's word), so this is the only access.
        NonNull::from(unsafe {
            (*self.waiter.get()).write(Waiter::new(party, None, 1, Role::Value, slot))
        })
    }

    /// The waiter.
    ///
    /// # Safety
    ///
    /// The stage is `Queued`.
    unsafe fn waiter(&self) -> WaiterRef {
        // SAFETY: `prepare` has written it. A raw pointer, for others may have one too.
        unsafe { NonNull::new_unchecked(self.waiter.get().cast()) }
    }

    /// What became of the waiter.
    ///
    /// # Safety
    ///
    /// The stage is `Queued`. The caller has the lock of the channel.
    unsafe fn outcome(&self, _locked: &Core) -> Outcome {
        // SAFETY: written by `prepare`, and shared only under the lock (W2).
        unsafe { self.waiter().as_ref() }.data.outcome()
    }
}

/// What receives a value, in a pinned place: a future, or a stream's.
pub(super) struct Receiving<T> {
    pending: Pending,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// What sends a value, in a pinned place: a future, or a sink's.
pub(super) struct Sending<T> {
    pending: Pending,
    /// The value, until it is `Ready`, or a receiver has taken it (`Outcome::Done`).
    value: UnsafeCell<MaybeUninit<T>>,
}

/// Receives a value; made by [`Receiver::recv_async`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::bounded(1);
/// let receive = rx.recv_async(); // takes nothing before it is awaited
/// tx.send("later").unwrap();
/// assert_eq!(gort::block_on(receive), Ok("later"));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct RecvFuture<'a, T> {
    receiver: &'a Receiver<T>,
    receiving: Receiving<T>,
}

/// Sends a value; made by [`Sender::send_async`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::bounded(1);
/// let send = tx.send_async("later"); // sends nothing before it is awaited
/// assert!(rx.is_empty());
/// gort::block_on(send).unwrap();
/// assert_eq!(rx.recv(), Ok("later"));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct SendFuture<'a, T> {
    sender: &'a Sender<T>,
    sending: Sending<T>,
}

// SAFETY: the future is a handle's borrow and perhaps a `T` on its way; its waiter is used under the
// channel's lock by whoever finds it, so where it is polled or dropped does not matter.
unsafe impl<T: Send> Send for RecvFuture<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SendFuture<'_, T> {}
// SAFETY: a shared reference gives access to nothing but `Debug`.
unsafe impl<T: Send> Sync for RecvFuture<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendFuture<'_, T> {}

impl<T> Receiver<T> {
    /// Receives a value in async code.
    ///
    /// Cancel-safe: if the future is dropped before it was ready, no value is taken from the channel.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// let (s, r) = gort::chan::bounded(1);
    /// let mut receive = pin!(r.recv_async());
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(receive.as_mut().poll(&mut context), Poll::Pending);
    /// s.send(1).unwrap();
    /// assert_eq!(receive.as_mut().poll(&mut context), Poll::Ready(Ok(1)));
    /// ```
    pub fn recv_async(&self) -> RecvFuture<'_, T> {
        RecvFuture {
            receiver: self,
            receiving: Receiving::new(),
        }
    }
}

impl<T> Sender<T> {
    /// Sends `value` in async code.
    ///
    /// Cancel-safe: if the future is dropped before it was ready, nothing is sent and `value` is
    /// dropped with it, unless a receiver has already received it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// let (s, r) = gort::chan::bounded(0);
    /// let mut send = pin!(s.send_async(1));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(send.as_mut().poll(&mut context), Poll::Pending);
    /// assert_eq!(r.recv(), Ok(1));
    /// assert_eq!(send.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    /// ```
    pub fn send_async(&self, value: T) -> SendFuture<'_, T> {
        SendFuture {
            sender: self,
            sending: Sending::new(value),
        }
    }
}

impl<T> Receiving<T> {
    pub(super) fn new() -> Self {
        Self {
            pending: Pending::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Whether it was ready, and has not been started again.
    pub(super) fn is_ready(&self) -> bool {
        self.pending.stage.get() == Stage::Ready
    }

    /// Lets it be polled for one more value.
    #[cfg(feature = "futures")]
    pub(super) fn restart(&self) {
        assert!(self.is_ready(), "the value before has been received");
        self.pending.stage.set(Stage::Idle);
    }

    /// # Safety
    ///
    /// A value was put there, and is taken once.
    unsafe fn take_value(&self) -> T {
        // SAFETY: the caller's word; only we look at it then.
        unsafe { (*self.value.get()).assume_init_read() }
    }

    /// As [`Future::poll`].
    ///
    /// # Safety
    ///
    /// `self` stays where it is until it was `cancel`led, or for ever. `receiver` is the same each time.
    pub(super) unsafe fn poll(
        &self,
        receiver: &Receiver<T>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        let pending = &self.pending;
        let Some(chan) = receiver.chan() else {
            return Poll::Pending;
        };
        let finish = |result| {
            pending.stage.set(Stage::Ready);
            timed::rearm(chan);
            Poll::Ready(result)
        };
        match pending.stage.get() {
            Stage::Ready => unreachable!("the caller starts it again first"),
            Stage::Idle => {
                if let Ok(value) = receiver.pop_fast() {
                    return finish(Ok(value));
                }
            }
            Stage::Queued => {}
        }
        // Before the lock, for wakers are the user's code; and before the look at the outcome, so that
        // whoever finishes the waiter after it finds this waker.
        pending.task.set_waker(context.waker());
        let mut after = After::new();
        let mut core = chan.lock();
        if pending.stage.get() == Stage::Queued {
            // SAFETY: queued; we have the lock.
            let outcome = unsafe { pending.outcome(&core) };
            match outcome {
                Outcome::Waiting | Outcome::Held(_) => return Poll::Pending,
                Outcome::Done => {
                    drop(core);
                    // SAFETY: a sender has put it there.
                    return finish(Ok(unsafe { self.take_value() }));
                }
                Outcome::Closed => {
                    drop(core);
                    return finish(Err(RecvError));
                }
                Outcome::Retry => pending.stage.set(Stage::Idle),
                outcome => unreachable!("a receiver was woken with {outcome:?}"),
            }
        }
        let slot = self.value.get().cast::<()>();
        // SAFETY: the channel's own core; room for a `T`, which it is for.
        let taken = unsafe { (chan.ops.take)(chan, &mut core, slot, &mut after) };
        match taken {
            Taken::Value | Taken::Closed => {}
            // SAFETY: pinned, and on no queue; the value's place is beside it. The promise was won
            // just now, or there is nothing to receive (S1).
            Taken::Promise(promise) => unsafe {
                core.pair(promise, pending.prepare(slot), &mut after);
            },
            // SAFETY: as above.
            Taken::Empty => unsafe { core.queue_receiver(pending.prepare(slot), &mut after) },
        }
        drop(core);
        after.act();
        match taken {
            // SAFETY: `take` has put it there.
            Taken::Value => finish(Ok(unsafe { self.take_value() })),
            Taken::Closed => finish(Err(RecvError)),
            Taken::Promise(_) | Taken::Empty => {
                timed::rearm(chan);
                Poll::Pending
            }
        }
    }

    /// Takes the waiter off its queue, and gives back a value that it got.
    ///
    /// # Safety
    ///
    /// `receiver` is the one it was polled with. It is not polled again.
    pub(super) unsafe fn cancel(&self, receiver: &Receiver<T>) {
        let (Stage::Queued, Some(chan)) = (self.pending.stage.get(), receiver.chan()) else {
            return;
        };
        let mut core = chan.lock();
        // SAFETY: queued; we have the lock. A waiter that was not finished is taken off.
        let outcome = unsafe {
            core.remove_receiver(self.pending.waiter());
            self.pending.outcome(&core)
        };
        drop(core);
        if outcome == Outcome::Done {
            // SAFETY: a sender has put the value there, and nobody has taken it; of the channel's type.
            unsafe { (chan.ops.give_back)(chan, self.value.get().cast()) };
        }
        timed::rearm(chan);
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Shared from here on: peers look at the waiter and the value through pointers of their own.
        let this = self.into_ref().get_ref();
        assert!(
            !this.receiving.is_ready(),
            "`RecvFuture` polled after completion"
        );
        // SAFETY: pinned, and cancelled by our drop; the one receiver.
        unsafe { this.receiving.poll(this.receiver, context) }
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the one receiver; nobody polls it any more.
        unsafe { self.receiving.cancel(self.receiver) };
    }
}

impl<T> Sending<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            pending: Pending::new(),
            value: UnsafeCell::new(MaybeUninit::new(value)),
        }
    }

    /// Whether it has sent its value, or given it back.
    pub(super) fn is_ready(&self) -> bool {
        self.pending.stage.get() == Stage::Ready
    }

    /// Lets it be polled for one more value.
    #[cfg(feature = "futures")]
    pub(super) fn restart(&self, value: T) {
        assert!(self.is_ready(), "the value before is not there any more");
        // SAFETY: ready, so no queue and no peer knows of it (F1), and there is no value in it.
        unsafe { (*self.value.get()).write(value) };
        self.pending.stage.set(Stage::Idle);
    }

    /// # Safety
    ///
    /// The value is still there, and is taken once.
    unsafe fn take_value(&self) -> T {
        // SAFETY: the caller's word; only we look at it then.
        unsafe { (*self.value.get()).assume_init_read() }
    }

    /// As [`Future::poll`].
    ///
    /// # Safety
    ///
    /// `self` stays where it is until it was `cancel`led, or for ever. `sender` is the same each time.
    pub(super) unsafe fn poll(
        &self,
        sender: &Sender<T>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        let pending = &self.pending;
        let Some(chan) = sender.chan() else {
            return Poll::Pending;
        };
        let finish = |is_sent| {
            pending.stage.set(Stage::Ready);
            Poll::Ready(if is_sent {
                Ok(())
            } else {
                // SAFETY: not sent, so still there.
                Err(SendError(unsafe { self.take_value() }))
            })
        };
        debug_assert!(!self.is_ready(), "the caller starts it again first");
        // As in `Receiving::poll`.
        pending.task.set_waker(context.waker());
        let from = self.value.get().cast::<T>();
        let mut memory = None;
        loop {
            let mut after = After::new();
            let mut core = chan.lock();
            if pending.stage.get() == Stage::Queued {
                // SAFETY: queued; we have the lock.
                let outcome = unsafe { pending.outcome(&core) };
                match outcome {
                    Outcome::Waiting => return Poll::Pending,
                    Outcome::Done | Outcome::Closed => {
                        drop(core);
                        return finish(outcome == Outcome::Done);
                    }
                    Outcome::Granted => {
                        // SAFETY: ours, a sender of this channel.
                        unsafe { core.remove_sender(pending.waiter()) };
                        core.redeem_place();
                        pending.stage.set(Stage::Idle);
                    }
                    outcome => unreachable!("a sender with a value was woken with {outcome:?}"),
                }
            }
            if let Some(memory) = memory.take() {
                // SAFETY: from `new_block` for the channel's type, below.
                unsafe { core.install(memory, &mut after) };
            }
            // SAFETY: the channel's own core; the value is there (no earlier pass has sent it: it would
            // have returned).
            let offered = unsafe { chan.offer(&mut core, from, &mut after) };
            if offered == Offered::Full {
                // SAFETY: pinned, and on no queue; the value is beside it. The buffer is full (S2).
                unsafe { core.queue_sender(pending.prepare(from.cast()), &mut after) };
            }
            drop(core);
            after.act();
            match offered {
                Offered::Sent => return finish(true),
                Offered::Closed => return finish(false),
                Offered::Full => return Poll::Pending,
                Offered::NeedsMemory => memory = Some(Chan::new_block::<T>()),
            }
        }
    }

    /// Takes the waiter off its queue, and drops the value unless a receiver has it.
    ///
    /// # Safety
    ///
    /// `sender` is the one it was polled with. It is not polled again.
    pub(super) unsafe fn cancel(&self, sender: &Sender<T>) {
        let mut is_ours = self.pending.stage.get() == Stage::Idle;
        if let (Stage::Queued, Some(chan)) = (self.pending.stage.get(), sender.chan()) {
            let mut after = After::new();
            let mut core = chan.lock();
            // SAFETY: queued; we have the lock. A waiter that was not finished is taken off, and a
            // place that it had is for others.
            let outcome = unsafe {
                core.remove_sender(self.pending.waiter());
                let outcome = self.pending.outcome(&core);
                if outcome == Outcome::Granted {
                    core.redeem_place();
                    (chan.ops.refill)(chan, &mut core, &mut after);
                }
                outcome
            };
            drop(core);
            after.act();
            is_ours = outcome != Outcome::Done;
        }
        if is_ours {
            // SAFETY: neither sent nor given back, so still there.
            drop(unsafe { self.take_value() });
        }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Shared from here on: peers look at the waiter and the value through pointers of their own.
        let this = self.into_ref().get_ref();
        assert!(
            !this.sending.is_ready(),
            "`SendFuture` polled after completion"
        );
        // SAFETY: pinned, and cancelled by our drop; the one sender.
        unsafe { this.sending.poll(this.sender, context) }
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the one sender; nobody polls it any more.
        unsafe { self.sending.cancel(self.sender) };
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("RecvFuture { .. }")
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendFuture { .. }")
    }
}

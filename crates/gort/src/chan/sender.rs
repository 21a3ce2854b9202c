//! The sending end.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use gort_core::sched::Woken;
use gort_core::wait_reason::WaitReason;
use gort_core::{clock, g};

use super::core::Promised;
use super::error::{SendError, SendTimeoutError, TrySendError};
use super::state::{Chan, ChanId, Locked, Offered};
use super::waiter::{After, Outcome, Waiter};
use super::{Wait, spin, wait_for_nothing};

/// The sending end of a channel.
///
/// Cloning it makes another sender for the same channel. When the last one is dropped the channel
/// is closed: receivers get the values that are still in it, and then an error.
///
/// # Examples
///
/// ```
/// let (s1, r) = gort::chan::unbounded();
/// let s2 = s1.clone();
/// std::thread::spawn(move || s1.send(1).unwrap());
/// std::thread::spawn(move || s2.send(2).unwrap());
/// assert_eq!(r.iter().sum::<i32>(), 3);
/// ```
#[doc(alias = "chan<-")]
pub struct Sender<T> {
    /// None: the nil channel.
    chan: Option<NonNull<Chan>>,
    /// Invariant in `T`: a sender of short-lived values must not be made from one of long-lived ones.
    values: PhantomData<*mut T>,
}

// SAFETY: the channel is shared through its lock and atomic counts; what goes through it to another
// thread is `T`s, and through `&Sender` a `T` is only ever given, never referred to.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Sender<T> {}

// A panic in the middle of an operation leaves the channel as it was: no code of the user's runs
// under the lock.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// # Safety
    ///
    /// `chan` is for `T`s, and one of its senders is passed on to the new handle.
    pub(super) const unsafe fn new(chan: Option<NonNull<Chan>>) -> Self {
        Self {
            chan,
            values: PhantomData,
        }
    }

    #[inline]
    pub(super) fn chan(&self) -> Option<&Chan> {
        // SAFETY: the handle keeps the channel alive.
        self.chan.map(|chan| unsafe { chan.as_ref() })
    }

    /// The fast path of every send; what it leaves is for `send_slow`.
    #[inline]
    fn push_fast(&self, value: T) -> Result<(), (T, Option<Locked<'_>>)> {
        match self.chan() {
            // SAFETY: the channel is for `T`s.
            Some(chan) => match unsafe { chan.push_fast(value) } {
                Ok(()) => Ok(()),
                Err((value, locked)) => Err((value, Some(locked))),
            },
            None => Err((value, None)),
        }
    }

    /// Sends `value`, parking the goroutine (or blocking the plain thread) while the buffer is full.
    ///
    /// A receiver that waits gets the value directly. With capacity 0, `send` returns when a receiver
    /// has the value. Values sent by one goroutine arrive in the order of its sends. On the
    /// [nil channel](super::nil) it waits for ever.
    ///
    /// # Errors
    ///
    /// [`SendError`], with the value inside, if the channel is closed or every receiver is gone,
    /// also when that happens while the send waits. (Go panics with "send on closed channel".)
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{bounded, SendError};
    ///
    /// let (s, r) = bounded(1);
    /// assert_eq!(s.send(1), Ok(()));
    /// drop(r);
    /// assert_eq!(s.send(2), Err(SendError(2)));
    /// ```
    #[inline]
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.push_fast(value) {
            Ok(()) => Ok(()),
            Err((value, locked)) => self
                .send_slow(value, Wait::FOREVER, locked)
                .map_err(|error| SendError(error.into_inner())),
        }
    }

    /// Sends `value` if that is possible without waiting: there is room, or a receiver waits.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Disconnected`], with the value inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{bounded, TrySendError};
    ///
    /// let (s, r) = bounded(1);
    /// assert_eq!(s.try_send(1), Ok(()));
    /// assert_eq!(s.try_send(2), Err(TrySendError::Full(2)));
    /// drop(r);
    /// assert_eq!(s.try_send(3), Err(TrySendError::Disconnected(3)));
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.chan().is_none_or(|chan| !chan.may_send()) {
            return Err(TrySendError::Full(value));
        }
        match self.push_fast(value) {
            Ok(()) => Ok(()),
            Err((value, locked)) => self.send_slow(value, Wait::Never, locked),
        }
    }

    /// Sends `value`, waiting for room or a receiver for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError::Timeout`] or [`SendTimeoutError::Disconnected`], with the value inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{bounded, SendTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (s, _r) = bounded(0);
    /// let error = s.send_timeout(1, Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error, SendTimeoutError::Timeout(1));
    /// ```
    #[inline]
    #[track_caller]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.push_fast(value) {
            Ok(()) => Ok(()),
            Err((value, locked)) => self.send_until(value, clock::deadline_after(timeout), locked),
        }
    }

    /// Sends `value`, waiting for room or a receiver until `deadline`.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError::Timeout`] or [`SendTimeoutError::Disconnected`], with the value inside.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use gort::chan::{self, SendTimeoutError};
    ///
    /// let by = Instant::now() + Duration::from_millis(5);
    /// let (tx, _rx) = chan::bounded(1);
    /// assert_eq!(tx.send_deadline(1, by), Ok(()));
    /// assert_eq!(tx.send_deadline(2, by), Err(SendTimeoutError::Timeout(2)));
    /// ```
    #[inline]
    #[track_caller]
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        match self.push_fast(value) {
            Ok(()) => Ok(()),
            Err((value, locked)) => self.send_until(value, clock::from_instant(deadline), locked),
        }
    }

    #[track_caller]
    fn send_until(
        &self,
        value: T,
        deadline_ns: u64,
        locked: Option<Locked<'_>>,
    ) -> Result<(), SendTimeoutError<T>> {
        self.send_slow(value, Wait::Until(deadline_ns), locked)
            .map_err(|error| match error {
                TrySendError::Full(value) => SendTimeoutError::Timeout(value),
                TrySendError::Disconnected(value) => SendTimeoutError::Disconnected(value),
            })
    }

    /// Sends in every case that the fast path leaves, with its lock. `Full` means that the time is up.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn send_slow(
        &self,
        value: T,
        wait: Wait,
        locked: Option<Locked<'_>>,
    ) -> Result<(), TrySendError<T>> {
        let (Some(chan), Some(locked)) = (self.chan(), locked) else {
            wait_for_nothing(WaitReason::ChanSendNil, wait);
            return Err(TrySendError::Full(value));
        };
        let mut value = ManuallyDrop::new(value);
        let from: *mut T = &raw mut *value;
        // SAFETY: the channel is for `T`s, and `from` holds one, which nobody else touches.
        let sent = unsafe { send_from(chan, from, wait, locked) };
        match sent {
            Sent::Done => Ok(()),
            // SAFETY: the value was not sent, so it is still ours, and taken once.
            Sent::Full => Err(TrySendError::Full(unsafe {
                ManuallyDrop::take(&mut value)
            })),
            // SAFETY: as above.
            Sent::Closed => Err(TrySendError::Disconnected(unsafe {
                ManuallyDrop::take(&mut value)
            })),
        }
    }

    /// Sends what was promised. Never waits.
    #[inline]
    #[track_caller]
    pub(super) fn send_promised(&self, promised: Promised, value: T) -> Result<(), SendError<T>> {
        if let (Promised::Place, Some(chan)) = (promised, self.chan()) {
            // SAFETY: the channel is for `T`s; the place is used once.
            return match unsafe { chan.push_promised(value) } {
                Ok(()) => Ok(()),
                // A receiver has come, the channel was closed, or its chain needs a block.
                Err((value, locked)) => self
                    .send_slow(value, Wait::FOREVER, Some(locked))
                    .map_err(|error| SendError(error.into_inner())),
            };
        }
        self.send_to_held(promised, value)
    }

    #[cold]
    #[track_caller]
    fn send_to_held(&self, promised: Promised, value: T) -> Result<(), SendError<T>> {
        let (Promised::Peer(ticket), Some(chan)) = (promised, self.chan()) else {
            return Err(SendError(value));
        };
        let mut after = After::new();
        let mut core = chan.lock();
        let Some(receiver) = core.pop_held(ticket) else {
            drop(core);
            // It was a future that is gone: as if it had been handed the value and not been polled for it.
            // SAFETY: the channel is for `T`s.
            return unsafe { chan.put_back(value) }.map_err(SendError);
        };
        // SAFETY: a held receiver waits with an empty slot for a `T` (W2); off the queue.
        unsafe {
            receiver.as_ref().data.slot().cast::<T>().write(value);
            after.finish(receiver, Outcome::Done);
        }
        drop(core);
        after.act();
        Ok(())
    }

    /// Closes the channel, as Go's `close`: nothing can be sent any more, parked senders get their
    /// values back, and receivers get what is in the buffer and then an error.
    ///
    /// Returns true the first time, and false if the channel was closed already (Go panics), or is
    /// the [nil channel](super::nil). A channel also closes when all its senders are dropped, or all
    /// its receivers.
    ///
    /// # Examples
    ///
    /// ```
    /// let (s, r) = gort::chan::bounded(2);
    /// s.send("last").unwrap();
    /// assert!(s.close());
    /// assert!(!s.close());
    /// assert!(s.send("too late").is_err());
    /// assert_eq!(r.iter().collect::<Vec<_>>(), ["last"]);
    /// ```
    pub fn close(&self) -> bool {
        self.chan().is_some_and(Chan::close_by_handle)
    }

    /// Whether there is no value in the channel. Always true for capacity 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded(1);
    /// tx.send(1).unwrap();
    /// assert!(!tx.is_empty());
    /// rx.recv().unwrap();
    /// assert!(tx.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the buffer has no room. Always true for capacity 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = gort::chan::bounded(1);
    /// assert!(!tx.is_full());
    /// tx.send(1).unwrap();
    /// assert!(tx.is_full()); // the next send waits
    /// ```
    pub fn is_full(&self) -> bool {
        self.chan().is_none_or(Chan::is_full)
    }

    /// The number of values in the channel: Go's `len`.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, _rx) = gort::chan::bounded(2);
    /// assert!(tx.is_empty());
    /// tx.send('a').unwrap();
    /// assert_eq!((tx.len(), tx.capacity()), (1, Some(2)));
    /// tx.send('b').unwrap();
    /// assert!(tx.is_full());
    /// ```
    pub fn len(&self) -> usize {
        self.chan().map_or(0, Chan::len)
    }

    /// How many values the buffer can hold, or `None` if there is no bound: Go's `cap`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan;
    ///
    /// assert_eq!(chan::bounded::<i32>(3).0.capacity(), Some(3));
    /// assert_eq!(chan::unbounded::<i32>().0.capacity(), None);
    /// ```
    #[doc(alias = "cap")]
    pub fn capacity(&self) -> Option<usize> {
        self.chan().map_or(Some(0), Chan::capacity)
    }

    /// Whether the two send into the same channel. All nil channels are the same.
    ///
    /// # Examples
    ///
    /// ```
    /// let (one, _rx) = gort::chan::unbounded::<i32>();
    /// let (other, _rx) = gort::chan::unbounded::<i32>();
    /// assert!(one.same_channel(&one.clone()));
    /// assert!(!one.same_channel(&other));
    /// ```
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.chan == other.chan
    }

    /// Which channel this is an end of; none for the nil channel.
    pub(crate) fn id(&self) -> Option<ChanId> {
        self.chan.map(|chan| ChanId(chan.addr().get()))
    }
}

/// What came of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Done,
    Full,
    Closed,
}

/// Sends the `T` at `from`, waiting as told.
///
/// # Safety
///
/// `locked` is of `chan`, which is for `T`s. `from` holds one, which nobody else touches; it is moved out if the answer is
/// `Done`.
#[track_caller]
unsafe fn send_from<T>(chan: &Chan, from: *mut T, wait: Wait, locked: Locked<'_>) -> Sent {
    let mut memory = None;
    // A plain thread's descriptor is made outside.
    let mut locked = g::ensure_current_unlocked(locked);
    let mut has_spun = false;
    loop {
        let mut after = After::new();
        let mut core = locked.take().unwrap_or_else(|| chan.lock());
        if let Some(memory) = memory.take() {
            // SAFETY: from `new_block` for the channel's type, below.
            unsafe { core.install(memory, &mut after) };
        }
        // SAFETY: the channel's own core; `from` holds a `T` (the caller's word, and no earlier pass
        // has moved it: it would have returned).
        let offered = unsafe { chan.offer(&mut core, from, &mut after) };
        let is_over = wait.is_over();
        if offered != Offered::Full || is_over {
            drop(core);
            after.act();
            match offered {
                Offered::Sent => return Sent::Done,
                Offered::Closed => return Sent::Closed,
                Offered::Full => return Sent::Full,
                Offered::NeedsMemory => memory = Some(Chan::new_block::<T>()),
            }
            continue;
        }

        let gp = g::current();
        if !std::mem::replace(&mut has_spun, true) && !gp.is_goroutine() {
            drop(core);
            after.act();
            spin(gp, || chan.may_send());
            continue;
        }
        let round = wait.deadline_ns().map(|_| gp.claim().open());
        // SAFETY: ours, and idle: an earlier pass has not queued one.
        let waiter = unsafe { Waiter::in_room(gp, round, from.cast()) };
        // SAFETY: the room is left alone until this pass ends (W5): we park until somebody has taken the waiter off
        // its queue and readied us, or take it off ourselves (W1). The buffer is full (S2).
        unsafe { core.queue_sender(waiter, &mut after) };
        drop(core);
        after.act_queued();
        if wait.park(WaitReason::ChanSend, round) == Woken::TimedOut {
            // SAFETY: a sender of this channel.
            unsafe { chan.lock().remove_sender(waiter) };
            return Sent::Full;
        }
        // SAFETY: in place; readied, so ours alone (W2).
        match unsafe { waiter.as_ref() }.data.outcome() {
            Outcome::Done => return Sent::Done,
            Outcome::Closed => return Sent::Closed,
            outcome => unreachable!("a sender with a value was woken with {outcome:?}"),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        if let Some(chan) = self.chan() {
            chan.add_sender();
        }
        // SAFETY: the channel is for `T`s, and has just counted one sender more.
        unsafe { Self::new(self.chan) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(chan) = self.chan {
            // SAFETY: this handle's sender, which is given up.
            unsafe { Chan::drop_sender(chan) };
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

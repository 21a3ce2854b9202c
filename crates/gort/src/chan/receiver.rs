//! The receiving end, and the iterators over it.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use gort_core::sched::Woken;
use gort_core::wait_reason::WaitReason;
use gort_core::{clock, g};

use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::state::{Chan, ChanId, Locked, Taken};
use super::waiter::{After, Outcome, Waiter};
use super::{Wait, spin, timed, wait_for_nothing};

/// The receiving end of a channel.
///
/// Cloning it makes another receiver for the same channel; each value goes to one of them. When the
/// last one is dropped the channel is closed, and the values still in it are dropped.
///
/// # Examples
///
/// ```
/// let (s, r) = gort::chan::bounded(0);
/// std::thread::spawn(move || {
///     for i in 0..3 {
///         s.send(i).unwrap();
///     }
/// });
/// assert_eq!(r.iter().collect::<Vec<_>>(), [0, 1, 2]);
/// ```
#[doc(alias = "<-chan")]
pub struct Receiver<T> {
    /// None: the nil channel.
    chan: Option<NonNull<Chan>>,
    values: PhantomData<*mut T>,
}

// SAFETY: the channel is shared through its lock and atomic counts; what comes through it from
// another thread is `T`s, and `&Receiver` gives each of them away whole.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Receiver<T> {}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Receiver<T> {
    /// # Safety
    ///
    /// `chan` is for `T`s, and one of its receivers is passed on to the new handle.
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

    /// The fast path of every receive; what it leaves is for `recv_slow`.
    #[inline]
    pub(super) fn pop_fast(&self) -> Result<T, Option<Locked<'_>>> {
        match self.chan() {
            // SAFETY: the channel is for `T`s.
            Some(chan) => unsafe { chan.pop_fast() }.map_err(Some),
            None => Err(None),
        }
    }

    /// Receives a value, parking the goroutine (or blocking the plain thread) until there is one.
    ///
    /// On the [nil channel](super::never) it waits for ever.
    ///
    /// # Errors
    ///
    /// [`RecvError`] once the channel is empty and closed, or without senders. (Go's `v, ok := <-c`
    /// gives the zero value and false; `recv().unwrap_or_default()` is for ports of code that wants
    /// that.)
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{unbounded, RecvError};
    ///
    /// let (s, r) = unbounded();
    /// std::thread::spawn(move || s.send(5).unwrap());
    /// assert_eq!(r.recv(), Ok(5));
    /// assert_eq!(r.recv(), Err(RecvError));
    /// ```
    #[inline]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.pop_fast() {
            Ok(value) => Ok(value),
            Err(locked) => self.recv_slow(Wait::FOREVER, locked).map_err(|_| RecvError),
        }
    }

    /// Receives a value if there is one.
    ///
    /// With capacity 0 there is one if a sender waits. (If that is a `select!` that has yet to make
    /// the value, `try_recv` waits until it is made. An [async select](super::Select::select_async) makes it when it
    /// is polled: it is asked to, and its value comes to a later call.)
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`], or [`TryRecvError::Disconnected`] once nothing can come any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{unbounded, TryRecvError};
    ///
    /// let (s, r) = unbounded();
    /// assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
    /// s.send(5).unwrap();
    /// drop(s);
    /// assert_eq!(r.try_recv(), Ok(5));
    /// assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        if self.chan().is_none_or(|chan| !chan.may_receive()) {
            return Err(TryRecvError::Empty);
        }
        match self.pop_fast() {
            Ok(value) => Ok(value),
            Err(locked) => self.recv_slow(Wait::Never, locked),
        }
    }

    /// Receives a value, waiting for at most `timeout`.
    ///
    /// (For a `select!` that has yet to make the value it sends it waits until that is made, as
    /// [`try_recv`](Self::try_recv) does. It does not for an async select.)
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::Timeout`], or [`RecvTimeoutError::Disconnected`] once nothing can come any
    /// more.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{unbounded, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (_s, r) = unbounded::<i32>();
    /// let timeout = Duration::from_millis(1);
    /// assert_eq!(r.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
    /// ```
    #[inline]
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.pop_fast() {
            Ok(value) => Ok(value),
            Err(locked) => self.recv_until(clock::deadline_after(timeout), locked),
        }
    }

    /// Receives a value, waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use gort::chan::{self, RecvTimeoutError};
    ///
    /// // All three have to come by the same moment.
    /// let by = Instant::now() + Duration::from_millis(5);
    /// let (tx, rx) = chan::bounded(3);
    /// tx.send(1).unwrap();
    /// tx.send(2).unwrap();
    /// assert_eq!(rx.recv_deadline(by), Ok(1));
    /// assert_eq!(rx.recv_deadline(by), Ok(2));
    /// assert_eq!(rx.recv_deadline(by), Err(RecvTimeoutError::Timeout));
    /// ```
    #[inline]
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        match self.pop_fast() {
            Ok(value) => Ok(value),
            Err(locked) => self.recv_until(clock::from_instant(deadline), locked),
        }
    }

    #[track_caller]
    fn recv_until(
        &self,
        deadline_ns: u64,
        locked: Option<Locked<'_>>,
    ) -> Result<T, RecvTimeoutError> {
        self.recv_slow(Wait::Until(deadline_ns), locked)
            .map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
    }

    /// Receives in every case that the fast path leaves, with its lock. `Empty` means that the time is up.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn recv_slow(&self, wait: Wait, locked: Option<Locked<'_>>) -> Result<T, TryRecvError> {
        let (Some(chan), Some(locked)) = (self.chan(), locked) else {
            wait_for_nothing(WaitReason::ChanReceiveNil, wait);
            return Err(TryRecvError::Empty);
        };
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the channel is for `T`s, and there is room for one.
        unsafe {
            recv_into(chan, value.as_mut_ptr().cast(), wait, locked)?;
            Ok(value.assume_init())
        }
    }

    /// Closes the channel from this side, so that senders stop: nothing can be sent any more, parked
    /// senders get their values back. What is in the buffer can still be received.
    ///
    /// Returns true the first time, and false if the channel was closed already, or is the
    /// [nil channel](super::never).
    ///
    /// # Examples
    ///
    /// ```
    /// let (s, r) = gort::chan::bounded(1);
    /// s.send(1).unwrap();
    /// assert!(r.close());
    /// assert!(s.send(2).is_err());
    /// assert_eq!(r.recv(), Ok(1));
    /// assert!(r.recv().is_err());
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
    /// assert!(rx.is_empty());
    /// tx.send(1).unwrap();
    /// assert!(!rx.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the buffer has no room. Always true for capacity 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded(1);
    /// tx.send(1).unwrap();
    /// assert!(rx.is_full());
    /// rx.recv().unwrap();
    /// assert!(!rx.is_full());
    /// ```
    pub fn is_full(&self) -> bool {
        match self.chan() {
            None => true,
            Some(chan) if chan.timed.is_some() => timed::len(chan) > 0,
            Some(chan) => chan.is_full(),
        }
    }

    /// The number of values in the channel: Go's `len`.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = gort::chan::bounded(2);
    /// assert!(rx.is_empty());
    /// tx.send('a').unwrap();
    /// assert_eq!((rx.len(), rx.capacity()), (1, Some(2)));
    /// tx.send('b').unwrap();
    /// assert!(rx.is_full());
    /// ```
    pub fn len(&self) -> usize {
        match self.chan() {
            None => 0,
            Some(chan) if chan.timed.is_some() => timed::len(chan),
            Some(chan) => chan.len(),
        }
    }

    /// How many values the buffer can hold, or `None` if there is no bound: Go's `cap`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan;
    ///
    /// assert_eq!(chan::bounded::<i32>(3).1.capacity(), Some(3));
    /// assert_eq!(chan::unbounded::<i32>().1.capacity(), None);
    /// ```
    #[doc(alias = "cap")]
    pub fn capacity(&self) -> Option<usize> {
        match self.chan() {
            None => Some(0),
            Some(chan) if chan.timed.is_some() => Some(timed::capacity(chan)),
            Some(chan) => chan.capacity(),
        }
    }

    /// Whether the two receive from the same channel. All nil channels are the same.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_tx, one) = gort::chan::unbounded::<i32>();
    /// let (_tx, other) = gort::chan::unbounded::<i32>();
    /// assert!(one.same_channel(&one.clone()));
    /// assert!(!one.same_channel(&other));
    /// ```
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.chan == other.chan
    }

    /// Which channel this is an end of; none for the nil channel.
    pub(crate) fn id(&self) -> Option<ChanId> {
        self.chan.map(|chan| ChanId(chan.addr().get()))
    }

    /// An iterator over the values, which waits for each and ends when the channel is empty and
    /// closed: Go's `for v := range c`.
    ///
    /// # Examples
    ///
    /// ```
    /// let (s, r) = gort::chan::unbounded();
    /// std::thread::spawn(move || (1..=3).for_each(|i| s.send(i).unwrap()));
    /// assert_eq!(r.iter().sum::<i32>(), 6);
    /// ```
    #[doc(alias = "range")]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            receiver: self,
            is_over: false,
        }
    }

    /// An iterator over the values that are there now; it never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let (s, r) = gort::chan::unbounded();
    /// s.send(1).unwrap();
    /// s.send(2).unwrap();
    /// assert_eq!(r.try_iter().collect::<Vec<_>>(), [1, 2]);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

/// Receives a value into `to`, waiting as told.
///
/// # Safety
///
/// `locked` is of `chan`. `to` has room for a value of its type; it holds one if the answer is `Ok`.
#[track_caller]
unsafe fn recv_into(
    chan: &Chan,
    to: *mut (),
    wait: Wait,
    locked: Locked<'_>,
) -> Result<(), TryRecvError> {
    // A plain thread's descriptor is made outside.
    let mut locked = g::ensure_current_unlocked(locked);
    let mut has_spun = false;
    loop {
        let mut after = After::new();
        let mut core = locked.take().unwrap_or_else(|| chan.lock());
        // SAFETY: the channel's own core, and room for its value (the caller's word; an earlier pass
        // that put one there has returned).
        let taken = unsafe { (chan.ops.take)(chan, &mut core, to, &mut after) };
        if let Taken::Promise(promise) = taken
            // SAFETY: won, so ours and in place (W1, W4).
            && unsafe { promise.as_ref() }.data.is_task()
        {
            // SAFETY: won just now, and on no queue.
            unsafe { core.ask_for(promise, &mut after) };
            drop(core);
            // A waker that waits does not make us wait for longer.
            after.act_queued();
            continue;
        }
        let gp = g::current();
        let round = match taken {
            Taken::Promise(_) => None,
            Taken::Empty if !wait.is_over() => {
                if !std::mem::replace(&mut has_spun, true) && !gp.is_goroutine() {
                    drop(core);
                    after.act();
                    spin(gp, || chan.may_receive());
                    continue;
                }
                wait.deadline_ns().map(|_| gp.claim().open())
            }
            _ => {
                drop(core);
                after.act();
                timed::rearm(chan);
                return match taken {
                    Taken::Value => Ok(()),
                    Taken::Closed => Err(TryRecvError::Disconnected),
                    _ => Err(TryRecvError::Empty),
                };
            }
        };

        // SAFETY: ours, and idle: an earlier pass has seen the outcome of its own.
        let waiter = unsafe { Waiter::in_room(gp, round, to) };
        // SAFETY: the room is left alone until this pass ends (W5): we park until somebody has taken the waiter off
        // its queue and readied us, or take it off ourselves (W1). In the first case the promise was
        // won just now; in the second there is nothing to receive (S1).
        unsafe {
            match taken {
                Taken::Promise(promise) => core.pair(promise, waiter, &mut after),
                _ => core.queue_receiver(waiter, &mut after),
            }
        }
        drop(core);
        after.act_queued();
        timed::rearm(chan);
        // A goroutine's promise is kept or broken soon; the deadline does not end the wait for it.
        let wait = if round.is_none() { Wait::FOREVER } else { wait };
        if wait.park(WaitReason::ChanReceive, round) == Woken::TimedOut {
            // SAFETY: a receiver of this channel.
            unsafe { chan.lock().remove_receiver(waiter) };
            return Err(TryRecvError::Empty);
        }
        // SAFETY: in place; readied, so ours alone (W2).
        match unsafe { waiter.as_ref() }.data.outcome() {
            Outcome::Done => {
                timed::rearm(chan);
                return Ok(());
            }
            Outcome::Closed => return Err(TryRecvError::Disconnected),
            Outcome::Retry => {}
            outcome => unreachable!("a receiver was woken with {outcome:?}"),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        if let Some(chan) = self.chan() {
            chan.add_receiver();
        }
        // SAFETY: the channel is for `T`s, and has just counted one receiver more.
        unsafe { Self::new(self.chan) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Some(chan) = self.chan {
            // SAFETY: this handle's receiver, which is given up; the channel is for `T`s.
            unsafe { Chan::drop_receiver::<T>(chan) };
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
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
        IntoIter {
            receiver: self,
            is_over: false,
        }
    }
}

/// Waits for each value; ends when the channel is empty and closed. See [`Receiver::iter`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::unbounded();
/// tx.send(1).unwrap();
/// tx.send(2).unwrap();
/// drop(tx);
/// assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2]); // until there are no senders
/// ```
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
    /// It has ended. The channel may yet get a value back, from a future that is dropped.
    is_over: bool,
}

/// Takes the values that are there; never waits. See [`Receiver::try_iter`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::unbounded();
/// tx.send(1).unwrap();
/// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1]); // though more may come
/// tx.send(2).unwrap();
/// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2]);
/// ```
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// Waits for each value, and owns the receiver. See [`Receiver::into_iter`].
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::unbounded();
/// std::thread::spawn(move || (1..=3).for_each(|n| tx.send(n).unwrap()));
/// let mut sum = 0;
/// for n in rx {
///     sum += n; // until there are no senders
/// }
/// assert_eq!(sum, 6);
/// ```
pub struct IntoIter<T> {
    receiver: Receiver<T>,
    /// As [`Iter`]'s.
    is_over: bool,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        if self.is_over {
            return None;
        }
        let value = self.receiver.recv().ok();
        self.is_over = value.is_none();
        value
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        if self.is_over {
            return None;
        }
        let value = self.receiver.recv().ok();
        self.is_over = value.is_none();
        value
    }
}

impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Iter { .. }")
    }
}

impl<T> fmt::Debug for TryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("TryIter { .. }")
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("IntoIter { .. }")
    }
}

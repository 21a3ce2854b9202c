//! A select over operations that are collected at run time.
//!
//! Elsewhere: what it has chosen (`selected`).

use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use gort_core::clock;
use gort_queue::wait_list::Node;

use super::super::Wait;
use super::super::error::{ReadyTimeoutError, SelectTimeoutError, TryReadyError, TrySelectError};
use super::super::receiver::Receiver;
use super::super::sender::Sender;
use super::super::state::Chan;
use super::super::waiter::Waiter;
use super::future::SelectFuture;
use super::selected::{Heap, Inline, SelectedOperation, Storage};
use super::{Arm, Intent, Order, Won, run, sort};

/// Selects among operations that are known only at run time; [`select!`](crate::select!) is for
/// those written down in the program.
///
/// Add operations with [`send`](Self::send) and [`recv`](Self::recv), which give each an index. Then
/// one of the `select` methods waits until some operation can go on, and chooses one of these with
/// equal chance (or the first, if [biased](Self::new_biased)); complete it with the
/// [`SelectedOperation`] that comes back. The `ready` methods only tell an index. A `Select` can be
/// used any number of times. This is Go's `reflect.Select`.
///
/// # Examples
///
/// ```
/// use gort::chan::{unbounded, Select};
///
/// let channels: Vec<_> = (0..3).map(|_| unbounded()).collect();
/// channels[1].0.send("hello").unwrap();
///
/// let mut select = Select::new();
/// for (_, r) in &channels {
///     select.recv(r);
/// }
/// let operation = select.select();
/// let index = operation.index();
/// assert_eq!(index, 1);
/// assert_eq!(operation.recv(&channels[index].1), Ok("hello"));
/// ```
#[doc(alias = "reflect.Select")]
pub struct Select<'a> {
    operations: Vec<Operation<'a>>,
    next_index: usize,
    is_biased: bool,
    /// Made by the first call after a change, and used again by the next.
    prepared: Option<Prepared<'a>>,
    /// Room for a value too large for `Storage`'s own, from a call that received none.
    spare: Option<Heap>,
}

/// An operation as it was added.
#[derive(Clone, Copy)]
struct Operation<'a> {
    index: usize,
    /// The address of the handle, which has to be shown again to complete the operation.
    handle: *const (),
    chan: Option<&'a Chan>,
    is_send: bool,
}

/// What a call needs besides the operations.
struct Prepared<'a> {
    arms: Vec<Arm<'a>>,
    order: Vec<u32>,
    waiters: Vec<MaybeUninit<Node<Waiter>>>,
}

// SAFETY: the handles are borrowed for `'a`, and channels may be used from any thread. Between calls no
// lock is held, and nothing is queued. Values that must not leave their thread are moved by selecting,
// but nobody looks at them: that needs the handle, which cannot leave the thread, and a value that
// is not asked for goes back into the channel.
unsafe impl Send for Select<'_> {}
// SAFETY: as above; `&Select` does nothing but clone.
unsafe impl Sync for Select<'_> {}

impl<'a> Select<'a> {
    /// An empty set of operations.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let mut select = Select::new();
    /// select.send(&tx);
    /// select.select().send(&tx, 1).unwrap();
    /// assert_eq!(rx.recv(), Ok(1));
    /// ```
    pub fn new() -> Self {
        Self {
            operations: Vec::with_capacity(4),
            next_index: 0,
            is_biased: false,
            prepared: None,
            spare: None,
        }
    }

    /// An empty set of operations, of which the one that was added first is chosen if several can go
    /// on.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{unbounded, Select};
    ///
    /// let (s, r) = unbounded();
    /// s.send(1).unwrap();
    /// let mut select = Select::new_biased();
    /// select.recv(&r);
    /// select.recv(&r);
    /// let operation = select.select();
    /// assert_eq!(operation.index(), 0);
    /// assert_eq!(operation.recv(&r), Ok(1));
    /// ```
    pub fn new_biased() -> Self {
        Self {
            is_biased: true,
            ..Self::new()
        }
    }

    /// Adds a send, and returns its index. The value is given when the send is completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let (full, _still_there) = chan::bounded(0);
    /// let (free, rx) = chan::bounded(1);
    /// let mut select = Select::new();
    /// assert_eq!((select.send(&full), select.send(&free)), (0, 1));
    /// let operation = select.select();
    /// assert_eq!(operation.index(), 1);
    /// operation.send(&free, "parcel").unwrap();
    /// assert_eq!(rx.recv(), Ok("parcel"));
    /// # drop(full.try_send(""));
    /// ```
    pub fn send<T>(&mut self, s: &'a Sender<T>) -> usize {
        self.add((&raw const *s).cast(), s.chan(), true)
    }

    /// Adds a receive, and returns its index.
    ///
    /// # Examples
    ///
    /// The first of many answers:
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// gort::run(|| {
    ///     let answers: Vec<_> = (0..10)
    ///         .map(|i| {
    ///             let (tx, rx) = chan::bounded(1);
    ///             gort::go(move || tx.send(i * i));
    ///             rx
    ///         })
    ///         .collect();
    ///     let mut select = Select::new();
    ///     for answer in &answers {
    ///         select.recv(answer);
    ///     }
    ///     let first = select.select();
    ///     let at = first.index();
    ///     assert_eq!(first.recv(&answers[at]), Ok(at * at));
    /// });
    /// ```
    pub fn recv<T>(&mut self, r: &'a Receiver<T>) -> usize {
        self.add((&raw const *r).cast(), r.chan(), false)
    }

    fn add(&mut self, handle: *const (), chan: Option<&'a Chan>, is_send: bool) -> usize {
        let index = self.next_index;
        self.next_index += 1;
        self.operations.push(Operation {
            index,
            handle,
            chan,
            is_send,
        });
        self.prepared = None;
        index
    }

    /// Removes the operation with this index; the others keep theirs.
    ///
    /// # Panics
    ///
    /// If there is no such operation.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{unbounded, Select};
    ///
    /// let (s1, r1) = unbounded::<i32>();
    /// let (s2, r2) = unbounded::<i32>();
    /// let mut select = Select::new();
    /// let first = select.recv(&r1);
    /// let second = select.recv(&r2);
    /// select.remove(first);
    /// s2.send(2).unwrap();
    /// let operation = select.select();
    /// assert_eq!(operation.index(), second);
    /// assert_eq!(operation.recv(&r2), Ok(2));
    /// # drop(s1);
    /// ```
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        assert!(
            index < self.next_index,
            "index out of bounds; {index} >= {}",
            self.next_index,
        );
        // Indices grow along the list; the order matters when biased.
        let position = self
            .operations
            .binary_search_by_key(&index, |operation| operation.index)
            .expect("no operation with this index");
        self.operations.remove(position);
        self.prepared = None;
    }

    /// Chooses an operation that can go on now.
    ///
    /// # Errors
    ///
    /// [`TrySelectError`] if there is none.
    ///
    /// # Panics
    ///
    /// The [`SelectedOperation`] panics when it is dropped without being completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let mut select = Select::new();
    /// let at = select.recv(&rx);
    /// assert!(select.try_select().is_err());
    /// tx.send(1).unwrap();
    /// let operation = select.try_select().unwrap();
    /// assert_eq!(operation.index(), at);
    /// assert_eq!(operation.recv(&rx), Ok(1));
    /// ```
    #[track_caller]
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.act(Wait::Never).ok_or(TrySelectError)
    }

    /// Waits until an operation can go on, and chooses it.
    ///
    /// # Panics
    ///
    /// If no operation was added. The [`SelectedOperation`] panics when it is dropped without being
    /// completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let channels: Vec<_> = (0..4).map(|_| chan::bounded(1)).collect();
    /// let mut select = Select::new();
    /// for (_, rx) in &channels {
    ///     select.recv(rx);
    /// }
    /// channels[2].0.send("from the third").unwrap();
    /// let operation = select.select();
    /// let index = operation.index();
    /// assert_eq!(index, 2);
    /// assert_eq!(operation.recv(&channels[index].1), Ok("from the third"));
    /// ```
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'a> {
        self.assert_not_empty();
        loop {
            // Without a deadline a selection ends only with an arm.
            if let Some(operation) = self.act(Wait::FOREVER) {
                return operation;
            }
        }
    }

    /// Waits until an operation can go on, for at most `timeout`, and chooses it.
    ///
    /// # Errors
    ///
    /// [`SelectTimeoutError`] if the time was up first.
    ///
    /// # Panics
    ///
    /// The [`SelectedOperation`] panics when it is dropped without being completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let mut select = Select::new();
    /// select.send(&tx);
    /// // There is room, so nothing is waited for.
    /// let operation = select.select_timeout(Duration::from_secs(60)).unwrap();
    /// operation.send(&tx, 1).unwrap();
    /// assert_eq!(rx.recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        let wait = Wait::Until(clock::deadline_after(timeout));
        self.act(wait).ok_or(SelectTimeoutError)
    }

    /// Waits until an operation can go on, until `deadline`, and chooses it.
    ///
    /// # Errors
    ///
    /// [`SelectTimeoutError`] if the time was up first.
    ///
    /// # Panics
    ///
    /// The [`SelectedOperation`] panics when it is dropped without being completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use gort::chan::{self, Select};
    ///
    /// let by = Instant::now() + Duration::from_millis(5);
    /// let (_tx, rx) = chan::bounded::<i32>(1);
    /// let mut select = Select::new();
    /// select.recv(&rx);
    /// assert!(select.select_deadline(by).is_err());
    /// ```
    #[track_caller]
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        let wait = Wait::Until(clock::from_instant(deadline));
        self.act(wait).ok_or(SelectTimeoutError)
    }

    /// The index of an operation that can go on now. By the time it is tried it may no longer.
    ///
    /// # Errors
    ///
    /// [`TryReadyError`] if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(1).unwrap();
    /// let mut select = Select::new();
    /// let at = select.recv(&rx);
    /// assert_eq!(select.try_ready(), Ok(at));
    /// // Nothing has been received yet; another might have come first.
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.watch(Wait::Never).ok_or(TryReadyError)
    }

    /// Waits until an operation can go on, and returns its index. By the time it is tried it may no
    /// longer.
    ///
    /// # Panics
    ///
    /// If no operation was added.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// gort::run(|| {
    ///     let (tx, rx) = chan::bounded(0);
    ///     gort::go(move || tx.send(1));
    ///     let mut select = Select::new();
    ///     select.recv(&rx);
    ///     let received = loop {
    ///         select.ready();
    ///         // Ready is a hint: another may have come first.
    ///         if let Ok(value) = rx.try_recv() {
    ///             break value;
    ///         }
    ///     };
    ///     assert_eq!(received, 1);
    /// });
    /// ```
    #[track_caller]
    pub fn ready(&mut self) -> usize {
        self.assert_not_empty();
        loop {
            if let Some(index) = self.watch(Wait::FOREVER) {
                return index;
            }
        }
    }

    /// Waits until an operation can go on, for at most `timeout`, and returns its index.
    ///
    /// # Errors
    ///
    /// [`ReadyTimeoutError`] if the time was up first.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded::<i32>(1);
    /// let mut select = Select::new();
    /// select.recv(&rx);
    /// assert!(select.ready_timeout(Duration::from_millis(1)).is_err());
    /// drop(tx);
    /// // A receive that would fail is ready too.
    /// assert_eq!(select.ready_timeout(Duration::from_secs(60)), Ok(0));
    /// ```
    #[track_caller]
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        let wait = Wait::Until(clock::deadline_after(timeout));
        self.watch(wait).ok_or(ReadyTimeoutError)
    }

    /// Waits until an operation can go on, until `deadline`, and returns its index.
    ///
    /// # Errors
    ///
    /// [`ReadyTimeoutError`] if the time was up first.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// let mut select = Select::new();
    /// select.recv(&rx);
    /// assert!(select.ready_deadline(Instant::now()).is_err());
    /// tx.send(1).unwrap();
    /// let soon = Instant::now() + Duration::from_secs(60);
    /// assert_eq!(select.ready_deadline(soon), Ok(0));
    /// ```
    #[track_caller]
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        let wait = Wait::Until(clock::from_instant(deadline));
        self.watch(wait).ok_or(ReadyTimeoutError)
    }

    /// Like [`select`](Self::select), for async code: the future is ready when an operation can go on.
    ///
    /// Dropped before that, it has taken no value and given none away.
    ///
    /// A receiver that is no task may find that the future waits to send, and go away before the value is there
    /// ([`try_recv`](crate::chan::Receiver::try_recv), a timeout): the channel keeps the value for the next one.
    ///
    /// # Panics
    ///
    /// If no operation was added. The [`SelectedOperation`] panics when it is dropped without being
    /// completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(7).unwrap();
    /// let mut select = Select::new();
    /// select.recv(&rx);
    /// let value = gort::block_on(async { select.select_async().await.recv(&rx) });
    /// assert_eq!(value, Ok(7));
    /// ```
    #[track_caller]
    pub fn select_async(&mut self) -> SelectFuture<'_, 'a> {
        self.assert_not_empty();
        SelectFuture::new(self)
    }

    #[track_caller]
    fn assert_not_empty(&self) {
        assert!(
            !self.operations.is_empty(),
            "no operations have been added to `Select`"
        );
    }

    /// Selects an operation, and performs what can be performed without its type.
    #[track_caller]
    fn act(&mut self, wait: Wait) -> Option<SelectedOperation<'a>> {
        let mut storage = self.storage();
        self.prepare();
        let Prepared {
            arms,
            order,
            waiters,
        } = self.prepared.as_mut().expect("prepared just now");
        for arm in arms.iter_mut() {
            arm.slot = storage.slot();
        }
        // SAFETY: sorted; as many waiters as arms; the storage has room for any value.
        let won = unsafe {
            let order = &mut Order::already_sorted(order);
            run(arms, order, waiters, wait, Intent::Act, self.is_biased)
        };
        let (position, won) = match won {
            Some(won) => won,
            None => {
                self.spare = storage.into_heap();
                return None;
            }
        };
        Some(self.selected(position, won, storage))
    }

    #[track_caller]
    fn watch(&mut self, wait: Wait) -> Option<usize> {
        self.prepare();
        let Prepared {
            arms,
            order,
            waiters,
        } = self.prepared.as_mut().expect("prepared just now");
        // SAFETY: sorted; as many waiters as arms; a watching select uses no slot.
        let (position, _) = unsafe {
            let order = &mut Order::already_sorted(order);
            run(arms, order, waiters, wait, Intent::Watch, self.is_biased)
        }?;
        Some(self.operations[position].index)
    }

    fn prepare(&mut self) {
        if self.prepared.is_some() {
            return;
        }
        let arms = self.arms();
        let mut order = vec![0; arms.len()];
        sort(&arms, &mut order);
        let mut waiters = Vec::new();
        waiters.resize_with(arms.len(), MaybeUninit::uninit);
        self.prepared = Some(Prepared {
            arms,
            order,
            waiters,
        });
    }

    pub(super) fn arms(&self) -> Vec<Arm<'a>> {
        self.operations
            .iter()
            .map(|operation| {
                if operation.is_send {
                    Arm::send(operation.chan)
                } else {
                    Arm::recv(operation.chan, std::ptr::null_mut())
                }
            })
            .collect()
    }

    pub(super) fn is_biased(&self) -> bool {
        self.is_biased
    }

    /// Room for a value of any of the channels.
    pub(super) fn storage(&mut self) -> Storage {
        let mut layout = Layout::new::<Inline>();
        for operation in &self.operations {
            if let (false, Some(chan)) = (operation.is_send, operation.chan) {
                let value = chan.ops.value;
                layout = Layout::from_size_align(
                    layout.size().max(value.size()),
                    layout.align().max(value.align()),
                )
                .expect("no larger than what a layout can be, before rounding up");
            }
        }
        if layout == Layout::new::<Inline>() {
            return Storage::Inline(Inline::new());
        }
        match self.spare.take() {
            Some(spare) if spare.layout == layout => Storage::Heap(spare),
            _ => Storage::Heap(Heap::new(layout)),
        }
    }

    /// The operation at `position`, which has been selected.
    pub(super) fn selected(
        &mut self,
        position: usize,
        won: Won,
        mut storage: Storage,
    ) -> SelectedOperation<'a> {
        if won != Won::Value {
            self.spare = storage.into_heap();
            storage = Storage::Inline(Inline::new());
        }
        let operation = self.operations[position];
        SelectedOperation {
            index: operation.index,
            handle: operation.handle,
            chan: operation.chan,
            won,
            storage,
            handles: PhantomData,
        }
    }
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        Self {
            operations: self.operations.clone(),
            next_index: self.next_index,
            is_biased: self.is_biased,
            prepared: None,
            spare: None,
        }
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

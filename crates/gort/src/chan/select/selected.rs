//! What a select over collected operations has chosen, and the value it may have received.

use std::alloc::{self, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

use super::super::error::{RecvError, SendError};
use super::super::receiver::Receiver;
use super::super::sender::Sender;
use super::super::state::Chan;
use super::{Won, break_promise};

/// An operation that a [`Select`](super::Select) has chosen, to be completed with [`send`](Self::send) or
/// [`recv`](Self::recv).
///
/// # Panics
///
/// When it is dropped without being completed (unless the thread panics already). A value it had
/// received goes back to the channel; a place or a receiver that it had for a value is free for others.
///
/// One that is forgotten keeps what it had: the value is lost, the place stays taken, and the receiver waits
/// for its value, even if the channel is closed.
///
/// # Examples
///
/// ```
/// use gort::chan::{self, Select};
///
/// let (tx, rx) = chan::bounded(1);
/// let mut select = Select::new();
/// let (receive, send) = (select.recv(&rx), select.send(&tx));
/// let operation = select.select();
/// match operation.index() {
///     at if at == receive => assert_eq!(operation.recv(&rx), Ok(1)),
///     at if at == send => operation.send(&tx, 1).unwrap(),
///     _ => unreachable!("there are two"),
/// }
/// assert_eq!(rx.len(), 1);
/// ```
#[must_use = "a selected operation has to be completed"]
pub struct SelectedOperation<'a> {
    pub(super) index: usize,
    /// The address of the handle that was added.
    pub(super) handle: *const (),
    pub(super) chan: Option<&'a Chan>,
    pub(super) won: Won,
    /// Holds the received value, if `won` says so.
    pub(super) storage: Storage,
    pub(super) handles: PhantomData<&'a ()>,
}

impl SelectedOperation<'_> {
    /// The index that the operation got when it was added.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, Select};
    ///
    /// let (orders, kitchen) = chan::bounded(1);
    /// let (_cancels, office) = chan::bounded::<&str>(1);
    /// orders.send("soup").unwrap();
    /// let mut select = Select::new();
    /// let (order, cancel) = (select.recv(&kitchen), select.recv(&office));
    /// let operation = select.select();
    /// assert_eq!(operation.index(), order);
    /// assert_ne!(operation.index(), cancel);
    /// assert_eq!(operation.recv(&kitchen), Ok("soup"));
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a send. `s` is the sender that was added.
    ///
    /// # Errors
    ///
    /// [`SendError`], with the value inside, if the channel is closed or without receivers.
    ///
    /// # Panics
    ///
    /// If `s` is not the sender that was selected.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{bounded, Select, SendError};
    ///
    /// let (s, r) = bounded(0);
    /// drop(r);
    /// let mut select = Select::new();
    /// select.send(&s);
    /// assert_eq!(select.select().send(&s, 10), Err(SendError(10)));
    /// ```
    #[track_caller]
    pub fn send<T>(self, s: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        assert!(
            (&raw const *s).cast() == self.handle,
            "passed a sender that wasn't selected",
        );
        let this = ManuallyDrop::new(self);
        match this.won {
            Won::Promised(promised) => s.send_promised(promised, value),
            _ => unreachable!("a send was selected with {:?}", this.won),
        }
    }

    /// Completes a receive. `r` is the receiver that was added.
    ///
    /// # Errors
    ///
    /// [`RecvError`] if the channel is empty and closed, or without senders.
    ///
    /// # Panics
    ///
    /// If `r` is not the receiver that was selected.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{bounded, RecvError, Select};
    ///
    /// let (s, r) = bounded::<i32>(0);
    /// drop(s);
    /// let mut select = Select::new();
    /// select.recv(&r);
    /// assert_eq!(select.select().recv(&r), Err(RecvError));
    /// ```
    #[track_caller]
    pub fn recv<T>(self, r: &Receiver<T>) -> Result<T, RecvError> {
        assert!(
            (&raw const *r).cast() == self.handle,
            "passed a receiver that wasn't selected",
        );
        let mut this = ManuallyDrop::new(self);
        match this.won {
            Won::Value => {
                // SAFETY: the receiver at this address is borrowed since it was added (`'a`), so it is
                // the same one, and the storage holds a value of its type. It is read once, here.
                let value = unsafe { this.storage.slot().cast::<T>().read() };
                // SAFETY: not used again; the value is out.
                unsafe { std::ptr::drop_in_place(&raw mut this.storage) };
                Ok(value)
            }
            Won::Disconnected => Err(RecvError),
            won => unreachable!("a receive was selected with {won:?}"),
        }
    }
}

impl Drop for SelectedOperation<'_> {
    #[track_caller]
    fn drop(&mut self) {
        match (self.won, self.chan) {
            // Not dropped here: if it must not leave its thread, this may be another one.
            // SAFETY: the storage holds a value of the channel's type, which nobody has taken.
            (Won::Value, Some(chan)) => unsafe { (chan.ops.give_back)(chan, self.storage.slot()) },
            (Won::Promised(promised), Some(chan)) => break_promise(chan, promised),
            _ => {}
        }
        if !std::thread::panicking() {
            panic!("dropped `SelectedOperation` without completing the operation");
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}

/// Room for a value whose type is not known. Frees the memory, not the value.
pub(super) enum Storage {
    Inline(Inline),
    Heap(Heap),
}

/// Enough for most values; larger ones cost an allocation each time one is received.
#[repr(C, align(16))]
pub(super) struct Inline([MaybeUninit<u8>; 64]);

impl Inline {
    pub(super) fn new() -> Self {
        Self([MaybeUninit::uninit(); 64])
    }
}

/// Memory of the heap.
pub(super) struct Heap {
    start: NonNull<u8>,
    pub(super) layout: Layout,
}

impl Storage {
    /// Where the value is. Moving the storage moves an inline one.
    pub(super) fn slot(&mut self) -> *mut () {
        match self {
            Storage::Inline(inline) => inline.0.as_mut_ptr().cast(),
            Storage::Heap(heap) => heap.start.as_ptr().cast(),
        }
    }

    pub(super) fn into_heap(self) -> Option<Heap> {
        match self {
            Storage::Inline(_) => None,
            Storage::Heap(heap) => Some(heap),
        }
    }
}

impl Heap {
    pub(super) fn new(layout: Layout) -> Self {
        // SAFETY: at least as large as `Inline`, so not empty.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout);
        };
        Self { start, layout }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and ours alone.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

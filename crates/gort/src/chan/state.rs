//! A channel: one lock around a buffer and the queues of those who wait, and what sending,
//! receiving and closing do to them.
//!
//! A sender hands its value to the receiver that has waited longest; if none waits, the value goes
//! into the buffer; if that is full, the sender waits. A receiver takes the oldest value, and the
//! sender that has waited longest fills the place; if there is no value, the receiver waits. So:
//!
//! S1. If a receiver waits (and has not been won elsewhere), then no value, no granted future and no
//!     sender with a value waits for one.
//! S2. If a sender waits (likewise), the buffer has no room: `buffer.len() >= limit`.
//! S3. `limit` is the capacity less the places that are promised, and 0 once the channel is closed.
//! S4. Once `closed`, nobody is queued any more, and `buffer` only shrinks.
//!
//! **Promises.** A select's send arm wins before its value exists. It gets either a place in the
//! buffer, counted by `limit`, or a receiver, which is kept on `held`, asleep, until the value comes
//! (`Outcome::Done`) or the promise is broken (`Outcome::Retry`). A task may be polled late, perhaps by
//! the very thread that has come to receive: it is told to send, and the receiver goes on as if it had not found it,
//! without being kept (`Core::ask_for`). The value goes to who waits then, or is kept as one given back.
//!
//! **Futures.** A parked `send_async` whose turn has come keeps its value, with a place in the
//! buffer (`granted`), until it is polled: dropped before that, it has sent nothing. A receiver that
//! finds no other value takes it directly. A `recv_async` that is dropped with a value it was never
//! polled for gives it back, to `returned`, which is older than anything in the buffer.
//!
//! Under the lock there is no code of the user's, no allocation, no wake-up: these are left for
//! after it ([`After`]). Only the moves of values know their type; `select` reaches them by [`Ops`].
//!
//! Elsewhere: the queues (`core`), parking (`sender`, `receiver`, `select`), polling (`future`), channels that the clock
//! fills (`timed`).
//! Checked by `crates/gort/tests/chan`, `testing/fuzz`, and under loom by `testing/model/tests/chan.rs`.

use std::alloc::Layout;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use gort_core::light_lock::{LightGuard, LightMutex};

use super::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use super::buffer::{Buffer, Memory};
use super::core::{Ahead, Core};
use super::timed::{self, TimedChan};
use super::waiter::{After, Outcome, Role, WaiterRef};
use super::watched::Watch;

/// What depends on the type of a channel's values, or on what fills it.
pub(super) struct Ops {
    /// Takes a value, if it is in the buffer and nobody waits; says whether. The lock is not held.
    pub(super) pop_fast: unsafe fn(&Chan, *mut ()) -> bool,
    /// Takes a value. As [`Chan::take`].
    pub(super) take: unsafe fn(&Chan, &mut Core, *mut (), &mut After) -> Taken,
    /// Fills room from the queue of senders. As [`Chan::refill`].
    pub(super) refill: unsafe fn(&Chan, &mut Core, &mut After),
    /// Takes back the value at the pointer, which is moved out. As [`Chan::give_back`].
    pub(super) give_back: unsafe fn(&Chan, *mut ()),
    /// Size and alignment of a value.
    pub(super) value: Layout,
    /// Frees the channel's memory.
    pub(super) free: unsafe fn(NonNull<Chan>),
    /// Called once the channel is closed, without the lock, by whoever closed it: see `watched`.
    pub(super) closed: Option<fn(ChanId)>,
}

/// Which channel: good for as long as there is a handle to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChanId(pub(super) usize);

/// A channel, shared by its senders and receivers.
pub(super) struct Chan {
    core: LightMutex<Core>,
    /// What might be possible now: `RECV`, `SEND` (but for what the clock makes possible). Written
    /// under the lock before it is released; read without it. A bit that is not set was so at one moment of the read's operation, for nothing
    /// makes the operation possible without setting it first.
    hint: AtomicU8,
    pub(super) ops: &'static Ops,
    /// `usize::MAX`: unbounded.
    capacity: usize,
    senders: AtomicUsize,
    pub(super) receivers: AtomicUsize,
    /// Set by the side that goes first; the one that finds it set frees the channel.
    is_half_gone: AtomicBool,
    /// Whether handles do not close it when asked to: see `signal`.
    is_signal: bool,
    /// For a channel that the clock fills: the allocation that this is a part of.
    pub(super) timed: Option<NonNull<TimedChan>>,
}

/// A channel with its lock held. Says on its release what is possible ([`Chan::hint`]).
pub(super) struct Locked<'a> {
    core: LightGuard<'a, Core>,
    chan: &'a Chan,
}

/// See [`Chan::hint`].
const RECV: u8 = 1;
const SEND: u8 = 2;

impl Deref for Locked<'_> {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let recv = if self.core.may_receive() { RECV } else { 0 };
        let send = if self.core.may_send() { SEND } else { 0 };
        self.chan.hint.store(recv | send, Ordering::Relaxed);
    }
}

/// A value given back by a future.
struct Returned<T> {
    next: *mut Returned<T>,
    value: T,
}

/// What came of an offer to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offered {
    /// The value is gone from where it was.
    Sent,
    /// Neither room nor a receiver.
    Full,
    Closed,
    /// There is room, but no memory for it: the channel is unbounded and needs a block.
    NeedsMemory,
}

/// What came of an attempt to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    Value,
    Empty,
    Closed,
    /// A select's send arm has been won, whose value is still to be made: see [`Core::pair`].
    Promise(WaiterRef),
}

impl Chan {
    /// A channel of `T`s with one sender and one receiver. No capacity: unbounded.
    ///
    /// # Panics
    ///
    /// When so many slots cannot exist.
    pub(super) fn new<T>(capacity: Option<usize>) -> NonNull<Self> {
        let buffer = match capacity {
            Some(0) => Buffer::none(),
            Some(slots) => Buffer::ring::<T>(slots),
            None => Buffer::chain::<T>(),
        };
        let capacity = capacity.unwrap_or(usize::MAX);
        let chan = Self::with(buffer, capacity, OpsOf::<T>::OPS, 1);
        NonNull::from(Box::leak(Box::new(chan)))
    }

    /// A channel of `T`s with one sender and one receiver, whose end `W` is told of.
    pub(super) fn watched<T, W: Watch>(slots: usize) -> NonNull<Self> {
        let chan = Self::with(Buffer::ring::<T>(slots), slots, WatchedOps::<T, W>::OPS, 1);
        NonNull::from(Box::leak(Box::new(chan)))
    }

    /// A channel with one receiver and the given number of senders, 0 or 1.
    pub(super) fn with(buffer: Buffer, capacity: usize, ops: &'static Ops, senders: usize) -> Self {
        Self {
            core: LightMutex::new(Core::new(buffer, capacity)),
            hint: AtomicU8::new(RECV | SEND),
            ops,
            capacity,
            senders: AtomicUsize::new(senders),
            receivers: AtomicUsize::new(1),
            is_half_gone: AtomicBool::new(senders == 0),
            is_signal: false,
            timed: None,
        }
    }

    /// A channel of `()`s with one receiver and no senders, which its handles do not close.
    pub(super) fn signal() -> Self {
        Self {
            is_signal: true,
            ..Self::with(Buffer::none(), 0, OpsOf::<()>::OPS, 0)
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked {
            core: self.core.lock(),
            chan: self,
        }
    }

    /// Whether receiving may be possible without waiting. A false is exact.
    #[inline]
    pub(super) fn may_receive(&self) -> bool {
        self.hint.load(Ordering::Acquire) & RECV != 0
            || (self.timed.is_some() && timed::may_be_due(self))
    }

    /// Whether sending may be possible without waiting. A false is exact.
    #[inline]
    pub(super) fn may_send(&self) -> bool {
        self.hint.load(Ordering::Acquire) & SEND != 0
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    pub(super) fn len(&self) -> usize {
        let core = self.lock();
        core.buffer.len() + core.returned_len
    }

    pub(super) fn is_full(&self) -> bool {
        let core = self.lock();
        if core.closed {
            core.buffer.len() >= self.capacity
        } else {
            core.buffer.len() >= core.limit
        }
    }

    /// The fast path of sending: into the buffer, with nobody waiting. When it is not as simple as
    /// that, the value comes back, with the lock held.
    ///
    /// # Safety
    ///
    /// The channel is for `T`s.
    #[inline]
    pub(super) unsafe fn push_fast<T>(&self, value: T) -> Result<(), (T, Locked<'_>)> {
        // SAFETY: the caller's word.
        unsafe { self.push_locked(self.core.lock(), value) }
    }

    /// As [`push_fast`](Self::push_fast), using a place that was promised: nobody else can take it, as
    /// it counts as room again only under the lock.
    ///
    /// # Safety
    ///
    /// The channel is for `T`s, and has promised a place.
    #[inline]
    pub(super) unsafe fn push_promised<T>(&self, value: T) -> Result<(), (T, Locked<'_>)> {
        let mut core = self.core.lock();
        core.redeem_place();
        // SAFETY: the caller's word.
        unsafe { self.push_locked(core, value) }
    }

    /// # Safety
    ///
    /// As for `push_fast`.
    #[inline]
    unsafe fn push_locked<'a, T>(
        &'a self,
        mut core: LightGuard<'a, Core>,
        value: T,
    ) -> Result<(), (T, Locked<'a>)> {
        // Closed channels have no room (S3).
        if core.receivers.is_empty() && core.buffer.len() < core.limit {
            // SAFETY: of `T`s, with room; the slot is written at once.
            if let Some(slot) = unsafe { core.buffer.push_slot::<T>() } {
                // SAFETY: a slot of ours, without a value.
                unsafe { slot.write(value) };
                let has_room = core.buffer.len() < core.limit;
                let hint = RECV | if has_room { SEND } else { 0 };
                self.hint.store(hint, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err((value, Locked { core, chan: self }))
    }

    /// The fast path of a promise to send: a place in the buffer, with nobody waiting.
    #[inline]
    pub(super) fn promise_fast(&self) -> bool {
        let mut core = self.core.lock();
        if !core.receivers.is_empty() || core.buffer.len() >= core.limit {
            return false;
        }
        core.limit -= 1;
        let recv = if core.may_receive() { RECV } else { 0 };
        let send = if core.buffer.len() < core.limit {
            SEND
        } else {
            0
        };
        self.hint.store(recv | send, Ordering::Relaxed);
        true
    }

    /// The fast path of receiving: from the buffer, with nobody waiting. When it is not as simple as
    /// that, the lock stays held.
    ///
    /// # Safety
    ///
    /// The channel is for `T`s.
    #[inline]
    pub(super) unsafe fn pop_fast<T>(&self) -> Result<T, Locked<'_>> {
        let mut core = self.core.lock();
        if core.buffer.len() > 0 && core.senders.is_empty() && core.returned.is_null() {
            // SAFETY: of `T`s, and not empty.
            let (value, emptied) = unsafe { core.buffer.pop::<T>() };
            let has_more = core.buffer.len() > 0 || core.closed || !core.granted.is_empty();
            let hint = SEND | if has_more { RECV } else { 0 };
            self.hint.store(hint, Ordering::Relaxed);
            drop(core);
            drop(emptied);
            return Ok(value);
        }
        Err(Locked { core, chan: self })
    }

    /// Sends the value at `from`, if that needs no waiting.
    ///
    /// # Safety
    ///
    /// `core` is this channel's, which is for `T`s. `from` holds a `T`, which is moved out if the
    /// answer is `Sent`.
    pub(super) unsafe fn offer<T>(
        &self,
        core: &mut Core,
        from: *mut T,
        after: &mut After,
    ) -> Offered {
        if core.closed {
            return Offered::Closed;
        }
        if let Some(receiver) = core.pop_receiver() {
            // SAFETY: a receiver that was won waits with an empty slot for a `T` (W2), and `from`
            // holds one; both are ours until `finish`.
            unsafe {
                from.copy_to_nonoverlapping(receiver.as_ref().data.slot().cast::<T>(), 1);
                after.finish(receiver, Outcome::Done);
            }
            return Offered::Sent;
        }
        if core.buffer.len() >= core.limit {
            return Offered::Full;
        }
        // SAFETY: of `T`s, with room; the slot is written at once.
        match unsafe { core.buffer.push_slot::<T>() } {
            // SAFETY: an empty slot, and a `T` to move.
            Some(slot) => unsafe { from.copy_to_nonoverlapping(slot.as_ptr(), 1) },
            None => return Offered::NeedsMemory,
        }
        core.tell_receivers(after);
        Offered::Sent
    }

    /// Memory for the block that `Offered::NeedsMemory` asks for. Not under the lock.
    pub(super) fn new_block<T>() -> Memory {
        Memory::block::<T>(Buffer::chain_slots::<T>())
    }

    /// Receives a value into `to`, if that needs no waiting.
    ///
    /// # Safety
    ///
    /// `core` is this channel's, which is for `T`s. `to` has room for a `T`; it holds one if the answer
    /// is `Value`.
    pub(super) unsafe fn take<T>(&self, core: &mut Core, to: *mut T, after: &mut After) -> Taken {
        if !core.returned.is_null() {
            // SAFETY: the chain is of `Returned<T>`, each a box of its own.
            let first = unsafe { Box::from_raw(core.returned.cast::<Returned<T>>()) };
            // The box is emptied here and freed later.
            let (value, memory) = unbox(first);
            core.returned = value.next.cast();
            core.returned_len -= 1;
            // SAFETY: room for a `T` (the caller's word).
            unsafe { to.write(value.value) };
            after.free(memory);
            return Taken::Value;
        }
        if core.buffer.len() > 0 {
            // SAFETY: of `T`s, not empty; room for one at `to`.
            let emptied = unsafe {
                let (value, emptied) = core.buffer.pop::<T>();
                to.write(value);
                emptied
            };
            if let Some(emptied) = emptied {
                after.free(emptied);
            }
            // SAFETY: our core, of `T`s.
            unsafe { self.refill::<T>(core, after) };
            return Taken::Value;
        }
        if let Some(sender) = core.granted.pop_front() {
            // The place it had is free again. (Closing empties `granted`, so `limit` counts.)
            core.limit += 1;
            // SAFETY: a granted future's slot holds its `T` until it is polled, which needs the lock.
            unsafe {
                sender
                    .as_ref()
                    .data
                    .slot()
                    .cast::<T>()
                    .copy_to_nonoverlapping(to, 1);
                after.finish(sender, Outcome::Done);
                self.refill::<T>(core, after);
            }
            return Taken::Value;
        }
        match core.pop_sender() {
            // SAFETY: a sender that was won waits with its `T` in the slot (W2).
            Some(sender) if unsafe { sender.as_ref() }.data.role() == Role::Value => unsafe {
                sender
                    .as_ref()
                    .data
                    .slot()
                    .cast::<T>()
                    .copy_to_nonoverlapping(to, 1);
                after.finish(sender, Outcome::Done);
                Taken::Value
            },
            Some(promise) => Taken::Promise(promise),
            None if core.closed => Taken::Closed,
            None => Taken::Empty,
        }
    }

    /// Lets waiting senders use the room that came free.
    ///
    /// # Safety
    ///
    /// `core` is this channel's, which is for `T`s.
    unsafe fn refill<T>(&self, core: &mut Core, after: &mut After) {
        while core.buffer.len() < core.limit
            && !cfg!(gort_fault = "chan_refill")
            && let Some(sender) = core.pop_sender()
        {
            // SAFETY: won, so ours and in place (W1, W4).
            let waiter = unsafe { &sender.as_ref().data };
            if waiter.role() == Role::Promise {
                core.limit -= 1;
                // SAFETY: won, and on no queue.
                unsafe { after.finish(sender, Outcome::Place) };
            } else if waiter.is_future() {
                core.limit -= 1;
                // SAFETY: won, and on no queue until the push; a future leaves `granted` before its
                // memory goes (W1).
                unsafe {
                    after.finish(sender, Outcome::Granted);
                    core.granted.push_back(sender);
                }
            } else {
                // SAFETY: of `T`s, with room; the slot is written at once.
                let slot = unsafe { core.buffer.push_slot::<T>() };
                let slot = slot.expect("senders wait only at a ring, which has all its memory");
                // SAFETY: the sender's slot holds its `T` (W2).
                unsafe {
                    waiter
                        .slot()
                        .cast::<T>()
                        .copy_to_nonoverlapping(slot.as_ptr(), 1);
                    after.finish(sender, Outcome::Done);
                }
            }
        }
        if core.buffer.len() < core.limit {
            core.tell_senders(after);
        }
    }

    /// Takes back a value that a receiver got but never saw: the next receiver gets it.
    ///
    /// # Safety
    ///
    /// The channel is for `T`s, and has a receiver: it is not dropped meanwhile.
    pub(super) unsafe fn give_back<T>(&self, value: T) {
        // SAFETY: as the caller promises; and with a receiver what is put there is received, or discarded.
        unsafe { self.return_value(value, true) }
            .unwrap_or_else(|_| unreachable!("nobody refuses"));
    }

    /// As [`give_back`](Self::give_back) for who has a sender only; gives the value back if the channel is closed.
    ///
    /// # Safety
    ///
    /// The channel is for `T`s.
    pub(super) unsafe fn put_back<T>(&self, value: T) -> Result<(), T> {
        // SAFETY: as the caller promises; while the channel is open, its last receiver is still to discard what is
        // in it.
        unsafe { self.return_value(value, false) }
    }

    /// # Safety
    ///
    /// The channel is for `T`s. If a closed channel takes it too, it has a receiver.
    unsafe fn return_value<T>(&self, value: T, even_if_closed: bool) -> Result<(), T> {
        let returned = Box::into_raw(Box::new(Returned {
            next: ptr::null_mut(),
            value,
        }));
        let mut after = After::new();
        let mut core = self.lock();
        if core.closed && !even_if_closed {
            drop(core);
            // SAFETY: just boxed.
            return Err(unsafe { Box::from_raw(returned) }.value);
        }
        if let Some(receiver) = core.pop_receiver() {
            // SAFETY: just boxed.
            let (value, memory) = unbox(unsafe { Box::from_raw(returned) });
            after.free(memory);
            // SAFETY: a receiver that was won waits with an empty slot for a `T` (W2).
            unsafe {
                receiver.as_ref().data.slot().cast::<T>().write(value.value);
                after.finish(receiver, Outcome::Done);
            }
        } else {
            if core.returned.is_null() {
                core.returned = returned.cast();
            } else {
                // SAFETY: the chain's last box, which lives as long as it is there; we hold the lock.
                unsafe { (*core.returned_last.cast::<Returned<T>>()).next = returned };
            }
            core.returned_last = returned.cast();
            core.returned_len += 1;
            core.tell_receivers(&mut after);
        }
        drop(core);
        after.act();
        Ok(())
    }

    /// Closes the channel for one of its handles. True if that has closed it.
    pub(super) fn close_by_handle(&self) -> bool {
        !self.is_signal && self.close()
    }

    /// Closes the channel, and wakes everybody. False if it was closed already.
    pub(super) fn close(&self) -> bool {
        let mut is_first = false;
        let mut ahead = Ahead::new();
        loop {
            let mut after = After::new();
            let mut core = self.lock();
            if !core.closed {
                is_first = true;
                core.closed = true;
                core.limit = 0;
            } else if !is_first {
                return false;
            }
            let is_done = core.dismiss(&mut ahead, &mut after);
            drop(core);
            after.act();
            if is_done {
                if let Some(closed) = self.ops.closed {
                    closed(ChanId(ptr::from_ref(self).addr()));
                }
                return true;
            }
        }
    }

    /// One more sender.
    pub(super) fn add_sender(&self) {
        add_handle(&self.senders);
    }

    /// One more receiver.
    pub(super) fn add_receiver(&self) {
        add_handle(&self.receivers);
    }

    /// One more receiver, for who has none; false if the last one is gone, or is just going.
    pub(super) fn try_add_receiver(&self) -> bool {
        let one_more = |count: usize| (count != 0).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.receivers.fetch_update(order, order, one_more).is_ok()
    }

    /// One sender less. The last one closes the channel.
    ///
    /// # Safety
    ///
    /// The caller gives up a sender's handle.
    pub(super) unsafe fn drop_sender(this: NonNull<Self>) {
        // SAFETY: a handle keeps the channel alive.
        let chan = unsafe { this.as_ref() };
        if chan.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            chan.close();
            // SAFETY: the last handle of its side.
            unsafe { Self::drop_side(this) };
        }
    }

    /// One receiver less. The last one closes the channel, and drops what nobody can receive.
    ///
    /// # Safety
    ///
    /// The caller gives up a receiver's handle. The channel is for `T`s.
    pub(super) unsafe fn drop_receiver<T>(this: NonNull<Self>) {
        /// Lets go of the channel even if the drop of a value panics.
        struct Side(NonNull<Chan>);

        impl Drop for Side {
            fn drop(&mut self) {
                // SAFETY: made below for the last handle of its side.
                unsafe { Chan::drop_side(self.0) };
            }
        }

        // SAFETY: a handle keeps the channel alive.
        let chan = unsafe { this.as_ref() };
        if chan.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _side = Side(this);
            chan.close();
            // SAFETY: of `T`s.
            unsafe { chan.discard::<T>() };
        }
    }

    /// Drops the values, outside the lock.
    ///
    /// # Safety
    ///
    /// The channel is closed, and for `T`s.
    unsafe fn discard<T>(&self) {
        let mut core = self.lock();
        // SAFETY: of `T`s.
        let values = unsafe { core.buffer.take::<T>() };
        let mut returned = std::mem::replace(&mut core.returned, ptr::null_mut());
        core.returned_len = 0;
        drop(core);
        while !returned.is_null() {
            // SAFETY: the chain is of `Returned<T>`, each a box of its own, and ours now.
            let first = unsafe { Box::from_raw(returned.cast::<Returned<T>>()) };
            returned = first.next.cast();
        }
        drop(values);
    }

    /// # Safety
    ///
    /// The caller was the last handle of its side.
    unsafe fn drop_side(this: NonNull<Self>) {
        // SAFETY: the channel lives until both sides were here.
        let chan = unsafe { this.as_ref() };
        if chan.is_half_gone.swap(true, Ordering::AcqRel) {
            // SAFETY: nobody has a handle any more.
            unsafe { (chan.ops.free)(this) };
        }
    }
}

/// Moves the value out of a box, and keeps the memory for later.
fn unbox<T>(full: Box<Returned<T>>) -> (Returned<T>, Memory) {
    let full = Box::into_raw(full);
    // SAFETY: just a box; its value is read once, and what remains is a box without a value.
    unsafe {
        let value = full.read();
        let emptied = Box::from_raw(full.cast::<MaybeUninit<Returned<T>>>());
        (value, Memory::of_box(emptied))
    }
}

fn add_handle(count: &AtomicUsize) {
    // As for `Arc`: with more handles than memory could hold, somebody forgets clones in a loop.
    if count.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
        std::process::abort();
    }
}

/// The operations of an ordinary channel.
struct OpsOf<T>(std::marker::PhantomData<T>);

impl<T> OpsOf<T> {
    const OPS: &'static Ops = &Ops {
        // SAFETY: called for a channel of `T`s, with room for one.
        pop_fast: |chan, to| unsafe {
            match chan.pop_fast::<T>() {
                Ok(value) => {
                    to.cast::<T>().write(value);
                    true
                }
                Err(_) => false,
            }
        },
        // SAFETY: called as `Chan::take` may be called, with `to` for a `T`.
        take: |chan, core, to, after| unsafe { chan.take::<T>(core, to.cast(), after) },
        // SAFETY: called as `Chan::refill` may be called.
        refill: |chan, core, after| unsafe { chan.refill::<T>(core, after) },
        // SAFETY: called with a `T` to move out.
        give_back: |chan, value| unsafe { chan.give_back::<T>(value.cast::<T>().read()) },
        value: Layout::new::<T>(),
        // SAFETY: `Chan::new` boxed it, and nobody has a handle any more.
        free: |chan| unsafe { drop(Box::from_raw(chan.as_ptr())) },
        closed: None,
    };
}

/// Those of a channel whose end `W` is told of.
struct WatchedOps<T, W>(std::marker::PhantomData<(T, W)>);

impl<T, W: Watch> WatchedOps<T, W> {
    const OPS: &'static Ops = &Ops {
        closed: Some(W::closed),
        ..*OpsOf::<T>::OPS
    };
}

impl fmt::Debug for Chan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chan")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

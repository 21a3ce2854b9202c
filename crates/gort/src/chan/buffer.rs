//! The values inside a channel: a queue in blocks of slots.
//!
//! A bounded channel has one block, linked to itself: a ring. An unbounded one has a chain of
//! smaller blocks; the block that was emptied last is kept as a spare, so that a queue which stays
//! short allocates nothing.
//!
//! Nothing here allocates or frees by itself, because the caller holds the channel's lock, and the
//! allocator may be what a preempted goroutine holds. A push that needs a block says so; a pop that
//! empties one hands it out, to be freed once the lock is gone.
//!
//! The type of the values is not part of the buffer's type, so that `select` can look at channels
//! of any type. All typed functions must be called with the `T` the buffer was made for.
//!
//! B1. `len` slots, counted from `head` along the chain, hold values; no other slot does.
//! B2. Every block on the chain, and the spare, has `slots` slots of `T` and came from `Memory::block`.

use std::alloc::{self, Layout};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// What lies in front of a block's slots.
#[repr(C)]
struct Header {
    next: *mut Header,
}

/// Memory on its way out of, or into, a channel: without values, and of any type.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Allocates a block of `slots` values of type `T`.
    ///
    /// # Panics
    ///
    /// When so many slots cannot exist.
    pub(super) fn block<T>(slots: usize) -> Self {
        // Address space ends at 2^47 bytes. What cannot exist is the caller's mistake and worth a
        // panic, as in Go; what is only too much for this machine is the allocator's affair.
        const BYTES_MAX: usize = 1 << 47;
        let Some(layout) = block_layout::<T>(slots).filter(|layout| layout.size() <= BYTES_MAX)
        else {
            panic!("makechan: size out of range");
        };
        // SAFETY: the layout has the size of a header at least, so it is not empty.
        let Some(start) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout);
        };
        // SAFETY: freshly allocated with room and alignment for a `Header`.
        unsafe {
            start.cast().write(Header {
                next: ptr::null_mut(),
            });
        }
        Self { start, layout }
    }

    /// The memory of `value`'s box, after the value was moved out.
    pub(super) fn of_box<T>(emptied: Box<std::mem::MaybeUninit<T>>) -> Self {
        assert!(size_of::<T>() > 0, "a box without memory has none to give");
        Self {
            start: NonNull::from(Box::leak(emptied)).cast(),
            layout: Layout::new::<T>(),
        }
    }

    fn into_raw(self) -> *mut Header {
        std::mem::ManuallyDrop::new(self).start.as_ptr().cast()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, by `block` or as a box, and owned by us alone.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

fn block_layout<T>(slots: usize) -> Option<Layout> {
    let array = Layout::array::<T>(slots).ok()?;
    let (layout, _) = Layout::new::<Header>().extend(array).ok()?;
    Some(layout.pad_to_align())
}

/// The slots of a block.
///
/// # Safety
///
/// `block` is a live block of `T`s.
#[inline]
unsafe fn slots<T>(block: *mut Header) -> *mut T {
    let offset = const { size_of::<Header>().next_multiple_of(align_of::<T>()) };
    // SAFETY: the slots start at this offset of the allocation, as `Layout::extend` computes it.
    unsafe { block.byte_add(offset).cast() }
}

/// A queue of values in blocks. See the module's page.
pub(super) struct Buffer {
    /// The number of values.
    len: usize,
    /// Where the oldest value is, unless `head_index` is past the block: then at the next one's start.
    head: *mut Header,
    head_index: usize,
    /// Where the next value goes, likewise.
    tail: *mut Header,
    tail_index: usize,
    /// Slots in each block.
    slots: usize,
    /// An empty block for the next push that needs one; never on a ring.
    spare: *mut Header,
}

// SAFETY: a buffer owns its blocks, and its typed functions are `unsafe`: whoever sends the values
// across threads with it has to know that they may go there (`Sender<T>: Send` only for `T: Send`).
unsafe impl Send for Buffer {}

impl Buffer {
    /// Slots per block of an unbounded buffer: about 2 KiB, and at least a few of large values.
    pub(super) const fn chain_slots<T>() -> usize {
        let size = size_of::<T>();
        match 2048usize.checked_div(size) {
            None => 64,
            Some(fit) if fit > 64 => 64,
            Some(fit) if fit < 4 => 4,
            Some(fit) => fit,
        }
    }

    /// A buffer for any number of `T`s, without memory yet.
    pub(super) const fn chain<T>() -> Self {
        Self::empty(Self::chain_slots::<T>())
    }

    /// A buffer that never has room.
    pub(super) const fn none() -> Self {
        Self::empty(0)
    }

    /// A buffer of `slots` values, all allocated now.
    ///
    /// # Panics
    ///
    /// When so many slots cannot exist.
    pub(super) fn ring<T>(slots: usize) -> Self {
        let mut this = Self::empty(slots);
        if slots > 0 {
            let block = Memory::block::<T>(slots).into_raw();
            // SAFETY: a live block, which only we know.
            unsafe { (*block).next = block };
            (this.head, this.head_index) = (block, 0);
            (this.tail, this.tail_index) = (block, 0);
        }
        this
    }

    const fn empty(slots: usize) -> Self {
        Self {
            len: 0,
            head: ptr::null_mut(),
            head_index: slots,
            tail: ptr::null_mut(),
            tail_index: slots,
            slots,
            spare: ptr::null_mut(),
        }
    }

    /// The number of values.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot for one more value, counted as filled; `None` when a chain needs a block first.
    ///
    /// # Safety
    ///
    /// The buffer is for `T`s; a ring has room; the caller writes the slot before anything else
    /// happens to the buffer.
    #[inline]
    pub(super) unsafe fn push_slot<T>(&mut self) -> Option<NonNull<T>> {
        if self.tail_index == self.slots {
            self.advance_tail()?;
        }
        // SAFETY: `tail` is a live block of `T`s (B2) and `tail_index` one of its slots. It holds no
        // value: a chain's tail is written once, and a ring has room.
        let slot = unsafe { NonNull::new_unchecked(slots::<T>(self.tail).add(self.tail_index)) };
        self.tail_index += 1;
        self.len += 1;
        Some(slot)
    }

    /// Goes to the block after the tail: the ring's own, or the spare.
    #[inline]
    fn advance_tail(&mut self) -> Option<()> {
        let next = if self.tail.is_null() {
            ptr::null_mut()
        } else {
            // SAFETY: `tail` is a live block (B2).
            unsafe { (*self.tail).next }
        };
        if !next.is_null() {
            self.tail = next;
            self.tail_index = 0;
            return Some(());
        }
        self.advance_tail_to_spare()
    }

    #[cold]
    fn advance_tail_to_spare(&mut self) -> Option<()> {
        let block = NonNull::new(self.spare)?.as_ptr();
        self.spare = ptr::null_mut();
        if self.tail.is_null() {
            (self.head, self.head_index) = (block, 0);
        } else {
            // SAFETY: `tail` is a live block (B2).
            unsafe { (*self.tail).next = block };
        }
        (self.tail, self.tail_index) = (block, 0);
        Some(())
    }

    /// Gives a chain the block that `push_slot` asked for. If somebody was faster, it comes back.
    ///
    /// # Safety
    ///
    /// The buffer is a chain, and `block` was made for its type with `Buffer::chain_slots` slots.
    pub(super) unsafe fn install(&mut self, block: Memory) -> Option<Memory> {
        if !self.spare.is_null() {
            return Some(block);
        }
        self.spare = block.into_raw();
        None
    }

    /// Takes the oldest value. The block is one to free, outside the lock.
    ///
    /// # Safety
    ///
    /// The buffer is for `T`s and not empty.
    #[inline]
    pub(super) unsafe fn pop<T>(&mut self) -> (T, Option<Memory>) {
        debug_assert!(self.len > 0);
        let mut emptied = None;
        if self.head_index == self.slots {
            // SAFETY: the buffer is not empty (the caller's word).
            emptied = unsafe { self.advance_head::<T>() };
        }
        // SAFETY: `head` is a live block of `T`s (B2), and with `len > 0` this slot holds the oldest
        // value (B1). Moving `head_index` past it makes it nobody's, so it is read once.
        let value = unsafe { slots::<T>(self.head).add(self.head_index).read() };
        self.head_index += 1;
        self.len -= 1;
        (value, emptied)
    }

    /// Goes to the block after the head.
    ///
    /// # Safety
    ///
    /// The buffer is for `T`s and not empty.
    #[inline]
    unsafe fn advance_head<T>(&mut self) -> Option<Memory> {
        let old = self.head;
        // SAFETY: a buffer with values has a head block; there is a value behind it, so also a next.
        self.head = unsafe { (*old).next };
        self.head_index = 0;
        if old == self.head {
            return None;
        }
        // SAFETY: `old` left the chain, empty, so it is ours alone.
        unsafe { (*old).next = ptr::null_mut() };
        if self.spare.is_null() {
            self.spare = old;
            return None;
        }
        // SAFETY: as above; not null, since it was the head.
        Some(unsafe { self.own::<T>(old) })
    }

    /// # Safety
    ///
    /// `block` is a live block of this buffer, which is for `T`s, and on neither chain nor spare.
    unsafe fn own<T>(&self, block: *mut Header) -> Memory {
        Memory {
            // SAFETY: a live block is not null.
            start: unsafe { NonNull::new_unchecked(block.cast()) },
            layout: block_layout::<T>(self.slots).expect("the block was allocated with it"),
        }
    }

    /// Takes everything out, memory and values, to be dropped outside the lock. What is left behind
    /// has no values and no room.
    ///
    /// # Safety
    ///
    /// The buffer is for `T`s.
    pub(super) unsafe fn take<T>(&mut self) -> Discarded<T> {
        Discarded {
            buffer: std::mem::replace(self, Self::none()),
            values: PhantomData,
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// The buffer of a channel nobody receives from any more. Dropping it drops the values, oldest first.
pub(super) struct Discarded<T> {
    buffer: Buffer,
    values: PhantomData<T>,
}

impl<T> Drop for Discarded<T> {
    fn drop(&mut self) {
        // If the drop of a value panics, the rest leaks: their drops might panic too.
        self.drop_values();
        self.free_blocks();
    }
}

impl<T> Discarded<T> {
    fn drop_values(&mut self) {
        while self.buffer.len > 0 {
            // SAFETY: made by `Buffer::take::<T>`, so of `T`s; not empty.
            let (value, emptied) = unsafe { self.buffer.pop::<T>() };
            drop(emptied);
            drop(value);
        }
    }

    /// Frees what is left once there are no values: the block at the head, and the spare.
    fn free_blocks(&mut self) {
        debug_assert!(self.buffer.len == 0);
        for block in [self.buffer.head, self.buffer.spare] {
            if !block.is_null() {
                // SAFETY: of this buffer (B2), whose other fields nobody looks at again. With no
                // values the chain is the head block alone: `pop` moved `head` along to the tail.
                drop(unsafe { self.buffer.own::<T>(block) });
            }
        }
        self.buffer = Buffer::none();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::rc::Rc;

    unsafe fn push<T>(buffer: &mut Buffer, value: T) {
        // SAFETY: the tests use one `T` per buffer, and never more values than a ring has slots.
        unsafe {
            let slot = loop {
                match buffer.push_slot::<T>() {
                    Some(slot) => break slot,
                    None => assert!(buffer.install(Memory::block::<T>(buffer.slots)).is_none()),
                }
            };
            slot.write(value);
        }
    }

    fn agrees_with_a_deque(mut buffer: Buffer, room: usize) {
        let mut model = VecDeque::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = 0;
        for _ in 0..5_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Phases of filling and of draining, so that chains get long and short.
            let fill = if next % 700 < 350 { 11 } else { 5 };
            if random % 16 < fill && model.len() < room {
                // SAFETY: a buffer of `Rc`s with room.
                unsafe { push(&mut buffer, Rc::new(next)) };
                model.push_back(next);
                next += 1;
            } else if let Some(expected) = model.pop_front() {
                // SAFETY: a buffer of `Rc`s, not empty as the model was not.
                let (value, _) = unsafe { buffer.pop::<Rc<i32>>() };
                assert_eq!(*value, expected);
            }
            assert_eq!(buffer.len(), model.len());
        }
        // SAFETY: a buffer of `Rc`s.
        drop(unsafe { buffer.take::<Rc<i32>>() });
    }

    #[test]
    fn rings_agree_with_a_deque() {
        for slots in [1, 2, 3, 7] {
            agrees_with_a_deque(Buffer::ring::<Rc<i32>>(slots), slots);
        }
    }

    #[test]
    fn a_chain_agrees_with_a_deque() {
        agrees_with_a_deque(Buffer::chain::<Rc<i32>>(), usize::MAX);
    }

    #[test]
    fn a_short_chain_re_uses_its_spare() {
        let mut buffer = Buffer::chain::<u64>();
        let mut blocks = 0;
        for i in 0..10_000_u64 {
            // SAFETY: a buffer of `u64`s, not empty at the pop.
            unsafe {
                let slot = loop {
                    match buffer.push_slot::<u64>() {
                        Some(slot) => break slot,
                        None => {
                            blocks += 1;
                            assert!(buffer.install(Memory::block::<u64>(buffer.slots)).is_none());
                        }
                    }
                };
                slot.write(i);
                assert_eq!(buffer.pop::<u64>().0, i);
            }
        }
        assert!(blocks <= 2, "{blocks} blocks for a queue of one value");
        // SAFETY: a buffer of `u64`s.
        drop(unsafe { buffer.take::<u64>() });
    }

    #[test]
    fn discarding_drops_every_value_once() {
        let witness = Rc::new(());
        for count in [0, 1, 63, 64, 65, 200] {
            let mut buffer = Buffer::chain::<Rc<()>>();
            for _ in 0..count {
                // SAFETY: a chain of `Rc`s.
                unsafe { push(&mut buffer, Rc::clone(&witness)) };
            }
            assert_eq!(Rc::strong_count(&witness), count + 1);
            // SAFETY: a chain of `Rc`s.
            drop(unsafe { buffer.take::<Rc<()>>() });
            assert_eq!(Rc::strong_count(&witness), 1);
        }
    }

    #[test]
    fn values_without_size_take_no_memory() {
        let mut buffer = Buffer::ring::<()>(usize::MAX);
        for _ in 0..1000 {
            // SAFETY: a ring of `()`s with room.
            unsafe { push(&mut buffer, ()) };
        }
        assert_eq!(buffer.len(), 1000);
        // SAFETY: a ring of `()`s.
        drop(unsafe { buffer.take::<()>() });
    }

    #[test]
    #[should_panic(expected = "makechan: size out of range")]
    fn an_impossible_size_panics() {
        let _ = Buffer::ring::<u64>(1 << 59);
    }
}

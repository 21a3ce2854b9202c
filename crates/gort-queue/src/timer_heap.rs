//! The timers of one P: a 4-ary min-heap of deadlines, from which any timer can be removed.
//!
//! Each timer lies somewhere on the heap of the program and knows its index in here, so stopping
//! one takes O(log n) and no search. Four children make the tree half as deep as two would, and
//! a sift-down compares within one or two cache lines; Go's runtime uses the same shape. The
//! deadline lies in the entry, not behind the pointer, so a sift reads no timer but writes the
//! index of each that it moves.
//!
//! T1. `entries[i].item` has index `i`; a timer that is in no heap has [`NOT_QUEUED`].
//! T2. No entry is before its parent. Equal deadlines keep the order of their insertion.
//! T3. From `insert` until it is out, a timer is alive and only the heap touches its index.
//!
//! Memory: one entry of 24 bytes a timer; the bound is the number of timers. `insert` allocates when
//! [`is_full`](TimerHeap::is_full). Who must not allocate makes a [`Storage`] of memory from elsewhere
//! and hands that in by [`replace_storage`](TimerHeap::replace_storage) before.
//!
//! Elsewhere: the lock (the caller's), clocks, what a timer does when it is due (`timer`).
//! Checked by the tests below, against a `BTreeMap`.

use std::alloc::{self, Layout};
use std::ops::{Deref, DerefMut};
use std::{fmt, mem, ptr::NonNull, slice};

/// The index of a timer that is in no heap.
pub const NOT_QUEUED: usize = usize::MAX;

/// Children per entry.
const ARITY: usize = 4;

/// A timer that remembers its index in the [`TimerHeap`] it is in.
///
/// # Safety
///
/// `index` returns what the last `set_index` stored, and [`NOT_QUEUED`] before the first. Nothing
/// but a `TimerHeap` calls `set_index` while the timer is in one (T3).
pub unsafe trait Indexed {
    /// Stores the index.
    ///
    /// # Safety
    ///
    /// `this` is alive, and nobody else reads or writes its index at the same time.
    unsafe fn set_index(this: NonNull<Self>, index: usize);

    /// Reads the index.
    ///
    /// # Safety
    ///
    /// `this` is alive, and nobody writes its index at the same time.
    unsafe fn index(this: NonNull<Self>) -> usize;
}

struct Entry<T> {
    when_ns: u64,
    /// Tells apart equal deadlines. 2^64 insertions do not happen.
    sequence: u64,
    item: NonNull<T>,
}

impl<T> Entry<T> {
    fn is_before(&self, other: &Self) -> bool {
        (self.when_ns, self.sequence) < (other.when_ns, other.sequence)
    }
}

// By hand, since a derive would ask for `T: Copy`.
impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Entry<T> {}

/// Memory for the entries of a heap.
pub struct Storage<T> {
    /// S1. Room for `capacity` entries of which nothing is known; nobody else's until `free` is called.
    memory: NonNull<Entry<T>>,
    capacity: usize,
    bytes: usize,
    free: FreeFn,
}

/// Takes back the memory of a [`Storage`]: its address and size.
pub type FreeFn = unsafe fn(NonNull<u8>, usize);

// SAFETY: memory without contents; the entries are in the care of `TimerHeap`.
unsafe impl<T> Send for Storage<T> {}

impl<T> Storage<T> {
    /// No room.
    const NONE: Storage<T> = Storage {
        memory: NonNull::dangling(),
        capacity: 0,
        bytes: 0,
        free: Self::free_none,
    };

    /// Room for `capacity` timers, from the allocator.
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity == 0 {
            return Self::NONE;
        }
        let layout = Layout::array::<Entry<T>>(capacity).expect("fewer timers than bytes");
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc::alloc(layout) };
        let Some(memory) = NonNull::new(memory.cast()) else {
            alloc::handle_alloc_error(layout)
        };
        Self {
            memory,
            capacity,
            bytes: layout.size(),
            free: Self::free_allocated,
        }
    }

    /// What fits into `bytes` bytes at `memory`, which `free` takes back.
    ///
    /// # Safety
    ///
    /// The memory is aligned for a pointer, and nobody else's until `free` has been called. `free` may
    /// be called from any thread.
    pub unsafe fn from_memory(memory: NonNull<u8>, bytes: usize, free: FreeFn) -> Self {
        let memory = memory.cast();
        debug_assert!(memory.is_aligned());
        Self {
            memory,
            capacity: bytes / size_of::<Entry<T>>(),
            bytes,
            free,
        }
    }

    /// How many timers there is room for.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    unsafe fn free_none(_memory: NonNull<u8>, _bytes: usize) {}

    unsafe fn free_allocated(memory: NonNull<u8>, bytes: usize) {
        let layout = Layout::from_size_align(bytes, align_of::<Entry<T>>());
        let layout = layout.expect("it was allocated with this one");
        // SAFETY: `with_capacity` got it from the allocator with this layout; freed once, by `drop`.
        unsafe { alloc::dealloc(memory.as_ptr(), layout) };
    }
}

impl<T> Drop for Storage<T> {
    fn drop(&mut self) {
        // SAFETY: address, size and function belong together since the storage was made, and this is
        // its end (S1).
        unsafe { (self.free)(self.memory.cast(), self.bytes) };
    }
}

impl<T> fmt::Debug for Storage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// A storage and how much of it is in use.
struct Entries<T> {
    storage: Storage<T>,
    /// S2. The first `len` entries of the storage are initialized, and `len <= capacity`.
    len: usize,
}

impl<T> Entries<T> {
    const fn is_full(&self) -> bool {
        self.len == self.storage.capacity
    }

    /// Adds an entry. There is room.
    fn push(&mut self, entry: Entry<T>) {
        assert!(!self.is_full(), "room is made before");
        // SAFETY: `len` is less than the capacity, so the place is in the storage, which is ours (S1).
        unsafe { self.storage.memory.add(self.len).write(entry) };
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Entry<T>> {
        let last = self.last().copied()?;
        self.len -= 1;
        Some(last)
    }
}

impl<T> Deref for Entries<T> {
    type Target = [Entry<T>];
    #[inline]
    fn deref(&self) -> &[Entry<T>] {
        // SAFETY: that many entries are initialized (S2) and reached only through `self` (S1); with no
        // storage the pointer dangles, aligned, and `len` is 0.
        unsafe { slice::from_raw_parts(self.storage.memory.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Entries<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Entry<T>] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only way to them.
        unsafe { slice::from_raw_parts_mut(self.storage.memory.as_ptr(), self.len) }
    }
}

/// Timers in the order of their deadlines. Does not own them.
pub struct TimerHeap<T: Indexed> {
    entries: Entries<T>,
    next_sequence: u64,
}

// SAFETY: a heap is a way to reach its timers and nothing more; sending it sends them. Who uses it
// from several threads does so under a lock, which guards the indices too.
unsafe impl<T: Indexed + Send> Send for TimerHeap<T> {}

impl<T: Indexed> TimerHeap<T> {
    /// An empty heap.
    pub const fn new() -> Self {
        Self {
            entries: Entries {
                storage: Storage::NONE,
                len: 0,
            },
            next_sequence: 0,
        }
    }

    /// The number of timers.
    #[inline]
    pub const fn len(&self) -> usize {
        self.entries.len
    }

    /// Whether there is no timer.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.entries.len == 0
    }

    /// The earliest deadline.
    #[inline]
    pub fn first(&self) -> Option<u64> {
        self.entries.first().map(|entry| entry.when_ns)
    }

    /// Whether the next `insert` would have to allocate.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.entries.is_full()
    }

    /// How many timers `insert` takes without allocating.
    pub const fn room(&self) -> usize {
        self.entries.storage.capacity() - self.entries.len
    }

    /// Moves the timers into `storage`, and gives back the old one, for the caller to free. If
    /// `storage` is too small, since others inserted meanwhile, gives back `storage` itself.
    #[must_use = "the old storage is to be freed outside of the heap's lock"]
    pub fn replace_storage(&mut self, storage: Storage<T>) -> Storage<T> {
        if storage.capacity() < self.entries.len {
            return storage;
        }
        // SAFETY: `len` entries are initialized there (S2), and there is room for them here; two storages
        // do not overlap (S1).
        unsafe {
            let old = self.entries.storage.memory;
            storage
                .memory
                .copy_from_nonoverlapping(old, self.entries.len);
        }
        // Indices stay as they are.
        mem::replace(&mut self.entries.storage, storage)
    }

    /// Adds a timer that is due at `when_ns`.
    ///
    /// # Safety
    ///
    /// `item` is in no heap, and keeps to T3 until it is out of this one.
    pub unsafe fn insert(&mut self, when_ns: u64, item: NonNull<T>) {
        // SAFETY: `item` is alive and in no heap, so nobody writes its index (the caller's word).
        let index = unsafe { T::index(item) };
        debug_assert_eq!(index, NOT_QUEUED, "a timer is in two heaps");
        let entry = Entry {
            when_ns,
            sequence: self.next_sequence,
            item,
        };
        self.next_sequence += 1;
        if self.is_full() {
            drop(self.replace_storage(Storage::with_capacity(self.len() * 2 + 4)));
        }
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, entry);
    }

    /// Takes `item` out, wherever it is. False: it was out already.
    ///
    /// # Safety
    ///
    /// `item` is alive, and is in this heap or in none.
    pub unsafe fn remove(&mut self, item: NonNull<T>) -> bool {
        // SAFETY: `item` is alive, and its index is ours to read: it is in this heap, or in none.
        let index = unsafe { T::index(item) };
        if index == NOT_QUEUED {
            return false;
        }
        let removed = self.take(index);
        debug_assert_eq!(removed.item, item, "a timer has another one's index (T1)");
        true
    }

    /// Takes the earliest timer, if its deadline is not after `now_ns`.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<(u64, NonNull<T>)> {
        if self.first()? > now_ns {
            return None;
        }
        let entry = self.take(0);
        Some((entry.when_ns, entry.item))
    }

    /// All timers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, NonNull<T>)> {
        self.entries.iter().map(|entry| (entry.when_ns, entry.item))
    }

    /// Takes all timers, in no order: for a P that goes away and leaves its timers to another.
    ///
    /// Those that the iterator has not reached when it is dropped are out all the same.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = (u64, NonNull<T>)> + '_ {
        for entry in self.entries.iter() {
            // SAFETY: the timer is in this heap, so alive, and its index is ours (T3).
            unsafe { T::set_index(entry.item, NOT_QUEUED) };
        }
        let count = mem::replace(&mut self.entries.len, 0);
        // SAFETY: so many entries were initialized (S2), and they are plain data, so they still are; the
        // heap, which could overwrite them, is borrowed for as long as the iterator lives.
        let entries = unsafe { slice::from_raw_parts(self.entries.storage.memory.as_ptr(), count) };
        entries.iter().map(|entry| (entry.when_ns, entry.item))
    }

    /// Takes out the entry at `index`, and fills the hole with the last one.
    fn take(&mut self, index: usize) -> Entry<T> {
        let removed = self.entries[index];
        let last = self.entries.pop().expect("there is an entry at `index`");
        if index < self.entries.len() {
            // `last` comes from another branch, perhaps, so it may have to go either way.
            if index > 0 && last.is_before(&self.entries[(index - 1) / ARITY]) {
                self.sift_up(index, last);
            } else {
                self.sift_down(index, last);
            }
        }
        // SAFETY: the timer was in this heap, so it is alive and its index is ours (T3).
        unsafe { T::set_index(removed.item, NOT_QUEUED) };
        removed
    }

    /// Puts `entry` at `hole` or nearer to the root. What was at `hole` is overwritten.
    fn sift_up(&mut self, mut hole: usize, entry: Entry<T>) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if !entry.is_before(&self.entries[parent]) {
                break;
            }
            self.place(hole, self.entries[parent]);
            hole = parent;
        }
        self.place(hole, entry);
    }

    /// Puts `entry` at `hole` or further from the root. What was at `hole` is overwritten.
    fn sift_down(&mut self, mut hole: usize, entry: Entry<T>) {
        loop {
            let first_child = hole * ARITY + 1;
            let children = first_child..self.entries.len().min(first_child + ARITY);
            let Some(least) = children.reduce(|least, child| {
                if self.entries[child].is_before(&self.entries[least]) {
                    child
                } else {
                    least
                }
            }) else {
                break;
            };
            if !self.entries[least].is_before(&entry) {
                break;
            }
            self.place(hole, self.entries[least]);
            hole = least;
        }
        self.place(hole, entry);
    }

    #[inline]
    fn place(&mut self, index: usize, entry: Entry<T>) {
        self.entries[index] = entry;
        // SAFETY: the timer is in this heap, so alive, and its index is ours (T3).
        unsafe { T::set_index(entry.item, index) };
    }
}

impl<T: Indexed> Default for TimerHeap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Indexed> fmt::Debug for TimerHeap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerHeap")
            .field("len", &self.len())
            .field("first", &self.first())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::random::XorShift;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::{cell::Cell, collections::BTreeMap};

    struct Timer {
        id: usize,
        index: Cell<usize>,
    }

    // SAFETY: `index` is the plain cell behind both functions, and only heaps call `set_index`.
    unsafe impl Indexed for Timer {
        unsafe fn set_index(this: NonNull<Self>, index: usize) {
            // SAFETY: `this` is alive (the caller's word).
            unsafe { this.as_ref() }.index.set(index);
        }
        unsafe fn index(this: NonNull<Self>) -> usize {
            // SAFETY: `this` is alive (the caller's word).
            unsafe { this.as_ref() }.index.get()
        }
    }

    fn timers(count: usize) -> Vec<Timer> {
        (0..count)
            .map(|id| Timer {
                id,
                index: Cell::new(NOT_QUEUED),
            })
            .collect()
    }

    fn id(item: NonNull<Timer>) -> usize {
        // SAFETY: the tests keep their timers alive in a `Vec` that does not move.
        unsafe { item.as_ref() }.id
    }

    /// T1 and T2.
    fn check(heap: &TimerHeap<Timer>) {
        for (i, entry) in heap.entries.iter().enumerate() {
            // SAFETY: the tests' timers are alive.
            assert_eq!(unsafe { entry.item.as_ref() }.index.get(), i);
            assert!(i == 0 || !entry.is_before(&heap.entries[(i - 1) / ARITY]));
        }
    }

    #[test]
    fn timers_come_out_by_deadline_and_only_when_due() {
        let timers = timers(5);
        let mut heap = TimerHeap::new();
        assert!(heap.is_empty() && heap.first().is_none() && heap.pop_due(u64::MAX).is_none());
        for (timer, when) in timers.iter().zip([30, 10, 50, 20, 40]) {
            // SAFETY: each timer is in no heap and outlives it.
            unsafe { heap.insert(when, NonNull::from(timer)) };
        }
        assert_eq!((heap.len(), heap.first()), (5, Some(10)));
        assert!(heap.pop_due(9).is_none());
        let due: Vec<_> = std::iter::from_fn(|| heap.pop_due(30))
            .map(|(when, item)| (when, id(item)))
            .collect();
        assert_eq!(due, [(10, 1), (20, 3), (30, 0)]);
        assert_eq!(heap.first(), Some(40));
        assert_eq!(timers[0].index.get(), NOT_QUEUED);
    }

    #[test]
    fn equal_deadlines_keep_the_order_of_insertion() {
        let timers = timers(100);
        let mut heap = TimerHeap::new();
        for timer in &timers {
            // SAFETY: each timer is in no heap and outlives it.
            unsafe { heap.insert(7, NonNull::from(timer)) };
        }
        let order = std::iter::from_fn(|| heap.pop_due(7)).map(|(_, item)| id(item));
        assert!(order.eq(0..100));
    }

    #[test]
    fn a_timer_is_removed_once() {
        let timers = timers(2);
        let mut heap = TimerHeap::new();
        let [first, second] = [0, 1].map(|i| NonNull::from(&timers[i]));
        // SAFETY: timers are inserted while in no heap and outlive it.
        unsafe {
            assert!(!heap.remove(first), "it never was in");
            heap.insert(1, first);
            heap.insert(2, second);
            assert!(heap.remove(first));
            assert!(!heap.remove(first));
            assert_eq!(heap.pop_due(5), Some((2, second)));
            assert!(!heap.remove(second), "it was due first");
        }
    }

    #[test]
    fn drain_lets_go_of_all_timers_even_if_dropped_early() {
        let timers = timers(9);
        let mut heap = TimerHeap::new();
        for timer in &timers {
            // SAFETY: each timer is in no heap and outlives it.
            unsafe { heap.insert(100 - timer.id as u64, NonNull::from(timer)) };
        }
        let mut drained = heap.drain();
        assert_eq!(drained.len(), 9);
        assert!(drained.next().is_some());
        drop(drained);
        assert!(heap.is_empty());
        assert!(timers.iter().all(|timer| timer.index.get() == NOT_QUEUED));
    }

    #[test]
    fn storage_is_replaced_without_losing_a_timer() {
        let timers = timers(20);
        let mut heap = TimerHeap::new();
        assert!(heap.is_full());
        let mut allocations = 0;
        for timer in &timers {
            if heap.is_full() {
                let bigger = Storage::with_capacity(heap.len() * 2 + 4);
                assert_eq!(heap.replace_storage(bigger).capacity(), heap.len());
                allocations += 1;
            }
            // SAFETY: each timer is in no heap and outlives it.
            unsafe { heap.insert(19 - timer.id as u64, NonNull::from(timer)) };
            check(&heap);
        }
        assert_eq!(allocations, 3, "room for 4, 12, 28");
        let too_small = heap.replace_storage(Storage::with_capacity(19));
        assert_eq!((too_small.capacity(), heap.len()), (19, 20));
        let order = std::iter::from_fn(|| heap.pop_due(u64::MAX)).map(|(when, _)| when);
        assert!(order.eq(0..20));
    }

    #[test]
    fn memory_from_elsewhere_is_used_and_given_back() {
        static mut MEMORY: [u64; 30] = [0; 30];
        static FREED: AtomicUsize = AtomicUsize::new(0);
        unsafe fn free(memory: NonNull<u8>, bytes: usize) {
            assert_eq!(memory.as_ptr(), (&raw mut MEMORY).cast());
            FREED.fetch_add(bytes, Ordering::Relaxed);
        }
        let timers = timers(11);
        let memory = NonNull::new((&raw mut MEMORY).cast()).expect("a static has an address");
        let mut heap = TimerHeap::new();
        // SAFETY: nobody else uses the static, which is aligned as its numbers are.
        let storage = unsafe { Storage::from_memory(memory, 240, free) };
        assert_eq!(storage.capacity(), 10);
        assert_eq!(heap.replace_storage(storage).capacity(), 0);
        for timer in &timers {
            assert_eq!(FREED.load(Ordering::Relaxed), 0);
            // SAFETY: each timer is in no heap and outlives it.
            unsafe { heap.insert(timer.id as u64, NonNull::from(timer)) };
            check(&heap);
        }
        // The eleventh had no room.
        assert_eq!(FREED.load(Ordering::Relaxed), 240);
        let order = std::iter::from_fn(|| heap.pop_due(u64::MAX)).map(|(when, _)| when);
        assert!(order.eq(0..11));
    }

    #[test]
    fn a_random_history_agrees_with_a_tree() {
        let mut random = XorShift::new(0x7135);
        let timers = timers(300);
        let mut heap = TimerHeap::new();
        // By deadline and number of insertion, which is the order promised.
        let mut model: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        let mut key_of: Vec<Option<(u64, u64)>> = vec![None; timers.len()];
        let mut inserted = 0;
        for step in 0..50_000 {
            // Grow for a while, then shrink.
            let grow = random.below(10) < if step / 1000 % 2 == 0 { 7 } else { 3 };
            let i = random.below(timers.len());
            let item = NonNull::from(&timers[i]);
            // SAFETY: a timer is inserted only when the model says it is out; all outlive the heap.
            unsafe {
                if grow {
                    if key_of[i].is_none() {
                        // Few different deadlines, so that many are equal.
                        let when = random.below(64) as u64;
                        heap.insert(when, item);
                        key_of[i] = Some((when, inserted));
                        model.insert((when, inserted), i);
                        inserted += 1;
                    }
                } else if random.below(2) == 0 {
                    let key = key_of[i].take();
                    assert_eq!(heap.remove(item), key.is_some());
                    if let Some(key) = key {
                        model.remove(&key);
                    }
                } else {
                    let now = random.below(64) as u64;
                    let due = match model.first_entry() {
                        Some(first) if first.key().0 <= now => Some(first.remove_entry()),
                        _ => None,
                    };
                    let popped = heap.pop_due(now).map(|(when, item)| (when, id(item)));
                    assert_eq!(popped, due.map(|((when, _), i)| (when, i)));
                    if let Some((_, i)) = due {
                        key_of[i] = None;
                    }
                }
            }
            assert_eq!(heap.len(), model.len());
            assert_eq!(heap.first(), model.keys().next().map(|key| key.0));
            if step % 16 == 0 {
                check(&heap);
            }
        }
    }
}

//! The run queue of one P: a ring of 256 items and a `run_next` slot.
//!
//! The owner pushes at `tail` and pops at `head`; any M may steal at `head`. A thief copies one item, half the ring,
//! or all of it for a ring of its own, then claims what it copied with one CAS on `head`. Slots are atomics: a thief that
//! loses the race has read stale pointers, which it ignores; it has not raced on plain memory.
//!
//! `push_or_spill` always finds a place: from a full ring it takes half, which the caller must carry to the
//! global queue together with the new item.
//!
//! Q1. `tail` is stored by the owner alone; `head` moves by CAS alone. Both only grow, and wrap.
//! Q2. `head <= tail <= head + CAPACITY`. Slots in `head..tail` hold the queued items.
//! Q3. The owner overwrites a slot only after it has read a `head` past it with Acquire. The CAS
//!     that moved `head` is a Release, so a thief that claimed the slot's item has read it before; an owner that
//!     claims reads it afterwards, before it overwrites anything.
//! Q4. `run_next` is filled by the owner alone, and emptied by whoever swaps the item out.
//!
//! | field      | stored by                     | loaded by             | the pair protects              |
//! |------------|-------------------------------|-----------------------|--------------------------------|
//! | `tail`     | owner, Release                | thieves, Acquire      | slots and items up to `tail`   |
//! | `head`     | owner and thieves, Release    | all, Acquire          | slots before `head` (Q3)       |
//! | `run_next` | owner, thieves: Release       | owner, thieves: Acq.  | the item; in `is_empty`, `tail`|
//!
//! Elsewhere: whom to rob (`sched::find_work`), whether to wake a P (`sched::wake`).
//! Checked by the tests below and `tests/loom_local.rs`; loom shrinks the ring to 4 slots. Loom has
//! no loads that see stores of their future, so it cannot tell whether the orderings of Q3 are
//! there: without them a thief's load of a slot could, on a weakly ordered machine, sink below its
//! CAS. They rest on the argument in Q3.

// tidy: long because half of it are the tests of its edges

use crate::facade::{AtomicPtr, AtomicU32, Ordering, spin_loop};
use std::{fmt, ptr, ptr::NonNull};

/// The number of slots of the ring: 256, as in Go.
pub const CAPACITY: usize = if cfg!(loom) { 4 } else { 256 };

/// What a spilling push takes out of the ring, and the most that a thief does.
const HALF: usize = CAPACITY / 2;

/// Positions count on past the ring's end, so its length has to divide their wrap-around.
const _: () = assert!(CAPACITY.is_power_of_two());

/// A run queue with one owner and any number of thieves.
///
/// The owner is whoever holds the P; ownership is handed on by means that synchronize (a lock, a
/// futex), so successive owners count as one. The queue does not own what the pointers point to.
// Positions and `run_next` share a cache line: a thief looks at all of them and misses once.
#[repr(C, align(64))]
pub struct LocalQueue<T> {
    head: AtomicU32,
    tail: AtomicU32,
    run_next: AtomicPtr<T>,
    slots: [AtomicPtr<T>; CAPACITY],
}

impl<T> LocalQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            run_next: AtomicPtr::new(ptr::null_mut()),
            slots: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The number of items, `run_next` included: exact for an owner without thieves, else a snapshot.
    pub fn len(&self) -> usize {
        // `head` first: `tail` never falls behind a `head` seen earlier, so the difference is not
        // negative. It may exceed the ring when both moved on meanwhile.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        let in_ring = (tail.wrapping_sub(head) as usize).min(CAPACITY);
        in_ring + usize::from(self.has_run_next())
    }

    /// Whether there is no item. For any thread.
    ///
    /// Never says so while some item was there all the time, not even one that the owner moved from
    /// `run_next` to the ring meanwhile: a false "empty" could let a P sleep beside work.
    pub fn is_empty(&self) -> bool {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let has_run_next = self.has_run_next();
            // The ring may have been empty before, and `run_next` after, an item changed places.
            // That item moved `tail`, and we see it: the swap which emptied `run_next` since is a
            // Release that follows the store of `tail`, and `has_run_next` an Acquire.
            if tail == self.tail.load(Ordering::Acquire) {
                return head == tail && !has_run_next;
            }
            spin_loop();
        }
    }

    /// Whether `run_next` is taken. For any thread.
    #[inline]
    pub fn has_run_next(&self) -> bool {
        !self.run_next.load(Ordering::Acquire).is_null()
    }

    /// Whether the ring has items, `run_next` aside. For any thread; a snapshot.
    #[inline]
    pub fn has_ring_work(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        head != self.tail.load(Ordering::Acquire)
    }

    /// Empties `run_next`.
    ///
    /// # Safety
    ///
    /// The caller owns the queue.
    #[inline]
    pub unsafe fn take_run_next(&self) -> Option<NonNull<T>> {
        // What comes back was put there by the owner (Q4); Release is for `is_empty`.
        NonNull::new(self.run_next.swap(ptr::null_mut(), Ordering::AcqRel))
    }

    /// Queues `item` at the tail of the ring. False: it is full, and [`push_or_spill`](Self::push_or_spill)
    /// finds a place.
    ///
    /// # Safety
    ///
    /// The caller owns the queue. `item` is in no queue and stays alive until it is taken out.
    #[inline]
    #[must_use = "from a full ring the item comes back"]
    pub unsafe fn push(&self, item: NonNull<T>) -> bool {
        let head = self.head.load(Ordering::Acquire); // Pairs with the CAS of thieves (Q3).
        let tail = self.tail.load(Ordering::Relaxed); // Only we store it (Q1).
        if tail.wrapping_sub(head) == CAPACITY as u32 {
            return false;
        }
        self.slot(tail).store(item.as_ptr(), Ordering::Relaxed);
        // Publishes the slot, and what the owner wrote to the item.
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// Queues `item` as [`push`](Self::push) does, or, if the ring is full, takes the older half out of it and
    /// gives those to `spill`, and then `item`: in FIFO order. They are in no queue then, and the caller
    /// takes them to the global one. True if it is so.
    ///
    /// They are gathered nowhere in between: goroutines call this, and an array on their stacks would
    /// cost each of them another page.
    ///
    /// # Safety
    ///
    /// As `push`; and `spill` does not push here.
    #[cold]
    pub unsafe fn push_or_spill(
        &self,
        item: NonNull<T>,
        mut spill: impl FnMut(NonNull<T>),
    ) -> bool {
        loop {
            // SAFETY: the caller's promise is the same.
            if unsafe { self.push(item) } {
                return false;
            }
            let head = self
                .tail
                .load(Ordering::Relaxed)
                .wrapping_sub(CAPACITY as u32); // It is full.
            let after = head.wrapping_add(HALF as u32);
            let claimed =
                self.head
                    .compare_exchange(head, after, Ordering::Release, Ordering::Relaxed);
            if claimed.is_ok() {
                for position in (0..HALF as u32).map(|i| head.wrapping_add(i)) {
                    // Ours, and as we stored it: nobody else overwrites a slot (Q3).
                    let claimed = self.slot(position).load(Ordering::Relaxed);
                    debug_assert!(!claimed.is_null(), "an empty slot between head and tail");
                    NonNull::new(claimed).into_iter().for_each(&mut spill);
                }
                spill(item);
                return true;
            }
            // A thief came first, so now there is room.
        }
    }

    /// Puts `item` into `run_next`. What was there before comes back: the caller pushes it to the
    /// ring, before it next takes anything out.
    ///
    /// # Safety
    ///
    /// The caller owns the queue. `item` is in no queue and stays alive until it is taken out.
    #[inline]
    pub unsafe fn replace_run_next(&self, item: NonNull<T>) -> Option<NonNull<T>> {
        // An empty `run_next` stays so: only we fill it (Q4), and a store costs a third of a swap.
        // Release publishes the item.
        if self.run_next.load(Ordering::Relaxed).is_null() {
            self.run_next.store(item.as_ptr(), Ordering::Release);
            return None;
        }
        // What comes back was put there by the owner (Q4), unless a thief was quicker.
        NonNull::new(self.run_next.swap(item.as_ptr(), Ordering::Release))
    }

    /// Takes the next item to run: `run_next`, else the ring's oldest. The flag says that it came
    /// from `run_next`, so inherits what is left of the time slice.
    ///
    /// # Safety
    ///
    /// The caller owns the queue.
    #[inline]
    pub unsafe fn pop(&self) -> Option<(NonNull<T>, bool)> {
        let next = self.run_next.load(Ordering::Relaxed);
        // Only we fill `run_next` (Q4), so a failed CAS means that a thief emptied it: no second
        // try. Release is for `is_empty`.
        if !next.is_null()
            && self
                .run_next
                .compare_exchange(next, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            return NonNull::new(next).map(|item| (item, true));
        }
        // SAFETY: the caller owns the queue.
        unsafe { self.pop_ring() }.map(|item| (item, false))
    }

    /// The item of the ring that has `index` others before it. A thief may take it at any time.
    ///
    /// # Safety
    ///
    /// The caller owns the queue.
    #[inline]
    pub unsafe fn peek_ring(&self, index: u32) -> Option<NonNull<T>> {
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed); // Only we store it (Q1).
        if tail.wrapping_sub(head) <= index {
            return None;
        }
        // The owner stored it, so reads its own: the item as it was queued, or a later one if a thief
        // has moved `head` on meanwhile.
        NonNull::new(self.slot(head.wrapping_add(index)).load(Ordering::Relaxed))
    }

    /// Takes the ring's oldest item and leaves `run_next` alone.
    ///
    /// # Safety
    ///
    /// The caller owns the queue.
    #[inline]
    pub unsafe fn pop_ring(&self) -> Option<NonNull<T>> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Relaxed); // Only we store it (Q1).
            if head == tail {
                return None;
            }
            let item = self.slot(head).load(Ordering::Relaxed);
            let claimed = self.head.compare_exchange(
                head,
                head.wrapping_add(1),
                Ordering::Release, // Q3, for our own next push as well as for `is_empty`.
                Ordering::Relaxed,
            );
            if claimed.is_ok() {
                debug_assert!(!item.is_null(), "an empty slot between head and tail");
                return NonNull::new(item);
            }
        }
    }

    /// Takes the larger half of `victim`'s ring: of `n` items, `n - n / 2`. The last of them comes
    /// back, to run now; the others go to the ring of `self`.
    ///
    /// If the victim's ring is empty and `steal_run_next` is set, takes its `run_next`. That item
    /// is about to run where it is, so the caller asks for it last, and after a pause.
    ///
    /// Takes fewer than half if the ring of `self` has less room than that.
    ///
    /// # Safety
    ///
    /// The caller owns `self`, which is not `victim`.
    pub unsafe fn steal_from(
        &self,
        victim: &LocalQueue<T>,
        steal_run_next: bool,
    ) -> Option<NonNull<T>> {
        debug_assert!(!ptr::eq(self, victim), "a queue that robs itself");
        let own_head = self.head.load(Ordering::Acquire); // Q3: we are going to overwrite slots.
        let own_tail = self.tail.load(Ordering::Relaxed); // Only we store it (Q1).
        // One more than our ring takes, since one comes back.
        let room = CAPACITY as u32 - own_tail.wrapping_sub(own_head) + 1;
        loop {
            let head = victim.head.load(Ordering::Acquire);
            let tail = victim.tail.load(Ordering::Acquire); // Publishes the slots and items.
            let len = tail.wrapping_sub(head);
            let count = (len - len / 2).min(room);
            if count == 0 {
                if !steal_run_next {
                    return None;
                }
                let next = NonNull::new(victim.run_next.load(Ordering::Relaxed))?;
                // A CAS, not a swap: what replaced `next` meanwhile has not had its pause.
                let taken = victim.run_next.compare_exchange(
                    next.as_ptr(),
                    ptr::null_mut(),
                    Ordering::AcqRel, // Acquires the item; Release is for `is_empty`.
                    Ordering::Relaxed,
                );
                if taken.is_ok() {
                    return Some(next);
                }
                continue;
            }
            if count > HALF as u32 {
                // More than half of any ring: `head` and `tail` are from different moments, and the
                // claim would fail.
                spin_loop();
                continue;
            }
            for i in 0..count - 1 {
                let item = victim.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
                // Beyond our own tail: nobody looks there yet.
                self.slot(own_tail.wrapping_add(i))
                    .store(item, Ordering::Relaxed);
            }
            let last = victim
                .slot(head.wrapping_add(count - 1))
                .load(Ordering::Relaxed);
            if victim.claim(head, count) {
                if count > 1 {
                    // Publishes the slots, and hands on what `victim.tail` published to us.
                    self.tail
                        .store(own_tail.wrapping_add(count - 1), Ordering::Release);
                }
                debug_assert!(!last.is_null(), "an empty slot between head and tail");
                return NonNull::new(last);
            }
        }
    }

    /// Moves the first of the ring of `other` to the tail of this one, in their order: `count_max` at most, and as
    /// far as there is room.
    ///
    /// # Safety
    ///
    /// The caller owns `self`, which is not `other`.
    pub unsafe fn append(&self, other: &LocalQueue<T>, count_max: u32) {
        debug_assert!(!ptr::eq(self, other), "a queue that robs itself");
        let own_head = self.head.load(Ordering::Acquire); // Q3: we are going to overwrite slots.
        let own_tail = self.tail.load(Ordering::Relaxed); // Only we store it (Q1).
        let room = CAPACITY as u32 - own_tail.wrapping_sub(own_head);
        loop {
            let head = other.head.load(Ordering::Acquire);
            let tail = other.tail.load(Ordering::Acquire); // Publishes the slots and items.
            let len = tail.wrapping_sub(head);
            let count = len.min(room).min(count_max);
            if count == 0 {
                return;
            }
            if len > CAPACITY as u32 {
                // More than any ring has: `head` and `tail` are from different moments.
                spin_loop();
                continue;
            }
            for i in 0..count {
                let item = other.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
                // Beyond our own tail: nobody looks there yet.
                self.slot(own_tail.wrapping_add(i))
                    .store(item, Ordering::Relaxed);
            }
            if other.claim(head, count) {
                // Publishes the slots, and hands on what `other.tail` published to us.
                self.tail
                    .store(own_tail.wrapping_add(count), Ordering::Release);
                return;
            }
        }
    }

    /// Takes the ring's oldest item, as a thief does: for any thread.
    pub fn steal_one(&self) -> Option<NonNull<T>> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire); // Publishes the slot and its item.
            if head == tail {
                return None;
            }
            let item = self.slot(head).load(Ordering::Relaxed);
            // It fails if `head` has moved since.
            if self.claim(head, 1) {
                debug_assert!(!item.is_null(), "an empty slot between head and tail");
                return NonNull::new(item);
            }
        }
    }

    /// A thief's claim to the `count` items from `head` on, which it has copied.
    fn claim(&self, head: u32, count: u32) -> bool {
        let next = head.wrapping_add(count);
        if cfg!(gort_fault = "local_head") {
            // The fault that loom must find: two consumers take the same items.
            self.head.store(next, Ordering::Release);
            return true;
        }
        // Release for Q3. Acquire is not needed: the items came with `tail`.
        self.head
            .compare_exchange(head, next, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes everything, `run_next` first, and gives each item to `f`.
    ///
    /// # Safety
    ///
    /// The caller owns the queue.
    pub unsafe fn drain(&self, mut f: impl FnMut(NonNull<T>)) {
        // SAFETY: the caller owns the queue.
        while let Some((item, _)) = unsafe { self.pop() } {
            f(item);
        }
    }

    #[inline]
    fn slot(&self, position: u32) -> &AtomicPtr<T> {
        &self.slots[position as usize % CAPACITY]
    }
}

impl<T> Default for LocalQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for LocalQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalQueue")
            .field("len", &self.len())
            .field("has_run_next", &self.has_run_next())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::random::XorShift;
    use std::{
        collections::VecDeque,
        sync::atomic::{AtomicBool, AtomicUsize},
        thread,
    };

    /// Items with addresses of their own; the queue never looks inside.
    fn items(count: usize) -> Vec<AtomicUsize> {
        (0..count).map(AtomicUsize::new).collect()
    }

    fn value(item: NonNull<AtomicUsize>) -> usize {
        // SAFETY: the tests keep their items alive in a `Vec` that does not move.
        unsafe { item.as_ref() }.load(Ordering::Relaxed)
    }

    /// Pushes `items` and expects room for all.
    fn fill(queue: &LocalQueue<AtomicUsize>, items: &[AtomicUsize]) {
        for item in items {
            // SAFETY: the test's one thread owns the queue; items outlive it.
            let pushed = unsafe { queue.push(NonNull::from(item)) };
            assert!(pushed, "the ring has room");
        }
    }

    /// What `item` takes with it out of a full ring.
    fn spill(queue: &LocalQueue<AtomicUsize>, item: &AtomicUsize) -> Vec<usize> {
        let mut out = Vec::new();
        // SAFETY: the test's one thread owns the queue; items outlive it.
        unsafe {
            assert!(!queue.push(NonNull::from(item)), "the ring is full");
            assert!(queue.push_or_spill(NonNull::from(item), |item| out.push(value(item))));
        }
        out
    }

    /// All that is left, in the order of `pop`.
    fn empty(queue: &LocalQueue<AtomicUsize>) -> Vec<usize> {
        let mut values = Vec::new();
        // SAFETY: the test's one thread owns the queue.
        unsafe { queue.drain(|item| values.push(value(item))) };
        assert!(queue.is_empty());
        values
    }

    #[test]
    fn s042_local_queue_is_fifo_up_to_256() {
        let items = items(256);
        let queue = LocalQueue::new();
        // Thrice, so that positions pass the ring's end.
        for _ in 0..3 {
            fill(&queue, &items);
            assert_eq!((queue.len(), queue.is_empty()), (256, false));
            assert!(empty(&queue).into_iter().eq(0..256));
        }
    }

    #[test]
    fn s043_overflow_moves_half_plus_one() {
        let items = items(257);
        let queue = LocalQueue::new();
        fill(&queue, &items[..256]);
        let out = spill(&queue, &items[256]);
        assert_eq!((out.len(), queue.len()), (129, 128));
        assert!(out.into_iter().eq((0..128).chain([256])));
        assert!(empty(&queue).into_iter().eq(128..256));
    }

    #[test]
    fn s044_run_next_displaces_to_tail() {
        let items = items(3);
        let queue = LocalQueue::new();
        for item in &items {
            // SAFETY: the test's one thread owns the queue; items outlive it.
            if let Some(displaced) = unsafe { queue.replace_run_next(NonNull::from(item)) } {
                fill(&queue, std::slice::from_ref(&items[value(displaced)]));
            }
        }
        assert!(queue.has_run_next());
        assert_eq!(queue.len(), 3);
        // SAFETY: the test's one thread owns the queue.
        let order: Vec<_> = std::iter::from_fn(|| unsafe { queue.pop() })
            .map(|(item, inherits)| (value(item), inherits))
            .collect();
        assert_eq!(order, [(2, true), (0, false), (1, false)]);
    }

    #[test]
    fn s049_steal_takes_larger_half() {
        let items = items(256);
        for n in 1..=256 {
            let victim = LocalQueue::new();
            let thief = LocalQueue::new();
            fill(&victim, &items[..n]);
            // SAFETY: the test's one thread owns both queues.
            let ran = unsafe { thief.steal_from(&victim, false) }.map(value);
            let stolen = n - n / 2;
            assert_eq!(ran, Some(stolen - 1));
            assert_eq!((thief.len(), victim.len()), (stolen - 1, n / 2));
            assert!(empty(&thief).into_iter().eq(0..stolen - 1));
            assert!(empty(&victim).into_iter().eq(stolen..n));
        }
    }

    #[test]
    fn positions_wrap_around() {
        let items = items(256);
        let before_the_end = || {
            let queue = LocalQueue::new();
            queue.head.store(u32::MAX - 5, Ordering::Relaxed);
            queue.tail.store(u32::MAX - 5, Ordering::Relaxed);
            queue
        };
        let (queue, thief) = (before_the_end(), before_the_end());
        fill(&queue, &items[..100]);
        assert_eq!((queue.len(), queue.is_empty()), (100, false));
        // SAFETY: the test's one thread owns both queues.
        let ran = unsafe { thief.steal_from(&queue, false) };
        assert_eq!(ran.map(value), Some(49));
        assert!(empty(&thief).into_iter().eq(0..49));
        assert!(empty(&queue).into_iter().eq(50..100));

        let queue = before_the_end();
        fill(&queue, &items);
        let out = spill(&queue, &items[0]);
        assert!(out.into_iter().eq((0..128).chain([0])));
        assert!(empty(&queue).into_iter().eq(128..256));
    }

    #[test]
    fn stealing_takes_no_more_than_the_thief_has_room_for() {
        let (theirs, ours) = (items(256), items(256));
        for own in [0, 100, 200, 255, 256] {
            let victim = LocalQueue::new();
            let thief = LocalQueue::new();
            fill(&victim, &theirs);
            fill(&thief, &ours[..own]);
            // SAFETY: the test's one thread owns both queues.
            let ran = unsafe { thief.steal_from(&victim, false) };
            let stolen = 128.min(256 - own + 1);
            assert_eq!(ran.map(value), Some(stolen - 1));
            assert_eq!(
                (thief.len(), victim.len()),
                (own + stolen - 1, 256 - stolen)
            );
            assert!(empty(&thief).into_iter().eq((0..own).chain(0..stolen - 1)));
            assert!(empty(&victim).into_iter().eq(stolen..256));
        }
    }

    #[test]
    fn all_are_appended_in_their_order_as_far_as_there_is_room() {
        let (theirs, ours) = (items(256), items(256));
        for n in [0, 1, 2, 128, 129, 255, 256] {
            for own in [0, 1, 200, 255, 256] {
                let (from, to) = (LocalQueue::new(), LocalQueue::new());
                fill(&from, &theirs[..n]);
                fill(&to, &ours[..own]);
                // SAFETY: the test's one thread owns both queues.
                unsafe { to.append(&from, 200) };
                let moved = n.min(256 - own).min(200);
                assert!(empty(&to).into_iter().eq((0..own).chain(0..moved)));
                assert!(empty(&from).into_iter().eq(moved..n));
            }
        }
    }

    #[test]
    fn anybody_takes_the_oldest_alone() {
        let items = items(3);
        let queue = LocalQueue::new();
        fill(&queue, &items);
        let order: Vec<_> = std::iter::from_fn(|| queue.steal_one())
            .map(value)
            .collect();
        assert_eq!(order, [0, 1, 2]);
        assert!(queue.is_empty());
    }

    #[test]
    fn run_next_is_stolen_only_on_request_and_only_from_an_empty_ring() {
        let items = items(2);
        let victim = LocalQueue::new();
        let thief = LocalQueue::new();
        // SAFETY: the test's one thread owns both queues; items outlive them.
        unsafe {
            assert!(victim.replace_run_next(NonNull::from(&items[0])).is_none());
            assert!(thief.steal_from(&victim, false).is_none());
            assert!(victim.push(NonNull::from(&items[1])));
            assert_eq!(thief.steal_from(&victim, true).map(value), Some(1));
            assert_eq!(thief.steal_from(&victim, true).map(value), Some(0));
            assert!(thief.steal_from(&victim, true).is_none());
        }
        assert!(thief.is_empty() && victim.is_empty());
    }

    #[test]
    fn run_next_and_the_ring_are_emptied_apart() {
        let items = items(2);
        let queue = LocalQueue::new();
        // SAFETY: the test's one thread owns the queue; items outlive it.
        unsafe {
            assert!(queue.take_run_next().is_none());
            assert!(queue.replace_run_next(NonNull::from(&items[0])).is_none());
            assert!(!queue.has_ring_work());
            fill(&queue, &items[1..]);
            assert!(queue.has_ring_work());
            assert_eq!(queue.take_run_next().map(value), Some(0));
            assert!(!queue.has_run_next() && queue.has_ring_work());
        }
        assert_eq!(empty(&queue), [1]);
        assert!(!queue.has_ring_work());
    }

    #[test]
    fn pop_ring_leaves_run_next_alone() {
        let items = items(2);
        let queue = LocalQueue::new();
        fill(&queue, &items[1..]);
        // SAFETY: the test's one thread owns the queue; items outlive it.
        unsafe {
            assert!(queue.replace_run_next(NonNull::from(&items[0])).is_none());
            assert_eq!(queue.pop_ring().map(value), Some(1));
            assert!(queue.pop_ring().is_none());
        }
        assert_eq!(empty(&queue), [0]);
    }

    #[test]
    fn sc08_each_length_goes_in_and_comes_out() {
        let items = items(256);
        let queue = LocalQueue::new();
        for n in 0..256 {
            // SAFETY: the test's one thread owns the queue.
            assert!(queue.is_empty() && unsafe { queue.pop() }.is_none());
            fill(&queue, &items[..n]);
            for i in 0..n {
                assert_eq!(queue.len(), n - i);
                // SAFETY: as above.
                let (item, inherits) = unsafe { queue.pop() }.expect("more are queued");
                assert_eq!((value(item), inherits), (i, false));
            }
        }
    }

    #[test]
    fn sc09_stealing_keeps_each_item_once() {
        let items = items(255);
        let victim = LocalQueue::new();
        let thief = LocalQueue::new();
        for n in 0..255 {
            fill(&victim, &items[..n]);
            // SAFETY: the test's one thread owns both queues.
            let ran = unsafe { thief.steal_from(&victim, false) };
            let mut seen: Vec<usize> = ran.into_iter().map(value).chain(empty(&thief)).collect();
            assert_eq!(seen.len(), n - n / 2);
            seen.extend(empty(&victim));
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n));
        }
    }

    #[test]
    fn sc10_an_observer_never_misses_what_was_there_all_the_time() {
        const ROUNDS: usize = if cfg!(miri) { 100 } else { 100_000 };
        let items = items(2);
        let queue = LocalQueue::new();
        // Counts arrivals; nobody goes on before both have arrived.
        let arrivals = AtomicUsize::new(0);
        let seen_empty = AtomicUsize::new(0);
        let put = |at: usize, next: bool| {
            let mut item = NonNull::from(&items[at]);
            // SAFETY: only the owner's thread calls this; items outlive the queue.
            unsafe {
                if next {
                    match queue.replace_run_next(item) {
                        Some(displaced) => item = displaced,
                        None => return,
                    }
                }
                assert!(queue.push(item), "the ring has room");
            }
        };
        let meet = |meeting: usize| {
            arrivals.fetch_add(1, Ordering::AcqRel);
            let mut spins = 0;
            while arrivals.load(Ordering::Acquire) < 2 * meeting {
                spins += 1;
                // On few processors the other thread needs ours.
                if spins % 256 == 0 {
                    thread::yield_now();
                }
                spin_loop();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    meet(2 * round + 1);
                    if queue.is_empty() {
                        seen_empty.fetch_add(1, Ordering::Relaxed);
                    }
                    meet(2 * round + 2);
                }
            });
            for round in 0..ROUNDS {
                put(0, round & 1 == 0);
                // Between the two meetings, one item is always there.
                meet(2 * round + 1);
                put(1, round & 2 == 0);
                // SAFETY: this thread owns the queue.
                assert!(unsafe { queue.pop() }.is_some());
                meet(2 * round + 2);
                // SAFETY: as above.
                assert!(unsafe { queue.pop() }.is_some());
                assert!(queue.is_empty());
            }
        });
        assert_eq!(seen_empty.into_inner(), 0);
    }

    #[test]
    fn thieves_and_owner_take_each_item_once() {
        const ITEMS: usize = if cfg!(miri) { 600 } else { 200_000 };
        const THIEVES: usize = 3;
        let items: Vec<AtomicUsize> = (0..ITEMS).map(|_| AtomicUsize::new(0)).collect();
        let queue = LocalQueue::new();
        let done = AtomicBool::new(false);
        let take = |item: NonNull<AtomicUsize>| {
            // SAFETY: items outlive the threads. Each is counted by who took it.
            unsafe { item.as_ref() }.fetch_add(1, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            for _ in 0..THIEVES {
                scope.spawn(|| {
                    let own = LocalQueue::new();
                    loop {
                        // Read before the attempt: after the last push, one more attempt is made.
                        let last = done.load(Ordering::Acquire);
                        // SAFETY: this thread owns `own`.
                        unsafe {
                            if let Some(item) = own.steal_from(&queue, true) {
                                take(item);
                                own.drain(take);
                            } else if last {
                                break;
                            }
                        }
                        thread::yield_now();
                    }
                });
            }
            let mut random = XorShift::new(0x5EED);
            for item in &items {
                let mut item = Some(NonNull::from(item));
                // SAFETY: this thread owns the queue; items outlive it.
                unsafe {
                    if random.below(4) == 0 {
                        item = item.and_then(|item| queue.replace_run_next(item));
                    }
                    if let Some(item) = item {
                        queue.push_or_spill(item, take);
                    }
                    if random.below(3) == 0
                        && let Some((item, _)) = queue.pop()
                    {
                        take(item);
                    }
                }
            }
            // SAFETY: this thread owns the queue.
            unsafe { queue.drain(take) };
            done.store(true, Ordering::Release);
        });
        for (i, item) in items.iter().enumerate() {
            assert_eq!(item.load(Ordering::Relaxed), 1, "item {i}");
        }
    }

    #[test]
    fn a_random_history_agrees_with_a_deque() {
        let mut random = XorShift::new(0x10CA1);
        let items = items(2000);
        let mut free: Vec<usize> = (0..items.len()).collect();
        let queue = LocalQueue::new();
        let mut ring: VecDeque<usize> = VecDeque::new();
        let mut run_next = None;
        for step in 0..200_000 {
            // Long runs of more pushes than pops, then of fewer, so that full and empty both occur.
            let push = random.below(10) < if step / 1000 % 2 == 0 { 6 } else { 4 };
            // SAFETY: the test's one thread owns the queue; items outlive it, and a free index
            // names an item in no queue.
            unsafe {
                if push {
                    let mut i = free.pop().expect("more items than the queue holds");
                    if random.below(4) == 0 {
                        let displaced = queue.replace_run_next(NonNull::from(&items[i]));
                        assert_eq!(displaced.map(value), run_next.replace(i));
                        match displaced {
                            Some(item) => i = value(item),
                            None => continue,
                        }
                    }
                    let full = ring.len() == CAPACITY;
                    ring.push_back(i);
                    if full {
                        let mut model: Vec<usize> = ring.drain(..HALF).collect();
                        model.extend(ring.pop_back());
                        assert_eq!(spill(&queue, &items[i]), model);
                        free.extend(model);
                    } else {
                        assert!(queue.push(NonNull::from(&items[i])));
                    }
                } else {
                    let popped = queue.pop().map(|(item, next)| (value(item), next));
                    let model = match run_next.take() {
                        Some(i) => Some((i, true)),
                        None => ring.pop_front().map(|i| (i, false)),
                    };
                    assert_eq!(popped, model);
                    free.extend(popped.map(|(i, _)| i));
                }
            }
            assert_eq!(queue.len(), ring.len() + usize::from(run_next.is_some()));
            assert_eq!(queue.is_empty(), ring.is_empty() && run_next.is_none());
        }
    }
}

//! A singly linked FIFO whose link lies in the item: queueing allocates nothing.
//!
//! The global run queue, free lists, and batches of goroutines on their way from a source of work
//! to a run queue are `List`s. Moving a whole list, or its front part, touches no item but the last.
//!
//! L1. An item is on at most one list at a time, for it has only one link.
//! L2. From the push to the pop, only the list touches the link; the item outlives that time.
//!
//! A list does not own its items: dropping it frees nothing. It is not for several threads at
//! once; who shares one puts a lock round it.
//!
//! Elsewhere: removal from the middle (`wait_list`).

use std::{fmt, marker::PhantomData, ptr::NonNull};

/// An item that carries the link of a [`List`].
///
/// # Safety
///
/// `next` returns what the last `set_next` stored, and null before the first. Nothing but a `List`
/// calls `set_next` while the item is on one (L2).
pub unsafe trait Linked {
    /// Reads the link.
    ///
    /// # Safety
    ///
    /// `this` points to a live item, and nobody writes its link at the same time.
    unsafe fn next(this: NonNull<Self>) -> *mut Self;

    /// Writes the link.
    ///
    /// # Safety
    ///
    /// `this` points to a live item, and nobody else reads or writes its link at the same time.
    unsafe fn set_next(this: NonNull<Self>, next: *mut Self);

    /// A long walk goes from `before` to `item` now: a hint, by which an item that lies as far on may be fetched into
    /// the caches. The next item's address is known only once this one's memory is there, so a walk through memory that
    /// is in no cache waits for one miss after the other.
    #[inline(always)]
    fn walks(before: NonNull<Self>, item: NonNull<Self>) {
        let _ = (before, item);
    }
}

/// A FIFO of items that are linked through themselves.
#[must_use = "a dropped list forgets its items"]
pub struct List<T: Linked> {
    head: Option<NonNull<T>>,
    /// The last item. Meaningful only while `head` is `Some`.
    tail: NonNull<T>,
    len: usize,
}

// SAFETY: a list is a way to reach its items and nothing more; sending it sends them. Items are
// reached by pointer only, and what the receiver may do with such a pointer is for `T: Send` to say.
unsafe impl<T: Linked + Send> Send for List<T> {}

impl<T: Linked> List<T> {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            head: None,
            tail: NonNull::dangling(),
            len: 0,
        }
    }

    /// The number of items.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds `item` behind all others.
    ///
    /// # Safety
    ///
    /// `item` is on no list (L1), and stays alive, its link untouched, until it is popped (L2).
    #[inline]
    pub unsafe fn push_back(&mut self, item: NonNull<T>) {
        // SAFETY: `item` is alive and on no list, so its link is nobody else's (the caller's word).
        unsafe { T::set_next(item, std::ptr::null_mut()) };
        match self.head {
            // SAFETY: the list is not empty, so `tail` is an item of ours: alive, its link ours (L2).
            Some(_) => unsafe { T::set_next(self.tail, item.as_ptr()) },
            None => self.head = Some(item),
        }
        self.tail = item;
        self.len += 1;
    }

    /// Adds `item` before all others.
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    #[inline]
    pub unsafe fn push_front(&mut self, item: NonNull<T>) {
        let next = match self.head {
            Some(head) => head.as_ptr(),
            None => {
                self.tail = item;
                std::ptr::null_mut()
            }
        };
        // SAFETY: `item` is alive and on no list, so its link is nobody else's (the caller's word).
        unsafe { T::set_next(item, next) };
        self.head = Some(item);
        self.len += 1;
    }

    /// Takes the first item.
    #[inline]
    pub fn pop_front(&mut self) -> Option<NonNull<T>> {
        let item = self.head?;
        // SAFETY: `item` is on this list, so it is alive and its link is ours (L2).
        self.head = unsafe { NonNull::new(T::next(item)) };
        self.len -= 1;
        // SAFETY: as above. The link is cleared so that a forgotten one cannot be followed later.
        unsafe { T::set_next(item, std::ptr::null_mut()) };
        Some(item)
    }

    /// Moves all of `other` behind the items of `self`, in constant time.
    pub fn append(&mut self, other: List<T>) {
        let Some(other_head) = other.head else { return };
        match self.head {
            // SAFETY: the list is not empty, so `tail` is an item of ours: alive, its link ours (L2).
            Some(_) => unsafe { T::set_next(self.tail, other_head.as_ptr()) },
            None => self.head = Some(other_head),
        }
        self.tail = other.tail;
        self.len += other.len;
    }

    /// Takes the first `count` items, or all if there are fewer, as a list of their own.
    ///
    /// Walks the part that is taken.
    pub fn split_off_front(&mut self, count: usize) -> List<T> {
        if count >= self.len {
            return std::mem::take(self);
        }
        let mut front = List::new();
        let mut items = self.iter().take(count);
        let Some(mut last) = items.next() else {
            return front;
        };
        for item in items {
            T::walks(last, item);
            last = item;
        }
        front.head = self.head;
        front.tail = last;
        front.len = count;
        // SAFETY: `last` is on this list, so it is alive and its link is ours (L2).
        self.head = unsafe { NonNull::new(T::next(last)) };
        self.len -= count;
        // SAFETY: as above; `last` is on `front` now, which is ours too.
        unsafe { T::set_next(last, std::ptr::null_mut()) };
        front
    }

    /// The items from first to last, which stay on the list.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            next: self.head,
            left: self.len,
            list: PhantomData,
        }
    }
}

impl<T: Linked> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Linked> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Takes the items one by one; what is not taken is forgotten.
impl<T: Linked> IntoIterator for List<T> {
    type Item = NonNull<T>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<'a, T: Linked> IntoIterator for &'a List<T> {
    type Item = NonNull<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// See [`List::into_iter`].
#[derive(Debug)]
pub struct IntoIter<T: Linked>(List<T>);

impl<T: Linked> Iterator for IntoIter<T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        self.0.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len, Some(self.0.len))
    }
}

impl<T: Linked> ExactSizeIterator for IntoIter<T> {}

/// See [`List::iter`].
pub struct Iter<'a, T: Linked> {
    next: Option<NonNull<T>>,
    /// How many are left. The links alone would do; the count ends a walk of a damaged list.
    left: usize,
    list: PhantomData<&'a List<T>>,
}

impl<T: Linked> Iterator for Iter<'_, T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        self.left = self.left.checked_sub(1)?;
        let item = self.next?;
        // SAFETY: `item` is on the list we borrow, so it is alive and nobody writes its link (L2).
        self.next = unsafe { NonNull::new(T::next(item)) };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Linked> ExactSizeIterator for Iter<'_, T> {}

impl<T: Linked> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.left).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::random::XorShift;
    use std::{cell::Cell, collections::VecDeque};

    struct Item {
        value: usize,
        next: Cell<*mut Item>,
        /// Whom a walk has come from.
        reached_from: Cell<Option<usize>>,
    }

    // SAFETY: `next` is the plain cell behind both functions, and only lists call `set_next`.
    unsafe impl Linked for Item {
        unsafe fn next(this: NonNull<Self>) -> *mut Self {
            // SAFETY: `this` is alive (the caller's word).
            unsafe { this.as_ref() }.next.get()
        }
        unsafe fn set_next(this: NonNull<Self>, next: *mut Self) {
            // SAFETY: `this` is alive (the caller's word).
            unsafe { this.as_ref() }.next.set(next);
        }
        fn walks(before: NonNull<Self>, item: NonNull<Self>) {
            // SAFETY: a walk goes from item to item of a list, all of which are alive.
            unsafe { item.as_ref() }
                .reached_from
                .set(Some(value(before)));
        }
    }

    fn items(count: usize) -> Vec<Item> {
        (0..count)
            .map(|value| Item {
                value,
                next: Cell::new(std::ptr::null_mut()),
                reached_from: Cell::new(None),
            })
            .collect()
    }

    /// A list of them all, in order. They outlive it.
    fn list_of(items: &[Item]) -> List<Item> {
        let mut list = List::new();
        for item in items {
            // SAFETY: each item is on no list yet and outlives `list`.
            unsafe { list.push_back(NonNull::from(item)) };
        }
        list
    }

    fn value(item: NonNull<Item>) -> usize {
        // SAFETY: the tests keep their items alive in a `Vec` that does not move.
        unsafe { item.as_ref() }.value
    }

    fn values(list: &List<Item>) -> Vec<usize> {
        list.iter().map(value).collect()
    }

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let items = items(5);
        let mut list = List::new();
        assert!(list.is_empty() && list.pop_front().is_none());
        list.append(list_of(&items));
        assert_eq!((list.len(), values(&list)), (5, vec![0, 1, 2, 3, 4]));
        assert_eq!(
            list.into_iter().map(value).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn split_off_front_takes_no_more_than_there_is() {
        let items = items(3);
        let mut list = list_of(&items);
        assert!(list.split_off_front(0).is_empty());
        let front = list.split_off_front(2);
        assert_eq!((values(&front), values(&list)), (vec![0, 1], vec![2]));
        let rest = list.split_off_front(9);
        assert_eq!((values(&rest), list.len()), (vec![2], 0));
        assert!(list.is_empty());
        // The emptied list takes items again.
        list.append(rest);
        list.append(front);
        assert_eq!(values(&list), [2, 0, 1]);
    }

    #[test]
    fn a_walk_tells_each_step() {
        let items = items(5);
        let mut list = list_of(&items);
        assert_eq!(values(&list.split_off_front(3)), [0, 1, 2]);
        let reached_from: Vec<_> = items.iter().map(|item| item.reached_from.get()).collect();
        assert_eq!(reached_from, [None, Some(0), Some(1), None, None]);
    }

    #[test]
    fn a_random_history_agrees_with_a_deque() {
        let mut random = XorShift::new(0x11A7);
        let items = items(64);
        let mut free: Vec<usize> = (0..items.len()).collect();
        let mut lists = [List::new(), List::new()];
        let mut models: [VecDeque<usize>; 2] = [VecDeque::new(), VecDeque::new()];
        for _ in 0..20_000 {
            let at = random.below(2);
            match random.below(6) {
                0 | 1 => {
                    if let Some(i) = free.pop() {
                        // SAFETY: a free index names an item on no list; items outlive the lists.
                        unsafe { lists[at].push_back(NonNull::from(&items[i])) };
                        models[at].push_back(i);
                    }
                }
                2 => {
                    if let Some(i) = free.pop() {
                        // SAFETY: as above.
                        unsafe { lists[at].push_front(NonNull::from(&items[i])) };
                        models[at].push_front(i);
                    }
                }
                3 => {
                    let popped = lists[at].pop_front().map(value);
                    assert_eq!(popped, models[at].pop_front());
                    free.extend(popped);
                }
                4 => {
                    let other = std::mem::take(&mut lists[1 - at]);
                    lists[at].append(other);
                    let other = std::mem::take(&mut models[1 - at]);
                    models[at].extend(other);
                }
                _ => {
                    let count = random.below(8);
                    let front = lists[at].split_off_front(count);
                    let count = count.min(models[at].len());
                    let model: Vec<usize> = models[at].drain(..count).collect();
                    assert_eq!(values(&front), model);
                    lists[1 - at].append(front);
                    models[1 - at].extend(model);
                }
            }
            for (list, model) in lists.iter().zip(&models) {
                assert_eq!(list.len(), model.len());
                assert!(list.iter().map(value).eq(model.iter().copied()));
            }
        }
    }
}

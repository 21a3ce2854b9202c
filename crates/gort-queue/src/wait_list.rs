//! A FIFO of waiters whose nodes are the waiters' own; any of them can leave in O(1).
//!
//! Channels and locks keep their waiters in such lists. The order is that of arrival; a waiter that
//! gives up (timeout, another `select` arm won) takes itself out of the middle.
//!
//! W1. A list and the links of its nodes are touched only under the lock of whatever the list
//!     belongs to. The links are behind a checked cell, so that loom notices if they are not.
//! W2. From the push until it is unlinked, a node stays where it is, alive, and nobody holds a `&mut`
//!     to it. Whoever sees it unlinked under the lock knows that no list will touch it again.
//! W3. A linked node says so; it is in exactly one list.
//!
//! A list may move while nodes are in it, for nodes do not point back: `std::mem::take` takes all
//! waiters of a closed channel at once.
//!
//! Elsewhere: who of several wakers wins (`claim`), the wake-up (`status`).
//! Checked by the tests below, against a deque, and by `tests/loom_wait_list.rs`.

use crate::facade::{UnsafeCell, const_unless_loom};
use std::{fmt, marker::PhantomData, marker::PhantomPinned, ptr::NonNull};

/// The place of one waiter in one list.
pub struct Node<T> {
    links: UnsafeCell<Links<T>>,
    /// The lists point here while it is linked (W2).
    _pin: PhantomPinned,
    /// What the waiter and its wakers share.
    pub data: T,
}

/// The part of a node that belongs to the list it is in, and is guarded by that list's lock.
struct Links<T> {
    /// In no list: [`NOWHERE`](Self::NOWHERE). A flag of its own would be a word of each waiter's cache line.
    prev: Option<NonNull<Node<T>>>,
    next: Option<NonNull<Node<T>>>,
}

impl<T> Links<T> {
    /// Where no node is.
    const NOWHERE: Option<NonNull<Node<T>>> = Some(NonNull::dangling());
    const UNLINKED: Self = Self {
        prev: Self::NOWHERE,
        next: None,
    };

    #[inline]
    fn is_linked(&self) -> bool {
        self.prev != Self::NOWHERE
    }
}

impl<T> Node<T> {
    const_unless_loom! {
        /// A node that is in no list.
        pub fn new(data: T) -> Self {
            Self {
                links: UnsafeCell::new(Links::UNLINKED),
                _pin: PhantomPinned,
                data,
            }
        }
    }

    /// Whether it is in a list.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of every list that the node may be in (W1).
    pub unsafe fn is_linked(&self) -> bool {
        // SAFETY: the lock (the caller's word) keeps writers of the links out.
        self.links.with(|links| unsafe { (*links).is_linked() })
    }
}

impl<T: fmt::Debug> fmt::Debug for Node<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the links: reading them takes a lock.
        f.debug_struct("Node")
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// Gives `f` the links of `node`.
///
/// # Safety
///
/// `node` is alive, and the caller holds the lock of the list it is in, or is about to be in (W1).
/// `f` does not come back here for the same node.
#[inline]
unsafe fn with_links<T, R>(node: NonNull<Node<T>>, f: impl FnOnce(&mut Links<T>) -> R) -> R {
    // SAFETY: `node` is alive (the caller's word). Only its links are borrowed, not its data, which
    // the waiter may be using. They are in a cell, so the waiter's `&Node` does not conflict.
    let links = unsafe { &(*node.as_ptr()).links };
    // SAFETY: the lock makes this the one access to the links (the caller's word).
    links.with_mut(|links| f(unsafe { &mut *links }))
}

/// Waiters in the order of their arrival.
pub struct WaitList<T> {
    head: Option<NonNull<Node<T>>>,
    tail: Option<NonNull<Node<T>>>,
    len: usize,
}

// SAFETY: a list reaches nodes of other threads wherever it is; the lock it is used under (W1), not
// the thread, makes that sound. It gives out pointers to `T`s, so `T` must bear being sent.
unsafe impl<T: Send> Send for WaitList<T> {}

impl<T> WaitList<T> {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            head: None,
            tail: None,
            len: 0,
        }
    }

    /// The number of waiters.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Who has waited longest; it stays in the list.
    #[inline]
    pub const fn front(&self) -> Option<NonNull<Node<T>>> {
        self.head
    }

    /// Adds a waiter behind all others.
    ///
    /// # Safety
    ///
    /// `node` is in no list, and keeps to W2 until it is unlinked. The caller holds the lock (W1).
    #[inline]
    pub unsafe fn push_back(&mut self, node: NonNull<Node<T>>) {
        // SAFETY: the caller's word, for `node` itself and its neighbours alike.
        unsafe { self.link_between(self.tail, node, None) };
    }

    /// Adds a waiter before all others: one that was woken in vain and keeps its turn.
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    #[inline]
    pub unsafe fn push_front(&mut self, node: NonNull<Node<T>>) {
        // SAFETY: the caller's word, for `node` itself and its neighbours alike.
        unsafe { self.link_between(None, node, self.head) };
    }

    /// Takes out who has waited longest.
    ///
    /// The node is the caller's to use until it lets the waiter go on; then it is gone.
    #[inline]
    pub fn pop_front(&mut self) -> Option<NonNull<Node<T>>> {
        let node = self.head?;
        // SAFETY: `node` is in this list, so alive (W2); whoever has `&mut self` holds the lock.
        let was_linked = unsafe { self.remove(node) };
        debug_assert!(was_linked, "a node in the list does not say so (W3)");
        Some(node)
    }

    /// Takes `node` out, wherever it is. False: it was out already.
    ///
    /// # Safety
    ///
    /// `node` is alive, and is in this list or in none. The caller holds the lock (W1).
    #[inline]
    pub unsafe fn remove(&mut self, node: NonNull<Node<T>>) -> bool {
        // SAFETY: `node` is alive and the lock is held (the caller's word).
        let (prev, next) = unsafe {
            match with_links(node, |links| {
                let old = std::mem::replace(links, Links::UNLINKED);
                old.is_linked().then_some((old.prev, old.next))
            }) {
                Some(neighbours) => neighbours,
                None => return false,
            }
        };
        match prev {
            // SAFETY: neighbours are in this list, so alive (W2), and the lock is held.
            Some(prev) => unsafe { with_links(prev, |links| links.next = next) },
            None => self.head = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { with_links(next, |links| links.prev = prev) },
            None => self.tail = prev,
        }
        self.len -= 1;
        true
    }

    /// The waiters from first to last, which stay in the list.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            next: self.head,
            left: self.len,
            list: PhantomData,
        }
    }

    /// # Safety
    ///
    /// As for `push_back`; `prev` and `next` are neighbours in this list, or `None` for its ends.
    #[inline]
    unsafe fn link_between(
        &mut self,
        prev: Option<NonNull<Node<T>>>,
        node: NonNull<Node<T>>,
        next: Option<NonNull<Node<T>>>,
    ) {
        // SAFETY: `node` is alive and in no list, and the lock is held (the caller's word).
        unsafe {
            with_links(node, |links| {
                assert!(!links.is_linked(), "a waiter is in two lists (W3)");
                *links = Links { prev, next };
            });
        }
        match prev {
            // SAFETY: neighbours are in this list, so alive (W2), and the lock is held.
            Some(prev) => unsafe { with_links(prev, |links| links.next = Some(node)) },
            None => self.head = Some(node),
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { with_links(next, |links| links.prev = Some(node)) },
            None => self.tail = Some(node),
        }
        self.len += 1;
    }
}

impl<T> Default for WaitList<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for WaitList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T> IntoIterator for &'a WaitList<T> {
    type Item = NonNull<Node<T>>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// See [`WaitList::iter`].
pub struct Iter<'a, T> {
    next: Option<NonNull<Node<T>>>,
    /// How many are left. The links alone would do; the count ends a walk of a damaged list.
    left: usize,
    list: PhantomData<&'a WaitList<T>>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = NonNull<Node<T>>;

    fn next(&mut self) -> Option<NonNull<Node<T>>> {
        self.left = self.left.checked_sub(1)?;
        let node = self.next?;
        // SAFETY: `node` is in the list we borrow, so alive (W2); whoever has the list holds the lock.
        self.next = unsafe { with_links(node, |links| links.next) };
        Some(node)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.left).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::random::XorShift;
    use std::collections::VecDeque;

    fn nodes(count: usize) -> Vec<Node<usize>> {
        (0..count).map(Node::new).collect()
    }

    fn value(node: NonNull<Node<usize>>) -> usize {
        // SAFETY: the tests keep their nodes alive in a `Vec` that does not move.
        unsafe { node.as_ref() }.data
    }

    /// Walks the list both ways and compares it with `expected`.
    fn check(list: &WaitList<usize>, expected: impl DoubleEndedIterator<Item = usize> + Clone) {
        assert!(list.iter().map(value).eq(expected.clone()));
        assert_eq!(list.len(), expected.clone().count());
        assert_eq!(list.is_empty(), expected.clone().next().is_none());
        assert_eq!(list.front().map(value), expected.clone().next());
        let backwards = std::iter::successors(list.tail, |node| {
            // SAFETY: the node is in the list, so alive; the test has one thread.
            unsafe { with_links(*node, |links| links.prev) }
        });
        assert!(backwards.map(value).eq(expected.rev()));
    }

    #[test]
    fn waiters_leave_in_the_order_of_arrival() {
        let nodes = nodes(3);
        let mut list = WaitList::new();
        check(&list, 0..0);
        for node in &nodes {
            // SAFETY: each node is in no list and outlives it; the test has one thread.
            unsafe { list.push_back(NonNull::from(node)) };
        }
        check(&list, 0..3);
        for i in 0..3 {
            assert_eq!(list.pop_front().map(value), Some(i));
        }
        assert!(list.pop_front().is_none());
        check(&list, 0..0);
    }

    #[test]
    fn a_waiter_leaves_once() {
        let nodes = nodes(2);
        let mut list = WaitList::new();
        let [first, second] = [0, 1].map(|i| NonNull::from(&nodes[i]));
        // SAFETY: nodes are pushed while in no list and outlive it; the test has one thread.
        unsafe {
            assert!(!list.remove(first), "it never was in");
            list.push_back(first);
            list.push_back(second);
            assert!(first.as_ref().is_linked());
            assert!(list.remove(first));
            assert!(!first.as_ref().is_linked());
            assert!(!list.remove(first));
            check(&list, 1..2);
            assert_eq!(list.pop_front(), Some(second));
            assert!(!list.remove(second), "the waker was faster");
            list.push_front(first);
            check(&list, 0..1);
        }
    }

    #[test]
    #[should_panic(expected = "two lists")]
    fn a_node_is_in_one_list() {
        let node = Node::new(());
        let (mut list, mut other) = (WaitList::new(), WaitList::new());
        // SAFETY: the node outlives both lists; the second push is the error that is caught.
        unsafe {
            list.push_back(NonNull::from(&node));
            other.push_back(NonNull::from(&node));
        }
    }

    #[test]
    fn a_list_moves_with_its_waiters() {
        let nodes = nodes(4);
        let mut list = WaitList::new();
        for node in &nodes {
            // SAFETY: each node is in no list and outlives it; the test has one thread.
            unsafe { list.push_back(NonNull::from(node)) };
        }
        let mut taken = std::mem::take(&mut list);
        check(&list, 0..0);
        // SAFETY: the node is in `taken`.
        assert!(unsafe { taken.remove(NonNull::from(&nodes[0])) });
        check(&taken, 1..4);
    }

    #[test]
    fn a_random_history_agrees_with_a_deque() {
        let mut random = XorShift::new(0x3A17);
        let nodes = nodes(32);
        let mut free: Vec<usize> = (0..nodes.len()).collect();
        let mut list = WaitList::new();
        let mut model: VecDeque<usize> = VecDeque::new();
        for step in 0..20_000 {
            // Grow for a while, then shrink.
            let grow = random.below(10) < if step / 200 % 2 == 0 { 7 } else { 3 };
            // SAFETY: a free index names a node in no list; all outlive it; there is one thread.
            unsafe {
                if grow && let Some(i) = free.pop() {
                    if random.below(4) == 0 {
                        list.push_front(NonNull::from(&nodes[i]));
                        model.push_front(i);
                    } else {
                        list.push_back(NonNull::from(&nodes[i]));
                        model.push_back(i);
                    }
                } else if random.below(2) == 0 {
                    let popped = list.pop_front().map(value);
                    assert_eq!(popped, model.pop_front());
                    free.extend(popped);
                } else {
                    // Any node, whether it is in the list or not.
                    let i = random.below(nodes.len());
                    let at = model.iter().position(|&j| j == i);
                    assert_eq!(nodes[i].is_linked(), at.is_some());
                    assert_eq!(list.remove(NonNull::from(&nodes[i])), at.is_some());
                    free.extend(at.and_then(|at| model.remove(at)));
                }
            }
            check(&list, model.iter().copied());
        }
    }
}

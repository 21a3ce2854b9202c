//! Who waits for which lock: one table for the process, so that a lock is a word and no more.
//!
//! A waiter is a node on the waiting goroutine's own stack. The table hashes the *key* of a queue (an
//! address inside the lock) to one of 256 buckets. A bucket has a lock and a treap with one entry per
//! key; the entry is the first waiter, the others of its key hang behind it in arrival order. So a
//! dequeue costs O(1) for its own queue and O(log n) over the other keys of the bucket (Go's
//! `semaRoot`).
//!
//! The rule: **a lock changes its "somebody waits" bits, and decides to wait or to wake, while its
//! bucket is locked.** Then "is it still taken?" and "queue me" are one step, no wake-up can fall
//! between them, and nothing has to count wake-ups that are under way. Go instead counts them in a
//! semaphore word; with timeouts that leaves units which nobody takes (a waiter gives up while its
//! wake-up is on the way), and the locks are twice as large. Rejected for both reasons.
//!
//! Wake-ups decided under the lock are acted on after it: [`Bucket::pop`] only moves the waiter to a
//! list in the guard, and the guard's drop unlocks first and then calls `ready` for each.
//!
//! W1. A node is in the table from [`Bucket::wait`] until it is removed under the bucket's lock, by a
//!     waker or, after a timeout, by its owner.
//! W2. The owner of a node leaves `wait` only (a) after the `ready` of the waker that removed the node,
//!     or (b) with the bucket locked and the node removed. So nodes in the table, and nodes in a
//!     guard's wake list, are alive.
//! W3. A waiter with a deadline, or that may be called off, has several possible wakers. Its claim word
//!     decides: a waker that removes a node and loses the claim drops it and looks at the next.
//! W4. The first waiter of a key is in the treap, no other is; it alone has valid `left`, `right` and
//!     `last`. The treap is a search tree over keys and a heap over `priority(key)`.
//!
//! Elsewhere: when to wait and whom to wake, which each lock decides (`raw_*.rs`).
//! Checked by the tests below; the locks' models run over a simpler table with the same interface.

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr;

use gort_core::cancel::Cancellation;
use gort_core::g::{self, GRef};
use gort_core::lock;
use gort_queue::claim::Round;

use super::holder::HeldBy;
use super::{WaitReason, sched};

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// The claim code of a waker (the timer's is `gort_queue::claim::TIMED_OUT`).
const CLAIMED_BY_WAKER: u32 = 1;

/// The name of a queue: an address inside the lock it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key(usize);

impl Key {
    /// The main queue of `lock`.
    #[inline]
    pub(super) fn of<T>(lock: &T) -> Key {
        Key(ptr::from_ref(lock).addr())
    }

    /// A second queue of a lock that is at least two bytes large and aligned to two. It lies in the
    /// same bucket as the first.
    #[inline]
    pub(super) fn second_of<T>(lock: &T) -> Key {
        const { assert!(size_of::<T>() >= 2 && align_of::<T>() >= 2) };
        Key(ptr::from_ref(lock).addr() + 1)
    }

    /// Both keys of a lock are in one 8-byte granule, so they share a bucket.
    #[inline]
    fn bucket(self) -> usize {
        ((self.0 >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BUCKETS.ilog2())) % BUCKETS
    }

    /// The key's rank in the treap's heap order: a second hash, independent of the first, so that the
    /// tree is balanced as if keys came in random order.
    #[inline]
    fn priority(self) -> usize {
        self.0
            .wrapping_mul(0xD6E8_FEB8_6659_FD93)
            .rotate_left(32)
            .wrapping_mul(0xCA9B_0C7E_BA1D_A115)
    }
}

/// Go has 251; a power of two saves the division.
const BUCKETS: usize = 256;

/// A bucket per cache line, so that two locks meet only when they hash alike.
#[repr(align(64))]
struct Slot(lock::Mutex<Tree>);

static TABLE: [Slot; BUCKETS] = [const { Slot(lock::Mutex::new(Tree::new())) }; BUCKETS];

/// One waiting goroutine (or plain thread).
struct Waiter {
    g: GRef,
    key: Key,
    /// The round of the claim, if W3 concerns it.
    round: Option<Round>,
    /// From the waiter to the waker: what it asks for. From the waker to the waiter: what it got.
    word: Cell<u64>,
    in_table: Cell<bool>,
    held_by: HeldBy,
    next: Cell<*const Waiter>,
    prev: Cell<*const Waiter>,
    /// W4.
    last: Cell<*const Waiter>,
    left: Cell<*const Waiter>,
    right: Cell<*const Waiter>,
}

impl Waiter {
    /// The waiter at a link.
    ///
    /// # Safety
    ///
    /// `link` is null or a node that W1 or W2 keeps alive for `'a`.
    #[inline]
    unsafe fn at<'a>(link: *const Waiter) -> Option<&'a Waiter> {
        // SAFETY: as the caller promises.
        unsafe { link.as_ref() }
    }

    /// Settles that we wake it. False: its timer was faster.
    fn claim(&self) -> bool {
        match self.round {
            None => true,
            Some(round) => self.g.claim().try_claim(round, CLAIMED_BY_WAKER),
        }
    }
}

/// The queues of one bucket.
struct Tree {
    root: Cell<*const Waiter>,
}

// SAFETY: the tree refers to nodes on other stacks; they are alive (W2), hold nothing tied to a
// thread, and are touched under the bucket's lock only.
unsafe impl Send for Tree {}

impl Tree {
    const fn new() -> Tree {
        Tree {
            root: Cell::new(ptr::null()),
        }
    }

    /// The link that points to the first waiter of `key`.
    fn find(&self, key: Key) -> Option<(&Cell<*const Waiter>, &Waiter)> {
        let mut link = &self.root;
        // SAFETY: links in the tree name nodes in the table (W1, W2).
        while let Some(node) = unsafe { Waiter::at(link.get()) } {
            if node.key == key {
                return Some((link, node));
            }
            link = if key < node.key {
                &node.left
            } else {
                &node.right
            };
        }
        None
    }

    fn push(&self, waiter: &Waiter, front: bool) {
        waiter.in_table.set(true);
        waiter.next.set(ptr::null());
        waiter.prev.set(ptr::null());
        match self.find(waiter.key) {
            None => {
                waiter.last.set(waiter);
                self.insert(waiter);
            }
            Some((link, first)) if front => {
                waiter.next.set(first);
                first.prev.set(waiter);
                waiter.last.set(first.last.get());
                Tree::replace(link, first, waiter);
            }
            Some((_, first)) => {
                // SAFETY: W4: the first waiter's `last` is in the table.
                let last = unsafe { Waiter::at(first.last.get()) }.expect("W4: a queue has a last");
                last.next.set(waiter);
                waiter.prev.set(last);
                first.last.set(waiter);
            }
        }
    }

    /// Takes a waiter that is in the table out of it.
    fn remove(&self, waiter: &Waiter) {
        debug_assert!(waiter.in_table.get());
        waiter.in_table.set(false);
        let (link, first) = self
            .find(waiter.key)
            .expect("W4: a waiter's key is in the treap");
        // SAFETY: both neighbours, where there are any, are in the table.
        let (prev, next) =
            unsafe { (Waiter::at(waiter.prev.get()), Waiter::at(waiter.next.get())) };
        match (prev, next) {
            (None, None) => Tree::merge(link, waiter.left.get(), waiter.right.get()),
            (None, Some(next)) => {
                next.prev.set(ptr::null());
                next.last.set(waiter.last.get());
                Tree::replace(link, waiter, next);
            }
            (Some(prev), None) => {
                prev.next.set(ptr::null());
                first.last.set(prev);
            }
            (Some(prev), Some(next)) => {
                prev.next.set(next);
                next.prev.set(prev);
            }
        }
    }

    /// Puts the first waiter of a new key into the treap.
    fn insert(&self, new: &Waiter) {
        let mut link = &self.root;
        // SAFETY: links in the tree name nodes in the table.
        while let Some(node) = unsafe { Waiter::at(link.get()) } {
            if node.key.priority() < new.key.priority() {
                break;
            }
            link = if new.key < node.key {
                &node.left
            } else {
                &node.right
            };
        }
        // Here `new` takes the place of a subtree, which is split by key into its two sides.
        let mut rest = link.get();
        link.set(new);
        let (mut low, mut high) = (&new.left, &new.right);
        // SAFETY: as above.
        while let Some(node) = unsafe { Waiter::at(rest) } {
            if node.key < new.key {
                low.set(node);
                low = &node.right;
                rest = low.get();
            } else {
                high.set(node);
                high = &node.left;
                rest = high.get();
            }
        }
        low.set(ptr::null());
        high.set(ptr::null());
    }

    /// Lets `new` stand for `old`'s key; the key is the same, so the tree's shape stays.
    fn replace(link: &Cell<*const Waiter>, old: &Waiter, new: &Waiter) {
        new.left.set(old.left.get());
        new.right.set(old.right.get());
        link.set(new);
    }

    /// Calls `f` with all waiters.
    fn each<'a>(&'a self, f: &mut impl FnMut(&'a Waiter)) {
        Tree::each_below(self.root.get(), f);
    }

    fn each_below<'a>(link: *const Waiter, f: &mut impl FnMut(&'a Waiter)) {
        // SAFETY: links in the tree name nodes in the table.
        let Some(first) = (unsafe { Waiter::at(link) }) else {
            return;
        };
        Tree::each_below(first.left.get(), f);
        let mut at = Some(first);
        while let Some(waiter) = at {
            f(waiter);
            // SAFETY: the neighbour, if there is one, is in the table.
            at = unsafe { Waiter::at(waiter.next.get()) };
        }
        Tree::each_below(first.right.get(), f);
    }

    /// Joins two subtrees, all keys of the first below those of the second, at `link`.
    fn merge(mut link: &Cell<*const Waiter>, mut low: *const Waiter, mut high: *const Waiter) {
        // SAFETY: links in the tree name nodes in the table.
        while let (Some(a), Some(b)) = unsafe { (Waiter::at(low), Waiter::at(high)) } {
            if a.key.priority() >= b.key.priority() {
                link.set(a);
                link = &a.right;
                low = link.get();
            } else {
                link.set(b);
                link = &b.left;
                high = link.get();
            }
        }
        link.set(if low.is_null() { high } else { low });
    }
}

/// A goroutine that waits for a lock, at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    /// Its number.
    pub(crate) waiter: u64,
    /// The lock's address.
    pub(crate) lock: usize,
    /// The low half of the number of whoever has locked it; 0 for a plain thread.
    pub(crate) holder: u32,
    /// Where that was, if it is known.
    pub(crate) held_at: Option<&'static Location<'static>>,
}

/// All goroutines that wait for a lock that somebody holds. Others go on meanwhile.
pub(crate) fn blocked() -> Vec<Blocked> {
    let mut all = Vec::new();
    for slot in &TABLE {
        let before = all.len();
        loop {
            // Nothing is allocated while the bucket is locked.
            let mut has_room = true;
            slot.0.lock().each(&mut |waiter| {
                // SAFETY: the waiter is in the table, so it waits for the lock (W2).
                let held = unsafe { waiter.held_by.read() };
                if let Some((holder, held_at)) = held.filter(|_| waiter.g.is_goroutine()) {
                    has_room &= all.len() < all.capacity();
                    if has_room {
                        all.push(Blocked {
                            waiter: waiter.g.id(),
                            // Both keys of a lock stand for it.
                            lock: waiter.key.0 & !1,
                            holder,
                            held_at,
                        });
                    }
                }
            });
            if has_room {
                break;
            }
            all.truncate(before);
            all.reserve(all.capacity().max(64));
        }
    }
    all
}

/// How to wait.
pub(super) struct Wait<'a> {
    pub(super) reason: WaitReason,
    pub(super) deadline_ns: u64,
    /// Ends the wait as the deadline does.
    pub(super) cancellation: Option<&'a Cancellation>,
    /// Before those that already wait.
    pub(super) front: bool,
    /// For the waker to see (`pop_if`).
    pub(super) asks: u64,
    /// For reports.
    pub(super) held_by: HeldBy,
}

impl Wait<'_> {
    /// At the back of the queue, asking for nothing special.
    #[inline]
    pub(super) fn new(reason: WaitReason, deadline_ns: u64) -> Self {
        Wait {
            reason,
            deadline_ns,
            cancellation: None,
            front: false,
            asks: 0,
            held_by: HeldBy::Nobody,
        }
    }
}

/// How a wait ended.
#[must_use]
pub(super) enum Woken {
    /// A waker popped us and granted this.
    Granted(u64),
    /// The deadline passed, or it was called off. We are out of the queue, and the bucket is locked again.
    TimedOut(Bucket),
}

/// A locked bucket. Its drop unlocks, and then wakes whom `pop` took.
pub(super) struct Bucket {
    tree: ManuallyDrop<lock::MutexGuard<'static, Tree>>,
    index: usize,
    /// Popped waiters, linked by `next`, in order.
    wake_first: *const Waiter,
    wake_last: *const Waiter,
}

/// Locks the bucket that holds all queues of the lock that `key` belongs to.
#[inline]
pub(super) fn lock(key: Key) -> Bucket {
    let index = key.bucket();
    Bucket {
        tree: ManuallyDrop::new(TABLE[index].0.lock()),
        index,
        wake_first: ptr::null(),
        wake_last: ptr::null(),
    }
}

/// As [`lock`], for a caller that may then wait: a plain thread gets its descriptor before the lock
/// is taken, since that allocates.
#[inline]
pub(super) fn lock_to_wait(key: Key) -> Bucket {
    g::ensure_current();
    lock(key)
}

impl Bucket {
    /// Whether nobody is queued at `key`.
    pub(super) fn is_empty(&self, key: Key) -> bool {
        self.tree.find(key).is_none()
    }

    /// Takes the first waiter of `key` that has not timed out, to be woken with `grant`.
    pub(super) fn pop(&mut self, key: Key, grant: u64) -> bool {
        self.pop_if(key, grant, |_| true).is_some()
    }

    /// Takes all waiters of `key`, to be woken with `grant`. Tells how many.
    pub(super) fn pop_all(&mut self, key: Key, grant: u64) -> usize {
        let mut count = 0;
        while self.pop(key, grant) {
            count += 1;
        }
        count
    }

    /// As [`pop`](Self::pop), if `suits` says so of what the first waiter asks for, which is returned.
    pub(super) fn pop_if(
        &mut self,
        key: Key,
        grant: u64,
        suits: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        debug_assert_eq!(key.bucket(), self.index);
        while let Some((_, first)) = self.tree.find(key) {
            let first = ptr::from_ref(first);
            // SAFETY: in the table until the line below the claim, and on the wake list after it (W2).
            let first = unsafe { &*first };
            let asks = first.word.get();
            if !suits(asks) {
                return None;
            }
            self.tree.remove(first);
            if first.claim() {
                first.word.set(grant);
                self.wake_later(first);
                return Some(asks);
            }
            // W3: its timer won; it sees that it is out of the table once it has the lock.
        }
        None
    }

    fn wake_later(&mut self, waiter: &Waiter) {
        waiter.next.set(ptr::null());
        // SAFETY: a node on the wake list is alive until its `ready` (W2).
        match unsafe { Waiter::at(self.wake_last) } {
            None => self.wake_first = waiter,
            Some(last) => last.next.set(waiter),
        }
        self.wake_last = waiter;
    }

    /// Queues the caller at `key`, unlocks, and parks until a waker pops it or the deadline passes.
    #[track_caller]
    pub(super) fn wait(self, key: Key, how: Wait<'_>) -> Woken {
        self.wait_after(key, how, || {})
    }

    /// As [`wait`](Self::wait), and runs `last_act` once the bucket is unlocked, before parking.
    /// `last_act` must neither park nor unwind: the caller is queued already.
    #[track_caller]
    pub(super) fn wait_after(self, key: Key, how: Wait<'_>, last_act: impl FnOnce()) -> Woken {
        debug_assert_eq!(key.bucket(), self.index);
        let g = g::current();
        let waiter = Waiter {
            g,
            key,
            round: (how.deadline_ns != NEVER || how.cancellation.is_some())
                .then(|| g.claim().open()),
            word: Cell::new(how.asks),
            in_table: Cell::new(false),
            held_by: how.held_by,
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
            left: Cell::new(ptr::null()),
            right: Cell::new(ptr::null()),
        };
        self.tree.push(&waiter, how.front);
        drop(self);
        last_act();
        match waiter.round {
            None => sched::park(how.reason),
            Some(round) => {
                let woken = match how.cancellation {
                    None => sched::park_until(how.reason, round, how.deadline_ns),
                    Some(it) => it.park_until(how.reason, round, how.deadline_ns),
                };
                if woken == sched::Woken::TimedOut {
                    let bucket = lock(key);
                    if waiter.in_table.get() {
                        bucket.tree.remove(&waiter);
                    }
                    return Woken::TimedOut(bucket);
                }
            }
        }
        debug_assert!(!waiter.in_table.get());
        Woken::Granted(waiter.word.get())
    }
}

impl Drop for Bucket {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped once, here; `tree` is not used below.
        unsafe { ManuallyDrop::drop(&mut self.tree) };
        let mut link = self.wake_first;
        // SAFETY: a node on the wake list is alive until its `ready` (W2). `next` is read before.
        while let Some(waiter) = unsafe { Waiter::at(link) } {
            link = waiter.next.get();
            sched::ready(waiter.g);
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use super::*;

    fn waiter(key: usize, id: u64) -> Box<Waiter> {
        Box::new(Waiter {
            g: g::current(),
            key: Key(key),
            round: None,
            word: Cell::new(id),
            in_table: Cell::new(false),
            held_by: HeldBy::Nobody,
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
            left: Cell::new(ptr::null()),
            right: Cell::new(ptr::null()),
        })
    }

    /// Checks W4 for the subtree and gives its height.
    fn check(link: *const Waiter, low: usize, high: usize) -> usize {
        // SAFETY: the tests keep what is in the tree alive.
        let Some(node) = (unsafe { Waiter::at(link) }) else {
            return 0;
        };
        assert!((low..high).contains(&node.key.0));
        // SAFETY: as above.
        for child in [node.left.get(), node.right.get()].map(|child| unsafe { Waiter::at(child) }) {
            assert!(child.is_none_or(|child| child.key.priority() <= node.key.priority()));
        }
        1 + check(node.left.get(), low, node.key.0).max(check(
            node.right.get(),
            node.key.0 + 1,
            high,
        ))
    }

    /// The ids queued at `key`, from the links; the links backwards are checked too.
    fn queued(tree: &Tree, key: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        let Some((_, first)) = tree.find(Key(key)) else {
            return ids;
        };
        let (mut link, mut before) = (ptr::from_ref(first), ptr::null());
        // SAFETY: as above.
        while let Some(node) = unsafe { Waiter::at(link) } {
            assert_eq!(node.prev.get(), before);
            ids.push(node.word.get());
            (before, link) = (link, node.next.get());
        }
        assert_eq!(first.last.get(), before);
        ids
    }

    #[test]
    fn the_tree_agrees_with_a_map_of_queues() {
        let tree = Tree::new();
        let mut model: BTreeMap<usize, VecDeque<Box<Waiter>>> = BTreeMap::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for id in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let key = (random >> 20) as usize % 97;
            let queue = model.entry(key).or_default();
            match random % 5 {
                0 | 1 => {
                    let new = waiter(key, id);
                    tree.push(&new, false);
                    queue.push_back(new);
                }
                2 => {
                    let new = waiter(key, id);
                    tree.push(&new, true);
                    queue.push_front(new);
                }
                _ if !queue.is_empty() => {
                    let index = (random >> 40) as usize % queue.len();
                    let old = queue.remove(index).expect("in range");
                    tree.remove(&old);
                    assert!(!old.in_table.get());
                }
                _ => {}
            }
            let expected: Vec<u64> = model[&key].iter().map(|waiter| waiter.word.get()).collect();
            assert_eq!(queued(&tree, key), expected);
            check(tree.root.get(), 0, usize::MAX);
        }
    }

    #[test]
    fn the_tree_stays_flat() {
        // Addresses as an allocator gives them: ascending, at a fixed distance.
        let tree = Tree::new();
        let waiters: Vec<_> = (0..4096)
            .map(|i| waiter(0x7f00_0000_0000 + 48 * i, 0))
            .collect();
        waiters.iter().for_each(|waiter| tree.push(waiter, false));
        // A random tree of 4,096 is about 30 high.
        let height = check(tree.root.get(), 0, usize::MAX);
        assert!(height < 60, "height {height}");
        waiters.iter().for_each(|waiter| tree.remove(waiter));
        assert!(tree.root.get().is_null());
    }

    #[test]
    fn sc18_many_waiters_at_two_keys_of_one_bucket_keep_apart() {
        const EACH: usize = 1000;
        let ours = Key(0x7f00_0000_0000);
        let theirs = (1..)
            .map(|i| Key(ours.0 + 8 * i))
            .find(|key| key.bucket() == ours.bucket())
            .expect("there are fewer buckets than addresses");
        let tree = Tree::new();
        let queue_at = |key: Key| -> VecDeque<Box<Waiter>> {
            let waiters = (0..EACH).map(|id| waiter(key.0, id as u64));
            waiters.inspect(|waiter| tree.push(waiter, false)).collect()
        };
        let (mut our_queue, mut their_queue) = (queue_at(ours), queue_at(theirs));
        // However many wait, there is one node for each key: who comes first is found without a walk
        // along its queue, and taken off without one.
        assert_eq!(check(tree.root.get(), 0, usize::MAX), 2);
        while let Some(next) = our_queue.pop_front() {
            let (_, first) = tree.find(ours).expect("somebody waits");
            assert!(ptr::eq(first, &*next), "in order, and none of theirs");
            tree.remove(first);
            assert!(check(tree.root.get(), 0, usize::MAX) <= 2);
        }
        assert!(tree.find(ours).is_none());
        assert_eq!(queued(&tree, theirs.0).len(), EACH);
        while let Some(next) = their_queue.pop_front() {
            tree.remove(&next);
        }
        assert!(tree.root.get().is_null());
    }

    #[test]
    fn neighbours_spread_over_the_buckets() {
        let mut hits = [0; BUCKETS];
        (0..16 * BUCKETS).for_each(|i| hits[Key(0x5555_0000_1000 + 24 * i).bucket()] += 1);
        assert!(hits.iter().all(|&hits| hits < 64), "{hits:?}");
    }
}

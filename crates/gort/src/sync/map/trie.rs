//! The structure of [`Map`](super::Map): a hash trie whose leaves are replaced, never changed.
//!
//! Each slot of a node holds a [`Link`], which is one word:
//!
//! | link  | to                                       | becomes                                          |
//! |-------|------------------------------------------|--------------------------------------------------|
//! | empty | nothing                                  | item                                             |
//! | item  | one pair of key and value                | empty, another item, group                       |
//! | group | up to [`GROUP_MAX`] items, by their hash | item, another group, node                        |
//! | node  | 64 slots for the next six bits           | never anything else, until the map is dropped    |
//!
//! Every change is one exchange of one slot, from the leaf that the writer has looked at to the one that
//! it has built from it. So an operation takes place at an instant, none waits for another, and the
//! user's `Eq`, `Hash`, `Clone` and `Drop` run while nothing is locked: they may park, panic, or use the
//! map. A writer that loses the exchange looks again, with another leaf, so `Eq` may run more than once.
//!
//! Leaves are counted and protected by `hazard`. Nodes need no protection as they stay: what was once
//! crowded keeps its slots, as a `HashMap` keeps its capacity. They cannot pile up behind keys that come
//! and go: a node takes five keys that are alive at once and alike in all bits before it.
//!
//! T1. An item is in the slots that the bits of its hash lead to, and in no other: in one leaf, once.
//! T2. Items of a leaf differ in their keys.
//! T3. A group has one share for its slot, and one for each reader whose loan was settled; its items have
//!     one each for the group. So a protected leaf protects its items.
//! T4. Whoever takes a link out of a slot has the slot's share. It settles the loans before it gives up
//!     that share.
//!
//! Elsewhere: items and their shares (`item`), loans (`hazard`).
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/sync/map.rs`, MP01 to MP06.

use std::alloc::{self, Layout, handle_alloc_error};
use std::borrow::Borrow;
use std::cell::Cell;
use std::iter;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ops::{ControlFlow, Deref};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::{self, NonNull};
use std::slice;

use super::atomic::{AtomicPtr, AtomicU32, Ordering};
use super::hazard::{Held, Loans, Shared};
use super::item::{Item, NewItem};

/// Go's has 4: a level more costs more than the empty slots do (measured: `map`).
const NODE_BITS: u32 = if cfg!(loom) { 1 } else { 6 };
/// More than this many keys in one slot become a node, as long as there are bits.
const GROUP_MAX: usize = if cfg!(loom) { 2 } else { 4 };

/// One word that leads to a leaf or a node.
type Slot = AtomicPtr<()>;

/// Slots for the next bits of the hash.
struct Node([Slot; 1 << NODE_BITS]);

/// The head of a group; `len` items follow.
#[repr(C, align(8))]
struct Group<K, V> {
    /// T3.
    shares: AtomicU32,
    len: u32,
    items: [Entry<K, V>; 0],
}

/// An item in a group; the hash is here as well, so that those that do not match need not be fetched.
struct Entry<K, V> {
    hash: u64,
    item: NonNull<Item<K, V>>,
}

impl<K, V> Clone for Entry<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Entry<K, V> {}

impl<K, V> Entry<K, V> {
    /// # Safety
    ///
    /// The item is alive.
    #[inline]
    unsafe fn of(item: NonNull<Item<K, V>>) -> Self {
        Entry {
            // SAFETY: as the caller says.
            hash: unsafe { item.as_ref() }.hash(),
            item,
        }
    }
}

/// What is in a slot: a pointer with its kind in the two lowest bits.
struct Link<K, V> {
    raw: *mut (),
    leads_to: PhantomData<*const Item<K, V>>,
}

impl<K, V> Clone for Link<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Link<K, V> {}

const KIND: usize = 3;
const ITEM: usize = 0;
const GROUP: usize = 1;
const NODE: usize = 2;

/// A link, looked at.
enum Target<K, V> {
    Empty,
    Item(NonNull<Item<K, V>>),
    Group(NonNull<Group<K, V>>),
    Node(NonNull<Node>),
}

impl<K, V> Link<K, V> {
    const EMPTY: Self = Link {
        raw: ptr::null_mut(),
        leads_to: PhantomData,
    };

    fn new(address: NonNull<()>, kind: usize) -> Self {
        Link {
            raw: address.as_ptr().map_addr(|address| address | kind),
            leads_to: PhantomData,
        }
    }

    fn item(item: NonNull<Item<K, V>>) -> Self {
        Link::new(item.cast(), ITEM)
    }

    fn target(self) -> Target<K, V> {
        let kind = self.raw.addr() & KIND;
        match NonNull::new(self.raw.map_addr(|address| address & !KIND)) {
            None => Target::Empty,
            Some(address) if kind == ITEM => Target::Item(address.cast()),
            Some(address) if kind == GROUP => Target::Group(address.cast()),
            Some(address) => Target::Node(address.cast()),
        }
    }
}

// SAFETY: counts are changed by atomic additions; the one that takes the last share away frees.
unsafe impl<K, V> Shared for Link<K, V> {
    fn to_raw(self) -> *mut () {
        self.raw
    }

    fn from_raw(raw: *mut ()) -> Self {
        Link {
            raw,
            leads_to: PhantomData,
        }
    }

    #[inline]
    fn is_counted(self) -> bool {
        !self.raw.is_null() && self.raw.addr() & KIND != NODE
    }

    unsafe fn retain(self) {
        match self.target() {
            // SAFETY: the caller has a share or a loan, so it is alive.
            Target::Item(item) => unsafe { item.as_ref() }.retain(),
            Target::Group(group) => {
                // SAFETY: as above.
                let shares = unsafe { &(*group.as_ptr()).shares };
                // As with items.
                shares.fetch_add(1, Ordering::Relaxed);
            }
            Target::Empty | Target::Node(_) => unreachable!("neither is counted"),
        }
    }

    unsafe fn release(self) {
        match self.target() {
            // SAFETY: the caller gives up its share.
            Target::Item(item) => unsafe { Item::release(item) },
            // SAFETY: as above.
            Target::Group(group) => unsafe { Group::release(group) },
            Target::Empty | Target::Node(_) => unreachable!("neither is counted"),
        }
    }
}

impl<K, V> Group<K, V> {
    fn layout(len: usize) -> Layout {
        let items = Layout::array::<Entry<K, V>>(len).expect("groups are small");
        let (layout, offset) = Layout::new::<Self>()
            .extend(items)
            .expect("groups are small");
        debug_assert_eq!(offset, mem::offset_of!(Self, items));
        layout
    }

    /// A group of `len` items, with one share, which takes over one share of each of them.
    fn allocate(len: usize, entries: impl Iterator<Item = Entry<K, V>>) -> NonNull<Self> {
        let layout = Self::layout(len);
        // SAFETY: the layout has the size of the head at least.
        let memory = unsafe { alloc::alloc(layout) };
        let Some(group) = NonNull::new(memory.cast::<Self>()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: new memory of that layout: for the head, and for `len` entries behind it.
        let places = unsafe {
            group.as_ptr().write(Group {
                shares: AtomicU32::new(1),
                len: len as u32,
                items: [],
            });
            let first = (&raw mut (*group.as_ptr()).items).cast::<MaybeUninit<Entry<K, V>>>();
            slice::from_raw_parts_mut(first, len)
        };
        let mut written = 0;
        for (place, entry) in places.iter_mut().zip(entries) {
            place.write(entry);
            written += 1;
        }
        assert_eq!(written, len, "a group is as long as its caller says");
        group
    }

    /// # Safety
    ///
    /// The group is alive for `'a`.
    #[inline]
    unsafe fn entries<'a>(group: NonNull<Self>) -> &'a [Entry<K, V>] {
        // SAFETY: alive, as the caller says; `allocate` has written so many behind the head.
        unsafe {
            let items = (&raw const (*group.as_ptr()).items).cast::<Entry<K, V>>();
            slice::from_raw_parts(items, (*group.as_ptr()).len as usize)
        }
    }

    /// Gives up one share; the last one frees, and gives up those of the items.
    ///
    /// # Safety
    ///
    /// The caller has that share.
    unsafe fn release(group: NonNull<Self>) {
        // SAFETY: alive, by the caller's share.
        if unsafe { &(*group.as_ptr()).shares }.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // SAFETY: nobody else has a share. Each item's is given up once, and not used here again; if a
        // user's drop panics, those after it leak with the group.
        unsafe {
            let entries = Self::entries(group);
            entries.iter().for_each(|entry| Item::release(entry.item));
            let layout = Self::layout(entries.len());
            alloc::dealloc(group.as_ptr().cast(), layout);
        }
    }
}

/// An item of the trie, alive as long as this is.
pub(super) struct Seen<'a, K, V> {
    item: NonNull<Item<K, V>>,
    _leaf: Leaf<'a, K, V>,
}

impl<K, V> Deref for Seen<'_, K, V> {
    type Target = Item<K, V>;

    fn deref(&self) -> &Item<K, V> {
        // SAFETY: the leaf is protected or ours, and so are its items (T3).
        unsafe { self.item.as_ref() }
    }
}

/// A leaf that is not freed before this is dropped.
#[expect(dead_code, reason = "it is there to be dropped")]
enum Leaf<'a, K, V> {
    /// It is in its slot, or was a moment ago.
    InPlace(Held<'a, Link<K, V>>),
    /// We took it out.
    Taken(Taken<K, V>),
}

/// The share of a slot from which a leaf was taken, all loans settled (T4).
struct Taken<K, V>(Link<K, V>);

impl<K, V> Drop for Taken<K, V> {
    fn drop(&mut self) {
        if self.0.is_counted() {
            // SAFETY: it is ours.
            unsafe { self.0.release() };
        }
    }
}

impl<K, V> Link<K, V> {
    /// The items of a leaf. `one` is memory for a leaf that is an item.
    ///
    /// # Safety
    ///
    /// The leaf stays alive as long as `one` is borrowed.
    #[inline]
    unsafe fn entries(self, one: &mut MaybeUninit<Entry<K, V>>) -> &[Entry<K, V>] {
        match self.target() {
            // SAFETY: alive, as the caller says.
            Target::Item(item) => slice::from_ref(one.write(unsafe { Entry::of(item) })),
            // SAFETY: as above.
            Target::Group(group) => unsafe { Group::entries(group) },
            Target::Empty | Target::Node(_) => &[],
        }
    }

    /// A leaf of so many items, each with a share for it.
    fn leaf(len: usize, mut entries: impl Iterator<Item = Entry<K, V>>) -> Self {
        match len {
            0 => Link::EMPTY,
            1 => Link::item(entries.next().expect("there is one").item),
            _ => Link::new(Group::allocate(len, entries).cast(), GROUP),
        }
    }

    /// A leaf, or a node with leaves below it if there are too many for one; `used` bits of the hashes
    /// have led here.
    fn grown(entries: &[Entry<K, V>], used: u32) -> Self {
        if entries.len() <= GROUP_MAX || used + NODE_BITS > u64::BITS {
            return Link::leaf(entries.len(), entries.iter().copied());
        }
        let node = Node(std::array::from_fn(|index| {
            let below: Vec<_> = entries
                .iter()
                .copied()
                .filter(|entry| Node::index(entry.hash, used) == index)
                .collect();
            Slot::new(Link::grown(&below, used + NODE_BITS).raw)
        }));
        Link::new(NonNull::from(Box::leak(Box::new(node))).cast(), NODE)
    }

    /// Gives up the share of the slot that it was in or meant for, of all below it too.
    ///
    /// # Safety
    ///
    /// The share is the caller's. If it is a node, nobody else has seen it, or sees it any more.
    unsafe fn discard(self) {
        match self.target() {
            Target::Empty => {}
            Target::Node(node) => {
                // SAFETY: it came from a box, and is the caller's alone.
                let node = unsafe { Box::from_raw(node.as_ptr()) };
                for slot in node.0 {
                    // SAFETY: what is in the slots of the node is the caller's too.
                    unsafe { Link::<K, V>::from_raw(slot.into_inner()).discard() };
                }
            }
            // SAFETY: the caller's share.
            Target::Item(_) | Target::Group(_) => unsafe { self.release() },
        }
    }
}

impl Node {
    /// Which slot a hash leads to, after `used` bits.
    #[inline]
    fn index(hash: u64, used: u32) -> usize {
        (hash << used >> (u64::BITS - NODE_BITS)) as usize
    }
}

/// Keys and values.
pub(super) struct Trie<K, V> {
    root: [Slot; 1 << NODE_BITS],
    loans: Loans<Link<K, V>>,
    /// It owns pairs, and hands them out through shared references: so it is invariant.
    owns: PhantomData<Cell<(K, V)>>,
}

// SAFETY: the trie owns its keys and values alone, whenever it is not borrowed.
unsafe impl<K: Send, V: Send> Send for Trie<K, V> {}
// SAFETY: `&Trie` gives out `&K` and `&V` (hence `Sync`), and takes in keys and values that other
// threads drop (hence `Send`).
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Trie<K, V> {}
impl<K: UnwindSafe + RefUnwindSafe, V: UnwindSafe + RefUnwindSafe> RefUnwindSafe for Trie<K, V> {}
impl<K: UnwindSafe, V: UnwindSafe> UnwindSafe for Trie<K, V> {}

impl<K, V> Trie<K, V> {
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Trie {
            root: std::array::from_fn(|_| Slot::new(ptr::null_mut())),
            loans: Loans::new(),
            owns: PhantomData,
        }
    }

    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Trie {
            root: [const { Slot::new(ptr::null_mut()) }; 1 << NODE_BITS],
            loans: Loans::new(),
            owns: PhantomData,
        }
    }

    /// The slot of the leaf for `hash`, how many bits led there, and the leaf.
    #[inline]
    fn descend(&self, hash: u64) -> (&Slot, u32, Held<'_, Link<K, V>>) {
        let mut slot = &self.root[Node::index(hash, 0)];
        let mut used = NODE_BITS;
        loop {
            let held = self.loans.protect(slot);
            let Target::Node(node) = held.shared().target() else {
                return (slot, used, held);
            };
            // SAFETY: nodes stay until the trie is dropped.
            slot = unsafe { &(*node.as_ptr()).0[Node::index(hash, used)] };
            used += NODE_BITS;
        }
    }

    /// The item of a key. Runs the user's `Eq`.
    #[inline]
    pub(super) fn find<Q>(&self, hash: u64, key: &Q) -> Option<Seen<'_, K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (_, _, held) = self.descend(hash);
        let mut one = MaybeUninit::uninit();
        // SAFETY: `held` protects the leaf.
        let entries = unsafe { held.shared().entries(&mut one) };
        // SAFETY: as above.
        let (_, item) = unsafe { position(entries, hash, key) }?;
        Some(Seen {
            item,
            _leaf: Leaf::InPlace(held),
        })
    }

    /// If `may` says so of the item that there is for a key: puts the new one in its place, or beside
    /// the others, or takes the old one out if no new one is given. That happens at one instant, at which
    /// `may` was right. True: it has changed something. Gives the old item.
    ///
    /// `may` and the user's `Eq` run again whenever the leaf has changed meanwhile.
    pub(super) fn edit<Q>(
        &self,
        hash: u64,
        key: &Q,
        new: Option<&NewItem<K, V>>,
        mut may: impl FnMut(Option<&Item<K, V>>) -> bool,
    ) -> (bool, Option<Seen<'_, K, V>>)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        loop {
            let (slot, used, held) = self.descend(hash);
            let from = held.shared();
            let mut one = MaybeUninit::uninit();
            // SAFETY: `held` protects the leaf.
            let entries = unsafe { from.entries(&mut one) };
            // SAFETY: as above.
            let found = unsafe { position(entries, hash, key) };
            let item = found.map(|(_, item)| item);
            // SAFETY: the item is in the leaf (T3).
            if !may(item.map(|item| unsafe { &*item.as_ptr() })) {
                let _leaf = Leaf::InPlace(held);
                return (false, item.map(|item| Seen { item, _leaf }));
            }
            // SAFETY: `held` protects the leaf; nobody else has seen a new item.
            let to = unsafe {
                match (found, new) {
                    (None, None) => return (false, None),
                    (None, Some(new)) => with(entries, Entry::of(new.share()), used),
                    (Some((at, _)), None) => without(entries, at),
                    (Some((at, old)), Some(new)) => {
                        new.replaces(old);
                        with_other(entries, at, Entry::of(new.share()))
                    }
                }
            };
            // SeqCst, for `settle`; it also releases what the new leaf is made of.
            if slot
                .compare_exchange(from.raw, to.raw, Ordering::SeqCst, Ordering::Relaxed)
                .is_err()
            {
                // SAFETY: nobody has seen it.
                unsafe { to.discard() };
                continue;
            }
            drop(held);
            // SAFETY: we took it out of its slot.
            let _leaf = Leaf::Taken(unsafe { self.take(from) });
            return (true, item.map(|item| Seen { item, _leaf }));
        }
    }

    /// Settles the loans of what was taken out of a slot.
    ///
    /// # Safety
    ///
    /// The caller took it out, or put something else in its place.
    unsafe fn take(&self, link: Link<K, V>) -> Taken<K, V> {
        if link.is_counted() {
            // SAFETY: the slot's share is the caller's now (T4).
            unsafe { self.loans.settle(link) };
        }
        Taken(link)
    }

    /// Takes all items out, leaf by leaf.
    pub(super) fn clear(&self) {
        self.clear_slots(&self.root);
    }

    fn clear_slots(&self, slots: &[Slot]) {
        for slot in slots {
            let mut raw = slot.load(Ordering::Acquire);
            loop {
                let link = Link::<K, V>::from_raw(raw);
                if let Target::Node(node) = link.target() {
                    // SAFETY: nodes stay until the trie is dropped.
                    self.clear_slots(unsafe { &(*node.as_ptr()).0 });
                    break;
                }
                // It needs no protection: if another leaf has the address by now, that one goes.
                match slot.compare_exchange(
                    raw,
                    ptr::null_mut(),
                    Ordering::SeqCst,
                    Ordering::Acquire,
                ) {
                    Ok(_) => {
                        // SAFETY: we took it out.
                        drop(unsafe { self.take(link) });
                        break;
                    }
                    Err(now) => raw = now,
                }
            }
        }
    }

    /// Calls `f` with each item that is there all the time, and some of the others, none twice. A leaf is
    /// as it was at one instant. Nothing is locked or lent meanwhile.
    pub(super) fn each(
        &self,
        f: &mut impl FnMut(&Item<K, V>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.each_leaf(&self.root, &mut |held| {
            held.own();
            let mut one = MaybeUninit::uninit();
            // SAFETY: `held` protects the leaf.
            let entries = unsafe { held.shared().entries(&mut one) };
            // SAFETY: the items of a leaf are alive (T3).
            entries
                .iter()
                .try_for_each(|entry| f(unsafe { entry.item.as_ref() }))
        })
    }

    /// How many there are, leaf by leaf, up to `max` and a few more.
    pub(super) fn count(&self, max: usize) -> usize {
        let mut count = 0;
        let _ = self.each_leaf(&self.root, &mut |held| {
            let mut one = MaybeUninit::uninit();
            // SAFETY: `held` protects the leaf.
            count += unsafe { held.shared().entries(&mut one) }.len();
            if count < max {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        count
    }

    fn each_leaf(
        &self,
        slots: &[Slot],
        f: &mut impl FnMut(&mut Held<'_, Link<K, V>>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for slot in slots {
            let mut held = self.loans.protect(slot);
            match held.shared().target() {
                Target::Empty => {}
                // SAFETY: nodes stay until the trie is dropped.
                Target::Node(node) => self.each_leaf(unsafe { &(*node.as_ptr()).0 }, f)?,
                Target::Item(_) | Target::Group(_) => f(&mut held)?,
            }
        }
        ControlFlow::Continue(())
    }
}

impl<K, V> Drop for Trie<K, V> {
    fn drop(&mut self) {
        for slot in &self.root {
            // Nobody writes it any more.
            let link = Link::<K, V>::from_raw(slot.load(Ordering::Relaxed));
            // SAFETY: nobody else has the trie, so nobody has loans, and what is in its slots is ours.
            unsafe { link.discard() };
        }
    }
}

/// Where a key is in a leaf.
///
/// # Safety
///
/// The items are alive.
#[inline]
unsafe fn position<K, V, Q>(
    entries: &[Entry<K, V>],
    hash: u64,
    key: &Q,
) -> Option<(usize, NonNull<Item<K, V>>)>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    entries.iter().enumerate().find_map(|(at, entry)| {
        // SAFETY: as the caller says.
        let is_it = entry.hash == hash && unsafe { entry.item.as_ref() }.key().borrow() == key;
        is_it.then_some((at, entry.item))
    })
}

/// The same entry for another leaf.
///
/// # Safety
///
/// The item is alive.
unsafe fn shared<K, V>(entry: &Entry<K, V>) -> Entry<K, V> {
    // SAFETY: as the caller says.
    unsafe { entry.item.as_ref() }.retain();
    *entry
}

/// These and a new one.
///
/// # Safety
///
/// The items are alive.
unsafe fn with<K, V>(entries: &[Entry<K, V>], new: Entry<K, V>, used: u32) -> Link<K, V> {
    // SAFETY: as the caller says.
    let old = entries.iter().map(|entry| unsafe { shared(entry) });
    let all = old.chain(iter::once(new));
    if entries.len() < GROUP_MAX {
        Link::leaf(entries.len() + 1, all)
    } else {
        Link::grown(&all.collect::<Vec<_>>(), used)
    }
}

/// These, but a new one in the place of one.
///
/// # Safety
///
/// The items are alive.
unsafe fn with_other<K, V>(entries: &[Entry<K, V>], place: usize, new: Entry<K, V>) -> Link<K, V> {
    let all = entries.iter().enumerate().map(|(at, entry)| {
        if at == place {
            new
        } else {
            // SAFETY: as the caller says.
            unsafe { shared(entry) }
        }
    });
    Link::leaf(entries.len(), all)
}

/// These without one.
///
/// # Safety
///
/// The items are alive.
unsafe fn without<K, V>(entries: &[Entry<K, V>], place: usize) -> Link<K, V> {
    let others = entries.iter().enumerate().filter(|&(at, _)| at != place);
    // SAFETY: as the caller says.
    let all = others.map(|(_, entry)| unsafe { shared(entry) });
    Link::leaf(entries.len() - 1, all)
}

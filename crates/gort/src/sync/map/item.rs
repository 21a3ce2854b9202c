//! One pair of a [`Map`](super::Map): a key, a value, and who shares them.
//!
//! I1. An item has one share for each leaf that holds it, for each slot that links to it alone, and for
//!     each reader whose loan of such a slot was settled (`hazard`). With the last share the value is
//!     dropped, at once.
//! I2. Keys are not `Clone`, and `compare_and_swap` has no key to put beside its new value: its item
//!     refers to the *origin* of the one that it replaces, the item that has the key. A key is dropped
//!     when its origin has no share and nobody refers to it; only then is the origin's memory freed.
//! I3. Others see an item only when it has its origin, and then nothing of it changes but the counts.

use std::cell::Cell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::atomic::{AtomicU32, Ordering};

/// A key and its value.
#[repr(align(8))]
pub(super) struct Item<K, V> {
    /// I1.
    shares: AtomicU32,
    /// How many items have their key here, one for this item itself. At 0 the memory is freed.
    keys: AtomicU32,
    hash: u64,
    /// The item that has the key, often this one; null while that is not settled.
    origin: *const Item<K, V>,
    key: MaybeUninit<K>,
    /// Dropped with the last share.
    value: ManuallyDrop<V>,
}

impl<K, V> Item<K, V> {
    #[inline]
    pub(super) fn key(&self) -> &K {
        // SAFETY: an item that others see has an origin (I3), which keeps its key (I2); one that is new has its own.
        unsafe { (*self.origin).key.assume_init_ref() }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    pub(super) fn value(&self) -> &V {
        &self.value
    }

    /// Adds a share. The caller has one already, or a loan of a leaf that has one.
    #[inline]
    pub(super) fn retain(&self) {
        // Whoever frees sees all that was done before a share is given back; nothing depends on this.
        self.shares.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives up one share; with the last one drops the value, and the key if nobody else refers to it.
    ///
    /// # Safety
    ///
    /// The caller has that share.
    pub(super) unsafe fn release(item: NonNull<Item<K, V>>) {
        // SAFETY: alive, by the caller's share.
        let shares = unsafe { &(*item.as_ptr()).shares };
        // All uses by others come before: they released, we acquire.
        if shares.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        /// Also if the value's drop panics.
        struct ReleaseKeys<K, V>(NonNull<Item<K, V>>);
        impl<K, V> Drop for ReleaseKeys<K, V> {
            fn drop(&mut self) {
                // SAFETY: alive by its hold on itself; nobody changes `origin` any more.
                let origin = NonNull::new(unsafe { (*self.0.as_ptr()).origin }.cast_mut());
                if let Some(origin) = origin.filter(|origin| *origin != self.0) {
                    // SAFETY: the item's use of that key ends with its last share, once.
                    unsafe { Item::release_key(origin) };
                }
                // SAFETY: as above, its hold on itself.
                unsafe { Item::release_key(self.0) };
            }
        }
        let _release = ReleaseKeys(item);
        // SAFETY: nobody has a share, so nobody uses the value again. Others may be using the key.
        unsafe { ManuallyDrop::drop(&mut (*item.as_ptr()).value) };
    }

    /// Gives up one use of the item's key, or of the item itself by its value.
    ///
    /// # Safety
    ///
    /// The caller has that use.
    unsafe fn release_key(item: NonNull<Item<K, V>>) {
        // SAFETY: alive, by the caller's use.
        if unsafe { &(*item.as_ptr()).keys }.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // SAFETY: nobody refers to it. It came from a box; its value has been dropped, and is not again.
        let mut item = unsafe { Box::from_raw(item.as_ptr()) };
        if ptr::eq(item.origin, &raw const *item) {
            // SAFETY: its own origin has a key.
            unsafe { item.key.assume_init_drop() };
        }
    }
}

/// An item that is to be put into the trie, once or never.
pub(super) struct NewItem<K, V> {
    item: NonNull<Item<K, V>>,
    /// Whether the share for a leaf is still here.
    has_spare: Cell<bool>,
}

impl<K, V> NewItem<K, V> {
    /// An item with its own key.
    pub(super) fn new(hash: u64, key: K, value: V) -> Self {
        let new = NewItem::allocate(hash, MaybeUninit::new(key), value);
        let item = new.item.as_ptr();
        // SAFETY: nobody else has seen it.
        unsafe { (*item).origin = item };
        new
    }

    /// An item that can only replace another, and then has that one's key.
    pub(super) fn without_key(hash: u64, value: V) -> Self {
        NewItem::allocate(hash, MaybeUninit::uninit(), value)
    }

    fn allocate(hash: u64, key: MaybeUninit<K>, value: V) -> Self {
        let item = Box::new(Item {
            // One for whoever makes it, so that its key can be read as long as it is being put
            // somewhere, and one for where it is put.
            shares: AtomicU32::new(2),
            keys: AtomicU32::new(1),
            hash,
            origin: ptr::null(),
            key,
            value: ManuallyDrop::new(value),
        });
        NewItem {
            item: NonNull::from(Box::leak(item)),
            has_spare: Cell::new(true),
        }
    }

    /// The item, with a share for a leaf.
    pub(super) fn share(&self) -> NonNull<Item<K, V>> {
        if !self.has_spare.replace(false) {
            self.retain();
        }
        self.item
    }

    /// If the item has no key of its own, it has that of `other` now.
    ///
    /// # Safety
    ///
    /// `other` is alive. This item is in no leaf that others have seen.
    pub(super) unsafe fn replaces(&self, other: NonNull<Item<K, V>>) {
        let own = self.item.as_ptr();
        // SAFETY: both are alive, and nobody changes either meanwhile.
        let (before, origin) = unsafe { ((*own).origin, (*other.as_ptr()).origin) };
        if ptr::eq(before, own) {
            return;
        }
        // SAFETY: an item that others see has an origin, and keeps it alive (I2).
        unsafe { &(*origin).keys }.fetch_add(1, Ordering::Relaxed);
        // SAFETY: nobody else sees the item, and no reference to it is in use.
        unsafe { (*own).origin = origin };
        if let Some(before) = NonNull::new(before.cast_mut()) {
            // SAFETY: from an earlier attempt; that use is over.
            unsafe { Item::release_key(before) };
        }
    }
}

impl<K, V> Deref for NewItem<K, V> {
    type Target = Item<K, V>;

    fn deref(&self) -> &Item<K, V> {
        // SAFETY: alive, by our share.
        unsafe { self.item.as_ref() }
    }
}

impl<K, V> Drop for NewItem<K, V> {
    fn drop(&mut self) {
        if self.has_spare.get() {
            // SAFETY: the spare share, which no leaf has; ours is left.
            unsafe { Item::release(self.item) };
        }
        // SAFETY: our share.
        unsafe { Item::release(self.item) };
    }
}

//! [`Map`]: a map that many read and write at once. Go's `sync.Map`.
//!
//! What decided: the user's code runs in a map all the time (`Hash`, `Eq`, `Clone`, `Drop`, closures), and
//! here it may park or be preempted. So nothing may be locked around it, and what it keeps from being
//! freed must be one value, not all that is deleted meanwhile. That rules out tables behind locks
//! (hashbrown in shards, dashmap, scc), and those that free by epochs (papaya, scc, crossbeam): each
//! goroutine would be registered as a thread, and one that parks in an `eq` would stop all freeing.
//!
//! Measured with 2 Ps on 2 busy processors, 4 goroutines, keys and values of 8 bytes, std's hasher; CPU
//! time in ns an operation, medians of 5 rounds in turn:
//!
//! | | this | 64 shards | one lock | dashmap 6 | papaya 0.2 | scc 2 |
//! |---|---|---|---|---|---|---|
//! | 100,000 keys, 99 % loads | 167 | 86 | 53 | 64 | 106 | 72 |
//! | loads of one key | 33 | 50 | 45 | 36 | 18 | 42 |
//! | the same, 1 % stores | 33 | 40 | 28 | 26 | 21 | 39 |
//! | keys of one's own: loads, stores, deletes | 104 | 97 | 53 | 47 | 110 | 55 |
//! | store and delete of fresh keys | 121 | 96 | 101 | 54 | 249 | 275 |
//! | stores to 100,000 keys | 303 | 89 | 80 | 44 | 296 | 49 |
//!
//! (Shards and the one lock are our `RwLock` around std's map.) Tables that keep keys and values in place
//! save the cache miss of a pair of its own, and with two processors a shared line costs little. What readers
//! gain by writing to lines of their own P, with more processors, was not measured. Nodes of 16 slots
//! instead of 64 cost 60 ns more in the first row, one level more; without the prefetch in `hazard` it is
//! 15 ns.
//!
//! Elsewhere: the structure (`trie`), its pairs (`item`), and why what is being read is not freed (`hazard`).

mod item;
mod trie;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::ControlFlow;

use super::{atomic, hazard};
use item::{Item, NewItem};
use trie::{Seen, Trie};

/// A concurrent map: all methods take `&self`. Go's `sync.Map`.
///
/// No operation waits for another, and none holds a lock: your `Hash`, `Eq`, `Clone` and `Drop`, and the
/// closure of [`range`](Self::range), may park, panic, and use the same map. `Eq` runs again if another
/// goroutine changes neighbours of the key at that moment. Each operation on a key takes place at one
/// instant; what happened before a store is visible to whoever loads the value.
///
/// It is made for keys that are read much more often than written, and for goroutines that work on keys
/// of their own. Readers of one key do not disturb each other, but where `Clone` does, as that of an
/// `Arc`. If all write the same few keys, or several keys must change together, take a
/// [`Mutex`](super::Mutex) and a `HashMap`.
///
/// Values are given out as clones: take `Arc<T>` for those that are expensive to clone. A value that was
/// replaced or deleted is dropped at once, by whoever deletes it; or if somebody is just cloning or
/// visiting it, by that goroutine, when it is done. Room for deleted keys is used again, but is
/// given back only when the map is dropped.
///
/// Everything works on plain OS threads too.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use gort::sync::Map;
///
/// let hits = Arc::new(Map::new());
/// gort::scope(|s| {
///     for name in ["/", "/about", "/"] {
///         let hits = hits.clone();
///         s.go(move || {
///             let mut seen = hits.load_or_store(name, 1).0;
///             while !hits.compare_and_swap(name, &seen, seen + 1) {
///                 seen = hits.load(name).unwrap();
///             }
///         });
///     }
/// });
/// assert_eq!(hits.load("/"), Some(3));
/// assert_eq!(hits.len(), 2);
/// ```
#[doc(alias = "sync.Map")]
pub struct Map<K, V, S = RandomState> {
    trie: Trie<K, V>,
    hasher: S,
}

impl<K, V> Map<K, V> {
    /// An empty map.
    ///
    /// # Examples
    ///
    /// ```
    /// let map = gort::sync::Map::<String, u32>::new();
    /// assert!(map.is_empty());
    /// ```
    pub fn new() -> Map<K, V> {
        Map::with_hasher(RandomState::new())
    }
}

impl<K, V, S> Map<K, V, S> {
    /// An empty map that hashes keys with `hasher`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    ///
    /// use gort::sync::Map;
    ///
    /// static AGES: Map<&str, u32, BuildHasherDefault<DefaultHasher>> =
    ///     Map::with_hasher(BuildHasherDefault::new());
    ///
    /// AGES.store("ann", 31);
    /// assert_eq!(AGES.load("ann"), Some(31));
    /// ```
    pub const fn with_hasher(hasher: S) -> Map<K, V, S> {
        Map {
            trie: Trie::new(),
            hasher,
        }
    }

    /// Calls `f` with each key and its value, until it breaks. Go's `Range`.
    ///
    /// There is no snapshot: no key is visited twice, and one that is there from beginning to end is
    /// visited, with a value that it had at some moment; keys that are stored or deleted meanwhile may be
    /// visited or not. `f` may do anything, also with this map.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let map: gort::sync::Map<_, _> = (0..10).map(|i| (i, i * i)).collect();
    /// map.range(|key, _| {
    ///     if key % 2 == 1 {
    ///         map.delete(key);
    ///     }
    ///     ControlFlow::Continue(())
    /// });
    /// assert_eq!(map.len(), 5);
    /// ```
    pub fn range(&self, mut f: impl FnMut(&K, &V) -> ControlFlow<()>) {
        let _ = self.trie.each(&mut |item| f(item.key(), item.value()));
    }

    /// Deletes all keys.
    ///
    /// Keys that others store meanwhile may stay.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: gort::sync::Map<_, _> = [("ann", 31), ("bob", 29)].into_iter().collect();
    /// map.clear();
    /// assert_eq!(map.load("ann"), None);
    /// ```
    pub fn clear(&self) {
        self.trie.clear();
    }

    /// How many keys there are. It counts them one by one, as they are when it comes to them: nothing
    /// else would have to pay for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let map: gort::sync::Map<_, _> = [("ann", 31), ("bob", 29)].into_iter().collect();
    /// assert_eq!(map.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.trie.count(usize::MAX)
    }

    /// Whether there is no key.
    ///
    /// # Examples
    ///
    /// ```
    /// let map = gort::sync::Map::new();
    /// assert!(map.is_empty());
    /// map.store("ann", 31);
    /// assert!(!map.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.trie.count(1) == 0
    }
}

impl<K, V, S> Map<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    #[inline]
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        // The trie begins with the highest bits: now they depend on all bits, also with hashers that
        // give small numbers back as they are. The constant is odd, so no two hashes become one.
        self.hasher
            .hash_one(key)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// A clone of the key's value.
    ///
    /// # Examples
    ///
    /// ```
    /// let ages = gort::sync::Map::new();
    /// ages.store("ann".to_owned(), 31);
    /// assert_eq!(ages.load("ann"), Some(31));
    /// assert_eq!(ages.load("bob"), None);
    /// ```
    #[inline]
    pub fn load<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.trie
            .find(self.hash(key), key)
            .map(|item| item.value().clone())
    }

    /// Whether the key has a value.
    ///
    /// # Examples
    ///
    /// ```
    /// let seen = gort::sync::Map::new();
    /// seen.store("/about", ());
    /// assert!(seen.contains_key("/about"));
    /// assert!(!seen.contains_key("/"));
    /// ```
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.trie.find(self.hash(key), key).is_some()
    }

    /// Sets the key's value. A key that is there already is replaced as well, by its equal.
    ///
    /// # Examples
    ///
    /// ```
    /// let ages = gort::sync::Map::new();
    /// ages.store("ann", 31);
    /// ages.store("ann", 32);
    /// assert_eq!(ages.load("ann"), Some(32));
    /// ```
    #[inline]
    pub fn store(&self, key: K, value: V) {
        let new = NewItem::new(self.hash(&key), key, value);
        self.put_if(&new, |_| true);
    }

    /// As [`store`](Self::store); gives a clone of the value that was there before.
    ///
    /// # Examples
    ///
    /// ```
    /// let owners = gort::sync::Map::new();
    /// assert_eq!(owners.swap("house", "ann"), None);
    /// assert_eq!(owners.swap("house", "bob"), Some("ann"));
    /// ```
    pub fn swap(&self, key: K, value: V) -> Option<V>
    where
        V: Clone,
    {
        let new = NewItem::new(self.hash(&key), key, value);
        let (_, old) = self.put_if(&new, |_| true);
        old.map(|old| old.value().clone())
    }

    /// The key's value if it has one, and true; else sets it to `value`, and gives that and false.
    ///
    /// # Examples
    ///
    /// ```
    /// let first = gort::sync::Map::new();
    /// assert_eq!(first.load_or_store("door", "ann"), ("ann", false));
    /// assert_eq!(first.load_or_store("door", "bob"), ("ann", true));
    /// ```
    pub fn load_or_store(&self, key: K, value: V) -> (V, bool)
    where
        V: Clone,
    {
        let hash = self.hash(&key);
        if let Some(old) = self.trie.find(hash, &key) {
            return (old.value().clone(), true);
        }
        let result = value.clone();
        let new = NewItem::new(hash, key, value);
        match self.put_if(&new, |old| old.is_none()) {
            (false, Some(old)) => (old.value().clone(), true),
            _ => (result, false),
        }
    }

    /// Deletes the key; true if it was there.
    ///
    /// # Examples
    ///
    /// ```
    /// let ages = gort::sync::Map::new();
    /// ages.store("ann", 31);
    /// assert!(ages.delete("ann"));
    /// assert!(!ages.delete("ann"));
    /// ```
    #[inline]
    pub fn delete<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_| true).0
    }

    /// Deletes the key, and gives a clone of the value that it had.
    ///
    /// # Examples
    ///
    /// ```
    /// let jobs = gort::sync::Map::new();
    /// jobs.store(7, "sweep");
    /// // Of several who ask, one gets it.
    /// assert_eq!(jobs.load_and_delete(&7), Some("sweep"));
    /// assert_eq!(jobs.load_and_delete(&7), None);
    /// ```
    pub fn load_and_delete<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.remove_if(key, |_| true)
            .1
            .map(|old| old.value().clone())
    }

    /// Sets the key's value to `new` if it is `old`; true if so. Without a value nothing is stored.
    ///
    /// # Examples
    ///
    /// ```
    /// let stock = gort::sync::Map::new();
    /// stock.store("eggs", 12);
    /// assert!(!stock.compare_and_swap("eggs", &11, 10));
    /// assert!(stock.compare_and_swap("eggs", &12, 11));
    /// assert!(!stock.compare_and_swap("milk", &0, 1));
    /// ```
    pub fn compare_and_swap<Q>(&self, key: &Q, old: &V, new: V) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: PartialEq,
    {
        let hash = self.hash(key);
        // Nothing is allocated where nothing is there.
        if self
            .trie
            .find(hash, key)
            .is_none_or(|now| now.value() != old)
        {
            return false;
        }
        let new = NewItem::without_key(hash, new);
        self.trie
            .edit(hash, key, Some(&new), |now| {
                now.is_some_and(|now| now.value() == old)
            })
            .0
    }

    /// Deletes the key if its value is `old`; true if so.
    ///
    /// # Examples
    ///
    /// ```
    /// let leases = gort::sync::Map::new();
    /// leases.store("lock", "ann");
    /// assert!(!leases.compare_and_delete("lock", &"bob"));
    /// assert!(leases.compare_and_delete("lock", &"ann"));
    /// assert!(leases.is_empty());
    /// ```
    pub fn compare_and_delete<Q>(&self, key: &Q, old: &V) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: PartialEq,
    {
        self.remove_if(key, |now| now == old).0
    }

    #[inline]
    fn put_if(
        &self,
        new: &NewItem<K, V>,
        may: impl FnMut(Option<&Item<K, V>>) -> bool,
    ) -> (bool, Option<Seen<'_, K, V>>) {
        self.trie.edit(new.hash(), new.key(), Some(new), may)
    }

    #[inline]
    fn remove_if<Q>(
        &self,
        key: &Q,
        mut may: impl FnMut(&V) -> bool,
    ) -> (bool, Option<Seen<'_, K, V>>)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.trie.edit(self.hash(key), key, None, |now| {
            now.is_some_and(|now| may(now.value()))
        })
    }
}

impl<K, V, S: Default> Default for Map<K, V, S> {
    fn default() -> Self {
        Map::with_hasher(S::default())
    }
}

impl<K: Hash + Eq, V, S: BuildHasher + Default> FromIterator<(K, V)> for Map<K, V, S> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let map = Map::default();
        pairs
            .into_iter()
            .for_each(|(key, value)| map.store(key, value));
        map
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for Map<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        self.range(|key, value| {
            map.entry(key, value);
            ControlFlow::Continue(())
        });
        map.finish()
    }
}

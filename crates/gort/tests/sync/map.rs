//! Map: collisions, the user's code inside it, who drops what and when.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gort::sync::{Map, Mutex};
use gort_test_support::{eventually, eventually_parked, go_named};

/// A hash for all.
#[derive(Default)]
struct Same;

impl Hasher for Same {
    fn finish(&self) -> u64 {
        7
    }
    fn write(&mut self, _: &[u8]) {}
}

/// The number itself.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type SameHash<K, V> = Map<K, V, BuildHasherDefault<Same>>;
type OwnHash<V> = Map<u64, V, BuildHasherDefault<Identity>>;

#[test]
fn keys_of_one_hash_stay_apart() {
    let map: SameHash<u64, u64> = (0..100).map(|key| (key, key * 2)).collect();
    assert_eq!(map.len(), 100);
    for key in 0..100 {
        assert_eq!(map.load(&key), Some(key * 2));
        assert_eq!(map.swap(key, key * 3), Some(key * 2));
        assert!(map.compare_and_swap(&key, &(key * 3), key));
    }
    for key in (0..100).step_by(2) {
        assert!(map.compare_and_delete(&key, &key));
    }
    for key in 0..100 {
        assert_eq!(map.load(&key), (key % 2 == 1).then_some(key));
    }
    map.clear();
    assert_eq!(map.load(&1), None);
}

#[test]
fn hashes_that_are_alike_are_told_apart() {
    // In their highest bits, their lowest, and all but one.
    let keys: Vec<u64> = (0..64)
        .flat_map(|bit| [1 << bit, (1 << bit) | 1, u64::MAX - (1 << bit)])
        .collect();
    let keys: HashSet<u64> = keys.into_iter().chain(0..2_000).collect();
    let map: OwnHash<u64> = keys.iter().map(|&key| (key, !key)).collect();
    assert_eq!(map.len(), keys.len());
    assert!(keys.iter().all(|key| map.load(key) == Some(!key)));
    let mut seen = HashSet::new();
    map.range(|key, _| {
        assert!(seen.insert(*key));
        ControlFlow::Continue(())
    });
    assert_eq!(seen, keys);
    assert!(keys.iter().all(|key| map.delete(key)));
    assert!(map.is_empty());
}

/// What replaced values share, to see when they go.
#[derive(Clone, Debug)]
struct Witness(u32, #[allow(dead_code, reason = "it is counted")] Arc<()>);

impl PartialEq for Witness {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[gort::test]
fn replaced_and_deleted_values_are_dropped_at_once() {
    let count = Arc::new(());
    let witness = |number| Witness(number, count.clone());
    let alive = || Arc::strong_count(&count) - 1;
    let map: SameHash<&str, Witness> = Map::default();
    for key in ["a", "b", "c", "d", "e", "f"] {
        map.store(key, witness(1));
    }
    assert_eq!(alive(), 6);
    map.store("a", witness(2));
    assert_eq!(alive(), 6);
    drop(map.swap("b", witness(2)));
    assert_eq!(alive(), 6);
    // The new value goes on with the old key, over several changes.
    for number in 2..6 {
        let (old, new) = (witness(number), witness(number + 1));
        assert!(map.compare_and_swap("a", &old, new));
    }
    assert_eq!(alive(), 6);
    assert!(!map.compare_and_swap("a", &witness(0), witness(9)));
    assert_eq!(map.load_or_store("a", witness(9)).0.0, 6);
    assert_eq!(alive(), 6);
    assert!(map.delete("a"));
    assert!(map.compare_and_delete("b", &witness(2)));
    assert_eq!(map.load_and_delete("c").map(|it| it.0), Some(1));
    assert_eq!(alive(), 3);
    map.clear();
    assert_eq!(alive(), 0);
    map.store("g", witness(1));
    drop(map);
    assert_eq!(alive(), 0);
}

#[test]
fn keys_are_dropped_once() {
    let count = Arc::new(());
    #[derive(Debug)]
    struct Key(u32, #[allow(dead_code, reason = "it is counted")] Arc<()>);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl std::borrow::Borrow<u32> for Key {
        fn borrow(&self) -> &u32 {
            &self.0
        }
    }
    let key = |number| Key(number, count.clone());
    let alive = || Arc::strong_count(&count) - 1;
    let map = Map::new();
    map.store(key(1), "one");
    map.store(key(1), "uno");
    assert_eq!(alive(), 1);
    // Three values with one key; then a new key comes.
    assert!(map.compare_and_swap(&1, &"uno", "eins"));
    assert!(map.compare_and_swap(&1, &"eins", "un"));
    assert_eq!(alive(), 1);
    map.store(key(1), "one");
    assert_eq!(alive(), 1);
    assert!(map.compare_and_swap(&1, &"one", "uno"));
    assert!(map.delete(&1));
    assert_eq!(alive(), 0);
    assert_eq!(map.load_or_store(key(2), "two"), ("two", false));
    assert_eq!(map.load_or_store(key(2), "zwei"), ("two", true));
    assert_eq!(alive(), 1);
    drop(map);
    assert_eq!(alive(), 0);
}

/// A value that parks in `clone` while the lock is taken.
struct Parks(u32, Arc<Mutex<()>>, Arc<AtomicUsize>);

impl Clone for Parks {
    fn clone(&self) -> Self {
        self.2.fetch_add(1, Ordering::SeqCst);
        drop(self.1.lock());
        Parks(self.0, self.1.clone(), self.2.clone())
    }
}

impl Drop for Parks {
    fn drop(&mut self) {
        self.0 = u32::MAX;
    }
}

/// More goroutines in `clone` than there are slots: those that come later read as well, and a value that
/// is gone from the map stays whole for those who have it.
#[gort::test(procs = 2)]
fn readers_that_park_use_nothing_up() {
    const READERS: usize = 200;
    let (gate, inside) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let map = Arc::new(Map::new());
    for key in 0..10 {
        map.store(key, Parks(key, gate.clone(), inside.clone()));
    }
    let closed = gate.lock();
    let readers: Vec<_> = (0..READERS)
        .map(|i| {
            let map = map.clone();
            gort::go(move || {
                let key = i as u32 % 10;
                assert_eq!(map.load(&key).expect("it is there").0, key);
            })
        })
        .collect();
    eventually("all are inside", || {
        inside.load(Ordering::SeqCst) == READERS
    });
    assert!((0..10).all(|key| map.contains_key(&key)));
    map.clear();
    drop(closed);
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
    assert_eq!(Arc::strong_count(&gate), 1);
}

#[gort::test]
fn a_range_that_parks_keeps_nobody_out_and_its_values_whole() {
    let map = Arc::new(Map::new());
    let gate = Arc::new(Mutex::new(()));
    map.store(1, "one".to_owned());
    let closed = gate.lock();
    let visitor = {
        let (map, gate) = (map.clone(), gate.clone());
        go_named("visits", move || {
            let mut seen = Vec::new();
            map.range(|_, value| {
                drop(gate.lock());
                seen.push(value.clone());
                ControlFlow::Continue(())
            });
            seen
        })
    };
    eventually_parked("visits", "sync.Mutex.Lock");
    assert_eq!(map.swap(1, "uno".to_owned()).as_deref(), Some("one"));
    assert!(map.delete(&1));
    drop(closed);
    assert_eq!(visitor.join().unwrap(), ["one"]);
}

#[test]
fn a_panic_in_the_users_code_leaves_the_map_as_it_was() {
    #[derive(Debug)]
    struct Key(u32, Arc<AtomicBool>);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(!self.1.load(Ordering::Relaxed), "on purpose");
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }
    let panics = Arc::new(AtomicBool::new(false));
    let count = Arc::new(());
    let key = |number| Key(number, panics.clone());
    let map = Map::new();
    map.store(key(1), count.clone());
    map.store(key(2), count.clone());
    panics.store(true, Ordering::Relaxed);
    for operation in [
        &(|| map.store(key(1), count.clone())) as &dyn Fn(),
        &|| drop(map.load(&key(2))),
        &|| assert!(map.delete(&key(2))),
        &|| assert!(map.compare_and_swap(&key(1), &count, count.clone())),
    ] {
        assert!(catch_unwind(AssertUnwindSafe(operation)).is_err());
    }
    panics.store(false, Ordering::Relaxed);
    assert_eq!(map.len(), 2);
    assert_eq!(Arc::strong_count(&count), 3);
    assert!(map.delete(&key(1)) && map.delete(&key(2)));
    assert_eq!(Arc::strong_count(&count), 1);
}

/// The destructor of a deleted value uses the map.
#[test]
fn a_destructor_may_use_the_map() {
    struct Removes(u32, std::sync::Weak<Map<u32, Removes>>);
    impl Drop for Removes {
        fn drop(&mut self) {
            if let Some(map) = self.1.upgrade() {
                map.delete(&(self.0 + 1));
            }
        }
    }
    let map = Arc::new(Map::new());
    for number in 0..50 {
        map.store(number, Removes(number, Arc::downgrade(&map)));
    }
    assert!(map.delete(&0));
    assert!(map.is_empty());
}

/// Everything at once on few keys that collide: every value is dropped once, and what is loaded is whole.
#[gort::test(procs = 4)]
fn a_crowd_on_few_keys_drops_everything_once() {
    struct Value {
        number: u64,
        copy: u64,
        alive: Arc<AtomicUsize>,
    }
    impl Value {
        fn new(number: u64, alive: &Arc<AtomicUsize>) -> Value {
            alive.fetch_add(1, Ordering::Relaxed);
            Value {
                number,
                copy: !number,
                alive: alive.clone(),
            }
        }
    }
    impl Clone for Value {
        fn clone(&self) -> Self {
            assert_eq!(self.number, !self.copy, "dropped, or torn");
            Value::new(self.number, &self.alive)
        }
    }
    impl PartialEq for Value {
        fn eq(&self, other: &Self) -> bool {
            assert_eq!(self.number, !self.copy, "dropped, or torn");
            self.number == other.number
        }
    }
    impl Drop for Value {
        fn drop(&mut self) {
            assert_eq!(self.number, !self.copy, "dropped twice");
            self.copy = self.number;
            self.alive.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let map: OwnHash<Value> = Map::default();
    gort::scope(|s| {
        for own in 0..8u64 {
            let (map, alive) = (&map, &alive);
            s.go(move || {
                let mut state = own + 1;
                for round in 0..4_000u64 {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let key = (state >> 40) % 6;
                    match (state >> 33) % 8 {
                        0 | 1 => drop(map.load(&key)),
                        2 => map.store(key, Value::new(round, alive)),
                        3 => drop(map.swap(key, Value::new(round, alive))),
                        4 => drop(map.load_and_delete(&key)),
                        5 => {
                            if let Some(now) = map.load(&key) {
                                map.compare_and_swap(&key, &now, Value::new(round, alive));
                            }
                        }
                        6 => drop(map.load_or_store(key, Value::new(round, alive))),
                        _ => map.range(|_, value| {
                            drop(value.clone());
                            ControlFlow::Continue(())
                        }),
                    }
                    if round % 64 == 0 {
                        gort::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(alive.load(Ordering::Relaxed), map.len());
    drop(map);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn threads_and_goroutines_share_a_map() {
    let map = Arc::new(Map::new());
    let fill = |map: &Map<u32, u32>, from: u32| (from..from + 500).for_each(|i| map.store(i, i));
    let thread = {
        let map = map.clone();
        std::thread::spawn(move || fill(&map, 0))
    };
    let goroutine = {
        let map = map.clone();
        gort::go(move || fill(&map, 500))
    };
    goroutine.join().unwrap();
    thread.join().unwrap();
    assert!((0..1_000).all(|key| map.load(&key) == Some(key)));
}

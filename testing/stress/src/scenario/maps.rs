//! A map and a pool that goroutines and plain threads share: every key is its owner's to count, every
//! value is whole and dropped once, and so is what the pool hands out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::{Map, Pool, WaitGroup};
use gort_test_support::Random;

use crate::progress;

/// A number twice, and whoever counts the living.
struct Value {
    number: u64,
    check: u64,
    alive: Arc<AtomicUsize>,
}

impl Value {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Value {
        alive.fetch_add(1, Ordering::Relaxed);
        Value {
            number,
            check: !number,
            alive: Arc::clone(alive),
        }
    }

    fn number(&self) -> u64 {
        assert_eq!(self.number, !self.check, "a value is torn, or was dropped");
        self.number
    }
}

impl Clone for Value {
    fn clone(&self) -> Value {
        let number = self.number();
        if number.is_multiple_of(64) {
            // As long as it takes others to put something else in its place.
            gort::yield_now();
        }
        Value::new(number, &self.alive)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.number() == other.number()
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.number();
        self.check = self.number;
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Shared {
    map: Map<u64, Value>,
    pool: Pool<Vec<u64>>,
    alive: Arc<AtomicUsize>,
    /// Beyond those that have an owner.
    common: u64,
}

pub(super) fn round(random: &mut Random) -> u64 {
    let workers = 2 + random.below(8);
    let steps = 100 + random.below(1_000);
    let own = 1 + random.below(40);
    let shared = Arc::new(Shared {
        map: Map::new(),
        pool: Pool::new(Vec::new),
        alive: Arc::new(AtomicUsize::new(0)),
        common: 1 + random.below(8),
    });
    let wg = WaitGroup::new();
    wg.add(workers as isize);
    let plain = random.below(4) == 0;
    for worker in 0..workers {
        let (shared, wg, random) = (Arc::clone(&shared), wg.clone(), random.fork());
        let run = move || {
            work(&shared, worker, own, steps, random);
            wg.done();
        };
        if plain && worker == 0 {
            std::thread::spawn(run);
        } else {
            gort::go(run);
        }
    }
    wg.wait();
    let left = shared.map.len();
    assert_eq!(shared.alive.load(Ordering::Relaxed), left, "a value leaked");
    shared.map.clear();
    assert_eq!(shared.alive.load(Ordering::Relaxed), 0, "a value leaked");
    workers * steps
}

fn work(shared: &Shared, worker: u64, own: u64, steps: u64, mut random: Random) {
    let map = &shared.map;
    // What this worker has last stored for each of its keys.
    let mut expected = vec![None; own as usize];
    for step in 1..=steps {
        let index = random.below(own);
        let mine = (worker << 32) | index;
        let value = Value::new(step, &shared.alive);
        match random.below(5) {
            0 => {
                map.store(mine, value);
                expected[index as usize] = Some(step);
            }
            1 => {
                assert_eq!(map.delete(&mine), expected[index as usize].is_some());
                expected[index as usize] = None;
            }
            2 => {
                let now = map.load(&mine).map(|value| value.number());
                assert_eq!(now, expected[index as usize], "an owner's key has changed");
            }
            _ => on_common(shared, random.number(), value),
        }
        let mut things = shared.pool.get();
        assert!(things.is_empty(), "two have one thing of the pool");
        things.push(step);
        if step % 16 == worker {
            gort::yield_now();
            progress();
        }
        things.clear();
    }
}

/// Something with a key that all use.
fn on_common(shared: &Shared, choice: u64, value: Value) {
    let map = &shared.map;
    let key = u64::MAX - choice % shared.common;
    match (choice >> 32) % 6 {
        0 => map.store(key, value),
        1 => drop(map.swap(key, value)),
        2 => drop(map.load_and_delete(&key)),
        3 => drop(map.load_or_store(key, value)),
        4 => {
            if let Some(now) = map.load(&key) {
                map.compare_and_swap(&key, &now, value);
            }
        }
        _ => {
            let mut keys = Vec::new();
            map.range(|&key, value| {
                value.number();
                keys.push(key);
                ControlFlow::Continue(())
            });
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count, "a key was visited twice");
        }
    }
}

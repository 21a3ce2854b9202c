//! The trie of `gort::sync::Map` under loom: the very files, with nodes of two slots and groups of two, so
//! that three keys make a node.
//!
//! A value is not memory but a cell, read where a value is cloned and written where it is dropped: so
//! loom sees a reader that has not finished. At the end each value was dropped once.
//!
//! Two preemptions per execution; where two threads run, `LOOM_MAX_PREEMPTIONS` can say otherwise.
#![cfg(loom)]
#![allow(
    unreachable_pub,
    reason = "the files are modules of a library elsewhere"
)]
#![allow(dead_code, reason = "the trie has more functions than its models call")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};

use loom::cell::UnsafeCell;

mod ground;
#[path = "../../../crates/gort/src/sync/hazard.rs"]
mod hazard;
#[path = "../../../crates/gort/src/sync/map/item.rs"]
mod item;
#[path = "../../../crates/gort/src/sync/striped.rs"]
mod striped;
#[path = "../../../crates/gort/src/sync/map/trie.rs"]
mod trie;

use ground::{at_once, atomic, sched, stripe};
use item::NewItem;
use trie::Trie;

/// What is stored.
struct Value {
    number: u32,
    is_alive: UnsafeCell<bool>,
    /// Not loom's: a count at the end.
    alive: Arc<AtomicUsize>,
}

// SAFETY: the cell is read while the trie keeps the value, and written by its drop; loom finds out if
// that is not so.
unsafe impl Sync for Value {}
// SAFETY: as above.
unsafe impl Send for Value {}

impl Value {
    fn number(&self) -> u32 {
        // SAFETY: nobody writes but the drop.
        self.is_alive.with(|alive| assert!(unsafe { *alive }));
        self.number
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: nobody reads any more; loom checks that.
        self.is_alive.with_mut(|alive| unsafe { *alive = false });
        self.alive.fetch_sub(1, StdOrdering::Relaxed);
    }
}

/// Keys are their own hashes.
struct Scene {
    trie: Trie<u64, Value>,
    alive: Arc<AtomicUsize>,
}

impl Scene {
    fn value(&self, number: u32) -> Value {
        self.alive.fetch_add(1, StdOrdering::Relaxed);
        Value {
            number,
            is_alive: UnsafeCell::new(true),
            alive: self.alive.clone(),
        }
    }

    fn load(&self, key: u64) -> Option<u32> {
        self.trie.find(key, &key).map(|it| it.value().number())
    }

    fn store(&self, key: u64, number: u32) -> Option<u32> {
        let new = NewItem::new(key, key, self.value(number));
        let (_, old) = self.trie.edit(key, &key, Some(&new), |_| true);
        old.map(|old| old.value().number())
    }

    fn delete(&self, key: u64) -> Option<u32> {
        let (_, old) = self.trie.edit(key, &key, None, |now| now.is_some());
        old.map(|old| old.value().number())
    }

    fn compare_and_swap(&self, key: u64, old: u32, number: u32) -> bool {
        let new = NewItem::without_key(key, self.value(number));
        let may = |now: Option<&item::Item<u64, Value>>| {
            now.is_some_and(|now| now.value().number() == old)
        };
        self.trie.edit(key, &key, Some(&new), may).0
    }

    fn range(&self) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        let _ = self.trie.each(&mut |it| {
            all.push((*it.key(), it.value().number()));
            ControlFlow::Continue(())
        });
        all
    }
}

/// Stores the keys, runs them all at once, then looks with `check`; and then nothing is left alive.
fn model(
    keys: &'static [u64],
    acts: &'static [fn(&Scene)],
    check: impl Fn(&Scene) + Sync + Send + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    if acts.len() > 2 {
        // With three at once a third preemption takes minutes.
        builder.preemption_bound = Some(2);
    }
    builder.max_branches = 20_000;
    builder.check(move || {
        let alive = Arc::new(AtomicUsize::new(0));
        let scene = Arc::new(Scene {
            trie: Trie::new(),
            alive: alive.clone(),
        });
        for &key in keys {
            scene.store(key, 1);
        }
        at_once(&scene, acts);
        check(&scene);
        assert_eq!(alive.load(StdOrdering::Relaxed), scene.range().len());
        drop(scene);
        assert_eq!(alive.load(StdOrdering::Relaxed), 0);
    });
}

/// Three keys that share the slot of the first level, and part at the second.
const A: u64 = 0;
const B: u64 = 1 << 62;
const C: u64 = 1;

#[test]
fn a_deleted_value_is_whole_for_who_reads_it() {
    model(
        &[A],
        &[
            |it| assert!(it.load(A).is_none_or(|number| number == 1)),
            |it| assert_eq!(it.delete(A), Some(1)),
        ],
        |it| assert_eq!(it.load(A), None),
    );
}

#[test]
fn writers_of_one_key_each_see_the_one_before() {
    model(
        &[A],
        &[
            |it| assert!(matches!(it.store(A, 2), Some(1 | 3))),
            |it| assert!(matches!(it.store(A, 3), Some(1 | 2))),
        ],
        |it| assert!(matches!(it.load(A), Some(2 | 3))),
    );
}

/// The new value keeps the key of the old item while others delete and read.
#[test]
fn a_swapped_value_has_its_key() {
    model(
        &[A],
        &[
            |it| {
                // The delete may come first.
                let _ = it.compare_and_swap(A, 1, 2);
            },
            |it| assert!(matches!(it.delete(A), Some(1 | 2))),
            |it| {
                for (key, number) in it.range() {
                    assert_eq!(key, A);
                    assert!(matches!(number, 1 | 2));
                }
            },
        ],
        |it| assert_eq!(it.load(A), None),
    );
}

/// Neighbours in one leaf: the change of one loses nothing of the other.
#[test]
fn neighbours_do_not_undo_each_other() {
    model(
        &[A],
        &[
            |it| assert_eq!(it.store(B, 2), None),
            |it| assert_eq!(it.delete(A), Some(1)),
        ],
        |it| {
            assert_eq!((it.load(A), it.load(B)), (None, Some(2)));
        },
    );
}

/// The third key turns the leaf into a node, while another is replaced and a third read.
#[test]
fn a_leaf_that_becomes_a_node_loses_nothing() {
    model(
        &[A, B],
        &[
            |it| assert_eq!(it.store(C, 3), None),
            |it| assert_eq!(it.store(A, 2), Some(1)),
            |it| assert_eq!(it.load(B), Some(1)),
        ],
        |it| {
            let found = [A, B, C].map(|key| it.load(key));
            assert_eq!(found, [Some(2), Some(1), Some(3)]);
        },
    );
}

#[test]
fn a_clear_takes_each_value_once() {
    model(
        &[A, B],
        &[
            |it| it.trie.clear(),
            |it| {
                assert!(matches!(it.store(A, 2), None | Some(1)));
            },
        ],
        |it| {
            assert_eq!(it.load(B), None);
            assert!(matches!(it.load(A), None | Some(2)));
        },
    );
}

//! Thread-locals in safe Rust, ours and a dependency's.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gort_torture_dep as dep;
use rand::Rng as _;

use crate::drive::{many, park, scaled};

pub(super) fn a_dependency_keeps_its_count() {
    many(scaled(10_000), |i| {
        for round in 0..20 {
            let seen = dep::bump_around(&mut park);
            assert_eq!((seen.before, seen.after), (2 * round, 2 * round + 2));
            assert!(seen.stayed, "the count has moved");
            assert_eq!(dep::count(), seen.after);
        }
        let sum = dep::push_around(i as u64, &mut || {
            park();
            assert!(dep::is_borrowed());
        });
        assert_eq!(sum, i as u64);
        assert!(!dep::is_borrowed());
    });
}

pub(super) fn a_borrow_is_held_across_parks() {
    thread_local!(static VALUES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });
    many(scaled(10_000), |i| {
        VALUES.with(|values| {
            let mut values = values.borrow_mut();
            for round in 0..20 {
                values.push(i);
                park();
                assert_eq!(*values, vec![i; round + 1]);
                assert!(VALUES.with(|again| again.try_borrow().is_err()));
            }
        });
        assert_eq!(VALUES.take().len(), 20);
    });
}

pub(super) fn random_numbers_never_repeat() {
    let seen = Mutex::new(HashSet::new());
    let count = scaled(10_000);
    many(count, |_| {
        let mut generator = rand::rng();
        let mut numbers = Vec::new();
        for _ in 0..10 {
            numbers.push(generator.random::<u64>());
            park();
            numbers.push(generator.clone().random());
            numbers.push(rand::rng().random());
        }
        seen.lock().unwrap().extend(numbers);
    });
    assert_eq!(seen.into_inner().unwrap().len(), 30 * count);
}

pub(super) fn a_scoped_thread_local_is_the_goroutines() {
    scoped_tls::scoped_thread_local!(static NUMBER: usize);
    many(scaled(10_000), |i| {
        for round in 0..10 {
            let outer = i * 100 + round;
            NUMBER.set(&outer, || {
                park();
                let inner = outer + 1;
                NUMBER.set(&inner, || {
                    park();
                    NUMBER.with(|number| assert_eq!(*number, outer + 1));
                });
                park();
                NUMBER.with(|number| {
                    park();
                    assert_eq!(*number, outer);
                });
            });
            assert!(!NUMBER.is_set());
            park();
        }
    });
}

/// Counts in its destructor, which parks.
struct Counted {
    of: Cell<Option<&'static Ends>>,
}

#[derive(Default)]
struct Ends {
    begun: AtomicUsize,
    finished: AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(ends) = self.of.get() else { return };
        ends.begun.fetch_add(1, Relaxed);
        for _ in 0..3 {
            park();
        }
        ends.finished.fetch_add(1, Relaxed);
    }
}

pub(super) fn destructors_run_once_and_may_park() {
    thread_local!(static COUNTED: Counted = const { Counted { of: Cell::new(None) } });
    static ENDS: Ends = Ends {
        begun: AtomicUsize::new(0),
        finished: AtomicUsize::new(0),
    };
    let count = scaled(10_000);
    // Twice: the second time the goroutines have stacks that others had before.
    for round in 1..=2 {
        many(count, |_| {
            COUNTED.with(|counted| {
                assert!(counted.of.get().is_none(), "somebody else's value");
                counted.of.set(Some(&ENDS));
            });
            park();
            COUNTED.with(|counted| assert!(counted.of.get().is_some()));
        });
        // `many` has joined them all: their destructors are over.
        assert_eq!(ENDS.begun.load(Relaxed), round * count);
        assert_eq!(ENDS.finished.load(Relaxed), round * count);
    }
}

pub(super) fn destructors_may_touch_other_thread_locals() {
    struct First(Cell<usize>);
    struct Second(Cell<usize>);
    thread_local! {
        static FIRST: First = const { First(Cell::new(0)) };
        static SECOND: Second = const { Second(Cell::new(0)) };
    }
    static GONE: AtomicUsize = AtomicUsize::new(0);
    static MET: AtomicUsize = AtomicUsize::new(0);
    impl Drop for First {
        fn drop(&mut self) {
            assert_eq!(
                dep::count(),
                2,
                "a thread-local without destructor is still there"
            );
            park();
            // Made here, in a destructor; its own destructor runs after this one.
            SECOND.with(|second| second.0.set(self.0.get()));
            park();
            assert!(FIRST.try_with(|_| ()).is_err());
            GONE.fetch_add(1, Relaxed);
        }
    }
    impl Drop for Second {
        fn drop(&mut self) {
            park();
            MET.fetch_add(self.0.get(), Relaxed);
        }
    }
    let count = scaled(5_000);
    many(count, |i| {
        dep::bump_around(&mut park);
        FIRST.with(|first| first.0.set(i + 1));
    });
    assert_eq!(GONE.load(Relaxed), count);
    assert_eq!(MET.load(Relaxed), count * (count + 1) / 2);
}

pub(super) fn a_hash_map_keeps_its_keys() {
    // `RandomState` takes its seeds from a thread-local.
    many(scaled(5_000), |i| {
        let mut map = HashMap::new();
        for key in 0..50 {
            map.insert(key, i);
            if key % 10 == 0 {
                park();
            }
        }
        assert!((0..50).all(|key| map[&key] == i));
    });
}

//! Crates that everybody uses and that keep something per thread.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_epoch as epoch;
use rayon::prelude::*;
use tracing::Span;
use tracing_subscriber::prelude::*;

use crate::drive::{many, park, scaled};

/// The stock registry knows at most 4,096 threads, and so goroutines, at a time.
const TRACED_MAX: usize = 4_000;

pub(super) fn tracing_spans_are_held_across_parks() {
    tracing_subscriber::registry().init();
    let count = scaled(10_000);
    for first in (0..count).step_by(TRACED_MAX) {
        many(TRACED_MAX.min(count - first), |i| {
            let outer = tracing::info_span!("outer", i);
            let entered = outer.enter();
            park();
            for _ in 0..5 {
                let inner = tracing::info_span!("inner");
                inner.in_scope(|| {
                    park();
                    tracing::info!("an event");
                    assert_eq!(Span::current().id(), inner.id());
                });
                assert_eq!(Span::current().id(), outer.id());
                park();
            }
            drop(entered);
            assert!(Span::current().is_none());
        });
    }
}

pub(super) fn rayon_works_from_goroutines() {
    many(scaled(500), |i| {
        park();
        let (a, b) = rayon::join(|| i + 1, || i + 2);
        assert_eq!(a + b, 2 * i + 3);
        park();
        assert_eq!((0..100).into_par_iter().sum::<usize>(), 4_950);
        park();
        let sum = AtomicUsize::new(0);
        rayon::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|_| {
                    sum.fetch_add(i, Relaxed);
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * i);
        assert!(rayon::current_thread_index().is_none());
    });
}

pub(super) fn tokio_blocks_on_futures() {
    use tokio::runtime::{Builder, Handle};
    many(scaled(300), |i| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        park();
        let sum = runtime.block_on(async move {
            park();
            let later = tokio::spawn(async move {
                // waits: for nothing, tokio's timer is what is tested.
                tokio::time::sleep(Duration::from_micros(100)).await;
                park();
                i
            });
            park();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            tokio::spawn(async move { sender.send(5).unwrap() });
            receiver.await.unwrap() + later.await.unwrap()
        });
        assert_eq!(sum, i + 5);
        park();
        let entered = runtime.enter();
        park();
        assert_eq!(Handle::current().id(), runtime.handle().id());
        drop(entered);
        assert!(Handle::try_current().is_err());
    });
}

pub(super) fn regexes_match() {
    let shared = Arc::new(regex::Regex::new(r"(?P<word>\w+)-(\d+)\s*$").unwrap());
    many(scaled(2_000), |i| {
        let text = format!("word-{i} ");
        for _ in 0..5 {
            let captures = shared.captures(&text).unwrap();
            park();
            assert_eq!((&captures["word"], &captures[2]), ("word", &*i.to_string()));
        }
        let own = regex::Regex::new(&format!("^a{{{}}}$", i % 20 + 1)).unwrap();
        park();
        assert!(own.is_match(&"a".repeat(i % 20 + 1)));
        let mut matches = shared.find_iter(&text);
        assert!(matches.next().is_some());
        park();
        assert!(matches.next().is_none());
    });
}

pub(super) fn epochs_are_pinned() {
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    let count = scaled(5_000);
    many(count, |_| {
        for round in 0..10 {
            let guard = epoch::pin();
            guard.defer(|| CALLED.fetch_add(1, Relaxed));
            // Pinned across a park: nobody's garbage of this moment goes meanwhile.
            if round % 2 == 0 {
                park();
            }
            let nested = epoch::pin();
            drop(guard);
            assert!(epoch::is_pinned());
            drop(nested);
            assert!(!epoch::is_pinned());
            park();
        }
    });
    // All that pinned have left the list, so the epoch advances until everything is called.
    while CALLED.load(Relaxed) < 10 * count {
        epoch::pin().flush();
        park();
    }
    assert_eq!(CALLED.load(Relaxed), 10 * count);
}

pub(super) fn a_dashmap_keeps_its_entries() {
    let map = dashmap::DashMap::new();
    many(scaled(5_000), |i| {
        map.insert(i, i);
        park();
        *map.get_mut(&i).unwrap() += 1;
        park();
        assert_eq!(map.remove(&i), Some((i, i + 1)));
    });
    assert!(map.is_empty());
}

pub(super) fn locks_of_parking_lot_work() {
    use parking_lot::{Mutex, ReentrantMutex, RwLock};
    let reentrant = ReentrantMutex::new(Cell::new(0));
    let mutex = Mutex::new(0);
    let rw = RwLock::new(0);
    // All want the one lock that is held across parks: the work grows with the square.
    let count = scaled(500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..count {
                *mutex.lock() += 1;
                *rw.write() += 1;
            }
        });
        many(count, |_| {
            for _ in 0..5 {
                *mutex.lock() += 1;
                *rw.write() += 1;
                park();
                assert!(*rw.read() > 0);
                // It knows its owner by the address of a thread-local.
                let outer = loop {
                    match reentrant.try_lock() {
                        Some(guard) => break guard,
                        None => park(),
                    }
                };
                let before = outer.get();
                park();
                let inner = reentrant.lock();
                inner.set(inner.get() + 1);
                drop(inner);
                park();
                assert_eq!(outer.get(), before + 1);
            }
        });
    });
    assert_eq!(reentrant.into_inner().get(), 5 * count);
    assert_eq!(
        (mutex.into_inner(), rw.into_inner()),
        (6 * count, 6 * count)
    );
}

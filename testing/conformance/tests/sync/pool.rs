//! MP07 to MP10.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use gort::sync::{Mutex, Pool};

#[gort::test(procs = 1)]
fn mp07_a_pool_gives_back_what_was_put() {
    let pool: Pool<&str> = Pool::new(|| "new");
    assert!(pool.try_get().is_none());
    pool.put("a");
    pool.put("b");
    assert_eq!(pool.get().into_inner(), "a");
    assert_eq!(pool.get().into_inner(), "b");
    assert!(pool.try_get().is_none());
    // The newest of those that have no place of their own.
    for thing in ["c", "d", "e"] {
        pool.put(thing);
    }
    let order = [(); 4].map(|()| pool.get().into_inner());
    assert_eq!(order, ["c", "e", "d", "new"]);
}

#[gort::test(procs = 1)]
fn mp07_an_empty_pool_makes_new_things() {
    let count = AtomicU32::new(0);
    let pool = Pool::new(|| count.fetch_add(1, Ordering::Relaxed) + 1);
    let numbers = [(); 3].map(|()| pool.get().into_inner());
    assert_eq!(numbers, [1, 2, 3]);
    pool.put(42);
    assert_eq!(*pool.get(), 42, "and back by the guard");
    assert_eq!(*pool.get(), 42);
    assert_eq!(pool.get().into_inner(), 42);
    assert_eq!(*pool.get(), 4);
}

/// What Go does by two collections: here by `clear`, and by the clock (see the unit test).
#[gort::test(procs = 1)]
fn mp07_a_cleared_pool_is_empty() {
    let pool = Pool::new(|| 0);
    (1..100).for_each(|i| pool.put(i));
    pool.clear();
    assert!(pool.try_get().is_none());
    assert_eq!(*pool.get(), 0);
}

#[gort::test(procs = 1)]
fn mp07_what_a_panic_interrupts_does_not_go_back() {
    let pool: Pool<Vec<u8>> = Pool::new(Vec::new);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut half = pool.get();
        half.push(1);
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    assert!(pool.try_get().is_none());
}

#[gort::test(procs = 4)]
fn mp08_a_pool_under_stress() {
    const GOROUTINES: u64 = 10;
    const ROUNDS: u64 = 10_000;
    let made = AtomicUsize::new(0);
    let pool = Pool::new(|| {
        made.fetch_add(1, Ordering::Relaxed);
        (0u64, !0u64, AtomicBool::new(false))
    });
    gort::scope(|s| {
        for own in 0..GOROUTINES {
            let pool = &pool;
            s.go(move || {
                for round in 0..ROUNDS {
                    let mut thing = pool.get();
                    assert!(!thing.2.swap(true, Ordering::Relaxed), "two have it");
                    assert_eq!(thing.0, !thing.1, "a torn value");
                    *thing = (own * ROUNDS + round, !(own * ROUNDS + round), true.into());
                    if round % 97 == 0 {
                        gort::yield_now();
                    }
                    thing.2.store(false, Ordering::Relaxed);
                    if round % 1_000 == 0 {
                        drop(thing);
                        pool.clear();
                    }
                }
            });
        }
    });
    assert!(made.load(Ordering::Relaxed) >= 1);
}

/// One goroutine puts, and takes some back; nine take what they find.
#[gort::test(procs = 4)]
fn mp09_each_thing_is_taken_once() {
    const THINGS: usize = 20_000;
    let pool: Pool<usize> = Pool::new(|| unreachable!("nobody asks for new ones"));
    let (is_done, taken) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let own_takes = gort::scope(|s| {
        for _ in 0..9 {
            s.go(|| {
                let mut mine = Vec::new();
                loop {
                    let was_done = is_done.load(Ordering::Acquire);
                    match pool.try_get() {
                        Some(thing) => mine.push(thing.into_inner()),
                        None if was_done => break,
                        None => gort::yield_now(),
                    }
                }
                taken.lock().extend(mine);
            });
        }
        let mut mine = Vec::new();
        for thing in 0..THINGS {
            pool.put(thing);
            if thing % 10 == 0 {
                mine.extend(pool.try_get().map(|thing| thing.into_inner()));
            }
        }
        is_done.store(true, Ordering::Release);
        let count = mine.len();
        taken.lock().extend(mine);
        count
    });
    assert!(own_takes > 0);
    let taken = taken.into_inner();
    assert_eq!(taken.len(), THINGS);
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), THINGS);
}

/// Put on several Ps and threads, got on one: nothing that was put is left behind.
#[gort::test(procs = 4)]
fn mp10_pooled_things_follow_between_ps() {
    let pool: Pool<u32> = Pool::new(|| unreachable!("they are all there"));
    gort::scope(|s| {
        for own in 0..8 {
            let pool = &pool;
            s.go(move || {
                for i in 0..50 {
                    pool.put(own * 50 + i);
                    gort::yield_now();
                }
            });
        }
    });
    std::thread::scope(|s| {
        for own in 8..12 {
            let pool = &pool;
            s.spawn(move || (0..50).for_each(|i| pool.put(own * 50 + i)));
        }
    });
    let guards: Vec<_> = (0..600).map(|_| pool.get()).collect();
    let numbers: HashSet<u32> = guards.iter().map(|guard| **guard).collect();
    assert_eq!(numbers, (0..600).collect());
    assert!(pool.try_get().is_none());
    drop(guards);
    assert!(pool.try_get().is_some());
}

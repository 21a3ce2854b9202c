//! SY08 to SY11, S118, S119. S120 is shown by `tests/sync` of `gort` and by `testing/crash`.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use gort::sync::{Barrier, Mutex, RwLock};
use gort_conformance::support::{assert_not_for_a_while, eventually_parked, go_named};

const READING: &str = "sync.RWMutex.RLock";
const WRITING: &str = "sync.RWMutex.Lock";

#[gort::test(procs = 4)]
fn sy08_readers_hold_together() {
    for (procs, readers) in [(4, 1), (4, 3), (2, 4)] {
        gort::runtime::set_gomaxprocs(procs);
        let lock = RwLock::new(());
        let all_inside = Barrier::new(readers);
        let inside = AtomicU32::new(0);
        gort::scope(|s| {
            for _ in 0..readers {
                s.go(|| {
                    let _guard = lock.read();
                    inside.fetch_add(1, Ordering::Relaxed);
                    // Passed only if all hold the lock at once.
                    all_inside.wait();
                });
            }
        });
        assert_eq!(inside.into_inner(), readers as u32);
    }
}

#[test]
fn sy09_the_try_forms_of_the_reader_writer_lock() {
    let lock = RwLock::new(());
    let guard = lock.write();
    assert!(lock.try_write().is_none());
    assert!(lock.try_read().is_none());
    drop(guard);
    let guard = lock.try_write().expect("free");
    drop(guard);
    let first = lock.read();
    let second = lock.try_read().expect("readers share");
    let third = lock.try_read().expect("readers share");
    assert!(lock.try_write().is_none());
    drop((first, second, third));
    assert!(lock.try_write().is_some());
}

/// As Go's HammerRWMutex: readers count 1, writers 10,000, and nobody ever sees a mixture.
fn hammer(procs: usize, readers: usize, rounds: usize) {
    gort::runtime::set_gomaxprocs(procs);
    let lock = RwLock::new(());
    let activity = AtomicI32::new(0);
    let busy = || {
        for _ in 0..100 {
            std::hint::spin_loop();
        }
    };
    let read = || {
        for _ in 0..rounds {
            let _guard = lock.read();
            let inside = activity.fetch_add(1, Ordering::SeqCst) + 1;
            assert!((1..10_000).contains(&inside), "a reader sees {inside}");
            busy();
            activity.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let write = || {
        for _ in 0..rounds {
            let _guard = lock.write();
            let inside = activity.fetch_add(10_000, Ordering::SeqCst) + 10_000;
            assert_eq!(inside, 10_000, "a writer is not alone");
            busy();
            activity.fetch_sub(10_000, Ordering::SeqCst);
        }
    };
    gort::scope(|s| {
        s.go(write);
        (0..readers / 2).for_each(|_| drop(s.go(read)));
        s.go(write);
        (readers / 2..readers).for_each(|_| drop(s.go(read)));
    });
    assert_eq!(activity.into_inner(), 0);
}

#[gort::test(procs = 4)]
fn sy10_readers_and_writers_never_mix() {
    for procs in [1, 4, 10] {
        for readers in [1, 3, 10] {
            hammer(procs, readers, 200);
        }
    }
    hammer(10, 5, 200);
    assert_eq!(gort::runtime::gomaxprocs(), 10);
}

#[gort::test]
fn sy11_a_waiting_writer_makes_the_try_read_fail() {
    let lock = Arc::new(RwLock::new(()));
    let guard = lock.read();
    let writer = {
        let lock = lock.clone();
        go_named("sy11-writer", move || drop(lock.write()))
    };
    eventually_parked("sy11-writer", WRITING);
    assert!(lock.try_read().is_none());
    drop(
        lock.try_read_recursive()
            .expect("the recursive form goes past waiting writers"),
    );
    drop(guard);
    writer.join().unwrap();
    assert!(lock.try_read().is_some());
}

/// A log of who did what, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, who: &str, what: &str) {
        self.0.lock().push(format!("{who} {what}"));
    }
    fn position(&self, line: &str) -> usize {
        let lines = self.0.lock();
        lines
            .iter()
            .position(|it| it == line)
            .unwrap_or_else(|| panic!("{line} in {lines:?}"))
    }
}

fn read_logged(
    name: &str,
    lock: &Arc<RwLock<()>>,
    log: &Log,
    inside: &Arc<Barrier>,
) -> gort::JoinHandle<()> {
    let (name, lock, log, inside) = (name.to_owned(), lock.clone(), log.clone(), inside.clone());
    go_named(&name.clone(), move || {
        log.add(&name, "asks");
        let guard = lock.read();
        log.add(&name, "reads");
        inside.wait();
        log.add(&name, "leaves");
        drop(guard);
    })
}

fn write_logged(name: &str, lock: &Arc<RwLock<()>>, log: &Log) -> gort::JoinHandle<()> {
    let (name, lock, log) = (name.to_owned(), lock.clone(), log.clone());
    go_named(&name.clone(), move || {
        log.add(&name, "asks");
        let guard = lock.write();
        log.add(&name, "writes");
        gort::yield_now();
        log.add(&name, "leaves");
        drop(guard);
    })
}

#[gort::test]
fn s118_a_waiting_writer_goes_before_later_readers() {
    let lock = Arc::new(RwLock::new(()));
    let log = Log::default();
    let guard = lock.read();
    let writer = write_logged("s118-writer", &lock, &log);
    eventually_parked("s118-writer", WRITING);
    // The barrier shows that the three share the lock afterwards.
    let all_inside = Arc::new(Barrier::new(3));
    let names = ["s118-reader-1", "s118-reader-2", "s118-reader-3"];
    let readers = names.map(|name| {
        let reader = read_logged(name, &lock, &log, &all_inside);
        eventually_parked(name, READING);
        reader
    });
    drop(guard);
    writer.join().unwrap();
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
    for name in names {
        assert!(log.position(&format!("{name} asks")) < log.position("s118-writer writes"));
        assert!(log.position("s118-writer leaves") < log.position(&format!("{name} reads")));
        for other in names {
            let (reads, leaves) = (format!("{name} reads"), format!("{other} leaves"));
            assert!(log.position(&reads) < log.position(&leaves), "they share");
        }
    }
}

#[gort::test]
fn s119_the_readers_behind_a_writer_get_in_together() {
    let lock = Arc::new(RwLock::new(()));
    let log = Log::default();
    let guard = lock.write();
    let all_inside = Arc::new(Barrier::new(3));
    let names = ["s119-reader-1", "s119-reader-2", "s119-reader-3"];
    let second = write_logged("s119-second", &lock, &log);
    eventually_parked("s119-second", WRITING);
    let readers = names.map(|name| {
        let reader = read_logged(name, &lock, &log, &all_inside);
        eventually_parked(name, READING);
        reader
    });
    drop(guard);
    second.join().unwrap();
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
    for name in names {
        let leaves = format!("{name} leaves");
        assert!(
            log.position(&leaves) < log.position("s119-second writes"),
            "before the second writer"
        );
    }
}

#[gort::test]
fn a_read_lock_of_another_goroutine_behind_a_waiting_writer_waits() {
    let lock = Arc::new(RwLock::new(()));
    // Without a writer it passes.
    drop((lock.read(), lock.read()));

    mem::forget(lock.read());
    let writer = {
        let lock = lock.clone();
        go_named("behind-writer", move || drop(lock.write()))
    };
    eventually_parked("behind-writer", WRITING);
    let second = {
        let lock = lock.clone();
        go_named("behind-second", move || drop(lock.read()))
    };
    eventually_parked("behind-second", READING);
    assert_not_for_a_while("both wait for the first reader", || {
        writer.is_finished() || second.is_finished()
    });
    // SAFETY: the first reader's guard was forgotten, so its share is ours to give up.
    unsafe { lock.force_unlock_read() };
    writer.join().unwrap();
    second.join().unwrap();
}

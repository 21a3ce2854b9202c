//! Mutex and RwLock: timeouts, fairness, guards.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gort::sync::{
    MappedMutexGuard, Mutex, MutexGuard, RawMutex, RawRwLock, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};
use gort_test_support::{
    SOON, eventually, eventually_parked, eventually_parked_or_over, eventually_within, go_named,
};

const SHORT: Duration = Duration::from_millis(5);

static IN_A_STATIC: Mutex<u32> = Mutex::new(1);
static RW_IN_A_STATIC: RwLock<u32> = RwLock::new(1);

#[test]
fn locks_are_small_and_const() {
    *IN_A_STATIC.lock() += 1;
    *RW_IN_A_STATIC.write() += 1;
    // As Go's: half is what reports of deadlocks need.
    assert_eq!((size_of::<RawMutex>(), size_of::<RawRwLock>()), (8, 24));
}

/// Starts a writer that waits, with or without a deadline.
fn waiting_writer(lock: &Arc<RwLock<u32>>, limit: Option<Duration>) -> gort::JoinHandle<()> {
    let writer = {
        let lock = Arc::clone(lock);
        gort::go(move || match limit {
            None => *lock.write() += 1,
            Some(limit) => assert!(lock.try_write_for(limit).is_none()),
        })
    };
    // A writer that waits keeps new readers out; one with a deadline may have given up by now.
    while !writer.is_finished() && lock.try_read().is_some() {
        gort::yield_now();
    }
    writer
}

/// The number of a thread's system call at this moment, if it is in one.
fn system_call(tid: i32) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// A thread's descriptor is the next thread's: who waits need not be who entered with it.
#[test]
fn d13_a_thread_is_not_taken_for_one_that_ended() {
    static LOCK: RwLock<u32> = RwLock::new(0);
    static STEP: std::sync::Barrier = std::sync::Barrier::new(2);
    // All but the last reader have descriptors of their own before the first gives up its.
    drop(LOCK.read());
    let writer = std::thread::spawn(|| {
        drop(LOCK.read());
        STEP.wait();
        STEP.wait();
        *LOCK.write() += 1;
    });
    STEP.wait();
    let guard = std::thread::spawn(|| LOCK.read()).join().unwrap();
    STEP.wait();
    eventually("a writer waits", || LOCK.try_read().is_none());
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        // SAFETY: takes nothing.
        tell.send(unsafe { libc::gettid() }).unwrap();
        *LOCK.read()
    });
    let tid = told.recv().unwrap();
    eventually("the reader waits", || {
        reader.is_finished() || system_call(tid) == Some(libc::SYS_futex)
    });
    drop(guard);
    writer.join().unwrap();
    assert_eq!(reader.join().unwrap(), 1);
}

/// D13: an error only where it would wait for itself. What a release build reports is shown by `testing/crash`.
#[gort::test]
fn s120_d13_a_second_read_lock_behind_a_writer_panics_in_debug_builds() {
    let lock = Arc::new(RwLock::new(0));
    let (first, first_line) = (lock.read(), line!());
    let writer = waiting_writer(&lock, None);
    if cfg!(debug_assertions) {
        let again_line = line!() + 1;
        let again = catch_unwind(AssertUnwindSafe(|| drop(lock.read())));
        let payload = again.unwrap_err();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(
            text.starts_with("sync: RWMutex read-locked twice by one goroutine"),
            "{text}"
        );
        for (which, line) in [("first at", first_line), ("again at", again_line)] {
            let place = format!("{which} {}:{line}:", file!());
            assert!(text.contains(&place), "no {place} in {text}");
        }
    }
    drop(first);
    writer.join().unwrap();
}

#[gort::test]
fn s120_d13_a_second_read_lock_that_is_granted_is_no_error() {
    let lock = Arc::new(RwLock::new(0));
    let first = lock.read();
    drop((lock.read(), lock.read_recursive()));

    // Past the writer that waits.
    let writer = waiting_writer(&lock, None);
    drop(lock.read_recursive());
    assert!(lock.try_read_for(SHORT).is_none());
    drop(first);
    writer.join().unwrap();

    // The writer gives up.
    let first = lock.read();
    let writer = waiting_writer(&lock, Some(SHORT));
    drop(lock.read());
    drop(first);
    writer.join().unwrap();

    // Another goroutine's guard, dropped here, and the other way round.
    let guard = {
        let lock = Arc::clone(&lock);
        gort::go(move || gort::sync::RwLock::read_arc(&lock))
            .join()
            .unwrap()
    };
    let writer = waiting_writer(&lock, None);
    let reader = {
        let lock = Arc::clone(&lock);
        gort::go(move || *lock.read())
    };
    drop(guard);
    writer.join().unwrap();
    assert!(reader.join().unwrap() >= 1);
}

/// Drops `inside` once a goroutine that `reads` has begun to wait for the writer that waits for that guard.
fn assert_served_after(
    inside: RwLockReadGuard<'_, u32>,
    writer: gort::JoinHandle<()>,
    name: &str,
    reads: gort::JoinHandle<u32>,
) {
    eventually_parked_or_over(name, "sync.RWMutex.RLock", &reads);
    drop(inside);
    writer.join().unwrap();
    assert_eq!(reads.join().unwrap(), 1);
}

/// It is not known whose guard another reader has dropped: here the one that it was sent.
#[gort::test]
fn d13_a_reader_whose_guard_another_reader_has_dropped_is_served() {
    let lock = Arc::new(RwLock::new(0));
    let (send_guard, guards) = gort::chan::bounded(0);
    let (go_on, told) = gort::chan::bounded(0);
    let first = {
        let lock = Arc::clone(&lock);
        go_named("d13-sent", move || {
            send_guard.send(RwLock::read_arc(&lock)).unwrap();
            told.recv().unwrap();
            *lock.read()
        })
    };
    let sent = guards.recv().unwrap();
    let own = lock.read();
    drop(sent);
    let writer = waiting_writer(&lock, None);
    go_on.send(()).unwrap();
    assert_served_after(own, writer, "d13-sent", first);
}

/// Another lock is where one was whose guard was forgotten.
#[gort::test]
fn d13_a_guard_that_was_forgotten_is_not_of_the_next_lock() {
    let mut lock = Arc::new(RwLock::new(0));
    let (go_on, told) = gort::chan::bounded::<Arc<RwLock<u32>>>(0);
    let (give_back, given_back) = gort::chan::bounded(0);
    let first = {
        let lock = Arc::clone(&lock);
        go_named("d13-forgot", move || {
            mem::forget(lock.read());
            drop(lock);
            give_back.send(()).unwrap();
            let lock = told.recv().unwrap();
            *lock.read()
        })
    };
    given_back.recv().unwrap();
    *Arc::get_mut(&mut lock).unwrap() = RwLock::new(0);
    let own = lock.read();
    let writer = waiting_writer(&lock, None);
    go_on.send(Arc::clone(&lock)).unwrap();
    assert_served_after(own, writer, "d13-forgot", first);
}

#[test]
fn guards_are_send() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<MutexGuard<'_, u32>>();
    is_send::<RwLockReadGuard<'_, u32>>();
    is_send::<RwLockWriteGuard<'_, u32>>();
    is_sync::<MutexGuard<'_, u32>>();
}

#[gort::test]
fn a_timed_lock_gives_up_at_its_deadline_and_leaves_no_trace() {
    let lock = Mutex::new(0);
    let guard = lock.lock();
    let start = Instant::now();
    assert!(lock.try_lock_for(SHORT).is_none());
    assert!(start.elapsed() >= SHORT);
    assert!(
        lock.try_lock_until(start).is_none(),
        "a deadline that has passed"
    );
    drop(guard);
    *lock.try_lock_for(SHORT).expect("free") += 1;
    *lock.lock() += 1;
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn a_timed_lock_gives_up_on_a_plain_thread_too() {
    let lock = Mutex::new(0);
    let rw = RwLock::new(0);
    let _guards = (lock.lock(), rw.read());
    let start = Instant::now();
    assert!(lock.try_lock_for(SHORT).is_none());
    assert!(rw.try_write_for(SHORT).is_none());
    assert!(start.elapsed() >= 2 * SHORT);
    assert!(
        rw.try_read_for(SHORT).is_some(),
        "the writer that gave up stops nobody"
    );
}

#[gort::test]
fn a_timed_lock_gets_what_becomes_free_in_time() {
    let lock = Arc::new(Mutex::new(0));
    let guard = lock.lock();
    let waiter = {
        let lock = lock.clone();
        go_named("timed", move || {
            lock.try_lock_for(Duration::from_secs(60)).is_some()
        })
    };
    eventually_parked("timed", "sync.Mutex.Lock");
    drop(guard);
    assert!(waiter.join().unwrap());
}

#[gort::test]
fn those_behind_one_that_gives_up_are_served() {
    let lock = Arc::new(Mutex::new(0));
    let guard = lock.lock();
    let first = {
        let lock = lock.clone();
        go_named("gives-up", move || lock.try_lock_for(SHORT).is_none())
    };
    eventually("it waits or has given up", || {
        first.is_finished() || gort::runtime::stacks().contains("\"gives-up\" [sync.Mutex.Lock")
    });
    let second = {
        let lock = lock.clone();
        go_named("stays", move || *lock.lock() += 1)
    };
    eventually_parked("stays", "sync.Mutex.Lock");
    assert!(first.join().unwrap());
    drop(guard);
    second.join().unwrap();
    assert_eq!(*lock.lock(), 1);
}

/// Timeouts and locks in a crowd: exact counts, and the lock is free and clean afterwards.
#[gort::test(procs = 4)]
fn timeouts_in_a_crowd_lose_nothing() {
    let lock = Mutex::new(0u64);
    let rw = RwLock::new(0u64);
    let (locked, written) = (AtomicU32::new(0), AtomicU32::new(0));
    gort::scope(|s| {
        for i in 0..8u64 {
            let (lock, rw, locked, written) = (&lock, &rw, &locked, &written);
            s.go(move || {
                for round in 0..500u64 {
                    let patience = Duration::from_nanos((i * 7919 + round * 104_729) % 40_000);
                    if let Some(mut value) = lock.try_lock_for(patience) {
                        *value += 1;
                        locked.fetch_add(1, Ordering::Relaxed);
                        if round % 7 == 0 {
                            gort::yield_now();
                        }
                        if round % 3 == 0 {
                            MutexGuard::unlock_fair(value);
                        }
                    }
                    if i % 2 == 0 {
                        if let Some(mut value) = rw.try_write_for(patience) {
                            *value += 1;
                            written.fetch_add(1, Ordering::Relaxed);
                            if round % 5 == 0 {
                                gort::yield_now();
                            }
                            if round % 2 == 0 {
                                let value = RwLockWriteGuard::downgrade(value);
                                assert!(*value > 0);
                            }
                        }
                    } else if let Some(value) = rw.try_read_for(patience) {
                        let before = *value;
                        if round % 11 == 0 {
                            gort::yield_now();
                        }
                        assert_eq!(*value, before);
                    }
                }
            });
        }
    });
    assert_eq!(
        *lock.try_lock().expect("free"),
        u64::from(locked.into_inner())
    );
    assert_eq!(
        *rw.try_write().expect("free"),
        u64::from(written.into_inner())
    );
}

#[gort::test(procs = 1)]
fn a_fair_unlock_hands_over() {
    let lock = Arc::new(Mutex::new(()));
    let guard = lock.lock();
    let got = Arc::new(AtomicBool::new(false));
    let waiter = {
        let (lock, got) = (lock.clone(), got.clone());
        go_named("fair", move || {
            let _guard = lock.lock();
            got.store(true, Ordering::Relaxed);
        })
    };
    eventually_parked("fair", "sync.Mutex.Lock");
    // An ordinary unlock would leave the lock free for us to take again; here it is the other's turn.
    MutexGuard::unlock_fair(guard);
    let _guard = lock.lock();
    assert!(got.load(Ordering::Relaxed));
    drop(_guard);
    waiter.join().unwrap();
}

#[gort::test(procs = 1)]
fn a_bump_lets_a_waiter_go_first() {
    let lock = Arc::new(Mutex::new(0));
    let mut guard = lock.lock();
    MutexGuard::bump(&mut guard);
    let waiter = {
        let lock = lock.clone();
        go_named("bumped", move || *lock.lock() = 7)
    };
    eventually_parked("bumped", "sync.Mutex.Lock");
    MutexGuard::bump(&mut guard);
    assert_eq!(*guard, 7);
    drop(guard);
    waiter.join().unwrap();
}

#[gort::test]
fn a_panic_releases_the_guard_and_poisons_nothing() {
    let lock = Arc::new(Mutex::new(0));
    let rw = Arc::new(RwLock::new(0));
    let outcome = {
        let (lock, rw) = (lock.clone(), rw.clone());
        gort::go(move || {
            let (mut a, mut b) = (lock.lock(), rw.write());
            (*a, *b) = (1, 1);
            panic!("on purpose");
        })
        .join()
    };
    assert!(outcome.is_err());
    assert_eq!((*lock.lock(), *rw.write()), (1, 1));
}

#[gort::test]
fn goexit_releases_the_guard() {
    let lock = Arc::new(Mutex::new(0));
    let outcome = {
        let lock = lock.clone();
        gort::go(move || {
            let _guard = lock.lock();
            gort::goexit();
        })
        .join()
    };
    assert!(outcome.is_err());
    assert!(lock.try_lock().is_some());
}

#[test]
fn a_guard_can_be_mapped_and_a_lock_kept_in_an_arc() {
    let lock = Arc::new(Mutex::new((1, 2)));
    {
        let mut second: MappedMutexGuard<'_, i32> =
            MutexGuard::map(lock.lock(), |pair| &mut pair.1);
        *second = 3;
    }
    let guard = lock.lock_arc();
    assert!(lock.is_locked());
    assert_eq!(*guard, (1, 3));
    drop(guard);
    assert!(!lock.is_locked());
}

#[gort::test]
fn a_downgrade_lets_readers_in_and_keeps_writers_out() {
    let lock = Arc::new(RwLock::new(0));
    let mut guard = lock.write();
    let inside = Arc::new(AtomicBool::new(false));
    let reader = {
        let (lock, inside) = (lock.clone(), inside.clone());
        go_named("reader", move || {
            let value = lock.read();
            inside.store(true, Ordering::Release);
            *value
        })
    };
    eventually_parked("reader", "sync.RWMutex.RLock");
    *guard = 5;
    let guard = RwLockWriteGuard::downgrade(guard);
    // It enters while we are inside.
    eventually("the reader is inside", || inside.load(Ordering::Acquire));
    assert!(lock.try_write().is_none() && lock.try_read().is_some());
    drop(guard);
    assert_eq!(reader.join().unwrap(), 5);
    assert!(lock.try_write().is_some());
}

#[gort::test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    // Longer, if the machine was too busy for the reader to be parked before the writer gave up.
    let was_in_time = [20, 300, 3000].into_iter().any(|ms| {
        let lock = Arc::new(RwLock::new(()));
        let guard = lock.read();
        let writer = go_named("impatient", {
            let lock = lock.clone();
            move || lock.try_write_for(Duration::from_millis(ms)).is_none()
        });
        eventually_parked_or_over("impatient", "sync.RWMutex.Lock", &writer);
        let reader = go_named("behind it", {
            let lock = lock.clone();
            move || drop(lock.read())
        });
        // It is the writer that it waits for, since the lock is a reader's.
        let was_behind = eventually_parked_or_over("behind it", "sync.RWMutex.RLock", &reader);
        // The first reader stays inside all the time.
        assert!(writer.join().unwrap());
        reader.join().unwrap();
        assert!(!RwLockReadGuard::rwlock(&guard).is_locked_exclusive());
        drop(guard);
        assert!(lock.try_write().is_some());
        was_behind
    });
    assert!(was_in_time, "not even within 3 s");
}

#[gort::test]
fn a_reader_that_gives_up_leaves_no_trace() {
    let lock = RwLock::new(());
    let guard = lock.write();
    assert!(lock.try_read_for(SHORT).is_none());
    drop(guard);
    assert!(lock.try_write().is_some());
}

#[test]
fn a_forgotten_guard_leaves_the_lock_taken() {
    let lock = Mutex::new(1);
    mem::forget(lock.lock());
    assert!(lock.try_lock().is_none());
    // SAFETY: the guard was forgotten.
    unsafe { lock.force_unlock() };
    assert_eq!(*lock.lock(), 1);
}

/// More waiters than buckets, on locks of which many share one.
#[gort::test(procs = 4)]
fn many_locks_with_many_waiters() {
    const LOCKS: usize = 500;
    let locks: Arc<Vec<Mutex<usize>>> = Arc::new((0..LOCKS).map(Mutex::new).collect());
    let guards: Vec<_> = locks.iter().map(Mutex::lock).collect();
    let waiters: Vec<_> = (0..4 * LOCKS)
        .map(|i| {
            let locks = locks.clone();
            let name = if i == 4 * LOCKS - 1 {
                "last-of-many"
            } else {
                ""
            };
            go_named(name, move || *locks[i * 7 % LOCKS].lock() += 1)
        })
        .collect();
    eventually_parked("last-of-many", "sync.Mutex.Lock");
    drop(guards);
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    assert!(
        locks
            .iter()
            .enumerate()
            .all(|(i, lock)| *lock.lock() == i + 4)
    );
}

#[gort::test]
fn one_reads_upgradably_beside_ordinary_readers() {
    let lock = RwLock::new(1);
    let upgradable = lock.upgradable_read();
    assert!(lock.is_locked() && !lock.is_locked_exclusive());
    assert_eq!(*lock.read(), 1);
    assert!(lock.try_upgradable_read().is_none());
    assert!(lock.try_upgradable_read_for(SHORT).is_none());
    assert!(lock.try_write().is_none());
    let reader = RwLockUpgradableReadGuard::downgrade(upgradable);
    let upgradable = lock.try_upgradable_read_for(SHORT).expect("free again");
    drop(reader);
    let mut writer = RwLockUpgradableReadGuard::try_upgrade(upgradable).expect("alone");
    *writer += 1;
    assert!(lock.try_read().is_none());
    let upgradable = RwLockWriteGuard::downgrade_to_upgradable(writer);
    assert_eq!((*upgradable, *lock.read()), (2, 2));
    drop(upgradable);
    assert!(lock.try_write().is_some());
}

#[gort::test]
fn an_upgrade_that_gives_up_reads_on_and_lets_readers_in() {
    let lock = Arc::new(RwLock::new(1));
    let (reader, mut upgradable) = (lock.read(), lock.upgradable_read());
    let mut was_kept_out = false;
    // Longer, if the machine was too busy for the other to look meanwhile.
    for patience in [20 * SHORT, 200 * SHORT, 2_000 * SHORT] {
        let has_given_up = Arc::new(AtomicBool::new(false));
        let other = gort::go({
            let (lock, is_over) = (lock.clone(), has_given_up.clone());
            move || {
                // The upgrade that waits keeps it out; it comes in once that has given up.
                let mut is_kept_out = false;
                eventually_within(
                    patience + SOON,
                    "the upgrade waits, or has given up",
                    || {
                        is_kept_out = lock.try_read().is_none();
                        is_kept_out || is_over.load(Ordering::SeqCst)
                    },
                );
                assert_eq!(*lock.read(), 1);
                is_kept_out
            }
        });
        upgradable = RwLockUpgradableReadGuard::try_upgrade_for(upgradable, patience).unwrap_err();
        has_given_up.store(true, Ordering::SeqCst);
        was_kept_out = other.join().unwrap();
        if was_kept_out {
            break;
        }
    }
    assert!(was_kept_out, "not even within 10 s");
    assert_eq!(*upgradable, 1);
    assert!(lock.try_upgradable_read().is_none());
    let upgradable = RwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap_err();
    drop(reader);
    let mut writer = RwLockUpgradableReadGuard::upgrade(upgradable);
    *writer += 1;
    drop(writer);
    assert_eq!(*lock.try_write().expect("free"), 2);
}

#[gort::test(procs = 4)]
fn nobody_writes_between_an_upgradable_read_and_its_upgrade() {
    let lock = RwLock::new(0u64);
    let written = AtomicU32::new(0);
    let work = |i: u64| {
        for round in 0..500u64 {
            let patience = Duration::from_nanos((i * 7919 + round * 104_729) % 40_000);
            match (i + round) % 4 {
                0 => *lock.write() += 1,
                1 => {
                    let value = lock.read();
                    let before = *value;
                    gort::yield_now();
                    assert_eq!(*value, before);
                    continue;
                }
                2 => {
                    let value = lock.upgradable_read();
                    let before = *value;
                    if round % 3 == 0 {
                        gort::yield_now();
                    }
                    let mut value = RwLockUpgradableReadGuard::upgrade(value);
                    assert_eq!(*value, before);
                    *value += 1;
                    let value = RwLockWriteGuard::downgrade_to_upgradable(value);
                    assert_eq!(*value, before + 1);
                }
                _ => {
                    let Some(value) = lock.try_upgradable_read_for(patience) else {
                        continue;
                    };
                    let before = *value;
                    match RwLockUpgradableReadGuard::try_upgrade_for(value, patience) {
                        Ok(mut value) => {
                            assert_eq!(*value, before);
                            *value += 1;
                        }
                        Err(value) => {
                            assert_eq!(*value, before);
                            continue;
                        }
                    }
                }
            }
            written.fetch_add(1, Ordering::Relaxed);
        }
    };
    gort::scope(|s| {
        for i in 0..8 {
            let work = &work;
            s.go(move || work(i));
        }
        // As plain threads.
        std::thread::scope(|s| {
            for i in 8..10 {
                let work = &work;
                s.spawn(move || work(i));
            }
        });
    });
    assert_eq!(
        *lock.try_write().expect("free"),
        u64::from(written.load(Ordering::Relaxed))
    );
}

//! SC17, SY02 to SY07, SY26, S116, S117, S122, S123.

use std::env;
use std::hint;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::runtime::gomaxprocs;
use gort::sync::{Mutex, MutexGuard, RwLock};
use gort_conformance::child;
use gort_conformance::look::until_waiting;
use gort_conformance::support::{
    SOON, assert_not_for_a_while, eventually, eventually_parked, go_named,
};
use gort_core::wait_reason::WaitReason;

/// Past the threshold of starvation mode, 1 ms.
const STARVING: Duration = Duration::from_millis(3);

#[gort::test]
fn sy02_a_mutex_and_its_try_form_count_exactly() {
    let lock = Mutex::new(());
    let guard = lock.lock();
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());

    // Plain loads and stores: only the lock makes them exact.
    let count = AtomicU64::new(0);
    gort::scope(|s| {
        for _ in 0..10 {
            s.go(|| {
                for i in 0..1000 {
                    if i % 3 == 0 {
                        // Succeeds or not, as it happens; a guard must be one all the same.
                        drop(lock.try_lock());
                    }
                    let _guard = lock.lock();
                    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 10_000);
}

const MUTEX: &str = "sync: unlock of unlocked mutex";
const UNLOCK: &str = "sync: Unlock of unlocked RWMutex";
const RUNLOCK: &str = "sync: RUnlock of unlocked RWMutex";

/// Says to the child which misuse is its own.
const MISUSE: &str = "GORT_CONFORMANCE_MISUSE";

#[test]
fn sy03_s122_unlocking_what_is_not_locked_is_fatal() {
    let cases = [
        ("mutex, free", MUTEX),
        ("mutex, twice", MUTEX),
        ("unlock, free", UNLOCK),
        ("unlock, read", UNLOCK),
        ("unlock, twice", UNLOCK),
        ("runlock, free", RUNLOCK),
        ("runlock, written", RUNLOCK),
        ("runlock, twice", RUNLOCK),
    ];
    for (case, text) in cases {
        let child = child::of(|| misuse(&env::var(MISUSE).expect("set for the child")));
        let output = child.var(MISUSE, case).output();
        // By a signal: neither the end of the case nor a panic, which can be caught.
        assert_eq!(output.status.code(), None, "{case}: {output}");
        assert!(output.stderr.contains(text), "{case}: {output}");
    }
}

fn misuse(case: &str) {
    let mutex = Mutex::new(());
    let lock = RwLock::new(());
    // SAFETY: none: these break the locks' demands, and must end the process.
    unsafe {
        match case {
            "mutex, free" => mutex.force_unlock(),
            "mutex, twice" => {
                mem::forget(mutex.lock());
                mutex.force_unlock();
                mutex.force_unlock();
            }
            "unlock, free" => lock.force_unlock_write(),
            "unlock, read" => {
                mem::forget(lock.read());
                lock.force_unlock_write();
            }
            "unlock, twice" => {
                mem::forget(lock.write());
                lock.force_unlock_write();
                lock.force_unlock_write();
            }
            "runlock, free" => lock.force_unlock_read(),
            "runlock, written" => {
                mem::forget(lock.write());
                lock.force_unlock_read();
            }
            "runlock, twice" => {
                mem::forget(lock.read());
                lock.force_unlock_read();
                lock.force_unlock_read();
            }
            _ => unreachable!("no such case: {case}"),
        }
    }
}

#[gort::test]
fn sy04_a_mutex_is_fair_to_a_goroutine_that_waits() {
    let pause = Duration::from_micros(100);
    let lock = Arc::new(Mutex::new(()));
    let stop = Arc::new(AtomicBool::new(false));
    let holder = {
        let (lock, stop) = (lock.clone(), stop.clone());
        gort::go(move || {
            while !stop.load(Ordering::Relaxed) {
                let _guard = lock.lock();
                // waits: the case: the lock is held for 100 µs again and again
                gort::time::sleep(pause);
            }
        })
    };
    let start = Instant::now();
    for _ in 0..10 {
        // waits: the case: 100 µs between two wishes
        gort::time::sleep(pause);
        drop(lock.lock());
    }
    assert!(
        start.elapsed() < SOON,
        "{:?} for ten locks",
        start.elapsed()
    );
    stop.store(true, Ordering::Relaxed);
    holder.join().unwrap();
}

#[gort::test]
fn sy05_starving_waiters_get_the_lock_in_order() {
    let lock = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let guard = lock.lock();
    let mut goroutines = Vec::new();
    for i in 0..10 {
        let shared = lock.clone();
        let name = format!("waiter-{i}");
        goroutines.push(go_named(&name, move || {
            let mut order = shared.lock();
            order.push(i);
            // Long enough for the thief to try.
            gort::yield_now();
        }));
        eventually_parked(&name, "sync.Mutex.Lock");
    }
    // One that takes the free lock whenever it can: those who lose against it go to the front again.
    let thief = {
        let (shared, stop) = (lock.clone(), stop.clone());
        gort::go(move || {
            while !stop.load(Ordering::Relaxed) {
                drop(shared.try_lock());
                gort::yield_now();
            }
        })
    };
    // waits: until all waiters have waited long enough to starve
    gort::time::sleep(STARVING);
    drop(guard);
    goroutines
        .into_iter()
        .for_each(|goroutine| goroutine.join().unwrap());
    stop.store(true, Ordering::Relaxed);
    thief.join().unwrap();
    assert_eq!(*lock.lock(), (0..10).collect::<Vec<_>>());
}

#[gort::test(procs = 1)]
fn sy06_the_try_form_fails_while_the_lock_starves() {
    // It does not come to that if our slice ends where it must not.
    assert!((0..100).any(|_| try_beside_two_that_starve()));
}

/// Tries to lock what is handed from one that starves to another. False: the first one was there before us.
#[must_use]
fn try_beside_two_that_starve() -> bool {
    let lock = Arc::new(Mutex::new(()));
    let served = Arc::new(AtomicU32::new(0));
    let guard = lock.lock();
    let mut waiters = Vec::new();
    for i in 0..2 {
        let (shared, served) = (lock.clone(), served.clone());
        let name = format!("starving-{i}");
        waiters.push(go_named(&name, move || {
            let _guard = shared.lock();
            gort::yield_now();
            served.fetch_add(1, Ordering::Relaxed);
        }));
        eventually_parked(&name, "sync.Mutex.Lock");
    }
    // waits: until both waiters have waited long enough to starve
    gort::time::sleep(STARVING);
    // On one P the first waiter is woken but has not run: we take the lock again before it.
    drop(guard);
    let guard = lock.try_lock();
    if guard.is_none() || served.load(Ordering::Relaxed) != 0 {
        drop(guard);
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
        return false;
    }
    // It finds the lock taken, has waited too long, and turns on starvation mode.
    eventually_parked("starving-0", "sync.Mutex.Lock");
    drop(guard);
    // From here the lock goes from hand to hand until both have had it.
    while lock.try_lock().is_none() {
        gort::yield_now();
    }
    assert_eq!(
        served.load(Ordering::Relaxed),
        2,
        "taken between two starving waiters"
    );
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    true
}

#[gort::test(procs = 1)]
fn sy07_a_waiting_goroutine_leaves_its_thread() {
    let lock = Arc::new(Mutex::new(()));
    let steps = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let guard = lock.lock();
    let waiter = {
        let lock = lock.clone();
        go_named("waiter", move || drop(lock.lock()))
    };
    let third = {
        let (steps, stop) = (steps.clone(), stop.clone());
        gort::go(move || {
            while !stop.load(Ordering::Relaxed) {
                steps.fetch_add(1, Ordering::Relaxed);
                gort::yield_now();
            }
        })
    };
    eventually_parked("waiter", "sync.Mutex.Lock");
    let before = steps.load(Ordering::Relaxed);
    eventually("the third goroutine runs", || {
        steps.load(Ordering::Relaxed) > before
    });
    assert!(!waiter.is_finished());
    drop(guard);
    waiter.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    third.join().unwrap();
}

#[gort::test]
fn sy26_atomics_add_and_order() {
    use gort::sync::atomic;

    // Both halves of a word, by four goroutines.
    let word = atomic::AtomicU64::new(0);
    gort::scope(|s| {
        for _ in 0..4 {
            s.go(|| {
                for _ in 0..100_000 {
                    word.fetch_add(1 << 32 | 1, atomic::Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(word.into_inner(), 400_000 << 32 | 400_000);

    // Store, then load the other's: never do both see the old value.
    for round in 1..=1000 {
        let (a, b) = (atomic::AtomicU32::new(0), atomic::AtomicU32::new(0));
        let (saw_b, saw_a) = gort::scope(|s| {
            let other = s.go(|| {
                b.store(round, atomic::Ordering::SeqCst);
                a.load(atomic::Ordering::SeqCst)
            });
            a.store(round, atomic::Ordering::SeqCst);
            let saw_b = b.load(atomic::Ordering::SeqCst);
            (saw_b, other.join().unwrap())
        });
        assert!(saw_a != 0 || saw_b != 0, "round {round}");
    }
}

#[gort::test]
fn s116_a_return_without_unlock_parks_the_next_for_ever() {
    /// The article's function, with a guard that is forgotten on the error path.
    fn act(lock: &Mutex<()>, n: i32) -> Result<(), &'static str> {
        let guard = lock.lock();
        if n < 0 {
            mem::forget(guard);
            return Err("have err");
        }
        Ok(())
    }
    let lock = Arc::new(Mutex::new(()));
    assert_eq!(act(&lock, 4), Ok(()));
    assert_eq!(act(&lock, -1), Err("have err"));
    let next = {
        let lock = lock.clone();
        go_named("next", move || act(&lock, 4))
    };
    eventually_parked("next", "sync.Mutex.Lock");
    assert_not_for_a_while("the forgotten lock is free", || next.is_finished());
    // SAFETY: the guard was forgotten, so the lock is ours to free.
    unsafe { lock.force_unlock() };
    assert_eq!(next.join().unwrap(), Ok(()));
}

#[gort::test]
fn s117_a_guard_dropped_early_frees_the_lock_early() {
    let lock = Arc::new(Mutex::new(()));
    let got = Arc::new(AtomicBool::new(false));
    let guard = lock.lock();
    let other = {
        let (lock, got) = (lock.clone(), got.clone());
        gort::go(move || {
            let _guard = lock.lock();
            got.store(true, Ordering::Release);
        })
    };
    assert_not_for_a_while("the lock is held", || got.load(Ordering::Acquire));
    drop(guard);
    // The work after the critical section: it goes on until the other has the lock.
    eventually("the other has the lock", || got.load(Ordering::Acquire));
    other.join().unwrap();
}

#[gort::test]
fn s123_another_goroutine_may_unlock() {
    let lock = Mutex::new(7);
    gort::scope(|s| {
        let guard = s.go(|| lock.lock()).join().unwrap();
        assert!(lock.try_lock().is_none());
        s.go(move || drop(guard)).join().unwrap();
        assert_eq!(*lock.lock(), 7);
    });
    // And a plain thread what a goroutine has locked.
    let guard = lock.lock();
    std::thread::scope(|s| {
        s.spawn(move || drop(guard));
    });
    assert!(lock.try_lock().is_some());
}

#[gort::test]
fn sy02_threads_and_goroutines_share_a_mutex() {
    let lock = Arc::new(Mutex::new(0));
    let go_on = Arc::new(AtomicUsize::new(0));
    let add = |lock: &Mutex<i32>, go_on: &AtomicUsize| {
        go_on.fetch_add(1, Ordering::Relaxed);
        while go_on.load(Ordering::Relaxed) < 4 {
            hint::spin_loop();
            gort::yield_now();
        }
        for _ in 0..1000 {
            *lock.lock() += 1;
        }
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (lock, go_on) = (lock.clone(), go_on.clone());
            std::thread::spawn(move || add(&lock, &go_on))
        })
        .collect();
    let goroutines: Vec<_> = (0..2)
        .map(|_| {
            let (lock, go_on) = (lock.clone(), go_on.clone());
            gort::go(move || add(&lock, &go_on))
        })
        .collect();
    goroutines
        .into_iter()
        .for_each(|goroutine| goroutine.join().unwrap());
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(*lock.lock(), 4000);
}

/// Whether the goroutine that gets a lock handed over runs before the one that hands it over goes on.
/// Others keep the Ps busy, so that no idle P is the reason.
fn receiver_comes_first() -> bool {
    let lock = Arc::new(Mutex::new(()));
    let first = Arc::new(AtomicU32::new(0));
    let claim = |first: &AtomicU32, who| {
        let _ = first.compare_exchange(0, who, Ordering::Relaxed, Ordering::Relaxed);
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..gomaxprocs())
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            gort::go(move || {
                while !is_over.load(Ordering::Relaxed) {
                    gort::yield_now();
                }
            })
        })
        .collect();
    let guard = lock.lock();
    let receiver = gort::go({
        let (lock, first) = (Arc::clone(&lock), Arc::clone(&first));
        move || {
            let _guard = lock.lock();
            claim(&first, 1);
        }
    });
    until_waiting(&receiver, WaitReason::MutexLock);
    MutexGuard::unlock_fair(guard);
    claim(&first, 2);
    receiver.join().unwrap();
    is_over.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|busy| busy.join().unwrap());
    first.load(Ordering::Relaxed) == 1
}

#[test]
fn sc17_a_lock_that_is_handed_over_goes_on_with_its_receiver() {
    for procs in [1, 2, 4] {
        let output = child::of(|| {
            gort::run(|| {
                const ROUNDS: usize = 300;
                let count = (0..ROUNDS).filter(|_| receiver_comes_first()).count();
                println!("{count} of {ROUNDS}");
                assert!(count * 3 >= ROUNDS * 2, "{count} of {ROUNDS}");
            });
        })
        .unshaken()
        .procs(procs)
        .passes();
        assert!(output.stdout.contains(" of 300"), "{output}");
    }
}

//! std's locks, between goroutines and plain threads.
//!
//! A goroutine that waits in a lock of std keeps its OS thread; so nobody here waits for a lock that
//! a parked goroutine holds: goroutines that hold one across a park are the only ones to want it, or the
//! others only try.

#![forbid(unsafe_code)]

use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread;

use crate::drive::{many, park, scaled};

pub(super) fn locks_are_shared_with_threads() {
    let mutex = Mutex::new(0);
    let rw = RwLock::new(0);
    let (count, rounds) = (scaled(1_000), scaled(20_000));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    *mutex.lock().unwrap() += 1;
                    assert!(*rw.read().unwrap() >= 0);
                    *rw.write().unwrap() += 1;
                }
            });
        }
        many(count, |_| {
            for _ in 0..20 {
                *mutex.lock().unwrap() += 1;
                park();
                assert!(*rw.read().unwrap() >= 0);
                *rw.write().unwrap() += 1;
                park();
            }
        });
    });
    let expected = i64::try_from(2 * rounds + 20 * count).unwrap();
    assert_eq!(mutex.into_inner().unwrap(), expected);
    assert_eq!(rw.into_inner().unwrap(), expected);
}

pub(super) fn guards_are_held_across_parks() {
    let shared = Mutex::new(0);
    let shared_rw = RwLock::new(0);
    let count = scaled(2_000);
    many(count, |_| {
        let own = Mutex::new(5);
        let guard = own.lock().unwrap();
        park();
        assert!(own.try_lock().is_err());
        park();
        drop(guard);
        assert!(own.try_lock().is_ok());
        loop {
            if let Ok(mut guard) = shared.try_lock() {
                let before = *guard;
                park();
                assert_eq!(*guard, before);
                *guard += 1;
                break;
            }
            park();
        }
        // Once, as readers that come again and again leave no moment for a writer.
        if let Ok(guard) = shared_rw.try_read() {
            let before = *guard;
            park();
            assert_eq!(*guard, before);
        }
        loop {
            if let Ok(mut guard) = shared_rw.try_write() {
                let before = *guard;
                park();
                *guard = before + 1;
                break;
            }
            park();
        }
    });
    assert_eq!(shared.into_inner().unwrap(), count);
    assert_eq!(shared_rw.into_inner().unwrap(), count);
}

pub(super) fn condition_variables_and_barriers_meet_threads() {
    many(scaled(200), |_| {
        let turn = (Mutex::new(0), Condvar::new());
        let barrier = Barrier::new(2);
        let wait_for = |wanted: usize| {
            let guard = turn.0.lock().unwrap();
            let mut guard = turn.1.wait_while(guard, |turn| *turn != wanted).unwrap();
            *guard += 1;
            turn.1.notify_all();
        };
        thread::scope(|scope| {
            let wait_for = &wait_for;
            let barrier = &barrier;
            scope.spawn(move || {
                (0..10).for_each(|i| wait_for(2 * i + 1));
                barrier.wait();
            });
            for i in 0..10 {
                park();
                wait_for(2 * i);
            }
            park();
            barrier.wait();
        });
        assert_eq!(*turn.0.lock().unwrap(), 20);
    });
}

pub(super) fn std_channels_meet_threads() {
    // Rendezvous: each side waits for the other.
    many(scaled(200), |_| {
        let (sender, receiver) = sync_channel(0);
        let thread = thread::spawn(move || (0..20).for_each(|i| sender.send(i).unwrap()));
        let mut sum = 0;
        for i in &receiver {
            sum += i;
            park();
        }
        thread.join().unwrap();
        assert_eq!(sum, 190);
    });
    let (sender, receiver) = channel();
    let sum = thread::spawn(move || receiver.iter().sum::<usize>());
    let count = scaled(5_000);
    let sender = Mutex::new(Some(sender));
    many(count, |i| {
        let sender = sender.lock().unwrap().clone();
        park();
        sender.expect("taken below").send(i).unwrap();
        park();
    });
    drop(sender.lock().unwrap().take());
    assert_eq!(sum.join().unwrap(), count * (count - 1) / 2);
}

pub(super) fn lazy_values_are_made_once() {
    static LAZY: LazyLock<usize> = LazyLock::new(|| 42);
    static ONCE: Once = Once::new();
    static CELL: OnceLock<String> = OnceLock::new();
    many(scaled(5_000), |_| {
        park();
        assert_eq!(*LAZY, 42);
        ONCE.call_once(|| ());
        park();
        assert!(ONCE.is_completed());
        assert_eq!(CELL.get_or_init(|| "made".to_owned()), "made");
        let own = OnceLock::new();
        assert_eq!(
            *own.get_or_init(|| {
                park();
                7
            }),
            7
        );
    });
}

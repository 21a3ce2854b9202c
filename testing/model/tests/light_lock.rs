//! The lock whose release is a store, under loom: the very file, with a full fence for each half of the
//! asymmetric barrier, and a futex made of loom's lock and condition.
//!
//! A sleeper that is forgotten shows as a deadlock, a broken exclusion as a racing access to a
//! `loom::cell::UnsafeCell`. Without the light fence (`GORT_FAULT=light_fence`, see ci/model.sh) loom
//! must find a forgotten sleeper.
#![cfg(loom)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the lock is a module of a library elsewhere, with more functions than the model calls"
)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread as loom_thread;

#[path = "../../../crates/gort-core/src/light_lock.rs"]
mod light_lock;

use light_lock::LightMutex;

mod atomic {
    pub use loom::sync::atomic::{AtomicU32, Ordering};

    pub fn light_fence() {
        if std::env::var_os("GORT_FAULT").is_none_or(|fault| fault != "light_fence") {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
}

/// Plain threads: there is no goroutine to be stopped.
mod inside {
    pub fn enter_raw() {}
    pub fn leave_raw() {}
}

mod clock {
    pub const NEVER: u64 = u64::MAX;

    pub fn now_ns() -> u64 {
        unreachable!("asked only where there is no barrier")
    }
}

mod fork {
    pub fn check(_what: &str) {}
}

mod os {
    pub mod membarrier {
        pub fn barrier_in_all_threads() -> bool {
            loom::sync::atomic::fence(super::super::atomic::Ordering::SeqCst);
            true
        }
    }

    pub mod thread {
        pub fn pause(_times: u32) {}
    }

    /// One queue for all words: a wake-up wakes all, who look again, as a futex may too.
    pub mod futex {
        use loom::sync::{Condvar, Mutex};

        use super::super::atomic::{AtomicU32, Ordering};

        loom::lazy_static! {
            static ref TABLE: Mutex<()> = Mutex::new(());
            static ref CHANGED: Condvar = Condvar::new();
        }

        pub fn wait(word: &AtomicU32, expected: u32, deadline_ns: u64) {
            assert_eq!(deadline_ns, u64::MAX);
            let table = TABLE.lock().unwrap();
            if word.load(Ordering::SeqCst) == expected {
                drop(CHANGED.wait(table).unwrap());
            }
        }

        pub fn wake(_word: *const AtomicU32, _count: u32) {
            drop(TABLE.lock().unwrap());
            CHANGED.notify_all();
        }
    }
}

/// `threads` threads that lock `times` times each.
fn check(threads: usize, times: usize) {
    loom::model(move || {
        let lock = Arc::new(LightMutex::new(UnsafeCell::new(0)));
        let work = move |lock: &LightMutex<UnsafeCell<usize>>| {
            for _ in 0..times {
                let guard = lock.lock();
                // SAFETY: the lock is held; loom reports it if somebody else has access too.
                guard.with_mut(|value| unsafe { *value += 1 });
            }
        };
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let lock = Arc::clone(&lock);
                loom_thread::spawn(move || work(&lock))
            })
            .collect();
        work(&lock);
        for other in others {
            other.join().unwrap();
        }
        // SAFETY: all others have ended.
        let total = lock.lock().with(|value| unsafe { *value });
        assert_eq!(total, threads * times);
    });
}

#[test]
fn two_threads() {
    check(2, 2);
}

#[test]
fn three_threads() {
    check(3, 1);
}

//! S102: what happened before is seen after. The data has no lock and no atomics of its own, so a missing
//! edge is a race that a sanitizer reports, and on a weak machine a wrong number.
//!
//! The edges of channels are CH27's (`chan/pairs`), those of locks under load SY02's and SY10's.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::time::Duration;

use gort::chan;
use gort::sync::{Mutex, Once, WaitGroup};

const ROUNDS: u64 = 500;

/// A number that nothing but the edge at hand protects.
#[derive(Default)]
struct Plain(UnsafeCell<u64>);

// SAFETY: each test says which edge comes between two accesses.
unsafe impl Sync for Plain {}

impl Plain {
    /// # Safety
    ///
    /// An edge comes between this and every other access.
    unsafe fn set(&self, value: u64) {
        // SAFETY: the caller's word.
        unsafe { *self.0.get() = value };
    }

    /// # Safety
    ///
    /// An edge comes between this and every `set`.
    unsafe fn get(&self) -> u64 {
        // SAFETY: the caller's word.
        unsafe { *self.0.get() }
    }
}

/// Runs `edge(i, plain)` for numbers from 1 on, each with new data.
fn rounds(edge: impl Fn(u64, Arc<Plain>)) {
    (1..=ROUNDS).for_each(|i| edge(i, Arc::default()));
}

#[gort::test(procs = 2)]
fn s102_go_comes_before_the_body_and_the_body_before_the_join() {
    rounds(|i, plain| {
        // SAFETY: the goroutine that reads is started below.
        unsafe { plain.set(i) };
        let theirs = Arc::clone(&plain);
        let body = gort::go(move || {
            // SAFETY: the start comes between; the writer of above waits for our end.
            unsafe {
                assert_eq!(theirs.get(), i);
                theirs.set(i + 1);
            }
        });
        body.join().unwrap();
        // SAFETY: the join comes between.
        assert_eq!(unsafe { plain.get() }, i + 1);
    });
}

#[gort::test(procs = 2)]
fn s102_a_close_comes_before_the_receive_that_sees_it() {
    rounds(|i, plain| {
        let (s, r) = chan::bounded::<()>(i as usize % 3);
        let theirs = Arc::clone(&plain);
        let closer = gort::go(move || {
            // SAFETY: the close comes between this and the reader.
            unsafe { theirs.set(i) };
            s.close();
        });
        assert!(r.recv().is_err());
        // SAFETY: the channel is closed.
        assert_eq!(unsafe { plain.get() }, i);
        closer.join().unwrap();
    });
}

#[gort::test(procs = 2)]
fn s102_an_unlock_comes_before_the_next_lock() {
    let plain = Plain::default();
    let lock = Mutex::new(());
    gort::scope(|s| {
        for _ in 0..4 {
            s.go(|| {
                for _ in 0..ROUNDS {
                    let _guard = lock.lock();
                    // SAFETY: between two of these there is an unlock and a lock.
                    unsafe { plain.set(plain.get() + 1) };
                }
            });
        }
    });
    // SAFETY: all have ended.
    assert_eq!(unsafe { plain.get() }, 4 * ROUNDS);
}

#[gort::test(procs = 2)]
fn s102_done_comes_before_the_wait_returns() {
    rounds(|i, plain| {
        let group = WaitGroup::new();
        group.add(1);
        let (theirs, done) = (Arc::clone(&plain), group.clone());
        let worker = gort::go(move || {
            // SAFETY: `done` comes between this and the reader.
            unsafe { theirs.set(i) };
            done.done();
        });
        group.wait();
        // SAFETY: the wait has returned.
        assert_eq!(unsafe { plain.get() }, i);
        worker.join().unwrap();
    });
}

#[gort::test(procs = 2)]
fn s102_a_onces_body_comes_before_any_call_returns() {
    rounds(|i, plain| {
        let once = Arc::new(Once::new());
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (plain, once) = (Arc::clone(&plain), Arc::clone(&once));
                gort::go(move || {
                    // SAFETY: once, and before any of the calls returns.
                    once.call_once(|| unsafe { plain.set(i) });
                    // SAFETY: our call has returned.
                    assert_eq!(unsafe { plain.get() }, i);
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
    });
}

#[gort::test(procs = 2)]
fn s102_a_timers_start_comes_before_its_function() {
    rounds(|i, plain| {
        // SAFETY: the timer that reads is started below.
        unsafe { plain.set(i) };
        let (s, r) = chan::bounded(1);
        let timer = gort::time::after_func(Duration::from_micros(i % 50), move || {
            // SAFETY: the start comes between.
            s.send(unsafe { plain.get() }).unwrap();
        });
        assert_eq!(r.recv(), Ok(i));
        drop(timer);
    });
}

//! Six ways to leave a goroutine waiting for ever, ten times each, and what the count of goroutines says.
//!
//! ```text
//! cargo run --example leaks
//! ```
//!
//! In Go the count goes from 1 to 11 in each case but the mutex's, where the first gets the lock and ends.
//! The unclosed body of an HTTP response is the example `unclosed_body`.
//!
//! Here nil channels and a `WaitGroup` that stays above zero leak as in Go. A send or receive whose other
//! side is gone ends with an error; the leak needs somebody who keeps the other side and does not use it. A
//! lock is given back by its guard; the leak needs a `mem::forget`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use gort::chan;
use gort::debug;
use gort::sync::{Mutex, WaitGroup};
use gort::time::{Duration, sleep};

/// Why the goroutines besides the caller wait, and how many for each reason, once all of them do.
fn waiting() -> BTreeMap<&'static str, usize> {
    'again: loop {
        let mut counts = BTreeMap::new();
        for other in debug::goroutines() {
            if other.id == gort::current().id() {
                continue;
            }
            let Some(reason) = other.wait_reason else {
                sleep(Duration::from_millis(1));
                continue 'again;
            };
            *counts.entry(reason.as_str()).or_default() += 1;
        }
        return counts;
    }
}

/// Runs `leak` ten times and prints who waits then, but did not before.
fn report<T>(way: &str, leak: impl Fn() -> T) {
    let before = waiting();
    let kept: Vec<T> = (0..10).map(|_| leak()).collect();
    let mut left = waiting();
    left.retain(|reason, count| {
        *count -= before.get(reason).copied().unwrap_or(0);
        *count > 0
    });
    println!("{way}: {left:?}");
    // What is kept stays, so that the next case counts the same ones before and after.
    mem::forget(kept);
}

#[gort::main]
fn main() {
    report("receive from nil", || {
        let (_, rx) = chan::nil::<()>();
        gort::go(move || rx.recv());
    });
    report("send to nil", || {
        let (tx, _) = chan::nil();
        gort::go(move || tx.send(()));
    });
    report("send, receiver dropped", || {
        let (tx, _) = chan::bounded(0);
        gort::go(move || tx.send(()));
    });
    report("send, receiver kept", || {
        let (tx, rx) = chan::bounded(0);
        gort::go(move || tx.send(()));
        rx
    });
    report("receive, sender dropped", || {
        let (_, rx) = chan::bounded::<()>(0);
        gort::go(move || rx.recv());
    });
    report("receive, sender kept", || {
        let (tx, rx) = chan::bounded::<()>(0);
        gort::go(move || rx.recv());
        tx
    });

    let lock = Arc::new(Mutex::new(()));
    report("lock, guard dropped", || {
        let lock = Arc::clone(&lock);
        gort::go(move || drop(lock.lock()));
    });
    report("lock, guard forgotten", || {
        let lock = Arc::clone(&lock);
        gort::go(move || mem::forget(lock.lock()));
    });
    report("two added, one done", || {
        let group = WaitGroup::new();
        group.add(2);
        gort::go(move || {
            group.done();
            group.wait();
        });
    });
}

//! Ones that block, and both kinds together.

use std::sync::Arc;
use std::time::Duration;

use gort::chan;
use gort_test_support::yield_once;

/// Each keeps the stack it is polled on, and others get others.
#[gort::test(timeout = "120s")]
fn polls_that_block_hold_up_nobody() {
    const BLOCKED: usize = 50;
    let (tx, rx) = chan::bounded::<u64>(0);
    let blocked: Vec<_> = (0..BLOCKED)
        .map(|_| {
            let rx = rx.clone();
            gort::go_async(async move {
                yield_once().await;
                rx.recv().unwrap()
            })
        })
        .collect();
    let in_calls: Vec<_> = (0..8)
        .map(|_| {
            gort::go_async(async {
                // waits: a call that blocks its thread is what is tested
                std::thread::sleep(Duration::from_millis(50));
            })
        })
        .collect();
    for _ in 0..100 {
        gort::go_async(yield_once()).join().unwrap();
    }
    for n in 0..BLOCKED as u64 {
        tx.send(n).unwrap();
    }
    let sum: u64 = blocked.into_iter().map(|one| one.join().unwrap()).sum();
    assert_eq!(sum, (BLOCKED * (BLOCKED - 1) / 2) as u64);
    for one in in_calls {
        one.join().unwrap();
    }
}

/// Stackful goroutines, async ones and locks between them.
#[gort::test(timeout = "120s")]
fn both_kinds_share_locks_and_processors() {
    let counter = Arc::new(gort::sync::Mutex::new(0u64));
    let stackful: Vec<_> = (0..8)
        .map(|_| {
            let counter = counter.clone();
            gort::go(move || {
                for _ in 0..500 {
                    *counter.lock() += 1;
                    gort::yield_now();
                }
            })
        })
        .collect();
    let stackless: Vec<_> = (0..8)
        .map(|_| {
            let counter = counter.clone();
            gort::go_async(async move {
                for _ in 0..500 {
                    {
                        let mut guard = counter.lock();
                        *guard += 1;
                        // With the lock held, within the poll.
                        gort::yield_now();
                    }
                    yield_once().await;
                }
            })
        })
        .collect();
    for one in stackful {
        one.join().unwrap();
    }
    for one in stackless {
        one.join().unwrap();
    }
    assert_eq!(*counter.lock(), 8_000);
}

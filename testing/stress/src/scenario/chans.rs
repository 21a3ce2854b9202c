//! Channels of all capacities between goroutines and plain threads, with closing at any moment: each
//! value arrives once, or comes back to its sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gort::chan::{self, Receiver, Sender};
use gort_test_support::Random;

use crate::progress;

/// What went in, came out, came back.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    received: AtomicU64,
}

pub(super) fn round(random: &mut Random) -> u64 {
    let (tx, rx) = match random.below(5) {
        0 => chan::unbounded(),
        1 => chan::bounded(1),
        2 => chan::bounded(1 + random.below(100) as usize),
        _ => chan::bounded(0),
    };
    let tally = Arc::new(Tally::default());
    let each = 20 + random.below(400);
    let mut handles = Vec::new();
    for _ in 0..1 + random.below(6) {
        let (tx, tally, random) = (tx.clone(), Arc::clone(&tally), random.fork());
        handles.push(gort::go(move || send(&tx, &tally, each, random)));
    }
    for _ in 0..1 + random.below(6) {
        let (rx, tally, random) = (rx.clone(), Arc::clone(&tally), random.fork());
        handles.push(gort::go(move || receive(&rx, &tally, random)));
    }
    let plain = (random.below(4) == 0).then(|| {
        let (tx, tally, random) = (tx.clone(), Arc::clone(&tally), random.fork());
        std::thread::spawn(move || send(&tx, &tally, each / 10, random))
    });
    drop(tx);
    if random.below(3) == 0 {
        for _ in 0..random.below(200) {
            gort::yield_now();
        }
        // False if the last sender has closed it by its drop.
        rx.close();
    }
    // The receivers end when the senders have, or at the close.
    for handle in handles {
        handle.join().unwrap();
    }
    if let Some(plain) = plain {
        gort::blocking(|| plain.join()).unwrap();
    }
    let left = rx.try_iter().map(|value| value.0).sum::<u64>();
    let (sent, received) = (
        tally.sent.load(Ordering::Acquire),
        tally.received.load(Ordering::Acquire),
    );
    assert_eq!(sent, received + left, "values were lost or doubled");
    each
}

/// A value that is not Copy, so that a doubled one is a double free.
#[derive(Debug)]
struct Value(
    u64,
    #[expect(dead_code, reason = "its drop is the check")] Box<u64>,
);

fn send(tx: &Sender<Value>, tally: &Tally, each: u64, mut random: Random) {
    for _ in 0..each {
        let n = 1 + random.below(1_000_000);
        let value = Value(n, Box::new(n));
        let sent = match random.below(4) {
            0 => tx
                .send_timeout(value, Duration::from_micros(random.below(200)))
                .is_ok(),
            1 => tx.try_send(value).is_ok(),
            _ => tx.send(value).is_ok(),
        };
        if sent {
            tally.sent.fetch_add(n, Ordering::Release);
        }
        progress();
    }
}

fn receive(rx: &Receiver<Value>, tally: &Tally, mut random: Random) {
    loop {
        let received = match random.below(3) {
            0 => match rx.recv_timeout(Duration::from_micros(random.below(200))) {
                Err(error) if error.is_timeout() => continue,
                other => other.ok(),
            },
            _ => rx.recv().ok(),
        };
        let Some(value) = received else { return };
        tally.received.fetch_add(value.0, Ordering::Release);
        progress();
    }
}

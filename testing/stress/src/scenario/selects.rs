//! Selects against selects, plain operations, timeouts and closing on a handful of channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gort::chan::{self, Receiver, Select, Sender};
use gort_test_support::Random;

use crate::progress;

pub(super) fn round(random: &mut Random) -> u64 {
    let channels: Vec<(Sender<u64>, Receiver<u64>)> = (0..2 + random.below(4))
        .map(|_| chan::bounded(random.below(3) as usize))
        .collect();
    let channels = Arc::new(channels);
    let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let steps = 50 + random.below(500);
    let workers = 2 + random.below(6);
    let senders: Vec<_> = (0..workers)
        .map(|_| {
            let (channels, sent, random) =
                (Arc::clone(&channels), Arc::clone(&sent), random.fork());
            gort::go(move || sender(&channels, &sent, steps, random))
        })
        .collect();
    let receivers: Vec<_> = (0..workers)
        .map(|_| {
            let (channels, received) = (Arc::clone(&channels), Arc::clone(&received));
            gort::go(move || receiver(&channels, &received))
        })
        .collect();
    let close_early = random.below(3) == 0;
    if close_early {
        for _ in 0..random.below(100) {
            gort::yield_now();
        }
        for (tx, _) in channels.iter() {
            tx.close();
        }
    }
    for handle in senders {
        handle.join().unwrap();
    }
    for (tx, _) in channels.iter() {
        tx.close();
    }
    for handle in receivers {
        handle.join().unwrap();
    }
    let left: u64 = channels.iter().flat_map(|(_, rx)| rx.try_iter()).sum();
    assert_eq!(
        sent.load(Ordering::Acquire),
        received.load(Ordering::Acquire) + left,
        "values were lost or doubled"
    );
    steps * workers
}

fn sender(
    channels: &[(Sender<u64>, Receiver<u64>)],
    sent: &AtomicU64,
    steps: u64,
    mut random: Random,
) {
    for _ in 0..steps {
        let value = 1 + random.below(1000);
        let mut select = Select::new();
        for (tx, _) in channels {
            select.send(tx);
        }
        let result = if random.below(3) == 0 {
            match select.select_timeout(Duration::from_micros(random.below(100))) {
                Ok(operation) => {
                    let tx = &channels[operation.index()].0;
                    operation.send(tx, value).is_ok()
                }
                Err(_) => false,
            }
        } else {
            let operation = select.select();
            let tx = &channels[operation.index()].0;
            operation.send(tx, value).is_ok()
        };
        if result {
            sent.fetch_add(value, Ordering::Release);
        }
        progress();
    }
}

/// Receives until all channels are closed and drained.
fn receiver(channels: &[(Sender<u64>, Receiver<u64>)], received: &AtomicU64) {
    let mut open: Vec<&Receiver<u64>> = channels.iter().map(|(_, rx)| rx).collect();
    while !open.is_empty() {
        let mut select = Select::new();
        for rx in &open {
            select.recv(rx);
        }
        let operation = select.select();
        let index = operation.index();
        match operation.recv(open[index]) {
            Ok(value) => {
                received.fetch_add(value, Ordering::Release);
            }
            Err(_) => {
                open.swap_remove(index);
            }
        }
        progress();
    }
}

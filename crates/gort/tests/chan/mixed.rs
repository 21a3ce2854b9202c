//! Everything at once on one set of channels: plain, non-blocking, timed, selecting, watching and async
//! senders and receivers, some of which give up. No value is lost or doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use gort::chan::{self, Receiver, RecvTimeoutError, Select, Sender, select};
use gort_test_support::Wakes;

use super::poll;

/// Sums of what was sent and received.
#[derive(Default)]
struct Sums {
    sent: AtomicU64,
    received: AtomicU64,
}

fn sender(kind: u64, channels: &[(Sender<u64>, Receiver<u64>)], sums: &Sums, count: u64) {
    let wakes = Arc::<Wakes>::default();
    for i in 1..=count {
        let value = kind << 32 | i;
        let (s, _) = &channels[(kind + i) as usize % channels.len()];
        let (other, _) = &channels[(kind + i + 1) as usize % channels.len()];
        let is_sent = match kind % 6 {
            0 => s.send(value).is_ok(),
            1 => s.try_send(value).is_ok(),
            2 => s.send_timeout(value, Duration::from_micros(i % 50)).is_ok(),
            3 => select! {
                send(s, value) -> result => result.is_ok(),
                send(other, value) -> result => result.is_ok(),
            },
            4 => {
                let mut set = Select::new();
                set.send(s);
                set.send(other);
                let operation = set.select();
                if operation.index() == 0 {
                    operation.send(s, value).is_ok()
                } else {
                    operation.send(other, value).is_ok()
                }
            }
            // Polled once and dropped, every second time: then it is sent or not, but never known.
            // So only the value 0 is sent that way.
            _ if i % 2 == 0 => {
                let mut send = Box::pin(s.send_async(0));
                let _ = poll(&mut send, &wakes);
                gort::yield_now();
                false
            }
            _ => gort::block_on(s.send_async(value)).is_ok(),
        };
        if is_sent {
            sums.sent.fetch_add(value, Ordering::Relaxed);
        }
    }
}

fn receiver(kind: u64, channels: &[(Sender<u64>, Receiver<u64>)], sums: &Sums) {
    let wakes = Arc::<Wakes>::default();
    let mut ended = 0;
    let mut turn = kind;
    while ended < channels.len() * 3 {
        turn += 1;
        let (_, r) = &channels[turn as usize % channels.len()];
        let (_, other) = &channels[(turn + 1) as usize % channels.len()];
        let received = match kind % 6 {
            0 => r.recv_timeout(Duration::from_micros(turn % 50)),
            1 => r.try_recv().map_err(|error| {
                gort::yield_now();
                if error.is_empty() {
                    RecvTimeoutError::Timeout
                } else {
                    RecvTimeoutError::Disconnected
                }
            }),
            2 => select! {
                recv(r) -> value => value.map_err(RecvTimeoutError::from),
                recv(other) -> value => value.map_err(RecvTimeoutError::from),
                recv(chan::after(Duration::from_micros(turn % 100))) -> _ => {
                    Err(RecvTimeoutError::Timeout)
                }
            },
            3 => {
                let mut set = Select::new();
                set.recv(r);
                set.recv(other);
                match set.ready_timeout(Duration::from_micros(turn % 100)) {
                    Ok(0) => r.recv_timeout(Duration::ZERO),
                    Ok(_) => other.recv_timeout(Duration::ZERO),
                    Err(_) => Err(RecvTimeoutError::Timeout),
                }
            }
            // Polled once, and dropped whether or not a value came meanwhile.
            4 => {
                let mut receive = Box::pin(r.recv_async());
                match poll(&mut receive, &wakes) {
                    Poll::Ready(result) => result.map_err(RecvTimeoutError::from),
                    Poll::Pending => {
                        gort::yield_now();
                        Err(RecvTimeoutError::Timeout)
                    }
                }
            }
            // The same with a select.
            _ => {
                let mut set = Select::new();
                set.recv(r);
                set.recv(other);
                let mut future = Box::pin(set.select_async());
                match poll(&mut future, &wakes) {
                    Poll::Ready(operation) if operation.index() == 0 => {
                        operation.recv(r).map_err(RecvTimeoutError::from)
                    }
                    Poll::Ready(operation) => operation.recv(other).map_err(RecvTimeoutError::from),
                    Poll::Pending => {
                        gort::yield_now();
                        Err(RecvTimeoutError::Timeout)
                    }
                }
            }
        };
        match received {
            Ok(value) => {
                ended = 0;
                sums.received.fetch_add(value, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Disconnected) => ended += 1,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    if kind % 6 == 5 {
        // The last thing that this one was handed it may have given back when all others had ended; and of two closed
        // channels its selects may have seen, each time, the end of the one, and not the value in the other.
        let rest: u64 = channels.iter().flat_map(|(_, r)| r.try_iter()).sum();
        sums.received.fetch_add(rest, Ordering::Relaxed);
    }
}

fn all_kinds(capacities: &[Option<usize>], count: u64) {
    let channels: Vec<_> = capacities
        .iter()
        .map(|capacity| match capacity {
            Some(capacity) => chan::bounded(*capacity),
            None => chan::unbounded(),
        })
        .collect();
    let channels = Arc::new(channels);
    let sums = Arc::<Sums>::default();
    let senders: Vec<_> = (0..6)
        .map(|kind| {
            let (channels, sums) = (Arc::clone(&channels), Arc::clone(&sums));
            gort::go(move || sender(kind, &channels, &sums, count))
        })
        .collect();
    let receivers: Vec<_> = (0..6)
        .map(|kind| {
            let (channels, sums) = (Arc::clone(&channels), Arc::clone(&sums));
            gort::go(move || receiver(kind, &channels, &sums))
        })
        .collect();
    // A plain thread among them.
    let thread = std::thread::spawn({
        let (channels, sums) = (Arc::clone(&channels), Arc::clone(&sums));
        move || receiver(2, &channels, &sums)
    });
    for handle in senders {
        handle.join().unwrap();
    }
    for (s, _) in channels.iter() {
        s.close();
    }
    for handle in receivers {
        handle.join().unwrap();
    }
    thread.join().unwrap();
    let left: u64 = channels.iter().flat_map(|(_, r)| r.try_iter()).sum();
    assert_eq!(left, 0, "receivers end only when all is received");
    assert_eq!(
        sums.sent.load(Ordering::Relaxed),
        sums.received.load(Ordering::Relaxed)
    );
}

#[gort::test]
fn every_kind_of_operation_on_unbuffered_channels() {
    all_kinds(&[Some(0), Some(0)], 300);
}

#[gort::test]
fn every_kind_of_operation_on_small_buffers() {
    all_kinds(&[Some(1), Some(2), Some(0)], 500);
}

#[gort::test]
fn every_kind_of_operation_on_a_mixture() {
    all_kinds(&[None, Some(0), Some(5), None], 500);
}

#[gort::test(procs = 1)]
fn every_kind_of_operation_on_one_processor() {
    all_kinds(&[Some(0), Some(1)], 200);
}

//! CH21, CH23, CH26 to CH29: senders and receivers that run beside each other.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use gort::chan::{self, Sender, select};

use super::scaled;

#[gort::test]
fn ch21_four_senders_and_four_receivers_lose_and_double_nothing() {
    const EACH: usize = 1000;
    for capacity in 0..scaled(10, 200) {
        let (s, r) = chan::bounded(capacity);
        let counts: Arc<Vec<AtomicU32>> = Arc::new((0..EACH).map(|_| AtomicU32::new(0)).collect());
        for _ in 0..4 {
            let s = s.clone();
            gort::go(move || (0..EACH).for_each(|i| s.send(i).unwrap()));
        }
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let (r, counts) = (r.clone(), Arc::clone(&counts));
                gort::go(move || {
                    for _ in 0..EACH {
                        counts[r.recv().unwrap()].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for receiver in receivers {
            receiver.join().unwrap();
        }
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 4),
            "capacity {capacity}: {counts:?}"
        );
    }
}

#[gort::test(procs = 2)]
fn ch23_full_and_then_closed_is_ready_at_every_moment() {
    for _ in 0..scaled(1000, 10_000) {
        let (s, r) = chan::bounded(1);
        s.send(1).unwrap();
        let looks = gort::go({
            let r = r.clone();
            move || {
                select! {
                    recv(r) -> _ => true,
                    default => false,
                }
            }
        });
        s.close();
        let _ = r.recv();
        assert!(looks.join().unwrap(), "the channel was empty and open");
    }
}

/// Enough to show a slot that was written in part, or read too early.
fn pattern(seed: u64) -> [u64; 64] {
    std::array::from_fn(|i| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i as u64)
}

#[gort::test]
fn ch26_a_parked_goroutines_slot_is_written_by_another_thread() {
    // A sender that is parked for long, its value on its stack.
    for round in 0..10 {
        let (s, r) = chan::bounded(0);
        let sender = gort::go(move || s.send(pattern(round)).is_ok());
        let thread = std::thread::spawn(move || {
            // waits: the sender sleeps meanwhile
            std::thread::sleep(Duration::from_millis(1));
            r.recv()
        });
        let received = gort::blocking(|| thread.join().unwrap());
        assert_eq!(received, Ok(pattern(round)));
        assert!(sender.join().unwrap());
    }
    // Receivers that are parked for a moment, with other frames above and below.
    fn deep(depth: u32, receive: &dyn Fn() -> [u64; 64]) -> [u64; 64] {
        let here = std::hint::black_box([depth; 32]);
        let value = if depth == 0 {
            receive()
        } else {
            deep(depth - 1, receive)
        };
        assert_eq!(std::hint::black_box(here), [depth; 32]);
        value
    }
    let pairs: Vec<_> = (0..200)
        .map(|i| {
            let (s, r) = chan::bounded(i as usize % 2);
            let receiver = gort::go(move || deep(i % 8, &|| r.recv().unwrap()));
            let sender = gort::go(move || {
                // waits: the receiver sleeps meanwhile
                gort::time::sleep(Duration::from_micros(10));
                s.send(pattern(u64::from(i))).unwrap();
            });
            (i, sender, receiver)
        })
        .collect();
    for (i, sender, receiver) in pairs {
        sender.join().unwrap();
        assert_eq!(receiver.join().unwrap(), pattern(u64::from(i)));
    }
}

/// Data that only channels protect.
#[derive(Default)]
struct Plain(UnsafeCell<u64>);

// SAFETY: each test says which operation on a channel comes between two accesses.
unsafe impl Sync for Plain {}

#[gort::test(procs = 2)]
fn ch27_a_send_comes_before_its_receive() {
    for capacity in [0, 1, 3] {
        let plain = Arc::new(Plain::default());
        let (s, r) = chan::bounded(capacity);
        let (back, ack) = chan::bounded(0);
        let writer = gort::go({
            let plain = Arc::clone(&plain);
            move || {
                for i in 1..=1000 {
                    // SAFETY: the reader reads between the receive of `i - 1` and its answer, which
                    // we have got.
                    unsafe { *plain.0.get() = i };
                    s.send(()).unwrap();
                    ack.recv().unwrap();
                }
            }
        });
        for i in 1..=1000 {
            r.recv().unwrap();
            // SAFETY: the writer has sent, and writes again only after our answer.
            assert_eq!(unsafe { *plain.0.get() }, i);
            back.send(()).unwrap();
        }
        writer.join().unwrap();
    }
}

#[gort::test(procs = 2)]
fn ch27_a_receive_comes_before_the_send_that_its_place_lets_through() {
    const EACH: u64 = 5_000;
    let plain = Arc::new(Plain::default());
    // As many sends complete as there were receives, and one: a lock.
    let (lock, unlock) = chan::bounded(1);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (plain, lock, unlock) = (Arc::clone(&plain), lock.clone(), unlock.clone());
            gort::go(move || {
                for _ in 0..EACH {
                    lock.send(()).unwrap();
                    // SAFETY: the next send completes only after our receive below.
                    unsafe { *plain.0.get() += 1 };
                    unlock.recv().unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    // SAFETY: all workers have ended.
    assert_eq!(unsafe { *plain.0.get() }, 4 * EACH);
}

/// Sends `count` values made of their numbers in all, from `senders` to `receivers` goroutines, and
/// checks the sum of the numbers.
fn transfer<T: Send + 'static>(
    (senders, receivers): (usize, usize),
    capacity: usize,
    count: usize,
    make: fn(usize) -> T,
    number: fn(T) -> usize,
) {
    let (s, r) = chan::bounded(capacity);
    for sender in 0..senders {
        let s = s.clone();
        gort::go(move || {
            for i in (sender..count).step_by(senders) {
                assert!(s.send(make(i)).is_ok());
            }
        });
    }
    drop(s);
    let receivers: Vec<_> = (0..receivers)
        .map(|_| {
            let r = r.clone();
            gort::go(move || r.iter().map(number).sum::<usize>())
        })
        .collect();
    let sum: usize = receivers.into_iter().map(|r| r.join().unwrap()).sum();
    assert_eq!(sum, count * (count - 1) / 2);
}

#[gort::test(timeout = "10m")]
fn ch28_move_only_large_and_empty_values_through_every_capacity() {
    let count = scaled(10_000, 100_000);
    for crowd in [(1, 1), (4, 1), (1, 4), (4, 4)] {
        for capacity in [0, 1, 7] {
            transfer(crowd, capacity, count, Box::new, |boxed| *boxed);
            transfer(
                crowd,
                capacity,
                scaled(count / 10, count),
                |i| [i; 512],
                |large| {
                    assert!(large.iter().all(|word| *word == large[511]));
                    large[0]
                },
            );
        }
    }
    for capacity in [0, 1, 7] {
        let (s, r) = chan::bounded(capacity);
        let sender = gort::go(move || (0..count).for_each(|_| s.send(()).unwrap()));
        assert_eq!(r.iter().count(), count);
        sender.join().unwrap();
    }
}

#[gort::test]
fn ch28_a_values_drop_may_send_on_another_channel() {
    struct Tells(Sender<usize>, usize);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(self.1).unwrap();
        }
    }
    let (drops, dropped) = chan::unbounded();
    let (s, r) = chan::bounded(8);
    for i in 0..8 {
        assert!(s.send(Tells(drops.clone(), i)).is_ok());
    }
    drop(r.recv().unwrap());
    drop(r);
    drop(s);
    drop(drops);
    assert_eq!(dropped.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[gort::test]
fn ch29_plain_threads_share_a_channel_with_goroutines() {
    const N: usize = 10_000;
    for capacity in [0, 8] {
        let others = Arc::new(AtomicUsize::new(0));
        let (to_thread, from_goroutine) = chan::bounded(capacity);
        let (to_goroutine, from_thread) = chan::bounded(capacity);
        let thread = std::thread::spawn(move || {
            for i in 0..N {
                to_goroutine.send(i).unwrap();
                assert_eq!(from_goroutine.recv(), Ok(i));
            }
        });
        // The thread blocks itself, not a P: others run meanwhile.
        let runs = gort::go({
            let (others, answered) = (Arc::clone(&others), from_thread.clone());
            move || {
                while !answered.is_empty() || others.load(Ordering::Relaxed) < 100 {
                    others.fetch_add(1, Ordering::Relaxed);
                    gort::yield_now();
                }
            }
        });
        for i in 0..N {
            assert_eq!(from_thread.recv(), Ok(i));
            to_thread.send(i).unwrap();
        }
        gort::blocking(|| thread.join().unwrap());
        runs.join().unwrap();
        assert!(others.load(Ordering::Relaxed) >= 100);
    }
}

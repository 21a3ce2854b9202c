//! The twin on OS threads with crossbeam-channel.
//!
//! `--procs` confines the process to so many cores. crossbeam has channels and select; threads and
//! locks are std's there too, so the workloads that need only those stand in the std twin alone.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, select};
use gort_bench_workload::{
    CHAN_CAPACITY, Measured, Outcome, Workload, resident_bytes, run, sum_below,
};

fn main() -> ExitCode {
    run("crossbeam", |case| {
        case.confine_to_procs();
        match case.workload {
            Workload::PingPong => case.timed(ping_pong).into(),
            Workload::Chan1p1c => case.timed(|n| chan_1p1c(n, CHAN_CAPACITY)).into(),
            Workload::Chan1p1cUnbuffered => case.timed(|n| chan_1p1c(n, 0)).into(),
            Workload::Chan4p4c => case.timed(|n| chan_4p4c(n, CHAN_CAPACITY)).into(),
            Workload::Chan4p4cUnbuffered => case.timed(|n| chan_4p4c(n, 0)).into(),
            Workload::Select4 => case.timed(select_4).into(),
            Workload::Parked => parked(case.n).into(),
            Workload::Spawn
            | Workload::SpawnBatch
            | Workload::Mutex
            | Workload::MutexUncontended
            | Workload::Yield2
            | Workload::Yield100
            | Workload::Echo64
            | Workload::Echo1000
            | Workload::Hog
            | Workload::HogRest
            | Workload::BlockRead
            | Workload::BlockSleep
            | Workload::BlockLock => {
                Outcome::Unsupported("crossbeam: has channels and select; for the rest see std")
            }
        }
    })
}

fn ping_pong(n: u64) {
    let (ping, pings) = bounded::<u64>(0);
    let (pong, pongs) = bounded::<u64>(0);
    let echo = thread::spawn(move || {
        for value in pings {
            pong.send(value + 1).expect("the other side waits for it");
        }
    });
    let mut value = 0;
    for _ in 0..n {
        ping.send(value).expect("the other side receives");
        value = pongs.recv().expect("the other side answers");
    }
    drop(ping);
    echo.join().expect("no panic inside");
    assert_eq!(value, n);
}

fn chan_1p1c(n: u64, capacity: usize) {
    let (tx, rx) = bounded::<u64>(capacity);
    let producer = thread::spawn(move || {
        for i in 0..n {
            tx.send(i)
                .expect("the consumer lives until the channel closes");
        }
    });
    let (mut count, mut sum) = (0, 0);
    for value in rx {
        count += 1;
        sum += value;
    }
    producer.join().expect("no panic inside");
    assert_eq!((count, sum), (n, sum_below(n)));
}

fn chan_4p4c(n: u64, capacity: usize) {
    let (tx, rx) = bounded::<u64>(capacity);
    let producers: Vec<_> = (0..4)
        .map(|p| {
            let tx = tx.clone();
            thread::spawn(move || {
                for i in (p..n).step_by(4) {
                    tx.send(i)
                        .expect("the consumers live until the channel closes");
                }
            })
        })
        .collect();
    drop(tx);
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let rx = rx.clone();
            thread::spawn(move || {
                let (mut count, mut sum) = (0, 0);
                for value in rx {
                    count += 1;
                    sum += value;
                }
                (count, sum)
            })
        })
        .collect();
    for producer in producers {
        producer.join().expect("no panic inside");
    }
    let (mut count, mut sum) = (0, 0);
    for consumer in consumers {
        let (its_count, its_sum) = consumer.join().expect("no panic inside");
        count += its_count;
        sum += its_sum;
    }
    assert_eq!((count, sum), (n, sum_below(n)));
}

fn select_4(n: u64) {
    let (producers, rx): (Vec<_>, Vec<Receiver<u64>>) = (0..4)
        .map(|p| {
            let (tx, rx) = bounded::<u64>(0);
            let producer = thread::spawn(move || {
                for i in (p..n).step_by(4) {
                    tx.send(i).expect("the consumer takes all");
                }
                // Kept until the end, so that no arm of the select is closed.
                tx
            });
            (producer, rx)
        })
        .unzip();
    let mut sum = 0;
    for _ in 0..n {
        let value = select! {
            recv(rx[0]) -> value => value,
            recv(rx[1]) -> value => value,
            recv(rx[2]) -> value => value,
            recv(rx[3]) -> value => value,
        };
        sum += value.expect("no producer closes before all is sent");
    }
    for producer in producers {
        producer.join().expect("no panic inside");
    }
    assert_eq!(sum, sum_below(n));
}

fn parked(n: u64) -> Measured {
    let (gate, at_gate) = bounded::<()>(0);
    let (tell, told) = bounded::<()>(2);
    let arrived = Arc::new(AtomicU64::new(0));
    let woken = Arc::new(AtomicU64::new(0));
    let sum = Arc::new(AtomicU64::new(0));

    let before = resident_bytes();
    let start = Instant::now();
    for i in 0..n {
        let (at_gate, arrived, woken, sum) =
            (at_gate.clone(), arrived.clone(), woken.clone(), sum.clone());
        let tell = tell.clone();
        thread::spawn(move || {
            if arrived.fetch_add(1, Ordering::Relaxed) + 1 == n {
                tell.send(()).expect("main waits for it");
            }
            at_gate.recv().expect_err("nothing is sent, only closed");
            sum.fetch_add(i, Ordering::Relaxed);
            if woken.fetch_add(1, Ordering::AcqRel) + 1 == n {
                tell.send(()).expect("main waits for it");
            }
        });
    }
    told.recv().expect("the last one tells");
    let create = start.elapsed();
    let bytes = resident_bytes().saturating_sub(before);

    let start = Instant::now();
    drop(gate);
    told.recv().expect("the last one tells");
    let wake = start.elapsed();

    assert_eq!(sum.load(Ordering::Relaxed), sum_below(n));
    Measured::parked(n, create, wake, bytes)
}

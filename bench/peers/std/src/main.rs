//! The twin on OS threads with what std has: `thread`, `mpsc::sync_channel`, `Mutex`.
//!
//! `--procs` confines the process to so many cores. An `mpsc::Receiver` has one owner, so several
//! consumers share it behind a `Mutex`, as the standard library's own examples do.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use gort_bench_workload::{
    Blocking, CHAN_CAPACITY, Case, Crowd, ECHO_BYTES, HOGS, Hogs, Lateness, Measured, Outcome,
    Rest, SPAWN_BATCH, Workload, burn_for_ever, drive_echo, resident_bytes, run, sum_below,
};

fn main() -> ExitCode {
    run("std", |case| {
        case.confine_to_procs();
        match case.workload {
            Workload::Spawn => case.timed(spawn).into(),
            Workload::SpawnBatch => case.timed(spawn_batch).into(),
            Workload::PingPong => case.timed(ping_pong).into(),
            Workload::Chan1p1c => case.timed(|n| chan_1p1c(n, CHAN_CAPACITY)).into(),
            Workload::Chan1p1cUnbuffered => case.timed(|n| chan_1p1c(n, 0)).into(),
            Workload::Chan4p4c => case
                .timed(|n| chan_4p4c(n, CHAN_CAPACITY))
                .note(SHARED_RECEIVER)
                .into(),
            Workload::Chan4p4cUnbuffered => {
                case.timed(|n| chan_4p4c(n, 0)).note(SHARED_RECEIVER).into()
            }
            Workload::Select4 => Outcome::Unsupported("std has no select"),
            Workload::Mutex => case.timed(|n| mutex(n, 4)).into(),
            Workload::MutexUncontended => case.timed(|n| mutex(n, 1)).into(),
            Workload::Yield2 => case.timed(|n| yields(n, 2)).into(),
            Workload::Yield100 => case.timed(|n| yields(n, 100)).into(),
            Workload::Parked => parked(case.n).into(),
            Workload::Echo64 | Workload::Echo1000 => echo(case).into(),
            Workload::Hog => hog(case.n).into(),
            Workload::HogRest => hog_rest(case.n).into(),
            Workload::BlockRead | Workload::BlockSleep | Workload::BlockLock => {
                Blocking::run(case, spawn_ticker, |call| drop(thread::spawn(call))).into()
            }
        }
    })
}

const SHARED_RECEIVER: &str = "std: one mpsc::Receiver behind a Mutex";

fn spawn(n: u64) {
    let mut sum = 0;
    for i in 0..n {
        sum += thread::spawn(move || black_box(i))
            .join()
            .expect("no panic inside");
    }
    assert_eq!(sum, sum_below(n));
}

fn spawn_batch(n: u64) {
    let mut sum = 0;
    let mut first = 0;
    while first < n {
        let last = (first + SPAWN_BATCH).min(n);
        let batch: Vec<_> = (first..last)
            .map(|i| thread::spawn(move || black_box(i)))
            .collect();
        for handle in batch {
            sum += handle.join().expect("no panic inside");
        }
        first = last;
    }
    assert_eq!(sum, sum_below(n));
}

fn ping_pong(n: u64) {
    let (ping, pings) = sync_channel::<u64>(0);
    let (pong, pongs) = sync_channel::<u64>(0);
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
    let (tx, rx) = sync_channel::<u64>(capacity);
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
    let (tx, rx) = sync_channel::<u64>(capacity);
    let rx = Arc::new(Mutex::new(rx));
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
            let rx = Arc::clone(&rx);
            thread::spawn(move || {
                let (mut count, mut sum) = (0, 0);
                while let Some(value) = receive_shared(&rx) {
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

fn receive_shared(rx: &Mutex<Receiver<u64>>) -> Option<u64> {
    rx.lock().expect("no panic under the lock").recv().ok()
}

fn mutex(n: u64, threads: u64) {
    let counter = Arc::new(Mutex::new(0_u64));
    let workers: Vec<_> = (0..threads)
        .map(|t| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                for _ in (t..n).step_by(threads as usize) {
                    *counter.lock().expect("no panic under the lock") += 1;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic inside");
    }
    assert_eq!(*counter.lock().expect("no panic under the lock"), n);
}

fn yields(n: u64, threads: u64) {
    let workers: Vec<_> = (0..threads)
        .map(|t| {
            thread::spawn(move || {
                let mut count = 0;
                for _ in (t..n).step_by(threads as usize) {
                    thread::yield_now();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let total: u64 = workers
        .into_iter()
        .map(|worker| worker.join().expect("no panic inside"))
        .sum();
    assert_eq!(total, n);
}

/// A gate that opens once: std's channels cannot wake many receivers by closing.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

fn parked(n: u64) -> Measured {
    let (tell, told) = sync_channel::<()>(2);
    let shared = Arc::new((Crowd::new(n), Gate::default(), tell));

    let before = resident_bytes();
    let start = Instant::now();
    for i in 0..n {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (crowd, gate, tell) = &*shared;
            let mut is_open = gate.is_open.lock().expect("no panic under the lock");
            if crowd.arrive() {
                tell.send(()).expect("main waits for it");
            }
            while !*is_open {
                is_open = gate.opened.wait(is_open).expect("no panic under the lock");
            }
            drop(is_open);
            if crowd.go_on(i) {
                tell.send(()).expect("main waits for it");
            }
        });
    }
    told.recv().expect("the last one tells");
    let create = start.elapsed();
    let bytes = resident_bytes().saturating_sub(before);

    let start = Instant::now();
    let (crowd, gate, _) = &*shared;
    *gate.is_open.lock().expect("no panic under the lock") = true;
    gate.opened.notify_all();
    told.recv().expect("the last one tells");
    let wake = start.elapsed();

    crowd.check();
    Measured::parked(n, create, wake, bytes)
        .note("std: parked on a Condvar, since closing an mpsc channel wakes one receiver")
}

fn echo(case: &Case) -> Measured {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("accept");
            thread::spawn(move || echo_connection(stream));
        }
    });
    drive_echo(case, address).into()
}

fn echo_connection(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("an open socket");
    let mut buffer = [0; ECHO_BYTES];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                if stream.write_all(&buffer[..len]).is_err() {
                    return;
                }
            }
        }
    }
}

fn spawn_ticker(lateness: Arc<Lateness>) {
    thread::spawn(move || {
        while let Some(next) = lateness.next() {
            // The clock has gone on since: what is due by now sleeps for no time.
            thread::sleep(next.saturating_duration_since(Instant::now()));
            lateness.serve();
        }
    });
}

fn hog(n: u64) -> Measured {
    let lateness = Lateness::start(n);
    let hogs = Arc::new(Hogs::default());
    spawn_ticker(Arc::clone(&lateness));
    let loops: Vec<_> = (0..HOGS)
        .map(|hog| {
            let hogs = Arc::clone(&hogs);
            thread::spawn(move || hogs.burn(hog))
        })
        .collect();
    lateness.wait();
    // Before the loops end, as the ticker goes on then.
    let measured = lateness.measured();
    hogs.stop();
    for hog in loops {
        hog.join().expect("no panic inside");
    }
    hogs.measured(measured)
}

fn hog_rest(n: u64) -> Measured {
    let rest = Rest::start(n);
    spawn_ticker(Arc::clone(&rest.lateness));

    let (ping, pings) = sync_channel::<u64>(0);
    let (pong, pongs) = sync_channel::<u64>(0);
    thread::spawn(move || {
        for value in pings {
            pong.send(value + 1).expect("the other side waits for it");
        }
    });
    let its_rest = Arc::clone(&rest);
    thread::spawn(move || {
        let mut value = 0;
        loop {
            ping.send(value).expect("the other side receives");
            let answer = pongs.recv().expect("the other side answers");
            assert_eq!(answer, value + 1);
            value = answer;
            if !its_rest.ping_pong.step() {
                return;
            }
        }
    });

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || echo_connection(listener.accept().expect("accept").0));
    let its_rest = Arc::clone(&rest);
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("a listener is there");
        stream.set_nodelay(true).expect("an open socket");
        let mut buffer = [7; ECHO_BYTES];
        loop {
            stream.write_all(&buffer).expect("the other side reads");
            buffer.fill(0);
            stream
                .read_exact(&mut buffer)
                .expect("the other side answers");
            assert_eq!(buffer, [7; ECHO_BYTES]);
            if !its_rest.echo.step() {
                return;
            }
        }
    });

    thread::spawn(|| burn_for_ever());
    rest.wait()
}

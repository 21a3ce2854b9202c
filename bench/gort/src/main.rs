//! The benchmark workloads on gort.
//!
//! Written as a user would write them, with the public API alone. What each workload models, counts
//! and could mislead about: `gort_bench_workload::Workload::about`. The twins: `bench/peers`.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use gort::chan::{self, Receiver};
use gort::net::{TcpListener, TcpStream};
use gort::sync::Mutex;
use gort::time::Ticker;
use gort_bench_workload::{
    Blocking, CHAN_CAPACITY, Case, Crowd, ECHO_BYTES, HOGS, Hogs, Lateness, Measured, Rest,
    SPAWN_BATCH, TICK, Workload, burn_for_ever, drive_echo, resident_bytes, run, sum_below,
};

fn main() -> ExitCode {
    run("gort", |case| {
        gort::Config::new()
            .procs(case.procs)
            .start()
            .expect("nothing has started the runtime yet");
        match case.workload {
            Workload::Spawn => timed(case, spawn).into(),
            Workload::SpawnBatch => timed(case, spawn_batch).into(),
            Workload::PingPong => timed(case, ping_pong).into(),
            Workload::Chan1p1c => timed(case, |n| chan_1p1c(n, CHAN_CAPACITY)).into(),
            Workload::Chan1p1cUnbuffered => timed(case, |n| chan_1p1c(n, 0)).into(),
            Workload::Chan4p4c => timed(case, |n| chan_4p4c(n, CHAN_CAPACITY)).into(),
            Workload::Chan4p4cUnbuffered => timed(case, |n| chan_4p4c(n, 0)).into(),
            Workload::Select4 => timed(case, select_4).into(),
            Workload::Mutex => timed(case, |n| mutex(n, 4)).into(),
            Workload::MutexUncontended => timed(case, |n| mutex(n, 1)).into(),
            Workload::Yield2 => timed(case, |n| yields(n, 2)).into(),
            Workload::Yield100 => timed(case, |n| yields(n, 100)).into(),
            Workload::Parked => {
                let n = case.n;
                on_a_goroutine(move || parked(n)).into()
            }
            Workload::Echo64 | Workload::Echo1000 => echo(case).into(),
            Workload::Hog => hog(case.n).into(),
            Workload::HogRest => hog_rest(case.n).into(),
            Workload::BlockRead | Workload::BlockSleep | Workload::BlockLock => {
                Blocking::run(case, spawn_ticker, |call| drop(gort::go(call))).into()
            }
        }
    })
}

fn timed(case: &Case, work: fn(u64)) -> Measured {
    case.timed(|n| on_a_goroutine(move || work(n)))
}

/// Runs `f` as an ordinary goroutine, as the twins do: not as the main one with its large stack.
fn on_a_goroutine<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    gort::go(f).join().expect("no panic inside")
}

fn spawn(n: u64) {
    let mut sum = 0;
    for i in 0..n {
        sum += gort::go(move || black_box(i))
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
            .map(|i| gort::go(move || black_box(i)))
            .collect();
        for handle in batch {
            sum += handle.join().expect("no panic inside");
        }
        first = last;
    }
    assert_eq!(sum, sum_below(n));
}

fn ping_pong(n: u64) {
    let (ping, pings) = chan::bounded::<u64>(0);
    let (pong, pongs) = chan::bounded::<u64>(0);
    let echo = gort::go(move || {
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
    let (tx, rx) = chan::bounded::<u64>(capacity);
    let producer = gort::go(move || {
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
    let (tx, rx) = chan::bounded::<u64>(capacity);
    let producers: Vec<_> = (0..4)
        .map(|p| {
            let tx = tx.clone();
            gort::go(move || {
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
            gort::go(move || {
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
            let (tx, rx) = chan::bounded::<u64>(0);
            let producer = gort::go(move || {
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
        let value = chan::select! {
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

fn mutex(n: u64, goroutines: u64) {
    let counter = Arc::new(Mutex::new(0_u64));
    let workers: Vec<_> = (0..goroutines)
        .map(|g| {
            let counter = Arc::clone(&counter);
            gort::go(move || {
                for _ in (g..n).step_by(goroutines as usize) {
                    *counter.lock() += 1;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic inside");
    }
    assert_eq!(*counter.lock(), n);
}

fn yields(n: u64, goroutines: u64) {
    let workers: Vec<_> = (0..goroutines)
        .map(|g| {
            gort::go(move || {
                let mut count = 0;
                for _ in (g..n).step_by(goroutines as usize) {
                    gort::yield_now();
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

fn parked(n: u64) -> Measured {
    let (gate, at_gate) = chan::bounded::<()>(0);
    let (tell, told) = chan::bounded::<()>(2);
    let shared = Arc::new((Crowd::new(n), at_gate, tell));

    let before = resident_bytes();
    let start = Instant::now();
    for i in 0..n {
        let shared = Arc::clone(&shared);
        gort::go(move || {
            let (crowd, at_gate, tell) = &*shared;
            if crowd.arrive() {
                tell.send(()).expect("main waits for it");
            }
            at_gate.recv().expect_err("nothing is sent, only closed");
            if crowd.go_on(i) {
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

    shared.0.check();
    Measured::parked(n, create, wake, bytes)
}

fn echo(case: &Case) -> Measured {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    gort::go(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("accept");
            gort::go(move || echo_connection(stream));
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
    gort::go(move || {
        let ticker = Ticker::new(TICK);
        let mut goes_on = true;
        while goes_on {
            ticker.chan().recv().expect("a ticker's channel stays open");
            goes_on = lateness.serve();
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
            gort::go(move || hogs.burn(hog))
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

    let (ping, pings) = chan::bounded::<u64>(0);
    let (pong, pongs) = chan::bounded::<u64>(0);
    gort::go(move || {
        for value in pings {
            pong.send(value + 1).expect("the other side waits for it");
        }
    });
    let its_rest = Arc::clone(&rest);
    gort::go(move || {
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
    gort::go(move || echo_connection(listener.accept().expect("accept").0));
    let its_rest = Arc::clone(&rest);
    gort::go(move || {
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

    gort::go(|| burn_for_ever());
    rest.wait()
}

//! The twin on may: stackful coroutines on a scheduler of its own.
//!
//! may's channels have no bound (`mpsc`, `mpmc`), so the rows with a bounded or unbuffered channel
//! run on those, and say so: there a producer is never held up. `select!` of may starts a coroutine
//! per arm and call, and drops what a losing arm has received; the select row uses the same thing in
//! its loop form (a `cqueue`, as `loop_select!` makes one), which loses nothing.

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gort_bench_workload::{
    Blocking, Case, Crowd, ECHO_BYTES, HOGS, Hogs, Lateness, Measured, Rest, SPAWN_BATCH, Workload,
    burn_for_ever, drive_echo, resident_bytes, run, sum_below,
};
use may::net::{TcpListener, TcpStream};
use may::sync::{Mutex, mpmc, mpsc};
use may::{coroutine, cqueue, go};

fn main() -> ExitCode {
    run("may", |case| {
        may::config().set_workers(case.procs);
        match case.workload {
            Workload::Spawn => timed(case, spawn).into(),
            Workload::SpawnBatch => timed(case, spawn_batch).into(),
            Workload::PingPong => timed(case, ping_pong).note(UNBOUNDED).into(),
            Workload::Chan1p1c | Workload::Chan1p1cUnbuffered => {
                timed(case, chan_1p1c).note(UNBOUNDED).into()
            }
            Workload::Chan4p4c | Workload::Chan4p4cUnbuffered => {
                timed(case, chan_4p4c).note(UNBOUNDED).into()
            }
            Workload::Select4 => timed(case, select_4).note(CQUEUE).into(),
            Workload::Mutex => timed(case, |n| mutex(n, 4)).into(),
            Workload::MutexUncontended => timed(case, |n| mutex(n, 1)).into(),
            Workload::Yield2 => timed(case, |n| yields(n, 2)).into(),
            Workload::Yield100 => timed(case, |n| yields(n, 100)).into(),
            Workload::Parked => {
                let n = case.n;
                go!(move || parked(n))
                    .join()
                    .expect("no panic inside")
                    .into()
            }
            Workload::Echo64 | Workload::Echo1000 => echo(case).into(),
            Workload::Hog => hog(case.n).note(TIMER_THREAD).into(),
            Workload::HogRest => hog_rest(case.n).note(TIMER_THREAD).into(),
            Workload::BlockRead | Workload::BlockSleep | Workload::BlockLock => {
                Blocking::run(case, spawn_ticker, |call| drop(go!(call)))
                    .note(TIMER_THREAD)
                    .into()
            }
        }
    })
}

const UNBOUNDED: &str = "may: channels have no bound, so a sender never waits";
const TIMER_THREAD: &str = "may: who sleeps goes on on a thread that only runs who has slept, so a ticker ticks whatever the workers do; nothing else goes on";
const CQUEUE: &str =
    "may: a cqueue (one coroutine per arm for the whole run) over channels without bound";

/// Runs the work as a coroutine, as main is none in may.
fn timed(case: &Case, work: fn(u64)) -> Measured {
    case.timed(|n| go!(move || work(n)).join().expect("no panic inside"))
}

fn spawn(n: u64) {
    let mut sum = 0;
    for i in 0..n {
        sum += go!(move || black_box(i)).join().expect("no panic inside");
    }
    assert_eq!(sum, sum_below(n));
}

fn spawn_batch(n: u64) {
    let mut sum = 0;
    let mut first = 0;
    while first < n {
        let last = (first + SPAWN_BATCH).min(n);
        let batch: Vec<_> = (first..last).map(|i| go!(move || black_box(i))).collect();
        for handle in batch {
            sum += handle.join().expect("no panic inside");
        }
        first = last;
    }
    assert_eq!(sum, sum_below(n));
}

fn ping_pong(n: u64) {
    let (ping, pings) = mpsc::channel::<u64>();
    let (pong, pongs) = mpsc::channel::<u64>();
    let echo = go!(move || {
        for value in pings.iter() {
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

fn chan_1p1c(n: u64) {
    let (tx, rx) = mpsc::channel::<u64>();
    let producer = go!(move || {
        for i in 0..n {
            tx.send(i)
                .expect("the consumer lives until the channel closes");
        }
    });
    let (mut count, mut sum) = (0, 0);
    for value in rx.iter() {
        count += 1;
        sum += value;
    }
    producer.join().expect("no panic inside");
    assert_eq!((count, sum), (n, sum_below(n)));
}

fn chan_4p4c(n: u64) {
    let (tx, rx) = mpmc::channel::<u64>();
    let producers: Vec<_> = (0..4)
        .map(|p| {
            let tx = tx.clone();
            go!(move || {
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
            go!(move || {
                let (mut count, mut sum) = (0, 0);
                for value in rx.iter() {
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
    let (producers, rx): (Vec<_>, Vec<mpsc::Receiver<u64>>) = (0..4)
        .map(|p| {
            let (tx, rx) = mpsc::channel::<u64>();
            let producer = go!(move || {
                for i in (p..n).step_by(4) {
                    tx.send(i).expect("the consumer takes all");
                }
            });
            (producer, rx)
        })
        .unzip();
    let sum = AtomicU64::new(0);
    cqueue::scope(|arms| {
        for (token, rx) in rx.into_iter().enumerate() {
            let sum = &sum;
            go!(arms, token, move |arm| {
                for value in rx.iter() {
                    arm.send(arm.get_token());
                    sum.fetch_add(value, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..n {
            arms.poll(None)
                .expect("the arms end only when all is received");
        }
    });
    for producer in producers {
        producer.join().expect("no panic inside");
    }
    assert_eq!(sum.load(Ordering::Relaxed), sum_below(n));
}

fn mutex(n: u64, coroutines: u64) {
    let counter = Arc::new(Mutex::new(0_u64));
    let workers: Vec<_> = (0..coroutines)
        .map(|c| {
            let counter = Arc::clone(&counter);
            go!(move || {
                for _ in (c..n).step_by(coroutines as usize) {
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

fn yields(n: u64, coroutines: u64) {
    let workers: Vec<_> = (0..coroutines)
        .map(|c| {
            go!(move || {
                let mut count = 0;
                for _ in (c..n).step_by(coroutines as usize) {
                    coroutine::yield_now();
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
    let (gate, at_gate) = mpmc::channel::<()>();
    let (tell, told) = mpsc::channel::<()>();
    let shared = Arc::new((Crowd::new(n), at_gate, tell));

    let before = resident_bytes();
    let start = Instant::now();
    for i in 0..n {
        let shared = Arc::clone(&shared);
        go!(move || {
            let (crowd, at_gate, tell) = &*shared;
            if crowd.arrive() {
                tell.send(()).expect("main waits for it");
            }
            at_gate.recv().expect("the gate sends one each");
            if crowd.go_on(i) {
                tell.send(()).expect("main waits for it");
            }
        });
    }
    told.recv().expect("the last one tells");
    let create = start.elapsed();
    let bytes = resident_bytes().saturating_sub(before);

    let start = Instant::now();
    for _ in 0..n {
        gate.send(()).expect("the receivers are parked");
    }
    told.recv().expect("the last one tells");
    let wake = start.elapsed();

    shared.0.check();
    Measured::parked(n, create, wake, bytes)
        .note("may: woken by a send each, since a close wakes one receiver")
}

fn echo(case: &Case) -> Measured {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    go!(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("accept");
            go!(move || echo_connection(stream));
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
    go!(move || {
        while let Some(next) = lateness.next() {
            // The clock has gone on since: what is due by now sleeps for no time.
            coroutine::sleep(next.saturating_duration_since(Instant::now()));
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
            go!(move || hogs.burn(hog))
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

    let (ping, pings) = mpsc::channel::<u64>();
    let (pong, pongs) = mpsc::channel::<u64>();
    go!(move || {
        for value in pings.iter() {
            pong.send(value + 1).expect("the other side waits for it");
        }
    });
    let its_rest = Arc::clone(&rest);
    go!(move || {
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
    go!(move || echo_connection(listener.accept().expect("accept").0));
    let its_rest = Arc::clone(&rest);
    go!(move || {
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

    go!(|| burn_for_ever());
    rest.wait()
}

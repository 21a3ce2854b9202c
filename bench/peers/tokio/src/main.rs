//! The twin on tokio: stackless tasks on its multi-threaded scheduler with `procs` workers.
//!
//! The work itself runs as a task, since the thread that calls `block_on` is not a worker. tokio has
//! no unbuffered channel; a capacity of 1 is the nearest. Tasks are cheaper than goroutines where a
//! function never has to keep a stack: that is the other side of the coloured functions.

#![forbid(unsafe_code)]

use std::future::Future;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use gort_bench_workload::{
    Blocking, CHAN_CAPACITY, Case, Crowd, ECHO_BYTES, HOGS, Hogs, Lateness, Measured, Rest,
    SPAWN_BATCH, TICK, Workload, burn_for_ever, drive_echo, resident_bytes, run, sum_below,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task;
use tokio::time::{self, MissedTickBehavior};

fn main() -> ExitCode {
    run("tokio", |case| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(case.procs)
            .enable_io()
            .enable_time()
            .build()
            .expect("a runtime with these workers");
        match case.workload {
            Workload::Spawn => timed(case, &runtime, spawn).into(),
            Workload::SpawnBatch => timed(case, &runtime, spawn_batch).into(),
            Workload::PingPong => timed(case, &runtime, ping_pong).note(CAPACITY_1).into(),
            Workload::Chan1p1c => timed(case, &runtime, |n| chan_1p1c(n, CHAN_CAPACITY)).into(),
            Workload::Chan1p1cUnbuffered => timed(case, &runtime, |n| chan_1p1c(n, 1))
                .note(CAPACITY_1)
                .into(),
            Workload::Chan4p4c => timed(case, &runtime, |n| chan_4p4c(n, CHAN_CAPACITY))
                .note(MPMC)
                .into(),
            Workload::Chan4p4cUnbuffered => timed(case, &runtime, |n| chan_4p4c(n, 1))
                .note(MPMC_1)
                .into(),
            Workload::Select4 => timed(case, &runtime, select_4).note(CAPACITY_1).into(),
            Workload::Mutex => timed(case, &runtime, |n| mutex(n, 4)).into(),
            Workload::MutexUncontended => timed(case, &runtime, |n| mutex(n, 1)).into(),
            Workload::Yield2 => timed(case, &runtime, |n| yields(n, 2)).into(),
            Workload::Yield100 => timed(case, &runtime, |n| yields(n, 100)).into(),
            Workload::Parked => block_on_task(&runtime, parked(case.n)).into(),
            Workload::Echo64 | Workload::Echo1000 => echo(case, &runtime).into(),
            Workload::Hog => hog(case.n, runtime).into(),
            Workload::HogRest => hog_rest(case.n, runtime).note(CAPACITY_1).into(),
            Workload::BlockRead | Workload::BlockSleep | Workload::BlockLock => {
                let handle = runtime.handle().clone();
                let ticker = |lateness| drop(runtime.spawn(tick(lateness)));
                let measured =
                    Blocking::run(case, ticker, |call| drop(handle.spawn(async { call() })));
                // Its workers may be blocked for as long as they like.
                runtime.shutdown_background();
                measured.into()
            }
        }
    })
}

const CAPACITY_1: &str = "tokio: no unbuffered channels, capacity 1 instead";
const MPMC: &str = "tokio: async-channel, since tokio's mpsc has one consumer";
const MPMC_1: &str = "tokio: async-channel with capacity 1";

fn timed<F>(case: &Case, runtime: &Runtime, work: impl Fn(u64) -> F) -> Measured
where
    F: Future<Output = ()> + Send + 'static,
{
    case.timed(|n| block_on_task(runtime, work(n)))
}

fn block_on_task<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let worker = runtime.spawn(work);
    runtime.block_on(worker).expect("no panic inside")
}

async fn spawn(n: u64) {
    let mut sum = 0;
    for i in 0..n {
        sum += task::spawn(async move { black_box(i) })
            .await
            .expect("no panic inside");
    }
    assert_eq!(sum, sum_below(n));
}

async fn spawn_batch(n: u64) {
    let mut sum = 0;
    let mut first = 0;
    while first < n {
        let last = (first + SPAWN_BATCH).min(n);
        let batch: Vec<_> = (first..last)
            .map(|i| task::spawn(async move { black_box(i) }))
            .collect();
        for handle in batch {
            sum += handle.await.expect("no panic inside");
        }
        first = last;
    }
    assert_eq!(sum, sum_below(n));
}

async fn ping_pong(n: u64) {
    let (ping, mut pings) = mpsc::channel::<u64>(1);
    let (pong, mut pongs) = mpsc::channel::<u64>(1);
    let echo = task::spawn(async move {
        while let Some(value) = pings.recv().await {
            pong.send(value + 1)
                .await
                .expect("the other side waits for it");
        }
    });
    let mut value = 0;
    for _ in 0..n {
        ping.send(value).await.expect("the other side receives");
        value = pongs.recv().await.expect("the other side answers");
    }
    drop(ping);
    echo.await.expect("no panic inside");
    assert_eq!(value, n);
}

async fn chan_1p1c(n: u64, capacity: usize) {
    let (tx, mut rx) = mpsc::channel::<u64>(capacity);
    let producer = task::spawn(async move {
        for i in 0..n {
            tx.send(i)
                .await
                .expect("the consumer lives until the channel closes");
        }
    });
    let (mut count, mut sum) = (0, 0);
    while let Some(value) = rx.recv().await {
        count += 1;
        sum += value;
    }
    producer.await.expect("no panic inside");
    assert_eq!((count, sum), (n, sum_below(n)));
}

async fn chan_4p4c(n: u64, capacity: usize) {
    let (tx, rx) = async_channel::bounded::<u64>(capacity);
    let producers: Vec<_> = (0..4)
        .map(|p| {
            let tx = tx.clone();
            task::spawn(async move {
                for i in (p..n).step_by(4) {
                    tx.send(i)
                        .await
                        .expect("the consumers live until the channel closes");
                }
            })
        })
        .collect();
    drop(tx);
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let rx = rx.clone();
            task::spawn(async move {
                let (mut count, mut sum) = (0, 0);
                while let Ok(value) = rx.recv().await {
                    count += 1;
                    sum += value;
                }
                (count, sum)
            })
        })
        .collect();
    for producer in producers {
        producer.await.expect("no panic inside");
    }
    let (mut count, mut sum) = (0, 0);
    for consumer in consumers {
        let (its_count, its_sum) = consumer.await.expect("no panic inside");
        count += its_count;
        sum += its_sum;
    }
    assert_eq!((count, sum), (n, sum_below(n)));
}

async fn select_4(n: u64) {
    let mut producers = Vec::new();
    let mut rx = Vec::new();
    for p in 0..4 {
        let (tx, its_rx) = mpsc::channel::<u64>(1);
        rx.push(its_rx);
        producers.push(task::spawn(async move {
            for i in (p..n).step_by(4) {
                tx.send(i).await.expect("the consumer takes all");
            }
            // Kept until the end, so that no arm of the select is closed.
            tx
        }));
    }
    let [rx0, rx1, rx2, rx3] = &mut rx[..] else {
        unreachable!("four were pushed");
    };
    let mut sum = 0;
    for _ in 0..n {
        let value = tokio::select! {
            value = rx0.recv() => value,
            value = rx1.recv() => value,
            value = rx2.recv() => value,
            value = rx3.recv() => value,
        };
        sum += value.expect("no producer closes before all is sent");
    }
    for producer in producers {
        producer.await.expect("no panic inside");
    }
    assert_eq!(sum, sum_below(n));
}

async fn mutex(n: u64, tasks: u64) {
    let counter = Arc::new(Mutex::new(0_u64));
    let workers: Vec<_> = (0..tasks)
        .map(|t| {
            let counter = Arc::clone(&counter);
            task::spawn(async move {
                for _ in (t..n).step_by(tasks as usize) {
                    *counter.lock().await += 1;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("no panic inside");
    }
    assert_eq!(*counter.lock().await, n);
}

async fn yields(n: u64, tasks: u64) {
    let workers: Vec<_> = (0..tasks)
        .map(|t| {
            task::spawn(async move {
                let mut count = 0;
                for _ in (t..n).step_by(tasks as usize) {
                    task::yield_now().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for worker in workers {
        total += worker.await.expect("no panic inside");
    }
    assert_eq!(total, n);
}

async fn parked(n: u64) -> Measured {
    let (gate, at_gate) = watch::channel(());
    let (tell, mut told) = mpsc::channel::<()>(2);
    let shared = Arc::new((Crowd::new(n), tell));

    let before = resident_bytes();
    let start = Instant::now();
    for i in 0..n {
        let (mut at_gate, shared) = (at_gate.clone(), Arc::clone(&shared));
        task::spawn(async move {
            let (crowd, tell) = &*shared;
            if crowd.arrive() {
                tell.send(()).await.expect("main waits for it");
            }
            at_gate
                .changed()
                .await
                .expect_err("nothing is sent, only closed");
            if crowd.go_on(i) {
                tell.send(()).await.expect("main waits for it");
            }
        });
    }
    told.recv().await.expect("the last one tells");
    let create = start.elapsed();
    let bytes = resident_bytes().saturating_sub(before);

    let start = Instant::now();
    drop(gate);
    told.recv().await.expect("the last one tells");
    let wake = start.elapsed();

    shared.0.check();
    Measured::parked(n, create, wake, bytes)
        .note("tokio: a watch channel, the one of tokio's that many tasks can wait on, with a receiver each")
}

fn echo(case: &Case, runtime: &Runtime) -> Measured {
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            task::spawn(echo_connection(stream));
        }
    });
    drive_echo(case, address).into()
}

async fn echo_connection(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("an open socket");
    let mut buffer = [0; ECHO_BYTES];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                if stream.write_all(&buffer[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn tick(lateness: Arc<Lateness>) {
    let mut ticks = time::interval_at(time::Instant::now() + TICK, TICK);
    // As the tickers of the others: who is late is told once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut goes_on = true;
    while goes_on {
        ticks.tick().await;
        goes_on = lateness.serve();
    }
}

fn hog(n: u64, runtime: Runtime) -> Measured {
    let lateness = Lateness::start(n);
    let hogs = Arc::new(Hogs::default());
    runtime.spawn(tick(Arc::clone(&lateness)));
    let loops: Vec<_> = (0..HOGS)
        .map(|hog| {
            let hogs = Arc::clone(&hogs);
            runtime.spawn(async move { hogs.burn(hog) })
        })
        .collect();
    lateness.wait();
    // Before the loops end, as the ticker goes on then.
    let measured = lateness.measured();
    hogs.stop();
    for hog in loops {
        runtime.block_on(hog).expect("no panic inside");
    }
    hogs.measured(measured)
}

fn hog_rest(n: u64, runtime: Runtime) -> Measured {
    let rest = Rest::start(n);
    runtime.spawn(tick(Arc::clone(&rest.lateness)));

    let (ping, mut pings) = mpsc::channel::<u64>(1);
    let (pong, mut pongs) = mpsc::channel::<u64>(1);
    runtime.spawn(async move {
        while let Some(value) = pings.recv().await {
            pong.send(value + 1)
                .await
                .expect("the other side waits for it");
        }
    });
    let its_rest = Arc::clone(&rest);
    runtime.spawn(async move {
        let mut value = 0;
        loop {
            ping.send(value).await.expect("the other side receives");
            let answer = pongs.recv().await.expect("the other side answers");
            assert_eq!(answer, value + 1);
            value = answer;
            if !its_rest.ping_pong.step() {
                return;
            }
        }
    });

    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a free port on loopback");
    let address = listener.local_addr().expect("it is bound");
    runtime.spawn(async move {
        let (stream, _) = listener.accept().await.expect("accept");
        echo_connection(stream).await;
    });
    let its_rest = Arc::clone(&rest);
    runtime.spawn(async move {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("a listener is there");
        stream.set_nodelay(true).expect("an open socket");
        let mut buffer = [7; ECHO_BYTES];
        loop {
            stream
                .write_all(&buffer)
                .await
                .expect("the other side reads");
            buffer.fill(0);
            stream
                .read_exact(&mut buffer)
                .await
                .expect("the other side answers");
            assert_eq!(buffer, [7; ECHO_BYTES]);
            if !its_rest.echo.step() {
                return;
            }
        }
    });

    runtime.spawn(async { burn_for_ever() });
    let measured = rest.wait();
    // The loop never ends, and neither would a runtime that waits for it.
    runtime.shutdown_background();
    measured
}

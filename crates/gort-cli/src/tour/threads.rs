//! The same work on goroutines and on OS threads: memory, spawn, switch.
//!
//! Both run the same closures on the same channels, which serve goroutines and plain threads alike; so
//! what differs is who runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gort::chan;
use gort::runtime::TlsMode;

use crate::number::{bytes, grouped, ns_each, time};
use crate::progress::Progress;
use crate::tour::report::Report;
use crate::{Failure, limits, machine};

/// Parked at once, of each kind.
const PARKED: u64 = 1_000;
/// A thread takes some fifty times as long as a goroutine with a stack of its own.
const SPAWNED_GOROUTINES: u64 = 200_000;
const SPAWNED_THREADS: u64 = 2_000;
const ROUNDS_OF_GOROUTINES: u64 = 200_000;
const ROUNDS_OF_THREADS: u64 = 20_000;

/// One of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Goroutine,
    Thread,
}

/// One that was started.
enum Handle {
    Goroutine(gort::JoinHandle<()>),
    Thread(std::thread::JoinHandle<()>),
}

impl Kind {
    fn start(self, f: impl FnOnce() + Send + 'static) -> Result<Handle, Failure> {
        match self {
            Kind::Goroutine => Ok(Handle::Goroutine(gort::go(f))),
            Kind::Thread => {
                let started = std::thread::Builder::new().spawn(f);
                let refused =
                    |err| Failure::failed(format!("no more threads: {err}; see ulimit -u"));
                started.map(Handle::Thread).map_err(refused)
            }
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Kind::Goroutine => "goroutines",
            Kind::Thread => "threads",
        }
    }
}

impl Handle {
    /// Waits for the end; whether it was a good one.
    fn join(self) -> bool {
        match self {
            Handle::Goroutine(handle) => handle.join().is_ok(),
            // It blocks this OS thread, so the goroutines get its right to run meanwhile.
            Handle::Thread(handle) => gort::blocking(|| handle.join()).is_ok(),
        }
    }
}

pub(crate) fn visit(report: &mut Report) -> Result<(), Failure> {
    let (spawned, rounds) = match gort::runtime::metrics().tls_mode {
        TlsMode::Own => (SPAWNED_GOROUTINES, ROUNDS_OF_GOROUTINES),
        // Each goroutine is a thread then.
        _ => (SPAWNED_THREADS, ROUNDS_OF_THREADS),
    };
    let mut progress = Progress::new("goroutines and threads", 3);
    progress.set(0, "memory");
    let parked = PARKED.min(limits::processes().soft / 4).max(1);
    let memory = [
        parked_bytes(Kind::Goroutine, parked, report)?,
        parked_bytes(Kind::Thread, parked, report)?,
    ];
    progress.set(1, "spawn");
    let spawn = [
        spawn_ns(Kind::Goroutine, spawned, report)?,
        spawn_ns(Kind::Thread, SPAWNED_THREADS, report)?,
    ];
    progress.set(2, "switch");
    let switch = [
        round_trip_ns(Kind::Goroutine, rounds, report)?,
        round_trip_ns(Kind::Thread, ROUNDS_OF_THREADS, report)?,
    ];
    progress.finish("");

    report.section("A goroutine | an OS thread");
    let mut compare = |name: &str, [ours, theirs]: [f64; 2], show: fn(f64) -> String| {
        let ratio = theirs / ours.max(1e-9);
        report.row(
            name,
            format!("{} | {} ({ratio:.1} times)", show(ours), show(theirs)),
        );
    };
    compare(
        &format!("memory each, {} parked", grouped(parked)),
        memory,
        bytes,
    );
    compare("spawn, run and join", spawn, time);
    compare("a round trip between two", switch, time);
    Ok(())
}

/// Memory of one parked goroutine or thread, with its stack in the kernel.
fn parked_bytes(kind: Kind, n: u64, report: &mut Report) -> Result<f64, Failure> {
    let (gate, at_gate) = chan::bounded::<()>(0);
    let (arrived, all_arrived) = chan::bounded(n as usize);
    let occupied = || machine::resident_bytes() + machine::kernel_stack_bytes();
    let before = occupied();
    let mut handles = Vec::new();
    for _ in 0..n {
        let (at_gate, arrived) = (at_gate.clone(), arrived.clone());
        handles.push(kind.start(move || {
            // The receiver outlives all of them; the gate is closed, never sent through.
            let _told = arrived.send(());
            let _closed = at_gate.recv();
        })?);
    }
    let parked = all_arrived.iter().take(n as usize).count() as u64;
    let bytes_taken = occupied().saturating_sub(before);
    drop(gate);
    let ended = handles
        .into_iter()
        .filter_map(|handle| handle.join().then_some(()))
        .count() as u64;
    report.check(
        parked == n && ended == n,
        format!(
            "{} of {} {} were parked and have ended",
            grouped(ended),
            grouped(n),
            kind.plural()
        ),
    );
    Ok(bytes_taken as f64 / n as f64)
}

/// Spawn, run and join, one after another.
fn spawn_ns(kind: Kind, n: u64, report: &mut Report) -> Result<f64, Failure> {
    let sum = Arc::new(AtomicU64::new(0));
    let mut ended = 0;
    let start = Instant::now();
    for number in 0..n {
        let sum = Arc::clone(&sum);
        let handle = kind.start(move || {
            sum.fetch_add(number, Relaxed);
        })?;
        ended += u64::from(handle.join());
    }
    let each = ns_each(start.elapsed(), n);
    report.check(
        ended == n && sum.load(Relaxed) == n * (n - 1) / 2,
        format!(
            "{} of {} {} ran one after another",
            grouped(ended),
            grouped(n),
            kind.plural()
        ),
    );
    Ok(each)
}

/// A ping-pong over two unbuffered channels.
fn round_trip_ns(kind: Kind, rounds: u64, report: &mut Report) -> Result<f64, Failure> {
    let (ping, pings) = chan::bounded::<u64>(0);
    let (pong, pongs) = chan::bounded::<u64>(0);
    let echo = kind.start(move || {
        for value in pings {
            if pong.send(value + 1).is_err() {
                return;
            }
        }
    })?;
    let (tell, told) = chan::bounded::<(u64, Duration)>(1);
    let player = kind.start(move || {
        let start = Instant::now();
        let mut value = 0;
        for _ in 0..rounds {
            ping.send(value).expect("the other side receives");
            value = pongs.recv().expect("the other side answers");
        }
        tell.send((value, start.elapsed()))
            .expect("the tour waits for it");
    })?;
    // Nothing comes if the player panicked; the check below says so.
    let (value, elapsed) = told.recv().unwrap_or_default();
    let has_ended = player.join() && echo.join();
    report.check(
        value == rounds && has_ended,
        format!(
            "two {} played {} of {} rounds",
            kind.plural(),
            grouped(value),
            grouped(rounds)
        ),
    );
    Ok(ns_each(elapsed, value))
}

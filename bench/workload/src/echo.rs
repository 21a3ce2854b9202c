//! The echo workloads' other half: starts the common load generator against this process's server
//! and measures what the server burns meanwhile.
//!
//! The generator is a process of its own (`peers/load`), so that its CPU time is not the server's,
//! and the same for all twins. It says `ready` once every connection has echoed once, waits for a
//! line, does `n` round trips, and says what it measured.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::{Case, Measured};

/// What the load generator saw.
#[derive(Debug)]
pub struct EchoRun {
    ops: u64,
    elapsed: Duration,
    server_cpu: Duration,
    p50_us: f64,
    p99_us: f64,
}

impl From<EchoRun> for Measured {
    fn from(run: EchoRun) -> Measured {
        Measured::new(run.ops, run.elapsed)
            .with(
                "cpu_ns_per_op",
                run.server_cpu.as_nanos() as f64 / run.ops as f64,
            )
            .with("p50_us", run.p50_us)
            .with("p99_us", run.p99_us)
    }
}

/// Runs the load generator against the server that listens at `address` in this process.
///
/// Blocks the calling thread until the load is done, so call it from a thread that is not one of
/// the runtime's.
///
/// # Panics
///
/// If the generator is missing, or saw a byte that it did not send.
pub fn drive_echo(case: &Case, address: SocketAddr) -> EchoRun {
    let connections = case
        .workload
        .connections()
        .expect("only echo workloads drive a load");
    let program = load_program();
    let mut load = Command::new(&program)
        .args(["--addr", &address.to_string()])
        .args(["--conns", &connections.to_string()])
        .args(["--n", &case.n.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("cannot start {}: {err}", program.display()));
    let run = converse(&mut load);
    let status = load.wait().expect("the load generator is our child");
    assert!(status.success(), "the load generator failed: {status}");
    let run = run.expect("a generator that ended well has said all its lines");
    assert_eq!(run.ops, case.n, "round trips lost");
    run
}

fn converse(load: &mut Child) -> Option<EchoRun> {
    let mut answers = BufReader::new(load.stdout.take()?).lines();
    let mut orders = load.stdin.take()?;
    if answers.next()?.ok()? != "ready" {
        return None;
    }
    let cpu_before = process_cpu();
    orders.write_all(b"go\n").ok()?;
    let line = answers.next()?.ok()?;
    let server_cpu = process_cpu() - cpu_before;
    let mut numbers = line.split_whitespace().map(str::parse::<u64>);
    let mut number = || numbers.next()?.ok();
    Some(EchoRun {
        ops: number()?,
        elapsed: Duration::from_nanos(number()?),
        server_cpu,
        p50_us: number()? as f64 / 1_000.0,
        p99_us: number()? as f64 / 1_000.0,
    })
}

/// `GORT_BENCH_LOAD`, or the generator where `gort-bench-run` builds it.
fn load_program() -> PathBuf {
    match std::env::var_os("GORT_BENCH_LOAD") {
        Some(path) => path.into(),
        None => {
            let own = std::env::current_exe().expect("Linux tells a process its path");
            own.with_file_name("bench-load")
        }
    }
}

fn process_cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

//! The rounds: every workload, every number of procs, every peer in turn.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gort_bench_workload::Workload;
use serde_json::{Map, Value};

use crate::options::Options;
use crate::peer::{Peer, Programs};

/// Far beyond the slowest row; a run that takes longer hangs.
const RUN_TIME_MAX: Duration = Duration::from_secs(90);

/// What identifies a cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) peer: Peer,
    pub(crate) workload: Workload,
    pub(crate) procs: usize,
}

/// One run: the twin's result line, or why there is none that counts.
pub(crate) type Run = Result<Map<String, Value>, String>;

/// Everything that was measured, in the order in which it was.
#[derive(Default)]
pub(crate) struct Results {
    runs: Vec<(Cell, Run)>,
}

impl Results {
    /// The values of `field` in the runs of `cell`, in the order of the rounds; infinite is what the
    /// twin calls `"never"`.
    pub(crate) fn values(&self, cell: Cell, field: &str) -> Vec<f64> {
        let lines = self.lines(cell);
        lines
            .filter_map(|line| match line.get(field)? {
                Value::String(never) if never == "never" => Some(f64::INFINITY),
                value => value.as_f64(),
            })
            .collect()
    }

    /// A text that the twin gave for `cell`: `note` or `unsupported`.
    pub(crate) fn text(&self, cell: Cell, field: &str) -> Option<&str> {
        self.lines(cell).find_map(|line| line.get(field)?.as_str())
    }

    /// The runs that died, hung, or found a wrong result.
    pub(crate) fn failures(&self) -> Vec<(Cell, &str)> {
        let failed = self
            .runs
            .iter()
            .filter_map(|(cell, run)| Some((*cell, run.as_ref().err()?.as_str())));
        failed.collect()
    }

    fn lines(&self, cell: Cell) -> impl Iterator<Item = &Map<String, Value>> {
        self.runs
            .iter()
            .filter(move |(of, _)| *of == cell)
            .filter_map(|(_, run)| run.as_ref().ok())
    }

    #[cfg(test)]
    pub(crate) fn push(&mut self, cell: Cell, run: Run) {
        self.runs.push((cell, run));
    }
}

pub(crate) fn run_all(options: &Options, programs: &Programs) -> Results {
    let mut results = Results::default();
    let peers = &programs.peers;
    for round in 0..options.rounds {
        for &workload in &options.workloads {
            for &procs in &options.procs {
                for turn in 0..peers.len() {
                    let (peer, program) = &peers[(turn + round) % peers.len()];
                    let cell = Cell {
                        peer: *peer,
                        workload,
                        procs,
                    };
                    if results.text(cell, "unsupported").is_some() {
                        continue;
                    }
                    let run = run_one(cell, program, &programs.load, options.n);
                    progress(round + 1, options.rounds, cell, &run);
                    results.runs.push((cell, run));
                }
            }
        }
    }
    results
}

fn progress(round: usize, rounds: usize, cell: Cell, run: &Run) {
    let place = format!(
        "{round}/{rounds} {} procs {} {}",
        cell.workload.name(),
        cell.procs,
        cell.peer.name()
    );
    match run {
        Ok(line) => match (line.get("p99_us"), line.get("ns_per_op")) {
            (Some(late), _) if cell.workload.counts_ticks() => {
                eprintln!("{place}: tick p99 {late} µs")
            }
            (_, Some(ns)) => eprintln!("{place}: {ns} ns"),
            (_, None) => eprintln!("{place}: not supported"),
        },
        Err(why) => eprintln!("{place}: FAILED: {why}"),
    }
}

/// Runs one twin once; the error says why its number does not count.
fn run_one(cell: Cell, program: &Path, load: &Path, n: Option<u64>) -> Run {
    let default_n = match cell.peer.has_threads_only() {
        true => cell.workload.default_n_threads(),
        false => cell.workload.default_n(),
    };
    let mut command = Command::new(program);
    command.arg(cell.workload.name());
    command.args(["--procs", &cell.procs.to_string()]);
    command.args(["--n", &n.unwrap_or(default_n).to_string()]);
    command.env("GORT_BENCH_LOAD", load);
    let output = output_in_time(command)?;
    let line: Value =
        serde_json::from_str(&output).map_err(|err| format!("no result line: {err}"))?;
    let Value::Object(line) = line else {
        return Err("the result line is no object".into());
    };
    let is_checked = line.get("checked") == Some(&Value::Bool(true));
    if is_checked || line.contains_key("unsupported") {
        Ok(line)
    } else {
        Err("the work was not checked".into())
    }
}

fn output_in_time(mut command: Command) -> Result<String, String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|err| format!("cannot start: {err}"))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < RUN_TIME_MAX => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Ok(None) => {
                // It is our child and still there, so both calls reach it.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("hung for {} s", RUN_TIME_MAX.as_secs()));
            }
            Err(err) => return Err(format!("cannot wait: {err}")),
        }
    };
    // One line is far below what a pipe holds, so reading after the end loses nothing.
    let mut output = String::new();
    let mut pipe = child.stdout.take().expect("piped above");
    pipe.read_to_string(&mut output)
        .map_err(|err| format!("unreadable output: {err}"))?;
    if status.success() {
        Ok(output)
    } else {
        Err(status.to_string())
    }
}

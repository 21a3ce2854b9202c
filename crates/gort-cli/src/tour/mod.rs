//! `gort tour`: half a minute with the runtime, in one process, measured and checked.
//!
//! One file per stop: `threads` (a goroutine against an OS thread), `parked` (a million goroutines on
//! one channel), `exchange` (ping-pong and fan-in), `echo` (a server under the load of 1,000
//! connections). Each adds rows to the table and checks to the report: the tour fails if the work was
//! not done, however fast it was.

mod echo;
mod exchange;
mod parked;
mod report;
mod threads;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use crate::number::{bytes, parse};
use crate::tour::report::Report;
use crate::{Failure, limits, machine, print};

const HELP: &str = "\
Half a minute with the runtime: what it can do, measured and checked on this machine.

usage: gort tour [--goroutines N] [--conns N] [--secs S]

  --goroutines N   park at most so many goroutines at once (default 1,000,000)
  --conns N        echo on at most so many connections (default 1,000)
  --secs S         echo for so long (default 5)

Fewer are taken where memory or a limit allows no more; the table says how many. The exit status is 1
if a check fails.";

/// What the command line asks for.
#[derive(Clone, Debug)]
struct Options {
    goroutines: u64,
    conns: u64,
    echo_time: Duration,
}

pub(crate) fn main(words: Vec<OsString>) -> Result<(), Failure> {
    let Some(options) = parse_options(words)? else {
        return print(HELP);
    };
    let open_files = limits::raise_open_files();
    let started_at = Instant::now();
    let report = gort::run(|| take(&options, open_files))?;
    print(format_args!(
        "{report}\n{:.0} seconds in all",
        started_at.elapsed().as_secs_f64()
    ))?;
    match report.failed_checks() {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} of the checks failed, see above; please report it"
        ))),
    }
}

fn parse_options(words: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        goroutines: 1_000_000,
        conns: 1_000,
        echo_time: Duration::from_secs(5),
    };
    let mut args = lexopt::Parser::from_args(words);
    while let Some(arg) = args.next()? {
        match arg {
            Long("goroutines") => {
                options.goroutines =
                    parse("--goroutines", &args.value()?.string()?, 1_000_000_000)?;
            }
            Long("conns") => options.conns = parse("--conns", &args.value()?.string()?, 1_000_000)?,
            Long("secs") => {
                options.echo_time =
                    Duration::from_secs(parse("--secs", &args.value()?.string()?, 3_600)?);
            }
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn take(options: &Options, open_files: u64) -> Result<Report, Failure> {
    introduce()?;
    let mut report = Report::default();
    // First, while no stack has been used yet: it measures what a first use takes.
    threads::visit(&mut report)?;
    parked::visit(options.goroutines, &mut report)?;
    exchange::visit(&mut report);
    echo::visit(options.conns, options.echo_time, open_files, &mut report)?;
    Ok(report)
}

fn introduce() -> Result<(), Failure> {
    let metrics = gort::runtime::metrics();
    print(format_args!(
        "{}, {} free; GOMAXPROCS {} (from {}); {}",
        machine::processor(),
        bytes(machine::available_memory() as f64),
        metrics.gomaxprocs,
        metrics.gomaxprocs_source,
        match metrics.tls_mode {
            gort::runtime::TlsMode::Own =>
                "each goroutine has a stack and thread-locals of its own",
            _ => "each goroutine has an OS thread (see gort doctor)",
        },
    ))
}

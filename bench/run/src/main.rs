//! Builds gort's benchmark and its twins, runs them in turn, and writes the table.
//!
//! `cargo run --release -p gort-bench-run -- [--only WORKLOAD,..] [--without PEER,..] [--procs N,..]`
//!
//! A round runs every workload once for every peer, the peers directly after one another and in an
//! order that rotates from round to round: what disturbs the machine for a while then disturbs all
//! alike. What is shown is the median over the rounds, with the spread, and the ratio to gort.
//!
//! A run that fails its own check, dies or hangs is named in the table and makes the exit status 1.
//!
//! Elsewhere: the workloads and the meaning of each (`gort-bench-workload`), the twins
//! (`bench/gort`, `bench/peers`).

#![forbid(unsafe_code)]

mod machine;
mod options;
mod peer;
mod round;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gort_bench_workload::Workload;

use crate::machine::Machine;
use crate::options::{Command, Options};
use crate::round::Results;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Command::Run(options)) => options,
        Ok(Command::List) => {
            list();
            return ExitCode::SUCCESS;
        }
        Ok(Command::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(err) => {
            eprintln!("gort-bench-run: {err}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(results) if results.failures().is_empty() => ExitCode::SUCCESS,
        Ok(results) => {
            eprintln!(
                "gort-bench-run: {} runs failed, see the table",
                results.failures().len()
            );
            ExitCode::FAILURE
        }
        Err(err) => {
            eprintln!("gort-bench-run: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Results, Error> {
    let root = root();
    let programs = peer::build(&root, &options.peers)?;
    let machine = Machine::describe(&root, &programs);
    let results = round::run_all(options, &programs);
    let report = format!("{}\n{}", machine, table::render(options, &results));
    print!("{report}");
    if options.writes_file {
        let path = save(&root, &options.what, &report)?;
        eprintln!("written to {}", path.display());
    }
    Ok(results)
}

fn list() {
    for workload in Workload::ALL {
        let about = workload.about();
        println!("{} (n {})", workload.name(), workload.default_n());
        println!("  models    {}", about.models);
        println!("  counts    {}", about.counts);
        println!("  misleads  {}\n", about.misleads);
    }
}

/// The root of the source tree that this program was built from.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors()
        .nth(2)
        .expect("this package is two folders below the root")
        .to_owned()
}

/// Writes `bench/results/<date>-<what>.md`, with a number where that exists already.
fn save(root: &Path, what: &str, report: &str) -> Result<PathBuf, Error> {
    let folder = root.join("bench/results");
    fs::create_dir_all(&folder)?;
    let stem = format!("{}-{what}", machine::today()?);
    let numbered = (2..).map(|number| format!("{stem}-{number}.md"));
    for name in std::iter::once(format!("{stem}.md")).chain(numbered) {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(&path, report)?;
            return Ok(path);
        }
    }
    unreachable!("some number is free");
}

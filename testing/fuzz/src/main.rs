//! Random programs for as long as one likes.
//!
//! ```text
//! gort-fuzz [--seed S] [--secs N] [--only channels|timers]
//! ```
//!
//! Seeds are counted up from the first, which is the clock's or `--seed`. A difference ends the run with the seed
//! and the steps; `--seed S --secs 0` repeats it.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use gort_fuzz::{channels, program, timers};
use lexopt::ValueExt;

/// Runs a program; the number of its steps.
type Run = fn(&[u8]) -> usize;

struct Options {
    seed: u64,
    secs: u64,
    only: Option<String>,
}

fn main() -> ExitCode {
    match parse() {
        Ok(options) => run(&options),
        Err(error) => {
            eprintln!("gort-fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Options, lexopt::Error> {
    let from_clock = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    let mut options = Options {
        seed: from_clock,
        secs: 20,
        only: None,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("seed") => options.seed = args.value()?.parse()?,
            lexopt::Arg::Long("secs") => options.secs = args.value()?.parse()?,
            lexopt::Arg::Long("only") => options.only = Some(args.value()?.string()?),
            arg => return Err(arg.unexpected()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> ExitCode {
    let all: [(&str, Run); 2] = [("channels", channels::run), ("timers", timers::run)];
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| options.only.as_deref().is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        eprintln!("gort-fuzz: --only takes channels or timers");
        return ExitCode::from(2);
    }
    for &(name, run_program) in &chosen {
        let start = Instant::now();
        let share = Duration::from_secs(options.secs) / chosen.len() as u32;
        let (mut programs, mut steps) = (0u64, 0);
        while programs == 0 || start.elapsed() < share {
            let seed = options.seed.wrapping_add(programs);
            let result = gort::run(move || gort::go(move || run_program(&program(seed))).join());
            match result {
                Ok(count) => steps += count,
                // The panic has been reported.
                Err(_) => {
                    eprintln!("gort-fuzz: {name} differs: --only {name} --seed {seed} --secs 0");
                    return ExitCode::FAILURE;
                }
            }
            programs += 1;
        }
        println!(
            "{name}: {programs} programs, {steps} steps, from seed {}",
            options.seed
        );
    }
    ExitCode::SUCCESS
}

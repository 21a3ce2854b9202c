//! The command line of a twin, and the clock around its work.

use std::process::ExitCode;
use std::time::Instant;

use crate::report::json_line;
use crate::{Measured, Outcome, Workload};

/// One run: which workload, on how many procs, how often.
#[derive(Debug)]
pub struct Case {
    /// What to do.
    pub workload: Workload,
    /// How many goroutines may run at the same time (Go's GOMAXPROCS).
    pub procs: usize,
    /// How many operations.
    pub n: u64,
}

impl Case {
    /// Does the work with a tenth of `n` to warm up, then with `n` under the clock.
    ///
    /// `work` gets the number of operations and checks what it did.
    pub fn timed(&self, mut work: impl FnMut(u64)) -> Measured {
        work((self.n / 10).max(1));
        let start = Instant::now();
        work(self.n);
        Measured::new(self.n, start.elapsed())
    }

    /// Confines this process to `procs` cores, for twins without a setting of their own.
    ///
    /// # Panics
    ///
    /// If the kernel refuses it.
    pub fn confine_to_procs(&self) {
        let allowed = rustix::thread::sched_getaffinity(None).expect("own affinity can be read");
        let mut confined = rustix::thread::CpuSet::new();
        let cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        for core in cores.take(self.procs) {
            confined.set(core);
        }
        rustix::thread::sched_setaffinity(None, &confined).expect("own affinity can be narrowed");
    }
}

/// The `main` of a twin: reads the command line, runs `work`, prints the result line.
pub fn run(peer: &str, work: impl FnOnce(&Case) -> Outcome) -> ExitCode {
    let case = match parse(std::env::args().skip(1)) {
        Ok(case) => case,
        Err(why) => {
            eprintln!("{peer}: {why}");
            eprintln!("usage: <workload> [--procs N] [--n N]");
            return ExitCode::from(2);
        }
    };
    let outcome = work(&case);
    println!(
        "{}",
        json_line(peer, case.workload.name(), case.procs, case.n, &outcome)
    );
    ExitCode::SUCCESS
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Case, String> {
    let name = args.next().ok_or("no workload given")?;
    let workload = Workload::from_name(&name).ok_or_else(|| format!("unknown workload: {name}"))?;
    let mut case = Case {
        workload,
        procs: 1,
        n: workload.default_n(),
    };
    while let Some(flag) = args.next() {
        let value = args
            .next()
            .ok_or_else(|| format!("{flag} needs a number"))?;
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{flag}: not a number: {value}"))?;
        if number == 0 {
            return Err(format!("{flag}: must be at least 1"));
        }
        match flag.as_str() {
            "--procs" => case.procs = number as usize,
            "--n" => case.n = number,
            _ => return Err(format!("unknown option: {flag}")),
        }
    }
    Ok(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Case, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_has_defaults_and_takes_numbers() {
        let case = parse_words("spawn --procs 2 --n 7").expect("valid");
        assert_eq!((case.workload, case.procs, case.n), (Workload::Spawn, 2, 7));
        let case = parse_words("echo_64").expect("valid");
        assert_eq!((case.procs, case.n), (1, Workload::Echo64.default_n()));
    }

    #[test]
    fn a_bad_command_line_is_named() {
        for (line, word) in [
            ("", "no workload"),
            ("spwan", "spwan"),
            ("spawn --n", "--n"),
            ("spawn --n x", "not a number: x"),
            ("spawn --procs 0", "at least 1"),
            ("spawn --cores 1", "--cores"),
        ] {
            let why = parse_words(line).expect_err("invalid");
            assert!(why.contains(word), "{line}: {why}");
        }
    }

    #[test]
    fn the_clock_covers_the_second_pass_only() {
        let case = Case {
            workload: Workload::Spawn,
            procs: 1,
            n: 50,
        };
        let mut passes = Vec::new();
        case.timed(|n| passes.push(n));
        assert_eq!(passes, [5, 50]);
    }
}

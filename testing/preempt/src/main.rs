//! Goroutines that are stopped wherever they are, and threads that lose their P while they block.
//!
//! ```text
//! preempt sites [--count N] [--seconds S] [--seed S]
//! preempt eintr [--times N] [--seconds S] [--seed S] [CALL...]
//! preempt hog [--count N]
//! ```
//!
//! `sites`: goroutines that allocate, print, hold std's locks and compute in C are preempted, until each
//! of these has been hit N times and N retakes of a P have met their thread coming back. What they work
//! on is checked: patterns in the heap, whole lines, exact counters, results.
//!
//! `eintr`: every call that a signal can interrupt, N times each beside goroutines that compute. It must
//! not show that there are signals.
//!
//! `hog`: two loops on a P, which a debugger looks at once they have been preempted N times.
//!
//! Nothing inside the runtime may allocate meanwhile: malloc and Rust's allocator check it.
//!
//! GOMAXPROCS, `GORT_TLS` and `GORT_SHAKE` are the runtime's; `ci/preempt.sh` runs the matrix. A run that
//! makes no progress prints all goroutines and aborts.

mod eintr;
mod hog;
mod load;
mod mark;
mod sites;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Checks in Rust; C's malloc is checked by `csrc/malloc.c`.
#[cfg(not(gort_audit))]
#[global_allocator]
static ALLOCATOR: gort_core::audit::Audited = gort_core::audit::Audited;

/// For `csrc/malloc.c`.
#[unsafe(no_mangle)]
extern "C" fn preempt_assert_outside() {
    gort_core::preempt::assert_outside("malloc");
}

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    what: String,
    /// Preemptions of each site, or calls of each kind.
    count: u64,
    /// How long it may take in all.
    limit: Duration,
    seed: u64,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("preempt: {why}");
            return ExitCode::from(2);
        }
    };
    // The last line but the results' own: where the rest goes is the suite's business.
    let metrics = gort::runtime::metrics();
    eprintln!(
        "preempt {}: seed {} GOMAXPROCS {} tls {:?}",
        options.what, options.seed, metrics.gomaxprocs, metrics.tls_mode
    );
    watch::start(options.limit);
    let all_well = match options.what.as_str() {
        "sites" => sites::run(options.count, options.seed),
        "eintr" => eintr::run(options.count, options.seed, &options.names),
        "hog" => hog::run(options.count),
        other => {
            eprintln!("preempt: {other} is none of sites, eintr, hog");
            return ExitCode::from(2);
        }
    };
    match all_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let what = args.next().ok_or("sites, eintr or hog?")?;
    let from_clock = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    let mut options = Options {
        what,
        count: 200,
        limit: Duration::from_secs(600),
        seed: from_clock,
        names: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or(format!("{arg} needs a number"))?;
            text.parse::<u64>()
                .map_err(|_| format!("{text} is no number"))
        };
        match arg.as_str() {
            "--count" | "--times" => options.count = number()?,
            "--seconds" => options.limit = Duration::from_secs(number()?),
            "--seed" => options.seed = number()?,
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
            _ => options.names.push(arg),
        }
    }
    Ok(options)
}

//! Long seeded runs: what did the tests not think of?
//!
//! ```text
//! gort-stress [--seed S] [--secs N] [--only NAME] [--list]
//! ```
//!
//! Each scenario runs in rounds for its share of the time, with sizes drawn from the seed, and checks
//! its own work. A watchdog on a plain thread sees whether the rounds go on: none for 30 seconds is a
//! lost wake-up, and then it prints all goroutines and aborts. `GOMAXPROCS` and `GORT_SHAKE` are taken
//! from the environment; `ci/stress.sh` runs the matrix. The seed is printed; `--seed` repeats it (the
//! machine's timing it cannot repeat).

#![forbid(unsafe_code)]

mod scenario;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use gort_test_support::Random;

use scenario::{SCENARIOS, Scenario};

/// How long there may be no progress. Far more than any round takes on a loaded machine.
const STALL: Duration = Duration::from_secs(30);

/// Counts steps of whatever runs; the watchdog looks at it.
static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// Says that the scenario goes on.
fn progress() {
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

struct Options {
    seed: u64,
    secs: u64,
    only: Option<String>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            for scenario in SCENARIOS {
                println!("{:<16} {}", scenario.name, scenario.about);
            }
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("gort-stress: {message}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| {
            options
                .only
                .as_deref()
                .is_none_or(|only| only == scenario.name)
        })
        .collect();
    if chosen.is_empty() {
        eprintln!("gort-stress: no scenario of that name; --list shows them");
        return ExitCode::from(2);
    }
    std::thread::spawn(watch);
    println!(
        "seed {} GOMAXPROCS {} tls {:?}",
        options.seed,
        gort::runtime::gomaxprocs(),
        gort::runtime::metrics().tls_mode
    );
    let share = Duration::from_secs(options.secs) / chosen.len() as u32;
    for scenario in chosen {
        let start = Instant::now();
        let mut random = Random::new(options.seed ^ hash(scenario.name));
        let (mut rounds, mut operations) = (0u64, 0u64);
        while start.elapsed() < share || rounds == 0 {
            let seed = random.number();
            operations += gort::run(move || (scenario.round)(&mut Random::new(seed)));
            rounds += 1;
            progress();
        }
        println!(
            "{:<16} {rounds:>8} rounds {operations:>12} operations",
            scenario.name
        );
        wait_until_alone(scenario.name);
    }
    println!("switches {}", gort::runtime::metrics().switches);
    ExitCode::SUCCESS
}

/// All goroutines of a scenario must be gone when its last round is.
fn wait_until_alone(name: &str) {
    let deadline = Instant::now() + STALL;
    while gort::runtime::num_goroutine() != 0 {
        assert!(
            Instant::now() < deadline,
            "{name} left {} goroutines behind:\n{}",
            gort::runtime::num_goroutine(),
            gort::runtime::stacks()
        );
        std::thread::yield_now();
    }
}

fn watch() {
    let mut last = (0, Instant::now());
    loop {
        // waits: the watchdog looks now and then; nothing depends on the length.
        std::thread::sleep(Duration::from_millis(200));
        let now = PROGRESS.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > STALL {
            eprintln!("no progress for {STALL:?}; {:?}", gort::runtime::metrics());
            eprintln!("{}", gort::runtime::stacks());
            std::process::abort();
        }
    }
}

fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3)
    })
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let from_clock = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64);
    let mut options = Options {
        seed: from_clock,
        secs: 20,
        only: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|_| format!("{text} is no number"))
        };
        match arg.as_str() {
            "--seed" => options.seed = number(value()?)?,
            "--secs" => options.secs = number(value()?)?,
            "--only" => options.only = Some(value()?),
            "--list" => return Ok(None),
            _ => return Err(format!("unknown argument {arg}; see the file's header")),
        }
    }
    Ok(Some(options))
}

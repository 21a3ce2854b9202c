//! `torture [CASE...]`: runs the cases named, or all of them, and says how each ended.
//!
//! The runtime is set up by its own environment variables; `TORTURE_N` and `TORTURE_SECONDS` (for each
//! case, 60 by default) are the suite's.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use gort_torture::cases::{CASES, Case, Expected};
use gort_torture::drive;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names == ["--list"] {
        CASES.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    if names == ["--exit"] {
        gort::run(exit_among_others);
    }
    let cases: Vec<&Case> = CASES
        .iter()
        .filter(|case| names.is_empty() || names.iter().any(|name| name == case.name))
        .collect();
    if cases.len() < names.len() {
        eprintln!("torture: no such case among {names:?}; --list shows all");
        return ExitCode::from(2);
    }
    hide_expected_panics();
    let watchdog = watch();
    let metrics = gort::runtime::metrics();
    println!("{}; {} Ps", metrics.tls_reason, metrics.gomaxprocs);
    // What guards are made of shows with the first stack.
    gort::run(drive::park);
    println!("guards: {:?}", gort_core::runtime::report().stacks.guard);
    let mut failed = 0;
    for case in &cases {
        let _ = watchdog.send(case.name);
        let started = Instant::now();
        let parks = drive::parks_and_moves().0;
        let end = std::panic::catch_unwind(|| gort::run(case.run));
        let word = if end.is_ok() { "ok" } else { "FAILED" };
        failed += usize::from(end.is_err());
        println!(
            "{word:6} {:45} {:>6} ms {:>9} parks",
            case.name,
            started.elapsed().as_millis(),
            drive::parks_and_moves().0 - parks
        );
    }
    let (parks, share) = drive::parks_and_moves();
    println!(
        "{parks} parks, {:.0} % of them to another thread",
        share * 100.0
    );
    println!("{} passed, {failed} failed", cases.len() - failed);
    ExitCode::from(u8::from(failed != 0))
}

/// Ends the process from a goroutine, with others alive and text in a buffer: exit status 5.
fn exit_among_others() {
    for _ in 0..10 {
        gort::go(|| {
            loop {
                drive::park();
            }
        });
    }
    let exit = gort::go(|| {
        drive::park();
        print!("last words");
        std::process::exit(5)
    });
    exit.join().expect("it does not come back");
}

/// Panics that a case makes on purpose say nothing.
fn hide_expected_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Expected>() {
            report(info);
        }
    }));
}

/// Ends the process with a dump of the goroutines if a case takes too long. Told which case begins.
fn watch() -> Sender<&'static str> {
    let seconds = std::env::var("TORTURE_SECONDS").map_or(60, |seconds| {
        seconds.parse().expect("TORTURE_SECONDS is a number")
    });
    let (sender, begins) = channel();
    std::thread::spawn(move || {
        let mut case = "start";
        loop {
            match begins.recv_timeout(Duration::from_secs(seconds)) {
                Ok(next) => case = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{case} has not ended after {seconds} s");
                    // If the dump hangs too, the kernel ends us.
                    // SAFETY: no preconditions; SIGALRM is not handled.
                    unsafe { libc::alarm(5) };
                    eprintln!("{}", gort::runtime::stacks());
                    std::process::exit(3);
                }
            }
        }
    });
    sender
}

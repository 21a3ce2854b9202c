//! SIGQUIT in a program with very many goroutines.

use gort_crash::{Ended, Program};

const COUNT: usize = 100_000;
/// A dump is looked at in so many parts.
const PARTS: usize = 10;

/// In how many parts of the time between signal and end the goroutine that computes has said something.
#[track_caller]
fn parts_with_reports(ended: &Ended) -> usize {
    let at = |what: &str| {
        let lines = ended.stdout.lines();
        lines
            .filter_map(|line| line.strip_prefix(what)?.strip_suffix(" ms")?.parse().ok())
            .collect::<Vec<u64>>()
    };
    let signal = at("signal at ");
    let &[signal] = signal.as_slice() else {
        panic!("when was the signal? {ended}");
    };
    // On the program's clock, but for what it takes to start one.
    let dump = (ended.elapsed.as_millis() as u64)
        .saturating_sub(signal)
        .max(1);
    let mut has_report = [false; PARTS];
    let reports = at("at ");
    for since in reports.iter().filter_map(|at| at.checked_sub(signal)) {
        has_report[(since as usize * PARTS / dump as usize).min(PARTS - 1)] = true;
    }
    let parts = has_report.into_iter().filter(|has| *has).count();
    println!("{COUNT} goroutines: {dump} ms, reports in {parts} of {PARTS} parts");
    parts
}

/// With goroutines on stacks of their own: no machine has as many threads.
#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn a_hundred_thousand_are_shown_and_nobody_stands_still() {
    // A dump that stops the others does so each time; a busy machine may stop one of them in one.
    let mut parts = (0..5).map(|_| parts_with_reports(&show_many()));
    assert!(parts.any(|parts| parts > PARTS / 2), "it stood still");
}

fn show_many() -> Ended {
    let ended = Program::at(env!("CARGO_BIN_EXE_sigquit_many"))
        .arg(&COUNT.to_string())
        .var("GORT_TLS", "own")
        .var("GORT_PROCS", 2)
        .run();
    ended.assert_status(2);
    assert!(ended.stderr.starts_with("SIGQUIT: quit\n\ngoroutine "));
    let alike = format!("\n{} more goroutines like this: ", COUNT - 1);
    ended.assert_says(&alike);
    let shown = ended.stderr.matches("parks_like_all_the_others(...)\n");
    assert_eq!(shown.count(), 1, "equal stacks once: {ended}");
    ended.assert_says("computes_on(...)\n");
    ended
}

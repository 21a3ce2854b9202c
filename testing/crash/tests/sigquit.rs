//! SIGQUIT in a program with very many goroutines.

use std::time::Duration;

use gort_crash::{Ended, Program};

const COUNT: usize = 100_000;
/// From the signal to the end.
const DUMP_MAX: Duration = Duration::from_secs(5);
/// How long a goroutine that computes may stand still: it is interrupted for its own stack, some hundred µs, and waits for
/// a processor beside the dump and whatever else the machine does. If the dump stopped it, that would be for all its time.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What the goroutine that computed said last: for how long, and its longest pause.
#[track_caller]
fn last_words(ended: &Ended) -> (Duration, Duration) {
    let mut lines = ended.stdout.lines().rev();
    let parsed = lines.find_map(|line| {
        let (since, rest) = line.split_once(" ms since it began, longest pause ")?;
        let pause = rest.strip_suffix(" us")?;
        Some((
            Duration::from_millis(since.parse().ok()?),
            Duration::from_micros(pause.parse().ok()?),
        ))
    });
    parsed.unwrap_or_else(|| panic!("it said nothing: {ended}"))
}

/// With goroutines on stacks of their own: no machine has as many threads.
#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn a_hundred_thousand_are_shown_in_seconds_and_nobody_stands_still() {
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
    let (dump, pause) = last_words(&ended);
    println!("{COUNT} goroutines: {dump:?}, longest pause {pause:?}");
    assert!(dump < DUMP_MAX, "{dump:?}");
    assert!(
        pause < PAUSE_MAX || pause * 4 < dump,
        "{pause:?} of {dump:?}"
    );
}

//! Sleeps, timers, tickers. Lengths are Go's, or shorter where only their proportions matter.
//!
//! Lower bounds on times always hold. Upper bounds need a machine that is not stalled just then: such
//! tests are tried again, with longer times, as Go's are.

mod seeds;
mod ticker;
mod timer;

use std::time::Duration;

/// Tries `attempt` with `unit`, then with longer ones; the last failure counts.
#[track_caller]
fn assert_in_time(mut unit: Duration, attempt: impl Fn(Duration) -> Result<(), String>) {
    let mut failures = Vec::new();
    for _ in 0..8 {
        match attempt(unit) {
            Ok(()) => return,
            Err(failure) => failures.push(format!("with {unit:?}: {failure}")),
        }
        unit = unit * 3 / 2;
    }
    panic!("never in time:\n{}", failures.join("\n"));
}

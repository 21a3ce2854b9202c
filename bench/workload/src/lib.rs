//! What every benchmark twin shares: the list of workloads, the command line, the clock and the
//! result line.
//!
//! A twin is one binary per runtime, called as `<bin> <workload> [--procs N] [--n N]`. It does the
//! work once with a tenth of `n` to warm up, then with `n` under the clock, checks what it did, and
//! prints one line of JSON. A failed check is a panic, so the process ends with a status other than
//! zero and `gort-bench-run` drops the whole run instead of a number.
//!
//! Elsewhere: the work itself. Each twin writes it out in its runtime's own idiom, so that a reader
//! can judge whether it is fair. The Go twin repeats the table of `n` (`peers/go/main.go`); a test
//! here keeps the two equal.

#![forbid(unsafe_code)]

mod block;
mod case;
mod crowd;
mod echo;
mod hog;
mod lateness;
mod memory;
mod report;
mod workload;

pub use block::{BLOCKERS, Blocking};
pub use case::{Case, run};
pub use crowd::Crowd;
pub use echo::{EchoRun, drive_echo};
pub use hog::{HOGS, Hogs, Rest, Steps, burn_for_ever};
pub use lateness::{GRACE, Lateness, TICK};
pub use memory::resident_bytes;
pub use report::{Measured, Outcome};
pub use workload::{About, CHAN_CAPACITY, ECHO_BYTES, SPAWN_BATCH, Workload};

/// `0 + 1 + … + (n - 1)`: what the numbers of `n` operations must add up to.
pub fn sum_below(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}

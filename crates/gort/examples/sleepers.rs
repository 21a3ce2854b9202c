//! As many sleeping goroutines as were asked for, or as there is memory for.
//!
//! ```text
//! cargo run --release --example sleepers -- 2147483647
//! ```
//!
//! Go's program starts MaxInt32 goroutines that sleep for a second; it is killed when the memory is used up.
//!
//! Here it depends on how many main starts in that second: those that have slept end, and their stacks are used
//! again. Where memory lasts for a second of that (a million are 1.5 to 4.5 GB), the program runs on, for an hour
//! or more. Where it does not, `Builder::go` gives an error when a stack cannot be had, those that sleep go
//! on, and the program ends with status 1; `gort::go` panics with the same text. Under a limit (`ulimit
//! -v 8388608`: 30,000 sleepers) that comes before the kernel kills; without one, the kernel may have promised
//! more memory than there is.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use gort::Builder;
use gort::sync::WaitGroup;
use gort::time::{Duration, sleep};

#[gort::main]
fn main() -> ExitCode {
    let arg = std::env::args().nth(1);
    let count: u64 = arg.map_or(10_000, |n| n.parse().expect("a number"));
    let group = WaitGroup::new();
    let mut started = 0;
    let mut error = None;
    while started < count && error.is_none() {
        group.add(1);
        let sleeper = group.clone();
        let handle = Builder::new().go(move || {
            gort::defer! { sleeper.done(); }
            sleep(Duration::from_secs(1));
        });
        match handle {
            Ok(_) => started += 1,
            Err(refused) => {
                group.done();
                error = Some(refused);
            }
        }
    }
    group.wait();
    println!("{started} have slept");
    error.map_or(ExitCode::SUCCESS, |error| {
        eprintln!("no more than that: {error}");
        ExitCode::FAILURE
    })
}

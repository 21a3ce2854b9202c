//! Very many short goroutines, of which few are alive at any time.
//!
//! ```text
//! cargo run --release --example never_all_alive -- 1000000000 >/dev/null
//! ```
//!
//! Go's program starts a billion and runs, since they end as fast as they start; each hundredth prints.
//!
//! Here it is the same: who starts them loses its turn to them after 10 ms, and the stacks of those that
//! ended are used again. It takes a few megabytes, and a second for one or two million of them. When main returns,
//! the program ends, whoever still runs; Go's main sleeps for an hour.

#![forbid(unsafe_code)]

use std::io::Write;

use gort::runtime::num_goroutine;

#[gort::main]
fn main() {
    let arg = std::env::args().nth(1);
    let count: u64 = arg.map_or(100_000, |n| n.parse().expect("a number"));
    let mut most_alive = 0;
    for i in 0..count {
        gort::go(move || {
            if i % 100 == 0 {
                writeln!(gort::io::stdout(), "{i}").expect("somebody reads the output");
            }
        });
        if i % 100 == 0 {
            most_alive = most_alive.max(num_goroutine());
        }
    }
    let summary = format!("{count} started, at most {most_alive} alive");
    writeln!(gort::io::stdout(), "{summary}").expect("somebody reads the output");
}

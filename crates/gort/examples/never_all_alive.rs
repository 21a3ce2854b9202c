//! Very many short goroutines, of which few are alive at any time.
//!
//! ```text
//! cargo run --release --example never_all_alive -- 1000000000
//! ```
//!
//! Go's program starts a billion and runs, since they end as fast as they start; each hundredth prints.
//!
//! Here it is the same: who starts them loses its turn to them after 10 ms, and the stacks of those that
//! ended are used again. It takes a few megabytes, and a second for one or two million of them. When main returns, the program ends, whoever still runs.

#![forbid(unsafe_code)]

use gort::runtime::num_goroutine;

#[gort::main]
fn main() {
    let arg = std::env::args().nth(1);
    let count: u64 = arg.map_or(100_000, |n| n.parse().expect("a number"));
    let mut most_alive = 0;
    for i in 0..count {
        gort::go(move || std::hint::black_box(i));
        if i % 100 == 0 {
            most_alive = most_alive.max(num_goroutine());
        }
    }
    println!("{count} started, at most {most_alive} alive");
}

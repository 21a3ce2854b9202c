//! Very many goroutines under one `WaitGroup`, which print or do not.
//!
//! ```text
//! cargo run --release --example one_wait_group -- 10000000 [--print] >/dev/null
//! ```
//!
//! Go's program with ten million that print ends in a panic, "too many concurrent operations on a single
//! file or socket (max 1048575)", when the output is slower than they are: the limit is the file's. Its
//! `WaitGroup` counts to 2^31 - 1, and without printing all is well.
//!
//! Here a file has no such limit: those that print wait in line, and the program ends when the output has taken
//! all. Each that waits keeps its stack, 4 KB of memory: ten million need 43 GB if they all wait, because
//! nobody reads. Into `/dev/null` they print nearly as fast as main starts them, and a tenth to a third
//! of them wait at the worst moment. The `WaitGroup` is the same, and without printing few are alive.

#![forbid(unsafe_code)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::WaitGroup;

#[gort::main]
fn main() {
    let mut args = std::env::args().skip(1);
    let count = args.next().map_or(10_000, |n| n.parse().expect("a number"));
    let prints = args.any(|arg| arg == "--print");

    let group = WaitGroup::new();
    let ran = Arc::new(AtomicUsize::new(0));
    for i in 0..count {
        group.add(1);
        let (group, ran) = (group.clone(), Arc::clone(&ran));
        gort::go(move || {
            if prints {
                writeln!(gort::io::stdout(), "go {i}").expect("somebody reads the output");
            }
            ran.fetch_add(1, Ordering::Relaxed);
            group.done();
        });
    }
    group.wait();
    let ran = ran.load(Ordering::Relaxed);
    writeln!(gort::io::stdout(), "{ran} are done").expect("somebody reads the output");
}

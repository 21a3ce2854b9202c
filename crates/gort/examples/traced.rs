//! A hundred thousand goroutines, each in a span of its own, and what they log.
//!
//! ```text
//! cargo run --release --example traced --features tracing [-- N]
//! ```
//!
//! The stock registry, `tracing_subscriber::registry()`, would panic in each goroutine after the first 4,096. The first
//! ten log; at the end it says how much memory a goroutine took, with its span and the text that the layer
//! keeps in it.

#![forbid(unsafe_code)]

use gort::chan;
use gort::sync::WaitGroup;
use tracing_subscriber::prelude::*;

#[gort::main]
fn main() {
    let arg = std::env::args().nth(1);
    let count = arg.map_or(100_000, |n| n.parse().expect("a number"));
    gort::tracing::Registry::default()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stdout))
        .init();
    let before = resident_bytes();
    let (release, released) = chan::bounded::<()>(0);
    let waiting = WaitGroup::new();
    waiting.add(count as isize);
    let goroutines: Vec<_> = (0..count)
        .map(|id| {
            let (released, waiting) = (released.clone(), waiting.clone());
            gort::go(move || {
                let _request = tracing::info_span!("request", id).entered();
                waiting.done();
                released.recv().expect_err("nobody sends");
                if id < 10 {
                    tracing::info!("handled");
                }
            })
        })
        .collect();
    waiting.wait();
    let bytes = resident_bytes().saturating_sub(before) / count.max(1);
    drop(release);
    for goroutine in goroutines {
        goroutine.join().expect("it does not panic");
    }
    println!("{count} goroutines in spans, {bytes} bytes each");
}

/// What `/proc` says that the process has in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split_whitespace().nth(1).expect("the second number");
    pages.parse::<usize>().expect("a number") * 4096
}

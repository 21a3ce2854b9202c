//! A hundred thousand goroutines, each in a span of its own, and what they log.
//!
//! ```text
//! cargo run --release --example traced --features tracing
//! ```
//!
//! The stock registry, `tracing_subscriber::registry()`, would panic in each goroutine after the first 4,096. The first
//! ten log; at the end it says how much memory a goroutine took, with its span and the text that the layer
//! keeps in it.

#![forbid(unsafe_code)]

use gort::chan;
use gort::sync::WaitGroup;
use tracing_subscriber::prelude::*;

const GOROUTINES: usize = 100_000;

#[gort::main]
fn main() {
    gort::tracing::Registry::default()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stdout))
        .init();
    let before = resident_bytes();
    let (release, released) = chan::bounded::<()>(0);
    let waiting = WaitGroup::new();
    waiting.add(GOROUTINES as isize);
    let goroutines: Vec<_> = (0..GOROUTINES)
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
    let bytes = (resident_bytes() - before) / GOROUTINES;
    drop(release);
    for goroutine in goroutines {
        goroutine.join().expect("it does not panic");
    }
    println!("{GOROUTINES} goroutines in spans, {bytes} bytes each");
}

/// What `/proc` says that the process has in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split_whitespace().nth(1).expect("the second number");
    pages.parse::<usize>().expect("a number") * 4096
}

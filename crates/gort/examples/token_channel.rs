//! Very many requests, of which a channel of 3,000 tokens lets no more than that be served at once.
//!
//! ```text
//! cargo run --release --example token_channel -- 1000000
//! ```
//!
//! In Go main sends a token before it starts a goroutine, which receives one at its end: main waits while
//! the buffer is full, and memory does not grow with the number of requests.
//!
//! Here it is the same. `gort::sync::Semaphore` does it with a permit that cannot be forgotten.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::chan;
use gort::sync::WaitGroup;
use gort::time::{Duration, sleep};

const TOKENS: usize = 3_000;

#[gort::main]
fn main() {
    let arg = std::env::args().nth(1);
    let requests: usize = arg.map_or(20_000, |n| n.parse().expect("a number"));
    let (tokens, to_give_back) = chan::bounded(TOKENS);
    let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let group = WaitGroup::new();
    for _ in 0..requests {
        tokens.send(()).expect("main has both ends");
        let to_give_back = to_give_back.clone();
        let (at_work, most) = (Arc::clone(&at_work), Arc::clone(&most));
        group.go(move || {
            let now = at_work.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            sleep(Duration::from_millis(10));
            at_work.fetch_sub(1, Ordering::Relaxed);
            to_give_back.recv().expect("its token is there");
        });
    }
    group.wait();
    println!(
        "{requests} served, at most {} at once",
        most.load(Ordering::Relaxed)
    );
}

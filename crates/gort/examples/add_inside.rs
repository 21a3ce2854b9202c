//! A `WaitGroup` whose `add` is inside the goroutine, so that `wait` may come before it.
//!
//! ```text
//! cargo run --example add_inside
//! ```
//!
//! In Go `wait` returns when it finds zero, and the count is anything from 0 to 1000; seldom it panics,
//! "sync: WaitGroup misuse: Add called concurrently with Wait". It never hangs.
//!
//! Here it is the same. `WaitGroup::go` adds before it starts, and always counts 1000.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::WaitGroup;

/// How many have counted when `wait` returns; or it panics.
fn add_inside() -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let group = WaitGroup::new();
    for _ in 0..1000 {
        let (group, count) = (group.clone(), Arc::clone(&count));
        gort::go(move || {
            group.add(1);
            count.fetch_add(1, Ordering::Relaxed);
            group.done();
        });
    }
    group.wait();
    count.load(Ordering::Relaxed)
}

fn with_go() -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let group = WaitGroup::new();
    for _ in 0..1000 {
        let count = Arc::clone(&count);
        group.go(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
    group.wait();
    count.load(Ordering::Relaxed)
}

#[gort::main]
fn main() {
    match gort::go(add_inside).join() {
        Ok(count) => println!("add inside: {count}"),
        // The panic hook has printed why.
        Err(_) => println!("add inside: misuse"),
    }
    println!("go: {}", with_go());
}

//! Goroutines are started until there is no room for their stacks: that is an error, and those that are there
//! go on.

use gort::sync::WaitGroup;
use gort_crash::limit_memory;

/// A hundred times as many as there is room for.
const ENOUGH: usize = 100_000;

#[gort::main]
fn main() {
    limit_memory(512 << 20);
    let start = WaitGroup::new();
    start.add(1);
    let mut goroutines = Vec::with_capacity(ENOUGH);
    let error = loop {
        assert!(goroutines.len() < ENOUGH, "there is room for them all");
        let waits = start.clone();
        let place = goroutines.len();
        let started = gort::Builder::new().go(move || {
            waits.wait();
            place
        });
        match started {
            Ok(goroutine) => goroutines.push(goroutine),
            Err(error) => break error,
        }
    };
    println!("{error}");
    assert!(goroutines.len() > 50, "only {}", goroutines.len());
    start.done();
    for (place, goroutine) in goroutines.into_iter().enumerate() {
        assert_eq!(goroutine.join().unwrap(), place);
    }
    // There is room again.
    assert_eq!(gort::go(|| 7).join().unwrap(), 7);
    println!("all went on");
}

//! A timer whose function starts it again, after a delay that differs each time.
//!
//! ```text
//! cargo run --example self_resetting_timer [RUNS]
//! ```
//!
//! Go's program assigns the timer to a variable that the function reads. The function may run before the
//! assignment is seen: a data race, and with bad luck a nil pointer.
//!
//! Here a `let timer = after_func(…, || timer.reset(…))` does not compile, as a binding cannot be used
//! before it is there (`tests/ui/s019_a_timer_used_before_it_is_there.rs`). What compiles is a place that
//! the function waits for.

#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use gort::chan;
use gort::sync::OnceLock;
use gort::time::{Duration, Instant, Timer, after_func};

/// Below 50 ms: the article's second, in shorter.
fn random_duration() -> Duration {
    Duration::from_micros(RandomState::new().hash_one(()) % 50_000)
}

#[gort::main]
fn main() {
    let runs = std::env::args()
        .nth(1)
        .map_or(5, |n| n.parse().expect("RUNS is a number"));
    let start = Instant::now();
    let (tx, elapsed) = chan::bounded(0);
    let place: Arc<OnceLock<Timer>> = Arc::default();
    // Weak, or the timer would hold the place that holds the timer.
    let seen = Arc::downgrade(&place);
    let timer = after_func(random_duration(), move || {
        let Some(place) = seen.upgrade() else { return };
        // Whoever waits for it may have enough.
        let _ = tx.send(start.elapsed());
        place.wait().reset(random_duration());
    });
    assert!(place.set(timer).is_ok(), "nobody else sets it");
    for elapsed in elapsed.iter().take(runs) {
        println!("{} us", elapsed.as_micros());
    }
}

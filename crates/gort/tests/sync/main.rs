//! `gort::sync` as its users see it, from goroutines and plain threads; what Go has no tests for.

mod condvar;
mod groups;
mod locks;
mod map;
mod mpsc;
mod once;
mod others;

use std::time::{Duration, Instant};

/// Waits until `condition` holds.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "not within 10 s: {what}\n\n{}",
            gort::runtime::stacks()
        );
        // waits: between two looks at the condition
        gort::time::sleep(Duration::from_micros(50));
    }
}

/// Waits until the goroutine of that name is parked for that reason.
#[track_caller]
fn eventually_parked(name: &str, reason: &str) {
    let line = format!("\"{name}\" [{reason}");
    eventually(&line, || gort::runtime::stacks().contains(&line));
}

#[track_caller]
fn go_named<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> gort::JoinHandle<T> {
    gort::Builder::new()
        .name(name)
        .go(f)
        .expect("a stack can be had")
}

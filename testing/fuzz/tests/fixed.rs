//! A fixed number of random programs. `gort-fuzz` runs more of them.

use gort_fuzz::{channels, program, timers};

/// Says which seed it was, should its program panic.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with seed {}", self.0);
        }
    }
}

fn run_all(seeds: u64, run: fn(&[u8]) -> usize) {
    for seed in 0..seeds {
        let _named = Named(seed);
        let steps = run(&program(seed));
        assert!(steps > 20, "seed {seed} has {steps} steps");
    }
}

#[gort::test]
fn channels_agree_with_the_model() {
    run_all(200, channels::run);
}

#[gort::test]
fn timers_agree_with_the_model() {
    run_all(100, timers::run);
}

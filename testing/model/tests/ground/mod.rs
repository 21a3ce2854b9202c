//! What the files of `gort::sync::Map` stand on, as loom has it, and how their models run.

use std::sync::Arc;

pub use loom::sync::atomic;
use loom::thread;

pub mod sched {
    pub fn yield_now() {
        loom::thread::yield_now();
    }
}

/// One stripe: all threads of a model meet in it.
pub mod stripe {
    pub fn count() -> usize {
        1
    }
    pub fn current() -> usize {
        0
    }
}

/// Runs them all at once.
pub fn at_once<S: Send + Sync + 'static>(scene: &Arc<S>, acts: &[fn(&S)]) {
    let threads: Vec<_> = acts
        .iter()
        .map(|&act| {
            let scene = scene.clone();
            thread::spawn(move || act(&scene))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

//! Models of the wake word: a call is followed by a poll that sees what the caller wrote, and each park has
//! one `ready`.

#![cfg(loom)]

mod model;

use gort_queue::{
    status::{Readied, State, Status},
    wake_word::WakeWord,
};
use loom::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::sync::Arc;

/// A future that ends when all its callers have written, and the goroutine that polls it.
struct Task {
    word: WakeWord,
    status: Status,
    /// Relaxed throughout: only the word orders them.
    written: [AtomicU32; 2],
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task {
            word: WakeWord::new(),
            status: Status::new(State::Running),
            written: [AtomicU32::new(0), AtomicU32::new(0)],
        })
    }

    fn write_and_call(&self, index: usize) {
        self.written[index].store(1, Ordering::Relaxed);
        if self.word.call() {
            // `try_ready` fails if the goroutine was readied for this park before (W1).
            let readied = self.status.ready_thread();
            assert!(matches!(readied, Readied::Enqueue | Readied::Deferred));
        }
    }

    fn is_complete(&self) -> bool {
        self.written
            .iter()
            .all(|written| written.load(Ordering::Relaxed) == 1)
    }

    /// Polls to the end. Loom reports a park that nobody ends as a run without an end.
    fn run(&self) {
        loop {
            self.word.begin();
            if self.is_complete() {
                return;
            }
            if self.word.stop() && self.status.stop_thread() {
                while self.status.load() == State::Waiting {
                    thread::yield_now();
                }
            }
        }
    }
}

#[test]
fn no_call_is_lost_and_each_park_has_one_ready() {
    model(|| {
        let task = Task::new();
        let callers: Vec<_> = (0..2)
            .map(|index| {
                let task = task.clone();
                thread::spawn(move || task.write_and_call(index))
            })
            .collect();
        task.run();
        for caller in callers {
            caller.join().unwrap();
        }
    });
}

#[test]
fn calls_after_the_end_ready_nobody() {
    model(|| {
        let task = Task::new();
        task.written[1].store(1, Ordering::Relaxed);
        let caller = {
            let task = task.clone();
            thread::spawn(move || {
                task.write_and_call(0);
                assert!(!task.word.call());
            })
        };
        task.run();
        assert!(!task.word.call());
        caller.join().unwrap();
    });
}

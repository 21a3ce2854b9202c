//! Deadlock: two goroutines lock two mutexes in opposite order, a third joins one of them.

use std::sync::Arc;

use gort::sync::{Mutex, WaitGroup};

#[gort::main]
fn main() {
    let locks = Arc::new((Mutex::new("a"), Mutex::new("b")));
    let both_locked = WaitGroup::new();
    both_locked.add(2);
    let first = {
        let (locks, both_locked) = (Arc::clone(&locks), both_locked.clone());
        gort::go(move || {
            let _a = locks.0.lock();
            both_locked.done();
            both_locked.wait();
            let _b = locks.1.lock();
        })
    };
    gort::go(move || {
        let _b = locks.1.lock();
        both_locked.done();
        both_locked.wait();
        let _a = locks.0.lock();
    });
    first.join().unwrap();
}

//! A goroutine read-locks a second time while a writer waits for it to leave (D13), and another reader has left in
//! between, perhaps with its guard. A debug build says both places, and waits: that is a deadlock here.

use std::sync::Arc;

use gort::sync::RwLock;

#[gort::main]
fn main() {
    let lock = Arc::new(RwLock::new(0));
    let first = lock.read();
    let other = {
        let lock = Arc::clone(&lock);
        gort::go(move || drop(lock.read()))
    };
    other.join().unwrap();
    let writer = {
        let lock = Arc::clone(&lock);
        gort::go(move || *lock.write() += 1)
    };
    // A parked writer has announced itself.
    while !gort::runtime::stacks().contains("[sync.RWMutex.Lock") {
        gort::yield_now();
    }
    let second = lock.read();
    drop((first, second));
    writer.join().unwrap();
}

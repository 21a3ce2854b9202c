//! Deadlock: a goroutine ends with a mutex locked; its guard was forgotten.

use std::sync::Arc;

use gort::sync::Mutex;

#[gort::main]
fn main() {
    let mutex = Arc::new(Mutex::new(0));
    let locker = Arc::clone(&mutex);
    gort::go(move || std::mem::forget(locker.lock()))
        .join()
        .unwrap();
    let _never = mutex.lock();
}

//! Deadlock: a notification that came before the wait is lost.

use gort::sync::{Condvar, Mutex};

#[gort::main]
fn main() {
    let condvar = Condvar::new();
    let mutex = Mutex::new(());
    condvar.notify_one();
    let mut guard = mutex.lock();
    condvar.wait(&mut guard);
}

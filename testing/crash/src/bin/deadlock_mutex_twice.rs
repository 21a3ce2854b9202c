//! Deadlock: main locks a mutex that it holds.

use gort::sync::Mutex;

#[gort::main]
fn main() {
    let mutex = Mutex::new(0);
    let _held = mutex.lock();
    let _never = mutex.lock();
}

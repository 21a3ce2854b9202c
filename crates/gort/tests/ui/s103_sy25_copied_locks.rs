//! Locks and conditions cannot be copied.

use gort::sync::{Condvar, Mutex, RwLock};

fn main() {
    let _ = Mutex::new(0).clone();
    let _ = RwLock::new(0).clone();
    let _ = Condvar::new().clone();
}

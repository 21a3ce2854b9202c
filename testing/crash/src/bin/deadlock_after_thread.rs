//! Deadlock: a plain thread could have woken main, and ends without having done so. With the argument `locked` a
//! goroutine has ended before that is locked to its thread, which ends with it.

use std::thread;
use std::time::Duration;

#[gort::main]
fn main() {
    if std::env::args().any(|arg| arg == "locked") {
        gort::go(|| std::mem::forget(gort::lock_os_thread()))
            .join()
            .unwrap();
    }
    thread::spawn(|| {
        thread::sleep(Duration::from_millis(100)); // waits: so that main is parked
        println!("the thread ends");
    });
    let (_sender, receiver) = gort::chan::bounded::<()>(0);
    let _ = receiver.recv();
}

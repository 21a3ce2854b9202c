//! Deadlock: a plain thread could have woken main, and ends without having done so. With the argument `locked` a
//! goroutine has ended before that is locked to its thread, which ends with it. With `looks` it holds main meanwhile, again
//! and again, as it walks its stack.

use std::thread;
use std::time::{Duration, Instant};

#[gort::main]
fn main() {
    if std::env::args().any(|arg| arg == "locked") {
        gort::go(|| std::mem::forget(gort::lock_os_thread()))
            .join()
            .unwrap();
    }
    let looks = std::env::args().any(|arg| arg == "looks");
    thread::spawn(move || {
        let until = Instant::now() + Duration::from_millis(100);
        while looks && Instant::now() < until {
            gort::runtime::stacks();
        }
        // waits: so that main is parked
        thread::sleep(until - Instant::now());
        println!("the thread ends");
    });
    let (_sender, receiver) = gort::chan::bounded::<()>(0);
    let _ = receiver.recv();
}

//! Deadlock: a plain thread could have woken main, and ends without having done so.

use std::thread;
use std::time::Duration;

#[gort::main]
fn main() {
    thread::spawn(|| {
        thread::sleep(Duration::from_millis(100)); // waits: so that main is parked
        println!("the thread ends");
    });
    let (_sender, receiver) = gort::chan::bounded::<()>(0);
    let _ = receiver.recv();
}

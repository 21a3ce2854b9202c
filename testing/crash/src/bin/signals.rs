//! Ends by what is done with signals once nobody is subscribed to them any more: `default`, `quit`, `deadlock`.

use gort::signal::{self, Signal};

#[gort::main]
fn main() {
    let signal = match std::env::args().nth(1).as_deref() {
        Some("quit") => Signal::SIGQUIT,
        Some("default" | "deadlock") => Signal::SIGTERM,
        other => panic!("{other:?} is no way to end"),
    };
    let signals = signal::notify(&[signal]);
    send(signal);
    println!("received {:?}", signals.recv().unwrap());
    drop(signals);
    if std::env::args().nth(1).as_deref() != Some("deadlock") {
        send(signal);
    }
    let (_sender, receiver) = gort::chan::bounded::<()>(0);
    let _ = receiver.recv();
}

fn send(signal: Signal) {
    // SAFETY: `kill` takes any numbers.
    let answer = unsafe { libc::kill(libc::getpid(), signal.as_raw()) };
    assert_eq!(answer, 0);
}

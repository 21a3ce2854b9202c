//! Deadlock: main waits for a value that nobody is left to send, with the sender in its own hands.

#[gort::main]
fn main() {
    let (sender, receiver) = gort::chan::bounded::<i32>(0);
    let _ = receiver.recv();
    drop(sender);
}

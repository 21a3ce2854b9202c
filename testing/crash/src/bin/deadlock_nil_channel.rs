//! Deadlock: main receives from a nil channel, another goroutine sends to one.

#[gort::main]
fn main() {
    let (nothing_sent, nothing_received) = gort::chan::nil::<i32>();
    gort::go(move || nothing_sent.send(1));
    let _ = nothing_received.recv();
}

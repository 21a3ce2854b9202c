//! Deadlock: main waits for an async goroutine, which awaits a channel that nobody sends to; another one waits for
//! it within a poll.

#[gort::main]
fn main() {
    let (tx, rx) = gort::chan::bounded::<i32>(0);
    let also = rx.clone();
    gort::go_async(async move { also.recv() });
    let awaits = gort::go_async(async move {
        let received = rx.recv_async().await;
        drop(tx);
        received
    });
    let _ = awaits.join();
}

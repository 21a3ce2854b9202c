//! The main goroutine calls `goexit`, and the others wait for each other.

#[gort::main]
fn main() {
    let (sender, receiver) = gort::chan::bounded::<()>(0);
    gort::go(move || {
        let _ = receiver.recv();
        drop(sender);
    });
    gort::goexit();
}

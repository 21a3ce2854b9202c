//! Deadlock: a wait group that was told of one goroutine more than there is.

use gort::sync::WaitGroup;

#[gort::main]
fn main() {
    let group = WaitGroup::new();
    group.add(2);
    let done = group.clone();
    gort::go(move || done.done());
    group.wait();
}

//! Deadlock: a select over nothing, in main (Go's `select {}`).

use std::time::Duration;

#[gort::main]
fn main() {
    // Without arms the macro does not compile, as crossbeam's; with an endless timeout it waits.
    gort::chan::select! {
        default(Duration::MAX) => println!("the end of time"),
    }
}

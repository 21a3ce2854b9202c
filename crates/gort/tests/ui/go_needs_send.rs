//! What a goroutine takes along must be `Send`: it may run on any thread.

use std::rc::Rc;

fn main() {
    let shared = Rc::new(1);
    gort::go(move || println!("{shared}"));
}

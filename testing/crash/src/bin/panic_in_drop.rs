//! A destructor panics while a panic unwinds its goroutine: Rust ends the process, on a goroutine too.

struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("from the destructor");
    }
}

#[gort::main]
fn main() {
    let ended = gort::go(|| {
        let _panics = Panics;
        panic!("from the body");
    })
    .join();
    println!("joined {}", ended.is_err());
}

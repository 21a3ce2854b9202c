//! `goexit` in the destructor of a thread-local: there is nothing left to unwind.

struct Exits;

impl Drop for Exits {
    fn drop(&mut self) {
        gort::goexit();
    }
}

thread_local! {
    static EXITS: Exits = const { Exits };
}

#[gort::main]
fn main() {
    let ended = gort::go(|| {
        EXITS.with(|_| ());
        println!("the closure has ended");
    });
    println!("{:?}", ended.join());
}

//! The main goroutine calls `goexit`: the others run to their end, then the program dies.

#[gort::main]
fn main() {
    for i in 0..3 {
        gort::go(move || {
            for _ in 0..100 {
                gort::yield_now();
            }
            println!("finished {i}");
        });
    }
    gort::defer! { println!("main's destructors") }
    gort::goexit();
}

//! A panic in a goroutine, with `PanicPolicy::Abort`: Go's rule, the program dies with status 2.

fn main() {
    let config = gort::Config::new().panic(gort::PanicPolicy::Abort);
    let ended = config.run(|| {
        let _ = gort::go(|| panic!("杰克穷死")).join();
        println!("main went on");
    });
    println!("run returned {ended:?}");
}

//! Goroutines block their threads, and there can be no more threads.

use gort::sync::WaitGroup;
use gort_crash::refuse_threads;

fn main() {
    let config = gort::Config::new().procs(2);
    let ended = config.run(|| {
        let start = WaitGroup::new();
        start.add(1);
        for _ in 0..16 {
            let start = start.clone();
            gort::go(move || {
                start.wait();
                gort::blocking(std::thread::park);
            });
        }
        refuse_threads();
        start.done();
        gort::yield_now();
        gort::chan::never::<()>().recv()
    });
    println!("run returned {ended:?}");
}

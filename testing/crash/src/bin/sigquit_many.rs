//! SIGQUIT while as many goroutines are parked as the argument says, and one computes. That one tells
//! that it runs: "at 12 ms", from the start of the program, again and again; and before the signal it is said
//! when: "signal at 3 ms".

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use gort::chan;

/// Between two reports of the one that computes.
const REPORTS: Duration = Duration::from_millis(2);

fn main() {
    let began = Instant::now();
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok());
    gort::run(|| park_many(count.expect("how many are to park"), began));
}

fn park_many(count: usize, began: Instant) {
    let (_tx, rx) = chan::bounded::<()>(0);
    for _ in 0..count {
        let rx = rx.clone();
        let builder = gort::Builder::new().stack_size(64 << 10);
        builder.go(move || parks_like_all_the_others(&rx)).unwrap();
    }
    while !all_parked(count) {
        gort::time::sleep(Duration::from_millis(10)); // waits: looks again
    }
    let (tell, told) = chan::bounded(1);
    gort::go(move || computes_on(&tell, began));
    told.recv().unwrap();
    println!("signal at {} ms", began.elapsed().as_millis());
    // SAFETY: a signal to ourselves, as from a terminal.
    unsafe { libc::kill(libc::getpid(), libc::SIGQUIT) };
    chan::never::<()>().recv().unwrap();
}

fn all_parked(count: usize) -> bool {
    let all = gort::debug::goroutines();
    all.iter().filter(|g| g.wait_reason.is_some()).count() >= count
}

#[inline(never)]
fn parks_like_all_the_others(rx: &chan::Receiver<()>) {
    // Not the last thing, which could be a jump.
    black_box(rx.recv()).unwrap_err();
}

/// Once it has begun it never calls the runtime.
#[inline(never)]
fn computes_on(tell: &chan::Sender<()>, began: Instant) {
    tell.send(()).unwrap();
    let mut reported = began;
    loop {
        let now = black_box(Instant::now());
        if now - reported >= REPORTS {
            reported = now;
            // Part of a line may be lost at the end of the process.
            let _ = writeln!(std::io::stdout(), "at {} ms", (now - began).as_millis());
        }
    }
}

//! SIGQUIT while as many goroutines are parked as the argument says, and one computes. That one tells how it fares
//! meanwhile: "12 ms since it began, longest pause 345 us", again and again.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use gort::chan;

/// Between two reports of the one that computes.
const REPORTS: Duration = Duration::from_millis(10);

fn main() {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok());
    gort::run(|| park_many(count.expect("how many are to park")));
}

fn park_many(count: usize) {
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
    gort::go(move || computes_on(&tell));
    told.recv().unwrap();
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
fn computes_on(tell: &chan::Sender<()>) {
    tell.send(()).unwrap();
    let began = Instant::now();
    let (mut last, mut longest, mut reported) = (began, Duration::ZERO, began);
    loop {
        let now = black_box(Instant::now());
        longest = longest.max(now - last);
        last = now;
        if now - reported >= REPORTS {
            reported = now;
            let (since, pause) = ((now - began).as_millis(), longest.as_micros());
            // Part of a line may be lost at the end of the process.
            let _ = writeln!(
                std::io::stdout(),
                "{since} ms since it began, longest pause {pause} us"
            );
            last = Instant::now();
        }
    }
}

//! Alone in its program: a hundred thousand parked goroutines are shown, and those that run go on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort::runtime::TlsMode;
use gort::{chan, runtime};

/// Whether parked goroutines have stacks of ours, which can be walked.
fn has_own_stacks() -> bool {
    runtime::metrics().tls_mode == TlsMode::Own
}

/// In release builds what is promised; debug builds have a tenth, thread mode as many as a small machine may
/// have threads.
fn count() -> usize {
    match (has_own_stacks(), cfg!(debug_assertions)) {
        (true, false) => 100_000,
        (true, true) => 10_000,
        (false, _) => 200,
    }
}

#[inline(never)]
fn parks_with_all_the_others(rx: &chan::Receiver<()>) {
    // Not the last thing, which could be a jump.
    std::hint::black_box(rx.recv()).unwrap_err();
}

#[test]
fn a_hundred_thousand_parked_goroutines_are_shown_while_others_run() {
    let count = gort::run(count);
    gort::run(|| {
        let (tx, rx) = chan::bounded::<()>(0);
        for _ in 0..count {
            let rx = rx.clone();
            let builder = gort::Builder::new().stack_size(64 << 10);
            builder.go(move || parks_with_all_the_others(&rx)).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while gort::debug::goroutines()
            .iter()
            .filter(|info| info.wait_reason.is_some())
            .count()
            < count
        {
            assert!(Instant::now() < deadline, "they never park");
            // waits: looks again, until the deadline
            gort::time::sleep(Duration::from_millis(10));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let steps = Arc::new(AtomicU64::new(0));
        let runs_on = gort::go({
            let (stop, steps) = (stop.clone(), steps.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    steps.fetch_add(1, Ordering::Relaxed);
                    gort::yield_now();
                }
            }
        });
        // On a plain thread, as at SIGQUIT.
        let dump = std::thread::spawn(move || {
            let before = steps.load(Ordering::Relaxed);
            let begin = Instant::now();
            let text = runtime::stacks();
            (
                text,
                begin.elapsed(),
                steps.load(Ordering::Relaxed) - before,
            )
        });
        let (text, elapsed, steps) = gort::blocking(|| dump.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        runs_on.join().unwrap();
        println!(
            "{count} goroutines: {elapsed:?}, {} bytes, {steps} steps of another",
            text.len()
        );
        if has_own_stacks() {
            let alike = format!("\n{} more goroutines like this: ", count - 1);
            assert!(text.contains(&alike), "{}", &text[..text.len().min(5000)]);
            assert_eq!(text.matches("parks_with_all_the_others(...)\n").count(), 1);
            assert!(steps > 0, "it stood still");
        }
        drop(tx);
        while runtime::num_goroutine() >= count {
            assert!(Instant::now() < deadline, "they never end");
            gort::yield_now();
        }
    });
}

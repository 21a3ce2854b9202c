//! S54, S66, S68, SC19: how goroutines end, and what becomes of their stacks and descriptors.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gort::runtime::num_goroutine;
use gort_conformance::child;
use gort_conformance::look::{sized, stacks_made, status, until};

#[gort::test]
fn s066_goexit_ends_only_its_goroutine_and_runs_destructors() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let steps = Arc::new(AtomicUsize::new(0));
    let other = {
        let steps = Arc::clone(&steps);
        gort::go(move || {
            for _ in 0..100 {
                steps.fetch_add(1, Ordering::Relaxed);
                gort::yield_now();
            }
        })
    };
    let exits = {
        let order = Arc::clone(&order);
        gort::go(move || {
            gort::defer! { order.lock().unwrap().push("deferred first") }
            gort::defer! { order.lock().unwrap().push("deferred last") }
            order.lock().unwrap().push("body");
            if order.lock().unwrap().len() == 1 {
                gort::goexit();
            }
            order.lock().unwrap().push("not reached");
        })
    };
    let error = exits.join().unwrap_err();
    assert!(error.is_goexit() && !error.is_panic());
    assert_eq!(
        *order.lock().unwrap(),
        ["body", "deferred last", "deferred first"]
    );
    other.join().unwrap();
    assert_eq!(steps.load(Ordering::Relaxed), 100);
}

#[test]
fn s066_sc19_goexit_in_main_lets_the_others_finish() {
    let output = child::of(|| {
        gort::run(|| {
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
        });
        println!("run came back");
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    for i in 0..3 {
        assert!(output.stdout.contains(&format!("finished {i}")), "{output}");
    }
    assert!(output.stdout.contains("main's destructors"), "{output}");
    assert!(!output.stdout.contains("run came back"), "{output}");
    let text = "fatal error: no goroutines (main called runtime.Goexit) - deadlock!";
    assert!(output.stderr.contains(text), "{output}");
}

/// Memory in use, in KiB. Where the kernel counts it page by page we ask for that: what stands in `status` may be
/// wrong by some pages for each processor.
fn resident_kib() -> usize {
    let Ok(text) = fs::read_to_string("/proc/self/smaps_rollup") else {
        return status("VmRSS");
    };
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect("a number")
}

/// One after the other: the stacks in the caches of the Ps serve them all.
#[test]
fn s054_s068_what_died_is_used_again() {
    child::of(|| {
        gort::run(|| {
            let n = sized(100_000, 1_000, 1_000_000);
            let spawn = |count: usize| {
                for i in 0..count {
                    assert_eq!(gort::go(move || i).join().unwrap(), i);
                }
            };
            spawn(n / 10);
            let before_kib = resident_kib();
            spawn(n);
            println!("{} stacks", stacks_made());
            // A P keeps up to 32 for itself.
            assert!(stacks_made() <= 2 * 32 + 4, "{} stacks", stacks_made());
            let grown_kib = resident_kib().saturating_sub(before_kib);
            assert!(grown_kib < 1_024, "{grown_kib} KiB more");
            assert_eq!(num_goroutine(), 1);
        });
    })
    .procs(2)
    .passes();
}

/// A burst is served by the stacks of the one before.
#[test]
fn s068_a_second_burst_needs_no_new_stacks() {
    child::of(|| {
        gort::run(|| {
            let n = sized(2_000, 200, 20_000);
            let burst = || {
                let gate = gort::chan::bounded::<()>(0);
                let handles: Vec<_> = (0..n)
                    .map(|_| {
                        let gate = gate.1.clone();
                        gort::go(move || gate.recv())
                    })
                    .collect();
                until("all are there at once", || num_goroutine() == n + 1);
                gate.0.close();
                for handle in handles {
                    assert!(handle.join().unwrap().is_err());
                }
            };
            burst();
            let stacks = stacks_made();
            for _ in 0..5 {
                burst();
            }
            // Free stacks wait in the caches of Ps too, 32 in each: others may have to be made instead.
            let more = stacks_made() - stacks;
            println!("{stacks} stacks, then {more} more");
            assert!(more <= 2 * 32 + n / 100, "{more} more than {stacks}");
        });
    })
    .procs(2)
    .passes();
}

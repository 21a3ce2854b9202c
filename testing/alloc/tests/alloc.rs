//! Runs the programs, and compares what they say.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs one, for at most two minutes, and gives what it has measured.
fn measure(program: &str, tls: &str) -> HashMap<String, u64> {
    let mut child = Command::new(program)
        .env("GORT_TLS", tls)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.try_wait().expect("it is ours").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it is ours");
            panic!("{program} does not end");
        }
        // waits: std has no wait with a timeout.
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{program}: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("words and numbers");
    println!("{program}, {tls}:\n{text}");
    text.lines()
        .filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        })
        .collect()
}

/// Room for the stack's page or two, the allocator's share, and noise.
const BYTES_MAX: u64 = 32 << 10;

#[track_caller]
fn assert_cheap_only_if_wrapped(wrapped: &str, raw: &str) {
    let wrapped = measure(wrapped, "own");
    assert!(wrapped["preemptions"] > 0);
    assert!(wrapped["bytes_per_goroutine"] < BYTES_MAX);
    // Right without the wrapper too, though at a price: else there were no use for it.
    let raw = measure(raw, "own");
    assert!(raw["bytes_per_goroutine"] > 2 * wrapped["bytes_per_goroutine"]);
}

#[test]
fn the_allocator_of_libc_needs_no_wrapper() {
    let measured = measure(env!("CARGO_BIN_EXE_system"), "own");
    assert!(measured["bytes_per_goroutine"] < BYTES_MAX);
}

#[test]
fn mimalloc_keeps_its_caches_per_thread() {
    assert_cheap_only_if_wrapped(
        env!("CARGO_BIN_EXE_mimalloc"),
        env!("CARGO_BIN_EXE_mimalloc_raw"),
    );
}

#[test]
fn mimalloc_works_where_goroutines_are_threads() {
    measure(env!("CARGO_BIN_EXE_mimalloc"), "thread");
}

#[cfg(feature = "jemalloc")]
#[test]
fn jemalloc_keeps_its_caches_per_thread() {
    assert_cheap_only_if_wrapped(
        env!("CARGO_BIN_EXE_jemalloc"),
        env!("CARGO_BIN_EXE_jemalloc_raw"),
    );
}

#[cfg(feature = "jemalloc")]
#[test]
fn jemalloc_works_where_goroutines_are_threads() {
    measure(env!("CARGO_BIN_EXE_jemalloc"), "thread");
}

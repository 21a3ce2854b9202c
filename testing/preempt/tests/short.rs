//! The suite in small, as part of every test run; `ci/preempt.sh` has the numbers that mean something.
//! Each configuration is a process of its own, and nothing else runs beside it.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Times at which each site is hit, and each call made. `PREEMPT_COUNT` sets another.
const COUNT: u64 = 100;
/// With a seed slices are ten times as long.
const COUNT_SHAKEN: u64 = 50;

/// What is measured here is who gets to run: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[track_caller]
fn assert_passes(what: &str, count: u64, variables: &[(&str, &str)]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let count = std::env::var("PREEMPT_COUNT").unwrap_or_else(|_| count.to_string());
    let output = Command::new(env!("CARGO_BIN_EXE_preempt"))
        .args([what, "--count", &count, "--seconds", "300"])
        .envs(variables.iter().copied())
        .output()
        .expect("the program can be started");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{text}");
    assert!(
        output.status.success(),
        "{what} with {variables:?}: {}\n{text}",
        output.status
    );
}

#[test]
fn every_site_is_preempted_on_one_p() {
    assert_passes("sites", COUNT, &[("GORT_PROCS", "1")]);
}

#[test]
fn every_site_is_preempted_on_two_ps() {
    assert_passes("sites", COUNT, &[("GORT_PROCS", "2")]);
}

#[test]
fn every_site_is_preempted_on_four_ps_in_shaken_order() {
    assert_passes(
        "sites",
        COUNT_SHAKEN,
        &[("GORT_PROCS", "4"), ("GORT_SHAKE", "1")],
    );
}

#[test]
fn every_site_is_preempted_where_goroutines_are_threads() {
    assert_passes(
        "sites",
        COUNT,
        &[("GORT_PROCS", "2"), ("GORT_TLS", "thread")],
    );
}

#[test]
fn signals_show_in_no_call_that_can_be_restarted() {
    assert_passes("eintr", COUNT, &[("GORT_PROCS", "2")]);
}

#[test]
fn signals_show_in_no_call_where_goroutines_are_threads() {
    assert_passes(
        "eintr",
        COUNT,
        &[("GORT_PROCS", "2"), ("GORT_TLS", "thread")],
    );
}

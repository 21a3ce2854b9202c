//! All cases on goroutines with own blocks whose order is left to chance, and as the scheduler likes it
//! best: without forced migration they meet the short ways through it.

use std::process::Command;

use gort_torture::cases::CASES;
use gort_torture::child;

/// In a process each, as for the other configurations: some change what a process has but once.
fn run_all(variables: &[(&str, &str)]) {
    for case in CASES {
        let program = Command::new(env!("CARGO_BIN_EXE_torture"));
        child::run(program, &[case.name], variables);
    }
}

#[test]
fn all_pass_in_the_scheduler_s_own_order() {
    run_all(&[("GORT_PROCS", "4")]);
}

#[test]
fn all_pass_on_one_p() {
    run_all(&[("GORT_PROCS", "1")]);
}

#[test]
fn all_pass_in_an_order_left_to_chance() {
    // A seed of the day would be better at finding, this one is better at repeating.
    let seed = std::env::var("GORT_SHAKE").unwrap_or_else(|_| "1".to_owned());
    run_all(&[("GORT_PROCS", "4"), ("GORT_SHAKE", &seed)]);
}

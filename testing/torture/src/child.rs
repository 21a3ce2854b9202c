//! Cases in a process of their own.

use std::process::Command;

/// A few cases that touch what differs from system to system: blocks, stacks, loaded libraries, names,
/// destructors, unwinding, other processes.
pub const SAMPLE: [&str; 10] = [
    "a_dependency_keeps_its_count",
    "destructors_run_once_and_may_park",
    "a_drop_parks_while_it_unwinds",
    "threads_are_spawned_and_joined",
    "a_command_with_pre_exec_runs",
    "a_forked_child_can_go_on",
    "names_are_looked_up",
    "late_thread_locals_are_the_goroutines",
    "thread_variables_are_the_goroutines",
    "keys_are_the_goroutines_and_destroyed",
];

/// Runs cases by the program `torture`, which `program` starts, in a runtime set up by `variables`.
/// Gives what it printed.
///
/// # Panics
///
/// If a case fails, crashes or hangs, with all that the program printed.
#[track_caller]
pub fn run(mut program: Command, cases: &[&str], variables: &[(&str, &str)]) -> String {
    let output = program
        .args(cases)
        .envs(variables.iter().copied())
        .output()
        .expect("the program can be started");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{variables:?}: {}\n{text}",
        output.status
    );
    let all = format!("{} passed, 0 failed", cases.len());
    assert!(text.contains(&all), "{text}");
    text
}

/// `TORTURE_N` for a configuration in which goroutines are dearer: a part of this run's.
pub fn part_of_n(part: usize) -> String {
    (crate::drive::n() / part).to_string()
}

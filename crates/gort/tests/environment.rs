//! A variable with a value that cannot be honoured is named in one line on stderr; others are not. The
//! environment is read at the start, so a process is started for each.

use std::process::Command;

const MARK: &str = "ENVIRONMENT_TEST_CHILD";

/// What a program says on stderr that starts a goroutine in this environment.
#[track_caller]
fn said_with(name: &str, value: &str) -> Vec<String> {
    said_in(&[(name, value)])
}

#[track_caller]
fn said_in(variables: &[(&str, &str)]) -> Vec<String> {
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", "the_program", "--nocapture"])
        .env_remove("GORT_PROCS")
        .env_remove("GOMAXPROCS")
        .env(MARK, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("the test binary runs once more");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{variables:?}: {text}");
    let lines = text.lines().filter(|line| line.starts_with("gort: "));
    // Where own blocks cannot be had, that is said too.
    lines
        .filter(|line| !line.starts_with("gort: each goroutine has an OS thread"))
        .map(str::to_owned)
        .collect()
}

/// Run in the child.
#[test]
fn the_program() {
    if std::env::var_os(MARK).is_some() {
        assert_eq!(gort::go(|| 7).join().expect("no panic"), 7);
    }
}

#[test]
fn a_value_that_cannot_be_honoured_is_named_once() {
    for (name, value, instead) in [
        ("GORT_PROCS", "0", "using "),
        ("GOMAXPROCS", "lots", "using "),
        ("GORT_STACK", "17 pages", "it is ignored"),
        ("GORT_STACK", "99999999999999", "using "),
        ("GORT_TLS", "mine", "using auto"),
        ("GORT_SHAKE", "hard", "it is ignored"),
        ("GORT_SHAKE_MIGRATE", "yes", "it is ignored"),
        ("GORT_STALL", "loud", "stalls are not logged"),
        ("GORT_TRACE", "out.trace", "nothing is traced"),
        ("GORT_HIBERNATE", "soon", "parked stacks keep their memory"),
        ("GORT_HIBERNATE", "10", "parked stacks keep their memory"),
    ] {
        let lines = said_with(name, value);
        let is_right = |line: &String| {
            line.starts_with(&format!("gort: {name}={value}")) && line.contains(instead)
        };
        assert!(
            lines.len() == 1 && is_right(&lines[0]),
            "{name}={value}: {lines:?}"
        );
    }
}

#[test]
fn what_is_used_instead_is_what_comes_next() {
    let lines = said_in(&[("GORT_PROCS", "no"), ("GOMAXPROCS", "3")]);
    let line = "gort: GORT_PROCS=no is not a number from 1 to 4096; using 3 (GOMAXPROCS)";
    assert_eq!(lines, [line]);
}

#[test]
fn a_value_that_is_honoured_is_not_mentioned() {
    for (name, value) in [
        ("GORT_PROCS", "3"),
        ("GOMAXPROCS", "3"),
        ("GORT_STACK", "300000"),
        ("GORT_TLS", "own"),
        ("GORT_SHAKE", "5"),
        ("GORT_STALL", "off"),
        ("GORT_STALL", "log"),
        ("GORT_TRACE", ""),
        ("GORT_HIBERNATE", "0"),
        ("GORT_HIBERNATE", "off"),
    ] {
        assert_eq!(said_with(name, value), [""; 0], "{name}={value}");
    }
}

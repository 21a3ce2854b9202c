//! Programs to run, and cases that need a process of their own.

use std::env;

use gort::process::Command;

/// A shell that runs `script`.
pub(crate) fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

/// Runs the case `name` (with its path) in a process of its own, and gives what that wrote.
#[track_caller]
pub(crate) fn alone(name: &str, case: impl FnOnce()) -> String {
    const ALONE: &str = "GORT_TEST_ALONE";
    if env::var(ALONE).is_ok_and(|alone| alone == name) {
        case();
        return String::new();
    }
    let output = std::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{error}",
        output.status
    );
    assert!(
        text.contains("running 1 test"),
        "{name} did not run:\n{text}"
    );
    text
}

/// Whether we are in such a process.
pub(crate) fn is_alone() -> bool {
    env::var("GORT_TEST_ALONE").is_ok()
}

//! Test programs that run themselves again, for what ends a process or must be set before it starts.

use std::process::{Command, Output};

/// Runs the test `name` of this program in a process of its own, with `GORT_TEST_CHILD` set to `what`
/// and the environment given.
pub(crate) fn run(name: &str, what: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("the test program's path"));
    if name == "*" {
        command.args(["--test-threads=1"]);
    } else {
        command.args([name, "--exact", "--test-threads=1", "--nocapture"]);
    }
    command
        .env("GORT_TEST_CHILD", what)
        .envs(environment.iter().copied());
    command.output().expect("the test program runs")
}

/// What this process was started for by [`run`].
pub(crate) fn role() -> Option<String> {
    std::env::var("GORT_TEST_CHILD").ok()
}

/// Runs the whole program once more in another environment; it must pass.
pub(crate) fn suite_with(environment: &[(&str, &str)]) {
    if role().is_some() {
        return; // this is the second run
    }
    let output = run("*", "suite", environment);
    assert!(
        output.status.success(),
        "{environment:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

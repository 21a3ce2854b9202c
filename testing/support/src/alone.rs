//! Cases with a process of their own: the test's binary is run once more, for the one case.

use std::env;
use std::process::Command;

/// Names the case to the process that is started for it.
const ALONE: &str = "GORT_TEST_ALONE";

/// Runs the case `name` (with its path) in a process of its own, where nothing else happens. Returns what that
/// wrote; in that process, nothing.
///
/// # Panics
///
/// If the case fails, or if there is none of that name.
#[track_caller]
pub fn alone(name: &str, case: impl FnOnce()) -> String {
    let text = alone_until_replaced(name, case);
    let has_run = is_alone() || text.contains("1 passed");
    assert!(has_run, "{name} did not run:\n{text}");
    text
}

/// As [`alone`], for a case that becomes another program by `exec`: that it passes is not told.
///
/// # Panics
///
/// If its process fails, or if there is no such case.
#[track_caller]
pub fn alone_until_replaced(name: &str, case: impl FnOnce()) -> String {
    if env::var(ALONE).is_ok_and(|alone| alone == name) {
        case();
        return String::new();
    }
    let output = Command::new(env::current_exe().expect("a test has a file"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, name)
        .output()
        .expect("the test's binary runs once more");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{error}",
        output.status
    );
    let has_begun = text.contains("running 1 test");
    assert!(has_begun, "{name} did not run:\n{text}");
    text
}

/// Whether this process is one that was started for a case.
pub fn is_alone() -> bool {
    env::var_os(ALONE).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_runs_in_another_process_and_what_it_wrote_comes_back() {
        let name = "alone::tests::a_case_runs_in_another_process_and_what_it_wrote_comes_back";
        let text = alone(name, || println!("process {}", std::process::id()));
        if is_alone() {
            return assert_eq!(text, "");
        }
        let (_, number) = text.split_once("process ").expect("it wrote");
        let number = number.lines().next().expect("a line");
        assert_ne!(number, std::process::id().to_string());
    }

    #[test]
    #[should_panic(expected = "did not run")]
    fn a_name_without_a_case_is_told() {
        alone("alone::tests::no_such_case", || unreachable!());
    }
}

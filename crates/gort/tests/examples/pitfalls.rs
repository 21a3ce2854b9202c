//! The sixteen pitfalls, by their numbers.

use super::{Ended, run};

#[track_caller]
fn assert_prints(number: &str, expected: &str) {
    assert_eq!(run("pitfalls", &[number]).output(), expected);
}

/// Prints that, and then has nobody that could go on; `reasons` are what they wait for.
#[track_caller]
fn assert_deadlock(number: &str, printed: &str, reasons: &[&str]) {
    let Ended {
        status,
        stdout,
        stderr,
    } = run("pitfalls", &[number]);
    assert_eq!(stdout, printed, "{stderr}");
    assert_eq!(status.code(), Some(2), "{stderr}");
    let deadlock = "fatal error: all goroutines are asleep - deadlock!";
    assert!(stderr.contains(deadlock), "{stderr}");
    for reason in reasons {
        assert!(stderr.contains(&format!("[{reason}")), "{reason}: {stderr}");
    }
}

#[test]
fn p01_read_past_the_end() {
    let all = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], then Err(RecvError)\nas in Go: 0\n";
    assert_prints("1", all);
}

#[test]
fn p02_give_up_on_a_worker() {
    assert_prints("2", "timeout\nthe worker: Err(SendError(..))\n");
}

#[test]
fn p03_read_the_result_too_early() {
    assert_prints("3", "after the wait: 4\n");
}

#[test]
fn p04_lock_around_a_send() {
    assert_deadlock("4", "", &["chan send", "sync.Mutex.Lock"]);
}

#[test]
fn p05_return_without_unlock() {
    let printed = "Err(\"have err\")\nunlocked: true\n";
    assert_deadlock("5", printed, &["sync.Mutex.Lock"]);
}

#[test]
fn p06_writer_before_later_readers() {
    assert_prints("6", &"reader after [\"writer\"]\n".repeat(3));
}

#[test]
fn p07_read_lock_twice() {
    let printed = "read_recursive passes\n";
    if cfg!(debug_assertions) {
        let ended = run("pitfalls", &["7"]);
        assert_eq!(ended.stdout, printed);
        assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
        let places = ended.stderr.matches("pitfalls/locks.rs:").count();
        assert!(places >= 2, "{}", ended.stderr);
    } else {
        assert_deadlock("7", printed, &["sync.RWMutex.RLock", "sync.RWMutex.Lock"]);
    }
}

#[test]
fn p08_panic_in_once() {
    assert_prints("8", "first panics: true\nsecond runs: false, done: true\n");
}

#[test]
fn p09_add_inside() {
    assert_prints("9", "done! count: 1000\n");
}

#[test]
fn p10_notify_before_the_wait() {
    let printed = "woken: 0\nwith a condition: passes\n";
    assert_deadlock("10", printed, &["sync.Cond.Wait"]);
}

#[test]
fn p11_arguments_of_defer() {
    let both = "evaluated before the job: true\nevaluated after the job: true\n";
    assert_prints("11", both);
}

#[test]
fn p12_p13_defer_and_results() {
    assert_prints("12", "i: 2, j: 1\n");
    assert_prints("13", "1\n");
}

#[test]
fn p14_shared_loop_variable() {
    let output = run("pitfalls", &["14"]).output();
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0", "1", "2"]);
}

#[test]
fn p15_shadowing() {
    assert_prints("15", "Inner: 2 3\nOuter: 1\n");
}

#[test]
fn p16_timeout_made_anew() {
    assert_prints(
        "16",
        "end with timeout: false\ntimers do not pile up: true\n",
    );
}

#[test]
fn another_number_is_refused() {
    assert_eq!(run("pitfalls", &["17"]).status.code(), Some(1));
}

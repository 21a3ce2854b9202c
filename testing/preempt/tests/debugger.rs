//! A debugger shows the stack of a goroutine that computes, and of one that was stopped by the signal.
//!
//! Skipped, with a line that says so, where there is no gdb or it may not look.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

#[test]
fn a_hog_has_a_readable_stack() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: no gdb");
        return;
    }
    let mut hogs = Command::new(env!("CARGO_BIN_EXE_preempt"))
        .args(["hog", "--count", "10"])
        .env("GORT_PROCS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut lines = BufReader::new(hogs.stdout.take().expect("piped above")).lines();
    let first = lines.next().expect("it prints a line").expect("ASCII");
    assert_eq!(first, "ready");
    let text = look_at(&hogs);
    // The end of its input is the sign to end.
    drop(hogs.stdin.take());
    let status = hogs.wait().expect("it is our child");
    assert!(status.success(), "{status}");
    if text.contains("Operation not permitted") {
        println!("skipped: gdb may not look at other processes");
        return;
    }
    let stacks: Vec<&str> = text
        .split("\nThread ")
        .filter(|stack| stack.contains("hog_outer"))
        .collect();
    assert_eq!(stacks.len(), 2, "two loops in:\n{text}");
    for stack in &stacks {
        assert_in_order(stack, &["hog_outer", "first_entry"]);
    }
    // One has the P; the other is below the handler it waits in.
    let stopped: Vec<_> = stacks
        .iter()
        .filter(|stack| stack.contains("<signal handler called>"))
        .collect();
    assert!(!stopped.is_empty(), "no loop waits in the handler:\n{text}");
    for stack in stopped {
        assert_in_order(stack, &["<signal handler called>", "hog_outer"]);
    }
}

fn look_at(process: &Child) -> String {
    let output = Command::new("gdb")
        .args(["-batch", "-nx", "-iex", "set debuginfod enabled off"])
        .args(["-ex", "thread apply all bt"])
        .args(["-p", &process.id().to_string()])
        .output()
        .expect("gdb is there");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn assert_in_order(stack: &str, names: &[&str]) {
    let mut rest = stack;
    for name in names {
        let at = rest
            .find(name)
            .unwrap_or_else(|| panic!("no {name}, or too early, in:\n{stack}"));
        rest = &rest[at..];
    }
}

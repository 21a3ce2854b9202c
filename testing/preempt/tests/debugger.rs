//! A debugger shows the stack of a goroutine that computes, and of one that was stopped by the signal; a
//! profiler that of the one that computes.
//!
//! Skipped, with a line that says so, where there is no gdb or perf, or it may not look.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Said by gdb where it may not look.
const NOT_PERMITTED: &str = "Operation not permitted";

#[test]
fn a_hog_has_a_readable_stack() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: no gdb");
        return;
    }
    // A look may come just when one loop has left the handler and the other is not in it yet.
    let shows_all = |text: &String| {
        text.matches("hog_outer").count() >= 2 && text.contains("<signal handler called>")
            || text.contains(NOT_PERMITTED)
    };
    let text = beside_hogs(|hogs| {
        let mut looks = (0..10).map(|_| look_at(hogs));
        looks.find(shows_all).unwrap_or_else(|| look_at(hogs))
    });
    if text.contains(NOT_PERMITTED) {
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

#[test]
fn a_profiler_sees_whole_stacks() {
    if Command::new("perf").arg("--version").output().is_err() {
        println!("skipped: no perf");
        return;
    }
    let folder = env!("CARGO_TARGET_TMPDIR");
    let profile = format!("{folder}/hogs-{}.data", std::process::id());
    let recorded = beside_hogs(|hogs| {
        Command::new("perf")
            .args(["record", "--quiet", "--event", "cpu-clock", "--freq", "499"])
            .args(["--call-graph", "dwarf", "--output", &profile])
            .args(["--pid", &hogs.id().to_string()])
            // For how long it records.
            .args(["--", "sleep", "0.5"])
            .output()
            .expect("perf is there")
    });
    if !recorded.status.success() {
        let said = String::from_utf8_lossy(&recorded.stderr);
        println!("skipped: perf may not record: {said}");
        return;
    }
    let shown = Command::new("perf")
        .args(["script", "--no-inline", "--fields", "ip,sym"])
        .args(["--input", &profile])
        .output()
        .expect("perf is there");
    // What is left behind is in the build's own folder.
    let _ = std::fs::remove_file(&profile);
    let text = String::from_utf8_lossy(&shown.stdout);
    let samples = text
        .split("\n\n")
        .filter(|stack| stack.contains("hog_inner"));
    let samples: Vec<&str> = samples.collect();
    assert!(!samples.is_empty(), "no sample of the loop in:\n{text}");
    let is_whole = |stack: &&&str| {
        let at = |name| stack.find(name);
        at("hog_inner") < at("hog_outer") && at("hog_outer") < at("first_entry")
    };
    let whole = samples.iter().filter(is_whole).count();
    // One may be taken in the midst of a switch.
    assert!(
        whole * 10 >= samples.len() * 9,
        "{whole} of {}, the first:\n{}",
        samples.len(),
        samples[0]
    );
}

/// Calls `look` while two loops share a P.
fn beside_hogs<T>(look: impl FnOnce(&Child) -> T) -> T {
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
    let seen = look(&hogs);
    // The end of its input is the sign to end.
    drop(hogs.stdin.take());
    let status = hogs.wait().expect("it is our child");
    assert!(status.success(), "{status}");
    seen
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

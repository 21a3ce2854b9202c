//! Examples with very many goroutines, in small numbers.

use std::process::Command;

use super::{finish, path_of, run};

#[test]
fn one_wait_group_counts_all() {
    let output = run("one_wait_group", &["20000"]).output();
    assert_eq!(output, "20000 are done\n");
}

#[test]
fn one_wait_group_prints_all() {
    let output = run("one_wait_group", &["5000", "--print"]).output();
    let mut lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.pop(), Some("5000 are done"));
    lines.sort_unstable();
    let mut expected: Vec<_> = (0..5000).map(|i| format!("go {i}")).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn add_inside_ends_and_go_counts_all() {
    let output = run("add_inside", &[]).output();
    let (inside, go) = output.split_once('\n').expect("two lines");
    let count = inside.strip_prefix("add inside: ").expect("the count");
    let is_count = count.parse::<u32>().is_ok_and(|count| count <= 1000);
    assert!(is_count || count == "misuse", "{inside}");
    assert_eq!(go, "go: 1000\n");
}

#[test]
fn few_of_many_short_goroutines_are_alive() {
    let output = run("never_all_alive", &["200000"]).output();
    // Those that have not run when main says this may still print, or not.
    let is_summary = |line: &&str| line.contains(" started");
    let most = output
        .lines()
        .find(is_summary)
        .and_then(|line| line.strip_prefix("200000 started, at most "))
        .and_then(|rest| rest.strip_suffix(" alive"))
        .expect("the line");
    let printed = output.lines().filter(|line| !is_summary(line)).count();
    assert!((1..=2_000).contains(&printed), "{printed}");
    let most: u32 = most.parse().expect("a number");
    assert!(most < 100_000, "{most}");
}

#[test]
fn sleepers_all_end() {
    assert_eq!(run("sleepers", &["3000"]).output(), "3000 have slept\n");
}

#[test]
fn sleepers_are_refused_when_there_is_no_memory() {
    // Stacks so large that what is left when one more cannot be had is enough for all else.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -v 4194304 && exec \"$0\" 2147483647"])
        .arg(path_of("sleepers"))
        .env("GORT_STACK", (256 << 20).to_string());
    let ended = finish(&mut limited);
    let count = ended
        .stdout
        .strip_suffix(" have slept\n")
        .expect("the count");
    let count: u32 = count.parse().expect("a number");
    assert!((1..16).contains(&count), "{count}");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with("no more than that: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn tokens_bound_what_is_at_work() {
    let output = run("token_channel", &["10000"]).output();
    let most = output
        .strip_prefix("10000 served, at most ")
        .and_then(|rest| rest.strip_suffix(" at once\n"))
        .expect("the line");
    let most: u32 = most.parse().expect("a number");
    assert!((2..=3000).contains(&most), "{most}");
}

#[test]
fn all_are_alive_at_once() {
    let output = run("ten_million", &["5000"]).output();
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("5001 alive, for chan receive"));
    assert!(
        lines
            .next()
            .is_some_and(|line| line.ends_with(" bytes each"))
    );
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("ended in "))
    );
}

#[test]
fn deleted_keys_do_not_stay() {
    let output = run("map_churn", &["20000"]).output();
    let most = output
        .strip_prefix("0 in the map, at most ")
        .and_then(|rest| rest.strip_suffix(" deleted keys kept\n"))
        .expect("the line");
    let most: u32 = most.parse().expect("a number");
    assert!(most < 2_000, "{most}");
}

#[cfg(feature = "tracing")]
#[test]
fn each_of_many_goroutines_is_in_its_span() {
    // More than the stock registry takes.
    let output = run("traced", &["5000"]).output();
    let (logged, last) = output.trim_end().rsplit_once('\n').expect("lines");
    for id in 0..10 {
        let line = format!(" request{{id={id}}}: traced: handled");
        assert!(logged.contains(&line), "{output}");
    }
    assert_eq!(logged.lines().count(), 10, "{output}");
    let is_last = last.starts_with("5000 goroutines in spans, ") && last.ends_with(" bytes each");
    assert!(is_last, "{last}");
}

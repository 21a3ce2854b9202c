//! Examples with very many goroutines, in small numbers.

use super::run;

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

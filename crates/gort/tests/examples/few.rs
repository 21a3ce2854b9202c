//! Examples with a handful of goroutines.

use super::run;

#[test]
fn first_leaves_what_its_receiver_holds() {
    let expected = "buffered: 0 left\n\
        select with default: 0 left\n\
        done channel: 0 left\n\
        unbuffered: 4 left\n\
        unbuffered, receiver dropped: 0 left\n";
    assert_eq!(run("first", &[]).output(), expected);
}

#[test]
fn account_keeps_its_balance_and_its_owners_panic() {
    let expected = "balance: Some(2010)\n\
        the owner ends with 2010\n\
        the owner panicked: 杰克穷死\n\
        balance: None\n";
    assert_eq!(run("account", &[]).output(), expected);
}

#[test]
fn a_self_resetting_timer_runs_again() {
    let output = run("self_resetting_timer", &["3"]).output();
    let elapsed = output.lines().map(|line| {
        let number = line.strip_suffix(" us").expect("a line is a time");
        number.parse().expect("a line is a time")
    });
    let elapsed: Vec<u64> = elapsed.collect();
    assert_eq!(elapsed.len(), 3);
    assert!(elapsed.is_sorted(), "{elapsed:?}");
}

#[test]
fn leaks_are_counted_by_reason() {
    let expected = r#"receive from nil: {"chan receive (nil chan)": 10}
send to nil: {"chan send (nil chan)": 10}
send, receiver dropped: {}
send, receiver kept: {"chan send": 10}
receive, sender dropped: {}
receive, sender kept: {"chan receive": 10}
lock, guard dropped: {}
lock, guard forgotten: {"sync.Mutex.Lock": 9}
two added, one done: {"sync.WaitGroup.Wait": 10}
"#;
    assert_eq!(run("leaks", &[]).output(), expected);
}

#[test]
fn a_body_keeps_its_connection_until_it_is_dropped() {
    let expected = "read: 3 left, for the next request\n\
        connection closed: 0 left\n\
        dropped: 0 left\n\
        forgotten: 30 left\n";
    assert_eq!(run("unclosed_body", &[]).output(), expected);
}

#[test]
fn empty_selects_are_a_deadlock() {
    let ended = run("empty_selects", &[]);
    assert_eq!(ended.stdout, "100 goroutines: chan receive (nil chan)\n");
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    let deadlock = "fatal error: all goroutines are asleep - deadlock!";
    assert!(ended.stderr.contains(deadlock), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("[chan receive (nil chan)"),
        "{}",
        ended.stderr
    );
}

#[test]
fn fixed_workers_end_with_their_channel() {
    let expected = "sum of the requests: 45\n\
        kept open: 3 left\n\
        dropped: 0 left\n\
        sum of the requests: 45\n\
        closed: 0 left\n";
    assert_eq!(run("fixed_workers", &[]).output(), expected);
}

#[test]
fn a_singleton_is_built_once() {
    let expected = "built before it is wanted: 0\n\
        lazy: 100 of 100 have it\n\
        eager: 100 of 100 have it\n\
        built: 1\n";
    assert_eq!(run("singleton", &[]).output(), expected);
}

#[test]
fn echo_answers_all_and_ends_when_closed() {
    let expected = "100 of 100 echoed\n\
        the client sent nothing\n\
        server: use of closed network connection\n";
    assert_eq!(run("echo", &[]).output(), expected);
}

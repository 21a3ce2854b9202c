//! Examples with a handful of goroutines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{path_of, run};

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
    assert_eq!(ended.stdout, "100 goroutines: select (no cases)\n");
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    let deadlock = "fatal error: all goroutines are asleep - deadlock!";
    assert!(ended.stderr.contains(deadlock), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("[select (no cases)"),
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

#[test]
fn file_cost_measures_each_way() {
    let output = run("file_cost", &["1"]).output();
    // One or two Ps, alone or not; and two lengths of sleep.
    assert_eq!(output.matches(": plain call ").count(), 4, "{output}");
    assert_eq!(output.matches(": handed off ").count(), 4, "{output}");
    assert_eq!(output.matches(": another runs after ").count(), 4);
}

/// Ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended before, then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_http_server_answers() {
    let mut command = Command::new(path_of("http_server"));
    command.arg("127.0.0.1:0").stdout(Stdio::piped());
    let mut server = Server(command.spawn().expect("a program that is there"));
    let mut line = String::new();
    let stdout = server.0.stdout.take().expect("it is piped");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("its first line");
    let addr = line.strip_prefix("listening on http://");
    let addr = addr.and_then(|rest| rest.strip_suffix("/\n"));
    let addr = addr.unwrap_or_else(|| panic!("{line:?}"));
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(addr).expect("it listens");
        let limit = Some(Duration::from_secs(60));
        stream.set_read_timeout(limit).expect("a limit");
        write!(stream, "{request}").expect("it takes requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let hello = ask("GET / HTTP/1.0\r\n\r\n");
    assert!(hello.starts_with("HTTP/1.1 200 OK\r\n"), "{hello}");
    assert!(hello.ends_with("\r\n\r\nHello, World!\n"), "{hello}");
    let echo = ask("POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
    assert!(echo.ends_with("\r\n\r\nhi"), "{echo}");
    let other = ask("DELETE /echo HTTP/1.0\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 405 "), "{other}");
    assert!(other.contains("\r\nAllow: POST, PUT\r\n"), "{other}");
    let nothing = ask("GET /nothing HTTP/1.0\r\n\r\n");
    assert!(nothing.starts_with("HTTP/1.1 404 "), "{nothing}");
}

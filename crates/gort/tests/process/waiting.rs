//! Who waits for a child, and who does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use gort::process::{Child, Command, Stdio};

use super::support::{alone, sh};

/// A child that ends when its input does.
fn cat() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn wait_until_parked(name: &str, reason: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_parked = || {
        gort::debug::goroutines().into_iter().any(|goroutine| {
            goroutine.name.as_deref() == Some(name)
                && goroutine
                    .wait_reason
                    .is_some_and(|found| found.to_string() == reason)
        })
    };
    while !is_parked() {
        assert!(Instant::now() < deadline, "{}", gort::debug::stacks());
        // waits: between two looks at the goroutine
        gort::time::sleep(Duration::from_micros(100));
    }
}

/// One P: whoever held it while it waits would keep the other from ending the child.
#[gort::test(procs = 1)]
fn a_goroutine_that_waits_for_a_child_parks() {
    let mut child = cat();
    let stdin = child.stdin.take();
    let waiter = gort::Builder::new().name("waits for cat");
    let waiter = waiter.go(move || child.wait().unwrap()).unwrap();
    wait_until_parked("waits for cat", "IO wait");
    drop(stdin);
    assert!(waiter.join().unwrap().success());
}

#[gort::test(procs = 1)]
fn a_goroutine_that_reads_from_a_child_parks() {
    let mut child = cat();
    let mut stdin = child.stdin.take().unwrap();
    let stdout = child.stdout.take().unwrap();
    let reader = gort::Builder::new().name("reads from cat");
    let reader = reader
        .go(move || BufReader::new(stdout).lines().next().unwrap().unwrap())
        .unwrap();
    wait_until_parked("reads from cat", "IO wait");
    stdin.write_all(b"line\n").unwrap();
    assert_eq!(reader.join().unwrap(), "line");
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[gort::test]
fn a_child_that_is_killed_says_by_what() {
    let mut child = cat();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    child.kill().unwrap();
    let status = sh("kill -TERM $$").status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

/// The grandchild has the pipe too: the output ends with it, not with the child.
#[gort::test]
fn output_goes_on_after_the_child() {
    // A shell's job in the background has no input but by another number.
    let mut child = sh("exec 3<&0; (read line <&3; echo $line from below) & exit 5")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    stdin.write_all(b"word\n").unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "word from below\n");
}

#[gort::test]
fn a_hundred_children_are_waited_for_at_once() {
    let children: Vec<_> = (0..100).map(|_| cat()).collect();
    let handles: Vec<_> = children
        .into_iter()
        .map(|mut child| gort::go(move || child.wait().unwrap().success()))
        .collect();
    assert!(handles.into_iter().all(|handle| handle.join().unwrap()));
}

/// Where the kernel reaps children by itself there is nothing to wait for.
#[test]
fn waiting_without_sigchld_is_an_error_of_the_system() {
    alone(
        "waiting::waiting_without_sigchld_is_an_error_of_the_system",
        || {
            // SAFETY: no handler is set.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            gort::run(|| {
                let error = cat().wait().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
            });
        },
    );
}

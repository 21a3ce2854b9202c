//! What a command says to its child, and what comes back.

use std::ffi::OsStr;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use gort::fs::{self, File};
use gort::process::{ChildStdout, Command, Stdio};

use super::support::sh;

#[gort::test]
fn output_has_both_streams_and_the_status() {
    let output = sh("echo out; echo err >&2; exit 7").output().unwrap();
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(sh("exit 3").status().unwrap().code(), Some(3));
    let error = Command::new("/no/such/program").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_plain_thread_may_call_all_of_it() {
    let output = sh("echo out; echo err >&2").output().unwrap();
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let mut child = sh("cat >&2").stdin(Stdio::piped()).spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(child.wait().unwrap().success(), "its input was closed");
    assert!(child.wait().unwrap().success(), "once more");
    assert!(child.try_wait().unwrap().unwrap().success());
    child.kill().unwrap();
}

/// More than the pipes hold, of both at once, whichever comes first.
#[gort::test]
fn output_reads_both_pipes_at_once() {
    const LEN: usize = 300_000;
    for (first, second) in [("1", "2"), ("2", "1")] {
        let script = format!(
            "head -c {LEN} /dev/zero >&{first}; head -c {LEN} /dev/zero >&{second}; \
             head -c {LEN} /dev/zero >&{first}"
        );
        let output = sh(&script).output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout.len() + output.stderr.len(), 3 * LEN);
        assert_eq!(
            output.stdout.len(),
            if first == "1" { 2 * LEN } else { LEN }
        );
    }
}

/// What is not set is another thing for each.
#[gort::test]
fn spawn_inherits_what_output_captures() {
    let mut command = sh("cat; echo done");
    assert_eq!(command.output().unwrap().stdout, b"done\n", "no input");
    let mut child = command
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
    assert!(child.wait().unwrap().success());
    assert_eq!(command.output().unwrap().stdout, b"", "what is set stays");

    let mut command = sh("exit 0");
    command.output().unwrap();
    let mut child = command.spawn().unwrap();
    assert!(
        child.stdout.is_none() && child.stderr.is_none(),
        "inherited"
    );
    child.wait().unwrap();
}

#[gort::test]
fn a_child_has_the_arguments_environment_and_folder_set() {
    let mut command = sh("pwd; echo $0 $1; echo [$ONE] [$TWO] [$THREE]");
    command
        .arg("zero")
        .args(["one"])
        .env("ONE", "1")
        .envs([("TWO", "2"), ("THREE", "3")])
        .env_remove("TWO")
        .current_dir("/");
    let output = command.output().unwrap();
    assert_eq!(output.stdout, b"/\nzero one\n[1] [] [3]\n");
    assert_eq!(command.get_program(), OsStr::new("/bin/sh"));
    assert_eq!(command.get_args().len(), 4);
    assert_eq!(command.get_current_dir(), Some(Path::new("/")));
    let envs: Vec<_> = command.get_envs().collect();
    assert!(envs.contains(&(OsStr::new("ONE"), Some(OsStr::new("1")))));
    assert!(format!("{command:?}").contains("/bin/sh"));
    let output = Command::new("/usr/bin/env")
        .env_clear()
        .env("A", "b")
        .output();
    assert_eq!(output.unwrap().stdout, b"A=b\n");
}

#[gort::test]
fn a_child_is_talked_to_through_pipes() {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let parts = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    assert_eq!(stdin.write_vectored(&parts).unwrap(), 6);
    let (mut a, mut b) = ([0; 2], [0; 4]);
    let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    let count = stdout.read_vectored(&mut parts).unwrap();
    assert_eq!(&[&a[..], &b[..]].concat()[..count], &b"onetwo"[..count]);
    stdout.read_exact(&mut vec![0; 6 - count]).unwrap();
    // More than both pipes hold: somebody must read meanwhile.
    let writer = gort::go(move || stdin.write_all(&[7; 1 << 20]));
    let mut bytes = Vec::new();
    stdout.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() == 1 << 20 && bytes.iter().all(|&byte| byte == 7));
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
}

#[gort::test]
fn writing_to_a_child_that_does_not_read_any_more_is_an_error() {
    let mut child = sh("exec <&-; exit 0")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let error = stdin.write_all(&[7; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    child.wait().unwrap();
}

const NONBLOCKING: u32 = libc::O_NONBLOCK as u32;

/// The flags of an open file, from the text that `/proc/…/fdinfo` has of it.
fn flags(fdinfo: &str) -> u32 {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    u32::from_str_radix(line.expect(fdinfo).trim(), 8).unwrap()
}

#[gort::test]
fn the_childs_ends_wait_in_the_kernel_and_ours_do_not() {
    for number in [0, 1, 2] {
        let mut child = sh(&format!("cat /proc/$$/fdinfo/{number}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(flags(&text) & NONBLOCKING, 0, "{number}: {text}");
        let own = |fd: i32| fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let ours = [
            stdout.as_raw_fd(),
            child.stdin.as_ref().unwrap().as_raw_fd(),
            child.stderr.as_ref().unwrap().as_raw_fd(),
        ];
        for fd in ours {
            assert_ne!(flags(&own(fd)) & NONBLOCKING, 0, "{fd}");
        }
        child.wait().unwrap();
    }
}

#[gort::test]
fn ends_and_files_become_those_of_other_children() {
    let mut first = Command::new("echo")
        .arg("word")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let end: ChildStdout = first.stdout.take().unwrap();
    // It waits in the kernel again, as the next child expects.
    let output = sh("cat /proc/$$/fdinfo/0; cat")
        .stdin(end)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(flags(&text) & NONBLOCKING, 0, "{text}");
    assert!(text.ends_with("word\n"), "{text}");
    first.wait().unwrap();

    let null = File::options().write(true).open("/dev/null").unwrap();
    let output = sh("echo word").stdout(null).output().unwrap();
    assert_eq!(output.stdout, b"");

    let mut third = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let fd = OwnedFd::from(third.stdin.take().unwrap());
    std::fs::File::from(fd).write_all(b"by std").unwrap();
    let output = third.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"by std");
}

#[gort::test]
fn a_child_of_stds_is_taken_over() {
    let child = std::process::Command::new("echo")
        .arg("word")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = gort::process::Child::from_std(child)
        .unwrap()
        .wait_with_output();
    assert_eq!(output.unwrap().stdout, b"word\n");
}

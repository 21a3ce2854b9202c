//! `CommandExt`.

use std::io::{self, ErrorKind};

use gort::process::{Command, CommandExt};
use gort_test_support::{alone_until_replaced, is_alone};

use super::support::sh;

#[gort::test]
fn a_child_has_another_name_group_and_user_if_set() {
    let output = sh("echo $0").arg0("other").output().unwrap();
    assert_eq!(output.stdout, b"other\n");
    // The fifth field of `stat` is the process group; the first is the process.
    let output = sh("read pid a b c group rest < /proc/$$/stat; echo $((pid - group))")
        .process_group(0)
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"0\n");
    // SAFETY: no preconditions.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    assert!(sh("exit 0").uid(uid).gid(gid).status().unwrap().success());
}

#[gort::test]
fn a_function_runs_in_the_child() {
    let mut command = sh("umask");
    // SAFETY: one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0o177);
            Ok(())
        })
    };
    assert_eq!(command.output().unwrap().stdout, b"0177\n");
    // SAFETY: it makes an error without allocating.
    unsafe { command.pre_exec(|| Err(io::Error::from_raw_os_error(libc::EDOM))) };
    let error = command.output().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EDOM));
}

#[test]
fn exec_becomes_the_program_or_fails() {
    let name = "unix::exec_becomes_the_program_or_fails";
    let text = alone_until_replaced(name, || {
        gort::run(|| {
            gort::go(|| {
                let error = Command::new("/no/such/program").exec();
                assert_eq!(error.kind(), ErrorKind::NotFound);
                panic!("{}", Command::new("echo").arg("I am the program").exec());
            })
            .join()
            .unwrap();
        });
    });
    assert!(is_alone() || text.contains("I am the program"), "{text}");
}

//! Processes: commands, forks, the user that runs us; and names, for which libc loads libraries.

use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::drive::{many, park, scaled};
use crate::native;

pub(super) fn commands_run() {
    many(scaled(100), |i| {
        park();
        let output = Command::new("/bin/echo")
            .arg(format!("word {i}"))
            .output()
            .unwrap();
        park();
        assert_eq!(output.stdout, format!("word {i}\n").into_bytes());
        assert!(Command::new("/no/such/program").spawn().is_err());
        park();
        let status = Command::new("/bin/sh")
            .args(["-c", "exit 7"])
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7));
    });
}

pub(super) fn a_command_with_pre_exec_runs() {
    many(scaled(100), |i| {
        park();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $0", &i.to_string()]);
        // SAFETY: the function makes one system call in the child.
        unsafe {
            command.pre_exec(|| {
                assert_eq!(libc::prctl(libc::PR_SET_NAME, c"prepared".as_ptr()), 0);
                Ok(())
            });
        }
        let output = command.output().unwrap();
        park();
        assert_eq!(output.stdout, format!("{i}\n").into_bytes());
        // An error of the function comes back over a pipe.
        // SAFETY: the function only makes an error.
        unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(libc::EDOM))) };
        assert_eq!(
            command.spawn().unwrap_err().raw_os_error(),
            Some(libc::EDOM)
        );
    });
}

pub(super) fn children_of_gort_are_waited_for() {
    use gort::process::{Command, CommandExt as _, Stdio};
    many(scaled(100), |i| {
        park();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        park();
        let mut stdin = child.stdin.take().unwrap();
        // Ends only when another goroutine lets it.
        let writer = gort::go(move || {
            park();
            write!(stdin, "word {i}")
        });
        if i % 2 == 0 {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.stdout, format!("word {i}").into_bytes());
        } else {
            assert!(child.wait().unwrap().success());
        }
        writer.join().unwrap().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exit 6"]);
        // SAFETY: the function makes one system call in the child.
        unsafe {
            command.pre_exec(|| {
                assert_eq!(libc::prctl(libc::PR_SET_NAME, c"prepared".as_ptr()), 0);
                Ok(())
            });
        }
        assert_eq!(command.status().unwrap().code(), Some(6));
    });
}

/// Waits for a child and gives its exit status; panics if a signal ended it.
fn wait_for(child: libc::pid_t) -> i32 {
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: a child of ours that nobody else waits for.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(
        libc::WIFEXITED(status),
        "the child was ended by signal {}",
        libc::WTERMSIG(status)
    );
    libc::WEXITSTATUS(status)
}

pub(super) fn a_forked_child_can_exec() {
    many(scaled(100), |_| {
        park();
        // SAFETY: the child calls nothing but `execv` and `_exit`, with pointers to constants.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let arguments = [
                c"sh".as_ptr(),
                c"-c".as_ptr(),
                c"exit 9".as_ptr(),
                std::ptr::null(),
            ];
            // SAFETY: as above.
            unsafe {
                libc::execv(c"/bin/sh".as_ptr(), arguments.as_ptr());
                libc::_exit(1);
            }
        }
        assert_eq!(wait_for(child), 9);
        park();
    });
}

pub(super) fn a_forked_child_can_go_on() {
    thread_local!(static VALUE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    many(scaled(100), |i| {
        VALUE.set(i);
        park();
        // SAFETY: POSIX allows the child of a process with threads little, glibc much more: malloc
        // works, and threads can be made. It never returns into the scheduler. (std's threads take
        // locks of std's, which another thread may have held: C's are made.)
        let child = unsafe { libc::fork() };
        if child == 0 {
            let numbers = vec![VALUE.get(); 1_000];
            let sum: usize = numbers.iter().sum();
            // SAFETY: in the child of a fork, as it wants.
            let line = unsafe { native::torture_child_threads() };
            let code = if line == 0 && sum == 1_000 * i { 7 } else { 8 };
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) };
        }
        assert_eq!(wait_for(child), 7);
        park();
        assert_eq!(VALUE.get(), i);
    });
}

pub(super) fn names_are_looked_up() {
    many(scaled(200), |i| {
        park();
        let found: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
        park();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(!found.is_empty());
        if i < 4 {
            let error = ("no-such-host.invalid", 80).to_socket_addrs().unwrap_err();
            park();
            assert!(error.to_string().contains("lookup"), "{error}");
        }
    });
}

/// Sets each id to what it is; works for every user.
fn set_ids_to_what_they_are() {
    // SAFETY: no preconditions; the ids stay as they are.
    unsafe {
        let (user, group) = (libc::getuid(), libc::getgid());
        assert_eq!(libc::setegid(libc::getegid()), 0);
        assert_eq!(libc::setresgid(group, group, group), 0);
        assert_eq!(libc::setgid(group), 0);
        assert_eq!(libc::seteuid(libc::geteuid()), 0);
        assert_eq!(libc::setresuid(user, user, user), 0);
        assert_eq!(libc::setuid(user), 0);
    }
}

pub(super) fn ids_are_set_from_goroutines() {
    many(scaled(100), |_| {
        park();
        set_ids_to_what_they_are();
        park();
        // Refused, whoever we are; the error is this goroutine's.
        // SAFETY: no preconditions; -1 is no user.
        let answer = unsafe { libc::setuid(libc::uid_t::MAX) };
        let error = std::io::Error::last_os_error();
        assert_eq!((answer, error.raw_os_error()), (-1, Some(libc::EINVAL)));
    });
}

pub(super) fn ids_are_set_from_a_thread() {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..scaled(1_000)).for_each(|_| set_ids_to_what_they_are());
            is_over.store(true, Relaxed);
        });
        // Running, parked, in between: libc signals all threads and waits for each.
        many(8, |_| {
            while !is_over.load(Relaxed) {
                for _ in 0..1_000 {
                    std::hint::spin_loop();
                }
                park();
            }
        });
    });
}

pub(super) fn a_goroutine_ends_the_process() {
    // Not the current executable: that may be another libc's loader.
    let program = std::env::args_os().next().expect("the program's path");
    let output = Command::new(program).arg("--exit").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(output.stdout, b"last words");
}

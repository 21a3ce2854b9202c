//! Who waits for a child, and who does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use gort::context::{ContextError, background};
use gort::debug::GoroutineInfo;
use gort::process::{Child, Command, Stdio};
use gort_test_support::{alone, eventually, eventually_parked};

use super::support::sh;

/// A child that ends when its input does.
fn cat() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn waits_for(goroutine: &GoroutineInfo, reason: &str) -> bool {
    let found = goroutine.wait_reason;
    found.is_some_and(|found| found.to_string() == reason)
}

/// One P: whoever held it while it waits would keep the other from ending the child.
#[gort::test(procs = 1)]
fn a_goroutine_that_waits_for_a_child_parks() {
    let mut child = cat();
    let stdin = child.stdin.take();
    let waiter = gort::Builder::new().name("waits for cat");
    let waiter = waiter.go(move || child.wait().unwrap()).unwrap();
    eventually_parked("waits for cat", "IO wait");
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
    eventually_parked("reads from cat", "IO wait");
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

/// In a process of its own, whose threads are counted.
#[test]
fn a_hundred_children_are_waited_for_without_a_thread_each() {
    const CHILDREN: usize = 100;
    let name = "waiting::a_hundred_children_are_waited_for_without_a_thread_each";
    alone(name, || {
        gort::run(|| {
            let mut inputs = Vec::new();
            let waiters: Vec<_> = (0..CHILDREN)
                .map(|_| {
                    let mut child = cat();
                    inputs.push(child.stdin.take());
                    gort::go(move || child.wait().unwrap().success())
                })
                .collect();
            eventually("all wait for their children", || {
                let waiting = gort::debug::goroutines().into_iter();
                let waiting = waiting.filter(|it| waits_for(it, "IO wait"));
                waiting.count() == CHILDREN
            });
            let metrics = gort::runtime::metrics();
            println!("{} threads", metrics.threads);
            let is_own = metrics.tls_mode == gort::runtime::TlsMode::Own;
            assert!(!is_own || metrics.threads < 20, "{}", metrics.threads);
            drop(inputs);
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        });
    });
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

/// Whether it failed for the context's reason.
#[track_caller]
fn assert_ended<T: std::fmt::Debug>(result: std::io::Result<T>, error: ContextError) {
    let failure = result.unwrap_err();
    let inner = failure.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(inner, Some(&error), "{failure:?}");
}

#[gort::test]
fn a_context_ends_the_waits_for_a_child_and_the_child_goes_on() {
    let mut child = cat();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (ctx, cancel) = background().with_cancel();
    let reading = gort::Builder::new().context(&ctx).go(move || {
        let result = stdout.read(&mut [0; 8]);
        (result, stdout)
    });
    let reading = reading.unwrap();
    let id = reading.goroutine().id();
    eventually("it waits for the pipe", || {
        let all = gort::debug::goroutines();
        all.iter().any(|g| g.id == id && waits_for(g, "IO wait"))
    });
    cancel.cancel();
    let (result, mut stdout) = reading.join().unwrap();
    assert_ended(result, ContextError::Canceled);
    assert_ended(ctx.enter(|| stdin.write(b"x")), ContextError::Canceled);
    stdin.write_all(b"on").unwrap();
    assert_eq!(stdout.read(&mut [0; 8]).unwrap(), 2);

    let (ctx, _cancel) = background().with_timeout(Duration::from_millis(5));
    let waited = ctx.enter(|| child.wait());
    assert_ended(waited, ContextError::DeadlineExceeded);
    drop(stdin);
    assert!(child.wait().unwrap().success());
    // What is known already needs no wait.
    assert!(ctx.enter(|| child.wait()).unwrap().success());
}

#[gort::test]
fn a_context_ends_the_wait_for_all_output() {
    let mut all = sh("echo out; echo err >&2; exec cat");
    let mut child = all
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept, so that it does not end.
    let stdin = child.stdin.take();
    let id = child.id();
    let (ctx, _cancel) = background().with_timeout(Duration::from_millis(20));
    let output = ctx.enter(|| child.wait_with_output());
    assert_ended(output, ContextError::DeadlineExceeded);
    assert!(!is_in_table(id));
    drop(stdin);
}

/// Whether there is such a process, be it one that has ended and was not waited for.
fn is_in_table(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

#[gort::test]
fn a_context_ends_a_child_that_nobody_has() {
    let (reader, writer) = gort::io::pipe().unwrap();
    let mut reader = BufReader::new(reader);
    let mut endless = sh("echo $$ >&2; exec sleep 30");
    endless.stderr(writer);
    // As `output`, but standard error is ours to read.
    let runs: [fn(&mut Command) -> std::io::Result<()>; 2] = [
        |command| command.status().map(drop),
        |command| command.output().map(drop),
    ];
    for run in runs {
        let (ctx, cancel) = background().with_cancel();
        gort::scope(|s| {
            let endless = &mut endless;
            let result = s.go(move || ctx.enter(|| run(endless)));
            let mut id = String::new();
            reader.read_line(&mut id).unwrap();
            cancel.cancel();
            assert_ended(result.join().unwrap(), ContextError::Canceled);
            assert!(!is_in_table(id.trim().parse().unwrap()));
        });
    }
}

/// No descriptor is left, so there can be none of the child: a thread waits for it.
#[test]
fn a_context_ends_the_wait_for_a_child_without_a_descriptor() {
    /// The soft limit of descriptors.
    fn limit(count: u64) {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: there is room for what is written, and what is read is there.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit.rlim_cur = count;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
    }

    let name = "waiting::a_context_ends_the_wait_for_a_child_without_a_descriptor";
    alone(name, || {
        let run = gort::Config::new().procs(1).run(|| {
            let mut child = cat();
            let stdin = child.stdin.take();
            let (ctx, _cancel) = background().with_timeout(Duration::from_millis(5));
            limit(0);
            let waited = ctx.enter(|| child.wait());
            assert_ended(waited, ContextError::DeadlineExceeded);
            let (ctx, cancel) = background().with_cancel();
            let waiting = gort::Builder::new().name("waits").context(&ctx);
            let waiting = waiting.go(move || (child.wait(), child)).unwrap();
            // In a select over the end and the context.
            eventually_parked("waits", "select");
            cancel.cancel();
            let (waited, mut child) = waiting.join().unwrap();
            assert_ended(waited, ContextError::Canceled);
            drop(stdin);
            let (ctx, _cancel) = background().with_cancel();
            assert!(ctx.enter(|| child.wait()).unwrap().success());
            assert!(child.wait().unwrap().success());
            limit(64);
        });
        run.unwrap();
    });
}

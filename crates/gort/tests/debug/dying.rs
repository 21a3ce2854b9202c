//! What programs say at a panic, at their end by one, and at SIGQUIT. Each runs as a child: this program
//! again, told which of the functions below to be.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::{Config, PanicPolicy, chan};

use crate::stacks::{has_own_stacks, waiting};

/// Which program to be.
const CHILD: &str = "GORT_TEST_CHILD";

/// Runs `test` of this file as a child, unless this is the child.
fn child(test: &str) -> Option<Child> {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return None;
    }
    let this = std::env::current_exe().expect("a path");
    let mut command = Command::new(this);
    command
        .args([
            &format!("dying::{test}"),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, test)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec only `signal` is called, which is async-signal-safe.
    unsafe { command.pre_exec(dies_of_sigquit) };
    Some(command.spawn().expect("this program can be started"))
}

/// A shell starts what is to run in the background with SIGQUIT ignored, and so these tests.
fn dies_of_sigquit() -> io::Result<()> {
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGQUIT, libc::SIG_DFL) };
    Ok(())
}

/// Waits for its end, with a deadline.
fn end(mut child: Child) -> Output {
    let mut stderr = child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        bytes
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!(
                "hung:\n{}",
                String::from_utf8_lossy(&reader.join().unwrap())
            );
        }
        // waits: looks again, until the deadline
        std::thread::sleep(Duration::from_millis(5));
    };
    Output {
        status,
        stdout: Vec::new(),
        stderr: reader.join().unwrap(),
    }
}

/// Reads the child's output up to the line `text`.
fn until_it_prints(child: &mut Child, text: &str) {
    let stdout = BufReader::new(child.stdout.as_mut().expect("piped"));
    // libtest writes the test's name in front.
    let found = stdout.lines().any(|line| line.unwrap().ends_with(text));
    assert!(found, "it ended before it printed {text}");
}

fn send_sigquit(child: &Child) {
    // SAFETY: `kill` takes any numbers; the child is ours, and has not been waited for.
    let answer = unsafe { libc::kill(child.id().cast_signed(), libc::SIGQUIT) };
    assert_eq!(answer, 0);
}

#[inline(never)]
fn waits_for_the_quit(rx: &chan::Receiver<u32>) -> u32 {
    rx.recv().unwrap() + 1
}

#[test]
fn sigquit_shows_all_goroutines_and_ends_with_2() {
    let Some(mut child) = child("sigquit_shows_all_goroutines_and_ends_with_2") else {
        return gort::run(|| {
            let (_tx, rx) = chan::bounded(0);
            let _waits = gort::Builder::new()
                .name("waits")
                .go(move || waits_for_the_quit(&rx));
            waiting("waits");
            println!("\nready");
            chan::never::<()>().recv().unwrap();
        });
    };
    until_it_prints(&mut child, "ready");
    send_sigquit(&child);
    let output = end(child);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.starts_with("SIGQUIT: quit\n\ngoroutine "),
        "{stderr}"
    );
    assert!(stderr.contains(" \"waits\" [chan receive"), "{stderr}");
    assert!(stderr.contains("created at "), "{stderr}");
    if std::env::var("GORT_TLS").as_deref() != Ok("thread") {
        assert!(stderr.contains("waits_for_the_quit(...)\n\t"), "{stderr}");
    }
}

#[inline(never)]
fn yields_deep_inside(began: &AtomicBool) {
    began.store(true, Ordering::Release);
    loop {
        gort::yield_now();
        std::hint::black_box(());
    }
}

/// With more above it on the stack than is looked at.
#[inline(never)]
fn yields_below_a_large_frame(began: &AtomicBool) {
    let room = std::hint::black_box([0_u8; 40_000]);
    yields_deep_inside(began);
    std::hint::black_box(&room);
}

/// What `look` finds. It looks until it finds something: even with one P another goroutine may have run
/// since, as an M that waits in the kernel (to read the names of functions, say) loses its P.
#[track_caller]
fn once_seen<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        let text = gort::debug::stacks();
        assert!(Instant::now() < deadline, "never seen:\n{text}");
        gort::yield_now();
    }
}

/// The goroutine of this name, if it is runnable now.
fn runnable(name: &str) -> Option<gort::debug::GoroutineInfo> {
    let mut all = gort::debug::goroutines().into_iter();
    let info = all.find(|info| info.name.as_deref() == Some(name));
    let info = info.expect("it is there");
    (info.state == gort::debug::State::Runnable).then_some(info)
}

#[test]
fn runnable_goroutines_have_stacks_too() {
    let Some(child) = child("runnable_goroutines_have_stacks_too") else {
        let config = Config::new().procs(1).preempt(false);
        return config
            .run(|| {
                let go = |name: &str, f: fn(&AtomicBool)| {
                    let began = Arc::new(AtomicBool::new(false));
                    let theirs = Arc::clone(&began);
                    let builder = gort::Builder::new().name(name);
                    builder.go(move || f(&theirs)).unwrap();
                    began
                };

                let began = go("yields", yields_below_a_large_frame);
                once_seen(|| began.load(Ordering::Acquire).then_some(()));
                let info = once_seen(|| runnable("yields"));
                let frames = info.frames();
                let mut functions = frames.iter().map(|frame| &*frame.function);
                if has_own_stacks() {
                    let at_top = functions.next().unwrap_or_default();
                    assert!(at_top.contains("yield_now"), "{frames:#?}");
                    assert!(
                        functions.any(|function| function.contains("yields_deep_inside")),
                        "{frames:#?}"
                    );
                    assert!(!info.addresses().is_empty());
                } else {
                    assert_eq!(functions.next(), None, "{frames:#?}");
                }

                // Each look needs one of its own: who has begun is not new any more.
                let mut number = 0;
                let mut new = || {
                    number += 1;
                    let name = format!("new {number}");
                    let began = go(&name, yields_deep_inside);
                    (name, began)
                };
                let info = once_seen(|| {
                    let (name, began) = new();
                    let info = runnable(&name);
                    info.filter(|_| !began.load(Ordering::Acquire))
                });
                assert!(info.frames().is_empty(), "{:#?}", info.frames());
                let (name, text) = once_seen(|| {
                    let (name, began) = new();
                    let text = gort::debug::stacks();
                    let is_new = !began.load(Ordering::Acquire);
                    let runnable = format!(" \"{name}\" [runnable");
                    (is_new && text.contains(&runnable)).then_some((runnable, text))
                });
                let (_, new) = text.split_once(&name).expect(&text);
                let second_line = new.lines().nth(1).unwrap_or_default();
                assert!(second_line.starts_with("created at "), "{text}");
            })
            .unwrap();
    };
    let output = end(child);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

#[test]
fn sigquit_is_not_taken_where_that_was_not_wanted() {
    let Some(mut child) = child("sigquit_is_not_taken_where_that_was_not_wanted") else {
        return Config::new()
            .signals(false)
            .run(|| {
                println!("\nready");
                chan::never::<()>().recv().unwrap();
            })
            .unwrap();
    };
    until_it_prints(&mut child, "ready");
    send_sigquit(&child);
    let output = end(child);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), None, "by the signal: {stderr}");
    assert!(!stderr.contains("goroutine "), "{stderr}");
}

#[test]
fn an_implicit_runtime_takes_no_sigquit() {
    let Some(mut child) = child("an_implicit_runtime_takes_no_sigquit") else {
        let handle = gort::go(|| {
            println!("\nready");
            chan::never::<()>().recv().unwrap();
        });
        return handle.join().unwrap();
    };
    until_it_prints(&mut child, "ready");
    send_sigquit(&child);
    assert_eq!(end(child).status.code(), None);
}

#[test]
fn a_panic_says_which_goroutine_it_was() {
    let Some(child) = child("a_panic_says_which_goroutine_it_was") else {
        gort::run(|| {
            let named = gort::Builder::new().name("breaks");
            named
                .go(|| panic!("the message"))
                .unwrap()
                .join()
                .unwrap_err();
            gort::go(|| gort::goexit()).join().unwrap_err();
        });
        let _ = std::panic::catch_unwind(|| panic!("on a plain thread"));
        return;
    };
    let output = end(child);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let (_, after) = stderr.split_once("the message\n").expect(&stderr);
    let line = after.lines().find(|line| line.starts_with("goroutine "));
    let line = line.unwrap_or_else(|| panic!("{stderr}"));
    let created = format!(" (\"breaks\"), created at {}:", file!());
    assert!(line.contains(&created), "{line}");
    assert!(line.ends_with(" in goroutine 1"), "{line}");
    assert!(stderr.contains("on a plain thread"), "{stderr}");
    let lines = stderr.lines().filter(|line| line.starts_with("goroutine "));
    assert_eq!(
        lines.count(),
        1,
        "not at goexit, nor on a plain thread: {stderr}"
    );
}

#[inline(never)]
fn panics_deep_inside() {
    panic!("the last message");
}

#[test]
fn where_a_panic_is_to_end_the_process_all_goroutines_are_shown() {
    let Some(child) = child("where_a_panic_is_to_end_the_process_all_goroutines_are_shown") else {
        let config = Config::new().panic(PanicPolicy::Abort);
        return config
            .run(|| {
                let _caught = std::panic::catch_unwind(|| panic!("a caught one"));
                let (_tx, rx) = chan::bounded(0);
                let other = gort::Builder::new().name("waits");
                let _waits = other.go(move || waits_for_the_quit(&rx));
                waiting("waits");
                let last = gort::Builder::new().name("panics");
                let _ = last.go(panics_deep_inside).unwrap().join();
                println!("\nstill here");
            })
            .unwrap();
    };
    let output = end(child);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let (_, dump) = stderr.split_once("the last message\n").expect(&stderr);
    let (_, dump) = dump.split_once("\n\ngoroutine ").expect(&stderr);
    let first = dump.split("\n\n").next().unwrap_or_default();
    assert!(first.contains(" \"panics\" [running"), "{stderr}");
    assert!(first.contains("panics_deep_inside(...)\n\t"), "{stderr}");
    assert!(dump.contains(" \"waits\" [chan receive"), "{stderr}");
}

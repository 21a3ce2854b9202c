//! What programs say at a panic, at their end by one, and at SIGQUIT. Each runs as a child: this program
//! again, told which of the functions below to be.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
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
    let child = Command::new(this)
        .args([
            &format!("dying::{test}"),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, test)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Some(child.expect("this program can be started"))
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
    let sent = Command::new("kill")
        .args(["-QUIT", &child.id().to_string()])
        .status();
    assert!(sent.expect("there is a kill").success());
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
fn yields_deep_inside() {
    loop {
        gort::yield_now();
        std::hint::black_box(());
    }
}

/// With more above it on the stack than is looked at.
#[inline(never)]
fn yields_below_a_large_frame() {
    let room = std::hint::black_box([0_u8; 40_000]);
    yields_deep_inside();
    std::hint::black_box(&room);
}

/// One P, and nobody loses it: while one runs, all others are as they are.
#[test]
fn runnable_goroutines_have_stacks_too() {
    let Some(child) = child("runnable_goroutines_have_stacks_too") else {
        let config = Config::new().procs(1).preempt(false);
        return config
            .run(|| {
                let named = |name: &str| gort::Builder::new().name(name);
                named("yields").go(yields_below_a_large_frame).unwrap();
                // It comes before us in the line now, or was there and has put us before itself.
                gort::yield_now();
                gort::yield_now();
                named("new").go(yields_deep_inside).unwrap();
                let all = gort::debug::goroutines();
                for name in ["yields", "new"] {
                    let mut all = all.iter();
                    let info = all.find(|info| info.name.as_deref() == Some(name));
                    let info = info.expect("it is there");
                    assert_eq!(info.state, gort::debug::State::Runnable, "{name}");
                    let frames = info.frames();
                    let mut functions = frames.iter().map(|frame| &*frame.function);
                    if name == "new" || !has_own_stacks() {
                        assert_eq!(functions.next(), None, "{name}: {frames:#?}");
                        continue;
                    }
                    let at_top = functions.next().unwrap_or_default();
                    assert!(at_top.contains("yield_now"), "{frames:#?}");
                    assert!(
                        functions.any(|function| function.contains("yields_deep_inside")),
                        "{frames:#?}"
                    );
                    assert!(!info.addresses().is_empty());
                }
                let text = gort::debug::stacks();
                let (_, new) = text.split_once(" \"new\" [runnable").expect(&text);
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

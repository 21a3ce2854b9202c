//! Goroutines that hold their turns are found, with true times and the function that is to blame.
//!
//! Stalls are the process's, so each case is a process of its own: this program again.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::runtime::{Stall, StallKind, metrics};

/// Which case to be.
const CASE: &str = "GORT_TEST_CASE";

/// How long a case stalls, at least.
const STALL: Duration = Duration::from_millis(120);

fn command(name: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a file"));
    command
        .args(["--exact", "the_case", "--nocapture"])
        .env_remove("GORT_SHAKE")
        .env(CASE, name)
        .envs(variables.iter().copied());
    command
}

#[track_caller]
fn assert_case(name: &str, variables: &[(&str, &str)]) -> String {
    let output = command(name, variables)
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {said}");
    said
}

// ---- the cases, run in the child ----

#[test]
fn the_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    match &*case {
        "read" => gort::run(reads),
        "lock" => gort::run(locks),
        "compute" => gort::run(computes),
        "compute askew" => gort::run(computes_askew),
        "compute alone" => gort::run(computes_alone),
        "announced" => gort::run(announces),
        "twice" => gort::run(reads_twice),
        "twice, and stay" => gort::run(reads_and_stays),
        "read until found" => gort::run(reads_until_found),
        "compute until found" => gort::run(computes_until_found),
        "read for ever" => gort::run(reads_for_ever),
        other => panic!("no case {other}"),
    }
}

/// Runs `stalls`, which gives the time that its stall took, as a goroutine until one is found of which `is_it` is
/// true, and whose time is right: neither longer than from before the goroutine's start until after its end, nor much
/// shorter than it says itself. What may be missing is what had passed when sysmon saw the last switch.
///
/// That is at once, unless sysmon gets no processor all the while.
#[track_caller]
fn until_found(
    stalls: impl Fn() -> Duration + Copy + Send + 'static,
    is_it: impl Fn(&Stall) -> bool,
) -> Stall {
    let mut longest_around = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let itself = gort::go(stalls).join().unwrap();
        longest_around = longest_around.max(began.elapsed());
        let found = metrics().stalls.into_iter().find(&is_it);
        if let Some(found) = &found {
            let longest = found.longest();
            assert!(
                longest <= longest_around,
                "{longest:?} of {longest_around:?}"
            );
        }
        if let Some(found) = found.filter(|found| found.longest() >= itself / 2) {
            return found;
        }
    }
    panic!("only {:#?}", metrics().stalls);
}

fn has_function(stall: &Stall, name: &str) -> bool {
    let mut frames = stall.frames().into_iter();
    frames.any(|frame| frame.function.contains(name))
}

#[inline(never)]
fn reads_a_pipe_that_is_empty(mut pipe: &std::io::PipeReader) {
    let mut byte = [0];
    assert_eq!(pipe.read(&mut byte).unwrap(), 1);
    black_box(byte);
}

/// Reads a pipe that stays empty for a while from now on. Gives the time it took.
fn read_late_pipe() -> Duration {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let filler = std::thread::spawn(move || {
        told.recv().unwrap();
        // waits: the length of the stall is what is tested
        std::thread::sleep(STALL);
        writer.write_all(&[1]).unwrap();
    });
    let began = Instant::now();
    tell.send(()).unwrap();
    reads_a_pipe_that_is_empty(&reader);
    let took = began.elapsed();
    drop(filler);
    took
}

/// The goroutine does nothing after the call: its function is found in the call or nowhere.
fn reads() {
    let stall = until_found(read_late_pipe, |stall| {
        // One whose stack could not be had is another.
        stall.kind().to_string() == "blocking read"
            && has_function(stall, "reads_a_pipe_that_is_empty")
    });
    assert_eq!(stall.created_at().file(), file!());
    let text = stall.to_string();
    assert!(text.starts_with("blocking read in "), "{text}");
    assert!(text.contains("reads_a_pipe_that_is_empty"), "{text}");
    assert!(text.contains(file!()), "{text}");
    assert!(
        has_function(&stall, "read_late_pipe"),
        "{:#?}",
        stall.frames()
    );
}

fn reads_twice() {
    let stall = until_found(read_late_pipe, |stall| stall.count() == 2);
    assert!(stall.longest() < stall.total(), "{stall:?}");
    assert!(stall.total() <= stall.longest() * 2, "{stall:?}");
    assert!(stall.total() >= STALL, "{stall:?}");
}

/// For the log: goes on until its input ends.
fn reads_and_stays() {
    reads_twice();
    gort::blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).unwrap();
}

#[inline(never)]
fn waits_for_a_lock(lock: &std::sync::Mutex<u32>) -> u32 {
    *lock.lock().unwrap()
}

fn wait_for_a_held_lock() -> Duration {
    static LOCK: std::sync::Mutex<u32> = std::sync::Mutex::new(7);
    let (tell_held, is_held) = std::sync::mpsc::channel();
    let (tell, told) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _guard = LOCK.lock().unwrap();
        tell_held.send(()).unwrap();
        told.recv().unwrap();
        // waits: the length of the stall is what is tested
        std::thread::sleep(STALL);
    });
    gort::blocking(|| is_held.recv()).unwrap();
    let began = Instant::now();
    tell.send(()).unwrap();
    assert_eq!(waits_for_a_lock(&LOCK), 7);
    let took = began.elapsed();
    drop(holder);
    took
}

fn locks() {
    let stall = until_found(wait_for_a_held_lock, |stall| {
        has_function(stall, "waits_for_a_lock")
    });
    assert_eq!(stall.kind().to_string(), "blocking futex");
}

#[inline(never)]
fn computes_without_end_in_sight() {
    let began = Instant::now();
    while black_box(began).elapsed() < STALL {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn computes_until(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

// As `computes_until`, in a frame with one word more than its rules for unwinding know of: what is taken for its return
// address leads to no memory.
std::arch::global_asm!(
    ".globl gort_test_computes_askew",
    ".type gort_test_computes_askew, @function",
    "gort_test_computes_askew:",
    ".cfi_startproc",
    "push 0x1234",
    "2:",
    "pause",
    "cmp byte ptr [rdi], 0",
    "je 2b",
    "add rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size gort_test_computes_askew, . - gort_test_computes_askew",
);

unsafe extern "C" {
    fn gort_test_computes_askew(flag: &AtomicBool);
}

fn computes() {
    computes_beside_another(computes_until, "computes_until");
}

fn computes_askew() {
    // SAFETY: it keeps what callers rely on, and reads the flag.
    let compute = |flag: &AtomicBool| unsafe { gort_test_computes_askew(flag) };
    computes_beside_another(compute, "gort_test_computes_askew");
}

/// Others want the turn, so that the loops are stopped by the signal, and found while they go on.
fn computes_beside_another(compute: fn(&AtomicBool), name: &str) {
    static STOP: AtomicBool = AtomicBool::new(false);
    let loops = [0, 1].map(|_| gort::go(move || compute(&STOP)));
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_found = || {
        let mut stalls = metrics().stalls.into_iter();
        stalls.any(|stall| stall.kind() == StallKind::Computing && has_function(&stall, name))
    };
    while !is_found() {
        assert!(Instant::now() < deadline, "{:#?}", metrics().stalls);
        // waits: a timer that is due more often takes the turn from a loop before that is a stall
        gort::time::sleep(STALL);
    }
    STOP.store(true, Ordering::Relaxed);
    for computing in loops {
        computing.join().unwrap();
    }
}

#[inline(never)]
fn computes_and_comes_back() -> Duration {
    let began = Instant::now();
    computes_without_end_in_sight();
    let took = began.elapsed();
    gort::yield_now();
    black_box(took)
}

/// Nobody wants the turn: no signal is sent, and the stack is that of the return.
fn computes_alone() {
    let stall = until_found(computes_and_comes_back, |stall| {
        has_function(stall, "computes_and_comes_back")
    });
    assert_eq!(stall.kind(), StallKind::Computing);
}

/// Has `stalls` hold its turn until it is found meanwhile, by `is_it`; then calls `end_it`. What is counted of it
/// then and at its end is one stall.
#[track_caller]
fn until_found_meanwhile(
    stalls: impl FnOnce() + Send + 'static,
    is_it: impl Fn(&Stall) -> bool,
    end_it: impl FnOnce(),
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let stalled = gort::go(stalls);
    let found = loop {
        let found = metrics().stalls.into_iter().find(&is_it);
        if let Some(found) = found {
            break found;
        }
        assert!(Instant::now() < deadline, "{:#?}", metrics().stalls);
        // waits: a timer that is due more often would make of it another case
        gort::time::sleep(STALL);
    };
    assert!(!stalled.is_finished());
    assert_eq!(found.count(), 1);
    assert!(found.longest() >= Duration::from_millis(500), "{found}");
    assert!(found.to_string().contains(" ms so far; "), "{found}");
    end_it();
    stalled.join().unwrap();
    let ended = loop {
        let all = metrics().stalls;
        let ended = all.iter().find(|stall| is_it(stall)).unwrap();
        if !ended.to_string().contains(" so far") {
            break ended.clone();
        }
        assert!(Instant::now() < deadline, "{all:#?}");
        gort::time::sleep(Duration::from_millis(1)); // waits: looks again, until the deadline
    };
    assert_eq!(ended.count(), 1, "{ended:?}");
    assert_eq!(ended.total(), ended.longest());
    assert!(ended.longest() > found.longest(), "{ended:?}");
}

fn reads_until_found() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    until_found_meanwhile(
        move || reads_a_pipe_that_is_empty(&reader),
        |stall| {
            stall.kind().to_string() == "blocking read"
                && has_function(stall, "reads_a_pipe_that_is_empty")
        },
        || writer.write_all(&[1]).unwrap(),
    );
}

/// For the log: its turn is taken at once, and then nobody wants any. Goes on until its input ends.
fn reads_for_ever() {
    let (reader, writer) = std::io::pipe().unwrap();
    gort::go(move || reads_a_pipe_that_is_empty(&reader));
    gort::time::sleep(Duration::from_millis(1)); // waits: its timer has the turn taken
    gort::blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).unwrap();
    std::mem::forget(writer);
}

/// Nobody wants its turn, so nobody stops it.
fn computes_until_found() {
    static STOP: AtomicBool = AtomicBool::new(false);
    until_found_meanwhile(
        || computes_until(&STOP),
        |stall| stall.kind() == StallKind::Computing && has_function(stall, "computes_until"),
        || STOP.store(true, Ordering::Relaxed),
    );
}

/// A call that is announced holds nobody up.
fn announces() {
    // waits: it is the length of a call
    let sleeps = || std::thread::sleep(STALL);
    gort::go(move || gort::blocking(sleeps)).join().unwrap();
    // waits: it is the length of a park
    let parks = || gort::time::sleep(STALL);
    gort::go(parks).join().unwrap();
    let stalls = metrics().stalls;
    assert!(
        !stalls
            .iter()
            .any(|stall| stall.kind().to_string().contains("sleep")),
        "{stalls:#?}"
    );
}

// ---- the tests ----

#[test]
fn a_blocking_read_is_found_in_the_call() {
    assert_case("read", &[]);
    assert_case("read", &[("GORT_PROCS", "1")]);
    assert_case("read", &[("GORT_TLS", "thread")]);
}

#[test]
fn stalls_of_one_place_are_counted_together() {
    assert_case("twice", &[]);
}

#[test]
fn a_lock_that_is_held_elsewhere_is_a_futex() {
    assert_case("lock", &[]);
    assert_case("lock", &[("GORT_PROCS", "1")]);
}

/// Compilers get the rules wrong too, here and there between two calls.
#[test]
fn a_computation_is_found_where_the_rules_for_unwinding_are_wrong() {
    assert_case("compute askew", &[("GORT_PROCS", "1")]);
    let thread_mode = [("GORT_PROCS", "1"), ("GORT_TLS", "thread")];
    assert_case("compute askew", &thread_mode);
}

#[test]
fn a_computation_is_found() {
    assert_case("compute", &[("GORT_PROCS", "1")]);
    assert_case("compute alone", &[("GORT_PROCS", "4")]);
}

#[test]
fn an_announced_call_is_none() {
    assert_case("announced", &[]);
    assert_case("announced", &[("GORT_PROCS", "1")]);
}

#[test]
fn a_call_that_never_ends_is_found_meanwhile() {
    assert_case("read until found", &[("GORT_PROCS", "1")]);
    assert_case("read until found", &[("GORT_PROCS", "4")]);
    let said = assert_case(
        "read until found",
        &[("GORT_TLS", "thread"), ("GORT_STALL", "log")],
    );
    let about: Vec<_> = said
        .lines()
        .filter(|line| is_about_the_read(line))
        .collect();
    assert_eq!(about.len(), 1, "{said}");
    assert!(about[0].contains(" ms so far; goroutine "), "{said}");
}

#[test]
fn a_computation_that_never_ends_is_found_meanwhile() {
    assert_case("compute until found", &[("GORT_PROCS", "4")]);
    assert_case(
        "compute until found",
        &[("GORT_PROCS", "4"), ("GORT_TLS", "thread")],
    );
}

fn is_about_the_read(line: &str) -> bool {
    line.starts_with("gort: stall: blocking read in ")
        && line.contains("reads_a_pipe_that_is_empty")
}

/// Runs a case that goes on until its input ends, until it has written a line about the read to its log. All that it
/// has written.
fn until_it_logs(name: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let mut child = command(name, variables)
        .env("GORT_STALL", "log")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program can be started");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in stderr.lines() {
            // Nobody listens after a failure.
            let _ = tell.send(line.expect("UTF-8"));
        }
    });
    let mut said = Vec::new();
    while !said
        .last()
        .is_some_and(|line: &String| is_about_the_read(line))
    {
        match told.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => said.push(line),
            Err(error) => {
                let _ = child.kill();
                panic!("{error}: {said:#?}");
            }
        }
    }
    drop(child.stdin.take());
    assert!(child.wait().expect("it is ours").success());
    reader.join().expect("it only reads");
    said.extend(told.try_iter());
    said
}

#[test]
fn the_log_has_one_line_for_each_place() {
    let said = until_it_logs("twice, and stay", &[]);
    let about: Vec<_> = said.iter().filter(|line| is_about_the_read(line)).collect();
    assert_eq!(about.len(), 1, "{said:#?}");
    assert!(about[0].contains(" ms; goroutine "), "{said:#?}");
    assert!(about[0].contains(file!()), "{said:#?}");
}

#[test]
fn a_call_that_never_ends_is_logged_though_nobody_else_does_anything() {
    for procs in ["1", "4"] {
        let said = until_it_logs("read for ever", &[("GORT_PROCS", procs)]);
        let line = said.last().expect("it has logged");
        assert!(line.contains(" ms so far; goroutine "), "{line}");
    }
}

#[test]
fn without_the_setting_nothing_is_logged() {
    for value in ["off", ""] {
        let said = assert_case("twice", &[("GORT_STALL", value)]);
        assert!(!said.contains("gort: stall"), "{said}");
    }
}

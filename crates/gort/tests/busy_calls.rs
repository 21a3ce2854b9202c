//! Goroutines that call the runtime all the time, and never wait there: their turns end all the same, at one of these
//! calls. A program of its own: it has numbers of the whole process, and switches preemption off.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::chan;
use gort::runtime::metrics;

/// Set in a child: which case it is.
const CASE: &str = "GORT_TEST_CASE";

/// Turns that the other gets.
const TURNS: u64 = 50;

/// Sends and receives until `is_over`, and never waits. Of the time most is inside the runtime.
fn call_all_the_time(is_over: &AtomicBool) {
    let (sender, receiver) = chan::bounded(1);
    while !is_over.load(Ordering::Relaxed) {
        sender.try_send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
    }
}

/// Nobody can stop the caller by a signal from now on.
fn block_sigurg() {
    // SAFETY: a set on the stack, filled before it is read; the mask is the thread's own.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGURG);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Has turns beside one that calls all the time, after `before`.
fn have_turns_beside(before: fn()) {
    let is_over = AtomicBool::new(false);
    gort::scope(|s| {
        s.go(|| {
            before();
            call_all_the_time(&is_over);
        });
        for _ in 0..TURNS {
            gort::yield_now();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// At a turn's end its P is to be taken, and that meets it on its way in. It is not left at that.
fn cannot_be_signalled() {
    have_turns_beside(block_sigurg);
    let races = metrics().retake_races;
    assert!(races <= 4 * TURNS, "{races} of {TURNS} turns");
}

/// What holds its turn without a switch for long is counted for as long as it did, and not again and again since then.
fn stalls(began: Instant) {
    const STALLS: u64 = 20;
    let (sender, receiver) = chan::bounded(1);
    loop {
        for _ in 0..1_000 {
            sender.try_send(1).unwrap();
            assert_eq!(receiver.try_recv(), Ok(1));
        }
        let stalls = metrics().stalls;
        let total: Duration = stalls.iter().map(|stall| stall.total()).sum();
        assert!(total <= began.elapsed(), "{stalls:#?}");
        if stalls.iter().map(|stall| stall.count()).sum::<u64>() >= STALLS {
            return;
        }
    }
}

#[test]
fn the_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    abort_after(Duration::from_secs(100));
    match &*case {
        "cannot be signalled" => gort::run(cannot_be_signalled),
        "no preemption" => gort::Config::new()
            .preempt(false)
            .run(|| have_turns_beside(|| ()))
            .unwrap(),
        "stalls" => {
            // Before the first switch, from which on is counted.
            let began = Instant::now();
            gort::run(|| stalls(began));
        }
        other => panic!("no case {other}"),
    }
}

/// Ends a case that hangs, with all goroutines.
fn abort_after(limit: Duration) {
    std::thread::spawn(move || {
        // waits: a deadline; who is done by then has ended the process
        std::thread::sleep(limit);
        eprintln!("not done after {limit:?}\n{}", gort::runtime::stacks());
        std::process::abort();
    });
}

#[track_caller]
fn assert_case(name: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", "the_case", "--nocapture"])
        .env_remove("GORT_SHAKE")
        .env("GORT_PROCS", "1")
        .env(CASE, name)
        .envs(variables.iter().copied())
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {variables:?}: {said}");
}

#[test]
fn one_that_cannot_be_signalled_gives_way_at_a_call() {
    assert_case("cannot be signalled", &[]);
    assert_case("cannot be signalled", &[("GORT_TLS", "thread")]);
    assert_case("cannot be signalled", &[("GORT_SHAKE", "1")]);
}

#[test]
fn without_preemption_it_gives_way_at_a_call() {
    assert_case("no preemption", &[]);
    assert_case("no preemption", &[("GORT_TLS", "thread")]);
    assert_case("no preemption", &[("GORT_SHAKE", "1")]);
}

#[test]
fn its_stalls_are_no_longer_than_it_ran() {
    assert_case("stalls", &[]);
    assert_case("stalls", &[("GORT_TLS", "thread")]);
}

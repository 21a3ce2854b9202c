//! A P that the network never leaves without work, beside one whose goroutine computes: what waits on that one has its
//! turn all the same. A program of its own: it has two Ps and no preemption, so that nothing else helps.

use std::hint::spin_loop;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gort::net::UnixStream;
use gort::time::after_func;

/// Ends a test that hangs, with all goroutines.
const LIMIT: Duration = Duration::from_secs(20);

/// Goroutines that wait behind the one that computes: more than a theft of half a queue takes at once.
const WAITING: u64 = 100;

/// Messages after which the two that talk are taken to go on with it.
const MESSAGES: u64 = 10;

/// And after which who waits on the other P has had its turn. With the network first it is some 50,000 by luck, or never.
const MEANWHILE_MAX: u64 = 5_000;

/// Each is by itself.
const ROUNDS: usize = 5;

/// A message goes to and fro, so that each look at the network finds who it has come to.
fn talk(mut stream: UnixStream, messages: &AtomicU64, is_over: &AtomicBool) {
    let mut message = [0; 1];
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&message).unwrap();
        stream.read_exact(&mut message).unwrap();
        messages.fetch_add(1, Ordering::Relaxed);
    }
    // The other side waits for one more.
    let _ = stream.write_all(&message);
}

/// Computes on one P until `is_served`, while the other one always has a message to read. `begin` runs once that is so.
fn compute_beside_a_busy_network(begin: impl FnOnce() + Send, is_served: impl Fn() -> bool + Sync) {
    let (messages, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (one, other) = UnixStream::pair().unwrap();
    gort::scope(|s| {
        s.go(|| talk(one, &messages, &is_over));
        s.go(|| talk(other, &messages, &is_over));
        s.go(|| {
            let deadline = Instant::now() + LIMIT;
            let compute_until = |is_so: &dyn Fn() -> bool| {
                while !is_so() && Instant::now() < deadline {
                    spin_loop();
                }
            };
            // As we do not leave our P meanwhile, both are on the other one.
            let first = messages.load(Ordering::Relaxed);
            compute_until(&|| messages.load(Ordering::Relaxed) >= first + MESSAGES);
            begin();
            let before = messages.load(Ordering::Relaxed);
            compute_until(&is_served);
            let meanwhile = messages.load(Ordering::Relaxed) - before;
            is_over.store(true, Ordering::Relaxed);
            assert!(is_served(), "{}", gort::runtime::stacks());
            assert!(meanwhile <= MEANWHILE_MAX, "after {meanwhile} messages");
        });
    });
}

/// The runtime is the process's, so one test at a time.
fn run(main: fn()) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    for _ in 0..ROUNDS {
        gort::Config::new()
            .procs(2)
            .preempt(false)
            .run(main)
            .unwrap();
    }
}

#[test]
fn those_who_wait_behind_the_one_that_computes_run() {
    run(|| {
        let served = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&served);
        let begin = move || {
            for _ in 0..WAITING {
                let counted = Arc::clone(&counted);
                gort::go(move || counted.fetch_add(1, Ordering::Relaxed));
            }
        };
        compute_beside_a_busy_network(begin, || served.load(Ordering::Relaxed) == WAITING);
    });
}

#[test]
fn a_timer_of_the_p_that_computes_fires() {
    run(|| {
        let fired = Arc::new(AtomicBool::new(false));
        let fires = Arc::clone(&fired);
        let begin = move || {
            after_func(Duration::from_millis(1), move || {
                fires.store(true, Ordering::Relaxed);
            })
            .detach();
        };
        compute_beside_a_busy_network(begin, || fired.load(Ordering::Relaxed));
    });
}

#[test]
fn in_thread_mode_it_is_the_same() {
    const CHILD: &str = "GORT_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .env(CHILD, "1")
        .env("GORT_TLS", "thread")
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

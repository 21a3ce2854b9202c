//! `GORT_SHAKE` and `GORT_SHAKE_MIGRATE` do what they say. They are read at start, so each test runs
//! its body in a process of its own.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs the test `name` once more, in a process with the variables given. False in that process.
fn is_parent(name: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "SHAKE_TEST_CHILD";
    if std::env::var_os(MARK).is_some() {
        return false;
    }
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("the test runs once more");
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// The OS thread, as the kernel sees it.
fn thread_id() -> std::path::PathBuf {
    std::fs::read_link("/proc/thread-self").expect("/proc is mounted")
}

/// A stop is a yield here.
#[test]
fn a_goroutine_changes_its_thread_at_each_stop() {
    let variables = [
        ("GORT_SHAKE_MIGRATE", "1"),
        ("GORT_PROCS", "2"),
        ("GORT_TLS", "own"),
    ];
    if is_parent("a_goroutine_changes_its_thread_at_each_stop", &variables) {
        return;
    }
    const GOROUTINES: usize = 20;
    const STOPS: usize = 500;
    let moved = AtomicUsize::new(0);
    gort::scope(|scope| {
        for _ in 0..GOROUTINES {
            scope.go(|| {
                for _ in 0..STOPS {
                    let before = thread_id();
                    gort::yield_now();
                    moved.fetch_add(usize::from(thread_id() != before), Ordering::Relaxed);
                }
            });
        }
    });
    let moved = moved.into_inner();
    if gort::runtime::metrics().tls_mode == gort::runtime::TlsMode::Thread {
        assert_eq!(moved, 0, "in thread mode a goroutine is a thread");
        return;
    }
    // The rest is the machine's: while one M does not get a processor, the other runs them all.
    println!("{moved} of {} stops", GOROUTINES * STOPS);
    assert!(moved > GOROUTINES * STOPS / 2, "{moved}");
}

#[test]
fn the_order_differs_from_seed_to_seed() {
    let name = "the_order_differs_from_seed_to_seed";
    if std::env::var_os("SHAKE_TEST_CHILD").is_some() {
        // On one P the order is the choices' alone.
        let order = std::sync::Mutex::new(Vec::new());
        gort::run(|| {
            gort::scope(|scope| {
                for i in 0..30 {
                    let order = &order;
                    scope.go(move || order.lock().unwrap().push(i));
                }
            });
        });
        println!("order: {:?}", order.into_inner().unwrap());
        return;
    }
    let orders: HashSet<String> = ["1", "2", "3", "4"]
        .into_iter()
        .map(|seed| {
            let output = Command::new(std::env::current_exe().expect("a test has a file"))
                .args(["--exact", name, "--nocapture"])
                .env("SHAKE_TEST_CHILD", "1")
                .env("GORT_SHAKE", seed)
                .env("GORT_PROCS", "1")
                .output()
                .expect("the test runs once more");
            let text = String::from_utf8(output.stdout).expect("the test prints text");
            let order = text.lines().find(|line| line.contains("order: "));
            order.expect("the child prints the order").to_owned()
        })
        .collect();
    assert!(orders.len() > 1, "{orders:?}");
}

//! `GORT_SHAKE`, `GORT_SHAKE_MIGRATE` and a test's own seed do what they say. They are read at start, so each test runs
//! its body in a process of its own.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs the test `name` once more, in a process with the variables given. False in that process.
fn is_parent(name: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "SHAKE_TEST_CHILD";
    if std::env::var_os(MARK).is_some() {
        return false;
    }
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", name, "--nocapture"])
        .env_remove("GORT_SHAKE")
        .env_remove("GORT_SHAKE_MIGRATE")
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
    // What is not made to moves at less than one stop of a hundred. The rest is the machine's, and spoils a round:
    // while one M does not get a processor, the other runs them all.
    let mut rounds = vec![moves_at_stops()];
    if gort::runtime::metrics().tls_mode == gort::runtime::TlsMode::Thread {
        assert_eq!(rounds, [0], "in thread mode a goroutine is a thread");
        return;
    }
    while rounds.len() < 10 && rounds.last() <= Some(&(GOROUTINES * STOPS / 2)) {
        rounds.push(moves_at_stops());
    }
    println!("{rounds:?} of {} stops", GOROUTINES * STOPS);
    assert!(
        rounds.last() > Some(&(GOROUTINES * STOPS / 2)),
        "{rounds:?}"
    );
}

const GOROUTINES: usize = 20;
const STOPS: usize = 500;

/// After how many of their stops goroutines were on another thread.
fn moves_at_stops() -> usize {
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
    moved.into_inner()
}

#[test]
fn the_order_differs_from_seed_to_seed() {
    let name = "the_order_differs_from_seed_to_seed";
    if std::env::var_os("SHAKE_TEST_CHILD").is_some() {
        // On one P the order is the choices' alone.
        let order = Mutex::new(Vec::new());
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

/// In which order 40 goroutines run in a test with this seed, on one P.
fn order_in_test(seed: Option<u64>) -> Vec<u32> {
    static ORDER: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    static ENDED: Mutex<Option<Instant>> = Mutex::new(None);
    fn body() {
        gort::scope(|scope| {
            for i in 0..40 {
                scope.go(move || ORDER.lock().unwrap().push(i));
            }
        });
        *ENDED.lock().unwrap() = Some(Instant::now());
    }
    let options = || gort::__private::TestOptions {
        name: "order_in_test",
        procs: Some(1),
        timeout: None,
        allow_leaks: false,
        seed,
    };
    // On a busy machine a slice (10 ms) may end meanwhile, which changes the order.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let start = Instant::now();
        let _ = gort::__private::run_test(options(), body);
        let order = std::mem::take(&mut *ORDER.lock().unwrap());
        // How soon this thread hears of the end does not matter.
        let elapsed = ENDED.lock().unwrap().expect("it has ended") - start;
        if elapsed < Duration::from_millis(5) {
            return order;
        }
        assert!(Instant::now() < deadline, "takes too long: {elapsed:?}");
    }
}

#[test]
fn the_seed_of_a_test_makes_its_order_and_no_other_tests() {
    // Threads come up in an order that is the machine's: not in thread mode.
    if is_parent(
        "the_seed_of_a_test_makes_its_order_and_no_other_tests",
        &[("GORT_TLS", "own")],
    ) {
        return;
    }
    if gort::runtime::metrics().tls_mode == gort::runtime::TlsMode::Thread {
        return println!("skipped: thread mode");
    }
    // The last one started runs next, the others in turn.
    let in_turn: Vec<u32> = std::iter::once(39).chain(0..39).collect();
    assert_eq!(order_in_test(None), in_turn);
    let shaken: Vec<_> = (1..=5).map(|seed| order_in_test(Some(seed))).collect();
    assert!(!shaken.contains(&in_turn), "{shaken:?}");
    assert_eq!(shaken.iter().collect::<HashSet<_>>().len(), 5, "{shaken:?}");
    for (i, order) in shaken.iter().enumerate() {
        assert_eq!(&order_in_test(Some(i as u64 + 1)), order, "seed {}", i + 1);
    }
    assert_eq!(order_in_test(None), in_turn);
}

/// Nobody is runnable while they compute: only the clock asks for a P.
#[test]
fn goroutines_that_compute_do_not_keep_a_sleeper_from_waking() {
    let variables = [("GORT_SHAKE", "1"), ("GORT_PROCS", "2")];
    let name = "goroutines_that_compute_do_not_keep_a_sleeper_from_waking";
    if is_parent(name, &variables) {
        return;
    }
    let is_awake = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(30);
    gort::scope(|scope| {
        for _ in 0..2 {
            scope.go(|| {
                while !is_awake.load(Ordering::Relaxed) && Instant::now() < deadline {
                    std::hint::spin_loop();
                }
            });
        }
        scope.go(|| {
            // waits: until both others have a P
            gort::time::sleep(Duration::from_millis(50));
            is_awake.store(true, Ordering::Relaxed);
        });
    });
    assert!(
        Instant::now() < deadline,
        "the sleeper woke only when the others had ended"
    );
}

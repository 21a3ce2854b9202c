//! GOMAXPROCS is lowered below a P that a goroutine holds. A program of its own: the number is the process's.

use std::hint::spin_loop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gort::chan;
use gort::runtime::set_gomaxprocs;
use gort_core::runtime::current_p;

/// One test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Ends a test that hangs, with all goroutines.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs two goroutines, which both compute, on two Ps. The first that finds itself on the second P, which loses its
/// right to be, goes on with `on_second`; the other ends then, or when that is over.
fn on_the_second_p(ends_before: bool, on_second: impl Fn() + Sync) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (is_found, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let deadline = Instant::now() + LIMIT;
    let run = || {
        let ends_at = if ends_before { &is_found } else { &is_over };
        while !ends_at.load(Ordering::Relaxed) {
            if current_p() == Some(1) && !is_found.swap(true, Ordering::Relaxed) {
                on_second();
                is_over.store(true, Ordering::Relaxed);
            }
            assert!(Instant::now() < deadline, "{}", gort::runtime::stacks());
            spin_loop();
        }
    };
    let before = set_gomaxprocs(2);
    gort::scope(|s| {
        s.go(run);
        s.go(run);
    });
    set_gomaxprocs(before);
}

/// Its thread sleeps meanwhile, for so long that all seems calm; then it waits, and only its P has who is to wake it.
#[test]
fn one_that_sleeps_on_a_p_that_is_not_to_be_is_not_forgotten() {
    on_the_second_p(true, || {
        let lowers = thread::spawn(|| {
            // waits: it is asleep by then, or it is not: then this is another case
            thread::sleep(Duration::from_millis(100));
            set_gomaxprocs(1);
        });
        // waits: longer than what sysmon takes for calm
        thread::sleep(Duration::from_millis(2_500));
        let (tell, told) = mpsc::channel();
        gort::go(move || tell.send(7).unwrap());
        let answer = told.recv_timeout(LIMIT);
        assert_eq!(answer, Ok(7), "{}", gort::runtime::stacks());
        lowers.join().unwrap();
    });
}

/// It never waits, but comes to the runtime all the time.
#[test]
fn one_that_calls_all_the_time_leaves_a_p_that_is_not_to_be() {
    on_the_second_p(false, || {
        set_gomaxprocs(1);
        let (sender, receiver) = chan::bounded(1);
        let deadline = Instant::now() + LIMIT;
        while current_p() == Some(1) {
            sender.try_send(1).unwrap();
            assert_eq!(receiver.try_recv(), Ok(1));
            assert!(Instant::now() < deadline, "{}", gort::runtime::stacks());
        }
    });
}

/// It never calls the runtime.
#[test]
fn one_that_computes_leaves_a_p_that_is_not_to_be() {
    on_the_second_p(false, || {
        set_gomaxprocs(1);
        let deadline = Instant::now() + LIMIT;
        while current_p() == Some(1) {
            assert!(Instant::now() < deadline, "{}", gort::runtime::stacks());
            spin_loop();
        }
    });
}

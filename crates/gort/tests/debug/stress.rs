//! Goroutines are woken at full speed while others walk their stacks: nothing is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gort::chan;

/// One round: rings of goroutines pass values on; two goroutines and a plain thread look at all stacks
/// meanwhile.
fn rings_go_round(procs: usize) {
    let old = gort::runtime::set_gomaxprocs(procs);
    let stop = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicUsize::new(0));
    let look = |stop: &AtomicBool, looks: &AtomicUsize| {
        while !stop.load(Ordering::Relaxed) {
            let all = gort::debug::goroutines();
            assert!(!all.is_empty());
            looks.fetch_add(1, Ordering::Relaxed);
            gort::yield_now();
        }
    };
    let thread = std::thread::spawn({
        let (stop, looks) = (stop.clone(), looks.clone());
        move || look(&stop, &looks)
    });
    let lookers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, looks) = (stop.clone(), looks.clone());
            gort::go(move || look(&stop, &looks))
        })
        .collect();

    const LEN: usize = 8;
    const RINGS: usize = 4;
    let rings: Vec<_> = (0..RINGS)
        .map(|_| {
            let (first_tx, mut rx) = chan::bounded::<u64>(0);
            for _ in 1..LEN {
                let (tx, next_rx) = chan::bounded(0);
                gort::go(move || {
                    for value in rx {
                        tx.send(value + 1).unwrap();
                    }
                });
                rx = next_rx;
            }
            let stop = stop.clone();
            gort::go(move || {
                let mut rounds = 0;
                let mut value = 0;
                while !stop.load(Ordering::Relaxed) {
                    first_tx.send(value).unwrap();
                    value = rx.recv().unwrap();
                    rounds += 1;
                    assert_eq!(value, rounds * (LEN as u64 - 1));
                }
                rounds
            })
        })
        .collect();
    // The length of the run: two seconds, and until the lookers have looked.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) || looks.load(Ordering::Relaxed) < 100 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody looks");
        // waits: the run's length
        gort::time::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    for handle in lookers {
        handle
            .join_timeout(Duration::from_secs(60))
            .expect("a looker hangs")
            .unwrap();
    }
    thread.join().unwrap();
    let mut rounds = 0;
    for handle in rings {
        let ring = handle.join_timeout(Duration::from_secs(60));
        rounds += ring
            .unwrap_or_else(|_| panic!("a ring hangs:\n{}", gort::runtime::stacks()))
            .unwrap();
    }
    println!(
        "{procs} Ps: {rounds} rounds, {} looks",
        looks.load(Ordering::Relaxed)
    );
    assert!(rounds > 0);
    gort::runtime::set_gomaxprocs(old);
}

/// Runs it alone: the number of Ps is the process's.
fn alone(procs: usize) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    gort::run(|| rings_go_round(procs));
}

#[test]
fn no_wake_up_is_lost_to_a_look_on_one_p() {
    alone(1);
}

#[test]
fn no_wake_up_is_lost_to_a_look_on_two_ps() {
    alone(2);
}

#[test]
fn no_wake_up_is_lost_to_a_look_on_four_ps() {
    alone(4);
}

//! `gort::time` as its users see it; what Go has no tests for.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::chan;
use gort::time::{Ticker, Timer, after_func, now, sleep, sleep_until, timeout};
use gort_test_support::eventually;

const SHORT: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn the_clock_is_that_of_instants() {
    let (before, here, after) = (Instant::now(), now(), Instant::now());
    assert!(before <= here && here <= after);
}

#[test]
fn a_plain_thread_sleeps_and_waits_for_timers() {
    let start = Instant::now();
    // waits: sleeping is what is tested.
    sleep(SHORT);
    sleep_until(start + 2 * SHORT);
    assert!(start.elapsed() >= 2 * SHORT);
    let timer = Timer::new(SHORT);
    assert!(timer.chan().recv().unwrap() >= start + 3 * SHORT);
}

#[test]
fn a_timeout_ends_a_future_that_does_not() {
    let start = Instant::now();
    let outcome = gort::block_on(timeout(SHORT, future::pending::<()>()));
    assert_eq!(outcome.unwrap_err().to_string(), "deadline has elapsed");
    assert!(start.elapsed() >= SHORT);
}

#[gort::test]
fn a_timeout_gives_the_value_of_a_future_that_ends() {
    let (tx, rx) = chan::bounded(1);
    gort::go(move || tx.send(7).unwrap());
    assert_eq!(gort::block_on(timeout(HOUR, rx.recv_async())), Ok(Ok(7)));
    // Both at once: the value wins.
    assert_eq!(gort::block_on(timeout(Duration::ZERO, async { 8 })), Ok(8));
}

#[test]
fn a_timeout_counts_from_the_call() {
    let late = timeout(SHORT, future::pending::<()>());
    // waits: until the time is up before the future is first asked.
    sleep(2 * SHORT);
    let start = Instant::now();
    assert!(gort::block_on(late).is_err());
    assert!(start.elapsed() < HOUR);
}

#[gort::test]
fn a_dropped_timer_stops_and_a_detached_one_does_not() {
    let timer = Timer::new(SHORT);
    let receiver = timer.chan().clone();
    timer.detach();
    assert!(receiver.recv_timeout(HOUR).is_ok());

    let timer = Timer::new(Duration::ZERO);
    let receiver = timer.chan().clone();
    drop(timer);
    assert!(receiver.try_recv().is_err(), "stopped, though it was due");
}

#[gort::test]
fn a_dropped_ticker_stops() {
    let ticker = Ticker::new(Duration::from_micros(1));
    let receiver = ticker.chan().clone();
    assert!(receiver.recv().is_ok());
    drop(ticker);
    assert!(receiver.try_recv().is_err());
}

#[gort::test]
fn a_function_timer_has_a_channel_of_which_nothing_comes() {
    let timer = after_func(Duration::ZERO, || {});
    assert!(timer.chan().recv_timeout(SHORT).is_err());
    assert_eq!(
        (timer.chan().len(), timer.chan().try_recv().is_err()),
        (0, true)
    );
}

#[gort::test]
fn a_panic_in_a_timers_function_is_contained() {
    let runs = Arc::new(AtomicUsize::new(0));
    let timer = {
        let runs = runs.clone();
        after_func(HOUR, move || {
            runs.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        })
    };
    for run in 1..=2 {
        timer.reset(Duration::ZERO);
        eventually("it has run", || runs.load(Ordering::SeqCst) >= run);
    }
    assert!(!timer.stop());
}

/// Set, stopped and dropped from several sides: each firing runs once, and no stop lies.
#[gort::test(procs = 4)]
fn stops_and_resets_in_a_crowd_are_exact() {
    let runs = Arc::new(AtomicUsize::new(0));
    let timer = {
        let runs = runs.clone();
        Arc::new(after_func(HOUR, move || {
            runs.fetch_add(1, Ordering::SeqCst);
        }))
    };
    // Armings minus those that were taken back are the runs.
    let armed = gort::scope(|s| {
        let workers: Vec<_> = (0..4u64)
            .map(|i| {
                let timer = &timer;
                s.go(move || {
                    let mut armed = 0i64;
                    for round in 0..2000u64 {
                        if (round + i).is_multiple_of(3) {
                            armed -= i64::from(timer.stop());
                        } else {
                            let delay = Duration::from_nanos((i * 7919 + round * 104_729) % 9000);
                            armed += i64::from(!timer.reset(delay));
                        }
                        if round.is_multiple_of(16) {
                            gort::yield_now();
                        }
                    }
                    armed
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum::<i64>()
    });
    // The first arming, by `after_func`.
    let expected = armed + 1 - i64::from(timer.stop());
    let what = format!("{expected} runs");
    eventually(&what, || runs.load(Ordering::SeqCst) as i64 >= expected);
    drop(timer);
    // waits: for one too many, which must not come.
    sleep(SHORT);
    assert_eq!(runs.load(Ordering::SeqCst) as i64, expected);
}

/// As Go's: who is late finds one tick, and the next ones where they would have been.
#[gort::test]
fn a_ticker_keeps_step_with_its_beginning() {
    let period = Duration::from_millis(3);
    let ticker = Ticker::new(period);
    let first = ticker.chan().recv().unwrap();
    for periods in [1, 4, 9] {
        // In between two ticks.
        let late = first + period * periods + period / 2;
        while Instant::now() < late {
            gort::yield_now();
        }
        let missed = ticker.chan().recv().unwrap();
        assert!(missed < Instant::now());
        let next = ticker.chan().recv().unwrap();
        assert!(next > late);
        for tick in [missed, next] {
            assert_eq!((tick - first).as_nanos() % period.as_nanos(), 0, "in step");
        }
    }
}

//! TI03, TI04, TI13 to TI16.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort::chan::{self, TryRecvError};
use gort::time::{Ticker, sleep};
use gort_conformance::support::panic_text;

use super::assert_in_time;

#[gort::test]
fn ti03_a_ticker_of_one_nanosecond() {
    let ticker = Ticker::new(Duration::from_nanos(1));
    let mut last = None;
    for _ in 0..100 {
        let tick = ticker.chan().recv().unwrap();
        assert!(last < Some(tick), "ticks go forward");
        last = Some(tick);
    }
}

#[gort::test]
fn ti03_ten_readers_share_a_ticker_of_one_nanosecond() {
    let ticker = Ticker::new(Duration::from_nanos(1));
    let count = gort::scope(|s| {
        let readers: Vec<_> = (0..10)
            .map(|_| s.go(|| (0..100).filter(|_| ticker.chan().recv().is_ok()).count()))
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(count, 1000);
}

#[gort::test(procs = 4)]
fn ti13_many_goroutines_share_a_ticker_of_a_microsecond() {
    let ticker = Arc::new(Ticker::new(Duration::from_micros(1)));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let ticker = ticker.clone();
            gort::go(move || (0..5000).filter(|_| ticker.chan().recv().is_ok()).count())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 5000);
    }
}

#[gort::test]
fn ti14_a_ticker_reset_and_stopped() {
    assert_in_time(Duration::from_millis(20), |unit| {
        let ticker = Ticker::new(unit);
        let start = Instant::now();
        assert_eq!(ticker.chan().iter().take(5).count(), 5);
        ticker.reset(2 * unit);
        assert_eq!(ticker.chan().iter().take(5).count(), 5);
        let (taken, expected) = (start.elapsed(), 15 * unit);
        ticker.stop();
        // waits: for a tick that must not come.
        sleep(4 * unit);
        assert_eq!(
            ticker.chan().try_recv(),
            Err(TryRecvError::Empty),
            "a tick after stop"
        );
        let is_near = taken >= expected * 7 / 10 && taken <= expected * 13 / 10;
        is_near
            .then_some(())
            .ok_or(format!("{taken:?} instead of {expected:?}"))
    });
}

#[gort::test]
fn ti14_a_ticker_is_dropped_right_after_a_tick() {
    for _ in 0..3 {
        let ticker = Ticker::new(Duration::from_millis(1));
        assert!(ticker.chan().recv().is_ok());
    }
}

#[gort::test]
fn ti15_misuse_of_tickers_panics() {
    let text = |f: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        panic_text(&*payload).to_owned()
    };
    let new = || drop(Ticker::new(Duration::ZERO));
    assert_eq!(text(&new), "non-positive interval for NewTicker");
    let ticker = Ticker::new(Duration::from_secs(1));
    let reset = || ticker.reset(Duration::ZERO);
    assert_eq!(text(&reset), "non-positive interval for Ticker.Reset");
}

#[gort::test]
fn ti16_a_ticker_shows_no_length_and_no_old_tick() {
    let ticker = Ticker::new(Duration::from_micros(10));
    let rx = ticker.chan();
    for _ in 0..100 {
        // waits: until a tick is due for certain.
        sleep(Duration::from_micros(50));
        assert_eq!((rx.len(), rx.capacity()), (0, Some(0)));
        let moved = Instant::now();
        ticker.reset(Duration::from_micros(10));
        assert!(
            rx.recv().unwrap() >= moved + Duration::from_micros(10),
            "an old tick"
        );
    }
    ticker.stop();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn ti04_tick_delivers_at_its_intervals() {
    assert_in_time(Duration::from_millis(10), |unit| {
        let start = Instant::now();
        let tick = chan::tick(unit);
        assert_eq!(tick.iter().take(10).count(), 10);
        let taken = start.elapsed();
        assert!(taken >= 10 * unit);
        (taken <= 30 * unit)
            .then_some(())
            .ok_or(format!("{taken:?}"))
    });
}

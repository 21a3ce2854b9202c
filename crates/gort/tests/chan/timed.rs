//! `after`, `at` and `tick`: due when the clock says so, whoever looks, and gone when they are dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use gort::chan::{self, RecvFuture, Select, TryRecvError, select};
use gort::time::{Ticker, Timer};
use gort_test_support::{
    Wakes, eventually, eventually_parked, eventually_parked_or_over, go_named,
};

use super::{poll, poll_to_panic};

const HOUR: Duration = Duration::from_secs(3600);

/// The number of armed timers; tests that count run one after the other.
fn timers() -> u64 {
    gort::runtime::metrics().timers
}

// `procs` has a test run alone.
#[gort::test(procs = 2)]
fn a_timer_is_armed_only_while_somebody_waits() {
    let before = timers();
    let receivers: Vec<_> = (0..100).map(|_| chan::after(HOUR)).collect();
    assert_eq!(timers(), before);
    let waiting = go_named("waits an hour", {
        let r = receivers[0].clone();
        let (_s, never_sent) = chan::bounded::<()>(0);
        move || {
            select! {
                recv(r) -> _ => unreachable!(),
                recv(never_sent) -> _ => {}
            }
        }
    });
    waiting.join().unwrap();
    assert_eq!(timers(), before);
    drop(receivers);
}

#[gort::test(procs = 2)]
fn a_dropped_receiver_leaves_the_heap_at_once() {
    let before = timers();
    let (s, r) = chan::bounded::<()>(0);
    let waiting = go_named("gives up", move || {
        let hour = chan::after(HOUR);
        select! {
            recv(hour) -> _ => unreachable!(),
            recv(r) -> _ => {}
        }
        drop(hour);
        timers()
    });
    eventually_parked("gives up", "select");
    assert_eq!(timers(), before + 1);
    s.send(()).unwrap();
    assert_eq!(waiting.join().unwrap(), before);
}

#[gort::test]
fn a_value_is_there_the_moment_it_is_due() {
    let r = chan::after(Duration::from_millis(3));
    let start = Instant::now();
    // No scheduling point in between: nobody can have run a timer.
    while start.elapsed() < Duration::from_millis(4) {
        std::hint::spin_loop();
    }
    assert_eq!((r.len(), r.is_full(), r.capacity()), (1, true, Some(1)));
    assert!(r.try_recv().is_ok());
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
    assert_eq!((r.len(), r.is_empty()), (0, true));
}

#[gort::test]
fn at_a_time_that_has_passed_the_value_is_there_with_its_time() {
    let when = Instant::now();
    let r = chan::at(when);
    assert_eq!(r.try_recv(), Ok(when));
    select! {
        recv(chan::after(Duration::ZERO)) -> due => assert!(due.is_ok()),
        default => panic!("due at once"),
    }
}

#[gort::test]
fn each_tick_goes_to_one_receiver_and_none_is_forgotten() {
    let ticks = chan::tick(Duration::from_millis(2));
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let ticks = ticks.clone();
            gort::go(move || ticks.recv().unwrap())
        })
        .collect();
    let mut times: Vec<_> = waiting.into_iter().map(|w| w.join().unwrap()).collect();
    times.sort();
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] >= pair[0] + Duration::from_millis(2)),
        "{times:?}"
    );
}

#[gort::test]
fn a_receiver_behind_one_that_left_is_woken() {
    // Longer, if the machine was too busy for both to be parked before the value was due.
    let was_in_time = [30, 300, 3000].into_iter().any(|ms| {
        let r = chan::after(Duration::from_millis(ms));
        let (s, stop) = chan::bounded::<()>(0);
        let first = go_named("leaves", {
            let r = r.clone();
            move || {
                select! {
                    recv(r) -> _ => false,
                    recv(stop) -> _ => true,
                }
            }
        });
        eventually_parked_or_over("leaves", "select", &first);
        let second = go_named("stays", {
            let r = r.clone();
            move || r.recv()
        });
        eventually_parked_or_over("stays", "chan receive", &second);
        let has_left = s.send(()).is_ok() && first.join().unwrap();
        if !has_left {
            // Perhaps the other got the one value that there was.
            r.close();
        }
        assert!(second.join().unwrap().is_ok() || !has_left);
        has_left
    });
    assert!(was_in_time, "not even within 3 s");
}

#[gort::test]
fn readiness_of_a_timed_channel_is_told() {
    let (r, hour) = (chan::after(Duration::from_millis(5)), chan::after(HOUR));
    let never = chan::never::<()>();
    let mut select = Select::new();
    select.recv(&never);
    select.recv(&hour);
    assert!(select.try_ready().is_err());
    let timer = select.recv(&r);
    assert_eq!(select.ready(), timer);
    assert!(r.try_recv().is_ok());
    assert!(select.ready_timeout(Duration::from_millis(5)).is_err());
}

#[gort::test]
fn a_timed_channel_can_be_closed() {
    let r = chan::after(HOUR);
    let waiting = go_named("waits for its end", {
        let r = r.clone();
        move || r.recv()
    });
    eventually_parked("waits for its end", "chan receive");
    assert!(r.close());
    assert!(waiting.join().unwrap().is_err());
    eventually("closed for everybody", || {
        r.try_recv() == Err(TryRecvError::Disconnected)
    });
}

#[gort::test]
fn a_plain_thread_can_wait_for_the_clock() {
    let start = Instant::now();
    let thread = std::thread::spawn(|| {
        let (_s, r) = chan::bounded::<()>(0);
        select! {
            recv(r) -> _ => unreachable!(),
            recv(chan::after(Duration::from_millis(5))) -> due => due.unwrap(),
        }
    });
    // Ours may be the only P, and somebody with a P has to look at the clock.
    let due = gort::blocking(|| thread.join()).unwrap();
    assert!(due >= start + Duration::from_millis(5));
}

#[gort::test]
fn a_waker_that_panics_does_not_stop_the_ticker() {
    let ticker = Ticker::new(Duration::from_millis(2));
    // On a busy machine a tick may be due before both wait.
    let (mut first, mut second, wakes) = loop {
        let wakes = Arc::<Wakes>::default();
        let [mut first, mut second] = [(); 2].map(|()| Box::pin(ticker.chan().recv_async()));
        if poll_to_panic(&mut first).is_pending() && poll(&mut second, &wakes).is_pending() {
            break (first, second, wakes);
        }
    };
    eventually("the second tick", || wakes.count() == 1);
    let times = [poll(&mut first, &wakes), poll(&mut second, &wakes)];
    assert!(
        matches!(times, [Poll::Ready(Ok(a)), Poll::Ready(Ok(b))] if a < b),
        "{times:?}"
    );
}

/// A receive that has got the value of `timer`, a short one, and has not been polled for it.
fn received_but_not_polled(timer: &Timer) -> Pin<Box<RecvFuture<'_, Instant>>> {
    let wakes = Arc::<Wakes>::default();
    let mut receive = Box::pin(timer.chan().recv_async());
    // On a busy machine it may be due before it is waited for.
    while poll(&mut receive, &wakes).is_ready() {
        timer.reset(Duration::from_millis(1));
        receive = Box::pin(timer.chan().recv_async());
    }
    eventually("the timer fires", || wakes.count() == 1);
    receive
}

#[gort::test]
fn a_value_that_nobody_polled_for_is_there_again() {
    let timer = Timer::new(Duration::from_millis(1));
    drop(received_but_not_polled(&timer));
    assert!(timer.chan().try_recv().is_ok());
    assert!(timer.chan().try_recv().is_err(), "once");
}

#[gort::test]
fn a_value_that_came_back_is_gone_after_a_reset() {
    let timer = Timer::new(Duration::from_millis(1));
    drop(received_but_not_polled(&timer));
    assert!(timer.reset(HOUR), "its value had not been received");
    assert_eq!(timer.chan().try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn a_value_that_came_back_is_gone_after_a_stop() {
    let timer = Timer::new(Duration::from_millis(1));
    drop(received_but_not_polled(&timer));
    assert!(timer.stop(), "its value had not been received");
    assert_eq!(timer.chan().try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn a_value_does_not_come_back_after_a_reset() {
    let timer = Timer::new(Duration::from_millis(1));
    let receive = received_but_not_polled(&timer);
    assert!(!timer.reset(HOUR), "its value had been taken");
    drop(receive);
    assert_eq!(timer.chan().try_recv(), Err(TryRecvError::Empty));
    // The new one does.
    timer.reset(Duration::from_millis(1));
    drop(received_but_not_polled(&timer));
    assert!(timer.chan().try_recv().is_ok());
}

#[gort::test]
fn a_tick_that_came_back_wakes_who_waits() {
    let ticker = Ticker::new(Duration::from_millis(2));
    let wakes = Arc::<Wakes>::default();
    let mut receive = Box::pin(ticker.chan().recv_async());
    // On a busy machine a tick may be due before it begins to wait.
    while poll(&mut receive, &wakes).is_ready() {
        receive = Box::pin(ticker.chan().recv_async());
    }
    eventually("the first tick", || wakes.count() == 1);
    let other = go_named("waits for a tick", {
        let ticks = ticker.chan().clone();
        move || ticks.recv().is_ok()
    });
    drop(receive);
    assert!(other.join().unwrap());
}

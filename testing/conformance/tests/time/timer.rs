//! TI01, TI02, TI04 to TI13, TI16 to TI18.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gort::chan::{self, TryRecvError};
use gort::sync::Mutex;
use gort::time::{Timer, after_func, sleep, sleep_until};
use gort_conformance::support::{
    SOON, assert_not_for_a_while, eventually, eventually_parked, go_named,
};

use super::assert_in_time;

const HOUR: Duration = Duration::from_secs(3600);

#[gort::test]
fn ti01_a_sleep_is_never_short() {
    const LENGTH: Duration = Duration::from_millis(100);
    let stop = Arc::new(AtomicBool::new(false));
    // Signals arrive meanwhile, which must not end a sleep. (Those of the runtime do anyway.)
    let signals = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: touches no memory of ours.
                let result = unsafe { libc::kill(libc::getpid(), libc::SIGURG) };
                assert_eq!(result, 0);
                // waits: between two signals
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    let sleepers: Vec<_> = (0..10)
        .map(|_| {
            gort::go(|| {
                let start = Instant::now();
                // waits: sleeping is what is tested.
                sleep(LENGTH);
                start.elapsed()
            })
        })
        .collect();
    for sleeper in sleepers {
        assert!(sleeper.join().unwrap() >= LENGTH);
    }
    stop.store(true, Ordering::Relaxed);
    gort::blocking(|| signals.join().unwrap());
}

#[gort::test]
fn ti02_timer_functions_run_beside_each_other() {
    // Each run arms the timer again and then stays until the last has come: one after another would
    // never end.
    const RUNS: usize = 11;
    let timer: Arc<OnceLock<Timer>> = Arc::default();
    let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let first = {
        let (timer, started, ended) = (Arc::downgrade(&timer), started.clone(), ended.clone());
        after_func(Duration::from_millis(10), move || {
            if started.fetch_add(1, Ordering::SeqCst) + 1 < RUNS {
                let timer = timer.upgrade().expect("kept by the test");
                timer.wait().reset(Duration::ZERO);
            }
            eventually("all runs have started", || {
                started.load(Ordering::SeqCst) == RUNS
            });
            ended.fetch_add(1, Ordering::SeqCst);
        })
    };
    assert!(timer.set(first).is_ok());
    eventually("all runs have ended", || {
        ended.load(Ordering::SeqCst) == RUNS
    });
    assert_eq!(started.load(Ordering::SeqCst), RUNS);
}

#[gort::test]
fn ti04_after_delivers_no_earlier_and_soon() {
    const DELAY: Duration = Duration::from_millis(50);
    let start = Instant::now();
    let value = chan::after(DELAY).recv().unwrap();
    assert!(start.elapsed() >= DELAY);
    assert!(value >= start + DELAY);

    assert_in_time(Duration::from_millis(10), |delta| {
        const COUNT: u32 = 10;
        let start = Instant::now();
        (0..COUNT).for_each(|_| assert!(chan::after(delta).recv().is_ok()));
        let taken = start.elapsed();
        assert!(taken >= delta * COUNT);
        (taken <= 3 * delta * COUNT)
            .then_some(())
            .ok_or(format!("{taken:?}"))
    });
}

#[gort::test]
fn ti05_a_stop_before_firing_keeps_a_timer_from_firing() {
    let fired = Arc::new(AtomicUsize::new(0));
    let func = {
        let fired = fired.clone();
        after_func(Duration::from_millis(60), move || {
            fired.fetch_add(1, Ordering::SeqCst);
        })
    };
    let timer = Timer::new(Duration::from_millis(60));
    let start = Instant::now();
    let is_stopped = func.stop();
    if start.elapsed() < Duration::from_millis(50) {
        assert!(is_stopped, "it cannot have fired yet");
    }
    assert!(timer.stop(), "not received, so not fired");
    assert!(
        !func.stop() && !timer.stop(),
        "a second stop finds nothing to stop"
    );
    // waits: for what must not happen, until well after its time.
    sleep(Duration::from_millis(100));
    assert_eq!(fired.load(Ordering::SeqCst), usize::from(!is_stopped));
    assert_eq!(timer.chan().try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn ti06_many_timers_fire_in_order() {
    const SLOTS: [u32; 13] = [5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0];
    assert_in_time(Duration::from_millis(20), |unit| {
        let (tx, rx) = chan::unbounded();
        let start = Instant::now();
        for slot in SLOTS {
            let tx = tx.clone();
            gort::go(move || {
                chan::after(unit * slot).recv().unwrap();
                tx.send((slot, Instant::now())).unwrap();
            });
        }
        let mut sorted = SLOTS;
        sorted.sort_unstable();
        let mut failure = Ok(());
        for expected in sorted {
            let (slot, at) = rx.recv().unwrap();
            let target = start + unit * slot;
            assert!(at >= target, "slot {slot} came early");
            if slot != expected {
                failure = Err(format!("slot {slot} came where {expected} should"));
            } else if at > target + unit * 10 {
                failure = Err(format!("slot {slot} came {:?} late", at - target));
            }
        }
        failure
    });
}

#[gort::test]
fn ti07_stopped_timers_do_not_fire() {
    let fired = Arc::new(AtomicUsize::new(0));
    let timers: Vec<_> = (0..100)
        .map(|_| {
            let fired = fired.clone();
            after_func(Duration::from_millis(200), move || {
                fired.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    // waits: half the timers' time, then until after it.
    sleep(Duration::from_millis(100));
    let missed = timers.iter().filter(|timer| !timer.stop()).count();
    eventually("those that could not be stopped have fired", || {
        fired.load(Ordering::SeqCst) >= missed
    });
    // waits: until after their time.
    sleep(Duration::from_millis(200));
    assert_eq!(
        fired.load(Ordering::SeqCst),
        missed,
        "only those that stop could not stop"
    );
}

#[gort::test]
fn ti08_reset_moves_a_timer() {
    assert_in_time(Duration::from_millis(2), |unit| {
        let start = Instant::now();
        let timer = Timer::new(2 * unit);
        // waits: Go's sequence of moments.
        sleep_until(start + unit);
        if !timer.reset(3 * unit) {
            return Err("fired at 1".to_owned());
        }
        sleep_until(start + 2 * unit + unit / 2);
        let is_early = timer.chan().try_recv().is_ok();
        if is_early && start.elapsed() < 4 * unit {
            panic!("fired at 2.5 though it was moved to 4");
        }
        sleep_until(start + 5 * unit);
        if !is_early && timer.chan().try_recv().is_err() {
            return Err("not fired at 5".to_owned());
        }
        assert!(!timer.reset(HOUR), "it has fired");
        assert!(timer.stop());
        Ok(())
    });
}

#[gort::test(leaks = "allow")]
fn ti09_the_longest_durations_never_end_and_past_ones_at_once() {
    for longest in [
        Duration::MAX,
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(1 << 40),
    ] {
        // waits: for ever.
        let sleeper = go_named("sleeps-for-ever", move || sleep(longest));
        let receiver = chan::after(longest);
        let timer = Timer::new(longest);
        eventually_parked("sleeps-for-ever", "sleep");
        assert_not_for_a_while("the longest time has passed", || {
            sleeper.is_finished() || receiver.try_recv().is_ok() || timer.chan().try_recv().is_ok()
        });
        assert!(timer.reset(longest) && timer.stop() && !timer.stop());
        let func = after_func(longest, || unreachable!("the longest time has passed"));
        assert!(func.reset(longest) && func.stop() && !func.stop());
    }
    let start = Instant::now();
    // waits: for no time at all.
    sleep(Duration::ZERO);
    sleep_until(start - Duration::from_millis(1));
    chan::at(start - Duration::from_millis(1)).recv().unwrap();
    assert!(start.elapsed() < SOON);
}

#[gort::test]
fn ti10_timers_of_zero() {
    for i in 0..10_000 {
        let timer = Timer::new(Duration::ZERO);
        let value = timer.chan().recv_timeout(Duration::from_secs(2));
        assert!(value.is_ok(), "timer {i}");
    }
}

#[gort::test]
fn ti11_a_timer_moved_to_the_past_fires() {
    for _ in 0..1000 {
        let timer = Timer::new(HOUR);
        for _ in 0..10 {
            timer.stop();
            timer.reset(Duration::ZERO);
        }
        assert!(timer.chan().recv_timeout(Duration::from_secs(8)).is_ok());
    }
}

#[gort::test]
fn ti12_timers_moved_at_random_end() {
    assert_in_time(Duration::from_millis(750), |late_max| {
        let goroutines: Vec<_> = (0..100u64)
            .map(|i| gort::go(move || lateness_of_a_timer_that_is_moved(i)))
            .collect();
        let late = goroutines
            .into_iter()
            .map(|goroutine| goroutine.join().unwrap())
            .max();
        let late = late.expect("there are a hundred");
        (late <= late_max)
            .then_some(())
            .ok_or(format!("{late:?} after it was moved to now"))
    });
}

/// Go's sequence of moves, at moments that differ with `seed`, the last of them to now.
fn lateness_of_a_timer_that_is_moved(seed: u64) -> Duration {
    let pause = |step: u64| {
        // waits: for the moves of all timers to mix.
        sleep(Duration::from_micros(
            (seed * 7919 + step * 104_729) % 20_000,
        ));
    };
    let timer = Timer::new(Duration::from_secs(30));
    for (step, minutes) in (0..).zip([1, 3, 2]) {
        pause(step);
        timer.reset(Duration::from_secs(60 * minutes));
        pause(step + 10);
        timer.stop();
    }
    timer.reset(Duration::ZERO);
    let start = Instant::now();
    timer.chan().recv().unwrap();
    start.elapsed()
}

#[gort::test]
fn ti13_many_goroutines_reset_one_timer() {
    let timer = Arc::new(Timer::new(HOUR));
    let goroutines: Vec<_> = (0..gort::runtime::gomaxprocs())
        .map(|_| {
            let timer = timer.clone();
            gort::go(move || {
                for _ in 0..10_000 {
                    timer.reset(Duration::ZERO);
                    // Somebody else may have had this one.
                    let _ = timer.chan().try_recv();
                }
            })
        })
        .collect();
    goroutines
        .into_iter()
        .for_each(|goroutine| goroutine.join().unwrap());
    timer.reset(Duration::ZERO);
    assert!(timer.chan().recv_timeout(SOON).is_ok());
}

#[gort::test]
fn ti13_many_goroutines_take_turns_with_after() {
    let start = Instant::now();
    let goroutines: Vec<_> = (0..gort::runtime::gomaxprocs())
        .map(|_| {
            gort::go(|| {
                (0..100)
                    .for_each(|_| assert!(chan::after(Duration::from_millis(1)).recv().is_ok()));
            })
        })
        .collect();
    goroutines
        .into_iter()
        .for_each(|goroutine| goroutine.join().unwrap());
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[gort::test]
fn ti16_length_and_capacity_read_0_even_when_due() {
    let timer = Timer::new(Duration::ZERO);
    let rx = timer.chan();
    // waits: until it is due for certain.
    sleep(Duration::from_millis(1));
    assert_eq!((rx.len(), rx.capacity(), rx.is_empty()), (0, Some(0), true));
    assert!(rx.try_recv().is_ok());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn ti16_no_old_value_after_stop_or_reset() {
    for _ in 0..100 {
        let timer = Timer::new(Duration::ZERO);
        // Due, but not received: it has not fired yet.
        assert!(timer.stop());
        assert_eq!(timer.chan().try_recv(), Err(TryRecvError::Empty));
        assert!(!timer.reset(Duration::ZERO));
        assert!(timer.reset(HOUR));
        assert_eq!(timer.chan().try_recv(), Err(TryRecvError::Empty));
        let moved = Instant::now();
        assert!(timer.reset(Duration::from_micros(100)));
        let value = timer.chan().recv().unwrap();
        assert!(value >= moved + Duration::from_micros(100), "an old value");
        assert!(!timer.stop());
    }
}

#[gort::test]
fn ti16_of_two_that_wait_one_gets_the_value_and_a_reset_wakes_the_other() {
    let timer = Arc::new(Timer::new(HOUR));
    let got = Arc::new(AtomicUsize::new(0));
    let receivers: Vec<_> = (0..2)
        .map(|i| {
            let (timer, got) = (timer.clone(), got.clone());
            let name = format!("ti16-receiver-{i}");
            let receiver = go_named(&name, move || {
                timer.chan().recv().unwrap();
                got.fetch_add(1, Ordering::SeqCst);
            });
            eventually_parked(&name, "chan receive");
            receiver
        })
        .collect();
    assert!(timer.stop());
    assert_not_for_a_while("the timer is stopped", || got.load(Ordering::SeqCst) > 0);
    timer.reset(Duration::from_millis(1));
    eventually("one has got the value", || got.load(Ordering::SeqCst) == 1);
    assert_not_for_a_while("there is one value", || got.load(Ordering::SeqCst) == 2);
    timer.reset(Duration::from_millis(1));
    receivers
        .into_iter()
        .for_each(|receiver| receiver.join().unwrap());
    assert_eq!(got.load(Ordering::SeqCst), 2);
}

#[gort::test]
fn ti17_a_value_carries_the_time_of_firing() {
    assert_in_time(Duration::from_millis(20), |unit| {
        let start = Instant::now();
        let (after, timer) = (chan::after(unit), Timer::new(unit));
        let tick = chan::tick(unit);
        // waits: long past the time of firing.
        sleep(5 * unit);
        for value in [after.recv(), timer.chan().recv(), tick.recv()] {
            let shown = value.unwrap() - start;
            if shown >= 4 * unit {
                return Err(format!("{shown:?}, the time of reading"));
            }
        }
        Ok(())
    });
}

#[gort::test(procs = 4)]
fn ti18_timers_that_are_dropped_leave_the_heap_at_once() {
    const COUNT: u64 = 10_000;
    let timers = || gort::runtime::metrics().timers;
    let before = timers();
    let kept: Vec<_> = (0..COUNT).map(|_| after_func(HOUR, || {})).collect();
    assert!(timers() >= before + COUNT);
    drop(kept);
    assert_eq!(timers(), before);

    // Of channels, those that somebody waits on are in the heap; a select that was lost too.
    let (tx, rx) = chan::bounded(0);
    let loser = gort::go(move || {
        for i in 0..1000 {
            gort::select! {
                recv(rx) -> value => assert_eq!(value, Ok(i)),
                recv(chan::after(HOUR)) -> _ => unreachable!("an hour has passed"),
                recv(Timer::new(HOUR).chan()) -> _ => unreachable!("an hour has passed"),
                recv(chan::tick(HOUR)) -> _ => unreachable!("an hour has passed"),
            }
        }
    });
    (0..1000).for_each(|i| tx.send(i).unwrap());
    loser.join().unwrap();
    assert_eq!(timers(), before);
}

#[gort::test]
fn ti18_a_timers_function_is_dropped_with_it() {
    let witness = Arc::new(());
    let held = witness.clone();
    let timer = after_func(HOUR, move || drop(held.clone()));
    assert_eq!(Arc::strong_count(&witness), 2);
    drop(timer);
    assert_eq!(Arc::strong_count(&witness), 1);

    // One that was let go fires, and is then dropped too.
    let order = Arc::new(Mutex::new(0));
    let (held, counted) = (witness.clone(), order.clone());
    after_func(Duration::from_millis(1), move || {
        *counted.lock() += Arc::strong_count(&held);
    })
    .detach();
    eventually("its function is gone", || Arc::strong_count(&witness) == 1);
    assert_eq!(*order.lock(), 2);
}

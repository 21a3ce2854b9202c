//! S19, S142 to S146.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gort::chan;
use gort::sync::Mutex;
use gort::time::{Timer, after_func, sleep};
use gort_conformance::look::{has_own_stacks, sized};
use gort_conformance::support::{A_WHILE, eventually};

use super::assert_in_time;

#[gort::test]
fn s019_a_timer_callback_re_arms_its_own_timer() {
    assert_in_time(Duration::from_millis(20), |unit| {
        let timer: Arc<OnceLock<Timer>> = Arc::default();
        let elapsed = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let first = {
            let (timer, elapsed) = (Arc::downgrade(&timer), elapsed.clone());
            // The first run is at once; the handle may not be there yet, so the callback waits for it.
            after_func(Duration::ZERO, move || {
                let Some(timer) = timer.upgrade() else { return };
                elapsed.lock().push(start.elapsed());
                timer.wait().reset(unit);
            })
        };
        assert!(timer.set(first).is_ok());
        // waits: three and a half of the timer's delays.
        sleep(unit * 7 / 2);
        timer.get().expect("just set").stop();
        let elapsed = elapsed.lock();
        assert!(elapsed.is_sorted(), "{elapsed:?}");
        for (i, at) in elapsed.iter().enumerate() {
            assert!(*at >= unit * i as u32, "{elapsed:?}");
        }
        (elapsed.len() == 4)
            .then_some(())
            .ok_or(format!("{elapsed:?}"))
    });
}

/// The article's loop, until `cancel`. True if the timeout came first.
fn poll_until_cancelled(
    cancel: &chan::Receiver<Instant>,
    mut timeout: impl FnMut() -> chan::Receiver<Instant>,
    mut on_pass: impl FnMut(),
) -> bool {
    loop {
        gort::select! {
            recv(cancel) -> _ => return false,
            recv(timeout()) -> _ => return true,
            default => {}
        }
        on_pass();
        gort::checkpoint();
    }
}

#[gort::test(procs = 2)]
fn s142_a_timeout_made_anew_on_each_pass_never_fires_and_leaves_nothing_behind() {
    let timers = || gort::runtime::metrics().timers;
    let before = timers();
    let mut passes = 0;
    // A pass takes microseconds; the timeout is so long that a loaded machine does not take the
    // processor away for as long in the middle of one.
    let cancel = chan::after(Duration::from_millis(2500));
    let timed_out = poll_until_cancelled(
        &cancel,
        || chan::after(Duration::from_secs(60)),
        || {
            passes += 1;
            if passes % 1000 == 0 {
                assert!(timers() <= before + 1, "timers of earlier passes are left");
            }
        },
    );
    assert!(!timed_out, "end with timeout: false");
    assert!(passes > 1000, "{passes} passes");
    assert_eq!(timers(), before);
}

#[gort::test(procs = 2)]
fn s143_a_timeout_made_before_the_loop_fires() {
    let start = Instant::now();
    let cancel = chan::after(Duration::from_secs(60));
    let timeout = chan::after(Duration::from_millis(50));
    assert!(
        poll_until_cancelled(&cancel, || timeout.clone(), || {}),
        "end with timeout: true"
    );
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[gort::test]
fn s144_a_timers_function_runs_in_a_goroutine_unless_stopped_before() {
    let here = gort::current().id();
    let ran_in = Arc::new(Mutex::new(Vec::new()));
    let timer = {
        let ran_in = ran_in.clone();
        after_func(Duration::from_secs(3600), move || {
            ran_in.lock().push(gort::current().id());
        })
    };
    assert!(timer.stop(), "stopped before");
    timer.reset(Duration::from_millis(1));
    eventually("it has run", || ran_in.lock().len() == 1);
    assert_ne!(ran_in.lock()[0], here);
    assert!(!timer.stop(), "stopped after");
    // Set anew it runs again, in another goroutine.
    assert!(!timer.reset(Duration::from_millis(1)));
    eventually("it has run again", || ran_in.lock().len() == 2);
    // And not once more.
    // waits: for what must not happen.
    sleep(A_WHILE);
    assert_eq!(ran_in.lock().len(), 2);
}

#[gort::test]
fn s145_sleepers_wake_in_the_order_of_their_deadlines() {
    assert_in_time(Duration::from_millis(10), |unit| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let sleepers: Vec<_> = [7, 2, 9, 4, 1, 8, 3, 6, 5]
            .map(|slot| {
                let order = order.clone();
                gort::go(move || {
                    // waits: sleeping is what is tested.
                    gort::time::sleep_until(start + unit * slot);
                    order.lock().push(slot);
                })
            })
            .into_iter()
            .collect();
        sleepers
            .into_iter()
            .for_each(|sleeper| sleeper.join().unwrap());
        let order = order.lock();
        order.is_sorted().then_some(()).ok_or(format!("{order:?}"))
    });
}

#[gort::test(procs = 2, timeout = "120s")]
fn s145_ten_thousand_sleepers_need_no_threads() {
    // In thread mode each is one.
    let (count, threads_needed) = match has_own_stacks() {
        true => (10_000, 0),
        false => (500, 500),
    };
    let threads = || std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let before = threads();
    let asleep = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + Duration::from_millis(1500);
    let sleepers: Vec<_> = (0..count)
        .map(|_| {
            let (asleep, is_over) = (asleep.clone(), is_over.clone());
            gort::go(move || {
                asleep.fetch_add(1, Ordering::SeqCst);
                // waits: sleeping is what is tested.
                gort::time::sleep_until(deadline);
                assert!(Instant::now() >= deadline);
                is_over.store(true, Ordering::SeqCst);
            })
        })
        .collect();
    eventually("all have begun", || asleep.load(Ordering::SeqCst) == count);
    let now = threads();
    if !is_over.load(Ordering::SeqCst) {
        // The runtime keeps a spare thread or two, and may start one for a blocked one.
        let expected = threads_needed..=before + threads_needed + 8;
        assert!(expected.contains(&now), "{now} threads, {before} before");
    }
    sleepers
        .into_iter()
        .for_each(|sleeper| sleeper.join().unwrap());
}

/// The article's: uniform below `below`.
fn random_duration(below: Duration) -> Duration {
    let below = u64::try_from(below.as_nanos()).expect("a short time");
    Duration::from_nanos(RandomState::new().hash_one(()) % below)
}

#[test]
fn s146_random_delays_are_uniform() {
    const DRAWS: usize = 20_000;
    let mut counts = [0_usize; 20];
    for _ in 0..DRAWS {
        let drawn = random_duration(Duration::from_secs(1));
        // Past the last is a second or more.
        counts[(drawn.as_secs_f64() * counts.len() as f64) as usize] += 1;
    }
    let expected = (DRAWS / counts.len()) as f64;
    let errors = counts.map(|count| (count as f64 - expected).powi(2) / expected);
    // Chi squared with 19 degrees of freedom: once in 10^11 runs it is more.
    assert!(errors.iter().sum::<f64>() < 95.0, "{counts:?}");
}

/// And so are the times at which timers with such delays fire.
#[gort::test]
fn s146_timers_with_random_delays_fire_at_uniform_times() {
    let timers = sized(1_000, 100, 10_000);
    // How far from uniform they may be, by Kolmogorov and Smirnov: by chance it is more once in 10^9 runs.
    let bound = 3.3 / (timers as f64).sqrt();
    assert_in_time(Duration::from_millis(200), |below| {
        let (tx, rx) = chan::bounded(timers);
        for _ in 0..timers {
            let (tx, delay) = (tx.clone(), random_duration(below));
            let start = Instant::now();
            after_func(delay, move || tx.send((delay, start.elapsed())).unwrap()).detach();
        }
        drop(tx);
        let mut fired: Vec<_> = rx.iter().collect();
        assert_eq!(fired.len(), timers);
        assert!(fired.iter().all(|(delay, after)| after >= delay));
        fired.sort_unstable_by_key(|(_, after)| *after);
        for (i, (_, after)) in fired.iter().enumerate() {
            let distance = after.as_secs_f64() / below.as_secs_f64() - i as f64 / timers as f64;
            if distance.abs() > bound {
                return Err(format!("number {i} after {after:?}"));
            }
        }
        Ok(())
    });
}

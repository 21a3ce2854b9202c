//! Sleeping, timers, deadlines.

use std::time::{Duration, Instant};

use gort::time::{self, Ticker, Timer};

use super::Needs::{Deadline, Nothing, Start};
use super::{Call, act, call, panics_with, prepared, short};

const LONG: Duration = Duration::from_secs(3600);

pub(super) fn calls() -> Vec<Call> {
    vec![
        call("time::now", "time::now", Nothing, || {
            assert!(time::now() <= time::now());
        }),
        call("time::sleep", "time::sleep", Deadline, || {
            let before = Instant::now();
            // waits: that it does is what is looked at
            time::sleep(short());
            assert!(before.elapsed() >= short());
        }),
        call("time::sleep_until", "time::sleep_until", Deadline, || {
            let deadline = Instant::now() + short();
            time::sleep_until(deadline);
            assert!(Instant::now() >= deadline);
        }),
        call("time::timeout", "time::timeout", Start, || {
            gort::block_on(time::timeout(short(), std::future::pending::<()>())).unwrap_err();
            assert_eq!(gort::block_on(time::timeout(LONG, async { 7 })), Ok(7));
        }),
        call(
            "Timer",
            "time::Timer::new time::Timer::stop time::Timer::reset time::Timer::chan \
             time::Timer:Drop",
            Start,
            || {
                let timer = Timer::new(LONG);
                assert!(timer.stop() && !timer.stop());
                assert!(!timer.reset(short()));
                timer.chan().recv().unwrap();
            },
        ),
        prepared(
            "Timer, stopped and dropped elsewhere",
            "time::Timer::stop time::Timer:Drop",
            Nothing,
            || {
                let (stopped, dropped) = (Timer::new(LONG), Timer::new(LONG));
                act(move || {
                    assert!(stopped.stop());
                    drop(dropped);
                })
            },
        ),
        call(
            "Timer::detach",
            "time::Timer::detach time::after_func",
            Start,
            || {
                let (s, r) = gort::chan::bounded(1);
                time::after_func(short(), move || s.send(7).unwrap()).detach();
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        call(
            "after_func, stopped",
            "time::after_func time::Timer::stop",
            Start,
            || {
                let timer = time::after_func(LONG, || unreachable!());
                assert!(timer.stop());
            },
        ),
        call(
            "after_func, set anew by itself",
            "time::after_func",
            Start,
            || {
                let (s, r) = gort::chan::bounded(3);
                let again = std::sync::Arc::new(gort::sync::Mutex::new(None::<Timer>));
                let own = again.clone();
                let timer = time::after_func(LONG, move || {
                    if s.try_send(()).is_ok() {
                        own.lock().as_ref().unwrap().reset(short());
                    }
                });
                let mut place = again.lock();
                timer.reset(short());
                *place = Some(timer);
                drop(place);
                for _ in 0..3 {
                    r.recv().unwrap();
                }
                // Ends the circle of handles.
                drop(again.lock().take());
            },
        ),
        call(
            "Ticker",
            "time::Ticker::new time::Ticker::chan time::Ticker::reset time::Ticker::stop \
             time::Ticker:Drop",
            Start,
            || {
                let ticker = Ticker::new(LONG);
                ticker.reset(short());
                ticker.chan().recv().unwrap();
                ticker.stop();
                ticker.chan().try_recv().unwrap_err();
            },
        ),
        call(
            "Ticker::new, of no time",
            "time::Ticker::new",
            Nothing,
            || {
                let _ = Ticker::new(Duration::ZERO);
            },
        )
        .except(|place| panics_with(place, "non-positive interval for NewTicker")),
        prepared(
            "Ticker::reset, of no time",
            "time::Ticker::reset",
            Nothing,
            || {
                let ticker = Ticker::new(LONG);
                act(move || ticker.reset(Duration::ZERO))
            },
        )
        .except(|place| panics_with(place, "non-positive interval for Ticker.Reset")),
    ]
}

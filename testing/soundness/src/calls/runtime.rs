//! Starting the runtime, its settings, and what it says about itself.

use std::time::Duration;

use gort::runtime::TlsMode;
use gort::{Config, ConfigError, DeadlockPolicy, PanicPolicy};

use super::Needs::{Nothing, Start};
use super::{Call, act, call, panics_with, prepared};
use crate::{Expected, Place};

pub(super) fn calls() -> Vec<Call> {
    vec![
        call("run", "runtime::run", Nothing, || {
            let mut total = 40;
            gort::run(|| total += 2);
            assert_eq!(total, 42);
        })
        .except(starts_on_threads),
        call("run, which panics", "runtime::run", Nothing, || {
            gort::run(|| panic!("on purpose"));
        })
        .except(|place| match place {
            Place::ForkedThread => starts_on_threads(place),
            _ => panics_with(place, "on purpose"),
        }),
        call("run, with a goroutine", "runtime::run", Start, || {
            assert_eq!(gort::run(|| gort::go(|| 7).join().unwrap()), 7);
        }),
        prepared(
            "Config::run, of a runtime that runs",
            "runtime::Config::new runtime::Config::run",
            Nothing,
            || {
                gort::go(|| ()).join().unwrap();
                act(|| assert_eq!(Config::new().run(|| 7).unwrap(), 7))
            },
        )
        .except(not_in_a_child),
        prepared(
            "Config::start, of a runtime that runs",
            "runtime::Config::start runtime::Config::procs runtime::Config::stack_size runtime::Config::panic runtime::Config::tls \
             runtime::Config::preempt runtime::Config::signals runtime::Config::deadlock \
             runtime::Config::blocking_threads runtime::Config::hibernate",
            Nothing,
            || {
                gort::go(|| ()).join().unwrap();
                act(|| {
                    Config::new().start().unwrap();
                    let other = Config::new()
                        .procs(63)
                        .stack_size(3 << 20)
                        .panic(PanicPolicy::Abort)
                        .tls(TlsMode::Own)
                        .preempt(false)
                        .signals(false)
                        .blocking_threads(63)
                        .hibernate(Duration::from_secs(63))
                        .deadlock(DeadlockPolicy::Off);
                    let refused = other.start().unwrap_err();
                    assert!(matches!(refused, ConfigError::AlreadyStarted));
                })
            },
        )
        .except(not_in_a_child),
        call(
            "Config::start, out of range",
            "runtime::Config::start",
            Nothing,
            || {
                Config::new().procs(0).start().unwrap_err();
            },
        )
        .except(not_in_a_child),
        call("runtime::Config::start", "runtime::Config::start", Nothing, || {
            // Runs already, or is started by this.
            Config::new().start().unwrap();
        })
        .except(not_in_a_child),
        call("num_goroutine", "runtime::num_goroutine", Nothing, || {
            let _ = gort::runtime::num_goroutine();
        }),
        call(
            "gomaxprocs",
            "runtime::gomaxprocs runtime::set_gomaxprocs",
            Nothing,
            || {
                assert!(gort::runtime::gomaxprocs() > 0);
                assert!(gort::runtime::set_gomaxprocs(0) > 0);
            },
        )
        .except(not_in_a_child),
        call("set_gomaxprocs", "runtime::set_gomaxprocs", Nothing, || {
            let old = gort::runtime::set_gomaxprocs(3);
            assert_eq!(gort::runtime::set_gomaxprocs(old), 3);
        })
        .except(not_in_a_child),
        call("metrics", "runtime::metrics", Nothing, || {
            assert!(gort::runtime::metrics().gomaxprocs > 0);
        })
        .except(not_in_a_child),
        prepared(
            "metrics, with stalls",
            "runtime::Stall::kind runtime::Stall::count runtime::Stall::total \
             runtime::Stall::longest runtime::Stall::created_at runtime::Stall::frames",
            Nothing,
            || {
                while gort::runtime::metrics().stalls.is_empty() {
                    // waits: keeps a turn while it sleeps; again, if nobody looked meanwhile
                    let stalls = gort::go(|| std::thread::sleep(Duration::from_millis(25)));
                    stalls.join().unwrap();
                }
                act(|| {
                    let stalls = gort::runtime::metrics().stalls;
                    let stall = stalls.first().unwrap();
                    assert!(stall.count() > 0 && stall.total() >= stall.longest());
                    assert!(!stall.created_at().file().is_empty());
                    let _ = (stall.kind(), stall.frames(), stall.clone());
                })
            },
        )
        .except(not_in_a_child),
        call("stacks", "runtime::stacks", Nothing, || {
            let _ = gort::runtime::stacks();
        }),
    ]
}

/// On a plain thread it makes a goroutine; in one it just calls.
fn starts_on_threads(place: Place) -> Option<Expected> {
    (place == Place::ForkedThread).then_some(AFTER_FORK)
}

/// Where nothing runs, settings cannot be compared with those of what runs.
fn not_in_a_child(place: Place) -> Option<Expected> {
    place.is_forked().then_some(AFTER_FORK)
}

const AFTER_FORK: Expected = Expected::Ends(libc::SIGABRT, "started after fork without exec");

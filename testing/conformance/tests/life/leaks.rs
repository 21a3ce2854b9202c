//! S85 to S88 and S91 to S97: goroutines that are left behind, and how they are found.

use std::collections::BTreeMap;
use std::env;
use std::mem;
use std::net::TcpStream as StdStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use gort::chan::{self, RecvError, SendError};
use gort::debug::{self, GoroutineInfo, State, WaitReason};
use gort::runtime::{gomaxprocs, num_goroutine, stacks};
use gort::sync::{Mutex, WaitGroup};
use gort_conformance::child;
use gort_conformance::look::until;
use gort_conformance::support::assert_not_for_a_while;

/// How often a case leaves something behind.
const TIMES: usize = 10;

/// All goroutines but the calling one.
fn others() -> Vec<GoroutineInfo> {
    let own = gort::current().id();
    let all = debug::goroutines().into_iter();
    all.filter(|one| one.id != own).collect()
}

/// How many of them wait for what.
fn waiting() -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for reason in others().iter().filter_map(|one| one.wait_reason) {
        *counts.entry(reason.as_str()).or_default() += 1;
    }
    counts
}

/// Ten times `leak`, alone in its process, leave `count` goroutines that wait for `reason`, for good, and are
/// found with where they wait and were started. What the calls gave comes back.
#[track_caller]
fn assert_leaks<T>(count: usize, reason: WaitReason, leak: impl Fn() -> T) -> Vec<T> {
    assert_eq!(num_goroutine(), 1);
    let kept = (0..TIMES).map(|_| leak()).collect();
    let expected = BTreeMap::from([(reason.as_str(), count)]);
    let are_left = || num_goroutine() == 1 + count && waiting() == expected;
    until(format_args!("{count} in {reason}"), are_left);
    assert_not_for_a_while("one goes on", || !are_left());
    for leaked in others() {
        assert_eq!(leaked.state, State::Waiting, "{leaked:?}");
        assert_eq!(leaked.created_at.file(), file!(), "{leaked:?}");
        assert_eq!(leaked.parked_at.file(), file!(), "{leaked:?}");
    }
    kept
}

#[test]
fn s085_receiving_from_nil_leaks() {
    child::of(|| {
        gort::run(|| {
            assert_leaks(TIMES, WaitReason::ChanReceiveNil, || {
                let (_, rx) = chan::nil::<()>();
                gort::go(move || rx.recv());
            });
        });
    })
    .passes();
}

#[test]
fn s086_sending_to_nil_leaks() {
    child::of(|| {
        gort::run(|| {
            assert_leaks(TIMES, WaitReason::ChanSendNil, || {
                let (tx, _) = chan::nil();
                gort::go(move || tx.send(()));
            });
        });
    })
    .passes();
}

#[test]
fn s087_d04_sending_without_a_receiver_leaks_while_a_handle_is_kept() {
    child::of(|| {
        gort::run(|| {
            let leaked = assert_leaks(TIMES, WaitReason::ChanSend, || {
                let (tx, rx) = chan::bounded(0);
                (gort::go(move || tx.send(7)), rx)
            });
            // The receivers' drop ends them, and gives them their values back.
            for (sender, rx) in leaked {
                drop(rx);
                assert_eq!(sender.join().unwrap(), Err(SendError(7)));
            }
            // As it does if there is none from the start.
            for _ in 0..TIMES {
                let (tx, _) = chan::bounded(0);
                let sender = gort::go(move || tx.send(7));
                assert_eq!(sender.join().unwrap(), Err(SendError(7)));
            }
            assert_eq!(num_goroutine(), 1);
        });
    })
    .passes();
}

#[test]
fn s088_d04_receiving_without_a_sender_leaks_while_a_handle_is_kept() {
    child::of(|| {
        gort::run(|| {
            let leaked = assert_leaks(TIMES, WaitReason::ChanReceive, || {
                let (tx, rx) = chan::bounded::<()>(0);
                (gort::go(move || rx.recv()), tx)
            });
            for (receiver, tx) in leaked {
                drop(tx);
                assert_eq!(receiver.join().unwrap(), Err(RecvError));
            }
            for _ in 0..TIMES {
                let (_, rx) = chan::bounded::<()>(0);
                let receiver = gort::go(move || rx.recv());
                assert_eq!(receiver.join().unwrap(), Err(RecvError));
            }
            assert_eq!(num_goroutine(), 1);
        });
    })
    .passes();
}

#[test]
fn s091_d05_a_lock_never_released_leaks_all_but_one() {
    child::of(|| {
        gort::run(|| {
            // A guard that is not forgotten releases.
            let lock = Arc::new(Mutex::new(0));
            let add = || {
                let lock = Arc::clone(&lock);
                gort::go(move || *lock.lock() += 1)
            };
            let adders: Vec<_> = (0..TIMES).map(|_| add()).collect();
            adders.into_iter().for_each(|adder| adder.join().unwrap());
            assert_eq!(*lock.lock(), TIMES);
            // The first gets it and ends.
            assert_leaks(TIMES - 1, WaitReason::MutexLock, || {
                let lock = Arc::clone(&lock);
                gort::go(move || mem::forget(lock.lock()));
            });
        });
    })
    .passes();
}

#[test]
fn s092_a_wait_group_that_never_reaches_zero_leaks_its_waiters() {
    child::of(|| {
        gort::run(|| {
            let groups = assert_leaks(TIMES, WaitReason::WaitGroupWait, || {
                let group = WaitGroup::new();
                group.add(2);
                let waiter = group.clone();
                let waiter = gort::go(move || {
                    waiter.done();
                    waiter.wait();
                });
                (group, waiter)
            });
            // What was missing.
            for (group, waiter) in groups {
                group.done();
                waiter.join().unwrap();
            }
            assert_eq!(num_goroutine(), 1);
        });
    })
    .passes();
}

#[test]
fn s093_an_endless_loop_is_listed_as_running() {
    child::of(|| {
        gort::run(|| {
            let endless = gort::go(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
            let id = endless.goroutine().id();
            let look = || {
                let found = others().into_iter().find(|one| one.id == id);
                found.expect("it does not end")
            };
            // While we look, with one P, it has no turn.
            let has_turn = |state| state == State::Running || gomaxprocs() == 1;
            until("it runs", || has_turn(look().state));
            assert_not_for_a_while("it waits", || {
                let info = look();
                info.state == State::Waiting || info.wait_reason.is_some()
            });
            let heads = ["running", "runnable", "preempted"]
                .map(|state| format!("goroutine {id} [{state}"));
            let text = stacks();
            assert!(heads.iter().any(|head| text.contains(head)), "{text}");
        });
    })
    .passes();
}

#[test]
fn s094_steady_arrivals_with_long_waits_show_as_growth() {
    child::of(|| {
        gort::run(|| {
            const ARRIVALS: usize = 100;
            /// How many were started at each line of this file.
            fn by_site() -> BTreeMap<u32, usize> {
                let mut counts = BTreeMap::new();
                for one in others() {
                    *counts.entry(one.created_at.line()).or_default() += 1;
                }
                counts
            }
            // These stay as many as they are.
            let (_tx, rx) = chan::bounded::<()>(0);
            for _ in 0..5 {
                let rx = rx.clone();
                gort::go(move || rx.recv());
            }
            let mut arrivals = 0;
            for _ in chan::tick(Duration::from_millis(10)).iter().take(4) {
                let (count, sites) = (num_goroutine(), by_site());
                for _ in 0..ARRIVALS {
                    // waits: far longer than the test takes is the case.
                    gort::go(|| gort::time::sleep(Duration::from_secs(3600)));
                }
                arrivals += ARRIVALS;
                until("all sleep", || waiting().get("sleep") == Some(&arrivals));
                // The alarm: two counts, of all and by where they were started.
                assert_eq!(num_goroutine() - count, ARRIVALS);
                let growth: Vec<_> = by_site()
                    .into_iter()
                    .map(|(line, now)| now - sites.get(&line).unwrap_or(&0))
                    .filter(|grown| *grown > 0)
                    .collect();
                assert_eq!(growth, [ARRIVALS]);
            }
        });
    })
    .passes();
}

#[test]
fn s095_selects_without_cases_are_counted_by_their_reason() {
    child::of(|| {
        gort::run(|| {
            let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let server = listener.local_addr().unwrap();
            gort::go(move || listener.incoming().for_each(drop));
            for _ in 0..100 {
                // Go's `select {}`: without arms the macro does not compile.
                gort::go(|| {
                    gort::select! {
                        default(Duration::MAX) => unreachable!("the end of time"),
                    }
                });
            }
            let expected = BTreeMap::from([("IO wait", 1), ("select (no cases)", 100)]);
            until("all wait", || waiting() == expected);
            assert_eq!(num_goroutine(), 102);
            // The server goes on meanwhile.
            drop(StdStream::connect(server).unwrap());
            until("all wait", || waiting() == expected);
            // In the text those that are alike are one entry.
            let text = stacks();
            assert_eq!(text.matches(" [select (no cases)").count(), 1, "{text}");
        });
    })
    .passes();
}

#[test]
fn s096_counting_goroutines_before_and_after() {
    child::of(|| {
        gort::run(|| {
            // What ends is not counted, however much it was.
            let before = num_goroutine();
            gort::scope(|s| {
                for _ in 0..100 {
                    s.go(gort::yield_now);
                }
            });
            assert_eq!(num_goroutine(), before);
            // What stays is, once each, and is the goroutines that are new.
            let known: Vec<_> = debug::goroutines().iter().map(|one| one.id).collect();
            let (tx, rx) = chan::bounded::<()>(0);
            let left: Vec<_> = (0..3)
                .map(|_| {
                    let rx = rx.clone();
                    gort::go(move || rx.recv())
                })
                .collect();
            assert_eq!(num_goroutine(), before + 3);
            let mut new: Vec<_> = debug::goroutines().iter().map(|one| one.id).collect();
            new.retain(|id| !known.contains(id));
            assert!(
                new.iter()
                    .copied()
                    .eq(left.iter().map(|one| one.goroutine().id())),
                "{new:?}"
            );
            // Until its cause is gone.
            drop(tx);
            left.into_iter()
                .for_each(|one| assert_eq!(one.join().unwrap(), Err(RecvError)));
            assert_eq!(num_goroutine(), before);
        });
    })
    .passes();
}

/// Tests whose leak check is looked at from outside: `--ignored`, one after the other.
mod checked {
    use super::*;

    #[gort::test]
    #[ignore = "fails: for s097"]
    fn a_leaks() {
        let (tx, rx) = chan::bounded::<()>(0);
        gort::go(move || {
            let _kept = tx;
            rx.recv()
        });
        gort::go(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }

    #[gort::test]
    #[ignore = "for s097"]
    fn b_ends_soon() {
        // Those of the test before are still there.
        assert!(num_goroutine() >= 3, "{}", stacks());
        let (tx, rx) = chan::bounded::<()>(0);
        gort::go(move || rx.recv());
        gort::go(move || {
            let _until_later = tx;
            // waits: ends some looks after the body.
            gort::time::sleep(Duration::from_millis(50));
        });
    }

    #[gort::test(leaks = "allow")]
    #[ignore = "for s097"]
    fn c_may_leak() {
        gort::go(|| chan::never::<()>().recv());
    }
}

#[test]
fn s097_dg07_a_tests_leak_check_waits_for_the_ending_and_ignores_the_known() {
    let run = || {
        let output = Command::new(env::current_exe().expect("a test has a file"))
            .args(["--ignored", "--test-threads=1", "leaks::checked::"])
            .output()
            .expect("a test binary can be run again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success(), "{text}");
        text
    };
    // The thread that computes is asked for its stack, and may have no processor for as long as that is waited for.
    let mut runs = (0..20).map(|_| run());
    let text = runs.find(|text| !text.contains("stack unavailable"));
    let text = text.expect("the stack of one that computes can be had");
    assert!(
        text.contains("leaks::checked::a_leaks ... FAILED"),
        "{text}"
    );
    for passes in ["b_ends_soon", "c_may_leak"] {
        assert!(
            text.contains(&format!("leaks::checked::{passes} ... ok")),
            "{text}"
        );
    }
    // What it says of each: its number, what it does, its stack, and where it was started.
    let (_, report) = text
        .split_once("left 2 goroutine(s) behind:\n\n")
        .unwrap_or_else(|| panic!("no report in {text}"));
    let (report, _) = report
        .split_once("test leaks::checked::b")
        .unwrap_or((report, ""));
    let heads: Vec<_> = report.lines().filter(|line| line.ends_with("]:")).collect();
    assert_eq!(heads.len(), 2, "{report}");
    assert!(
        heads.iter().all(|head| head.starts_with("goroutine ")),
        "{report}"
    );
    let is_shown = |state: &str| {
        heads
            .iter()
            .any(|head| head.contains(&format!(" [{state}")))
    };
    assert!(is_shown("chan receive"), "{report}");
    assert!(
        ["running", "runnable", "preempted"]
            .into_iter()
            .any(is_shown),
        "{report}"
    );
    assert_eq!(
        report
            .matches("\ncreated at testing/conformance/tests/life/leaks.rs:")
            .count(),
        2,
        "{report}"
    );
    // A frame of each stack. How much of a function's path is known depends on the build.
    let lines: Vec<_> = report.lines().collect();
    let is_ours = |pair: &&[&str]| {
        let [function, place] = pair else {
            return false;
        };
        let is_closure = function.contains("closure") && function.ends_with("(...)");
        is_closure && place.contains("tests/life/leaks.rs:")
    };
    assert_eq!(lines.windows(2).filter(is_ours).count(), 2, "{report}");
}

/// What is left beyond what is `known`, after goleak's twenty looks with growing pauses.
fn left(known: impl Fn(&GoroutineInfo) -> bool) -> Vec<GoroutineInfo> {
    let mut pause = Duration::from_micros(1);
    for look in 1.. {
        let mut left = others();
        left.retain(|one| !known(one));
        if left.is_empty() || look == 20 {
            return left;
        }
        // waits: between two looks, as long as goroutines are just ending.
        gort::time::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
    unreachable!("the twentieth look is the last")
}

#[inline(never)]
fn wait_for_ever_known() -> Result<(), RecvError> {
    let result = chan::never().recv();
    // Not a tail call: the frame stays.
    std::hint::black_box(result)
}

#[test]
fn s097_dg07_a_check_knows_by_number_function_or_creator() {
    child::of(|| {
        gort::run(|| {
            // The runtime's own are not there to be known, a timer and a socket or not.
            let _timer = gort::time::after_func(Duration::from_secs(3600), || ());
            let _socket = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
            assert!(left(|_| false).is_empty());
            // What is just ending is waited for.
            gort::go(|| {
                // waits: ends some looks later.
                gort::time::sleep(Duration::from_millis(5));
            });
            assert!(left(|_| false).is_empty());

            let present = gort::go(|| chan::never::<()>().recv()).goroutine().id();
            let by_number = move |one: &GoroutineInfo| one.id == present;
            assert_eq!(left(|_| false).len(), 1);
            assert!(left(by_number).is_empty());

            gort::go(wait_for_ever_known);
            let by_function = |one: &GoroutineInfo| {
                let mut frames = one.frames().into_iter();
                frames.any(|frame| frame.function.contains("wait_for_ever_known"))
            };
            until("it waits", || waiting().values().sum::<usize>() == 2);
            assert_eq!(left(by_number).len(), 1);
            assert!(left(|one| by_number(one) || by_function(one)).is_empty());

            let (handle, line) = (gort::go(|| chan::never::<()>().recv()), line!());
            let by_creator = |one: &GoroutineInfo| one.created_at.line() == line;
            let unknown = left(|one| by_number(one) || by_function(one));
            assert_eq!(unknown.len(), 1);
            assert_eq!(unknown[0].id, handle.goroutine().id());
            let known = |one: &GoroutineInfo| by_number(one) || by_function(one) || by_creator(one);
            assert!(left(known).is_empty());
        });
    })
    .passes();
}

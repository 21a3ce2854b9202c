//! ErrGroup and SingleFlight: first errors, limits, panics, goexit, nobody hangs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use gort::context::{self, ContextError};
use gort::sync::{ErrGroup, Mutex, SingleFlight};
use gort_test_support::{eventually, eventually_parked, go_named};

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .expect("a text")
}

#[gort::test]
fn the_first_error_wins_and_all_are_waited_for() {
    let group = ErrGroup::new();
    let ended = Arc::new(AtomicU32::new(0));
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    for i in 0..10 {
        let (ended, gate) = (ended.clone(), gate.clone());
        group.go(move || {
            if i != 3 {
                drop(gate.lock());
            }
            ended.fetch_add(1, Ordering::SeqCst);
            if i % 2 == 1 { Err(i) } else { Ok(()) }
        });
    }
    eventually("the first error", || ended.load(Ordering::SeqCst) == 1);
    drop(closed);
    assert_eq!(group.wait(), Err(3));
    assert_eq!(ended.load(Ordering::SeqCst), 10);
    assert_eq!(ErrGroup::<()>::new().wait(), Ok(()), "nobody to wait for");
}

#[gort::test(procs = 4)]
fn a_limit_holds_and_every_member_runs() {
    let group: ErrGroup<()> = ErrGroup::new().limit(3);
    let (now, most, runs) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    for _ in 0..100 {
        let (now, most, runs) = (now.clone(), most.clone(), runs.clone());
        group.go(move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gort::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
    }
    assert_eq!(group.wait(), Ok(()));
    assert_eq!(runs.load(Ordering::SeqCst), 100);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
}

#[gort::test]
fn try_go_starts_only_where_there_is_a_place() {
    let group: ErrGroup<()> = ErrGroup::new().limit(1);
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let waits = gate.clone();
    assert!(group.try_go(move || {
        drop(waits.lock());
        Ok(())
    }));
    assert!(!group.try_go(|| unreachable!("there is no place")));
    drop(closed);
    let ran = Arc::new(AtomicBool::new(false));
    let runs = ran.clone();
    // Parks until the first has gone.
    group.go(move || {
        runs.store(true, Ordering::SeqCst);
        Ok(())
    });
    assert_eq!(group.wait(), Ok(()));
    assert!(ran.load(Ordering::SeqCst));
    assert!(!ErrGroup::<()>::new().limit(0).try_go(|| Ok(())));
}

#[gort::test]
fn a_limit_above_all_counts_is_none() {
    let group = ErrGroup::<()>::new().limit(usize::MAX);
    group.go(|| Ok(()));
    assert!(group.try_go(|| Ok(())));
    assert_eq!(group.wait(), Ok(()));
}

#[gort::test]
fn a_limit_is_set_once_and_before_the_members() {
    let twice = catch_unwind(|| ErrGroup::<()>::new().limit(1).limit(2)).map(drop);
    assert_eq!(
        text_of(&*twice.unwrap_err()),
        "errgroup: the group has a limit"
    );
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let group: ErrGroup<()> = ErrGroup::new();
    let waits = gate.clone();
    group.go(move || {
        drop(waits.lock());
        Ok(())
    });
    let late = catch_unwind(AssertUnwindSafe(|| group.limit(1))).map(drop);
    assert!(text_of(&*late.unwrap_err()).contains("still active"));
    drop(closed);
}

#[gort::test]
fn a_panic_of_a_member_comes_out_of_wait_when_all_have_ended() {
    // One place, so that each comes after the one before.
    let group = ErrGroup::new().limit(1);
    let ended = Arc::new(AtomicU32::new(0));
    let late = ended.clone();
    group.go(|| Err("an error, which comes first"));
    group.go(|| panic!("on purpose"));
    group.go(move || {
        late.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let outcome = catch_unwind(AssertUnwindSafe(|| group.wait()));
    assert_eq!(text_of(&*outcome.unwrap_err()), "on purpose");
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

/// The context ends with the first error, with a panic, with the wait, and with the group.
#[gort::test]
fn a_groups_context_tells_the_members_to_stop() {
    let parent = context::background();
    let (group, ctx) = ErrGroup::with_context(&parent);
    assert_eq!(ctx.err(), None);
    let waits = ctx.clone();
    group.go(move || {
        assert!(waits.done().recv().is_err());
        Err("told to stop")
    });
    group.go(|| Err("failed"));
    assert_eq!(group.wait(), Err("failed"));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));

    let (group, ctx) = ErrGroup::<()>::with_context(&parent);
    let waits = ctx.clone();
    group.go(move || {
        assert!(waits.done().recv().is_err());
        Ok(())
    });
    group.go(|| panic!("on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(|| group.wait())).is_err());
    assert_eq!(ctx.err(), Some(ContextError::Canceled));

    let (group, ctx) = ErrGroup::<()>::with_context(&parent);
    let looks = ctx.clone();
    group.go(move || {
        assert_eq!(looks.err(), None);
        Ok(())
    });
    assert_eq!(group.wait(), Ok(()));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));

    let (group, ctx) = ErrGroup::<()>::with_context(&parent);
    drop(group);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

/// The parent's end is the group's.
#[gort::test]
fn a_groups_context_ends_with_its_parent() {
    let (parent, cancel) = context::background().with_cancel();
    let (group, ctx) = ErrGroup::with_context(&parent);
    let waits = ctx.clone();
    group.go(move || match waits.done().recv() {
        Ok(()) => unreachable!("nothing is sent"),
        Err(_) => Err(waits.err().expect("it is done")),
    });
    cancel.cancel();
    assert_eq!(group.wait(), Err(ContextError::Canceled));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

#[gort::test]
fn goexit_ends_a_member_without_an_error_and_frees_its_place() {
    let group: ErrGroup<()> = ErrGroup::new().limit(1);
    group.go(|| gort::goexit());
    group.go(|| Ok(()));
    assert_eq!(group.wait(), Ok(()));
}

#[test]
fn a_plain_thread_waits_for_a_group() {
    let group = ErrGroup::new().limit(1);
    for i in 0..20 {
        group.go(move || if i == 7 { Err(i) } else { Ok(()) });
    }
    assert_eq!(group.wait(), Err(7));
}

#[gort::test(procs = 4)]
fn all_who_ask_at_once_share_one_run() {
    let flights = Arc::new(SingleFlight::new());
    let (runs, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(())));
    let closed = gate.lock();
    let ask = |name: &str| {
        let (flights, runs, gate) = (flights.clone(), runs.clone(), gate.clone());
        go_named(name, move || {
            flights.run("key", || {
                runs.fetch_add(1, Ordering::SeqCst);
                drop(gate.lock());
                "value".to_owned()
            })
        })
    };
    let runner = ask("runner");
    eventually_parked("runner", "sync.Mutex.Lock");
    let waiters: Vec<_> = (0..10)
        .map(|i| {
            let name = format!("waiter-{i}");
            let waiter = ask(&name);
            eventually_parked(&name, "sync.WaitGroup.Wait");
            waiter
        })
        .collect();
    // Another key is another flight.
    assert_eq!(
        flights.run("other", || "alone".to_owned()),
        ("alone".to_owned(), false)
    );
    drop(closed);
    for handle in waiters.into_iter().chain([runner]) {
        assert_eq!(handle.join().unwrap(), ("value".to_owned(), true));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    // It is over: the next runs again.
    assert_eq!(
        flights.run("key", || "new".to_owned()),
        ("new".to_owned(), false)
    );
}

#[gort::test]
fn a_forgotten_flight_is_not_joined_any_more() {
    let flights = Arc::new(SingleFlight::new());
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let first = {
        let (flights, gate) = (flights.clone(), gate.clone());
        go_named("first-flight", move || {
            flights.run(1, || {
                drop(gate.lock());
                "first"
            })
        })
    };
    eventually_parked("first-flight", "sync.Mutex.Lock");
    flights.forget(&1);
    let second = {
        let (flights, gate) = (flights.clone(), gate.clone());
        go_named("second-flight", move || {
            flights.run(1, || {
                drop(gate.lock());
                "second"
            })
        })
    };
    eventually_parked("second-flight", "sync.Mutex.Lock");
    let third = {
        let flights = flights.clone();
        go_named("joins-second", move || flights.run(1, || "third"))
    };
    eventually_parked("joins-second", "sync.WaitGroup.Wait");
    drop(closed);
    assert_eq!(first.join().unwrap(), ("first", false));
    assert_eq!(second.join().unwrap(), ("second", true));
    assert_eq!(third.join().unwrap(), ("second", true));
}

type Ended = Result<(u32, bool), gort::JoinError>;

/// Starts a run that ends with `end`, and one that waits for it, by these names. They give how each ended.
fn run_and_wait(
    [runs, waits]: [&str; 2],
    end: fn() -> u32,
) -> (Arc<SingleFlight<u32, u32>>, [Ended; 2]) {
    let flights = Arc::new(SingleFlight::new());
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let runner = {
        let (flights, gate) = (flights.clone(), gate.clone());
        go_named(runs, move || {
            flights.run(1, || {
                drop(gate.lock());
                end()
            })
        })
    };
    eventually_parked(runs, "sync.Mutex.Lock");
    let waiter = {
        let flights = flights.clone();
        go_named(waits, move || flights.run(1, || unreachable!()))
    };
    eventually_parked(waits, "sync.WaitGroup.Wait");
    drop(closed);
    (flights, [runner.join(), waiter.join()])
}

#[gort::test]
fn a_panic_reaches_the_runner_and_those_who_wait() {
    let (flights, [runner, waiter]) =
        run_and_wait(["panics", "waits-for-panic"], || panic!("on purpose"));
    assert_eq!(text_of(&*runner.unwrap_err().into_panic()), "on purpose");
    assert_eq!(
        text_of(&*waiter.unwrap_err().into_panic()),
        "singleflight: the function panicked: on purpose"
    );
    assert_eq!(flights.run(1, || 5), (5, false));
}

#[gort::test]
fn a_goexit_ends_the_runner_and_those_who_wait() {
    let (flights, [runner, waiter]) = run_and_wait(["exits", "waits-for-exit"], || gort::goexit());
    assert!(runner.unwrap_err().is_goexit());
    assert!(waiter.unwrap_err().is_goexit());
    assert_eq!(flights.run(1, || 5), (5, false));
}

/// Whoever asks gets the value of a run that had not ended when it asked; runs of one key come one after
/// the other; and `shared` is exact.
#[gort::test(procs = 4)]
fn flights_in_a_crowd() {
    const KEYS: usize = 3;
    let flights = SingleFlight::new();
    let ended = [const { AtomicU32::new(0) }; KEYS];
    let (shared, alone) = (AtomicU32::new(0), AtomicU32::new(0));
    gort::scope(|s| {
        for _ in 0..8 {
            s.go(|| {
                for round in 0..1_000 {
                    let key = round % KEYS;
                    let before = ended[key].load(Ordering::SeqCst);
                    let (value, is_shared) = flights.run(key, || {
                        let value = ended[key].load(Ordering::SeqCst) + 1;
                        if value % 5 == 0 {
                            gort::yield_now();
                        }
                        assert_eq!(ended[key].swap(value, Ordering::SeqCst), value - 1);
                        value
                    });
                    // Its function may have ended, but not the run.
                    assert!(value >= before, "an old value");
                    let count = if is_shared { &shared } else { &alone };
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let runs: u32 = ended.into_iter().map(AtomicU32::into_inner).sum();
    let (shared, alone) = (shared.into_inner(), alone.into_inner());
    assert_eq!(shared + alone, 8_000);
    // A run that is shared has two callers at least.
    assert!(runs >= alone && runs <= alone + shared / 2);
}

//! S137 to S140, PN16, PN17: variables, and what runs when a frame is left. Go's `defer` is drop order here, or
//! `defer!` (D10).

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gort_conformance::support::panic_text;

#[gort::test]
fn s137_shadowing_ends_with_its_block() {
    let printed = RefCell::new(Vec::new());
    let x = 1;
    {
        let (x, y) = (2, 3);
        printed.borrow_mut().push(format!("Inner: {x} {y}"));
    }
    printed.borrow_mut().push(format!("Outer: {x}"));
    assert_eq!(*printed.borrow(), ["Inner: 2 3", "Outer: 1"]);
}

/// What was logged at the end of a job of 100 ms, last first: by a block that was given the time that had passed
/// at the defer, by one that takes it when it runs, and by the first that was deferred.
fn deferred_log(job: Duration) -> Vec<(&'static str, Duration)> {
    let log = RefCell::new(Vec::new());
    let start = Instant::now();
    let work = || {
        gort::defer! { log.borrow_mut().push(("done", start.elapsed())) }
        gort::defer! { log.borrow_mut().push(("cost, by closure", start.elapsed())) }
        let at_the_defer = start.elapsed();
        gort::defer! { log.borrow_mut().push(("cost, by value", at_the_defer)) }
        log.borrow_mut().push(("start", start.elapsed()));
        // waits: the job is what is measured.
        gort::time::sleep(job);
    };
    work();
    log.into_inner()
}

#[gort::test]
fn s138_what_a_deferred_call_is_given_is_evaluated_at_the_defer() {
    const JOB: Duration = Duration::from_millis(100);
    let mut logs = (0..10).map(|_| deferred_log(JOB)).inspect(|log| {
        let order: Vec<_> = log.iter().map(|(what, _)| *what).collect();
        assert_eq!(
            order,
            ["start", "cost, by value", "cost, by closure", "done"]
        );
        assert!(log[1].1 <= log[0].1 && log[2].1 >= JOB, "{log:?}");
    });
    // On a machine that is busy just then one may have lost its turn before the defer.
    assert!(logs.any(|log| log[1].1 < Duration::from_millis(1)));
}

#[gort::test]
fn s139_a_deferred_change_comes_after_the_result_was_taken() {
    fn result(i: &Cell<i32>) -> i32 {
        gort::defer! { i.set(i.get() + 1); }
        i.get()
    }
    let i = Cell::new(1);
    let j = result(&i);
    assert_eq!((i.get(), j), (2, 1));
}

/// Results have no names: a deferred block cannot change what was taken. Go's 2 comes from a cell that is read
/// when the block has run.
#[gort::test]
fn s140_d10_a_deferred_change_of_the_result_itself() {
    fn literal_port() -> i32 {
        let i = Cell::new(0);
        gort::defer! { i.set(i.get() + 1); }
        i.set(1);
        i.get()
    }
    fn read_after() -> i32 {
        let i = Cell::new(0);
        {
            gort::defer! { i.set(i.get() + 1); }
            i.set(1);
        }
        i.get()
    }
    assert_eq!(literal_port(), 1);
    assert_eq!(read_after(), 2);
}

/// The three ways to leave a frame.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Return,
    Panic,
    Goexit,
}

impl End {
    const ALL: [End; 3] = [End::Return, End::Panic, End::Goexit];

    fn leave(self) {
        match self {
            End::Return => {}
            End::Panic => panic!("the end"),
            End::Goexit => gort::goexit(),
        }
    }

    /// The goroutine has ended so.
    #[track_caller]
    fn assert_of(self, ended: Result<(), gort::JoinError>) {
        match (self, ended) {
            (End::Return, Ok(())) => {}
            (End::Panic, Err(error)) if error.is_panic() => {
                assert_eq!(panic_text(&*error.into_panic()), "the end");
            }
            (End::Goexit, Err(error)) if error.is_goexit() => {}
            (end, ended) => panic!("{end:?}: {ended:?}"),
        }
    }
}

#[gort::test]
fn pn16_deferred_actions_run_in_reverse_order_each_once() {
    const COUNT: usize = 10_000;
    for end in End::ALL {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&ran);
        let ended = gort::go(move || {
            let push = |what: usize| log.lock().unwrap().push(what);
            gort::defer! { push(usize::MAX) }
            // A `defer!` belongs to its block. What loops and branches defer to the end of a frame stands on a stack.
            let deferred = RefCell::new(Vec::new());
            gort::defer! {
                while let Some(action) = deferred.borrow_mut().pop() {
                    push(action);
                }
            }
            for i in 0..COUNT {
                deferred.borrow_mut().push(i);
                if i % 3 == 0 {
                    deferred.borrow_mut().push(COUNT + i);
                }
                if i % 1_000 == 0 {
                    // Ends with its branch.
                    gort::defer! { push(2 * COUNT + i) }
                    gort::yield_now();
                }
            }
            end.leave();
        });
        end.assert_of(ended.join());
        let in_branches = (0..COUNT).step_by(1_000).map(|i| 2 * COUNT + i);
        let at_the_end = (0..COUNT).rev().flat_map(|i| {
            let in_branch = (i % 3 == 0).then_some(COUNT + i);
            in_branch.into_iter().chain([i])
        });
        let expected = in_branches.chain(at_the_end).chain([usize::MAX]);
        assert!(ran.lock().unwrap().iter().copied().eq(expected), "{end:?}");
    }
}

/// Calls itself until there are 10 KiB of frames, and ends there.
fn deeper(left: u8, end: End) {
    let frame = std::hint::black_box([left; 1024]);
    // Unwinding goes through a switch.
    gort::defer! { gort::yield_now(); }
    match left {
        0 => end.leave(),
        _ => deeper(left - 1, end),
    }
    assert_eq!(frame, [left; 1024]);
}

#[gort::test]
fn pn17_deferred_code_sees_intact_variables_after_deep_unwinding() {
    for end in End::ALL {
        let goroutines = (0..8_u64).map(|id| {
            gort::go(move || {
                let seen = Arc::new(Mutex::new(None));
                let kept = Arc::clone(&seen);
                let ended = gort::go(move || {
                    let (numbers, text) = ([id; 32], id.to_string());
                    let changed = Cell::new(id);
                    gort::defer! {
                        *kept.lock().unwrap() = Some((numbers, text.clone(), changed.get()));
                    }
                    changed.set(id + 1);
                    deeper(10, end);
                });
                end.assert_of(ended.join());
                let seen = seen.lock().unwrap().take();
                assert_eq!(seen, Some(([id; 32], id.to_string(), id + 1)), "{end:?}");
            })
        });
        // All at once.
        for goroutine in goroutines.collect::<Vec<_>>() {
            goroutine.join().unwrap();
        }
    }
}

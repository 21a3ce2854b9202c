//! All calls of the table, in each place, in both thread-local modes.
//!
//! Calls that must leave the process as it is are made in one process after another; it is started again
//! behind a call that ends it all the same. One that must end the process gets one of its own, as does
//! each call that is to be the first of its process.

use std::os::unix::process::ExitStatusExt;

use gort_crash::{Ended, Program};
use gort_soundness::calls::{self, Call};
use gort_soundness::{Expected, Outcome, Place};

/// Lines of a failure's text that are shown.
const LINES_SHOWN: usize = 60;

fn run(place: Place, mode: &str, calls: &[&Call]) -> Ended {
    let program = Program::at(env!("CARGO_BIN_EXE_soundness"));
    let program = program.var("GORT_TLS", mode).arg(&place.to_string());
    let program = calls
        .iter()
        .fold(program, |program, call| program.arg(call.name));
    program.run()
}

/// How a call ended in a process that had begun with it.
fn outcome(call: &Call, ended: &Ended) -> Outcome {
    let told = format!("end {}: ", call.name);
    let mut lines = ended.stdout.lines();
    let told = lines.find_map(|line| line.strip_prefix(&told));
    if let Some(outcome) = told.and_then(Outcome::parse) {
        return outcome;
    }
    let ended_by = ended.status.signal().or(ended.status.code());
    Outcome::Ended(ended_by.unwrap_or(0), ended.stderr.clone())
}

/// What is to be said of a call that ended otherwise than it must.
fn failure(call: &Call, place: Place, ended: &Ended) -> Option<String> {
    let (outcome, expected) = (outcome(call, ended), call.expected(place));
    if outcome.is(expected) {
        return None;
    }
    let text: Vec<&str> = ended.stderr.lines().take(LINES_SHOWN).collect();
    let (name, text) = (call.name, text.join("\n"));
    Some(format!(
        "{name}\n  must: {expected:?}\n  is: {outcome}\n{text}"
    ))
}

/// Fails if any call ends otherwise than it must.
#[track_caller]
fn assert_all_as_expected(place: Place, mode: &str) {
    let table = calls::all();
    let ends = |call: &&Call| matches!(call.expected(place), Expected::Ends(..));
    let (alone, mut together): (Vec<&Call>, Vec<&Call>) = table
        .iter()
        .partition(|call| place == Place::First || ends(call) && !place.is_forked());
    let mut failures = Vec::new();
    for call in alone {
        failures.extend(failure(call, place, &run(place, mode, &[call])));
    }
    while !together.is_empty() {
        let ended = run(place, mode, &together);
        let has_begun = |call: &&Call| {
            let begins = format!("begin {}", call.name);
            ended.stdout.lines().any(|line| line == begins)
        };
        let made = together.iter().take_while(|call| has_begun(call)).count();
        for call in &together[..made] {
            failures.extend(failure(call, place, &ended));
        }
        if made == together.len() && !ended.status.success() {
            let name = together[made - 1].name;
            failures.push(format!("after {name}, at the end of the process: {ended}"));
        }
        assert!(made > 0, "{place}, {mode}: no call was begun: {ended}");
        together.drain(..made);
    }
    assert!(
        failures.is_empty(),
        "{} of {} calls in {place} do not end as they must (GORT_TLS={mode}):\n\n{}",
        failures.len(),
        table.len(),
        failures.join("\n\n")
    );
}

/// With nothing before them that maps memory in the place of what std has unmapped.
#[test]
fn signals_come_while_a_goroutine_ends_the_process() {
    let place = Place::AtExitOfGoroutine;
    let table = calls::all();
    let is_signal = |call: &&Call| call.name.starts_with("signal::notify");
    let signals: Vec<&Call> = table.iter().filter(is_signal).collect();
    assert!(!signals.is_empty());
    let failures: Vec<_> = (0..10)
        .flat_map(|_| ["auto", "thread"])
        .flat_map(|mode| signals.iter().map(move |call| (mode, *call)))
        .filter_map(|(mode, call)| failure(call, place, &run(place, mode, &[call])))
        .collect();
    let count = failures.len();
    assert_eq!(count, 0, "{}", failures.join("\n\n"));
}

macro_rules! tests {
    ($($name:ident: $place:ident,)+) => {
        mod own {
            use super::*;
            $(#[test] fn $name() { assert_all_as_expected(Place::$place, "auto"); })+
        }
        mod thread {
            use super::*;
            $(#[test] fn $name() { assert_all_as_expected(Place::$place, "thread"); })+
        }
        #[test]
        fn every_place_is_visited() {
            assert_eq!(Place::ALL, [$(Place::$place),+]);
        }
    };
}
tests! {
    in_a_goroutine: Goroutine,
    in_a_goroutine_with_a_thread_of_its_own: OwnThread,
    in_a_goroutine_locked_to_its_thread: Locked,
    inside_of_blocking: Blocking,
    on_a_plain_thread: Thread,
    first_in_a_process: First,
    in_a_destructor_while_a_panic_unwinds: Unwinding,
    in_a_destructor_while_a_threads_panic_unwinds: UnwindingThread,
    in_a_thread_locals_destructor: ThreadLocal,
    in_a_threads_thread_locals_destructor: ThreadLocalFirst,
    in_a_threads_last_destructor: ThreadLocalLast,
    in_a_destructor_of_the_main_thread: ThreadLocalOfMain,
    in_a_keys_destructor: Key,
    in_a_threads_keys_destructor: KeyOfThread,
    after_a_goroutines_fork: Forked,
    after_a_threads_fork: ForkedThread,
    at_exit: AtExit,
    at_a_goroutines_exit: AtExitOfGoroutine,
    in_a_scope_that_unwinds: ScopeBody,
    in_a_scopes_goroutine_while_it_unwinds: ScopeChild,
    in_a_future: Future,
    in_a_future_on_a_plain_thread: FutureOnThread,
    in_a_goroutine_without_a_stack: Task,
    in_a_waker: Waker,
    in_a_timers_waker: WakerOfTimer,
    in_the_waker_of_a_goroutines_end: WakerOfEnd,
    in_the_drop_of_a_value: ValueDrop,
    in_the_drop_of_a_result: ResultDrop,
    in_a_panic_hook: PanicHook,
}

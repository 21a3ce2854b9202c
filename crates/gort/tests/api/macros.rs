//! `#[gort::main]` and `#[gort::test]` as they are used.

use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;

/// Parks for ever: nobody can wake it.
fn park_for_ever() {
    gort::block_on(std::future::pending::<()>());
}

mod returns_nothing {
    #[gort::main]
    pub(super) fn main() {
        assert!(
            gort::try_current().is_some(),
            "the body runs on a goroutine"
        );
    }
}

mod fails {
    #[gort::main]
    pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
        Err("not `Send`, and printed where it was made".into())
    }
}

#[test]
fn main_runs_on_a_goroutine_and_ends_well() {
    assert_eq!(returns_nothing::main(), ExitCode::SUCCESS);
}

#[test]
fn an_error_of_main_is_a_failing_exit_code() {
    assert_eq!(fails::main(), ExitCode::FAILURE);
}

#[gort::test]
fn a_test_runs_on_a_goroutine() {
    assert!(gort::try_current().is_some());
}

#[gort::test]
fn a_test_may_return_what_is_not_send() -> Result<(), Box<dyn Error>> {
    let text = Cell::new("7");
    assert_eq!(text.get().parse::<i32>()?, 7);
    Ok(())
}

#[gort::test]
#[should_panic(expected = "from the body")]
fn a_panic_of_the_body_fails_the_test() {
    panic!("from the body");
}

#[gort::test]
#[should_panic(expected = "left 2 goroutine(s) behind")]
fn leaked_goroutines_fail_the_test() {
    gort::go(park_for_ever);
    gort::go(park_for_ever);
}

#[gort::test(leaks = "allow")]
fn leaks_may_be_allowed() {
    gort::go(park_for_ever);
    assert!(gort::runtime::num_goroutine() >= 1);
}

#[gort::test]
fn what_ends_soon_is_no_leak() {
    // The check after the body is the assertion.
    drop(gort::go(gort::yield_now));
}

#[gort::test(timeout = "200ms")]
#[should_panic(expected = "has not ended after 200ms")]
fn a_test_that_hangs_fails() {
    // waits: beyond the timeout; one that sleeps is not told to hang before that
    gort::time::sleep(std::time::Duration::from_secs(3600));
}

#[gort::test]
#[should_panic(expected = "hangs: all its goroutines wait")]
fn a_test_whose_goroutines_wait_for_each_other_fails_at_once() {
    let (sender, receiver) = gort::chan::bounded::<()>(0);
    gort::go(move || {
        let (_other_sender, other) = gort::chan::bounded::<()>(0);
        let _ = other.recv();
        drop(sender);
    });
    let _ = receiver.recv();
}

/// It runs alone, so it waits for those that run.
#[gort::test(procs = 2)]
fn a_test_with_a_number_of_its_own_has_its_turn() {
    assert_eq!(gort::runtime::metrics().gomaxprocs, 2);
}

#[gort::test]
#[should_panic(expected = "hangs: all its goroutines wait")]
fn a_test_that_hangs_is_found_while_another_waits_for_its_turn() {
    std::thread::spawn(a_test_with_a_number_of_its_own_has_its_turn);
    let (_sender, receiver) = gort::chan::bounded::<()>(0);
    let _ = receiver.recv();
}

#[gort::test]
fn a_test_that_a_plain_thread_wakes_does_not_hang() {
    let (sender, receiver) = gort::chan::bounded(0);
    std::thread::spawn(move || {
        // waits: longer than goroutines must be parked to count as hung
        std::thread::sleep(std::time::Duration::from_millis(600));
        sender.send(7).unwrap();
    });
    assert_eq!(receiver.recv(), Ok(7));
}

#[gort::test]
fn a_test_that_a_timer_wakes_does_not_hang() {
    let (sender, receiver) = gort::chan::bounded(0);
    let pause = std::time::Duration::from_millis(600);
    gort::time::after_func(pause, move || sender.send(7).unwrap()).detach();
    assert_eq!(receiver.recv(), Ok(7));
}

#[gort::test]
fn a_test_that_a_blocking_call_wakes_does_not_hang() {
    let (sender, receiver) = gort::chan::bounded(0);
    gort::go(move || {
        // waits: longer than goroutines must be parked to count as hung
        gort::blocking(|| std::thread::sleep(std::time::Duration::from_millis(600)));
        sender.send(7).unwrap();
    });
    assert_eq!(receiver.recv(), Ok(7));
}

#[gort::test(procs = 3)]
fn procs_holds_during_the_test() {
    assert_eq!(gort::runtime::gomaxprocs(), 3);
}

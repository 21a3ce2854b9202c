//! Handlers of others over ours that go on to the one they replaced, as libraries for signals do.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gort::chan::Receiver;
use gort::signal::{Signal, notify};
use gort_test_support::{alone, eventually};

use super::support::{action, receive, send};

/// Calls of the handler that was there before ours, and of the one that was put over it.
static BEFORE: AtomicUsize = AtomicUsize::new(0);
static OVER: AtomicUsize = AtomicUsize::new(0);
/// What the one over ours has replaced.
static REPLACED: OnceLock<libc::sigaction> = OnceLock::new();

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

extern "C" fn before(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    BEFORE.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn over(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    OVER.fetch_add(1, Ordering::SeqCst);
    let address = REPLACED.get().map_or(libc::SIG_DFL, |it| it.sa_sigaction);
    if address != libc::SIG_DFL && address != libc::SIG_IGN {
        // SAFETY: the actions in this process that have handlers have such ones.
        unsafe { mem::transmute::<usize, Handler>(address)(signo, info, context) };
    }
}

fn install(signal: Signal, handler: Handler, flags: c_int) -> libc::sigaction {
    // SAFETY: zero is a valid `sigaction`; the handlers are async-signal-safe, and take three arguments.
    unsafe {
        let mut new: libc::sigaction = mem::zeroed();
        new.sa_sigaction = handler as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK | flags;
        let mut old = mem::zeroed();
        let answer = libc::sigaction(signal.as_raw(), &new, &raw mut old);
        assert_eq!(answer, 0);
        old
    }
}

/// A subscription, over `before`, and under `over`.
fn subscribe_in_between(signal: Signal) -> Receiver<Signal> {
    install(signal, before, 0);
    let receiver = notify(&[signal]);
    put_over(signal);
    receiver
}

fn put_over(signal: Signal) {
    let replaced = install(signal, over, 0);
    assert!(REPLACED.set(replaced).is_ok(), "once in a process");
}

#[track_caller]
fn assert_calls(before: usize, over: usize) {
    eventually("the handlers are called", || {
        BEFORE.load(Ordering::SeqCst) >= before && OVER.load(Ordering::SeqCst) >= over
    });
    let calls = [&BEFORE, &OVER].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(calls, [before, over]);
}

/// Raises its signal when it is called first, and lets it come at once.
extern "C" fn again(signo: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    if BEFORE.fetch_add(1, Ordering::SeqCst) == 0 {
        // SAFETY: `raise` takes any signal, and is async-signal-safe.
        assert_eq!(unsafe { libc::raise(signo) }, 0);
        assert_eq!(BEFORE.load(Ordering::SeqCst), 2, "it is not blocked");
    }
}

/// That is no call from within.
#[test]
fn a_handler_that_was_there_may_be_interrupted_by_its_own_signal() {
    alone(
        "chained::a_handler_that_was_there_may_be_interrupted_by_its_own_signal",
        || {
            gort::run(|| {
                let signal = Signal::SIGUSR1;
                install(signal, again, libc::SA_NODEFER);
                let receiver = notify(&[signal]);
                send(signal);
                assert_eq!(receive(&receiver), signal);
                assert_calls(2, 0);
            });
        },
    );
}

#[test]
fn the_default_action_is_not_taken_under_another_handler() {
    alone(
        "chained::the_default_action_is_not_taken_under_another_handler",
        || {
            gort::run(|| {
                let signal = Signal::SIGUSR1;
                let receiver = notify(&[signal]);
                put_over(signal);
                send(signal);
                assert_eq!(receive(&receiver), signal);
                assert_calls(0, 1);
                drop(receiver);
                send(signal);
                assert_calls(0, 2);
            });
        },
    );
}

#[test]
fn what_was_there_is_called_under_another_handler() {
    alone(
        "chained::what_was_there_is_called_under_another_handler",
        || {
            gort::run(|| {
                let signal = Signal::SIGUSR1;
                let receiver = subscribe_in_between(signal);
                send(signal);
                assert_eq!(receive(&receiver), signal);
                assert_calls(1, 1);
                drop(receiver);
                send(signal);
                assert_calls(2, 2);
            });
        },
    );
}

/// Ours comes first again then, and is the one that theirs goes on to.
#[test]
fn a_second_subscription_does_not_make_a_circle() {
    alone(
        "chained::a_second_subscription_does_not_make_a_circle",
        || {
            gort::run(|| {
                let signal = Signal::SIGUSR1;
                drop(subscribe_in_between(signal));
                for round in 1..=3 {
                    let receiver = notify(&[signal]);
                    assert_ne!(action(signal), over as *const () as usize);
                    send(signal);
                    assert_eq!(receive(&receiver), signal);
                    assert_calls(2 * round - 1, 2 * round - 1);
                    // Once each.
                    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
                    drop(receiver);
                    assert_eq!(action(signal), over as *const () as usize);
                    send(signal);
                    assert_calls(2 * round, 2 * round);
                }
            });
        },
    );
}

/// A subscription under another handler, which then goes away.
#[test]
fn what_was_there_comes_back_with_ours_unwanted_on_top() {
    alone(
        "chained::what_was_there_comes_back_with_ours_unwanted_on_top",
        || {
            gort::run(|| {
                let signal = Signal::SIGUSR1;
                let receiver = subscribe_in_between(signal);
                drop(receiver);
                // SAFETY: what `sigaction` gave.
                let answer = unsafe {
                    libc::sigaction(
                        signal.as_raw(),
                        &REPLACED.get().unwrap().clone(),
                        ptr::null_mut(),
                    )
                };
                assert_eq!(answer, 0);
                send(signal);
                assert_calls(1, 0);
            });
        },
    );
}

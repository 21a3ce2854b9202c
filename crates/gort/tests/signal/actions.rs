//! What the process does with a signal before, during and after a subscription.

use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use gort::chan::TryRecvError;
use gort::process::{Command, CommandExt};
use gort::signal::{Signal, ignore, ignored, notify, reset, stop};
use gort_test_support::{alone, eventually};

use super::support::{action, receive, send};

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

#[gort::test]
fn a_handler_that_was_there_is_called_too_and_comes_back() {
    let signal = Signal::SIGPWR;
    let handler = count as *const () as usize;
    // SAFETY: the handler is async-signal-safe, and of the form that takes the number alone.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        assert_eq!(
            libc::sigaction(signal.as_raw(), &action, ptr::null_mut()),
            0
        );
    }
    for round in 1..=3 {
        let receiver = notify(&[signal]);
        assert_ne!(action(signal), handler);
        send(signal);
        assert_eq!(receive(&receiver), signal);
        eventually("the handler is called", || {
            HANDLED.load(Ordering::SeqCst) == 2 * round - 1
        });
        drop(receiver);
        assert_eq!(action(signal), handler);
        send(signal);
        eventually("it is called alone", || {
            HANDLED.load(Ordering::SeqCst) == 2 * round
        });
    }
}

/// Rust's programs begin with it.
#[gort::test]
fn an_ignored_signal_is_had_and_then_ignored_again() {
    assert!(ignored(Signal::SIGPIPE));
    let receiver = notify(&[Signal::SIGPIPE]);
    assert!(!ignored(Signal::SIGPIPE));
    send(Signal::SIGPIPE);
    assert_eq!(receive(&receiver), Signal::SIGPIPE);
    drop(receiver);
    assert!(ignored(Signal::SIGPIPE));
    send(Signal::SIGPIPE);
}

#[gort::test]
fn ignore_ends_subscriptions_and_reset_undoes_both() {
    let (one, other) = (Signal::SIGTTIN, Signal::SIGTTOU);
    let only_one = notify(&[one]);
    let both = notify(&[one, other]);
    ignore(&[one]);
    ignore(&[one]);
    assert!(ignored(one) && !ignored(other));
    assert!(only_one.recv().is_err(), "nothing is left of it");
    send(one);
    send(other);
    assert_eq!(receive(&both), other);
    // Subscribed to while ignored, and then ignored again.
    let again = notify(&[one]);
    send(one);
    assert_eq!(receive(&again), one);
    drop(again);
    assert!(ignored(one));
    reset(&[one, other]);
    assert!(both.recv().is_err());
    assert_eq!([one, other].map(action), [libc::SIG_DFL; 2]);
}

/// A signal that is on its way while a subscription becomes `ignore` was sent to one of the two.
#[gort::test]
fn no_signal_meets_the_default_action_between_a_subscription_and_ignore() {
    let signal = Signal::SIGTSTP;
    ignore(&[signal]);
    let is_over = Arc::new(AtomicBool::new(false));
    let senders = [(); 2].map(|()| {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                send(signal);
            }
        })
    });
    for _ in 0..500 {
        let receiver = notify(&[signal]);
        ignore(&[signal]);
        assert!(receiver.iter().all(|found| found == signal));
        drop(notify(&[signal]));
    }
    is_over.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    assert!(ignored(signal));
}

/// What somebody has put over ours is theirs.
#[gort::test]
fn a_handler_put_over_a_subscription_stays() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 3).unwrap();
    let receiver = notify(&[signal]);
    // SAFETY: no handler is set.
    unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) };
    drop(receiver);
    assert!(ignored(signal));
}

#[test]
fn no_signals_given_are_all_that_can_be_had() {
    alone("actions::no_signals_given_are_all_that_can_be_had", || {
        gort::run(|| {
            let urgent = action(Signal::SIGURG);
            let receiver = notify(&[]);
            for signal in [
                Signal::SIGINT,
                Signal::SIGQUIT,
                Signal::SIGTERM,
                Signal::SIGPROF,
            ] {
                send(signal);
                assert_eq!(receive(&receiver), signal);
            }
            assert_eq!(action(Signal::SIGURG), urgent);
            stop(&receiver);
            assert_eq!(action(Signal::SIGTERM), libc::SIG_DFL);
            ignore(&[]);
            assert!(ignored(Signal::SIGTERM) && ignored(Signal::SIGHUP));
            // None is sent now: a thread that is still in a handler would keep it until it is reset.
            reset(&[]);
            assert_eq!(action(Signal::SIGTERM), libc::SIG_DFL);
            assert!(ignored(Signal::SIGPIPE), "as Rust began with it");
        });
    });
}

/// It is the child's signal, and not the parent's. In a process of its own, where what is done by default can be set:
/// under `nohup` the signal is ignored.
#[test]
fn a_forked_child_does_what_was_done_before() {
    let name = "actions::a_forked_child_does_what_was_done_before";
    alone(name, || {
        // SAFETY: no handler is set.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        gort::run(fork_with_a_subscription);
    });
}

fn fork_with_a_subscription() {
    let signal = Signal::SIGHUP;
    let receiver = notify(&[signal]);
    let mut command = Command::new("true");
    // SAFETY: one call, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            libc::raise(libc::SIGHUP);
            Ok(())
        })
    };
    assert_eq!(command.status().unwrap().signal(), Some(libc::SIGHUP));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    let status = Command::new("/bin/sh")
        .args(["-c", "kill -HUP $$"])
        .status();
    assert_eq!(status.unwrap().signal(), Some(libc::SIGHUP), "by default");
    send(signal);
    assert_eq!(receive(&receiver), signal);
}

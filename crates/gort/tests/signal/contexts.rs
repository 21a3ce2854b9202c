//! Signals that end contexts.

use gort::context::{ContextError, background};
use gort::signal::{Received, Signal, context, notify, reset};
use gort_test_support::eventually;

use super::support::{action, receive, send};

#[gort::test]
fn a_signal_cancels_the_context_and_is_its_cause() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 5).unwrap();
    let (ctx, stop) = context(&background(), &[signal]);
    assert_eq!(ctx.err(), None);
    send(signal);
    assert!(ctx.done().recv().is_err());
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    let cause = ctx.cause().unwrap();
    assert_eq!(cause.downcast_ref(), Some(&Received(signal)));
    // Still subscribed: the next one does not end the process.
    let beside = notify(&[signal]);
    send(signal);
    assert_eq!(receive(&beside), signal);
    drop(beside);
    assert_ne!(action(signal), libc::SIG_DFL);
    stop.stop();
    assert_eq!(action(signal), libc::SIG_DFL);
}

#[gort::test]
fn a_stop_cancels_the_context_and_ends_the_subscription() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 6).unwrap();
    let (ctx, stop) = context(&background(), &[signal]);
    let beside = notify(&[signal]);
    drop(stop);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert!(ctx.cause().unwrap().downcast_ref::<Received>().is_none());
    send(signal);
    assert_eq!(receive(&beside), signal, "the other's goes on");
    drop(beside);
    assert_eq!(action(signal), libc::SIG_DFL);
}

#[gort::test]
fn a_parents_end_is_its_childs() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 7).unwrap();
    let (parent, cancel) = background().with_cancel();
    let (ctx, stop) = context(&parent, &[signal]);
    cancel.cancel();
    assert!(ctx.err().is_some());
    assert_ne!(action(signal), libc::SIG_DFL, "until the stop");
    drop(stop);
    assert_eq!(action(signal), libc::SIG_DFL);
}

#[gort::test]
fn a_reset_ends_the_subscription_and_not_the_context() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 8).unwrap();
    let (ctx, stop) = context(&background(), &[signal]);
    reset(&[signal]);
    assert_eq!(action(signal), libc::SIG_DFL);
    assert_eq!(ctx.err(), None);
    drop(stop);
    assert!(ctx.err().is_some());
}

/// What it is for: work that obeys the context ends by Control-C.
#[gort::test]
fn a_goroutine_in_the_context_is_told() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 9).unwrap();
    let (ctx, _stop) = context(&background(), &[signal]);
    let worker = gort::go({
        let ctx = ctx.clone();
        move || {
            let mut rounds = 0;
            while ctx.err().is_none() {
                rounds += 1;
                gort::yield_now();
            }
            rounds
        }
    });
    send(signal);
    eventually("it has ended", || worker.is_finished());
    worker.join().unwrap();
}

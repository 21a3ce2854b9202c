//! What comes to a subscription, and what ends it.

use std::panic;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use gort::chan::{self, RecvError, TryRecvError, select};
use gort::signal::{BUFFER, Signal, ignore, notify, stop};
use gort_test_support::{alone, eventually, is_alone};

use super::support::{action, receive, send};

/// What came while the last subscription was ending is not for the first one after that.
#[gort::test]
fn a_signal_of_an_ended_subscription_comes_to_no_later_one() {
    let signal = Signal::SIGALRM;
    for round in 0..300 {
        let first = notify(&[signal]);
        for _ in 0..2 {
            // SAFETY: `raise` takes any signal; it returns when the handler has run.
            assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
        }
        assert_eq!(receive(&first), signal);
        drop(first);
        let second = notify(&[signal]);
        let late = second.recv_timeout(Duration::from_millis(2));
        assert!(late.is_err(), "an old signal, in round {round}");
    }
}

#[gort::test]
fn a_signal_comes_as_a_value() {
    let receiver = notify(&[Signal::SIGUSR1]);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    for _ in 0..3 {
        send(Signal::SIGUSR1);
        assert_eq!(receive(&receiver), Signal::SIGUSR1);
    }
    let (_never, nothing) = chan::nil::<()>();
    send(Signal::SIGUSR1);
    select! {
        recv(receiver) -> signal => assert_eq!(signal, Ok(Signal::SIGUSR1)),
        recv(nothing) -> _ => unreachable!("it is nil"),
    }
}

#[test]
fn a_plain_thread_may_wait_for_signals() {
    let signal = Signal::from_raw(libc::SIGRTMIN() + 27).unwrap();
    let receiver = notify(&[signal]);
    let sender = thread::spawn(move || send(signal));
    assert_eq!(receive(&receiver), signal);
    sender.join().unwrap();
}

#[gort::test]
fn each_subscription_gets_its_own() {
    let one = notify(&[Signal::SIGUSR2]);
    let both = notify(&[Signal::SIGUSR2, Signal::SIGWINCH]);
    send(Signal::SIGUSR2);
    assert_eq!(receive(&one), Signal::SIGUSR2);
    assert_eq!(receive(&both), Signal::SIGUSR2);
    send(Signal::SIGWINCH);
    assert_eq!(receive(&both), Signal::SIGWINCH);
    assert!(one.is_empty());
    drop(both);
    send(Signal::SIGUSR2);
    assert_eq!(receive(&one), Signal::SIGUSR2);
}

#[gort::test]
fn a_subscription_ends_with_its_last_receiver_or_by_hand() {
    let signal = Signal::SIGVTALRM;
    assert_eq!(action(signal), libc::SIG_DFL);

    let receiver = notify(&[signal]);
    let clone = receiver.clone();
    drop(receiver);
    send(signal);
    assert_eq!(receive(&clone), signal);
    drop(clone);
    assert_eq!(action(signal), libc::SIG_DFL, "dropped");

    let receiver = notify(&[signal]);
    assert!(receiver.close());
    assert_eq!(action(signal), libc::SIG_DFL, "closed");
    assert_eq!(receiver.recv(), Err(RecvError));

    let receiver = notify(&[signal]);
    send(signal);
    eventually("it has come", || !receiver.is_empty());
    stop(&receiver);
    assert_eq!(action(signal), libc::SIG_DFL, "stopped");
    stop(&receiver);
    assert_eq!(receiver.recv(), Ok(signal), "what it holds stays");
    assert_eq!(receiver.recv(), Err(RecvError));

    // Another's channel.
    let (sender, receiver) = chan::bounded(1);
    stop(&receiver);
    sender.send(signal).unwrap();
}

/// Nobody waits for a receiver.
#[gort::test]
fn a_full_subscription_loses_what_comes_and_no_other_does() {
    let signal = Signal::SIGXCPU;
    let (lazy, eager) = (notify(&[signal]), notify(&[signal]));
    for _ in 0..BUFFER + 10 {
        send(signal);
        assert_eq!(receive(&eager), signal);
    }
    eventually("it is full", || lazy.is_full());
    stop(&lazy);
    assert_eq!(lazy.iter().count(), BUFFER);
}

/// Whoever comes while the first of all is still making what the handler needs must not meet a handler without it.
#[test]
fn the_first_subscriptions_may_come_at_once() {
    let rounds = if is_alone() { 1 } else { 30 };
    for _ in 0..rounds {
        alone(
            "subscriptions::the_first_subscriptions_may_come_at_once",
            subscribe_at_once,
        );
    }
}

fn subscribe_at_once() {
    const THREADS: i32 = 8;
    gort::go(|| ()).join().unwrap();
    let start = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|i| {
            let start = Arc::clone(&start);
            let signal = Signal::from_raw(libc::SIGRTMIN() + i).unwrap();
            thread::spawn(move || {
                start.wait();
                let receiver = notify(&[signal]);
                // SAFETY: the signal is handled.
                unsafe { libc::raise(signal.as_raw()) };
                assert_eq!(receive(&receiver), signal);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Those of one kind may become one, but never none.
#[gort::test]
fn a_storm_of_signals_is_told_of_and_does_no_harm() {
    let signal = Signal::SIGXFSZ;
    let receiver = notify(&[signal]);
    let senders: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || (0..1000).for_each(|_| send(signal))))
        .collect();
    let mut count = 0;
    while !senders.iter().all(|sender| sender.is_finished()) {
        count += receiver.try_iter().count();
        gort::yield_now();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    if count == 0 {
        assert_eq!(receive(&receiver), signal, "it was not lost");
        count = 1;
    }
    assert!((1..=4000).contains(&count), "{count}");
    send(signal);
    assert_eq!(receive(&receiver), signal);
    // What another thread has still to be interrupted by must not meet the default action.
    ignore(&[signal]);
}

/// The kernel makes a frame for each that may be handled, one on the other, and std gives its threads 8 KiB for
/// them.
#[test]
fn signals_that_come_at_once_fit_on_a_threads_stack() {
    let signals: Vec<_> = (10..26)
        .map(|i| Signal::from_raw(libc::SIGRTMIN() + i).unwrap())
        .collect();
    let receiver = notify(&signals);
    // SAFETY: the set is made before it is used; the mask is this thread's, and set back.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in &signals {
            libc::sigaddset(&mut set, signal.as_raw());
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        for signal in &signals {
            assert_eq!(libc::raise(signal.as_raw()), 0);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
    let mut received: Vec<_> = signals.iter().map(|_| receive(&receiver)).collect();
    received.sort();
    assert_eq!(received, signals);
}

/// A goroutine that waits for a signal is no hang, for longer than the detector takes.
#[gort::test]
fn a_test_that_waits_for_a_signal_does_not_hang() {
    let receiver = notify(&[Signal::SIGIO]);
    let script = format!("sleep 1; kill -IO {}", std::process::id());
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .spawn()
        .unwrap();
    assert_eq!(receiver.recv(), Ok(Signal::SIGIO));
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_had_is_a_panic_that_says_why() {
    for (signal, why) in [
        (Signal::SIGKILL, "the kernel lets nobody catch it"),
        (Signal::SIGSTOP, "the kernel lets nobody catch it"),
        (Signal::SIGSEGV, "an instruction has failed"),
        (Signal::SIGBUS, "an instruction has failed"),
        (Signal::SIGFPE, "an instruction has failed"),
        (Signal::SIGILL, "an instruction has failed"),
        (Signal::SIGTRAP, "an instruction has failed"),
        (Signal::SIGURG, "the runtime preempts"),
    ] {
        let before = action(signal);
        let payload = panic::catch_unwind(|| notify(&[Signal::SIGPROF, signal])).unwrap_err();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(
            text.starts_with(&format!("{signal:?} cannot be had: {why}")),
            "{text}"
        );
        assert_eq!(action(signal), before);
        assert_eq!(action(Signal::SIGPROF), libc::SIG_DFL, "all or none");
    }
}

#[test]
fn signals_have_numbers_names_and_words() {
    assert_eq!(Signal::SIGINT.as_raw(), libc::SIGINT);
    assert_eq!(Signal::SIGINT.to_string(), "interrupt");
    assert_eq!(format!("{:?}", Signal::SIGINT), "SIGINT");
    let real_time = Signal::from_raw(libc::SIGRTMIN()).unwrap();
    assert_eq!(
        real_time.to_string(),
        format!("signal {}", libc::SIGRTMIN())
    );
    for number in [-1, 0, 32, 33, 65, i32::MAX] {
        assert_eq!(Signal::from_raw(number), None, "{number}");
    }
}

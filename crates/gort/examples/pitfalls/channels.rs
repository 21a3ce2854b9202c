//! Pitfalls 1 to 4 and 16: channels and `select!`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gort::chan::{self, select};
use gort::sync::{Mutex, WaitGroup};
use gort::time::Duration;

/// In Go a receive from a closed channel gives zeros without end. Here it is an error, which the compiler
/// does not let pass unseen; `unwrap_or_default` is Go's way, a loop over the channel ends.
pub(crate) fn read_past_the_end() {
    let (tx, rx) = chan::bounded(10);
    (1..=10).for_each(|i| tx.send(i).expect("there is room"));
    drop(tx);
    let all: Vec<u32> = rx.iter().collect();
    println!("{all:?}, then {:?}", rx.recv());
    println!("as in Go: {}", rx.recv().unwrap_or_default());
}

/// In Go the worker whose result comes after the timeout waits in its send for ever. Here its send ends
/// with an error, which gives the result back, as soon as the receiver is dropped.
pub(crate) fn give_up_on_a_worker() {
    let (tx, rx) = chan::bounded(0);
    let (late, wait_until_late) = chan::bounded::<()>(0);
    let worker = gort::go(move || {
        wait_until_late.recv().expect_err("nobody sends");
        tx.send("result")
    });
    select! {
        recv(rx) -> _ => unreachable!("the worker waits for us"),
        recv(chan::after(Duration::from_millis(10))) -> _ => println!("timeout"),
    }
    drop((rx, late));
    println!(
        "the worker: {:?}",
        worker.join().expect("it does not panic")
    );
}

/// The same in both: after a send the receiver need not have done anything yet. Only who has waited for it
/// sees the result.
pub(crate) fn read_the_result_too_early() {
    let sum = Arc::new(AtomicU32::new(0));
    let (tx, rx) = chan::bounded(1);
    let consumer = gort::go({
        let sum = Arc::clone(&sum);
        move || {
            for i in rx {
                sum.fetch_add(i, Ordering::Relaxed);
            }
        }
    });
    tx.send(4_u32).expect("the consumer is there");
    let early = sum.load(Ordering::Relaxed);
    assert!(early == 0 || early == 4);
    drop(tx);
    consumer.join().expect("it does not panic");
    println!("after the wait: {}", sum.load(Ordering::Relaxed));
}

/// A deadlock in both: the sender holds the lock that the receiver wants before it receives again.
pub(crate) fn lock_around_a_send() {
    let lock = Arc::new(Mutex::new(()));
    let (tx, rx) = chan::bounded(1);
    let group = WaitGroup::new();
    let guard = lock.lock();
    let consumed = Arc::clone(&lock);
    group.go(move || {
        for i in rx {
            let _guard = consumed.lock();
            println!("{i}");
        }
    });
    for i in 0..4 {
        tx.send(i).expect("the consumer is there");
    }
    drop((guard, tx));
    group.wait();
}

/// The same in both: a timeout that is made anew on each pass never fires. Up to Go 1.22 each pass leaves a
/// timer until its time comes; here, and in Go since then, none is left.
pub(crate) fn timeout_made_anew() {
    let cancel = chan::after(Duration::from_millis(100));
    // One of `cancel`, one of the pass.
    let timers = || gort::runtime::metrics().timers;
    let before = timers();
    let mut most = 0;
    let timed_out = loop {
        select! {
            recv(chan::after(Duration::from_secs(60))) -> _ => break true,
            recv(cancel) -> _ => break false,
            default => most = most.max(timers()),
        }
    };
    println!("end with timeout: {timed_out}");
    println!("timers do not pile up: {}", most <= before + 2);
}

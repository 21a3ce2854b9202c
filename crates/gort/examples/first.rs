//! The first of five answers, got in four ways, and the goroutines that each way leaves behind.
//!
//! ```text
//! cargo run --example first
//! ```
//!
//! In Go the first way leaks the four goroutines that come too late: each waits in its send for ever. A
//! buffer for every answer, a select with a default, or a channel that is closed on return frees them.
//!
//! Here too they wait, but no longer than somebody holds the receiver: `first` drops it when it
//! returns, and their sends end with an error that carries the answer. That is the last line; the line
//! `unbuffered` is what becomes of a receiver that is kept.

#![forbid(unsafe_code)]

use gort::chan::{self, Receiver, select};
use gort::debug::{self, WaitReason};
use gort::time::{Duration, sleep};

const REPLICAS: usize = 5;

/// The search in one replica; some take longer than others.
fn search(replica: usize) -> usize {
    sleep(Duration::from_millis(5 * replica as u64));
    replica
}

fn unbuffered() -> Receiver<usize> {
    let (tx, rx) = chan::bounded(0);
    for replica in 0..REPLICAS {
        let tx = tx.clone();
        gort::go(move || tx.send(search(replica)));
    }
    rx
}

fn buffered() -> Receiver<usize> {
    let (tx, rx) = chan::bounded(REPLICAS);
    for replica in 0..REPLICAS {
        let tx = tx.clone();
        gort::go(move || tx.send(search(replica)));
    }
    rx
}

fn select_with_default() -> Receiver<usize> {
    let (tx, rx) = chan::bounded(1);
    for replica in 0..REPLICAS {
        let tx = tx.clone();
        gort::go(move || {
            let answer = search(replica);
            select! {
                send(tx, answer) -> _ => {}
                default => {}
            }
        });
    }
    rx
}

fn until_done(done: &Receiver<()>) -> Receiver<usize> {
    let (tx, rx) = chan::bounded(0);
    for replica in 0..REPLICAS {
        let (tx, done) = (tx.clone(), done.clone());
        gort::go(move || {
            let answer = search(replica);
            select! {
                send(tx, answer) -> _ => {}
                recv(done) -> _ => {}
            }
        });
    }
    rx
}

/// How many goroutines, besides the caller, wait in a send when none does anything else any more.
fn left() -> usize {
    loop {
        let mut others = debug::goroutines();
        others.retain(|other| other.id != gort::current().id());
        let mut reasons = others.iter().map(|other| other.wait_reason);
        if reasons.all(|reason| reason == Some(WaitReason::ChanSend)) {
            return others.len();
        }
        sleep(Duration::from_millis(1));
    }
}

/// Takes the first answer and, when all searches have ended, counts who is left.
fn report(way: &str, answers: &Receiver<usize>) {
    let replica = answers.recv().expect("each replica answers");
    assert!(replica < REPLICAS);
    println!("{way}: {} left", left());
}

#[gort::main]
fn main() {
    report("buffered", &buffered());
    report("select with default", &select_with_default());
    let (close_on_drop, done) = chan::bounded(0);
    let answers = until_done(&done);
    answers.recv().expect("each replica answers");
    drop(close_on_drop);
    println!("done channel: {} left", left());

    let answers = unbuffered();
    report("unbuffered", &answers);
    drop(answers);
    println!("unbuffered, receiver dropped: {} left", left());
}

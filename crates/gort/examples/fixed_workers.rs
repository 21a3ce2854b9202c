//! Ten requests for three workers, over a channel that stays open or is closed.
//!
//! ```text
//! cargo run --example fixed_workers
//! ```
//!
//! Go's program never closes the channel: at the end its three workers wait for the next request, for ever.
//! With `close` they end.
//!
//! Here the channel closes when its last sender is dropped; a leak needs a sender that is kept.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gort::chan::{self, Sender};
use gort::debug::{self, WaitReason};
use gort::sync::WaitGroup;
use gort::time::{Duration, sleep};

/// Has the workers serve ten requests; their channel, still open.
fn serve() -> Sender<u32> {
    let (requests, to_serve) = chan::bounded(0);
    let served = Arc::new(AtomicU32::new(0));
    let group = WaitGroup::new();
    for _ in 0..3 {
        let (to_serve, group, served) = (to_serve.clone(), group.clone(), Arc::clone(&served));
        gort::go(move || {
            for request in to_serve {
                served.fetch_add(request, Ordering::Relaxed);
                group.done();
            }
        });
    }
    for request in 0..10 {
        group.add(1);
        requests.send(request).expect("the workers are there");
    }
    group.wait();
    println!("sum of the requests: {}", served.load(Ordering::Relaxed));
    requests
}

/// How many workers there are, once none is at work.
fn left() -> usize {
    loop {
        let mut others = debug::goroutines();
        others.retain(|other| other.id != gort::current().id());
        let mut reasons = others.iter().map(|other| other.wait_reason);
        if reasons.all(|reason| reason == Some(WaitReason::ChanReceive)) {
            return others.len();
        }
        sleep(Duration::from_millis(1));
    }
}

#[gort::main]
fn main() {
    let kept = serve();
    println!("kept open: {} left", left());
    drop(kept);
    println!("dropped: {} left", left());
    let requests = serve();
    requests.close();
    println!("closed: {} left", left());
}

//! A hundred goroutines that wait for nothing, and how they show.
//!
//! ```text
//! cargo run --example empty_selects
//! ```
//!
//! In Go each waits in a `select {}`, and the goroutine profile groups them: `100 @ …` under the function that
//! selects. With main in one too, and nothing else going on, Go reports a deadlock and ends with status 2.
//!
//! Here `select! {}` does not compile, as crossbeam's; what waits for ever is a receive from `chan::never()`.
//! `debug::goroutines` lists each with its reason, `debug::stacks` (and SIGQUIT) shows those that are alike
//! once, and the deadlock is the same.

#![forbid(unsafe_code)]

use gort::chan::{self, RecvError};
use gort::debug::{self, WaitReason};
use gort::time::{Duration, sleep};

fn wait_for_ever() -> Result<(), RecvError> {
    chan::never().recv()
}

fn count() -> usize {
    let all = debug::goroutines().into_iter();
    all.filter(|one| one.wait_reason == Some(WaitReason::ChanReceiveNil))
        .count()
}

#[gort::main]
fn main() -> Result<(), RecvError> {
    for _ in 0..100 {
        gort::go(wait_for_ever);
    }
    while count() < 100 {
        sleep(Duration::from_millis(1));
    }
    println!("{} goroutines: {}", count(), WaitReason::ChanReceiveNil);
    wait_for_ever()
}

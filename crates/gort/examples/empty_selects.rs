//! A hundred goroutines that select over nothing, and how they show.
//!
//! ```text
//! cargo run --example empty_selects
//! ```
//!
//! In Go each waits in a `select {}`, and the goroutine profile groups them: `100 @ …` under the function that
//! selects. With main in one too, and nothing else going on, Go reports a deadlock and ends with status 2.
//!
//! Here `select! {}` does not compile, as crossbeam's; one that has only a default, at the end of time, waits for
//! ever with Go's words for it. `debug::goroutines` lists each with its reason, `debug::stacks` (and SIGQUIT) shows
//! those that are alike once, and the deadlock is the same.

#![forbid(unsafe_code)]

use gort::debug::{self, WaitReason};
use gort::time::{Duration, sleep};

fn select_nothing() {
    gort::select! {
        default(Duration::MAX) => unreachable!("the end of time"),
    }
}

fn count() -> usize {
    let all = debug::goroutines().into_iter();
    all.filter(|one| one.wait_reason == Some(WaitReason::SelectNoCases))
        .count()
}

#[gort::main]
fn main() {
    for _ in 0..100 {
        gort::go(select_nothing);
    }
    while count() < 100 {
        sleep(Duration::from_millis(1));
    }
    println!("{} goroutines: {}", count(), WaitReason::SelectNoCases);
    select_nothing();
}

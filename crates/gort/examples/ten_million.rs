//! Goroutines that are all alive at once: each waits for main.
//!
//! ```text
//! cargo run --release --example ten_million -- 10000000
//! ```
//!
//! In Go each takes about 2.7 KB: the article's program was killed at 3,480,000 with 8 GB of memory.
//!
//! Here a parked goroutine keeps the pages of its stack that it has used and a thread-local block: the program
//! says how much that is, 4.3 KB. Times the number, it is what they need: 43 GB for ten million, 11 GB for
//! 2,500,000. There is no other limit; where the memory is used up, the kernel kills, as in Go. Under `ulimit -v`
//! main panics instead, and says what there is too little of.
//!
//! With `GORT_HIBERNATE=10ms` those that wait give most of that back, until they are woken: the program says down to
//! what.

#![forbid(unsafe_code)]

use std::fs;

use gort::chan;
use gort::debug::WaitReason;
use gort::runtime::{metrics, num_goroutine};
use gort::sync::WaitGroup;
use gort::time::{Duration, Instant, sleep};

/// Bytes of memory in use.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    1024 * kib
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number of KiB")
}

#[gort::main]
fn main() {
    let arg = std::env::args().nth(1);
    let count: usize = arg.map_or(10_000, |n| n.parse().expect("a number"));
    let (before, start) = (resident(), Instant::now());
    let (tx, rx) = chan::bounded::<()>(0);
    let (started, ended) = (WaitGroup::new(), WaitGroup::new());
    started.add(count as isize);
    for _ in 0..count {
        let (rx, started) = (rx.clone(), started.clone());
        ended.go(move || {
            started.done();
            rx.recv().expect_err("nobody sends");
        });
    }
    started.wait();
    let bytes = resident().saturating_sub(before) / count.max(1) as u64;
    println!("{} alive, for {}", num_goroutine(), WaitReason::ChanReceive);
    println!("started in {:?}, {bytes} bytes each", start.elapsed());

    let start = Instant::now();
    let is_patient = |hibernating| hibernating != 0 || start.elapsed() < Duration::from_secs(1);
    while std::env::var_os("GORT_HIBERNATE").is_some() {
        match metrics().hibernating {
            hibernating if hibernating < count && is_patient(hibernating) => {
                sleep(Duration::from_millis(1));
            }
            hibernating => {
                let bytes = resident().saturating_sub(before) / count.max(1) as u64;
                println!("{hibernating} hibernate, {bytes} bytes each");
                break;
            }
        }
    }

    let start = Instant::now();
    tx.close();
    ended.wait();
    println!("ended in {:?}", start.elapsed());
}

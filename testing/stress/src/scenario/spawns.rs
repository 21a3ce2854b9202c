//! Spawn storms: a tree of goroutines whose inner nodes join, detach or wait for their children.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gort_test_support::Random;

use crate::progress;

pub(super) fn round(random: &mut Random) -> u64 {
    let ran = Arc::new(AtomicU64::new(0));
    let wanted = Arc::new(AtomicU64::new(0));
    let wg = gort::sync::WaitGroup::new();
    grow(
        random.fork(),
        3 + random.below(3) as u32,
        &ran,
        &wanted,
        &wg,
    );
    wg.wait();
    let (ran, wanted) = (ran.load(Ordering::Acquire), wanted.load(Ordering::Acquire));
    assert_eq!(ran, wanted, "goroutines were lost or ran twice");
    ran
}

fn grow(
    mut random: Random,
    depth: u32,
    ran: &Arc<AtomicU64>,
    wanted: &Arc<AtomicU64>,
    wg: &gort::sync::WaitGroup,
) {
    let children = 1 + random.below(8);
    let mut handles = Vec::new();
    for _ in 0..children {
        wanted.fetch_add(1, Ordering::Relaxed);
        wg.add(1);
        let (ran, wanted, wg) = (Arc::clone(ran), Arc::clone(wanted), wg.clone());
        let mut own = random.fork();
        let handle = gort::go(move || {
            for _ in 0..own.below(4) {
                gort::yield_now();
            }
            if depth > 0 {
                grow(own.fork(), depth - 1, &ran, &wanted, &wg);
            }
            ran.fetch_add(1, Ordering::Release);
            progress();
            wg.done();
            7u32
        });
        match random.below(3) {
            0 => drop(handle),
            1 => handles.push(handle),
            _ => assert_eq!(handle.join().unwrap(), 7),
        }
    }
    for handle in handles {
        assert_eq!(handle.join().unwrap(), 7);
    }
}

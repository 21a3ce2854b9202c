//! Two loops that share a P, for a debugger to look at: one computes, one waits in the handler.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::mark;
use crate::watch;

/// Says `ready` when they have been preempted, and goes on until standard input ends.
pub(crate) fn run(count: u64) -> bool {
    // SAFETY: takes numbers only. Whoever may look at this user's processes may look at this one,
    // parent of it or not; where the kernel knows no such rule, it is an error that says so.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    mark::observe();
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..2)
        .map(|_| {
            let stop = Arc::clone(&stop);
            gort::go(move || hog_outer(&stop))
        })
        .collect();
    while mark::all_hits() < count {
        // waits: the plain main thread looks at the counter now and then.
        thread::sleep(Duration::from_millis(1));
    }
    println!("ready");
    io::stdout().flush().expect("somebody reads it");
    let ended = io::stdin().read(&mut [0]);
    watch::progress();
    stop.store(true, Ordering::Relaxed);
    for each in loops {
        each.join().expect("it does not panic");
    }
    ended.is_ok()
}

#[inline(never)]
fn hog_outer(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        black_box(hog_inner(stop));
    }
}

#[inline(never)]
fn hog_inner(stop: &AtomicBool) -> u64 {
    let mut value = 1_u64;
    for _ in 0..1_000_000 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        value = value
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
    }
    value
}

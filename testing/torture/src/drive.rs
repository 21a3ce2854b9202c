//! Runs a piece of code on many goroutines, and stops them in between.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use gort_core::g::{self, GRef};
use gort_core::lock::Mutex;
use gort_core::wait_reason::WaitReason;
use gort_core::{clock, sched};
use gort_queue::claim::Round;

/// How many goroutines a case uses where it says 10,000, unless `TORTURE_N` says otherwise.
const N: usize = 1_000;

/// How many goroutines a case uses at full size in this run.
pub fn n() -> usize {
    std::env::var("TORTURE_N").map_or(N, |n| {
        n.parse().expect("TORTURE_N is a number of goroutines")
    })
}

/// A number given for 10,000 goroutines, scaled to this run; at least 2.
pub fn scaled(count: usize) -> usize {
    (count * n()).div_ceil(10_000).max(2)
}

/// Runs `f(0)` to `f(count - 1)`, each in a goroutine.
///
/// # Panics
///
/// If any of them does, with the message of the first and the number of all.
#[track_caller]
pub fn many(count: usize, f: impl Fn(usize) + Sync) {
    let f = &f;
    let errors: Vec<String> = gort::scope(|scope| {
        let handles: Vec<_> = (0..count).map(|i| scope.go(move || f(i))).collect();
        let ends = handles.into_iter().map(|handle| handle.join());
        ends.filter_map(|end| end.err().map(|error| error.to_string()))
            .collect()
    });
    if let Some(first) = errors.first() {
        panic!(
            "{} of {count} goroutines failed; the first: {first}",
            errors.len()
        );
    }
}

/// Parks so far.
static PARKS: AtomicUsize = AtomicUsize::new(0);
/// Parks around which the OS thread was looked at, and how many of them changed it.
static LOOKED: AtomicUsize = AtomicUsize::new(0);
static MOVED: AtomicUsize = AtomicUsize::new(0);

/// Stops the current goroutine: mostly by a yield; every fourth time it waits for another one to come
/// by, or for a deadline.
///
/// On a plain thread, and in the child of a fork, there is no scheduler to stop in.
pub fn park() {
    let number = PARKS.fetch_add(1, Relaxed);
    let before = (number % 16 < 4).then(thread_id);
    if number.is_multiple_of(4) {
        wait_for_a_partner();
    } else {
        gort::yield_now();
    }
    if let Some(before) = before {
        LOOKED.fetch_add(1, Relaxed);
        MOVED.fetch_add(usize::from(thread_id() != before), Relaxed);
    }
}

/// How many parks there were, and the share of those looked at that changed the OS thread.
pub fn parks_and_moves() -> (usize, f64) {
    let share = MOVED.load(Relaxed) as f64 / LOOKED.load(Relaxed).max(1) as f64;
    (PARKS.load(Relaxed), share)
}

/// The kernel's id of the thread that runs this.
pub fn thread_id() -> i64 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Parks until the next goroutine comes here, or for 200 µs; wakes the one before.
///
/// With a lock of the runtime's, which leaves `errno` alone.
fn wait_for_a_partner() {
    static WAITING: Mutex<Option<(GRef, Round)>> = Mutex::new(None);
    const PARTNER: u32 = 1;
    let me = g::current();
    let round = me.claim().open();
    let before = WAITING.lock().replace((me, round));
    if let Some((partner, round)) = before
        && partner.claim().try_claim(round, PARTNER)
    {
        sched::ready(partner);
    }
    let deadline = clock::deadline_after(Duration::from_micros(200));
    sched::park_until(WaitReason::Park, round, deadline);
}

/// Whether goroutines have their own blocks, and not a thread each.
pub fn has_own_blocks() -> bool {
    gort::runtime::metrics().tls_mode == gort::runtime::TlsMode::Own
}

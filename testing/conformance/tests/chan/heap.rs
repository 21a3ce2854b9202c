//! SE02 and SY18: what selects leave on the heap, and what lazy values take of it. Counted by the allocator, so each
//! runs in a process of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::chan::{self, select};
use gort::sync::{LazyLock, OnceLock};
use gort_conformance::child;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, with counters beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's word.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Receives `n` values, each in a select with an arm that is never ready.
fn receive(n: usize) {
    let (s, r) = chan::bounded(0);
    let (_idle, never_ready) = chan::bounded::<()>(0);
    let sender = gort::go(move || (0..n).for_each(|i| s.send(i).unwrap()));
    for i in 0..n {
        select! {
            recv(r) -> value => assert_eq!(value, Ok(i)),
            recv(never_ready) -> _ => unreachable!(),
        }
    }
    sender.join().unwrap();
}

#[test]
fn se02_a_select_leaves_nothing_behind_in_the_channels_that_lost() {
    child::of(|| {
        gort::run(|| {
            const N: usize = 100_000;
            receive(N);
            let before = LIVE.load(Ordering::Relaxed);
            receive(N);
            let after = LIVE.load(Ordering::Relaxed);
            assert!(after < before + 110_000, "grown from {before} to {after}");
        });
    })
    .procs(1)
    .passes();
}

#[test]
fn se02_waiting_allocates_nothing() {
    child::of(|| {
        gort::run(|| {
            receive(1000);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            receive(10_000);
            let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
            // The channels, the goroutine, its handle.
            assert!(made < 50, "{made} allocations for 10,000 selects and sends");
        });
    })
    .procs(1)
    .passes();
}

#[test]
fn sy18_a_lazy_value_allocates_nothing_after_the_first_call() {
    child::of(|| {
        gort::run(|| {
            let lazy = LazyLock::new(|| vec![1, 2]);
            let once = OnceLock::new();
            let call = || lazy.len() + once.get_or_init(|| vec![3]).len();
            let count = || ALLOCATIONS.load(Ordering::Relaxed);
            let before = count();
            assert_eq!(call(), 3);
            assert_ne!(count(), before, "what the first call made is not counted");
            // The runtime may allocate meanwhile, but not in every round.
            let allocates = || {
                let before = count();
                (0..1_000).for_each(|_| assert_eq!(call(), 3));
                count() != before
            };
            assert!(!(0..100).all(|_| allocates()));
        });
    })
    .procs(1)
    .passes();
}

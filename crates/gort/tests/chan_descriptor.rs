//! No operation of a channel allocates with the channel locked, not even a plain thread's first.
//!
//! The allocator here asks another thread to lock the channel, whenever the thread under test allocates or frees:
//! it gets a descriptor that another has left something in.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use gort::chan::{self, Receiver, Sender};

thread_local! {
    /// Whether this thread's allocations are looked at.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

const IDLE: u8 = 0;
const ASKED: u8 = 1;
const OVER: u8 = 2;

static REQUEST: AtomicU8 = AtomicU8::new(IDLE);
static WAS_LOCKED: AtomicBool = AtomicBool::new(false);
static HAS_ALLOCATED: AtomicBool = AtomicBool::new(false);

struct Watching;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

// SAFETY: `System` does it all.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.get() {
            look();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if WATCHED.get() {
            look();
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Has the other thread lock the channel, or finds that it cannot.
fn look() {
    HAS_ALLOCATED.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    REQUEST.store(ASKED, Ordering::Release);
    while REQUEST.load(Ordering::Acquire) == ASKED {
        if begin.elapsed() > Duration::from_secs(20) {
            WAS_LOCKED.store(true, Ordering::Relaxed);
            return;
        }
        std::hint::spin_loop();
    }
}

/// `operate` is a plain thread's first call; `lock` locks its channel, and ends the wait, if it is one.
fn assert_unlocked(operate: impl FnOnce() + Send, lock: impl Fn() + Send) {
    REQUEST.store(IDLE, Ordering::Relaxed);
    // Descriptors that have been used, by threads that were there at once.
    let all = &std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                let _ = gort::thread::current();
                all.wait();
            });
        }
    });
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let _ = gort::thread::current();
            loop {
                match REQUEST.load(Ordering::Acquire) {
                    ASKED => {
                        lock();
                        let _ = REQUEST.compare_exchange(
                            ASKED,
                            IDLE,
                            Ordering::AcqRel,
                            Ordering::Relaxed,
                        );
                    }
                    OVER => return,
                    _ => std::thread::yield_now(),
                }
            }
        });
        scope
            .spawn(|| {
                WATCHED.set(true);
                operate();
                WATCHED.set(false);
            })
            .join()
            .unwrap();
        REQUEST.store(OVER, Ordering::Release);
        other.join().unwrap();
    });
    assert!(
        !WAS_LOCKED.load(Ordering::Relaxed),
        "it allocates with the channel locked"
    );
}

fn channel(values: u32) -> (Sender<u32>, Receiver<u32>) {
    let (s, r) = chan::bounded(1);
    (0..values).for_each(|value| s.send(value).unwrap());
    (s, r)
}

#[test]
fn a_plain_threads_first_operation_allocates_outside_the_lock() {
    const SHORT: Duration = Duration::from_millis(1);
    let touch = |s: &Sender<u32>| _ = s.send_timeout(7, Duration::ZERO);

    let (s, r) = channel(0);
    assert_unlocked(|| _ = r.recv_timeout(SHORT), || touch(&s));
    let (s, r) = channel(0);
    assert_unlocked(|| _ = r.try_recv(), || touch(&s));
    let (s, _r) = channel(1);
    assert_unlocked(|| _ = s.send_timeout(1, SHORT), || touch(&s));
    let (s, r) = channel(0);
    let wait = || {
        gort::select! {
            recv(r) -> _ => {},
            default(SHORT) => {},
        }
    };
    assert_unlocked(wait, || touch(&s));
    let (s, r) = channel(0);
    let (_s2, r2) = channel(0);
    let choose = || {
        gort::select! {
            recv(r) -> _ => {},
            recv(r2) -> _ => {},
            default(SHORT) => {},
        }
    };
    assert_unlocked(choose, || touch(&s));
    assert!(
        HAS_ALLOCATED.load(Ordering::Relaxed),
        "nothing was looked at"
    );
}

//! Awaiting a future from a goroutine.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gort_core::g::{self, GRef};
use gort_core::sched;
use gort_core::wait_reason::WaitReason;

/// The waiting side is running and nobody has called.
const EMPTY: u32 = 0;
/// Parked, or about to be.
const PARKED: u32 = 1;
/// Called since the last poll.
const CALLED: u32 = 2;

/// Turns any number of `wake`s into one `ready` per park: the `ready` is the right of whoever moves
/// the word from PARKED to CALLED.
struct Parker {
    word: AtomicU32,
    gp: GRef,
}

impl Parker {
    #[track_caller]
    fn park(&self) {
        if self
            .word
            .compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            sched::park(WaitReason::BlockOn);
        }
        // A swap, not a store: it must read the call that it takes back, so that the poll which follows
        // sees what its caller wrote before; with a store the poll's loads could even come before it.
        self.word.swap(EMPTY, Ordering::AcqRel);
    }

    fn call(&self) {
        if self.word.swap(CALLED, Ordering::AcqRel) == PARKED {
            sched::ready(self.gp);
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.call();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call();
    }
}

/// Runs a future to its end, parking the goroutine (or blocking the plain thread) while it is pending.
///
/// The future's own reactor, if it needs one, is the caller's business.
///
/// # Examples
///
/// ```
/// let handle = gort::go(|| 1 + 1);
/// assert_eq!(gort::block_on(handle).unwrap(), 2);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parker = Arc::new(Parker {
        word: AtomicU32::new(EMPTY),
        gp: g::current(),
    });
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        parker.park();
    }
}

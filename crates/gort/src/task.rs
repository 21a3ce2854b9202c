//! Awaiting a future from a goroutine.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use gort_core::g::{self, GRef};
use gort_core::sched;
use gort_core::wait_reason::WaitReason;
use gort_queue::wake_word::WakeWord;

/// Who awaits, and the word that turns any number of `wake`s into one `ready` per park.
struct Parker {
    word: WakeWord,
    gp: GRef,
}

impl Parker {
    fn call(&self) {
        if self.word.call() {
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
        word: WakeWord::new(),
        gp: g::current(),
    });
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = Context::from_waker(&waker);
    loop {
        parker.word.begin();
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if parker.word.stop() {
            sched::park(WaitReason::BlockOn);
        }
    }
}

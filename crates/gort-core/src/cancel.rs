//! Waits that end early because something was called off: what a context is to those who wait under it.
//!
//! A wait under a [`Cancellation`] is on its list, by a node on the waiter's own stack, for as long as it
//! may be parked. [`Cancellation::cancel`] sets the flag and then ends every wait on the list: a wait that
//! a claim decides, by claiming its round as a timeout does; a wait for a descriptor, by taking the
//! goroutine out of the poller's word, as a deadline does. Both concern that one wait: others who wait
//! for the same thing go on.
//!
//! C1. The flag is set once, under the lock. A wait joins the list under the lock too, and not once
//!     the flag is set: so `cancel` finds each wait, or the wait finds the flag.
//! C2. A node is on the list from [`list`](Cancellation::list) on until its owner takes it off, by the
//!     drop of a [`Listed`], or `cancel` does; both under the lock. `cancel` has done what it needs the
//!     node for before it releases the lock; the `ready` that comes after needs the G only.
//! C3. **No lost wake-up.** A round is open before its wait is listed, so the claim of `cancel` finds it
//!     open, or decided by somebody who owes a `ready` already. A wait for a descriptor is listed before its G
//!     is published, and looks at the flag after that; `cancel` sets the flag and then looks for the G;
//!     with a fence between on both sides (`netpoll`, N3), so that one of them sees the other.
//! C4. One `ready` for each park: who wins the claim, or takes the G out of the poller's word, owes it.
//!
//! Elsewhere: the tree of contexts (`gort::context`), the wait for a descriptor (`poll_fd`).
//! Checked by the tests below, those of `poll_fd` and of `gort::context`.

use std::fmt;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use gort_queue::claim::{Round, TIMED_OUT};
use gort_queue::wait_list::{Node, WaitList};

use crate::g::{self, GRef};
use crate::lock::Mutex;
use crate::netpoll::PollWait;
use crate::sched::{self, Woken};
use crate::wait_reason::WaitReason;

/// Something that may be called off, and who waits under it.
pub struct Cancellation {
    /// C1. A reader without the lock sees it late at worst, and then `cancel` ends its wait.
    is_canceled: AtomicBool,
    waits: Mutex<WaitList<Wait>>,
}

/// A wait that is on the list.
#[must_use = "dropped at once, it is off the list again"]
pub(crate) struct Listed<'a> {
    list: &'a Cancellation,
    node: NonNull<Node<Wait>>,
}

/// How a wait is ended.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// By claiming the round.
    Round(GRef, Round),
    /// By taking it out of the poller's word.
    Poll(PollWait),
}

impl Wait {
    /// Ends the wait, if nobody else has. Returns whom to ready.
    fn end(self) -> Option<GRef> {
        match self {
            Wait::Round(gp, round) => gp.claim().try_claim(round, TIMED_OUT).then_some(gp),
            Wait::Poll(wait) => wait.interrupt(),
        }
    }
}

impl Cancellation {
    /// Not called off, and nobody waits.
    pub const fn new() -> Cancellation {
        Cancellation {
            is_canceled: AtomicBool::new(false),
            waits: Mutex::new(WaitList::new()),
        }
    }

    /// Whether it was called off.
    #[inline]
    pub fn is_canceled(&self) -> bool {
        self.is_canceled.load(Ordering::Acquire)
    }

    /// Calls it off: ends all waits under it. Those that would begin later do not.
    pub fn cancel(&self) {
        loop {
            let woken = {
                let mut waits = self.waits.lock();
                self.is_canceled.store(true, Ordering::Release);
                let Some(node) = waits.pop_front() else {
                    return;
                };
                // SAFETY: it was on the list, and its owner cannot go on without the lock (C2).
                let wait = unsafe { node.as_ref() }.data;
                wait.end()
            };
            if let Some(gp) = woken {
                sched::ready(gp);
            }
        }
    }

    /// Puts a wait on the list until what comes back is dropped. `None` if it is called off already.
    ///
    /// # Safety
    ///
    /// What comes back is dropped, and before the node is.
    pub(crate) unsafe fn list<'a>(&'a self, node: Pin<&'a Node<Wait>>) -> Option<Listed<'a>> {
        let node = NonNull::from(node.get_ref());
        let mut waits = self.waits.lock();
        if self.is_canceled() {
            return None;
        }
        // SAFETY: a new node, pinned, that `Listed` takes off before it goes (the caller's word).
        unsafe { waits.push_back(node) };
        drop(waits);
        Some(Listed { list: self, node })
    }

    /// As [`sched::park_until`]; also ends, and says `TimedOut`, when this is called off.
    #[track_caller]
    pub fn park_until(&self, reason: WaitReason, round: Round, deadline_ns: u64) -> Woken {
        let gp = g::current();
        let node = pin!(Node::new(Wait::Round(gp, round)));
        // SAFETY: a local after the node, so it is dropped before that.
        let listed = unsafe { self.list(node.as_ref()) };
        if listed.is_none() && gp.claim().try_claim(round, TIMED_OUT) {
            return Woken::TimedOut;
        }
        // Not listed: somebody was faster, and has a `ready` under way that must be used up.
        sched::park_until(reason, round, deadline_ns)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        // SAFETY: on this list, or taken off it by `cancel` (C2).
        unsafe { self.list.waits.lock().remove(self.node) };
    }
}

impl Default for Cancellation {
    fn default() -> Self {
        Cancellation::new()
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        // Waiting borrows it.
        debug_assert!(
            self.waits.lock().is_empty(),
            "a wait outlives what it is under"
        );
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation")
            .field("is_canceled", &self.is_canceled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::clock::{self, NEVER};
    use crate::runtime;
    use crate::sched::SpawnOptions;

    fn park(cancellation: &Cancellation, deadline_ns: u64) -> Woken {
        let round = g::current().claim().open();
        cancellation.park_until(WaitReason::Sleep, round, deadline_ns)
    }

    #[test]
    fn what_is_called_off_already_does_not_wait() {
        let cancellation = Cancellation::new();
        cancellation.cancel();
        assert!(cancellation.is_canceled());
        assert_eq!(park(&cancellation, NEVER), Woken::TimedOut);
    }

    #[test]
    fn a_deadline_ends_a_wait_that_nobody_calls_off() {
        runtime::ensure_started();
        let cancellation = Cancellation::new();
        assert_eq!(park(&cancellation, 0), Woken::TimedOut);
        let due_ns = clock::now_ns() + 1_000_000;
        assert_eq!(park(&cancellation, due_ns), Woken::TimedOut);
        assert!(clock::now_ns() >= due_ns);
        assert!(!cancellation.is_canceled());
    }

    /// Goroutines and a plain thread wait, with and without deadlines and wakers; at some moment all is
    /// called off. Every wait ends once, whoever ends it, and the next park waits for its own end.
    #[test]
    fn every_wait_ends_once_whoever_ends_it() {
        const WAITERS: usize = 8;
        runtime::ensure_started();
        let start = Instant::now();
        for round in 0..300 {
            let cancellation = Arc::new(Cancellation::new());
            let ended = Arc::new(AtomicU32::new(0));
            let wait = |index: usize| {
                let (cancellation, ended) = (Arc::clone(&cancellation), Arc::clone(&ended));
                move || {
                    let deadline_ns = match index % 3 {
                        0 => NEVER,
                        1 => clock::now_ns() + 20_000 * (round % 7),
                        _ => clock::now_ns() + 3_600_000_000_000,
                    };
                    assert_eq!(park(&cancellation, deadline_ns), Woken::TimedOut);
                    // A `ready` too many would end this one early.
                    let due_ns = clock::now_ns() + 50_000;
                    sched::sleep_until(due_ns);
                    assert!(clock::now_ns() >= due_ns);
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            };
            let handles: Vec<_> = (0..WAITERS)
                .map(|index| sched::spawn(wait(index), SpawnOptions::new()).unwrap())
                .collect();
            let thread = std::thread::spawn(wait(WAITERS));
            for _ in 0..round % 5 {
                std::thread::yield_now();
            }
            cancellation.cancel();
            for handle in handles {
                handle.join();
            }
            thread.join().unwrap();
            assert_eq!(ended.load(Ordering::Relaxed) as usize, WAITERS + 1);
        }
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    /// A waker that comes together with the cancel: the wait ends by one of them, and the other does
    /// nothing.
    #[test]
    fn a_waker_and_a_cancel_do_not_both_wake() {
        const WOKEN: u32 = 7;
        runtime::ensure_started();
        for _ in 0..500 {
            let cancellation = Arc::new(Cancellation::new());
            let (tx, rx) = std::sync::mpsc::channel();
            let waiter = {
                let cancellation = Arc::clone(&cancellation);
                std::thread::spawn(move || {
                    let gp = g::current();
                    let round = gp.claim().open();
                    tx.send((gp, round)).unwrap();
                    cancellation.park_until(WaitReason::Sleep, round, NEVER)
                })
            };
            let (gp, round) = rx.recv().unwrap();
            let waker = std::thread::spawn(move || {
                let won = gp.claim().try_claim(round, WOKEN);
                if won {
                    sched::ready(gp);
                }
                won
            });
            cancellation.cancel();
            let was_woken = waker.join().unwrap();
            assert_eq!(waiter.join().unwrap() == Woken::Ready, was_woken);
        }
    }
}

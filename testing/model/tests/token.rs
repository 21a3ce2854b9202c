//! The token of `thread::park` under loom: the very file, over a stand-in for what it uses of the runtime.
//!
//! A goroutine is a loom thread that parks on a condition. A wait with a deadline times out at any moment: it
//! tries to claim itself as soon as it waits, and loom puts other steps before that.
//!
//! A lost token shows as a deadlock. A `ready` that no `park` has asked for shows where it is, or is left at the
//! end: it would end the owner's next wait, whatever that is for.
#![cfg(loom)]
#![allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "the file is a module of a library elsewhere"
)]

// Not loom's, whose counting would add interleavings of no interest.
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use clock::NEVER;
use token::Token;

// The file says `gort_core`, and means the stand-ins below.
extern crate self as gort_core;

#[path = "../../../crates/gort/src/thread/token.rs"]
mod token;

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

pub mod clock {
    pub const NEVER: u64 = u64::MAX;
}

pub mod wait_reason {
    pub enum WaitReason {
        Park,
    }
}

pub mod g {
    use gort_queue::claim::Claim;
    use loom::sync::{Condvar, Mutex};

    /// The one goroutine that parks; a loom thread.
    #[derive(Debug, Default)]
    pub struct G {
        claim: Claim,
        /// Whether it has been readied, and not yet parked for that.
        pub(super) is_ready: Mutex<bool>,
        pub(super) readied: Condvar,
    }

    loom::lazy_static! {
        pub(super) static ref OWNER: G = G::default();
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct GRef;

    impl GRef {
        pub fn claim(self) -> &'static Claim {
            &OWNER.claim
        }
    }

    pub fn current() -> GRef {
        GRef
    }
}

pub mod sched {
    use gort_queue::claim::{Round, TIMED_OUT};

    use super::clock::NEVER;
    use super::g::{GRef, OWNER};
    use super::wait_reason::WaitReason;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Woken {
        Ready,
        TimedOut,
    }

    pub fn park_until(_: WaitReason, round: Round, deadline_ns: u64) -> Woken {
        if deadline_ns != NEVER && GRef.claim().try_claim(round, TIMED_OUT) {
            return Woken::TimedOut;
        }
        let mut is_ready = OWNER.is_ready.lock().unwrap();
        while !*is_ready {
            is_ready = OWNER.readied.wait(is_ready).unwrap();
        }
        *is_ready = false;
        Woken::Ready
    }

    pub fn ready(_: GRef) {
        let mut is_ready = OWNER.is_ready.lock().unwrap();
        assert!(!*is_ready, "readied twice");
        *is_ready = true;
        OWNER.readied.notify_one();
    }
}

/// May pass at any moment.
const SOON: u64 = 5;

/// What the owner and its wakers share.
struct Scene {
    token: Token,
    is_set: AtomicBool,
    value: UnsafeCell<u32>,
}

// SAFETY: loom's cell checks every access, which is what the models are for.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

impl Scene {
    fn write(&self) {
        // SAFETY: loom checks that this access is the only one.
        self.value.with_mut(|value| unsafe { *value = 7 });
    }

    fn assert_written(&self) {
        // SAFETY: loom checks that nobody writes at the same time.
        self.value.with(|value| assert_eq!(unsafe { *value }, 7));
    }
}

/// The owner does `own`, while each of `wakers` runs in a thread of its own.
fn model(own: fn(&Scene), wakers: &'static [fn(&Scene)]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(move || {
        let scene = Arc::new(Scene {
            token: Token::new(),
            is_set: AtomicBool::new(false),
            value: UnsafeCell::new(0),
        });
        let wakers: Vec<_> = wakers
            .iter()
            .map(|&wake| {
                let scene = scene.clone();
                thread::spawn(move || wake(&scene))
            })
            .collect();
        own(&scene);
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        assert!(
            !*g::OWNER.is_ready.lock().unwrap(),
            "readied for no park of the token"
        );
    });
}

#[test]
fn a_token_is_not_lost_and_shows_what_came_before_it() {
    model(
        |scene| {
            scene.token.take(NEVER);
            scene.assert_written();
        },
        &[|scene| {
            scene.write();
            scene.token.give();
        }],
    );
}

/// A waker that is late finds the owner's later wait, or no wait.
#[test]
fn a_late_waker_readies_nobody_who_has_the_token() {
    model(
        |scene| {
            scene.token.take(SOON);
            scene.token.give();
            scene.token.take(NEVER);
        },
        &[|scene| scene.token.give()],
    );
}

#[test]
fn of_several_wakers_the_last_is_not_lost() {
    model(
        |scene| {
            scene.token.take(SOON);
            while !scene.is_set.load(Ordering::Relaxed) {
                scene.token.take(NEVER);
            }
        },
        &[
            |scene| scene.token.give(),
            |scene| {
                scene.is_set.store(true, Ordering::Relaxed);
                scene.token.give();
            },
        ],
    );
}

//! The token of `park`: one word, with whoever waits for it.
//!
//! | from     | to       | by                     | then                                               |
//! |----------|----------|------------------------|----------------------------------------------------|
//! | EMPTY    | NOTIFIED | `give`                 | the next `take` returns at once                    |
//! | EMPTY    | WAITING  | `take`, its owner      | it parks, in the round of its claim that is here   |
//! | WAITING  | NOTIFIED | `give`                 | it claims that round and readies, unless timed out |
//! | WAITING  | EMPTY    | `take`, at its timeout | it returns                                         |
//! | NOTIFIED | EMPTY    | `take`                 | it returns, and sees what came before the `give`   |
//!
//! | bits  | meaning                        |
//! |-------|--------------------------------|
//! | 32-63 | while WAITING: the round       |
//! | 0-31  | EMPTY, NOTIFIED or WAITING     |
//!
//! T1. Only the owner takes, so there is one waiter at most, and it is written before the word is WAITING.
//! T2. Nobody learns of a round but by the exchange that ends WAITING with that round. So one waker at most
//!     claims it; one that is late holds the round of a wait that is over, and loses; and a round that the
//!     owner could not publish was never told to anybody (C2 of `gort_queue::claim`).
//!
//! Rejected: the round in a field of its own. A late waker reads that of a later wait there, and may claim it
//! when the owner, who found a token, does not park: its `ready` ends whatever the owner waits for next.
//!
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/thread`.

use std::sync::OnceLock;

use gort_core::clock::NEVER;
use gort_core::g::{self, GRef};
use gort_core::sched::{self, Woken};
use gort_core::wait_reason::WaitReason;
use gort_queue::claim::Round;

use super::atomic::{AtomicU64, Ordering};

/// No token, and nobody waits for one.
const EMPTY: u64 = 0;
/// There is a token.
const NOTIFIED: u64 = 1;
/// The owner waits for one, or is about to.
const WAITING: u64 = 2;
/// Where the round begins.
const ROUND_SHIFT: u32 = 32;

/// The code with which `give` claims a round.
const GIVEN: u32 = 1;

/// One for each goroutine or plain thread that somebody knows as a `Thread`.
pub(super) struct Token {
    /// See the module's header. Writers: the owner and its wakers; it publishes `waiter`.
    word: AtomicU64,
    /// The owner, once it waits. Writer: the owner, always with the same value (T1).
    waiter: OnceLock<GRef>,
}

impl Token {
    pub(super) fn new() -> Token {
        Token {
            word: AtomicU64::new(EMPTY),
            waiter: OnceLock::new(),
        }
    }

    /// The owner's current or next `take` returns. Never blocks.
    pub(super) fn give(&self) {
        // Release: the `take` that gets the token sees what came before this. Acquire: `waiter` was written
        // before WAITING.
        let Some(round) = round_of(self.word.swap(NOTIFIED, Ordering::AcqRel)) else {
            return;
        };
        let gp = *self.waiter.get().expect("T1: written before WAITING");
        let round = if cfg!(gort_fault = "token_round") {
            gp.claim().current()
        } else {
            round
        };
        if gp.claim().try_claim(round, GIVEN) {
            sched::ready(gp);
        }
    }

    /// Waits for the token and takes it; for the owner. Also returns at `deadline_ns`.
    #[track_caller]
    pub(super) fn take(&self, deadline_ns: u64) {
        let gp = g::current();
        let waiter = *self.waiter.get_or_init(|| gp);
        debug_assert_eq!(waiter, gp, "a token is one goroutine's or one thread's");
        // If there is a token nobody learns of the round (T2).
        let round = gp.claim().open();
        let published = self.word.compare_exchange(
            EMPTY,
            waiting_in(round),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if published.is_ok() {
            let woken = sched::park_until(WaitReason::Park, round, deadline_ns);
            debug_assert!(woken == Woken::Ready || deadline_ns != NEVER);
        }
        // A token that came too late for a timed wait is taken as well. A swap, not a store: it must read
        // what the waker wrote.
        self.word.swap(EMPTY, Ordering::AcqRel);
    }
}

/// The word while the owner waits in `round`.
fn waiting_in(round: Round) -> u64 {
    u64::from(round.to_raw()) << ROUND_SHIFT | WAITING
}

/// The round in which the owner waits, if it does.
fn round_of(word: u64) -> Option<Round> {
    let is_waiting = word as u32 == WAITING as u32;
    is_waiting.then(|| Round::from_raw((word >> ROUND_SHIFT) as u32))
}

//! One word per goroutine that decides which of several wakers wins.
//!
//! A goroutine in `select` waits in several channels at once, and perhaps for a timeout; each of
//! them may try to wake it, but only one may pass it a value and call `ready`. Before a wait the
//! goroutine opens a round. Wakers claim that round with one CAS; the first wins and leaves a code,
//! and the goroutine reads it when it runs again.
//!
//! A waker can be late: it holds the round of a wait that is over. The word's round number is then
//! a higher one, so it loses. Rounds wrap after 2^32 waits; a late waker would have to sleep
//! through exactly that many waits of one goroutine, and wake inside one, to do harm.
//!
//! C1. A round is claimed at most once.
//! C2. Only the owner opens a round, and only when the one before is decided or was never told to
//!     anybody. To withdraw a round that others know of, the owner claims it itself.
//!
//! | bits  | meaning                                   |
//! |-------|-------------------------------------------|
//! | 32-63 | round                                     |
//! | 0-31  | the winner's code; 0 while the round is open |
//!
//! Orderings: the winning CAS is a Release and `winner` an Acquire, so what the winner wrote before
//! its claim is seen. What it writes after (a value into the waiter) reaches the owner by `ready`.
//!
//! Elsewhere: what codes mean; the wake-up itself (`status`).
//! Checked by the tests below and `tests/loom_claim.rs`.

use crate::facade::{AtomicU64, Ordering, const_unless_loom};
use std::fmt;

/// The code with which a timer claims: the wait's deadline has passed.
pub const TIMED_OUT: u32 = u32::MAX;

/// The number of one wait of one goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Round(u32);

impl Round {
    /// The number, to be kept where a `Round` does not fit.
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// The round with this number.
    pub const fn from_raw(raw: u32) -> Round {
        Round(raw)
    }
}

/// Decides one winner for each round.
pub struct Claim(AtomicU64);

/// Round and code, unpacked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word {
    round: u32,
    code: u32,
}

impl Word {
    const fn pack(self) -> u64 {
        (self.round as u64) << 32 | self.code as u64
    }

    const fn unpack(word: u64) -> Self {
        Self {
            round: (word >> 32) as u32,
            code: word as u32,
        }
    }
}

impl Claim {
    const_unless_loom! {
        /// A claim without an open round.
        pub fn new() -> Self {
            // The code says that round 0 is decided; nobody reads who won it.
            Self(AtomicU64::new(Word { round: 0, code: u32::MAX }.pack()))
        }
    }

    /// Begins a new round, for the goroutine that is about to wait (C2).
    #[inline]
    pub fn open(&self) -> Round {
        // Only the owner opens rounds, so the number cannot have changed behind its back.
        let last = Word::unpack(self.0.load(Ordering::Relaxed)).round;
        let round = last.wrapping_add(1);
        // Who learns of the round does so from the owner, later.
        self.0
            .store(Word { round, code: 0 }.pack(), Ordering::Release);
        Round(round)
    }

    /// The round that was opened last. For whoever knows that it is still the one it means: a timer
    /// that the owner stops before its next round.
    #[inline]
    pub fn current(&self) -> Round {
        Round(Word::unpack(self.0.load(Ordering::Acquire)).round)
    }

    /// Tries to become the winner of `round`. True for exactly one caller per round, false for all
    /// once it is decided or over.
    ///
    /// # Panics
    ///
    /// `code` is 0.
    #[inline]
    pub fn try_claim(&self, round: Round, code: u32) -> bool {
        assert_ne!(code, 0, "code 0 means that nobody has won");
        let open = Word {
            round: round.0,
            code: 0,
        }
        .pack();
        let won = Word {
            round: round.0,
            code,
        }
        .pack();
        self.0
            .compare_exchange(open, won, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether `round` is still to be won. A snapshot: it saves a useless `try_claim`.
    #[inline]
    pub fn is_open(&self, round: Round) -> bool {
        self.0.load(Ordering::Relaxed)
            == Word {
                round: round.0,
                code: 0,
            }
            .pack()
    }

    /// For the owner, after it was woken: the code of the round's winner, or 0 if there is none yet.
    #[inline]
    pub fn winner(&self) -> u32 {
        Word::unpack(self.0.load(Ordering::Acquire)).code
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Word { round, code } = Word::unpack(self.0.load(Ordering::Relaxed));
        f.debug_struct("Claim")
            .field("round", &round)
            .field("winner", &code)
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU32, Ordering},
        },
        thread,
    };

    #[test]
    fn the_first_claim_wins_and_the_others_lose() {
        let claim = Claim::new();
        let round = claim.open();
        assert!(claim.is_open(round));
        assert_eq!(claim.current(), round);
        assert_eq!(Round::from_raw(round.to_raw()), round);
        assert_eq!(claim.winner(), 0);
        assert!(claim.try_claim(round, 7));
        assert!(!claim.is_open(round));
        assert!(!claim.try_claim(round, 8));
        assert!(!claim.try_claim(round, 7));
        assert_eq!(claim.winner(), 7);
    }

    #[test]
    fn a_stale_round_loses() {
        let claim = Claim::new();
        let stale = claim.open();
        assert!(claim.try_claim(stale, u32::MAX));
        let round = claim.open();
        assert!(!claim.is_open(stale));
        assert!(!claim.try_claim(stale, 1));
        assert!(claim.is_open(round));
        assert!(claim.try_claim(round, 2));
        assert_eq!(claim.winner(), 2);
    }

    #[test]
    fn nothing_is_open_before_the_first_round() {
        let claim = Claim::new();
        assert!(!claim.is_open(Round(0)));
        assert!(!claim.try_claim(Round(0), 1));
    }

    #[test]
    fn rounds_wrap() {
        let claim = Claim(AtomicU64::new(
            Word {
                round: u32::MAX,
                code: 3,
            }
            .pack(),
        ));
        let round = claim.open();
        assert_eq!(round, Round(0));
        assert!(!claim.try_claim(Round(u32::MAX), 1));
        assert!(claim.try_claim(round, 4));
        assert_eq!(claim.winner(), 4);
    }

    #[test]
    #[should_panic(expected = "code 0")]
    fn code_zero_is_refused() {
        let claim = Claim::new();
        let round = claim.open();
        claim.try_claim(round, 0);
    }

    #[test]
    fn of_racing_claimers_one_wins_each_round() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 2000 };
        let claim = Claim::new();
        let round = AtomicU32::new(0);
        let won_by = AtomicU32::new(0);
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for code in 1..=2 {
                let (claim, round, won_by, barrier) = (&claim, &round, &won_by, &barrier);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        barrier.wait();
                        if claim.try_claim(Round(round.load(Ordering::Relaxed)), code) {
                            won_by.fetch_add(code << 16 | 1, Ordering::Relaxed);
                        }
                        barrier.wait();
                    }
                });
            }
            for _ in 0..ROUNDS {
                round.store(claim.open().0, Ordering::Relaxed);
                barrier.wait();
                barrier.wait();
                assert_eq!(won_by.swap(0, Ordering::Relaxed), claim.winner() << 16 | 1);
            }
        });
    }
}

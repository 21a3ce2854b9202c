//! Models of the claim word: each round has one winner, late wakers lose, and the goroutine that
//! goes on sees who won and what it left.

#![cfg(loom)]

mod model;

use gort_queue::{
    claim::{Claim, Round},
    status::{Readied, State, Status},
};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::sync::Arc;

/// A waiting goroutine, and where its winner puts a value.
struct G {
    claim: Claim,
    status: Status,
    value: UnsafeCell<u32>,
    wins: AtomicU32,
}

// SAFETY: loom's cells check every access, which is what the models are for.
unsafe impl Send for G {}
// SAFETY: as above.
unsafe impl Sync for G {}

impl G {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            claim: Claim::new(),
            status: Status::new(State::Running),
            value: UnsafeCell::new(0),
            wins: AtomicU32::new(0),
        })
    }

    /// A waker: it may write to the goroutine only if it wins, and readies it only then.
    fn wake(&self, round: Round, code: u32) -> bool {
        let won = self.claim.try_claim(round, code);
        if won {
            // SAFETY: loom checks that this access is the only one.
            self.value.with_mut(|value| unsafe { *value = code });
            self.wins.fetch_add(1, Ordering::Relaxed);
            let readied = self.status.ready_thread();
            assert!(matches!(readied, Readied::Enqueue | Readied::Deferred));
        }
        won
    }

    /// Waits, as a thread does, and returns the winner.
    fn park(&self) -> u32 {
        if self.status.stop_thread() {
            while self.status.load() == State::Waiting {
                thread::yield_now();
            }
        }
        let winner = self.claim.winner();
        // SAFETY: loom checks that nobody writes at the same time.
        self.value
            .with(|value| assert_eq!(unsafe { *value }, winner));
        winner
    }
}

#[test]
fn one_of_two_wakers_wins_and_wakes() {
    model(|| {
        let gp = G::new();
        let round = gp.claim.open();
        let wakers: Vec<_> = [1, 2]
            .map(|code| {
                let gp = gp.clone();
                thread::spawn(move || gp.wake(round, code))
            })
            .into();
        let winner = gp.park();
        let won: Vec<bool> = wakers
            .into_iter()
            .map(|waker| waker.join().unwrap())
            .collect();
        assert_eq!(won, [winner == 1, winner == 2]);
        assert_eq!(gp.wins.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_waker_of_an_earlier_round_never_wins_a_later_one() {
    model(|| {
        let gp = G::new();
        let stale = gp.claim.open();
        let late = thread::spawn({
            let gp = gp.clone();
            move || gp.wake(stale, 1)
        });
        // The owner withdraws: it claims the round itself, or finds that it has to wait.
        if !gp.claim.try_claim(stale, 9) {
            assert_eq!(gp.park(), 1);
        }
        let round = gp.claim.open();
        let waker = thread::spawn({
            let gp = gp.clone();
            move || assert!(gp.wake(round, 2))
        });
        assert_eq!(gp.park(), 2);
        let late_won = late.join().unwrap();
        waker.join().unwrap();
        assert_eq!(gp.wins.load(Ordering::Relaxed), 1 + u32::from(late_won));
    });
}

#[test]
fn the_winner_is_seen_with_what_it_wrote_before_its_claim() {
    model(|| {
        let gp = G::new();
        let round = gp.claim.open();
        let waker = thread::spawn({
            let gp = gp.clone();
            move || {
                // SAFETY: loom checks that this access is the only one.
                gp.value.with_mut(|value| unsafe { *value = 5 });
                assert!(gp.claim.try_claim(round, 1));
            }
        });
        // No park here: the claim alone has to carry it.
        if !gp.claim.is_open(round) {
            assert_eq!(gp.claim.winner(), 1);
            // SAFETY: loom checks that nobody writes at the same time.
            gp.value.with(|value| assert_eq!(unsafe { *value }, 5));
        }
        waker.join().unwrap();
    });
}

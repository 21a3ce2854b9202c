//! Models of the gate: a P is used by its M or by who took it, never by both, and what the one wrote
//! the other sees.

#![cfg(loom)]

mod model;

use gort_queue::gate::{Answer, Gate};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering, fence},
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::sync::Arc;

/// An M's gate, which P the M holds, and the Ps, each for whoever holds it to use.
struct World {
    gate: Gate,
    held: AtomicUsize,
    ps: [UnsafeCell<u32>; 2],
}

// SAFETY: the model's point is that accesses to `ps` are ordered; loom checks it.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<World> {
        let gate = Gate::new();
        gate.leave();
        Arc::new(World {
            gate,
            held: AtomicUsize::new(0),
            ps: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn use_p(&self, index: usize) {
        // SAFETY: the caller holds the P; loom reports a second user.
        self.ps[index].with_mut(|p| unsafe { *p += 1 });
    }

    /// For the owner.
    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The owner enters, uses its P if it still has it, and leaves. False: it has lost it.
    fn visit(&self) -> bool {
        let used = self.gate.enter(|| {
            if !cfg!(gort_fault = "gate_fence") {
                fence(Ordering::SeqCst);
            }
        });
        let has_p = !used || self.gate.answer() != Answer::Lost;
        if has_p {
            self.use_p(self.held());
        }
        self.gate.leave();
        has_p
    }

    /// As `visit`; the owner gives its P up and gets the other one.
    fn exchange(&self) -> bool {
        let used = self.gate.enter(|| fence(Ordering::SeqCst));
        let has_p = !used || self.gate.answer() != Answer::Lost;
        if has_p {
            self.use_p(self.held());
            self.held.store(1 - self.held(), Ordering::Relaxed);
            self.use_p(self.held());
        }
        self.gate.leave();
        has_p
    }

    /// The taker tries once. True: it has the P, and has used it.
    fn take(&self) -> bool {
        if !self.gate.ask() {
            return false;
        }
        fence(Ordering::SeqCst);
        let read_held = || self.held.load(Ordering::Relaxed);
        let early = read_held();
        let taken = self.gate.conclude(read_held);
        if let Some(held) = taken {
            self.use_p(if cfg!(gort_fault = "gate_held") {
                early
            } else {
                held
            });
        }
        taken.is_some()
    }
}

/// Starts the thread that owns the P; true if it still had it at the end.
fn start_owner(world: &Arc<World>, act: fn(&World) -> bool) -> thread::JoinHandle<bool> {
    let world = world.clone();
    thread::spawn(move || act(&world))
}

#[test]
fn a_p_has_one_user() {
    model(|| {
        let world = World::new();
        let owner = start_owner(&world, |world| world.visit() && world.visit());
        let taken = world.take();
        let kept = owner.join().unwrap();
        // The owner may have made both visits before it was taken.
        assert!(taken || kept);
    });
}

/// The first P is another M's from then on, which uses it when it likes.
#[test]
fn a_p_that_was_exchanged_is_not_taken() {
    model(|| {
        let world = World::new();
        let owner = start_owner(&world, |world| {
            let has_exchanged = world.exchange();
            if has_exchanged {
                world.use_p(0);
            }
            has_exchanged && world.visit()
        });
        let taken = world.take();
        let kept = owner.join().unwrap();
        assert!(taken || kept);
    });
}

/// A taker that only wants to be noticed asks, and comes back for the P later.
#[test]
fn a_question_may_be_left_and_asked_again() {
    model(|| {
        let world = World::new();
        assert!(world.gate.ask());
        let owner = start_owner(&world, |world| world.visit() && world.visit());
        let taken = world.take();
        let kept = owner.join().unwrap();
        assert!(taken || kept);
    });
}

#[test]
fn a_p_that_was_given_away_is_not_taken() {
    model(|| {
        let world = World::new();
        let owner = start_owner(&world, |world| {
            let used = world.gate.enter(|| fence(Ordering::SeqCst));
            if used && world.gate.answer() == Answer::Lost {
                world.gate.leave();
                return false;
            }
            world.gate.announce();
            // Somebody else has the P now; here nobody uses it.
            world.gate.leave();
            assert!(world.gate.enter(|| fence(Ordering::SeqCst)));
            assert_eq!(world.gate.answer(), Answer::Announced);
            world.use_p(world.held());
            world.gate.end_announced();
            world.gate.leave();
            true
        });
        let taken = world.take();
        let had = owner.join().unwrap();
        assert!(taken || had);
    });
}

//! Models of the poll slot: an edge is never lost, and a deadline always ends a wait.

#![cfg(loom)]

mod model;

use gort_queue::{
    poll_slot::PollSlot,
    status::{State, Status},
};
use loom::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::{ptr::NonNull, sync::Arc};

/// A waiter, one direction of a descriptor, and the kernel's side of it.
struct World {
    waiter: Status,
    slot: PollSlot<Status>,
    /// Bytes that can be read. Read-modify-writes only: the kernel orders its own.
    bytes: AtomicU32,
    is_expired: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Read,
    TimedOut,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waiter: Status::new(State::Running),
            slot: PollSlot::new(),
            bytes: AtomicU32::new(0),
            is_expired: AtomicBool::new(false),
        })
    }

    fn try_read(&self) -> bool {
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |bytes| {
                bytes.checked_sub(1)
            })
            .is_ok()
    }

    /// `read`, as netpoll does it: try, register, look at the flags again, park.
    fn read(&self) -> Outcome {
        loop {
            if self.is_expired.load(Ordering::Relaxed) {
                return Outcome::TimedOut;
            }
            if self.try_read() {
                return Outcome::Read;
            }
            let waiter = NonNull::from(&self.waiter);
            if self.slot.register(waiter).expect("one waiter at a time") {
                continue;
            }
            if self.is_expired.load(Ordering::Relaxed) && self.slot.unregister(waiter) {
                return Outcome::TimedOut;
            }
            if self.waiter.stop_thread() {
                while self.waiter.load() == State::Waiting {
                    thread::yield_now();
                }
            }
        }
    }

    /// A byte arrives, and the poller sees the edge.
    fn arrive(&self) {
        self.bytes.fetch_add(1, Ordering::AcqRel);
        wake(self.slot.notify());
    }

    fn expire(&self) {
        self.is_expired.store(true, Ordering::Relaxed);
        wake(self.slot.interrupt());
    }
}

fn wake(waiter: Option<NonNull<Status>>) {
    if let Some(waiter) = waiter {
        // SAFETY: the waiter is part of the `World` that the threads share.
        let _ = unsafe { waiter.as_ref() }.ready_thread();
    }
}

fn spawn(world: &Arc<World>, act: fn(&World)) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || act(&world))
}

#[test]
fn an_edge_is_never_lost() {
    model(|| {
        let world = World::new();
        let poller = spawn(&world, World::arrive);
        assert_eq!(world.read(), Outcome::Read);
        poller.join().unwrap();
    });
}

#[test]
fn each_edge_is_good_for_its_bytes() {
    model(|| {
        let world = World::new();
        let poller = spawn(&world, |world| {
            world.arrive();
            world.arrive();
        });
        assert_eq!(world.read(), Outcome::Read);
        assert_eq!(world.read(), Outcome::Read);
        poller.join().unwrap();
    });
}

/// N4 alone: the deadline sees the waiter, or the waiter the deadline.
#[test]
fn a_deadline_is_seen_before_the_park_or_sees_who_parks() {
    model(|| {
        let world = World::new();
        let timer = spawn(&world, World::expire);
        assert_eq!(world.slot.register(NonNull::from(&world.waiter)), Ok(false));
        let would_park = !world.is_expired.load(Ordering::Relaxed);
        timer.join().unwrap();
        if would_park {
            assert!(
                world.waiter.take_notified(),
                "the waiter sleeps past its deadline"
            );
        }
    });
}

#[test]
fn a_deadline_ends_the_wait() {
    model(|| {
        let world = World::new();
        let timer = spawn(&world, World::expire);
        assert_eq!(world.read(), Outcome::TimedOut);
        timer.join().unwrap();
        assert_eq!(world.slot.interrupt(), None);
        assert!(!world.waiter.take_notified(), "a token is left over");
    });
}

#[test]
fn deadline_and_edge_wake_once() {
    model(|| {
        let world = World::new();
        let poller = spawn(&world, World::arrive);
        let timer = spawn(&world, World::expire);
        let outcome = world.read();
        poller.join().unwrap();
        timer.join().unwrap();
        // Whoever came second has found nobody, and readied nobody.
        assert!(!world.waiter.take_notified(), "a token is left over");
        assert_eq!(
            world.try_read(),
            outcome == Outcome::TimedOut,
            "the byte is there or was read"
        );
    });
}

#[test]
fn a_clear_before_the_attempt_forgets_no_byte() {
    model(|| {
        let world = World::new();
        let poller = spawn(&world, World::arrive);
        world.slot.clear();
        assert_eq!(world.read(), Outcome::Read);
        poller.join().unwrap();
    });
}

//! Models of the run queue: no item is lost, doubled, or seen before it is written.
//!
//! An item carries a loom cell that its maker writes and its taker writes again, so that loom
//! notices two takers, and a taker that the item was not handed to properly. The ring has 4 slots.

#![cfg(loom)]

mod model;

use gort_queue::local::{CAPACITY, LocalQueue};
use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::{ptr::NonNull, sync::Arc};

const NEW: u32 = 0;
const QUEUED: u32 = 1;
const TAKEN: u32 = 2;

type Item = UnsafeCell<u32>;

/// What the threads of one model share.
struct World {
    items: Vec<Item>,
    /// The queue that the model's main thread owns.
    queue: LocalQueue<Item>,
    /// Queues of thieves; each is owned by one thread.
    others: Vec<LocalQueue<Item>>,
}

// SAFETY: loom's cells check every access, which is what the models are for.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

impl World {
    fn new(items: usize, others: usize) -> Arc<Self> {
        assert_eq!(CAPACITY, 4);
        Arc::new(Self {
            items: (0..items).map(|_| UnsafeCell::new(NEW)).collect(),
            queue: LocalQueue::new(),
            others: (0..others).map(|_| LocalQueue::new()).collect(),
        })
    }

    /// Writes item `i`, as a spawner does before it queues a goroutine.
    fn make(&self, i: usize) -> NonNull<Item> {
        step(&self.items[i], NEW, QUEUED);
        NonNull::from(&self.items[i])
    }

    fn push(&self, i: usize) {
        let item = self.make(i);
        // SAFETY: the main thread owns the queue, and calls this; items live as long as the queue.
        unsafe { self.queue.push_or_spill(item, take) };
    }

    fn push_next(&self, i: usize) {
        let item = self.make(i);
        // SAFETY: as in `push`.
        unsafe {
            if let Some(displaced) = self.queue.replace_run_next(item) {
                assert!(self.queue.push(displaced), "the ring has room");
            }
        }
    }

    fn pop(&self) -> bool {
        // SAFETY: the main thread owns the queue, and calls this.
        let popped = unsafe { self.queue.pop() };
        popped.map(|(item, _)| take(item)).is_some()
    }

    /// Thief number `thief` takes from `victim` what it can get.
    fn steal(&self, thief: usize, victim: &LocalQueue<Item>, run_next: bool) -> bool {
        // SAFETY: each thief is one thread, which owns its queue.
        let stolen = unsafe { self.others[thief].steal_from(victim, run_next) };
        stolen.map(take).is_some()
    }

    /// After all threads have ended: takes what is left, and counts.
    fn check(&self, made: usize) {
        for queue in self.others.iter().chain([&self.queue]) {
            // SAFETY: the other threads have ended.
            unsafe { queue.drain(take) };
            assert!(queue.is_empty());
        }
        for (i, item) in self.items.iter().enumerate() {
            let expected = if i < made { TAKEN } else { NEW };
            // SAFETY: the other threads have ended.
            item.with(|value| assert_eq!(unsafe { *value }, expected, "item {i} was lost"));
        }
    }
}

fn spawn(world: &Arc<World>, act: impl FnOnce(&World) + Send + 'static) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || act(&world))
}

fn take(item: NonNull<Item>) {
    // SAFETY: the items live as long as their `World`.
    step(unsafe { item.as_ref() }, QUEUED, TAKEN);
}

fn step(item: &Item, from: u32, to: u32) {
    item.with_mut(|value| {
        // SAFETY: loom checks that this access is the only one.
        let value = unsafe { &mut *value };
        assert_eq!(*value, from, "an item was taken twice, or unwritten");
        *value = to;
    });
}

#[test]
fn owner_and_thief_take_each_item_once() {
    model(|| {
        let world = World::new(3, 1);
        world.push(0);
        world.push(1);
        let thief = spawn(&world, |world| {
            world.steal(0, &world.queue, false);
        });
        world.pop();
        world.push(2);
        world.pop();
        thief.join().unwrap();
        world.check(3);
    });
}

#[test]
fn two_thieves_and_the_owner_take_each_item_once() {
    model(|| {
        let world = World::new(4, 2);
        for i in 0..4 {
            world.push(i);
        }
        let thieves: Vec<_> = (0..2)
            .map(|thief| {
                spawn(&world, move |world| {
                    world.steal(thief, &world.queue, false);
                })
            })
            .collect();
        world.pop();
        for thief in thieves {
            thief.join().unwrap();
        }
        world.check(4);
    });
}

#[test]
fn an_overflow_races_with_a_thief() {
    model(|| {
        let world = World::new(5, 1);
        for i in 0..4 {
            world.push(i);
        }
        let thief = spawn(&world, |world| {
            world.steal(0, &world.queue, false);
        });
        world.push(4); // Overflows, or finds room that the thief has made.
        thief.join().unwrap();
        world.check(5);
    });
}

#[test]
fn a_slot_is_not_overwritten_under_a_thief_that_wins() {
    model(|| {
        let world = World::new(7, 1);
        for i in 0..4 {
            world.push(i);
        }
        let thief = spawn(&world, |world| {
            world.steal(0, &world.queue, false);
        });
        // The ring goes round: items 4 to 6 come to lie where the thief reads.
        for i in 4..7 {
            world.pop();
            world.push(i);
        }
        thief.join().unwrap();
        world.check(7);
    });
}

#[test]
fn run_next_is_taken_once() {
    model(|| {
        let world = World::new(3, 1);
        world.push_next(0);
        let thief = spawn(&world, |world| {
            world.steal(0, &world.queue, true);
            world.steal(0, &world.queue, true);
        });
        world.push_next(1);
        world.pop();
        world.push_next(2);
        thief.join().unwrap();
        world.check(3);
    });
}

#[test]
fn stolen_items_can_be_stolen_again() {
    model(|| {
        let world = World::new(4, 2);
        for i in 0..4 {
            world.push(i);
        }
        let first = spawn(&world, |world| {
            world.steal(0, &world.queue, false);
        });
        // Gets from the first thief what the owner wrote: the chain of tails has to carry it.
        let second = spawn(&world, |world| {
            world.steal(1, &world.others[0], false);
        });
        first.join().unwrap();
        second.join().unwrap();
        world.check(4);
    });
}

#[test]
fn a_thief_with_a_wrapped_ring_keeps_its_own_items() {
    model(|| {
        let world = World::new(7, 1);
        // The thief's own ring holds 3 of 4, so it has room for one more and the one it runs.
        for i in 0..3 {
            let item = world.make(i);
            // SAFETY: the thief has not begun; items live as long as the queue.
            let has_room = unsafe { world.others[0].push(item) };
            assert!(has_room);
        }
        for i in 3..7 {
            world.push(i);
        }
        let thief = spawn(&world, |world| {
            assert!(world.steal(0, &world.queue, false));
        });
        world.pop();
        thief.join().unwrap();
        world.check(7);
    });
}

/// As a P's part of the global queue goes into its ring: thief 0 stands for that ring, whose owner the main
/// thread is too.
#[test]
fn what_goes_from_ring_to_ring_is_taken_once() {
    model(|| {
        let world = World::new(4, 2);
        for i in 0..3 {
            world.push(i);
        }
        let one = spawn(&world, |world| {
            world.queue.steal_one().map(take);
        });
        let half = spawn(&world, |world| {
            world.steal(1, &world.queue, false);
            world.steal(1, &world.others[0], false);
        });
        // SAFETY: the main thread owns both.
        unsafe { world.others[0].append(&world.queue, 4) };
        world.push(3);
        // SAFETY: as above.
        let first = unsafe { world.others[0].pop() };
        first.map(|(item, _)| take(item));
        one.join().unwrap();
        half.join().unwrap();
        world.check(4);
    });
}

/// SC10: one item is there all the time, whichever way both came in.
#[test]
fn sc10_an_observer_never_misses_what_was_there_all_the_time() {
    for next in [(false, false), (false, true), (true, false), (true, true)] {
        model(move || {
            let world = World::new(2, 0);
            let put = |i, next| {
                if next {
                    world.push_next(i)
                } else {
                    world.push(i)
                }
            };
            put(0, next.0);
            let observer = spawn(&world, |world| assert!(!world.queue.is_empty()));
            put(1, next.1);
            assert!(world.pop());
            observer.join().unwrap();
            assert!(world.pop());
            world.check(2);
        });
    }
}

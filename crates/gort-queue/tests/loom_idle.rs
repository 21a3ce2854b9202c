//! Models of the idle protocol: submitted work always finds somebody awake.
//!
//! Queues are plain relaxed numbers here: whatever order there is must come from the fences of
//! `Idle`. An M that is awake and would look through all queues next is counted and goes no further.

#![cfg(loom)]

mod model;

use gort_queue::{idle::Idle, local::LocalQueue};
use loom::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::{ptr::NonNull, sync::Arc};

struct World {
    idle: Idle,
    /// Work in queues that every M can see.
    queued: AtomicU32,
    /// Idle Ps; the lock is the one that I5 speaks of.
    idle_ps: Mutex<u32>,
    /// Ms that were woken, or stayed awake, to look through all queues.
    awake: AtomicU32,
}

impl World {
    /// All `spinners` are counted, and have a P. There are `idle` Ps more.
    fn new(spinners: u32, idle: u32) -> Arc<Self> {
        let world = Self {
            idle: Idle::new(),
            queued: AtomicU32::new(0),
            idle_ps: Mutex::new(0),
            awake: AtomicU32::new(0),
        };
        for _ in 0..spinners {
            world.idle.start_spinning();
        }
        for _ in 0..idle {
            world.release_p();
        }
        Arc::new(world)
    }

    fn acquire_p(&self) -> bool {
        let mut idle_ps = self.idle_ps.lock().unwrap();
        let found = *idle_ps != 0;
        if found {
            *idle_ps -= 1;
            self.idle.dec_idle();
        }
        found
    }

    fn release_p(&self) {
        let mut idle_ps = self.idle_ps.lock().unwrap();
        *idle_ps += 1;
        self.idle.inc_idle();
    }

    /// For models with one submitter: a plain store, since a queue promises no more.
    fn submit(&self) {
        let queued = self.queued.load(Ordering::Relaxed);
        self.queued.store(queued + 1, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        let mut should_wake = self.idle.should_wake();
        while should_wake {
            if self.acquire_p() {
                return self.keep_on();
            }
            should_wake = self.idle.abandon_spinning();
        }
    }

    fn sees_work(&self) -> bool {
        self.queued.load(Ordering::Relaxed) != 0
    }

    /// An M that spins, until it goes to sleep.
    fn spin(&self) {
        if self.sees_work() {
            return self.keep_on();
        }
        self.release_p();
        self.idle.stop_spinning_going_idle();
        self.look_again();
    }

    /// An M with a P that has found nothing and not been allowed to spin, until it goes to sleep.
    fn give_up(&self) {
        self.release_p();
        self.idle.going_idle();
        self.look_again();
    }

    fn look_again(&self) {
        if self.sees_work() && self.acquire_p() {
            self.keep_on();
        }
    }

    /// An M with a P is going to look through all queues, which ends its part in the model.
    fn keep_on(&self) {
        self.awake.fetch_add(1, Ordering::Relaxed);
    }

    /// After all threads have ended.
    fn check(&self) {
        let sleeps = self.sees_work() && self.idle.idle() != 0;
        let awake = self.awake.load(Ordering::Relaxed);
        assert!(!sleeps || awake != 0, "work sleeps beside an idle P");
    }
}

fn spawn(world: &Arc<World>, act: fn(&World)) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || act(&world))
}

#[test]
fn work_is_seen_by_the_last_spinner_or_wakes_one() {
    model(|| {
        let world = World::new(1, 0);
        let spinner = spawn(&world, World::spin);
        world.submit();
        spinner.join().unwrap();
        world.check();
    });
}

#[test]
fn two_spinners_do_not_count_on_each_other() {
    model(|| {
        let world = World::new(2, 0);
        let spinners = [spawn(&world, World::spin), spawn(&world, World::spin)];
        world.submit();
        for spinner in spinners {
            spinner.join().unwrap();
        }
        world.check();
    });
}

#[test]
fn an_m_that_gives_up_its_p_without_spinning_looks_again() {
    model(|| {
        let world = World::new(0, 0);
        let other = spawn(&world, World::give_up);
        world.submit();
        other.join().unwrap();
        world.check();
    });
}

/// I2. The spinner is busy with other work, so that only the duty it hands on can help.
#[test]
fn a_last_spinner_that_found_work_hands_its_duty_on() {
    model(|| {
        let world = World::new(1, 1);
        let spinner = spawn(&world, |world| {
            if world.idle.stop_spinning_found_work() {
                world.wake();
            }
        });
        world.submit();
        spinner.join().unwrap();
        world.check();
    });
}

/// I3. One M takes the only idle P and gives it back, while another tries to start a spinner on it.
#[test]
fn work_that_counted_on_an_abandoned_spinner_wakes_another() {
    model(|| {
        let world = World::new(0, 1);
        let taker = spawn(&world, |world| {
            if world.acquire_p() {
                world.give_up();
            }
        });
        let waker = spawn(&world, World::wake);
        world.submit();
        taker.join().unwrap();
        waker.join().unwrap();
        world.check();
    });
}

/// The protocol over the real run queue: its Release and Acquire do not replace the fences.
#[test]
fn an_item_in_a_run_queue_is_seen_or_wakes_one() {
    static ITEM: u32 = 0;
    model(|| {
        let world = World::new(1, 0);
        let queue = Arc::new(LocalQueue::<u32>::new());
        let spinner = thread::spawn({
            let (world, queue) = (world.clone(), queue.clone());
            move || {
                let own = LocalQueue::new();
                // SAFETY: this thread owns `own`.
                if unsafe { own.steal_from(&queue, true) }.is_some() {
                    let _ = world.idle.stop_spinning_found_work();
                    return true;
                }
                world.release_p();
                world.idle.stop_spinning_going_idle();
                !queue.is_empty()
            }
        });
        // SAFETY: this thread owns `queue`; the item lives for ever.
        let pushed = unsafe { queue.push(NonNull::from(&ITEM)) };
        assert!(pushed, "the ring has room");
        let woke = world.idle.should_wake();
        let saw = spinner.join().unwrap();
        assert!(woke || saw, "work sleeps beside an idle P");
    });
}

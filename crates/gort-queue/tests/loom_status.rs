//! Models of park and ready: no wake-up is lost, and nobody runs a goroutine that still stands on
//! its stack, or whose stack is being walked.
//!
//! The stack is a loom cell: to run on it is to write to it, and loom fails a model in which two
//! threads do so without one having handed it to the other.

#![cfg(loom)]

mod model;

use gort_queue::status::{Readied, State, Status};
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::sync::Arc;

/// A goroutine: its status, its stack, and what its waker has for it.
struct G {
    status: Status,
    stack: UnsafeCell<u32>,
    message: UnsafeCell<u32>,
    /// How many times it was queued to run again.
    queued: AtomicU32,
    /// Set by the first of several wakers: stands for the lock of whatever it waits for.
    is_woken: AtomicBool,
}

// SAFETY: loom's cells check every access, which is what the models are for.
unsafe impl Send for G {}
// SAFETY: as above.
unsafe impl Sync for G {}

impl G {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            status: Status::new(State::Running),
            stack: UnsafeCell::new(0),
            message: UnsafeCell::new(0),
            queued: AtomicU32::new(0),
            is_woken: AtomicBool::new(false),
        })
    }

    /// Runs on the stack: what only the M that owns it may do (G2).
    fn run(&self) {
        // SAFETY: nothing else gives out pointers into the cell; that no two are used at once is
        // what loom checks.
        self.stack.with_mut(|stack| unsafe { *stack += 1 });
    }

    /// Stands for a run queue and the M that takes it from there.
    fn queue_and_resume(&self) {
        assert_eq!(self.status.load(), State::Runnable);
        assert_eq!(
            self.queued.fetch_add(1, Ordering::Relaxed),
            0,
            "queued twice (G1)"
        );
        self.status.transition(State::Runnable, State::Running);
        self.resume();
    }

    fn resume(&self) {
        self.run();
        // SAFETY: as in `run`.
        self.message
            .with(|message| assert_eq!(unsafe { *message }, 7));
    }

    /// The waker's whole duty.
    fn wake(&self) {
        // SAFETY: as in `run`.
        self.message.with_mut(|message| unsafe { *message = 7 });
        if self.status.ready() == Readied::Enqueue {
            self.queue_and_resume();
        }
    }

    /// The goroutine parks: leaves its stack, and its M ends the park. True if it never left.
    fn park(&self) -> bool {
        self.run();
        if self.status.take_notified() {
            self.resume();
            return true;
        }
        self.run(); // The registers go to the stack. From here on, the M is on its own.
        if !self.status.stop() {
            self.queue_and_resume();
        }
        false
    }

    /// After both threads: it ran again, exactly once.
    fn check(&self, stayed: bool) {
        let queued = self.queued.load(Ordering::Relaxed);
        assert_eq!(queued, u32::from(!stayed), "a wake-up was lost");
        assert_eq!(self.status.load(), State::Running);
    }
}

#[test]
fn a_wake_up_is_not_lost_and_finds_the_stack_left() {
    model(|| {
        let gp = G::new();
        let waker = thread::spawn({
            let gp = gp.clone();
            move || gp.wake()
        });
        let stayed = gp.park();
        waker.join().unwrap();
        gp.check(stayed);
    });
}

/// One look at the stack, if it can be had, and what the tracer owes at its end.
fn trace(gp: &G) {
    if gp.status.try_trace() {
        // SAFETY: as in `G::run`.
        gp.stack.with(|stack| assert!(unsafe { *stack } > 0));
        if !gp.status.end_trace() {
            gp.queue_and_resume();
        }
    }
}

#[test]
fn a_traced_stack_is_not_run_on_and_no_wake_up_is_lost() {
    model(|| {
        let gp = G::new();
        let waker = thread::spawn({
            let gp = gp.clone();
            move || gp.wake()
        });
        let tracer = thread::spawn({
            let gp = gp.clone();
            move || trace(&gp)
        });
        let stayed = gp.park();
        waker.join().unwrap();
        tracer.join().unwrap();
        gp.check(stayed);
    });
}

#[test]
fn of_two_tracers_one_walks() {
    model(|| {
        let gp = G::new();
        gp.run();
        assert!(gp.status.stop());
        let tracer = thread::spawn({
            let gp = gp.clone();
            move || trace(&gp)
        });
        let waker = thread::spawn({
            let gp = gp.clone();
            move || gp.wake()
        });
        trace(&gp);
        tracer.join().unwrap();
        waker.join().unwrap();
        gp.check(false);
    });
}

#[test]
fn of_several_wakers_one_readies() {
    model(|| {
        let gp = G::new();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let gp = gp.clone();
                thread::spawn(move || {
                    if !gp.is_woken.swap(true, Ordering::AcqRel) {
                        gp.wake();
                    }
                })
            })
            .collect();
        let stayed = gp.park();
        for waker in wakers {
            waker.join().unwrap();
        }
        gp.check(stayed);
    });
}

#[test]
fn a_second_ready_for_one_park_is_refused() {
    // Nobody resumes the goroutine here, so the second `ready` always meets the first one's trace.
    model(|| {
        let status = Arc::new(Status::new(State::Running));
        let refused = Arc::new(AtomicU32::new(0));
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let (status, refused) = (status.clone(), refused.clone());
                thread::spawn(move || {
                    if status.try_ready().is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let _ = status.stop();
        for waker in wakers {
            waker.join().unwrap();
        }
        assert_eq!(refused.load(Ordering::Relaxed), 1);
        assert_eq!(status.load(), State::Runnable);
    });
}

#[test]
fn a_token_survives_the_loss_of_the_p_on_the_way_into_the_park() {
    model(|| {
        let gp = G::new();
        let waker = thread::spawn({
            let gp = gp.clone();
            move || gp.wake()
        });
        // sysmon took the P, and the M queued for one: the goroutine is Runnable for a while, on
        // its own M's behalf, and nobody else's to queue.
        gp.status.transition(State::Running, State::Syscall);
        gp.status.transition(State::Syscall, State::Runnable);
        gp.status.transition(State::Runnable, State::Running);
        let stayed = gp.park();
        waker.join().unwrap();
        gp.check(stayed);
    });
}

#[test]
fn two_parks_each_take_their_own_ready() {
    model(|| {
        let status = Arc::new(Status::new(State::Running));
        let round = Arc::new(AtomicU32::new(0));
        let waker = thread::spawn({
            let (status, round) = (status.clone(), round.clone());
            move || {
                wake_thread(&status);
                while round.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
                wake_thread(&status);
            }
        });
        for i in 1..=2 {
            park_thread(&status);
            round.store(i, Ordering::Release);
        }
        waker.join().unwrap();
        assert_eq!(status.load(), State::Running);
        assert!(!status.take_notified(), "a token is left over");
    });
}

fn wake_thread(status: &Status) {
    let _ = status.ready_thread();
}

/// An OS thread waits on the word; a futex would only make the loop cheaper.
fn park_thread(status: &Status) {
    if status.stop_thread() {
        while status.load() == State::Waiting {
            thread::yield_now();
        }
    }
}

#[test]
fn a_waiting_thread_sees_what_its_waker_wrote() {
    model(|| {
        let gp = G::new();
        let waker = thread::spawn({
            let gp = gp.clone();
            move || {
                // SAFETY: as in `G::run`.
                gp.message.with_mut(|message| unsafe { *message = 7 });
                wake_thread(&gp.status);
            }
        });
        park_thread(&gp.status);
        gp.resume();
        waker.join().unwrap();
    });
}

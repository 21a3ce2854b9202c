//! Channels and `select` under loom: the very files, over a stand-in for what they use of the runtime.
//!
//! Their lock is loom's (`light_lock` has a model of its own), their claims are `gort_queue`'s, and a
//! goroutine is a loom thread that parks on a condition. A wait with a deadline times out at any moment:
//! it tries to claim itself as soon as it waits, and loom puts other steps before that.
//!
//! A lost wake-up shows as a deadlock, one too many as a failed assertion, and a value that is seen before it
//! was handed over, as a racing access to a `loom::cell::UnsafeCell`. At the end of each execution every
//! value has been received, given back or dropped, once.
//!
//! Selects are biased, as loom has to meet the same choices again; which arm is first varies instead.
//! Two preemptions per execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#![cfg(loom)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the files have more functions than their models call"
)]
#![allow(
    unreachable_pub,
    private_interfaces,
    missing_debug_implementations,
    reason = "the files are modules of a library elsewhere"
)]
#![allow(clippy::vec_box, reason = "what is in them is found by its address")]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::thread;

use chan::arms;
use chan::{Receiver, RecvTimeoutError, Sender, TryRecvError};

// The files say `gort_core`, and mean the stand-ins below.
extern crate self as gort_core;

#[path = "../../../crates/gort/src/chan"]
mod chan {
    pub mod buffer;
    pub mod core;
    pub mod error;
    pub mod receiver;
    pub mod select;
    pub mod sender;
    pub mod state;
    pub mod wait;
    pub mod waiter;
    pub mod watched;

    pub mod arms {
        pub use super::select::arms::{recv, select, send, try_select};
    }

    pub use error::*;
    pub use receiver::Receiver;
    pub use sender::Sender;
    use state::Chan;
    use wait::{Wait, spin, wait_for_nothing};

    mod atomic {
        pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
    }

    /// The clock fills no channel here.
    pub mod timed {
        use super::state::Chan;

        pub struct TimedChan;

        pub fn may_be_due(_: &Chan) -> bool {
            unreachable!("not a timed channel")
        }
        pub fn rearm(_: &Chan) {}
        pub fn len(_: &Chan) -> usize {
            unreachable!("not a timed channel")
        }
        pub fn capacity(_: &Chan) -> usize {
            unreachable!("not a timed channel")
        }
    }

    pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        ends(Chan::new::<T>(Some(capacity)))
    }

    pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        ends(Chan::new::<T>(None))
    }

    fn ends<T>(chan: std::ptr::NonNull<Chan>) -> (Sender<T>, Receiver<T>) {
        // SAFETY: a new channel of `T`s, made with one sender and one receiver.
        unsafe { (Sender::new(Some(chan)), Receiver::new(Some(chan))) }
    }
}

pub mod light_lock {
    use std::ops::{Deref, DerefMut};

    pub struct LightMutex<T>(loom::sync::Mutex<T>);

    pub struct LightGuard<'a, T>(loom::sync::MutexGuard<'a, T>);

    impl<T> LightMutex<T> {
        pub fn new(value: T) -> Self {
            LightMutex(loom::sync::Mutex::new(value))
        }
        pub fn lock(&self) -> LightGuard<'_, T> {
            LightGuard(self.0.lock().unwrap())
        }
    }

    impl<T> Deref for LightGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for LightGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}

/// Of the wakers of futures, which no model has.
pub mod lock {
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Self {
            Mutex(std::sync::Mutex::new(value))
        }
        pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

pub mod clock {
    use std::time::{Duration, Instant};

    /// Any deadline but none is in the future, and may pass at any moment.
    pub fn now_ns() -> u64 {
        0
    }
    pub fn deadline_after(_: Duration) -> u64 {
        5
    }
    pub fn from_instant(_: Instant) -> u64 {
        5
    }
}

pub mod wait_reason {
    #[derive(Clone, Copy, Debug)]
    pub enum WaitReason {
        ChanReceive,
        ChanSend,
        ChanReceiveNil,
        ChanSendNil,
        Select,
        SelectNoCases,
    }
}

pub mod timer {
    use super::g::GRef;

    pub struct ReadyList;

    impl ReadyList {
        pub fn push(&mut self, _: GRef) {
            unreachable!("the clock readies nobody here")
        }
    }
}

pub mod g {
    use std::cell::{Cell, UnsafeCell};
    use std::fmt;
    use std::mem::MaybeUninit;
    use std::ptr::{self, NonNull};

    use gort_queue::claim::Claim;
    use loom::sync::{Condvar, Mutex};

    /// Larger than elsewhere: the cells of a waiter are checked here.
    #[repr(align(64))]
    pub struct WaitRoom(UnsafeCell<MaybeUninit<[u8; 512]>>);

    /// A loom thread, as a goroutine.
    pub struct G {
        room: WaitRoom,
        pub(super) claim: Claim,
        /// Whether it has been readied, and not yet parked for that.
        pub(super) is_ready: Mutex<bool>,
        pub(super) readied: Condvar,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct GRef(NonNull<G>);

    // SAFETY: what is behind it lives to the end of the execution, and is made for many threads.
    unsafe impl Send for GRef {}
    // SAFETY: as above.
    unsafe impl Sync for GRef {}

    loom::lazy_static! {
        /// All of an execution's, until its end.
        static ref ALL: Mutex<Vec<Box<G>>> = Mutex::new(Vec::new());
    }

    loom::thread_local! {
        static CURRENT: Cell<*const G> = Cell::new(ptr::null());
    }

    pub fn current() -> GRef {
        let known = CURRENT.with(Cell::get);
        if let Some(known) = NonNull::new(known.cast_mut()) {
            return GRef(known);
        }
        let new = Box::new(G {
            room: WaitRoom(UnsafeCell::new(MaybeUninit::uninit())),
            claim: Claim::new(),
            is_ready: Mutex::new(false),
            readied: Condvar::new(),
        });
        let gp = GRef(NonNull::from(&*new));
        CURRENT.with(|current| current.set(gp.0.as_ptr()));
        ALL.lock().unwrap().push(new);
        gp
    }

    pub fn ensure_current() {}

    pub fn ensure_current_unlocked<L>(locked: L) -> Option<L> {
        Some(locked)
    }

    pub fn current_id() -> u64 {
        unreachable!("nothing is left to chance here")
    }

    impl GRef {
        pub(super) fn get(&self) -> &G {
            // SAFETY: in `ALL` until the end of the execution.
            unsafe { self.0.as_ref() }
        }
        pub fn claim(&self) -> &Claim {
            &self.get().claim
        }
        pub fn wait_room(&self) -> NonNull<WaitRoom> {
            NonNull::from(&self.get().room)
        }
        /// So that nobody spins.
        pub fn is_goroutine(self) -> bool {
            true
        }
        pub fn id(self) -> u64 {
            unreachable!("nothing is left to chance here")
        }
    }

    impl fmt::Debug for GRef {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad("GRef")
        }
    }
}

pub mod runtime {
    pub fn ensure_started() {}
}

pub mod sched {
    /// Of wakers, which no model has.
    pub mod callbacks {
        pub fn wake(_: std::task::Waker) {
            unreachable!("no task in a model")
        }
    }

    use gort_queue::claim::{Round, TIMED_OUT};

    use super::g::{self, GRef};
    use super::wait_reason::WaitReason;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Woken {
        Ready,
        TimedOut,
    }

    pub fn park(_: WaitReason) {
        let gp = g::current();
        let mut is_ready = gp.get().is_ready.lock().unwrap();
        while !*is_ready {
            is_ready = gp.get().readied.wait(is_ready).unwrap();
        }
        *is_ready = false;
    }

    pub fn park_until(reason: WaitReason, round: Round, _deadline_ns: u64) -> Woken {
        if g::current().claim().try_claim(round, TIMED_OUT) {
            return Woken::TimedOut;
        }
        park(reason);
        Woken::Ready
    }

    pub fn ready(gp: GRef) {
        let mut is_ready = gp.get().is_ready.lock().unwrap();
        assert!(!*is_ready, "readied twice");
        *is_ready = true;
        gp.get().readied.notify_one();
    }

    pub fn prefetch_line(_: usize) {}
}

/// What is sent. Whoever sees it must have it from whoever made it.
struct Value {
    number: u32,
    seen: UnsafeCell<u32>,
    /// Not loom's: how many there are, at the end none.
    alive: Arc<AtomicUsize>,
}

// SAFETY: one thread at a time has it; loom finds out if not.
unsafe impl Send for Value {}

impl Value {
    fn new(number: u32, alive: &Arc<AtomicUsize>) -> Value {
        alive.fetch_add(1, StdOrdering::Relaxed);
        let value = Value {
            number,
            seen: UnsafeCell::new(0),
            alive: Arc::clone(alive),
        };
        value.touch();
        value
    }

    fn touch(&self) {
        // SAFETY: ours alone; loom checks that.
        self.seen.with_mut(|seen| unsafe { *seen += 1 });
    }

    fn number(self) -> u32 {
        self.touch();
        self.number
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, StdOrdering::Relaxed);
    }
}

/// An end of a channel, which a model that has failed leaves alone: loom panics again if it is used then.
struct End<T>(ManuallyDrop<T>);

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl<T> Deref for End<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> Clone for End<T> {
    fn clone(&self) -> Self {
        End(self.0.clone())
    }
}

type Ends = (End<Sender<Value>>, End<Receiver<Value>>);

/// No capacity: unbounded.
fn channel(capacity: impl Into<Option<usize>>) -> Ends {
    let (s, r) = match capacity.into() {
        Some(capacity) => chan::bounded(capacity),
        None => chan::unbounded(),
    };
    (End(ManuallyDrop::new(s)), End(ManuallyDrop::new(r)))
}

/// Explores `f`, which gets the count of values that are alive.
fn model(f: impl Fn(&Arc<AtomicUsize>) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 20_000;
    builder.check(move || {
        let alive = Arc::new(AtomicUsize::new(0));
        f(&alive);
        assert_eq!(alive.load(StdOrdering::Relaxed), 0, "values that are left");
    });
}

/// Sends the numbers, each from a thread of its own.
fn senders(
    s: &End<Sender<Value>>,
    numbers: &[u32],
    alive: &Arc<AtomicUsize>,
) -> Vec<thread::JoinHandle<()>> {
    let start = |&number: &u32| {
        let (s, alive) = (s.clone(), Arc::clone(alive));
        thread::spawn(move || assert!(s.send(Value::new(number, &alive)).is_ok()))
    };
    numbers.iter().map(start).collect()
}

#[test]
fn every_value_is_received_once_whatever_the_room() {
    for capacity in [Some(0), Some(1), None] {
        model(move |alive| {
            let (s, r) = channel(capacity);
            let threads = senders(&s, &[1, 2], alive);
            drop(s);
            let mut sum = 0;
            while let Ok(value) = r.recv() {
                sum += value.number();
            }
            assert_eq!(sum, 3);
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
    }
}

/// Two wait to receive while values come one after the other, in their order.
#[test]
fn receivers_share_what_comes() {
    for capacity in [0, 1] {
        model(move |alive| {
            let (s, r) = channel(capacity);
            let receivers = [(); 2].map(|()| {
                let r = r.clone();
                thread::spawn(move || r.recv().map_or(0, Value::number))
            });
            assert!(s.send(Value::new(1, alive)).is_ok());
            assert!(s.send(Value::new(2, alive)).is_ok());
            let [one, other] = receivers.map(|thread| thread.join().unwrap());
            assert_eq!(one + other, 3);
            assert!(matches!(r.try_recv(), Err(TryRecvError::Empty)));
        });
    }
}

/// A sender that waits for room gets it from a receive, though nobody receives after that.
#[test]
fn a_receive_lets_a_sender_in() {
    model(|alive| {
        let (s, r) = channel(1);
        assert!(s.send(Value::new(1, alive)).is_ok());
        let threads = senders(&s, &[2], alive);
        assert_eq!(r.recv().unwrap().number(), 1);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(r.try_recv().unwrap().number(), 2);
    });
}

/// A send that meets a close either gives the value to somebody or gets it back; who waits is woken.
#[test]
fn a_close_wakes_everybody() {
    for capacity in [0, 1] {
        model(move |alive| {
            let (s, r) = channel(capacity);
            let receiver = {
                let r = r.clone();
                thread::spawn(move || r.recv().map(Value::number).is_ok())
            };
            let sender = {
                let (s, alive) = (s.clone(), Arc::clone(alive));
                thread::spawn(move || s.send(Value::new(1, &alive)).is_ok())
            };
            assert!(s.close());
            let is_received = receiver.join().unwrap();
            let is_sent = sender.join().unwrap();
            let is_left = r.recv().is_ok();
            assert_eq!(is_sent, is_received || is_left);
            assert!(!(is_received && is_left));
        });
    }
}

/// A receive that gives up has received nothing, and whoever sends afterwards waits for another.
#[test]
fn a_receive_that_times_out_takes_nothing() {
    model(|alive| {
        let (s, r) = channel(0);
        let threads = senders(&s, &[1], alive);
        let value = match r.recv_timeout(std::time::Duration::ZERO) {
            Ok(value) => value,
            Err(RecvTimeoutError::Timeout) => r.recv().unwrap(),
            Err(RecvTimeoutError::Disconnected) => panic!("nobody closes it"),
        };
        assert_eq!(value.number(), 1);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

/// Receives from either, the first of the two first if both are ready; None once what is chosen is closed.
fn receive_either(one: &Receiver<Value>, other: &Receiver<Value>) -> Option<u32> {
    let (mut one, mut other) = (arms::recv(one), arms::recv(other));
    let result = match arms::select([one.erase(), other.erase()], true) {
        0 => one.finish(),
        1 => other.finish(),
        index => unreachable!("there is no arm {index}"),
    };
    result.ok().map(Value::number)
}

#[test]
fn a_select_receives_what_comes_in_either() {
    for capacity in [0, 1] {
        for is_swapped in [false, true] {
            model(move |alive| {
                let ((s1, r1), (s2, r2)) = (channel(capacity), channel(capacity));
                let mut threads = senders(&s1, &[1], alive);
                threads.extend(senders(&s2, &[2], alive));
                let (first, second) = if is_swapped { (&r2, &r1) } else { (&r1, &r2) };
                let sum =
                    receive_either(first, second).unwrap() + receive_either(first, second).unwrap();
                assert_eq!(sum, 3);
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
            });
        }
    }
}

/// Two selects wait for the same two channels, so each value has two waiters, and each waiter two values.
#[test]
fn a_select_that_wins_one_arm_leaves_the_other_to_others() {
    model(|alive| {
        let ((s1, r1), (s2, r2)) = (channel(0), channel(0));
        let selecting = {
            let (r1, r2) = (r1.clone(), r2.clone());
            thread::spawn(move || receive_either(&r1, &r2).unwrap())
        };
        let sending = senders(&s1, &[1], alive);
        let select = {
            let (r1, r2) = (r1.clone(), r2.clone());
            thread::spawn(move || receive_either(&r2, &r1).unwrap())
        };
        assert!(s2.send(Value::new(2, alive)).is_ok());
        let sum = selecting.join().unwrap() + select.join().unwrap();
        assert_eq!(sum, 3);
        sending
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

/// Sends to the one or receives from the other. What was received; 0 if it has sent.
fn exchange(s: &Sender<Value>, r: &Receiver<Value>, number: u32, alive: &Arc<AtomicUsize>) -> u32 {
    let (mut send, mut recv) = (arms::send(s), arms::recv(r));
    match arms::select([send.erase(), recv.erase()], true) {
        0 => {
            let promise = send.promise();
            assert!(promise.keep(Value::new(number, alive)).is_ok());
            0
        }
        1 => recv.finish().unwrap().number(),
        index => unreachable!("there is no arm {index}"),
    }
}

/// Two selects, each of which sends to where the other receives: one of them sends, and to the other.
#[test]
fn two_selects_meet_once() {
    model(|alive| {
        let ((s1, r1), (s2, r2)) = (channel(0), channel(0));
        let other = {
            let (s1, r2, alive) = (s1.clone(), r2.clone(), Arc::clone(alive));
            thread::spawn(move || exchange(&s1, &r2, 1, &alive))
        };
        let received = exchange(&s2, &r1, 2, alive);
        match (received, other.join().unwrap()) {
            (1, 0) | (0, 2) => {}
            both => panic!("received: {both:?}"),
        }
    });
}

/// A promise that is broken lets a receiver that was kept for it go on, and another sender in.
#[test]
fn a_broken_promise_is_for_others() {
    for capacity in [0, 1] {
        model(move |alive| {
            let (s, r) = channel(capacity);
            let receiver = thread::spawn(move || r.recv().unwrap().number());
            let other = senders(&s, &[1], alive);
            let mut send = arms::send(&s);
            if arms::try_select([send.erase()], true) == 0 {
                drop(send.promise());
            }
            assert_eq!(receiver.join().unwrap(), 1);
            other.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

/// Whoever has sent to one of two channels finds something in one of them, if others only take what they
/// have replaced: a select sees all its channels at one moment.
#[test]
fn a_select_that_does_not_wait_sees_all_at_one_moment() {
    model(|alive| {
        let ((s1, r1), (s2, r2)) = (channel(1), channel(1));
        let other = {
            let (r1, alive) = (r1.clone(), Arc::clone(alive));
            thread::spawn(move || {
                assert!(s2.send(Value::new(2, &alive)).is_ok());
                drop(r1.try_recv());
            })
        };
        assert!(s1.send(Value::new(1, alive)).is_ok());
        let (mut one, mut two) = (arms::recv(&r1), arms::recv(&r2));
        match arms::try_select([one.erase(), two.erase()], true) {
            0 => drop(one.finish().unwrap()),
            1 => drop(two.finish().unwrap()),
            _ => panic!("one of them has a value at any moment"),
        }
        other.join().unwrap();
    });
}

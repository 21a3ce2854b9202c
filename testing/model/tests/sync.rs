//! The state machines of `gort::sync` under loom: the very files, over a stand-in for what they use.
//!
//! The wait table becomes one lock around queues by key. A waiter with a deadline times out at any
//! moment: it tries to claim itself as soon as it waits, and loom puts other steps before that. A lost
//! wake-up shows as a deadlock, a broken exclusion as a racing access to a `loom::cell::UnsafeCell`.
//!
//! Two preemptions per execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#![cfg(loom)]
#![allow(
    dead_code,
    reason = "the machines have more functions than their models call"
)]
#![allow(
    unreachable_pub,
    reason = "the machines are modules of a library elsewhere"
)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
// Not loom's: that one panics again in a model that unwinds.
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use wait_table::NEVER;

#[path = "../../../crates/gort/src/sync/raw_mutex.rs"]
mod raw_mutex;
#[path = "../../../crates/gort/src/sync/raw_once.rs"]
mod raw_once;
#[path = "../../../crates/gort/src/sync/raw_rw_lock.rs"]
mod raw_rw_lock;
#[path = "../../../crates/gort/src/sync/raw_semaphore.rs"]
mod raw_semaphore;
#[path = "../../../crates/gort/src/sync/raw_wait_group.rs"]
mod raw_wait_group;

use raw_mutex::RawMutex;
use raw_once::{AfterPanic, RawOnce};
use raw_rw_lock::RawRwLock;
use raw_semaphore::RawSemaphore;
use raw_wait_group::RawWaitGroup;

mod atomic {
    pub use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}

#[derive(Clone, Copy, Debug)]
enum WaitReason {
    MutexLock,
    RwLockRead,
    RwLockWrite,
    OnceWait,
    SemAcquire,
    WaitGroupWait,
}

/// Who has locked a lock decides nothing.
mod holder {
    pub struct Holder;
    impl Holder {
        pub fn new() -> Holder {
            Holder
        }
        pub fn note(&self) {}
    }

    pub struct Place;
    impl Place {
        pub fn new() -> Place {
            Place
        }
        pub fn note(&self) {}
    }

    pub enum HeldBy {
        Nobody,
        One(*const Holder),
        Readers(*const Holder, *const Place),
    }
}

/// Nor do recursive readers.
mod recursion {
    use super::wait_table::Key;

    pub fn entered(_: Key) {}
    pub fn leaving(_: Key) {}
    pub fn writer_waits(_: Key, _: u64) {}
    pub fn check(_: Key, _: u64, _: impl FnOnce() -> Option<u32>) {}
}

macro_rules! fatal {
    ($text:literal) => {
        panic!($text)
    };
}
use fatal;

mod sched {
    pub fn yield_to_next() {
        loom::thread::yield_now();
    }
}

thread_local! {
    /// Whether every reading of the clock is 2 ms after the one before, so that who waits starves.
    /// (loom runs all threads of a model on the test's own.)
    static CLOCK_RUNS: Cell<bool> = const { Cell::new(false) };
    static SPINNING: Cell<bool> = const { Cell::new(false) };
}

mod clock {
    use std::sync::atomic::Ordering;

    use loom::sync::atomic::AtomicU64;

    loom::lazy_static! {
        static ref NOW_NS: AtomicU64 = AtomicU64::new(1);
    }

    pub fn now_ns() -> u64 {
        if super::CLOCK_RUNS.get() {
            NOW_NS.fetch_add(2_000_000, Ordering::Relaxed)
        } else {
            1
        }
    }
}

mod spin {
    /// One round instead of four.
    pub struct Spin(bool);

    impl Spin {
        pub fn new() -> Spin {
            Spin(super::SPINNING.get())
        }
        pub fn pays(&self) -> bool {
            self.0
        }
        pub fn pause(&mut self) {
            self.0 = false;
            loom::thread::yield_now();
        }
    }
}

/// The interface of `gort::sync::wait_table`, over one lock.
mod wait_table {
    use std::collections::{BTreeMap, VecDeque};
    use std::mem::ManuallyDrop;

    use std::sync::Arc;

    use loom::sync::{Condvar, Mutex, MutexGuard};

    use super::WaitReason;

    pub const NEVER: u64 = u64::MAX;

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Key(usize);

    impl Key {
        pub fn of<T>(lock: &T) -> Key {
            Key(std::ptr::from_ref(lock).addr())
        }
        pub fn second_of<T>(lock: &T) -> Key {
            Key(std::ptr::from_ref(lock).addr() + 1)
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum End {
        Open,
        Claimed,
        Granted(u64),
        TimedOut,
    }

    struct Waiter {
        asks: u64,
        is_timed: bool,
        end: Mutex<End>,
        granted: Condvar,
    }

    type Queues = BTreeMap<Key, VecDeque<Arc<Waiter>>>;

    loom::lazy_static! {
        static ref TABLE: Mutex<Queues> = Mutex::new(BTreeMap::new());
    }

    pub struct Wait {
        pub reason: WaitReason,
        pub deadline_ns: u64,
        pub front: bool,
        pub asks: u64,
        pub held_by: super::holder::HeldBy,
    }

    impl Wait {
        pub fn new(reason: WaitReason, deadline_ns: u64) -> Wait {
            Wait {
                reason,
                deadline_ns,
                front: false,
                asks: 0,
                held_by: super::holder::HeldBy::Nobody,
            }
        }
    }

    pub enum Woken {
        Granted(u64),
        TimedOut(Bucket),
    }

    pub struct Bucket {
        queues: ManuallyDrop<MutexGuard<'static, Queues>>,
        wakes: Vec<(Arc<Waiter>, u64)>,
    }

    pub fn lock(_: Key) -> Bucket {
        Bucket {
            queues: ManuallyDrop::new(TABLE.lock().unwrap()),
            wakes: Vec::new(),
        }
    }

    pub fn lock_to_wait(key: Key) -> Bucket {
        lock(key)
    }

    impl Bucket {
        pub fn is_empty(&self, key: Key) -> bool {
            self.queues.get(&key).is_none_or(VecDeque::is_empty)
        }

        pub fn pop(&mut self, key: Key, grant: u64) -> bool {
            self.pop_if(key, grant, |_| true).is_some()
        }

        pub fn pop_all(&mut self, key: Key, grant: u64) -> usize {
            let mut count = 0;
            while self.pop(key, grant) {
                count += 1;
            }
            count
        }

        pub fn pop_if(&mut self, key: Key, grant: u64, suits: impl Fn(u64) -> bool) -> Option<u64> {
            let queue = self.queues.entry(key).or_default();
            while let Some(first) = queue.front() {
                if !suits(first.asks) {
                    return None;
                }
                let first = queue.pop_front().unwrap();
                if first.is_timed {
                    let mut end = first.end.lock().unwrap();
                    if *end == End::TimedOut {
                        continue;
                    }
                    *end = End::Claimed;
                }
                let asks = first.asks;
                self.wakes.push((first, grant));
                return Some(asks);
            }
            None
        }

        pub fn wait(mut self, key: Key, how: Wait) -> Woken {
            let waiter = Arc::new(Waiter {
                asks: how.asks,
                is_timed: how.deadline_ns != NEVER,
                end: Mutex::new(End::Open),
                granted: Condvar::new(),
            });
            let queue = self.queues.entry(key).or_default();
            if how.front {
                queue.push_front(waiter.clone());
            } else {
                queue.push_back(waiter.clone());
            }
            drop(self);
            let mut end = waiter.end.lock().unwrap();
            if waiter.is_timed && *end == End::Open {
                *end = End::TimedOut;
                drop(end);
                let mut bucket = lock(key);
                bucket
                    .queues
                    .get_mut(&key)
                    .unwrap()
                    .retain(|it| !Arc::ptr_eq(it, &waiter));
                return Woken::TimedOut(bucket);
            }
            loop {
                if let End::Granted(grant) = *end {
                    return Woken::Granted(grant);
                }
                end = waiter.granted.wait(end).unwrap();
            }
        }
    }

    impl Drop for Bucket {
        fn drop(&mut self) {
            // SAFETY: dropped once, here; not used below.
            unsafe { ManuallyDrop::drop(&mut self.queues) };
            if std::thread::panicking() {
                // loom has found something and unwinds; another panic would hide it.
                return;
            }
            for (waiter, grant) in self.wakes.drain(..) {
                *waiter.end.lock().unwrap() = End::Granted(grant);
                waiter.granted.notify_one();
            }
        }
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 20_000;
    builder.check(f);
}

/// What a lock protects: loom reports two accesses at once.
#[derive(Debug)]
struct Protected(UnsafeCell<u32>);

// SAFETY: the models access it under the lock they test; loom finds them out if not.
unsafe impl Sync for Protected {}
// SAFETY: as above.
unsafe impl Send for Protected {}

impl Protected {
    fn new() -> Protected {
        Protected(UnsafeCell::new(0))
    }
    fn add(&self) {
        // SAFETY: as the impls above say.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }
}

fn set_mode(clock_runs: bool, spinning: bool) {
    CLOCK_RUNS.set(clock_runs);
    SPINNING.set(spinning);
}

/// One locker per entry; its deadline, fairness, and how often.
fn lockers(plans: &'static [(u64, bool, u32)]) {
    model(move || {
        let shared = Arc::new((RawMutex::new(), Protected::new()));
        let lock = move |shared: &(RawMutex, Protected), (deadline_ns, is_fair, times)| {
            let mut locked = 0;
            for _ in 0..times {
                if shared.0.acquire(WaitReason::MutexLock, deadline_ns) {
                    shared.1.add();
                    locked += 1;
                    if is_fair {
                        shared.0.release_fair()
                    } else {
                        shared.0.release()
                    }
                }
            }
            locked
        };
        let others: Vec<_> = plans[1..]
            .iter()
            .map(|&plan| {
                let shared = shared.clone();
                thread::spawn(move || lock(&shared, plan))
            })
            .collect();
        let mut locked = lock(&shared, plans[0]);
        for other in others {
            locked += other.join().unwrap();
        }
        // Whatever timed out: the lock is free, nobody is queued, no token and no count is lost.
        assert_eq!(shared.0.bits(), 0);
        assert_eq!(shared.1.get(), locked);
    });
}

#[test]
fn the_mutex_excludes_and_wakes() {
    for spinning in [false, true] {
        for clock_runs in [false, true] {
            set_mode(clock_runs, spinning);
            lockers(&[(NEVER, false, 2), (NEVER, false, 2)]);
            lockers(&[(NEVER, false, 1), (NEVER, false, 1), (NEVER, false, 1)]);
            lockers(&[(NEVER, true, 1), (NEVER, false, 1), (NEVER, false, 1)]);
            lockers(&[(NEVER, false, 1), (NEVER, false, 1), (5, false, 1)]);
            lockers(&[(NEVER, false, 1), (5, false, 1), (5, true, 1)]);
            lockers(&[(NEVER, false, 2), (5, false, 2)]);
        }
    }
}

/// Who does what: 'r' reads, 'w' writes, 'd' writes and downgrades, 'u' reads, upgrades, writes, and reads on;
/// capitals have a deadline.
fn rw_lockers(plan: &'static str) {
    model(move || {
        let shared = Arc::new((RawRwLock::new(), Protected::new()));
        let act = |shared: &(RawRwLock, Protected), what: char| {
            let (lock, value) = shared;
            let deadline_ns = if what.is_uppercase() { 5 } else { NEVER };
            match what.to_ascii_lowercase() {
                'r' if lock.read(deadline_ns) => {
                    value.get();
                    lock.leave_read();
                    0
                }
                'w' if lock.write(deadline_ns) => {
                    value.add();
                    lock.leave_write();
                    1
                }
                'd' if lock.write(deadline_ns) => {
                    value.add();
                    lock.downgrade();
                    value.get();
                    lock.leave_read();
                    1
                }
                'u' if lock.read_upgradable(deadline_ns) => {
                    let seen = value.get();
                    let is_writer = lock.upgrade(deadline_ns);
                    assert_eq!(value.get(), seen, "somebody wrote meanwhile");
                    if is_writer {
                        value.add();
                        lock.downgrade_to_upgradable();
                    }
                    value.get();
                    lock.leave_upgradable();
                    u32::from(is_writer)
                }
                _ => 0,
            }
        };
        let mut plan = plan.chars();
        let first = plan.next().unwrap();
        let others: Vec<_> = plan
            .map(|what| {
                let shared = shared.clone();
                thread::spawn(move || act(&shared, what))
            })
            .collect();
        let mut written = act(&shared, first);
        for other in others {
            written += other.join().unwrap();
        }
        assert!(shared.0.try_write());
        assert!(!shared.0.has_waiters());
        assert_eq!(shared.1.get(), written);
    });
}

#[test]
fn the_rw_lock_excludes_and_wakes() {
    for plan in [
        "ww", "wr", "rrw", "wwr", "rWr", "Rwr", "RW", "rW", "WRw", "dr", "drw", "dRw", "uu", "ur",
        "urr", "uR", "uw", "urw", "UU", "Ur", "Uw", "Urr", "UR", "UW",
    ] {
        rw_lockers(plan);
    }
}

#[test]
fn readers_pass_a_writer_that_gave_up() {
    model(|| {
        let lock = Arc::new(RawRwLock::new());
        assert!(lock.try_read());
        let writer = {
            let lock = lock.clone();
            thread::spawn(move || assert!(!lock.write(5)))
        };
        // It may have to queue, but not for us to leave.
        assert!(lock.read(NEVER));
        writer.join().unwrap();
        assert!(!lock.has_waiters());
        lock.leave_read();
        lock.leave_read();
        assert!(lock.try_write());
    });
}

#[test]
fn a_once_runs_once_and_all_see_its_effect() {
    model(|| {
        let shared = Arc::new((RawOnce::new(), Protected::new()));
        let run = |shared: &(RawOnce, Protected)| {
            shared.0.run(AfterPanic::Done, || shared.1.add());
            assert_eq!(shared.1.get(), 1);
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || run(&shared))
            })
            .collect();
        run(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_once_that_only_waits_is_woken() {
    model(|| {
        let shared = Arc::new((RawOnce::new(), Protected::new()));
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.wait();
                assert_eq!(shared.1.get(), 1);
            })
        };
        shared.0.run(AfterPanic::New, || shared.1.add());
        waiter.join().unwrap();
    });
}

#[test]
fn a_wait_group_wakes_its_waiters_and_shows_them_the_work() {
    for waiters in 1..=2 {
        model(move || {
            let shared = Arc::new((RawWaitGroup::new(), Protected::new(), Protected::new()));
            shared.0.add(2);
            let workers = (0..2).map(|i| {
                let shared = shared.clone();
                thread::spawn(move || {
                    if i == 0 {
                        shared.1.add()
                    } else {
                        shared.2.add()
                    }
                    shared.0.add(-1);
                })
            });
            let workers: Vec<_> = workers.collect();
            let wait = |shared: &(RawWaitGroup, Protected, Protected)| {
                shared.0.wait();
                assert_eq!((shared.1.get(), shared.2.get()), (1, 1));
            };
            let second = (waiters == 2).then(|| {
                let shared = shared.clone();
                thread::spawn(move || wait(&shared))
            });
            wait(&shared);
            second
                .into_iter()
                .chain(workers)
                .for_each(|thread| thread.join().unwrap());
            assert_eq!(shared.0.counter(), 0);
        });
    }
}

#[test]
fn a_misused_wait_group_panics_and_hangs_nobody() {
    model(|| {
        let group = Arc::new(RawWaitGroup::new());
        group.add(1);
        let tries = |f: &dyn Fn()| catch_unwind(AssertUnwindSafe(f)).is_ok();
        let waiter = {
            let group = group.clone();
            thread::spawn(move || tries(&|| group.wait()))
        };
        let worker = {
            let group = group.clone();
            thread::spawn(move || assert!(tries(&|| group.add(-1))))
        };
        // Adds while the round may be ending.
        if tries(&|| group.add(1)) {
            group.add(-1);
        }
        worker.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(group.counter(), 0);
        group.wait();
    });
}

/// Each takes so many permits of 2, with or without a deadline, and gives them back.
fn takers(plans: &'static [(u64, u64)]) {
    model(move || {
        let semaphore = Arc::new(RawSemaphore::new(2));
        let take = |semaphore: &RawSemaphore, (count, deadline_ns)| {
            if semaphore.acquire(count, deadline_ns) {
                assert!(semaphore.free() <= 2 - count);
                assert!(semaphore.add(count));
            }
        };
        let others: Vec<_> = plans[1..]
            .iter()
            .map(|&plan| {
                let semaphore = semaphore.clone();
                thread::spawn(move || take(&semaphore, plan))
            })
            .collect();
        take(&semaphore, plans[0]);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(semaphore.try_acquire(2));
    });
}

#[test]
fn a_semaphore_serves_everybody() {
    takers(&[(2, NEVER), (2, NEVER)]);
    takers(&[(1, NEVER), (2, NEVER), (1, NEVER)]);
    takers(&[(2, NEVER), (2, 5), (1, NEVER)]);
    takers(&[(1, 5), (2, NEVER), (2, 5)]);
}

#[test]
fn a_large_request_that_gives_up_lets_a_small_one_go_on() {
    model(|| {
        let semaphore = Arc::new(RawSemaphore::new(2));
        assert!(semaphore.try_acquire(1));
        let large = {
            let semaphore = semaphore.clone();
            thread::spawn(move || assert!(!semaphore.acquire(2, 5)))
        };
        assert!(semaphore.acquire(1, NEVER));
        large.join().unwrap();
        assert_eq!(semaphore.free(), 0);
    });
}

//! Pitfalls 5 to 10: locks, `Once`, `WaitGroup`, `Condvar`.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gort::debug::{self, WaitReason};
use gort::sync::{Condvar, Mutex, Once, RwLock, WaitGroup};
use gort::time::{Duration, sleep};

/// Returns when some goroutine waits for that.
fn until_waiting(reason: WaitReason) {
    let waits = || {
        let mut all = debug::goroutines().into_iter();
        all.any(|one| one.wait_reason == Some(reason))
    };
    while !waits() {
        sleep(Duration::from_millis(1));
    }
}

/// In Go the lock stays locked, and the next `Lock` waits for ever. Here the guard unlocks on every way
/// out; the mistake needs a `mem::forget`, and is then the same deadlock.
pub(crate) fn return_without_unlock() {
    fn check(lock: &Mutex<i32>) -> Result<(), &'static str> {
        let value = lock.lock();
        (*value >= 0).then_some(()).ok_or("have err")
    }
    let lock = Mutex::new(-1);
    println!("{:?}", check(&lock));
    println!("unlocked: {}", lock.try_lock().is_some());
    mem::forget(lock.lock());
    drop(lock.lock());
}

/// The same in both: a writer that waits goes before readers that come later.
pub(crate) fn writer_before_later_readers() {
    let lock = Arc::new(RwLock::new(Vec::new()));
    let first = lock.read();
    let group = WaitGroup::new();
    let writer = Arc::clone(&lock);
    group.go(move || writer.write().push("writer"));
    until_waiting(WaitReason::RwLockWrite);
    for _ in 0..3 {
        let reader = Arc::clone(&lock);
        group.go(move || println!("reader after {:?}", *reader.read()));
    }
    until_waiting(WaitReason::RwLockRead);
    drop(first);
    group.wait();
}

/// In Go a deadlock, when a writer comes between the two. Here too in release; with debug assertions the
/// second read lock panics, and says where the first was taken. `read_recursive` passes.
pub(crate) fn read_lock_twice() {
    let lock = Arc::new(RwLock::new(()));
    let first = lock.read();
    let writer = Arc::clone(&lock);
    gort::go(move || drop(writer.write()));
    until_waiting(WaitReason::RwLockWrite);
    drop(lock.read_recursive());
    println!("read_recursive passes");
    drop(lock.read());
    drop(first);
}

/// The same in both: a `Once` whose function panicked is done.
pub(crate) fn panic_in_once() {
    let once = Once::new();
    let run = || catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("in once"))));
    println!("first panics: {}", run().is_err());
    println!(
        "second runs: {}, done: {}",
        run().is_err(),
        once.is_completed()
    );
}

/// The example `add_inside` has Go's way; `WaitGroup::go` adds in time.
pub(crate) fn add_inside() {
    let count = Arc::new(Mutex::new(0));
    let group = WaitGroup::new();
    for _ in 0..1000 {
        let count = Arc::clone(&count);
        group.go(move || *count.lock() += 1);
    }
    group.wait();
    println!("done! count: {}", *count.lock());
}

/// The same in both: nobody waits yet, so nobody is woken. With a condition that is looked at first
/// (`wait_while`) it does not matter; without, it is a deadlock.
pub(crate) fn notify_before_the_wait() {
    let (is_ready, changed) = (Mutex::new(true), Condvar::new());
    println!("woken: {}", changed.notify_all());
    let mut guard = is_ready.lock();
    changed.wait_while(&mut guard, |is_ready| !*is_ready);
    println!("with a condition: passes");
    changed.wait(&mut guard);
}

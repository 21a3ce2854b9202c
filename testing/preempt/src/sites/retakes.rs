//! Goroutines whose P is retaken at the very moment at which they come to the runtime.

use std::hint::black_box;
use std::time::Duration;

use gort_test_support::Random;

use super::Done;

/// [`enter`] with the signal blocked: the goroutine cannot be stopped, so its P is taken each time.
pub(crate) fn enter_unstoppable(done: &Done, random: &mut Random) -> u64 {
    set_blocked(libc::SIG_BLOCK);
    let operations = enter(done, random);
    set_blocked(libc::SIG_UNBLOCK);
    operations
}

fn set_blocked(how: i32) {
    // SAFETY: a set on the stack, filled before it is read; the mask is the thread's own.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGURG);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

/// Comes to the runtime several times in a microsecond, without ever leaving its P to another, until enough
/// has happened; gives how often. A retake takes some microseconds, so that it is met mostly.
pub(crate) fn enter(done: &Done, random: &mut Random) -> u64 {
    let (sender, receiver) = gort::chan::bounded(1);
    let mut operations = 0;
    while !done.is_set() {
        sender.try_send(operations).expect("it is empty");
        let mut outside = random.below(300);
        while outside > 0 {
            outside = black_box(outside - 1);
        }
        let received = receiver.try_recv().expect("it is full");
        assert_eq!(received, operations);
        operations += 1;
    }
    operations
}

/// Makes blocking calls that nobody announced, of all lengths, and yields in turn until enough has happened; gives how often.
pub(crate) fn block(done: &Done, random: &mut Random) -> u64 {
    let mut operations = 0;
    while !done.is_set() {
        // Each scale from 20 µs to 20 ms alike, as the watcher looks at intervals of that.
        let scale = 20 << random.below(10);
        let micros = scale + random.below(scale);
        // waits: the call is what is tested, and it blocks the thread.
        std::thread::sleep(Duration::from_micros(micros));
        gort::yield_now();
        operations += 1;
    }
    operations
}

//! Whether the thread of a new bound goroutine has come to wait for its first P.
//!
//! Such a goroutine is queued as soon as it is made, and may come up before its thread is there. Whoever takes it
//! from its queue leaves the P to the thread, which finds it when it comes. Until then the P is nobody's: the
//! start of a thread takes locks of libc and std, and who holds one of those may have been stopped in a signal
//! handler and wait for a P. So sysmon takes a P back that has waited for long. (Without that S52 in thread
//! mode hung in one of eight runs: each P waited for a thread, and the threads for a goroutine without a P.)
//!
//! | word        | meaning                                           | next                                  |
//! |-------------|---------------------------------------------------|---------------------------------------|
//! | COMING      | the thread is not there                           | thread: HERE; a giver: its P          |
//! | a P         | it waits for the thread; the goroutine is on no   | thread: HERE, with the P; sysmon:     |
//! |             | queue                                             | PASSED_OVER, with the P               |
//! | PASSED_OVER | the goroutine is on no queue                      | thread: HERE, and queues it           |
//! | HERE        | the thread waits, or has run                      | a new thread: COMING                  |
//!
//! Whoever changes a P's word has the P: it is given, used or taken back once. The P itself is in the word, not a
//! mark: the M may be another goroutine's by the time sysmon comes, with another P.
//!
//! Checked by S52 in thread mode.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::p::P;

const COMING: *mut P = ptr::null_mut();
const PASSED_OVER: *mut P = ptr::without_provenance_mut(1);
const HERE: *mut P = ptr::without_provenance_mut(2);

/// See above.
pub(super) struct Arrival(AtomicPtr<P>);

/// What a thread finds that comes to wait for its first P.
pub(super) enum Found {
    /// A P.
    P(&'static P),
    /// Its turn has come and gone: it queues its goroutine.
    PassedOver,
    /// Nothing yet.
    Nothing,
}

impl Arrival {
    /// Of an M whose thread gets its first P otherwise.
    pub(super) const fn here() -> Arrival {
        Arrival(AtomicPtr::new(HERE))
    }

    /// A thread is going to be made.
    pub(super) fn expect_thread(&self) {
        self.0.store(COMING, Ordering::Relaxed);
    }

    /// The thread was not made, or is about to end.
    pub(super) fn reset(&self) {
        self.0.store(HERE, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.0.load(Ordering::Acquire) == HERE
    }

    /// Leaves a P to the thread. False: it is there already.
    pub(super) fn leave(&self, pp: &'static P) -> bool {
        let pp = ptr::from_ref(pp).cast_mut();
        self.0
            .compare_exchange(COMING, pp, Ordering::Release, Ordering::Acquire)
            .is_ok()
    }

    /// Takes back a P that was left here. False: the thread has it, or it was left elsewhere.
    pub(super) fn take_back(&self, pp: &'static P) -> bool {
        let pp = ptr::from_ref(pp).cast_mut();
        self.0
            .compare_exchange(pp, PASSED_OVER, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The thread is there.
    pub(super) fn arrive(&self) -> Found {
        match self.0.swap(HERE, Ordering::AcqRel) {
            COMING => Found::Nothing,
            PASSED_OVER => Found::PassedOver,
            // SAFETY: none of the marks: a P that was left here, and Ps are never freed.
            pp => Found::P(unsafe { &*pp }),
        }
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arrival").field(&self.is_here()).finish()
    }
}

//! One direction of one file descriptor: is it ready, or who waits for that?
//!
//! A word that is empty, or holds READY, or points to the waiter. The file descriptor is
//! edge-triggered, so an edge that finds nobody waiting must be kept: it is READY.
//!
//! | from   | to     | by           | then                                             |
//! |--------|--------|--------------|--------------------------------------------------|
//! | empty  | waiter | `register`   | the waiter parks                                 |
//! | READY  | empty  | `register`   | the waiter tries its system call again           |
//! | waiter | empty  | `notify`     | the poller readies the waiter                    |
//! | empty  | READY  | `notify`     | the next `register` sees it                      |
//! | waiter | empty  | `interrupt`  | the caller readies the waiter, whose time is up  |
//! | waiter | empty  | `unregister` | the waiter goes on by itself                     |
//! | READY  | empty  | `clear`      | a system call follows that sees what READY told  |
//!
//! N1. One waiter at a time: a direction is used under the file descriptor's own lock.
//! N2. The waiter tries its system call after each wake-up, whatever woke it, and before each
//!     `register`. So `notify` need not leave READY behind when it has somebody to wake: the wake-up
//!     is the message. An edge between the wake-up and the retry becomes READY, and costs one retry.
//! N3. Who takes the pointer out owes its waiter a `ready`; a waiter that does not get its pointer
//!     back (`unregister` is false) has to wait for that.
//! N4. Deadlines and close: they set their flag, then call `interrupt`; the waiter calls `register`,
//!     then looks at the flags once more before it parks. A SeqCst fence stands between the two
//!     steps on either side, so one of them sees the other.
//!
//! Elsewhere: the flags, the generation that keeps stale events away (`netpoll`).
//! Checked by the tests below and `tests/loom_poll_slot.rs`.

use crate::facade::{AtomicPtr, Ordering, const_unless_loom, fence};
use std::{fmt, ptr, ptr::NonNull};

/// Somebody else waits in this direction already: an error in the caller (N1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another goroutine waits in this direction of the file descriptor")
    }
}

impl std::error::Error for Busy {}

/// Readiness of one direction, or the waiter for it. Never looks into a `T`.
pub struct PollSlot<T>(AtomicPtr<T>);

impl<T> PollSlot<T> {
    /// The word that says READY: an address at which no `T` can lie.
    const READY: *mut T = {
        assert!(
            align_of::<T>() > 1,
            "address 1 must not be a possible waiter"
        );
        ptr::without_provenance_mut(1)
    };

    const_unless_loom! {
        /// An empty slot.
        pub fn new() -> Self {
            Self(AtomicPtr::new(ptr::null_mut()))
        }
    }

    /// For the waiter, after its system call would have blocked.
    ///
    /// True: it became ready meanwhile; try again. False: `waiter` is registered. Look at the flags
    /// of deadline and close (N4), then park or `unregister`.
    ///
    /// # Errors
    ///
    /// [`Busy`], if another waiter is registered.
    pub fn register(&self, waiter: NonNull<T>) -> Result<bool, Busy> {
        debug_assert_ne!(waiter.as_ptr(), Self::READY);
        let mut seen: *mut T = ptr::null_mut();
        loop {
            let (next, ready) = match seen {
                word if word.is_null() => (waiter.as_ptr(), false),
                word if word == Self::READY => (ptr::null_mut(), true),
                _ => return Err(Busy),
            };
            match self.exchange(seen, next) {
                Ok(()) => {
                    // Pairs with the fence in `interrupt` (N4).
                    if !ready && !cfg!(gort_fault = "poll_fence") {
                        fence(Ordering::SeqCst);
                    }
                    return Ok(ready);
                }
                Err(actual) => seen = actual,
            }
        }
    }

    /// For the waiter, when it does not want to wait any longer and nobody took it out yet.
    ///
    /// True: the pointer is back, nobody will ready it. False: somebody took it, and a `ready` is on
    /// its way (N3).
    #[must_use = "if somebody took the waiter out, its `ready` is still to come"]
    pub fn unregister(&self, waiter: NonNull<T>) -> bool {
        self.exchange(waiter.as_ptr(), ptr::null_mut()).is_ok()
    }

    /// For the poller, which saw an edge: takes the waiter, who is now the caller's to ready; or
    /// leaves READY for the next one.
    #[must_use = "the waiter is out of the slot and has to be readied"]
    pub fn notify(&self) -> Option<NonNull<T>> {
        let mut seen: *mut T = ptr::null_mut();
        loop {
            // READY is stored anew if it is there: the next waiter then sees what this thread did.
            let waiter = self.waiter_in(seen);
            let next = match waiter {
                Some(_) => ptr::null_mut(),
                None => Self::READY,
            };
            match self.exchange(seen, next) {
                Ok(()) => return waiter,
                Err(actual) => seen = actual,
            }
        }
    }

    /// For a deadline or close, after it has set its flag (N4): takes the waiter, who is now the
    /// caller's to ready. Leaves a stored readiness alone, and none behind.
    #[must_use = "the waiter is out of the slot and has to be readied"]
    pub fn interrupt(&self) -> Option<NonNull<T>> {
        fence(Ordering::SeqCst); // Pairs with the fence in `register` (N4).
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let waiter = self.waiter_in(seen)?;
            match self.exchange(seen, ptr::null_mut()) {
                Ok(()) => return Some(waiter),
                Err(actual) => seen = actual,
            }
        }
    }

    /// Forgets a stored readiness, for a caller that is going to try its system call anyway. Leaves
    /// a waiter alone.
    pub fn clear(&self) {
        // Nothing is lost if it fails: there is no readiness, or a new edge is just being stored.
        let _ = self.exchange(Self::READY, ptr::null_mut());
    }

    fn waiter_in(&self, word: *mut T) -> Option<NonNull<T>> {
        if word == Self::READY {
            return None;
        }
        NonNull::new(word)
    }

    /// AcqRel: pollers see the waiter's writes, and the waiter those of who marked it ready.
    fn exchange(&self, from: *mut T, to: *mut T) -> Result<(), *mut T> {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .map(drop)
    }
}

impl<T> Default for PollSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PollSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.load(Ordering::Relaxed);
        match self.waiter_in(word) {
            Some(waiter) => write!(f, "PollSlot({waiter:p})"),
            None if word.is_null() => f.write_str("PollSlot(empty)"),
            None => f.write_str("PollSlot(ready)"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_edge_without_a_waiter_is_kept_for_the_next_one() {
        let slot = PollSlot::new();
        let waiter = 7u64;
        let waiter = NonNull::from(&waiter);
        assert_eq!(slot.notify(), None);
        assert_eq!(slot.notify(), None);
        assert_eq!(slot.register(waiter), Ok(true));
        assert_eq!(slot.register(waiter), Ok(false), "one register takes it");
        assert!(slot.unregister(waiter));
    }

    #[test]
    fn an_edge_takes_the_waiter_and_leaves_nothing() {
        let slot = PollSlot::new();
        let waiter = 7u64;
        let waiter = NonNull::from(&waiter);
        assert_eq!(slot.register(waiter), Ok(false));
        assert_eq!(slot.notify(), Some(waiter));
        assert!(!slot.unregister(waiter), "the poller took it");
        assert_eq!(slot.register(waiter), Ok(false));
    }

    #[test]
    fn a_second_waiter_is_busy() {
        let slot = PollSlot::new();
        let waiters = [1u64, 2];
        assert_eq!(slot.register(NonNull::from(&waiters[0])), Ok(false));
        assert_eq!(slot.register(NonNull::from(&waiters[1])), Err(Busy));
        assert!(!slot.unregister(NonNull::from(&waiters[1])));
        assert_eq!(slot.notify(), Some(NonNull::from(&waiters[0])));
    }

    #[test]
    fn an_interrupt_leaves_no_readiness_and_takes_none() {
        let slot = PollSlot::new();
        let waiter = 7u64;
        let waiter = NonNull::from(&waiter);
        assert_eq!(slot.interrupt(), None);
        assert_eq!(slot.register(waiter), Ok(false));
        assert_eq!(slot.interrupt(), Some(waiter));
        assert_eq!(slot.register(waiter), Ok(false));
        assert!(slot.unregister(waiter));
        assert_eq!(slot.notify(), None);
        assert_eq!(slot.interrupt(), None);
        assert_eq!(slot.register(waiter), Ok(true));
    }

    #[test]
    fn clear_forgets_readiness_but_no_waiter() {
        let slot = PollSlot::new();
        let waiter = 7u64;
        let waiter = NonNull::from(&waiter);
        assert_eq!(slot.notify(), None);
        slot.clear();
        assert_eq!(slot.register(waiter), Ok(false));
        slot.clear();
        assert_eq!(format!("{slot:?}"), format!("PollSlot({waiter:p})"));
        assert_eq!(slot.notify(), Some(waiter));
        assert_eq!(format!("{slot:?}"), "PollSlot(empty)");
        assert_eq!(slot.notify(), None);
        assert_eq!(format!("{slot:?}"), "PollSlot(ready)");
    }
}

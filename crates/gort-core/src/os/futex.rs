//! Sleeping on a 32-bit word until another thread changes it.
//!
//! `errno` stays as it was: a runtime lock may be waited for on a goroutine's way into a park and out of
//! it, and C code that calls back may look at its `errno` afterwards.

use std::ptr;
use std::sync::atomic::AtomicU32;

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// Woken, interrupted, or the word had already changed: look at the word again.
    LookAgain,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while `*word == expected`, until woken or until `deadline_ns` (CLOCK_MONOTONIC;
/// `u64::MAX` is never).
pub fn wait(word: &AtomicU32, expected: u32, deadline_ns: u64) -> Waited {
    let deadline = libc::timespec {
        tv_sec: (deadline_ns / 1_000_000_000) as _,
        tv_nsec: (deadline_ns % 1_000_000_000) as _,
    };
    let timeout = if deadline_ns == u64::MAX {
        ptr::null()
    } else {
        &raw const deadline
    };
    // SAFETY: `__errno_location` gives this thread's errno, which is valid for as long as it runs.
    let (errno, errno_before) = unsafe {
        let errno = libc::__errno_location();
        (errno, *errno)
    };
    // FUTEX_WAIT_BITSET takes an absolute time; plain FUTEX_WAIT takes a length.
    // SAFETY: the kernel reads the word and the timespec, both alive for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            timeout,
            ptr::null::<u32>(),
            !0u32,
        )
    };
    // SAFETY: as above, on the same thread.
    let error = unsafe { errno.replace(errno_before) };
    if result == -1 && error == libc::ETIMEDOUT {
        Waited::TimedOut
    } else {
        Waited::LookAgain
    }
}

/// Wakes up to `count` threads that sleep on `word`. Only the address is used: the word may be gone.
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the kernel does not read the word"
)]
pub fn wake(word: *const AtomicU32, count: u32) {
    // SAFETY: FUTEX_WAKE does not read the word; an address nobody sleeps on is no error.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            count,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_fails_leaves_errno_alone() {
        // SAFETY: the address of this thread's errno.
        let errno = unsafe { &mut *libc::__errno_location() };
        let word = AtomicU32::new(1);
        *errno = libc::EDOM;
        assert_eq!(wait(&word, 0, u64::MAX), Waited::LookAgain);
        assert_eq!(wait(&word, 1, 1), Waited::TimedOut);
        assert_eq!(*errno, libc::EDOM);
    }
}

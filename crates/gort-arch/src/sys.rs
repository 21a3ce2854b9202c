//! The few system calls that must not go through libc's wrappers, which may be hooked, answer from the
//! thread control block, or set `errno`; and what is built on them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

/// A lock for rare and slow things, held outside the runtime: spins a little, then sleeps on a futex.
/// Not std's, because that one may be hooked to park a goroutine.
///
/// 0: free; 1: held; 2: held, and somebody sleeps.
#[derive(Debug)]
pub(crate) struct SlowLock(AtomicU32);

#[derive(Debug)]
pub(crate) struct SlowGuard<'a>(&'a SlowLock);

impl SlowLock {
    pub(crate) const fn new() -> SlowLock {
        SlowLock(AtomicU32::new(0))
    }

    pub(crate) fn lock(&self) -> SlowGuard<'_> {
        for _ in 0..100 {
            if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
                return SlowGuard(self);
            }
            core::hint::spin_loop();
        }
        while self.0.swap(2, Acquire) != 0 {
            futex_wait(&self.0, 2);
        }
        SlowGuard(self)
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(&self) -> Option<SlowGuard<'_>> {
        let taken = self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok();
        taken.then(|| SlowGuard(self))
    }
}

impl Drop for SlowGuard<'_> {
    fn drop(&mut self) {
        if self.0.0.swap(0, Release) == 2 {
            futex_wake(&self.0.0, 1);
        }
    }
}

/// Ranges of our own memory for which the kernel gets the same advice, in one call.
pub(crate) struct Ranges<const MAX: usize> {
    ranges: [libc::iovec; MAX],
    len: usize,
}

impl<const MAX: usize> Ranges<MAX> {
    pub(crate) fn new() -> Self {
        let none = libc::iovec {
            iov_base: core::ptr::null_mut(),
            iov_len: 0,
        };
        Ranges {
            ranges: [none; MAX],
            len: 0,
        }
    }

    /// One more of at most `MAX` ranges. It lies in memory of slots that nobody uses.
    pub(crate) fn push(&mut self, addr: usize, bytes: usize) {
        self.ranges[self.len] = libc::iovec {
            iov_base: addr as *mut libc::c_void,
            iov_len: bytes,
        };
        self.len += 1;
    }

    /// Gives the advice. Answers how many bytes have taken it, from the first range on: none where the
    /// kernel does not let a process name itself and advise anything (before Linux 6.15).
    #[cfg(target_os = "linux")]
    pub(crate) fn advise(&self, advice: i32) -> usize {
        /// `PIDFD_SELF_THREAD_GROUP`, this process.
        const SELF: libc::c_int = -10_001;
        static IS_REFUSED: AtomicBool = AtomicBool::new(false);
        if IS_REFUSED.load(Relaxed) {
            return 0;
        }
        let (ranges, len, flags) = (self.ranges.as_ptr(), self.len, 0_u32);
        // SAFETY: the kernel reads `len` ranges. They lie in slots that nobody uses, so whatever it does
        // to them harms nobody.
        let done =
            unsafe { libc::syscall(libc::SYS_process_madvise, SELF, ranges, len, advice, flags) };
        // Also where it was only this range, this time: the way without is slower, not wrong.
        usize::try_from(done).unwrap_or_else(|_| {
            IS_REFUSED.store(true, Relaxed);
            0
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn advise(&self, _advice: i32) -> usize {
        0
    }
}

/// Says what is wrong and ends the process.
pub(crate) fn fatal(what: &str) -> ! {
    let text = format!("gort: fatal: {what}\n");
    // SAFETY: the buffer is valid; `abort` has no preconditions.
    unsafe {
        raw(libc::SYS_write, [2, text.as_ptr() as usize, text.len(), 0]);
        libc::abort()
    }
}

/// Sleeps while `word` is `value`. May return for no reason.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    let wait = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the word is valid for the call; with a null timeout the kernel reads nothing else.
    unsafe {
        raw(
            libc::SYS_futex,
            [word.as_ptr() as usize, wait, value as usize, 0],
        )
    };
}

/// Wakes up to `count` sleepers of `word`.
pub(crate) fn futex_wake(word: &AtomicU32, count: u32) {
    let wake = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel only looks the address up.
    unsafe {
        raw(
            libc::SYS_futex,
            [word.as_ptr() as usize, wake, count as usize, 0],
        )
    };
}

/// The thread id as the kernel knows it.
pub(crate) fn gettid() -> u32 {
    // SAFETY: no arguments, no preconditions.
    (unsafe { raw(libc::SYS_gettid, [0; 4]) }) as u32
}

/// One system call of up to six arguments; a result in -4095..0 is the negated error number.
///
/// # Safety
///
/// As the system call demands of its arguments.
pub(crate) unsafe fn raw<const N: usize>(number: libc::c_long, args: [usize; N]) -> isize {
    const { assert!(N <= 6, "the kernel takes six") };
    let mut six = [0; 6];
    six[..N].copy_from_slice(&args);
    // SAFETY: the caller's contract is the same; the kernel does not look at what a call does not take.
    unsafe { raw_six(number, six) }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[inline(always)]
unsafe fn raw_six(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the Linux x86-64 convention: number in rax, arguments in rdi, rsi, rdx, r10, r8, r9; rcx and
    // r11 are lost. The kernel may read and write memory, so no `nomem`.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
unsafe fn raw_six(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the contract of the caller's caller is the same.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return -(errno as isize);
    }
    result as isize
}

//! What the kernel keeps of signals for each thread: the alternate stack, and the mask.
//!
//! An alternate stack belongs to a kernel thread, and goroutines move between those: so each M has
//! one, set at its start ([`alternate_stack`]), and a handler always runs on that of the M it
//! interrupted. std gives its threads 8 KiB, too little to walk a stack on, and no more than a signal
//! frame where the processor has AVX-512 or AMX.
//!
//! Whether a goroutine has changed what its M began with is told by [`ThreadSignals`].
//!
//! Elsewhere: masks that change for the length of a handler (the module above).

use std::ffi::c_void;
use std::mem;
use std::ptr;

/// Room for handlers that walk a stack, wait, and are interrupted by others, beside the kernel's
/// frames. Address space: the pages are touched when a signal comes. Libraries that need more than std
/// gives (wasmtime) are content with this, and set no stack of their own.
const HANDLER_BYTES: usize = 64 << 10;
/// Below an alternate stack: its own overflow is a fault instead of a stranger's memory.
const GUARD_BYTES: usize = 64 << 10;

/// An alternate signal stack that belongs to the thread that made it.
///
/// Dropped, on the same thread, it gives back what the thread had before. An M never ends and forgets
/// it.
#[derive(Debug)]
pub struct AlternateStack {
    /// The lowest byte of the guard.
    mapping: *mut c_void,
    bytes: usize,
    /// What the thread had before; disabled if it had none, or it is gone.
    before: libc::stack_t,
}

/// Gives this thread an alternate signal stack with room for our handlers: 64 KiB and two of the
/// kernel's frames, with a guard below. `None` if it has one at least as large, or there is no memory
/// for it: then handlers run on what it has.
pub fn alternate_stack() -> Option<AlternateStack> {
    let bytes = stack_bytes();
    let before = current_stack();
    let is_busy = before.ss_flags & libc::SS_ONSTACK != 0;
    if is_busy || before.ss_flags & libc::SS_DISABLE == 0 && before.ss_size >= bytes {
        return None;
    }
    let whole = GUARD_BYTES + bytes;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing.
    let mapping = unsafe {
        libc::mmap(
            ptr::null_mut(),
            whole,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return None;
    }
    let stack = AlternateStack {
        mapping,
        bytes,
        before,
    };
    // SAFETY: the upper part of the mapping just made.
    let opened = unsafe { libc::mprotect(stack.base(), bytes, libc::PROT_READ | libc::PROT_WRITE) };
    if opened != 0 {
        stack.unmap();
        return None;
    }
    stack.set();
    Some(stack)
}

impl AlternateStack {
    fn base(&self) -> *mut c_void {
        self.mapping.wrapping_byte_add(GUARD_BYTES)
    }

    fn set(&self) {
        let ours = libc::stack_t {
            ss_sp: self.base(),
            ss_flags: 0,
            ss_size: self.bytes,
        };
        // SAFETY: the stack is mapped for as long as it is set: the owner sets another before it
        // unmaps. Fails on a handler's stack only, where it changes nothing.
        unsafe { libc::sigaltstack(&raw const ours, ptr::null_mut()) };
    }

    /// Sets it again if somebody has disabled it meanwhile. std does, at the end of its threads, and
    /// frees what was there before ours: that never comes back.
    pub fn renew(&mut self) {
        if current_stack().ss_flags & libc::SS_DISABLE != 0 {
            self.before = disabled();
            self.set();
        }
    }

    fn unmap(self) {
        // SAFETY: our own mapping, which no thread has as its stack any more.
        unsafe { libc::munmap(self.mapping, GUARD_BYTES + self.bytes) };
        mem::forget(self);
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let current = current_stack();
        if current.ss_sp == self.base() {
            // SAFETY: what the thread had before is still there (`renew`), or disabled.
            unsafe { libc::sigaltstack(&raw const self.before, ptr::null_mut()) };
        }
        // SAFETY: our own mapping; the thread has another stack now, or had one already.
        unsafe { libc::munmap(self.mapping, GUARD_BYTES + self.bytes) };
    }
}

/// A multiple of the page, whatever the kernel's frame is.
fn stack_bytes() -> usize {
    // SAFETY: `getauxval` takes any number, and answers 0 where it has nothing.
    let frame = unsafe { libc::getauxval(AT_MINSIGSTKSZ) } as usize;
    (HANDLER_BYTES + 2 * frame.max(libc::MINSIGSTKSZ)).next_multiple_of(16 << 10)
}

/// The least stack on which the kernel delivers a signal here. From `include/uapi/linux/auxvec.h`.
const AT_MINSIGSTKSZ: libc::c_ulong = 51;

fn disabled() -> libc::stack_t {
    libc::stack_t {
        ss_sp: ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    }
}

fn current_stack() -> libc::stack_t {
    let mut stack = disabled();
    // SAFETY: writes one `stack_t`; none is set. It cannot fail.
    unsafe { libc::sigaltstack(ptr::null(), &raw mut stack) };
    stack
}

/// A thread's signal mask and alternate stack: what the kernel keeps per thread of signals.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ThreadSignals {
    /// Bit `n - 1` is signal `n`, as the kernel has it.
    mask: u64,
    stack: usize,
    stack_bytes: usize,
}

impl ThreadSignals {
    /// Those of this thread. Async-signal-safe.
    pub fn now() -> ThreadSignals {
        let mut mask = 0u64;
        let (bytes, none) = (size_of_val(&mask), ptr::null::<u64>());
        // Not through libc's functions: whoever stands before them may be asking.
        // SAFETY: writes `bytes` to `mask`; nothing is set.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_BLOCK,
                none,
                &raw mut mask,
                bytes,
            )
        };
        let mut stack = disabled();
        // SAFETY: writes one `stack_t`; nothing is set.
        unsafe {
            libc::syscall(
                libc::SYS_sigaltstack,
                ptr::null::<libc::stack_t>(),
                &raw mut stack,
            )
        };
        let is_set = stack.ss_flags & libc::SS_DISABLE == 0;
        ThreadSignals {
            mask,
            stack: if is_set { stack.ss_sp as usize } else { 0 },
            stack_bytes: if is_set { stack.ss_size } else { 0 },
        }
    }

    /// Gives this thread these.
    ///
    /// # Safety
    ///
    /// They were this thread's, and their stack is still mapped.
    pub unsafe fn restore(&self) {
        let mut stack = disabled();
        if self.stack != 0 {
            stack.ss_sp = self.stack as *mut c_void;
            stack.ss_flags = 0;
            stack.ss_size = self.stack_bytes;
        }
        let bytes = size_of_val(&self.mask);
        // SAFETY: each reads one structure; the stack is mapped, as the caller promises. First the
        // stack: signals that were kept back come with the mask.
        unsafe {
            let none = ptr::null_mut::<libc::stack_t>();
            libc::syscall(libc::SYS_sigaltstack, &raw const stack, none);
            let none = ptr::null_mut::<u64>();
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const self.mask,
                none,
                bytes,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_a_large_stack_and_its_own_back() {
        std::thread::spawn(|| {
            let before = current_stack();
            let stack = alternate_stack().expect("std's is smaller");
            let now = current_stack();
            assert!(now.ss_size >= 32 << 10, "{}", now.ss_size);
            assert_eq!(now.ss_sp, stack.base());
            assert!(alternate_stack().is_none(), "it has a large one");
            drop(stack);
            assert_eq!(current_stack().ss_sp, before.ss_sp);
            assert_eq!(current_stack().ss_flags, before.ss_flags);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_stack_that_was_disabled_can_be_renewed() {
        std::thread::spawn(|| {
            let before = current_stack();
            let mut stack = alternate_stack().expect("std's is smaller");
            // SAFETY: no handler runs.
            unsafe { libc::sigaltstack(&disabled(), ptr::null_mut()) };
            stack.renew();
            assert_eq!(current_stack().ss_sp, stack.base());
            drop(stack);
            assert_ne!(current_stack().ss_flags & libc::SS_DISABLE, 0);
            // SAFETY: std's own stack, which std has not freed in this test.
            unsafe { libc::sigaltstack(&raw const before, ptr::null_mut()) };
        })
        .join()
        .unwrap();
    }
}

//! What a signal has interrupted: its registers, and the memory of its stack.
//!
//! The tables are right at calls, where exceptions need them. Between calls LLVM has them wrong here and there (where
//! two ways out of a function share its `add rsp`, the rule that follows from it comes some instructions later), and so
//! has whoever writes assembly with a `push`. libgcc's unwinder then takes any word for a return address, and reads the
//! code there: the process ended with SIGSEGV. So each word is read such that it cannot fault:
//!
//! - of the goroutine's own slot between its guard and its end, which stay mapped (S3), directly;
//! - elsewhere, on a thread's stack, by the kernel (`process_vm_readv`), which answers for what it cannot read.
//!
//! Async-signal-safe. Elsewhere: the walk (`unwind`). Checked by `tests/trace.rs`.

use std::ffi::c_void;
use std::ops::Range;

use crate::stack;
use crate::sys;
use crate::unwind::{Frame, Memory};

const WORD: usize = size_of::<usize>();
/// Words that are read at once from a thread's stack: of two frames, mostly.
const WINDOW: usize = 32;
/// And how many of them below the one that is asked for first, which is mostly a frame's highest.
const BELOW: usize = 8;

/// Memory of this process, as far as a walk asks for it.
pub(crate) struct Live {
    /// Of the slot on which the walk is.
    slot: Range<usize>,
    /// A copy of what lies from `window_at` on.
    window: [usize; WINDOW],
    window_at: usize,
    window_len: usize,
}

/// The frame that the signal has interrupted, and where to read its callers.
///
/// # Safety
///
/// `context` is the `ucontext_t` of the signal handler that calls.
pub(crate) unsafe fn frame(context: *const c_void) -> (Frame, Live) {
    // SAFETY: as the caller promises.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let sp = registers[libc::REG_RSP as usize] as usize;
    let mut memory = Live {
        slot: 0..0,
        window: [0; WINDOW],
        window_at: 0,
        window_len: 0,
    };
    memory.enter(sp);
    (Frame::interrupted(registers), memory)
}

impl Memory for Live {
    fn word(&mut self, address: usize) -> Option<usize> {
        if !address.is_multiple_of(WORD) {
            return None;
        }
        if self.slot.contains(&address) {
            // SAFETY: a word of the slot, above its guard: mapped, and readable, for good (S3).
            return Some(unsafe { load(address) });
        }
        self.in_window(address).or_else(|| {
            self.fetch(address);
            self.in_window(address)
        })
    }

    /// All registers are known but after a rule that says otherwise: nothing needs to be looked for.
    fn end(&self) -> Option<usize> {
        None
    }

    fn enter(&mut self, sp: usize) {
        self.slot = stack::find(sp).map_or(0..0, |slot| slot.guard().end..slot.end());
    }
}

impl Live {
    fn in_window(&self, address: usize) -> Option<usize> {
        let at = address.checked_sub(self.window_at)? / WORD;
        self.window[..self.window_len].get(at).copied()
    }

    /// Copies what lies around `address`, on its page.
    fn fetch(&mut self, address: usize) {
        let page = address & !(stack::PAGE - 1);
        let from = address.saturating_sub(BELOW * WORD).max(page);
        let bytes = (WINDOW * WORD).min(stack::PAGE - (from - page));
        let iovec = |at: usize| libc::iovec {
            iov_base: at as *mut c_void,
            iov_len: bytes,
        };
        let (here, there) = (iovec(self.window.as_mut_ptr().addr()), iovec(from));
        // SAFETY: writes at most `bytes` to the window, which has so many. What it reads it need not be able to read.
        let copied = unsafe {
            let process = sys::raw(libc::SYS_getpid, []) as usize;
            let (here, there) = ((&raw const here).addr(), (&raw const there).addr());
            sys::raw(libc::SYS_process_vm_readv, [process, here, 1, there, 1, 0])
        };
        self.window_at = from;
        self.window_len = usize::try_from(copied).unwrap_or(0) / WORD;
    }
}

/// Reads a word that others, on this stack, write as they like; the interrupted do not meanwhile. Not by a load of
/// Rust's: a sanitizer has its own idea of what may be read of a stack.
///
/// # Safety
///
/// The word is mapped and readable.
unsafe fn load(address: usize) -> usize {
    let word;
    // SAFETY: as the caller promises; nothing is written.
    unsafe {
        std::arch::asm!("mov {word}, [{address}]", word = out(reg) word, address = in(reg) address,
            options(nostack, readonly, preserves_flags));
    }
    word
}

//! The runtime's only thread-locals: who runs here.
//!
//! The G is an address here: this module lies below `g`, which knows the type.
//!
//! A goroutine has its own TLS block, so `CURRENT` is set once for a goroutine's life (by whoever
//! prepares its block) and once for a plain thread's. `SELF_M` is set on the Ms' own blocks only. In a
//! goroutine's block there is also who created it: its descriptor has no room for that.
//!
//! The words are defined in assembly with the initial-exec model and read by opaque assembly: they
//! are always in the static TLS area, at one offset from the FS base in every block, and the
//! compiler can never keep their address across a switch. Accessors return values, no references.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
mod words {
    use std::arch::{asm, global_asm};

    global_asm!(
        ".pushsection .tbss.gort_core, \"awT\", @nobits",
        ".balign 8",
        ".hidden gort_core_current",
        ".globl gort_core_current",
        ".type gort_core_current, @object",
        ".size gort_core_current, 16",
        "gort_core_current:",
        ".zero 16",
        ".hidden gort_core_self_m",
        ".globl gort_core_self_m",
        ".type gort_core_self_m, @object",
        ".size gort_core_self_m, 8",
        "gort_core_self_m:",
        ".zero 8",
        ".hidden gort_core_running_m",
        ".globl gort_core_running_m",
        ".type gort_core_running_m, @object",
        ".size gort_core_running_m, 8",
        "gort_core_running_m:",
        ".zero 8",
        ".popsection",
    );

    macro_rules! word {
        ($get:ident, $set:ident, $offset:ident, $symbol:literal) => {
            #[inline(always)]
            pub(super) fn $get() -> usize {
                let value: usize;
                // SAFETY: reads the 8-byte TLS word defined above, which every thread and every
                // goroutine block has.
                unsafe {
                    asm!(
                        concat!("mov {v}, qword ptr [rip + ", $symbol, "@gottpoff]"),
                        "mov {v}, qword ptr fs:[{v}]",
                        v = out(reg) value,
                        options(nostack, readonly, preserves_flags),
                    );
                }
                value
            }

            #[inline(always)]
            #[allow(dead_code, reason = "some words are only written through their offsets")]
            pub(super) fn $set(value: usize) {
                // SAFETY: writes the 8-byte TLS word defined above; only this module touches it.
                unsafe {
                    asm!(
                        concat!("mov {t}, qword ptr [rip + ", $symbol, "@gottpoff]"),
                        "mov qword ptr fs:[{t}], {v}",
                        t = out(reg) _,
                        v = in(reg) value,
                        options(nostack, preserves_flags),
                    );
                }
            }

            #[inline(always)]
            #[allow(dead_code, reason = "not all offsets are needed")]
            pub(super) fn $offset() -> isize {
                let value: isize;
                // SAFETY: reads the linker's table entry with the word's offset from the FS base.
                unsafe {
                    asm!(
                        concat!("mov {v}, qword ptr [rip + ", $symbol, "@gottpoff]"),
                        v = out(reg) value,
                        options(nostack, pure, readonly, preserves_flags),
                    );
                }
                value
            }
        };
    }
    word!(current, set_current, current_offset, "gort_core_current");
    /// Of the second word of `gort_core_current`, from the first: the number of who created the goroutine.
    pub(super) const CREATED_BY: usize = 8;
    word!(self_m, set_self_m, self_m_offset, "gort_core_self_m");
    word!(
        running_m,
        set_running_m,
        running_m_offset,
        "gort_core_running_m"
    );
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
mod words {
    //! Thread mode only: a goroutine never changes its thread, so std's thread-locals will do.
    use std::cell::Cell;

    thread_local! {
        static CURRENT: Cell<usize> = const { Cell::new(0) };
        static SELF_M: Cell<usize> = const { Cell::new(0) };
        static RUNNING_M: Cell<usize> = const { Cell::new(0) };
    }
    pub(super) fn current() -> usize {
        CURRENT.get()
    }
    pub(super) fn set_current(value: usize) {
        CURRENT.set(value);
    }
    pub(super) fn self_m() -> usize {
        SELF_M.get()
    }
    pub(super) fn set_self_m(value: usize) {
        SELF_M.set(value);
    }
    pub(super) fn running_m() -> usize {
        RUNNING_M.get()
    }
    pub(super) fn set_running_m(value: usize) {
        RUNNING_M.set(value);
    }
    pub(super) const CREATED_BY: usize = 8;
    pub(super) fn current_offset() -> isize {
        unreachable!("no goroutine blocks on this platform")
    }
    pub(super) fn running_m_offset() -> isize {
        unreachable!("no goroutine blocks on this platform")
    }
}

/// The G of the code that calls: a goroutine's, a plain thread's, or none (a system stack, or a
/// plain thread that has not used gort yet).
#[inline(always)]
pub(crate) fn current() -> Option<NonNull<()>> {
    NonNull::new(words::current() as *mut ())
}

/// Sets this thread's G (plain threads and goroutines bound to a thread).
pub(crate) fn set_current(gp: Option<NonNull<()>>) {
    words::set_current(gp.map_or(0, |gp| gp.as_ptr() as usize));
}

/// Writes the current G, and the number of who created it, into a goroutine's block that nobody runs on.
///
/// # Safety
///
/// `fs` is the FS base of a prepared block that is not in use.
#[inline(always)]
pub(crate) unsafe fn begin_block(fs: usize, gp: NonNull<()>, created_by: u64) {
    let word = fs.wrapping_add_signed(words::current_offset()) as *mut usize;
    // SAFETY: the word lies in the static TLS area of the caller's idle block.
    unsafe { word.write(gp.as_ptr() as usize) };
    // SAFETY: an idle block is a slot's.
    unsafe { set_created_by(fs, created_by) };
}

/// Writes into a goroutine's block who created it.
///
/// # Safety
///
/// `fs` is the FS base of a block in a slot, the caller's own or one that nobody runs on.
#[inline(always)]
pub(crate) unsafe fn set_created_by(fs: usize, created_by: u64) {
    // SAFETY: as the caller promises.
    unsafe { created_by_word(fs) }.store(created_by, Ordering::Relaxed);
}

/// The number of who created the goroutine that has, or had, a block.
///
/// # Safety
///
/// `fs` is the FS base of a block in a slot.
pub(crate) unsafe fn created_by(fs: usize) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { created_by_word(fs) }.load(Ordering::Relaxed)
}

/// Where that number lies.
#[inline(always)]
pub(crate) fn created_by_place(fs: usize) -> usize {
    fs.wrapping_add_signed(words::current_offset()) + words::CREATED_BY
}

/// Its writers come one after the other, as the block's goroutines do; readers may come at any time.
///
/// # Safety
///
/// As [`created_by`].
#[inline(always)]
unsafe fn created_by_word(fs: usize) -> &'static AtomicU64 {
    let word = created_by_place(fs);
    // SAFETY: the second of two words in the static TLS area, aligned to 8 as the first. Slots are never unmapped
    // (S3 of `gort_arch::stack`), and nobody else touches the word.
    unsafe { AtomicU64::from_ptr(word as *mut u64) }
}

/// The M whose system stack the caller stands on; 0 elsewhere.
#[inline(always)]
pub(crate) fn self_m() -> usize {
    words::self_m()
}

/// Sets this thread's M, on the thread's own TLS.
pub(crate) fn set_self_m(mp: usize) {
    words::set_self_m(mp);
}

/// The M that runs the goroutine of the code that calls; 0 on plain threads and system stacks, and in
/// calls that were lent the thread's own block.
///
/// Async-signal-safe.
#[inline(always)]
pub(crate) fn running_m() -> usize {
    words::running_m()
}

/// Sets the M of the goroutine whose block is the current one: goroutines bound to a thread.
pub(crate) fn set_running_m(mp: usize) {
    words::set_running_m(mp);
}

/// Writes the M that is about to run a goroutine into its block.
///
/// # Safety
///
/// `fs` is the FS base of a prepared block that is not in use.
#[inline(always)]
pub(crate) unsafe fn set_running_m_of_block(fs: usize, mp: usize) {
    let word = running_m_place(fs) as *mut usize;
    // SAFETY: the word lies in the static TLS area of the caller's idle block.
    unsafe { word.write(mp) };
}

/// Where that word lies in the block with FS base `fs`.
#[inline(always)]
pub(crate) fn running_m_place(fs: usize) -> usize {
    fs.wrapping_add_signed(words::running_m_offset())
}

//! The switch on x86-64, System V calling convention.
//!
//! The frame of a suspended context has one shape, so the unwind information of [`switch`] is right
//! on both stacks: after `mov rsp, rsi` the same directives describe the other context's frame, and
//! a backtrace taken from a signal handler, or by a debugger, works at every instruction.
//!
//! It ends in `pop rcx; jmp rcx`: a `ret` would be predicted to return to the caller on the *old*
//! stack, always wrongly (9.0 against 1.7 ns without, 10.5 against 5.3 ns with `wrfsbase`).

use core::arch::{asm, naked_asm};
use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// 1 once [`init`] saw that `wrfsbase` works here. Read by the assembly below; a branch that is
/// always predicted. Written once, before the first switch that changes FS.
static FAST_FS: AtomicU8 = AtomicU8::new(0);

/// Bit 1 of `AT_HWCAP2`: the kernel lets user code execute `rdfsbase` and `wrfsbase`.
#[cfg(target_os = "linux")]
const HWCAP2_FSGSBASE: libc::c_ulong = 1 << 1;

pub(super) fn init(force_slow: bool) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: `getauxval` has no preconditions.
        let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
        FAST_FS.store(
            (hwcap2 & HWCAP2_FSGSBASE != 0 && !force_slow) as u8,
            Relaxed,
        );
    }
    #[cfg(not(target_os = "linux"))]
    let _ = force_slow;
}

pub(super) fn has_fast_fs() -> bool {
    FAST_FS.load(Relaxed) != 0
}

#[inline(always)]
pub(super) fn fs_base() -> usize {
    let fs: usize;
    // SAFETY: reads one word of the thread control block. The x86-64 TLS ABI says that %fs:0 holds
    // the FS base itself (glibc's copy at %fs:0x10 is the same word). Not `pure`: another read may
    // give another value after a switch.
    unsafe { asm!("mov {}, fs:[0]", out(reg) fs, options(nostack, preserves_flags, readonly)) };
    fs
}

#[inline(always)]
pub(super) fn stack_pointer() -> usize {
    let sp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

#[inline(always)]
pub(super) fn prefetch_line(addr: usize) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: SSE is part of x86-64; a prefetch faults at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(addr as *const i8) };
}

/// Six registers, the resume address, and two words of zero above them: the place of a return
/// address (so that the stack is aligned as after a call) and the end of a chain of frame pointers.
pub(super) const FRAME_BYTES: usize = 9 * 8;

#[inline]
pub(super) unsafe fn prepare(
    top: *mut u8,
    entry: unsafe extern "C" fn(usize, usize) -> !,
    data: usize,
) -> usize {
    debug_assert!((top as usize).is_multiple_of(16));
    let frame: [usize; 9] = [
        0,                                     // r15
        0,                                     // r14
        entry as *const () as usize,           // r13
        data,                                  // r12
        0,                                     // rbx
        0,                                     // rbp: frame-pointer walkers stop here
        first_entry as *const () as usize + 1, // past its `nop`, see there
        0,
        0,
    ];
    let sp = top.wrapping_sub(FRAME_BYTES).cast::<[usize; 9]>();
    // SAFETY: the caller gives FRAME_BYTES writable bytes below `top`, which is aligned to 16, so `sp`
    // is aligned to 8.
    unsafe { sp.write(frame) };
    sp as usize
}

/// Where a new context begins: calls `r13(r12, rax)`.
///
/// Unwinders look up the instruction *before* a return address. The `nop` in front makes that one
/// belong to this function also while a new context is still inside the switch.
#[unsafe(naked)]
unsafe extern "C" fn first_entry() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        ".cfi_undefined rbp",
        "nop",
        "mov rdi, r12",
        "mov rsi, rax",
        "call r13",
        "ud2",
        ".cfi_endproc",
    )
}

/// `rdi`: where to save the stack pointer; `rsi`: the one to load; `rdx`: FS base or 0; `rcx`: the
/// word that the other side gets from its `switch`.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn switch(
    save: *mut usize,
    to: usize,
    fs: usize,
    arg: usize,
) -> usize {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r12, 0",
        "push r13",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r13, 0",
        "push r14",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r14, 0",
        "push r15",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r15, 0",
        "mov rax, rcx",
        "mov [rdi], rsp",
        "mov rsp, rsi", // from here on the frame is the other context's, of the same shape
        "test rdx, rdx",
        "jz 2f",
        "cmp byte ptr [rip + {fast}], 0",
        "je 3f",
        "wrfsbase rdx",
        "2:",
        ".cfi_remember_state",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r15",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r14",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_register rip, rcx",
        "jmp rcx",
        // No FSGSBASE: arch_prctl(ARCH_SET_FS, fs). It cannot fail for a user address. The kernel
        // clobbers rcx and r11, which nobody needs any more.
        "3:",
        ".cfi_restore_state",
        "mov r8, rax",
        "mov edi, {set_fs}",
        "mov rsi, rdx",
        "mov eax, {arch_prctl}",
        "syscall",
        "mov rax, r8",
        "jmp 2b",
        ".cfi_endproc",
        fast = sym FAST_FS,
        set_fs = const ARCH_SET_FS,
        arch_prctl = const SYS_ARCH_PRCTL,
    )
}

/// As [`switch`], but leaves nothing behind. `rdi`: stack pointer; `rsi`: FS base or 0; `rdx`: word.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn switch_final(to: usize, fs: usize, arg: usize) -> ! {
    naked_asm!(
        ".cfi_startproc",
        "mov rax, rdx",
        "mov rsp, rdi", // the frame of the other context, see `switch`
        ".cfi_def_cfa_offset 56",
        ".cfi_rel_offset r15, 0",
        ".cfi_rel_offset r14, 8",
        ".cfi_rel_offset r13, 16",
        ".cfi_rel_offset r12, 24",
        ".cfi_rel_offset rbx, 32",
        ".cfi_rel_offset rbp, 40",
        ".cfi_rel_offset rip, 48",
        "test rsi, rsi",
        "jz 2f",
        "cmp byte ptr [rip + {fast}], 0",
        "je 3f",
        "wrfsbase rsi",
        "2:",
        ".cfi_remember_state",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r15",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r14",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_register rip, rcx",
        "jmp rcx",
        "3:",
        ".cfi_restore_state",
        "mov r8, rax",
        "mov edi, {set_fs}",
        "mov eax, {arch_prctl}",
        "syscall",
        "mov rax, r8",
        "jmp 2b",
        ".cfi_endproc",
        fast = sym FAST_FS,
        set_fs = const ARCH_SET_FS,
        arch_prctl = const SYS_ARCH_PRCTL,
    )
}

/// `rdi`: FS base for the call; `rsi`: FS base to come back on; `rdx(rcx)`: the call.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call_on_fs(
    fs: usize,
    back: usize,
    f: unsafe extern "C" fn(usize),
    data: usize,
) {
    naked_asm!(
        ".cfi_startproc",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "mov rbx, rsi",
        "cmp byte ptr [rip + {fast}], 0",
        "je 2f",
        "wrfsbase rdi",
        "mov rdi, rcx",
        "call rdx",
        "wrfsbase rbx",
        ".cfi_remember_state",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "ret",
        "2:",
        ".cfi_restore_state",
        // Assemblers differ in whether "adjust" goes on from a restored state, so say it outright.
        "push rdx",
        ".cfi_def_cfa_offset 24",
        "push rcx",
        ".cfi_def_cfa_offset 32",
        "mov rsi, rdi",
        "mov edi, {set_fs}",
        "mov eax, {arch_prctl}",
        "syscall",
        "pop rdi",
        ".cfi_def_cfa_offset 24",
        "pop rdx",
        ".cfi_def_cfa_offset 16",
        "call rdx",
        "mov rsi, rbx",
        "mov edi, {set_fs}",
        "mov eax, {arch_prctl}",
        "syscall",
        "pop rbx",
        ".cfi_def_cfa_offset 8",
        ".cfi_restore rbx",
        "ret",
        ".cfi_endproc",
        fast = sym FAST_FS,
        set_fs = const ARCH_SET_FS,
        arch_prctl = const SYS_ARCH_PRCTL,
    )
}

/// Whether there is an [`on_context`].
pub(crate) const HAS_SHIM: bool = true;

/// What `switch` saves on a stack: six registers and the resume address. The stack pointer of the
/// suspended function lies behind them.
pub(crate) const SAVED_BYTES: usize = 7 * 8;

/// Calls `f(data)` on this stack, while an unwinder that passes through here goes on as if the context
/// saved at `sp` had called `f`. `rdi`: its saved stack pointer; `rsi(rdx)`: the call.
///
/// # Safety
///
/// `sp` was saved by `switch`, or made by `prepare` or [`write_saved`], and the context is not resumed
/// meanwhile. `f` does not unwind: that would go on over there.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn on_context(
    sp: usize,
    f: extern "C" fn(*mut c_void),
    data: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "mov rbx, rdi",
        "mov rdi, rdx",
        ".cfi_remember_state",
        // The frame of the suspended context, see `switch`; `f` keeps rbx.
        ".cfi_def_cfa rbx, 56",
        ".cfi_offset r15, -56",
        ".cfi_offset r14, -48",
        ".cfi_offset r13, -40",
        ".cfi_offset r12, -32",
        ".cfi_offset rbx, -24",
        ".cfi_offset rbp, -16",
        ".cfi_offset rip, -8",
        "call rsi",
        ".cfi_restore_state",
        "pop rbx",
        ".cfi_def_cfa_offset 8",
        ".cfi_restore rbx",
        "ret",
        ".cfi_endproc",
    )
}

/// Makes up what `switch` would have saved at `place` for a function that stopped before `ip`.
///
/// # Safety
///
/// `place` is aligned to 8, and `SAVED_BYTES` there are writable.
pub(crate) unsafe fn write_saved(place: *mut u8, ip: usize) {
    let sp = place as usize + SAVED_BYTES;
    // Whatever register the function counts from.
    let frame: [usize; 7] = [sp, sp, sp, sp, sp, sp, ip];
    // SAFETY: as the caller promises.
    unsafe { place.cast::<[usize; 7]>().write(frame) };
}

/// `ARCH_SET_FS` of `asm/prctl.h`.
const ARCH_SET_FS: u32 = 0x1002;
/// `arch_prctl` on x86-64 Linux.
const SYS_ARCH_PRCTL: u32 = 158;

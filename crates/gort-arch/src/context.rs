//! The switch: stop this context, go on with that one.
//!
//! A suspended context is one word, its stack pointer; everything else lies on its stack in the
//! frame that [`switch`] pushed there (or that [`prepare`] wrote for the first time):
//!
//! ```text
//!   sp ->  r15  r14  r13  r12  rbx  rbp  resume address   (then the caller's frame)
//! ```
//!
//! What every backend provides, with the signatures below: `switch` and `switch_final`, which keep
//! the registers that the C calling convention lets a callee keep, change the thread pointer with
//! the stack pointer, and pass one word across; `prepare`, whose frames end a backtrace cleanly;
//! `fs_base`; and `call_on_fs`, which calls a function on another thread pointer so that the
//! compiler never sees it change. For `trace`: `on_context`, which runs a function as if a suspended
//! context had called it, and `write_saved`, which makes up such a context.
//!
//! Not saved, on purpose: MXCSR and the x87 control word (28 ns a switch; the floating-point
//! environment belongs to the M), the signal mask, and the shadow stack (`tls::init` refuses it).
//!
//! Checked by `tests/switch.rs`; cost by `examples/switch_cost.rs`.

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
pub(crate) mod backend;

#[cfg(not(target_arch = "x86_64"))]
#[path = "no_switch.rs"]
pub(crate) mod backend;

/// Stops the current context and goes on with another one.
///
/// Saves this context's stack pointer to `*save`, loads `to` (saved by an earlier switch, or made
/// by [`prepare`]) and the FS base `fs`, and goes on there. Returns the `arg` given by whoever later
/// switches back to us. With `fs == 0` the FS base stays as it is: that shares one thread-local block
/// between contexts, which only tests may do.
///
/// # Safety
///
/// * `save` is valid for a write. It is written before the other context runs.
/// * `to` was saved by a switch, or made by `prepare`, and is used once: a context is resumed at most
///   once per suspension. Its stack is mapped and used by nobody else.
/// * `fs` is 0, or the base of a thread-local block that belongs to the context behind `to`.
/// * The caller holds no reference derived from a thread-local of the FS base it leaves behind, if it
///   can be resumed on another one.
#[inline(always)]
pub unsafe fn switch(save: *mut usize, to: usize, fs: usize, arg: usize) -> usize {
    // SAFETY: the caller keeps the contract above, which is the backend's.
    unsafe { backend::switch(save, to, fs, arg) }
}

/// Like [`switch`], but saves nothing: the end of a goroutine.
///
/// # Safety
///
/// As [`switch`], without `save`. Nothing on the current stack is dropped, and nothing may use it
/// from here until it is given to a new context.
#[inline(always)]
pub unsafe fn switch_final(to: usize, fs: usize, arg: usize) -> ! {
    // SAFETY: the caller keeps the contract above, which is the backend's.
    unsafe { backend::switch_final(to, fs, arg) }
}

/// Builds the first frame of a context at `top` and returns its stack pointer.
///
/// The first switch to it calls `entry(data, arg)`, with the `arg` of that switch. Backtraces and
/// debuggers end there, at the frame that calls `entry`.
///
/// # Safety
///
/// `top` is aligned to 16, and the [`FRAME_BYTES`] below it are writable and unused.
#[inline]
pub unsafe fn prepare(
    top: *mut u8,
    entry: unsafe extern "C" fn(data: usize, arg: usize) -> !,
    data: usize,
) -> usize {
    // SAFETY: the caller keeps the contract above, which is the backend's.
    unsafe { backend::prepare(top, entry, data) }
}

/// What [`prepare`] writes below `top`, in bytes.
pub const FRAME_BYTES: usize = backend::FRAME_BYTES;

/// Has the processor fetch the latest frames of a suspended context. A hint that does nothing else, whatever `sp` is.
#[inline]
pub fn prefetch(sp: usize) {
    /// Of who is parked a few calls deep, as in a channel: from its switch up to its first frame.
    const FRAME_LINES: usize = 10;
    for line in 0..FRAME_LINES {
        prefetch_line(sp.wrapping_add(line * LINE));
    }
}

/// How far down on its stack the caller is: in a call from within it is lower.
///
/// Not the address of a variable: the address sanitizer keeps those elsewhere.
#[inline(always)]
pub fn stack_pointer() -> usize {
    backend::stack_pointer()
}

/// Has the processor fetch a cache line. A hint that does nothing else, whatever the address is.
#[inline(always)]
pub fn prefetch_line(addr: usize) {
    backend::prefetch_line(addr);
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// The FS base of the running code: which thread-local block it uses.
///
/// Never inlined into a caller's idea of "the same thread": the value is read anew at each call.
#[inline(always)]
pub fn fs_base() -> usize {
    backend::fs_base()
}

/// Whether the FS base is changed with `wrfsbase` (else with a system call, 170 ns dearer).
pub fn has_fast_fs() -> bool {
    backend::has_fast_fs()
}

/// Lets the switch use `wrfsbase`, where the kernel allows it; `force_slow` says not to.
///
/// Until this was called the switch takes the system call, which is right everywhere.
pub(crate) fn init(force_slow: bool) {
    backend::init(force_slow);
}

/// Calls `f(data)` on the FS base `fs` and comes back on `back`.
///
/// # Safety
///
/// `fs` is the base of a complete thread-local block that no other thread uses meanwhile; `back` is
/// the caller's FS base. `f(data)` may be called, does not unwind, and does not switch contexts.
#[inline(always)]
pub(crate) unsafe fn call_on_fs(
    fs: usize,
    back: usize,
    f: unsafe extern "C" fn(data: usize),
    data: usize,
) {
    // SAFETY: the caller keeps the contract above, which is the backend's.
    unsafe { backend::call_on_fs(fs, back, f, data) }
}

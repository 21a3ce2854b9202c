//! Walking stacks: one's own, a parked one, and one that a signal interrupted.
//!
//! The unwinder is the one that panics use, libgcc's: it reads the unwind tables that every function
//! has, and costs no crate. A walk gives addresses only; names come later, once per address, from std's
//! symbolizer ([`capture_at`]). What a signal interrupted is walked by one of ours, with the same tables: there they may
//! be wrong (`interrupted`).
//!
//! All addresses are return addresses, or look like such: who looks one up takes the byte before it.
//!
//! A parked context is walked where it lies, by another thread. A shim (`backend::on_context`) runs on
//! the walker's own stack, but its unwind information says that its caller's frame is the one that the
//! switch saved; an unwinder called in the shim steps from there onto the parked stack. The same shim
//! shows std's symbolizer a single address: a saved frame is made up that resumes there, on a stack of
//! zeros.
//!
//! Of a thread that sleeps in the kernel a copy is walked ([`copied`]), as it may wake at any moment; so it is
//! of a context that may be resumed ([`parked_copy`]).
//!
//! Elsewhere: keeping a parked context parked meanwhile (`gort_queue::status`); what addresses mean.
//! Checked by `tests/trace.rs`.

use std::backtrace::Backtrace;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use crate::context::backend;

/// The unwinder's idea of a frame.
#[repr(C)]
struct Frame {
    opaque: [u8; 0],
}

unsafe extern "C-unwind" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut Frame, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(frame: *mut Frame, is_interrupted: *mut c_int) -> usize;
    fn _Unwind_GetCFA(frame: *mut Frame) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

/// `_URC_NO_REASON`: on to the next frame.
const GO_ON: c_int = 0;
/// `_URC_NORMAL_STOP`, or anything else.
const STOP: c_int = 4;

/// What a walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    /// How many addresses were written, innermost first.
    pub len: usize,
    /// Whether there are more frames than there was room for, or some that cannot be walked.
    pub is_cut: bool,
}

impl Walk {
    /// Writes what `each` comes to, which calls its argument with each address until that answers false, and says
    /// whether there are more.
    pub(crate) fn of(
        addresses: &mut [usize],
        each: impl FnOnce(&mut dyn FnMut(usize) -> bool) -> bool,
    ) -> Walk {
        let mut len = 0;
        let is_cut = each(&mut |address| {
            let Some(place) = addresses.get_mut(len) else {
                return false;
            };
            *place = address;
            len += 1;
            true
        });
        Walk { len, is_cut }
    }
}

/// From which frame on a walk counts.
enum From {
    First,
    /// The frame with this stack pointer.
    StackPointer(usize),
}

struct Walker<'a> {
    from: From,
    addresses: &'a mut [usize],
    walk: Walk,
}

extern "C" fn each_frame(frame: *mut Frame, walker: *mut c_void) -> c_int {
    // SAFETY: `run` passes its walker, which nobody else uses during the walk.
    let walker = unsafe { &mut *walker.cast::<Walker<'_>>() };
    let mut is_interrupted = 0;
    // SAFETY: the unwinder's frame, during its callback.
    let (ip, sp) = unsafe {
        (
            _Unwind_GetIPInfo(frame, &raw mut is_interrupted),
            _Unwind_GetCFA(frame),
        )
    };
    let starts_here = match walker.from {
        From::First => true,
        From::StackPointer(from) => sp == from,
    };
    if starts_here {
        walker.from = From::First;
    } else if !matches!(walker.from, From::First) {
        return GO_ON;
    }
    if ip == 0 {
        return STOP;
    }
    let Some(place) = walker.addresses.get_mut(walker.walk.len) else {
        walker.walk.is_cut = true;
        return STOP;
    };
    // A call is left behind by its return address; an interrupted instruction is still to be done.
    *place = ip + usize::from(is_interrupted != 0);
    walker.walk.len += 1;
    GO_ON
}

impl<'a> Walker<'a> {
    fn new(from: From, addresses: &'a mut [usize]) -> Walker<'a> {
        let walk = Walk {
            len: 0,
            is_cut: false,
        };
        Walker {
            from,
            addresses,
            walk,
        }
    }

    #[inline(always)]
    fn run(&mut self) {
        // SAFETY: `each_frame` gets the walker it expects; walking one's own stack has no other demand
        // (on a shim, see `parked`).
        unsafe { _Unwind_Backtrace(each_frame, ptr::from_mut(self).cast()) };
    }
}

/// Walks the caller's own stack.
#[inline(never)]
pub fn own(addresses: &mut [usize]) -> Walk {
    let mut walker = Walker::new(From::First, addresses);
    walker.run();
    walker.walk
}

/// Async-signal-safe: in a signal handler, walks what the signal has interrupted.
///
/// It may be code of any kind, at any instruction. Where the unwind tables are wrong, or there are none, the walk ends
/// early, or says what is not so; and it ends early in the midst of a panic, at the unwinder. Call [`prepare`] once
/// before. Needs 16 KiB of stack. Nowhere else than on x86-64 with glibc is anything found.
///
/// # Safety
///
/// `context` is the `ucontext_t` of the signal handler that calls.
pub unsafe fn interrupted(context: *const c_void, addresses: &mut [usize]) -> Walk {
    // SAFETY: the caller's contract is the same.
    Walk::of(addresses, |visit| unsafe {
        interrupted_each(context, visit)
    })
}

/// Async-signal-safe: as [`interrupted`], for stacks of any depth: calls `visit` with each address until
/// it answers false. Whether there are more.
///
/// # Safety
///
/// As [`interrupted`].
pub unsafe fn interrupted_each(
    context: *const c_void,
    visit: &mut dyn FnMut(usize) -> bool,
) -> bool {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    {
        // SAFETY: the caller's contract is the same.
        let (frame, memory) = unsafe { crate::interrupted::frame(context) };
        frame.each(memory, visit)
    }
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    {
        let _ = (context, visit);
        true
    }
}

/// Lets the unwinder do what it does at its first use, for those who cannot have it in a signal handler.
pub fn prepare() {
    own(&mut [0]);
}

/// Walks a parked context.
///
/// # Safety
///
/// `sp` was saved by a switch (or made by `context::prepare`), and until this returns nobody resumes
/// that context or takes its stack away.
pub unsafe fn parked(sp: usize, addresses: &mut [usize]) -> Walk {
    extern "C" fn walk(walker: *mut c_void) {
        // SAFETY: the walker below, which nobody else uses meanwhile.
        unsafe { &mut *walker.cast::<Walker<'_>>() }.run();
    }
    let first = sp + backend::SAVED_BYTES;
    let mut walker = Walker::new(From::StackPointer(first), addresses);
    // SAFETY: a saved frame lies at `sp` and stays (the caller); `walk` does not unwind.
    unsafe { backend::on_context(sp, walk, ptr::from_mut(&mut walker).cast()) };
    walker.walk
}

/// Walks the copy of a stack from the program counter `pc` on; `words` is what lay at the stack pointer `sp` and
/// above it when both were those of one thread.
///
/// For a thread that sleeps in the kernel, of which no more is known; see `unwind`. Nowhere else than
/// on x86-64 with glibc is anything found.
pub fn copied(pc: usize, sp: usize, words: &[usize], addresses: &mut [usize]) -> Walk {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    return crate::unwind::walk(pc, crate::unwind::Copy { sp, words }, addresses);
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    {
        let _ = (pc, sp, words, addresses);
        Walk {
            len: 0,
            is_cut: true,
        }
    }
}

/// Walks the copy of the stack of a context that is not running: `words` is what lay at its saved stack pointer `sp` and
/// above it. One that has not begun is its first frame, as in [`parked`].
///
/// Reads nothing but the copy and the program's tables, so it is sound whatever the words are: if the context ran while
/// they were copied, the addresses are wrong. Nowhere else than on x86-64 with glibc is anything found.
pub fn parked_copy(sp: usize, words: &[usize], addresses: &mut [usize]) -> Walk {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    return crate::unwind::walk_saved(crate::unwind::Copy { sp, words }, addresses);
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    {
        let _ = (sp, words, addresses);
        Walk {
            len: 0,
            is_cut: true,
        }
    }
}

/// The function that an address lies in: where it begins, by the unwind tables; the address itself if
/// none is known. As async-signal-safe as a walk.
pub fn function_of(address: usize) -> usize {
    // SAFETY: any address can be looked up.
    match unsafe { _Unwind_FindEnclosingFunction(address as *mut c_void) } as usize {
        0 => address,
        start => start,
    }
}

/// How the frame is called that ends what [`capture_at`] does itself: the next is the address's.
pub const SHIM_NAME: &str = "on_context";

/// Has std look up one return address.
///
/// The result's symbols, behind the one whose name has [`SHIM_NAME`] in it, are those of the call
/// before `address`, inlined ones first. `None` where there is no shim, no room for the stack of zeros,
/// or no program or library at the address. Allocates, and takes the loader's lock and std's for
/// backtraces.
pub fn capture_at(address: usize) -> Option<Backtrace> {
    extern "C" fn capture(result: *mut c_void) {
        let backtrace = Backtrace::force_capture();
        // SAFETY: the place below, which nobody else uses meanwhile.
        unsafe { *result.cast::<Option<Backtrace>>() = Some(backtrace) };
    }
    if !is_in_an_object(address) {
        return None;
    }
    let stack = Zeros::map()?;
    let mut result = None;
    // SAFETY: the frame lies there as long as `stack` does; `capture` does not unwind: it can fail for
    // want of memory only, and that aborts. The unwinder steps to `address` and from there, by the rules
    // of the function it belongs to, to a caller, whose address it reads from the zeros: the end.
    unsafe {
        let sp = stack.frame(address);
        backend::on_context(sp, capture, (&raw mut result).cast());
    }
    result
}

/// Whether the call before a return address lies in a program or library: at others the unwinder would
/// read the bytes there, to see if they are those that return from a signal.
fn is_in_an_object(address: usize) -> bool {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: `dladdr` looks an address up and does not follow it; `info` has room for the answer.
    unsafe { libc::dladdr(address.wrapping_sub(1) as *const c_void, info.as_mut_ptr()) != 0 }
}

/// A stack on which every frame ends at a return address of zero.
struct Zeros {
    base: *mut u8,
    bytes: usize,
}

impl Zeros {
    /// Below the frame: what a function keeps below its caller's stack pointer. Above it: the frame of
    /// the function in question, however large. No function's is larger than 2 GiB, the reach of an
    /// instruction's offset; where address space is scarce, than the largest stack a goroutine can have.
    const BELOW: usize = 256 << 10;
    const ABOVE: [usize; 2] = [2 << 30, 1 << 30];

    fn map() -> Option<Zeros> {
        if !backend::HAS_SHIM {
            return None;
        }
        for above in Zeros::ABOVE {
            let bytes = Zeros::BELOW + above + Zeros::BELOW;
            // Read-only, so that it is not counted as memory that may be needed.
            // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing.
            let base = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    bytes,
                    libc::PROT_READ,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if base == libc::MAP_FAILED {
                continue;
            }
            let zeros = Zeros {
                base: base.cast(),
                bytes,
            };
            let (page, page_bytes) = zeros.page();
            // SAFETY: a page of the mapping above, which nobody else knows.
            let writable = unsafe {
                libc::mprotect(page.cast(), page_bytes, libc::PROT_READ | libc::PROT_WRITE)
            };
            return (writable == 0).then_some(zeros);
        }
        None
    }

    /// The page on which the frame lies.
    fn page(&self) -> (*mut u8, usize) {
        // SAFETY: `sysconf` has no preconditions.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let offset = Zeros::BELOW.next_multiple_of(page_bytes);
        (self.base.wrapping_add(offset), page_bytes)
    }

    /// Writes a saved frame that resumes at `address`, and gives its place.
    fn frame(&self, address: usize) -> usize {
        let (page, _) = self.page();
        // SAFETY: the page is writable and larger than a frame; nobody else knows the mapping.
        unsafe { backend::write_saved(page, address) };
        page as usize
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

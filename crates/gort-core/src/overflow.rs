//! The report of a stack overflow: which goroutine, how large its stack is, where it was, what helps.
//!
//! An overflow is a fault on the guard below the stack that the goroutine runs on: the lowest part of
//! its slot, or of its own thread's stack. The handler runs on the thread's alternate stack. Every other
//! fault, those of plain threads and of system stacks included, goes to whoever handled it before: a
//! user's handler, or std's, which prints its own text for a plain thread's overflow.
//!
//! The goroutine may be anywhere, inside malloc or the loader too, so the handler writes with `write(2)`
//! and collects addresses, nothing more. Names for them need locks and memory, and come from another
//! thread ([`reporter`]). Each of the two waits for the other with a bound, and goes on alone after it;
//! the process is aborted in any case, as std does.
//!
//! Elsewhere: chaining and alternate stacks (`os::signal`), walking (`gort_arch::trace`), names
//! (`symbol`). Checked by `testing/crash`.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use gort_arch::stack::Slot;
use gort_arch::trace;

use crate::clock::{self, NEVER};
use crate::fatal::write_line;
use crate::fork;
use crate::g::{self, GRef, Kind, slab};
use crate::hibernate;
use crate::os::{futex, signal};
use crate::reporter::{self, Job};
use crate::sched::m::{self, M};
use crate::symbol::{self, Symbol};

/// Stack of the main goroutine: the size of std's main thread. More, if all are to have more.
pub const MAIN_STACK_BYTES: usize = 8 << 20;

/// Handles faults from now on. The reporter is there.
pub(crate) fn start() {
    reporter::set(Job::Overflow, write_stack);
    for signo in [libc::SIGSEGV, libc::SIGBUS] {
        signal::install(signo, on_fault, libc::SA_ONSTACK);
    }
}

/// The handler. Async-signal-safe.
extern "C" fn on_fault(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's siginfo; its address is there for the faults that the kernel sends.
    let (code, address) = unsafe {
        let code = (*info).si_code;
        (code, (code > 0).then(|| (*info).si_addr() as usize))
    };
    // SAFETY: a handler's own argument.
    let is_of_code = unsafe { signal::is_fetch(context) };
    if address.is_some_and(|address| hibernate::resolve(signo, code, address, is_of_code)) {
        return;
    }
    if let Some((gp, bytes)) = address.and_then(overflowed) {
        // SAFETY: a handler's own argument.
        unsafe { report(gp, bytes, context) };
    }
    // SAFETY: a handler's own arguments.
    unsafe { signal::chain(signo, info, context) }
}

/// The current goroutine, if `address` is below its stack, and how large that is.
fn overflowed(address: usize) -> Option<(GRef, usize)> {
    // With the thread's FS base (an allocator or a call of libc that runs on the thread's own TLS) the
    // goroutine's stack is still the one in use, and its M knows it.
    let gp = g::running_here().or_else(|| m::current()?.current.get())?;
    let g = gp.get();
    match g.kind.get() {
        Kind::Stackful => {
            // SAFETY: a stackful goroutine that runs has its slot.
            let slot = unsafe { Slot::from_raw(g.slot.get()) };
            slot.guard()
                .contains(&address)
                .then(|| (gp, slot.class().slot_bytes()))
        }
        Kind::Bound => {
            // SAFETY: a bound goroutine's M is set, and lives as long as it does.
            let stack = unsafe { M::of(gp) }.stack.get()?;
            stack.guards(address).then_some((gp, stack.bytes))
        }
        Kind::Thread | Kind::Stackless => None,
    }
}

// ---- the handler's side ----

/// Frames that are shown of each end of a stack: an endless recursion repeats itself between.
const SHOWN: usize = 32;
/// Where a walk ends that does not: 1 GiB of frames of 1 KiB.
const WALKED_MAX: usize = 1 << 20;

/// How long the reporter waits for the walk, and the handler for the reporter.
const WALK_NS: u64 = 5_000_000_000;
const NAMES_NS: u64 = 20_000_000_000;

/// The overflow's way through the two threads; every change is a futex wake.
///
/// | state    | set by       | then                                   |
/// |----------|--------------|----------------------------------------|
/// | QUIET    |              | nothing has happened                   |
/// | WALKING  | the handler  | one handler only comes past this       |
/// | WALKED   | the handler  | `FRAMES` is the reporter's             |
/// | REPORTED | the reporter | the handler aborts                     |
static STATE: AtomicU32 = AtomicU32::new(QUIET);
const QUIET: u32 = 0;
const WALKING: u32 = 1;
const WALKED: u32 = 2;
const REPORTED: u32 = 3;

/// What a walk has found.
struct Frames {
    first: [usize; SHOWN],
    /// A ring: the one of number `n` lies at `n % SHOWN`.
    last: [usize; SHOWN],
    count: usize,
}

struct Shared(UnsafeCell<Frames>);
// SAFETY: used by one thread at a time, as the table of `STATE` says.
unsafe impl Sync for Shared {}

static FRAMES: Shared = Shared(UnsafeCell::new(Frames {
    first: [0; SHOWN],
    last: [0; SHOWN],
    count: 0,
}));

impl Frames {
    fn push(&mut self, address: usize) -> bool {
        if let Some(place) = self.first.get_mut(self.count) {
            *place = address;
        }
        self.last[self.count % SHOWN] = address;
        self.count += 1;
        self.count < WALKED_MAX
    }

    /// Calls `show` with what is shown, innermost first, and with how many are left out between.
    fn show(&self, mut show: impl FnMut(&[usize], usize)) {
        let first = &self.first[..self.count.min(SHOWN)];
        let rest = self.count - first.len();
        let tail = rest.min(SHOWN);
        show(first, rest - tail);
        let mut last = [0; SHOWN];
        for (place, number) in last.iter_mut().zip(self.count - tail..self.count) {
            *place = self.last[number % SHOWN];
        }
        if tail != 0 {
            show(&last[..tail], 0);
        }
    }
}

/// Says what has happened and ends the process. Async-signal-safe.
///
/// # Safety
///
/// `context` is the `ucontext_t` of the handler that calls.
unsafe fn report(gp: GRef, bytes: usize, context: *const c_void) -> ! {
    // Whatever comes now comes too late: no preemption, no handler of the user's.
    signal::block_all();
    if STATE
        .compare_exchange(QUIET, WALKING, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        // Another goroutine has overflowed its stack too, and was first.
        loop {
            futex::wait(&STATE, STATE.load(Ordering::Relaxed), NEVER);
        }
    }
    reporter::ask(Job::Overflow);
    introduce(gp, bytes);
    // SAFETY: the only handler past WALKING; the reporter waits for WALKED.
    let frames = unsafe { &mut *FRAMES.0.get() };
    // SAFETY: as the caller promises.
    unsafe { trace::interrupted_each(context, &mut |address| frames.push(address)) };
    if !fork::is_forked() {
        set_state(WALKED);
        let until_ns = clock::now_ns() + NAMES_NS;
        while STATE.load(Ordering::Acquire) == WALKED && clock::now_ns() < until_ns {
            futex::wait(&STATE, WALKED, until_ns);
        }
    }
    if STATE.load(Ordering::Acquire) != REPORTED {
        // SAFETY: a reporter that hangs, or does not exist, writes nothing.
        let frames = unsafe { &*FRAMES.0.get() };
        frames.show(|addresses, left_out| {
            for address in addresses {
                write_line(format_args!("{address:#018x}"));
            }
            write_left_out(left_out);
        });
    }
    // SAFETY: `abort` is async-signal-safe.
    unsafe { libc::abort() }
}

/// What is known without a look at the stack.
fn introduce(gp: GRef, bytes: usize) {
    let id = gp.id();
    // SAFETY: the current goroutine is the owner, which is not about to change them: at worst it was
    // stopped while doing so by the overflow, before a first reader could have seen them.
    let name = unsafe { slab::own_cold(gp) }.and_then(|cold| cold.name.as_deref());
    let size = Size(bytes);
    match name {
        Some(name) => write_line(format_args!(
            "\ngort: goroutine {id} ({name:?}) overflowed its stack of {size}"
        )),
        None => write_line(format_args!(
            "\ngort: goroutine {id} overflowed its stack of {size}"
        )),
    }
    if let Some(creation) = gp.creation() {
        write_line(format_args!("{creation}"));
    }
    let more = bytes.saturating_mul(4).min(1 << 30);
    if bytes == MAIN_STACK_BYTES {
        // Also another one's of this size: what helps is the same.
        write_line(format_args!(
            "to raise it: Builder::new().stack_size({more}).go(…) for one goroutine, or for all and \
             the main goroutine Config::stack_size, GORT_STACK={more}"
        ));
    } else {
        write_line(format_args!(
            "to raise it: Builder::new().stack_size({more}).go(…) for this one, or for all \
             Config::stack_size, GORT_STACK={more}"
        ));
    }
    write_line(format_args!("its stack, innermost call first:"));
}

/// Bytes as a multiple of what divides them.
struct Size(usize);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

fn write_left_out(count: usize) {
    if count != 0 {
        write_line(format_args!("...{count} frames elided..."));
    }
}

fn set_state(state: u32) {
    STATE.store(state, Ordering::Release);
    futex::wake(&raw const STATE, u32::MAX >> 1);
}

// ---- the reporter's side ----

fn write_stack() {
    let until_ns = clock::now_ns() + WALK_NS;
    while STATE.load(Ordering::Acquire) == WALKING {
        if clock::now_ns() >= until_ns {
            write_line(format_args!("(it cannot be walked)"));
            std::process::abort();
        }
        futex::wait(&STATE, WALKING, until_ns);
    }
    // SAFETY: WALKED: the handler only reads, and only after this thread has hung for long.
    let frames = unsafe { &*FRAMES.0.get() };
    frames.show(|addresses, left_out| {
        for same in addresses.chunk_by(|one, next| one == next) {
            write_calls(same[0]);
            if same.len() > 1 {
                write_line(format_args!("... and {} times more", same.len() - 1));
            }
        }
        write_left_out(left_out);
    });
    set_state(REPORTED);
}

/// Writes the function at a return address, and those that were inlined there; or the file that the
/// address lies in and its place there, for `addr2line`.
fn write_calls(address: usize) {
    let symbols = symbol::symbols(address);
    for Symbol {
        function,
        file,
        line,
    } in symbols.iter()
    {
        write_line(format_args!("{function}(...)"));
        if let (Some(file), Some(line)) = (file, line) {
            write_line(format_args!("\t{file}:{line}"));
        }
    }
    if symbols.is_empty() {
        write_place(address);
    }
}

fn write_place(address: usize) {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` looks an address up and does not follow it; `info` has room for the answer.
    let found = unsafe { libc::dladdr(address as *const c_void, info.as_mut_ptr()) } != 0;
    // SAFETY: all zero is a valid `Dl_info`.
    let info = unsafe { info.assume_init() };
    if found && !info.dli_fname.is_null() {
        // SAFETY: the loader's string, which stays while the library is loaded.
        let file = unsafe { CStr::from_ptr(info.dli_fname) };
        let offset = address - info.dli_fbase as usize;
        write_line(format_args!(
            "{address:#018x} {}+{offset:#x}",
            file.to_string_lossy()
        ));
    } else {
        write_line(format_args!("{address:#018x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(count: usize) -> Vec<(Vec<usize>, usize)> {
        let mut frames = Frames {
            first: [0; SHOWN],
            last: [0; SHOWN],
            count: 0,
        };
        for number in 0..count {
            assert!(frames.push(number));
        }
        let mut shown = Vec::new();
        frames.show(|addresses, left_out| shown.push((addresses.to_vec(), left_out)));
        shown
    }

    #[test]
    fn both_ends_of_a_stack_are_shown() {
        assert_eq!(shown(3), [((0..3).collect(), 0)]);
        assert_eq!(shown(SHOWN), [((0..SHOWN).collect(), 0)]);
        let (first, last) = ((0..SHOWN).collect::<Vec<_>>(), SHOWN..SHOWN + 2);
        assert_eq!(shown(SHOWN + 2), [(first.clone(), 0), (last.collect(), 0)]);
        let last = 10_000 - SHOWN..10_000;
        assert_eq!(
            shown(10_000),
            [(first, 10_000 - 2 * SHOWN), (last.collect(), 0)]
        );
    }
}

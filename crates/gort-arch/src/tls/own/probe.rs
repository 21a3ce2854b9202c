//! The self-check at start: a goroutine on a real slot looks whether it is a thread.
//!
//! It goes the way that every goroutine goes (allocate, prepare, enter, switch, destructors, reset),
//! and any surprise makes `init` fall back to thread mode.

use core::cell::Cell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering::*};

use super::{block, check_loaded, exit};
use crate::context;
use crate::stack::{Class, Slot};
use crate::tls::ThreadTls;

/// What the probe reads and writes; lives on the stack of `run`.
struct Probe {
    slot: Slot,
    thread_sp: usize,
    thread_fs: usize,
    errno_before: i32,
    marker_before: usize,
    goroutine_sp: usize,
    failure: Option<&'static str>,
}

thread_local! {
    /// A thread-local without a destructor.
    static MARKER: Cell<usize> = const { Cell::new(0) };
    /// One with: it counts.
    static DROPPED: CountDrop = const { CountDrop };
}

struct CountDrop;

static DROPS: AtomicUsize = AtomicUsize::new(0);

impl Drop for CountDrop {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Relaxed);
    }
}

/// Runs the probe on one slot that is new, used, and used and cleaned. `Err` says what was wrong.
pub(super) fn run() -> Result<(), String> {
    check_loaded();
    let class = Class::for_size(256 << 10).map_err(|error| error.to_string())?;
    let slot = crate::stack::allocate(class).map_err(|error| error.to_string())?;
    for cleans in [false, true, false] {
        run_on(slot)?;
        // SAFETY: the probe ran its destructors and switched away for good.
        unsafe {
            if cleans {
                block::clean(slot);
            }
            block::renew(slot).map_err(|error| error.to_string())?;
        }
    }
    crate::stack::release_batch(&[slot]);
    Ok(())
}

fn run_on(slot: Slot) -> Result<(), String> {
    let mut thread = ThreadTls::of_this_thread();
    let fs = slot.fs();
    let drops = DROPS.load(Relaxed);
    MARKER.set(1);
    set_errno(libc::E2BIG);
    let mut probe = Probe {
        slot,
        thread_sp: 0,
        thread_fs: thread.fs(),
        errno_before: libc::E2BIG,
        marker_before: 1,
        goroutine_sp: 0,
        failure: None,
    };
    let data = &raw mut probe;
    // SAFETY: the top of an idle slot is aligned and has room (S4). The probe gets a pointer to `probe`,
    // which outlives it, and nobody else uses it while it runs. Twice into it, as it parks once.
    unsafe {
        (*data).goroutine_sp = context::prepare(slot.top(), goroutine, data as usize);
        for _ in 0..2 {
            crate::tls::enter(&mut thread, fs);
            context::switch(&raw mut (*data).thread_sp, (*data).goroutine_sp, fs, 1);
            crate::tls::leave(&mut thread, fs);
            if errno() != libc::E2BIG || MARKER.get() != 1 {
                (*data).failure = Some("the thread's own thread-locals changed");
            }
        }
    }
    MARKER.set(0);
    if DROPS.load(Relaxed) != drops + 1 {
        probe
            .failure
            .get_or_insert("the destructor of a thread-local did not run once");
    }
    match probe.failure {
        None => Ok(()),
        Some(what) => Err(format!("self-check: {what}")),
    }
}

unsafe extern "C" fn goroutine(data: usize, _arg: usize) -> ! {
    // SAFETY: `run_on` passed a valid probe, which it does not touch while we run.
    let probe = unsafe { &mut *(data as *mut Probe) };
    probe.failure = checks(probe).err();
    // SAFETY: back to where `run_on` switched from; it switches to us once more.
    unsafe {
        context::switch(
            &raw mut probe.goroutine_sp,
            probe.thread_sp,
            probe.thread_fs,
            0,
        );
    }
    if errno() != libc::EBADF || MARKER.get() != 2 {
        probe.failure = Some("thread-locals changed over a switch");
    }
    // SAFETY: the last code of this goroutine.
    unsafe { exit::run_destructors() };
    // SAFETY: `run_on` waits in its second switch, on its own FS.
    unsafe { context::switch_final(probe.thread_sp, probe.thread_fs, 0) }
}

fn checks(probe: &Probe) -> Result<(), &'static str> {
    let fs = probe.slot.fs();
    let ensure = |fact: bool, what: &'static str| if fact { Ok(()) } else { Err(what) };
    ensure(context::fs_base() == fs, "the FS base is another block's")?;
    // SAFETY: no preconditions.
    let thread = unsafe { libc::pthread_self() };
    ensure(thread as usize == fs, "pthread_self is another thread")?;
    ensure(errno() == 0, "errno is not pristine")?;
    ensure(MARKER.get() == 0, "a thread-local is not pristine")?;
    ensure(
        probe.errno_before != 0 && probe.marker_before != 0,
        "nothing to tell apart",
    )?;
    // SAFETY: refused by the kernel.
    let refused = unsafe { libc::close(-1) } == -1;
    ensure(refused && errno() == libc::EBADF, "errno is not set")?;
    MARKER.set(2);
    DROPPED.with(|_| ());
    let blocks: Vec<Vec<u8>> = (0..8).map(|shift| vec![shift; 16 << shift]).collect();
    let sound = blocks
        .iter()
        .enumerate()
        .all(|(i, block)| block.iter().all(|b| *b == i as u8));
    drop(core::hint::black_box(blocks));
    ensure(sound, "malloc")?;
    // Without unwinding there is nothing to catch: a panic ends the process.
    if cfg!(panic = "unwind") {
        // `resume_unwind` runs no panic hook, so nothing is printed.
        let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7_u8)));
        let payload = caught
            .err()
            .and_then(|payload| payload.downcast::<u8>().ok());
        ensure(
            payload.is_some_and(|seven| *seven == 7),
            "a panic is not caught",
        )?;
        ensure(!std::thread::panicking(), "the panic count")?;
    }
    set_errno(libc::EBADF);
    Ok(())
}

fn errno() -> i32 {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

/// Makes the calling thread's malloc state.
pub(in crate::tls) fn force_malloc_state() {
    for bytes in [24, 1 << 10] {
        // SAFETY: freed once.
        unsafe { libc::free(core::hint::black_box(libc::malloc(bytes)).cast::<c_void>()) };
    }
}

//! Own thread-local blocks on x86-64 glibc. See `tls` for the idea.

mod block;
mod dlopen;
mod exit;
mod glibc;
mod interpose;
mod loaded;
mod probe;
mod template;

use core::sync::atomic::{AtomicPtr, Ordering::*};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use super::{Mode, Support, ThreadTls, Tid};
use crate::context;
use crate::stack::{self, Slot};
use glibc::Glibc;
use template::Template;

pub(super) use block::{clean, lend, prefetch, renew, take_back};
pub(super) use context::fs_base;
pub(super) use exit::run_destructors;
pub(super) use loaded::check_loaded;
pub(super) use probe::force_malloc_state;

/// Bytes kept free in each block for initial-exec thread-locals of libraries loaded later, unless
/// `GORT_TLS_SURPLUS` says another number.
const SURPLUS: usize = 256;

static GLIBC: OnceLock<Glibc> = OnceLock::new();

/// How to find the running goroutine; null until the scheduler says.
static CURRENT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// The running goroutine's slot and its M. Async-signal-safe.
fn current() -> Option<(Slot, *mut ThreadTls)> {
    let f = CURRENT.load(Acquire);
    if f.is_null() {
        return None;
    }
    // SAFETY: only `set_current_hook` stores there, a function of this type.
    let f = unsafe { core::mem::transmute::<*mut (), fn() -> Option<(Slot, *mut ThreadTls)>>(f) };
    f()
}

/// What was looked up; set before the first slot.
fn glibc() -> &'static Glibc {
    GLIBC.get().expect("tls::init comes before the first slot")
}

pub(super) fn init() -> Result<Support, String> {
    let libc = Glibc::find()?;
    if !loaded::can_look() {
        return Err("the loader's list of libraries is not where it should be".to_owned());
    }
    loaded::preload();
    let template = Template::build(&libc)?;
    let tid = match std::env::var("GORT_TLS_TID").as_deref() {
        Ok("thread") => Tid::Thread,
        _ => Tid::Unique,
    };
    let wanted = std::env::var("GORT_TLS_SURPLUS")
        .ok()
        .and_then(|bytes| bytes.parse().ok());
    // libc itself refuses libraries beyond its own reserve.
    let surplus_max = libc.static_bytes - template.below;
    let surplus_bytes = wanted.unwrap_or(SURPLUS).min(surplus_max);
    let fsgsbase = context::has_fast_fs();
    let support = Support {
        mode: Mode::Own,
        reason: format!(
            "own: glibc {}, {}",
            glibc::version(),
            if fsgsbase {
                "FSGSBASE"
            } else {
                "arch_prctl (no FSGSBASE)"
            }
        ),
        fsgsbase,
        tid,
        static_bytes: template.below,
        surplus_bytes,
        malloc_words: template.malloc_words.len(),
    };
    let rest = libc.pthread_bytes.saturating_sub(template.cut);
    stack::set_block_layout(
        template.below + surplus_bytes,
        template.cut,
        rest,
        libc.align,
    );
    block::set(template, &libc, tid == Tid::Thread);
    GLIBC.set(libc).expect("tls::init runs once");
    loaded::start();
    dlopen::start();
    interpose::start(tid == Tid::Unique);
    probe::run().inspect_err(|_| stack::clear_block_layout())?;
    Ok(support)
}

/// Takes the calling thread's area for restartable sequences back from the kernel.
///
/// The area lies in the thread's control block. In the child of a `fork` that a goroutine makes, libc
/// knows that goroutine only: it takes its M's stack and control block for free memory, and unmaps them
/// when it likes. The kernel's next write to the area would then end the child with SIGSEGV.
pub(super) fn end_rseq() {
    /// `RSEQ_FLAG_UNREGISTER`, and the signature that glibc gives on x86-64.
    const UNREGISTER: usize = 1;
    const SIGNATURE: usize = 0x5305_3053;
    /// The first version of the area.
    const BYTES_AT_LEAST: usize = 32;
    let Some((offset, bytes)) = GLIBC.get().and_then(|libc| libc.rseq) else {
        return;
    };
    let area = fs_base().wrapping_add_signed(offset);
    // The kernel wants to hear the size that was registered: all it can fill, or less, depending on the
    // version of libc. It refuses another, and an area that is not registered.
    for bytes in [bytes, BYTES_AT_LEAST] {
        let args = [area, bytes, UNREGISTER, SIGNATURE];
        // SAFETY: the kernel resets the area, which is this thread's own and which nobody else writes.
        if unsafe { crate::sys::raw(libc::SYS_rseq, args) } == 0 {
            return;
        }
    }
}

/// See [`super::on_thread_fs`].
///
/// # Safety
///
/// As there.
pub(super) unsafe fn on_thread_fs<R>(m: &mut ThreadTls, fs: usize, f: impl FnOnce() -> R) -> R {
    struct Call<F, R> {
        f: Option<F>,
        result: Option<std::thread::Result<R>>,
    }

    unsafe extern "C" fn run<F: FnOnce() -> R, R>(data: usize) {
        // SAFETY: `on_thread_fs` passes the address of its own `Call`, and waits.
        let call = unsafe { &mut *(data as *mut Call<F, R>) };
        if let Some(f) = call.f.take() {
            call.result = Some(catch_unwind(AssertUnwindSafe(f)));
        }
    }

    fn run_of<F: FnOnce() -> R, R>(_call: &Call<F, R>) -> unsafe extern "C" fn(usize) {
        run::<F, R>
    }

    let mut call = Call {
        f: Some(f),
        result: None,
    };
    let run = run_of(&call);
    // SAFETY: the caller says that this goroutine's block is `fs` and that it runs on `m`, whose own
    // block is therefore idle. Malloc's words follow the FS base (T2); nothing between the copies and
    // the change of FS calls malloc. `run` catches unwinds.
    unsafe {
        take_back(fs, m.fs);
        context::call_on_fs(m.fs, fs, run, (&raw mut call) as usize);
        take_back(m.fs, fs);
    }
    match call.result.expect("the call came back") {
        Ok(result) => result,
        Err(payload) => resume_unwind(payload),
    }
}

pub(super) fn block_bytes() -> usize {
    stack::block_bytes()
}

pub(super) fn thread_local_offset(addr: usize) -> Option<isize> {
    let offset = addr.wrapping_sub(fs_base()) as isize;
    let below = GLIBC.get().map(|_| block::template().below as isize)?;
    (-below..0).contains(&offset).then_some(offset)
}

pub(super) fn set_current_hook(f: fn() -> Option<(Slot, *mut ThreadTls)>) {
    CURRENT.store(f as *mut (), Release);
}

pub(super) fn set_signals_hook(f: fn()) {
    interpose::set_signals_hook(f);
}

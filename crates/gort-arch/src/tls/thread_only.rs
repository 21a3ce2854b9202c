//! Platforms without own thread-local blocks: other CPUs, other C libraries, glibc linked statically,
//! where `dlsym` finds no symbols, and builds for ThreadSanitizer. Goroutines run in thread mode, so
//! nothing here but `init` is ever reached.

use super::{Support, ThreadTls};
use crate::stack::{Slot, StackError, Why};

const NONE: &str = "no own thread-local blocks on this platform";

pub(super) fn init() -> Result<Support, String> {
    Err(if cfg!(not(target_arch = "x86_64")) {
        format!("no stack switch for {}", std::env::consts::ARCH)
    } else if cfg!(target_feature = "crt-static") && cfg!(target_env = "gnu") {
        "glibc is linked statically, its symbols cannot be looked up".to_owned()
    } else if cfg!(gort_tsan) {
        "this is a build for ThreadSanitizer".to_owned()
    } else {
        "not glibc".to_owned()
    })
}

pub(super) fn end_rseq() {}

pub(super) fn force_malloc_state() {}

pub(super) fn fs_base() -> usize {
    0
}

pub(super) unsafe fn lend(_from: usize, _to: usize, _tid: u32) {
    unreachable!("{NONE}")
}

pub(super) unsafe fn take_back(_from: usize, _to: usize) {
    unreachable!("{NONE}")
}

pub(super) fn prefetch(_fs: usize) {}

pub(super) unsafe fn run_destructors() {
    unreachable!("{NONE}")
}

pub(super) unsafe fn on_thread_fs<R>(_m: &mut ThreadTls, _fs: usize, f: impl FnOnce() -> R) -> R {
    f()
}

pub(super) fn block_bytes() -> usize {
    0
}

pub(super) fn thread_local_offset(_addr: usize) -> Option<isize> {
    None
}

pub(super) fn check_loaded() {}

pub(super) fn set_current_hook(_f: fn() -> Option<(Slot, *mut ThreadTls)>) {}

pub(super) fn set_signals_hook(_f: fn()) {}

pub(super) unsafe fn clean(_slot: Slot) {}

pub(super) unsafe fn renew(_slot: Slot) -> Result<(), StackError> {
    Err(StackError(Why::NotReady))
}

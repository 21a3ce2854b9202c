//! CPUs without a switch: there, `tls::init` always answers with thread mode, where each goroutine
//! has an OS thread and nothing calls these functions. They exist so that the scheduler compiles.

const NONE: &str = "gort has no stack switch for this CPU; goroutines run in thread mode";

pub(super) const FRAME_BYTES: usize = 0;

pub(super) fn init(_force_slow: bool) {}

pub(super) fn has_fast_fs() -> bool {
    false
}

/// There is none to switch, and nothing that is done with the answer.
pub(super) fn fs_base() -> usize {
    0
}

pub(super) unsafe fn switch(_save: *mut usize, _to: usize, _fs: usize, _arg: usize) -> usize {
    unreachable!("{NONE}")
}

pub(super) unsafe fn switch_final(_to: usize, _fs: usize, _arg: usize) -> ! {
    unreachable!("{NONE}")
}

pub(super) unsafe fn prepare(
    _top: *mut u8,
    _entry: unsafe extern "C" fn(usize, usize) -> !,
    _data: usize,
) -> usize {
    unreachable!("{NONE}")
}

pub(super) unsafe fn call_on_fs(
    _fs: usize,
    _back: usize,
    _f: unsafe extern "C" fn(usize),
    _data: usize,
) {
    unreachable!("{NONE}")
}

pub(crate) const HAS_SHIM: bool = false;

pub(crate) const SAVED_BYTES: usize = 0;

pub(crate) unsafe fn on_context(
    _sp: usize,
    _f: extern "C" fn(*mut core::ffi::c_void),
    _data: *mut core::ffi::c_void,
) {
    unreachable!("{NONE}")
}

pub(crate) unsafe fn write_saved(_place: *mut u8, _ip: usize) {
    unreachable!("{NONE}")
}

pub(super) fn prefetch_line(_addr: usize) {}

#[inline(always)]
pub(super) fn stack_pointer() -> usize {
    let here = 0u8;
    core::ptr::from_ref(core::hint::black_box(&here)).addr()
}

//! `dlopen` with goroutines: every block gets the library's initial-exec thread-locals before the
//! caller has the handle.
//!
//! On a goroutine libc's `dlopen` runs on the M's FS, where the library's constructors find their
//! thread-locals initialized by libc, in libc's own reserve: on the goroutine's block they would run
//! before `loaded` has given them a place.
//!
//! libc searches a bare name also in the run path of the library that calls. It knows the caller by
//! the return address, which is ours once we stand in between. So before `tls::init` we jump to libc's
//! and leave the address as it is; afterwards, for a caller outside the program, its run path is
//! searched here. (`$ORIGIN` in the *argument* then means the program's folder.)
//!
//! Elsewhere: `dlmopen`, a namespace of its own, is left alone.

use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU8, Ordering::*};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::interpose::{Next, next, on_thread};
use super::{current, loaded};

static DLOPEN: Next = Next::new(c"dlopen");

/// 1 once blocks of goroutines exist.
static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// From now on loads are watched.
pub(super) fn start() {
    DLOPEN.address();
    core::hint::black_box(dlopen as *const ());
    ACTIVE.store(1, Release);
}

/// As in libc.
///
/// # Safety
///
/// As in libc.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "cmp byte ptr [rip + {active}], 0",
        "jne 2f",
        "push rdi",
        ".cfi_def_cfa_offset 16",
        "push rsi",
        ".cfi_def_cfa_offset 24",
        "sub rsp, 8",
        ".cfi_def_cfa_offset 32",
        "call {next}",
        "add rsp, 8",
        ".cfi_def_cfa_offset 24",
        "pop rsi",
        ".cfi_def_cfa_offset 16",
        "pop rdi",
        ".cfi_def_cfa_offset 8",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2:",
        "mov rdx, [rsp]",
        "jmp {open}",
        ".cfi_endproc",
        active = sym ACTIVE,
        next = sym next_dlopen,
        open = sym open,
    )
}

extern "C" fn next_dlopen() -> *mut c_void {
    DLOPEN.address()
}

/// `dlopen` once goroutines exist; `caller` is the return address.
unsafe extern "C" fn open(name: *const c_char, flags: c_int, caller: *const c_void) -> *mut c_void {
    let Some(next) = next!(DLOPEN, fn(*const c_char, c_int) -> *mut c_void) else {
        return core::ptr::null_mut();
    };
    let before = loaded::adds();
    let load = |name: *const c_char, flags: c_int| {
        let mut handle = core::ptr::null_mut();
        on_thread(|| {
            // SAFETY: the caller keeps libc's contract, or the name is ours.
            handle = unsafe { next(name, flags) };
            0
        });
        handle
    };
    let mut handle = core::ptr::null_mut();
    if !name.is_null() && flags & libc::RTLD_NOLOAD == 0 {
        // SAFETY: the caller gives a terminated name.
        let bare = unsafe { CStr::from_ptr(name) };
        if let Some(map) = foreign(caller)
            && !bare.is_empty()
            && !bare.to_bytes().contains(&b'/')
        {
            // Already there: then the search is over, and this is the reference that was asked for. The other flags
            // take effect as in a load.
            handle = load(name, flags | libc::RTLD_NOLOAD);
            if handle.is_null() {
                // SAFETY: `foreign` gave the loader's entry of a mapped library, which calls us.
                let found = unsafe { search(map, bare) };
                handle = found.map_or(handle, |path| load(path.as_ptr(), flags));
            }
        }
    }
    if handle.is_null() {
        handle = load(name, flags);
    }
    if handle.is_null() && current().is_some() {
        // Once more on our own FS: `dlerror` is per thread. It fails again, for the same reason.
        // SAFETY: the caller keeps libc's contract.
        handle = unsafe { next(name, flags) };
    }
    if !handle.is_null() {
        loaded::check_after_load(before);
    }
    handle
}

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
    fn dlinfo(handle: *mut c_void, request: c_int, info: *mut c_void) -> c_int;
}

/// `dlfcn.h`.
const RTLD_DL_LINKMAP: c_int = 2;
const RTLD_DI_SERINFO: c_int = 4;
const RTLD_DI_SERINFOSIZE: c_int = 5;

/// The loader's entry of the library that `address` lies in, unless it is the one this code is in.
fn foreign(address: *const c_void) -> Option<*mut c_void> {
    // SAFETY: `info` and `map` are valid for writes; any address may be asked for.
    unsafe {
        let (mut info, mut own): (libc::Dl_info, libc::Dl_info) = core::mem::zeroed();
        let (mut map, mut own_map) = (core::ptr::null_mut(), core::ptr::null_mut());
        let here = foreign as *const c_void;
        let known = dladdr1(address, &mut info, &mut map, RTLD_DL_LINKMAP) != 0
            && dladdr1(here, &mut own, &mut own_map, RTLD_DL_LINKMAP) != 0;
        (known && map != own_map).then_some(map)
    }
}

/// `Dl_serinfo` of `dlfcn.h`, before its paths.
#[repr(C)]
struct SearchInfo {
    bytes: usize,
    count: c_uint,
}

#[repr(C)]
struct SearchPath {
    name: *const c_char,
    flags: c_uint,
}

/// Where the library of `map` would find `name`.
///
/// # Safety
///
/// `map` is the loader's entry of a library that stays loaded meanwhile.
unsafe fn search(map: *mut c_void, name: &CStr) -> Option<CString> {
    let mut size = SearchInfo { bytes: 0, count: 0 };
    // SAFETY: the loader writes one header.
    if unsafe { dlinfo(map, RTLD_DI_SERINFOSIZE, (&raw mut size).cast()) } != 0 {
        return None;
    }
    let mut buffer = vec![0u64; size.bytes.div_ceil(8)];
    let info = buffer.as_mut_ptr().cast::<SearchInfo>();
    // SAFETY: the buffer has the size that the loader asked for, and the header says so.
    unsafe {
        info.write(size);
        if dlinfo(map, RTLD_DI_SERINFO, info.cast()) != 0 {
            return None;
        }
        let paths = info.add(1).cast::<SearchPath>();
        (0..(*info).count as usize).find_map(|i| {
            let folder = CStr::from_ptr((*paths.add(i)).name);
            let path = Path::new(OsStr::from_bytes(folder.to_bytes()))
                .join(OsStr::from_bytes(name.to_bytes()));
            path.is_file()
                .then(|| CString::new(path.as_os_str().as_bytes()).ok())?
        })
    }
}

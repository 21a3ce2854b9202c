//! Guards: the addresses below a stack whose touch is an overflow.
//!
//! Linux 6.13 has guards without a mapping of their own (`MADV_GUARD_INSTALL`): as many as there are
//! stacks. Before that a guard is an `mprotect`, which splits the mapping in two. The kernel allows
//! `vm.max_map_count` mappings (65,530 by default), and when they are used up malloc fails too. So
//! such guards stop at a quarter, with an error that names the setting: a stack without a guard is
//! never made silently, only after [`allow_unguarded`].
//!
//! Elsewhere: what an overflow looks like to the user (the signal handler is the scheduler's).
//! Checked by `tests/stacks.rs`.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};

use crate::stack::{StackError, Why};
use crate::sys::Ranges;

/// What guards are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuardKind {
    /// `MADV_GUARD_INSTALL`: no mapping, no limit.
    Install,
    /// `mprotect`: one more mapping or two for each guard.
    Protect,
}

/// Linux 6.13, `include/uapi/asm-generic/mman-common.h`.
const MADV_GUARD_INSTALL: i32 = 102;

/// 0: not known yet; 1: install; 2: protect. Written under the pool's growth lock.
static KIND: AtomicU8 = AtomicU8::new(0);
/// Guards made with `mprotect`. Written under the pool's growth lock.
static PROTECTED: AtomicUsize = AtomicUsize::new(0);
/// Whether stacks beyond the budget may go without a guard.
static UNGUARDED: AtomicBool = AtomicBool::new(false);
/// `vm.max_map_count`, read once; 0: not yet.
static MAX_MAP_COUNT: AtomicUsize = AtomicUsize::new(0);

/// What guards are made of here; `None` before the first one.
pub fn kind() -> Option<GuardKind> {
    match KIND.load(Relaxed) {
        1 => Some(GuardKind::Install),
        2 => Some(GuardKind::Protect),
        _ => None,
    }
}

/// Guards are made with `mprotect` from now on, as on a kernel before 6.13. For tests and diagnosis.
pub fn force_protect() {
    KIND.store(2, Relaxed);
}

/// How many `mprotect` guards there may be.
pub fn guards_max() -> usize {
    max_map_count() / 4
}

/// Lets stacks beyond the budget of `mprotect` guards exist without a guard.
///
/// # Safety
///
/// An overflow of such a stack runs into the next slot: the caller answers for it that no goroutine
/// overflows its stack.
pub unsafe fn allow_unguarded(allow: bool) {
    UNGUARDED.store(allow, Relaxed);
}

/// How many guards can be made with one system call (0.30 µs each, against 0.44).
pub(crate) const BATCH: usize = 32;

/// Makes `guard_bytes` at each of `count` bases, `stride` apart, a guard. Returns how many were made,
/// at least 1. Called under the growth lock.
pub(crate) fn install(
    first: usize,
    stride: usize,
    count: usize,
    guard_bytes: usize,
) -> Result<usize, StackError> {
    let mut made = 0;
    if count <= BATCH && KIND.load(Relaxed) == 1 {
        let mut guards = Ranges::<BATCH>::new();
        for i in 0..count {
            guards.push(first + i * stride, guard_bytes);
        }
        // What is refused is asked for again below, one by one: that answer counts.
        made = guards.advise(MADV_GUARD_INSTALL) / guard_bytes;
    }
    for i in made..count {
        if let Err(error) = install_one(first + i * stride, guard_bytes) {
            return if i == 0 { Err(error) } else { Ok(i) };
        }
    }
    Ok(count)
}

fn install_one(addr: usize, bytes: usize) -> Result<(), StackError> {
    if KIND.load(Relaxed) != 2 {
        // SAFETY: the range is the guard of a slot that was never handed out, so nothing is in it.
        // An unknown advice is refused with EINVAL and changes nothing.
        if unsafe { libc::madvise(addr as *mut libc::c_void, bytes, MADV_GUARD_INSTALL) } == 0 {
            KIND.store(1, Relaxed);
            return Ok(());
        }
        // Also later: memory that is locked (mlockall) takes no such guards.
        KIND.compare_exchange(0, 2, Relaxed, Relaxed).ok();
    }
    let guards = PROTECTED.load(Relaxed);
    if guards >= guards_max() {
        if UNGUARDED.load(Relaxed) {
            return Ok(());
        }
        return Err(StackError(Why::GuardBudget {
            guards,
            max_map_count: max_map_count(),
        }));
    }
    // SAFETY: as above; the range lies inside our own mapping.
    if unsafe { libc::mprotect(addr as *mut libc::c_void, bytes, libc::PROT_NONE) } != 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(StackError(Why::GuardRefused { errno }));
    }
    PROTECTED.fetch_add(1, Relaxed);
    Ok(())
}

fn max_map_count() -> usize {
    let known = MAX_MAP_COUNT.load(Relaxed);
    if known != 0 {
        return known;
    }
    // 65,530 is the kernel's default, for where /proc is missing.
    let read = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let count = read
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_530usize)
        .max(1);
    MAX_MAP_COUNT.store(count, Relaxed);
    count
}

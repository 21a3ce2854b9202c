//! An allocator that ends the process if the runtime allocates or frees while it is inside.
//!
//! A goroutine may have been stopped in the middle of malloc; code inside the runtime that calls it
//! would wait for that goroutine, and that one for us. The rule is `preempt`'s; this is its check.
//!
//! With `--cfg gort_audit` it is the allocator of every program that gort is in, so that all tests can
//! be run under it: `ci/preempt.sh audit`. A program that has an allocator of its own cannot be built so.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::preempt::assert_outside;

/// The system's allocator behind the check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audited;

#[cfg(gort_audit)]
#[global_allocator]
static AUDITED: Audited = Audited;

// SAFETY: all is the system allocator's, which keeps the contract; the check touches no memory of it.
unsafe impl GlobalAlloc for Audited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert_outside("a call of the allocator");
        // SAFETY: the caller's word about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        assert_outside("a call of the allocator");
        // SAFETY: the caller's word about `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        assert_outside("a call of the allocator");
        // SAFETY: the caller's word that `memory` is a live block of this allocator's, which are all the
        // system's, and has this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        assert_outside("a call of the allocator");
        // SAFETY: as in `dealloc`, and the caller's word about the new size.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}

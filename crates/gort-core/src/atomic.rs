//! The atomics of files that `testing/model` builds too, over loom's: there this module is another one.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};

/// The light half of an asymmetric fence: nothing but an order for the compiler. The heavy half is
/// `os::membarrier`.
#[inline]
pub(crate) fn light_fence() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

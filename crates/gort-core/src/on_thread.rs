//! Calls that meet the OS thread: its thread-local storage in place of the goroutine's, for their length.
//!
//! For allocators. One that keeps a cache for each thread would keep one for each goroutine; on the thread's own
//! block it finds the thread's. `gort_arch::tls::on_thread_fs` changes the FS base and hands libc's malloc its
//! words; here is said when that is wanted, and why it is sound at any moment outside the runtime:
//!
//! O1. The goroutine stays on its M from before the change to after it. It moves only in a switch, a switch is
//!     made by the runtime's code alone, and `f` calls none of it.
//! O2. The thread's block is idle meanwhile: it is used by the system stack, which waits, and by calls such
//!     as this, which do not nest: on the thread's block there is no `running_m`, so an inner one finds
//!     nothing to change.
//! O3. A signal that comes while the block is the thread's is harmless. SIGURG's handler finds no `running_m` and
//!     makes nobody wait, so nobody is stopped with a lock of the allocator's held. A fault finds the
//!     goroutine through its M (`overflow`). One that comes in the steps before and after, on the goroutine's
//!     block, may make it wait in place: on its M, with the words of malloc where the M's next
//!     user of them, which is the goroutine itself, will look.
//! O4. The call is not a section of the runtime (`inside`): it may wait in the kernel for as long as
//!     others hold the allocator's locks, and then sysmon takes the P, as it does elsewhere. So whoever holds
//!     such a lock can always get one and go on. The goroutine notices when it enters the runtime the
//!     next time.
//!
//! In the child of a `fork` the goroutine is the thread that libc knows, and the M's block is memory that libc
//! may give away: nothing is changed there.

use gort_arch::tls::{self, ThreadTls};

use crate::fork;
use crate::g::{self, Kind};
use crate::sched::m::M;
use crate::thread_state;

/// Calls `f` on the OS thread's own thread-locals. On a plain thread, on a goroutine with a thread of its own,
/// and within such a call it just calls `f`.
///
/// `f` must not call gort, nor give away references to thread-locals. For allocators: it allocates nothing
/// itself. A panic of `f` goes on in the caller.
///
/// # Safety
///
/// `f` does as said above.
#[inline]
pub unsafe fn on_thread<R>(f: impl FnOnce() -> R) -> R {
    match blocks() {
        None => f(),
        // SAFETY: the goroutine runs on the M that was found, with this block (O1). `f` does not switch, and
        // gives no reference back, as the caller promises.
        Some((thread, fs)) => unsafe { tls::on_thread_fs(&mut *thread, fs, f) },
    }
}

/// The thread's side, and the block of the goroutine that calls, if it has one that is not the thread's.
#[inline]
fn blocks() -> Option<(*mut ThreadTls, usize)> {
    // SAFETY: 0, or the M that runs the calling goroutine; Ms are never freed.
    let mp = unsafe { (thread_state::running_m() as *const M).as_ref() }?;
    let gp = g::running_here()?;
    let fs = gp.get().fs.load(std::sync::atomic::Ordering::Relaxed);
    let has_own = gp.get().kind.get() == Kind::Stackful && fs != mp.fs.get();
    (has_own && !fork::is_forked()).then_some((mp.tls.get(), fs))
}

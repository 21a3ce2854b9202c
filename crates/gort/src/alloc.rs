//! Global allocators under goroutines.
//!
//! A goroutine has thread-locals of its own, so an allocator that keeps a cache per thread makes one for each
//! goroutine that allocates. [`OnThread`] runs such an allocator on the thread-locals of the OS thread: the caches
//! are then as many as the threads. (libc's malloc, which Rust uses unless told otherwise, needs no wrapper: gort lends
//! the thread's cache to the goroutine that runs.)
//!
//! Measured with `testing/alloc` (2,000 goroutines that hold a few small allocations and are parked; release
//! build, 256 KiB stacks; x86-64 VM with 2 cores):
//!
//! | allocator | bytes per goroutine, wrapped | not wrapped | an allocation and its end, wrapped | not wrapped |
//! |-----------|------------------------------|-------------|-----------------------------------|-------------|
//! | libc      | –                            | 4.5 KB      | –                                 | 11 ns       |
//! | mimalloc  | 4.3 KB                       | 175 KB      | 47 ns                             | 13 ns       |
//! | jemalloc  | 8.4 KB                       | 32 KB       | 39 ns                             | 6 ns        |
//!
//! So the wrapper costs some 17 ns a call. Without it either allocator is right too, but not small.

use std::alloc::{GlobalAlloc, Layout};

use gort_core::on_thread::on_thread;

/// A global allocator that runs `A` on the OS thread's own thread-locals, also when a goroutine calls it.
///
/// For `A`s with a cache per thread: mimalloc, jemalloc, tcmalloc, snmalloc. On plain threads, before the runtime has
/// started and in thread mode it is `A` and nothing else. Never parks: a goroutine that waits for one of `A`'s
/// locks blocks its thread for so long, and others get its processor.
///
/// All calls of `A` should come by this way. One that goes past it, as from C code that calls `A`'s own functions,
/// works, but on the goroutine's thread-locals: with a cache of its own.
///
/// `A` must not call gort: no channel, lock or goroutine. None of the allocators named does.
///
/// # Examples
///
/// ```
/// use std::alloc::System;
///
/// // `System` stands for `mimalloc::MiMalloc` or `tikv_jemallocator::Jemalloc`.
/// #[global_allocator]
/// static ALLOCATOR: gort::alloc::OnThread<System> = gort::alloc::OnThread::new(System);
///
/// let text = gort::go(|| "on the heap".to_owned()).join().unwrap();
/// assert_eq!(text, "on the heap");
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct OnThread<A>(A);

impl<A> OnThread<A> {
    /// Wraps `allocator`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::alloc::OnThread;
    /// use std::alloc::System;
    ///
    /// #[global_allocator]
    /// static ALLOCATOR: OnThread<System> = OnThread::new(System);
    /// assert_eq!(Vec::from([1, 2, 3]).len(), 3);
    /// ```
    pub const fn new(allocator: A) -> OnThread<A> {
        OnThread(allocator)
    }

    /// The allocator inside, whose methods run where they are called.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::alloc::System;
    ///
    /// let _: &System = gort::alloc::OnThread::new(System).inner();
    /// ```
    pub const fn inner(&self) -> &A {
        &self.0
    }
}

// SAFETY: each method is `A`'s, called with the same arguments. Where it is called makes no difference to the
// memory: `A` may free on one thread what came from another, as any global allocator.
unsafe impl<A: GlobalAlloc> GlobalAlloc for OnThread<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `A`'s contract; an allocator does not call gort, and gives back memory, no
        // thread-locals.
        unsafe { on_thread(|| self.0.alloc(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { on_thread(|| self.0.dealloc(ptr, layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { on_thread(|| self.0.alloc_zeroed(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { on_thread(|| self.0.realloc(ptr, layout, new_size)) }
    }
}

//! The end of the thread that a goroutine is to libc, in libc's own order: destructors of
//! thread-locals, destructors of pthread keys, what libc keeps per thread, dynamic thread-locals.
//!
//! What is not freed: the buffer of `strerror_l` and `strsignal`, and the resolver's state. They lie
//! in a part of `struct pthread` that `reset` does not touch, and the next goroutine of the slot goes
//! on with them: one of each per slot, not per goroutine.

use core::ffi::c_void;
use core::ptr::null_mut;

use super::glibc::{Glibc, KEY_BLOCKS, KEYS_PER_BLOCK, KeyData};
use super::{block, glibc};

/// `PTHREAD_DESTRUCTOR_ITERATIONS`.
const ROUNDS: usize = 4;

/// # Safety
///
/// As [`crate::tls::run_destructors`].
pub(in crate::tls) unsafe fn run_destructors() {
    let libc = glibc();
    let fs = crate::context::fs_base();
    // SAFETY: libc's own function for this, on the FS of the thread whose destructors are due. They
    // may park: FS is the same afterwards, as the goroutine keeps its block.
    unsafe { (libc.call_tls_dtors)() };
    // SAFETY: `fs` is this goroutine's block.
    unsafe { run_key_destructors(libc, fs) };
    free_dlerror();
    // SAFETY: the last user code has run.
    unsafe { block::free_dynamic(fs) };
}

/// As `__nptl_deallocate_tsd`.
///
/// # Safety
///
/// `fs` is the block of the goroutine that calls.
unsafe fn run_key_destructors(libc: &Glibc, fs: usize) {
    let used = (fs + libc.specific + KEY_BLOCKS * 8) as *mut u8;
    // SAFETY: `template` checked that this byte is where glibc notes that a key was set. Reading it
    // maps the page of zeros if no key was.
    if unsafe { used.read() } == 0 {
        return;
    }
    for _ in 0..ROUNDS {
        // SAFETY: as above. Cleared first: a destructor that sets a key sets it again.
        unsafe { used.write(0) };
        for block in 0..KEY_BLOCKS {
            // SAFETY: `fs` is the caller's.
            let Some(entries) = (unsafe { key_block(libc, fs, block) }) else {
                continue;
            };
            for index in 0..KEYS_PER_BLOCK {
                // SAFETY: a block has that many entries; nobody else uses this goroutine's. A
                // destructor cannot free a block.
                let entry = unsafe { &mut *entries.add(index) };
                let data = core::mem::replace(&mut entry.data, null_mut());
                let sequence = entry.sequence;
                // SAFETY: libc's table has an entry for each key that a thread can have set.
                let key = unsafe { libc.keys.add(block * KEYS_PER_BLOCK + index).read() };
                // The key may have been deleted and created anew since it was set here.
                if let Some(destructor) = key.destructor
                    && !data.is_null()
                    && key.sequence == sequence
                {
                    // SAFETY: the user gave the destructor for the values of this key.
                    unsafe { destructor(data) };
                }
            }
        }
        // SAFETY: as above.
        if unsafe { used.read() } == 0 {
            break;
        }
    }
    for block in 1..KEY_BLOCKS {
        let pointer = (fs + libc.specific + block * 8) as *mut *mut c_void;
        // SAFETY: a block beyond the first is null or from libc's calloc, and the goroutine's alone.
        unsafe { libc::free(pointer.replace(null_mut())) };
    }
    // What is still set after four rounds is lost, as it is on a thread; the slot starts clean.
    // SAFETY: the first block lies in `struct pthread` right before the pointers.
    unsafe {
        let first = (fs + libc.specific - KEYS_PER_BLOCK * size_of::<KeyData>()) as *mut KeyData;
        for index in 0..KEYS_PER_BLOCK {
            if !(*first.add(index)).data.is_null() {
                (*first.add(index)).data = null_mut();
            }
        }
        used.write(0);
    }
}

/// The entries of a block of keys, if this goroutine has it.
///
/// # Safety
///
/// `fs` is the block of the goroutine that calls.
unsafe fn key_block(libc: &Glibc, fs: usize, block: usize) -> Option<*mut KeyData> {
    let entries = match block {
        0 => (fs + libc.specific - KEYS_PER_BLOCK * size_of::<KeyData>()) as *mut KeyData,
        // SAFETY: `specific` is an array of that many pointers in this `struct pthread`.
        _ => unsafe {
            ((fs + libc.specific) as *const *mut KeyData)
                .add(block)
                .read()
        },
    };
    (!entries.is_null()).then_some(entries)
}

/// libc allocates the message of a failed `dlopen` or `dlsym` per thread. Asking for it gives it
/// back: the first call returns the message, the second one frees it.
fn free_dlerror() {
    for _ in 0..2 {
        // SAFETY: no preconditions.
        if unsafe { libc::dlerror() }.is_null() {
            return;
        }
    }
}

//! The end of the thread that a goroutine is to libc, in libc's own order: destructors of
//! thread-locals, destructors of pthread keys, what libc keeps per thread, dynamic thread-locals.
//!
//! What is not freed: the buffer of `strerror_l` and `strsignal`, and the resolver's state. They lie
//! in a part of `struct pthread` that `reset` does not touch, and the next goroutine of the slot goes
//! on with them: one of each per slot, not per goroutine.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::glibc::{Glibc, KEY_BLOCKS, KEYS_PER_BLOCK, KeyData};
use super::{block, glibc};
use crate::stack::PAGE;

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
    // SAFETY: `fs` is the caller's.
    if unsafe { sets_no_key(libc, fs) } {
        return;
    }
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
        let first = (fs + libc.first_key()) as *mut KeyData;
        for index in 0..KEYS_PER_BLOCK {
            if !(*first.add(index)).data.is_null() {
                (*first.add(index)).data = null_mut();
            }
        }
        used.write(0);
    }
}

/// Whether the goroutine has certainly no value of any key, found without touching the second page of
/// its `struct pthread`. That one is untouched as a rule, and reading it is a page fault, the dearest
/// part of a parked goroutine's end (0.7 of 1.6 µs).
///
/// # Safety
///
/// `fs` is the block of the goroutine that calls.
unsafe fn sets_no_key(libc: &Glibc, fs: usize) -> bool {
    let made = keys_made(libc);
    let first = fs + libc.first_key();
    let end = first + made * size_of::<KeyData>();
    if made > KEYS_PER_BLOCK || (end - 1) / PAGE != fs / PAGE {
        return false;
    }
    let values = first as *const KeyData;
    // SAFETY: the values of the first keys, in the goroutine's own `struct pthread`.
    (0..made).all(|index| unsafe { (*values.add(index)).data.is_null() })
}

/// How many keys there were in this process, at most; those with lower numbers.
///
/// libc gives the lowest number that is free, and counts in the key's sequence each time that it gives
/// it: behind a key that was never given there are none that were. Whoever has set a key knows it from
/// `pthread_key_create`, so what that has written is seen here.
fn keys_made(libc: &Glibc) -> usize {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    const KEYS_MAX: usize = KEY_BLOCKS * KEYS_PER_BLOCK;
    let known = MADE.load(Relaxed);
    let mut made = known;
    let was_given = |key: usize| {
        // SAFETY: the table has KEYS_MAX entries. Volatile: libc changes it at any time.
        let sequence = unsafe { (&raw const (*libc.keys.add(key)).sequence).read_volatile() };
        sequence != 0
    };
    while made < KEYS_MAX && was_given(made) {
        made += 1;
    }
    if made != known {
        MADE.store(made, Relaxed);
    }
    made
}

/// The entries of a block of keys, if this goroutine has it.
///
/// # Safety
///
/// `fs` is the block of the goroutine that calls.
unsafe fn key_block(libc: &Glibc, fs: usize, block: usize) -> Option<*mut KeyData> {
    let entries = match block {
        0 => (fs + libc.first_key()) as *mut KeyData,
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

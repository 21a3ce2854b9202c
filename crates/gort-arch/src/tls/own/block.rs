//! Writing a goroutine's thread-local block, making it pristine again, and the words that cross into
//! it at each switch.
//!
//! Invariants:
//! * T1. The block of a slot is written in full the first time ([`write_fresh`]); from then on [`reset`]
//!   brings back whatever a goroutine may have changed. The DTV pointer of a block that nobody runs on says
//!   what it is: null, never written; with [`CLEAN`] set, a new thread's; else as its last goroutine left it.
//! * T2. Malloc's words are in one place at a time: in the block that runs on an M, or in the M's.
//!   Elsewhere they are stale, and overwritten before they are read.
//!
//! Malloc's words in the block of a goroutine that is not running are stale, not pristine: nobody
//! reads them (T2).

use core::ffi::c_void;
use core::ptr::{copy_nonoverlapping, null_mut};
use core::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering::*,
    compiler_fence, fence,
};

use super::glibc::Glibc;
use super::template::{DTV, DtvEntry, MALLOC_WORDS_MAX, Template};
use crate::context;
use crate::stack::{Slot, StackError, Why};

/// What every switch reads, in one cache line. Written once by [`set`], before the first goroutine.
#[repr(align(64))]
struct Hot {
    /// Offsets of malloc's words from FS. Two are copied without a branch, as glibc has had them since
    /// 2.26 (its cache and its arena). With fewer, an entry names a word that is the same in all
    /// blocks, the stack protector's canary, which a copy does not change.
    words: [AtomicIsize; MALLOC_WORDS_MAX],
    /// Bit 0: more than two words. Bit 1: write the M's thread id.
    unusual: AtomicU8,
    tid: AtomicUsize,
    /// Offset of the value of the first pthread key. For [`prefetch`] only.
    keys: AtomicUsize,
}

const MORE_WORDS: u8 = 1;
const THREAD_TID: u8 = 2;

/// The stack protector's canary in the thread control block, by the x86-64 ABI.
const CANARY: isize = 0x28;

static HOT: Hot = Hot {
    words: [const { AtomicIsize::new(CANARY) }; MALLOC_WORDS_MAX],
    unusual: AtomicU8::new(0),
    tid: AtomicUsize::new(0),
    keys: AtomicUsize::new(0),
};

/// The template in use, null before [`set`]. Replaced, never freed, when a library is loaded whose
/// thread-locals lie in the surplus.
static TEMPLATE: AtomicPtr<Template> = AtomicPtr::new(null_mut());

/// Whether who writes a block needs a fence of its own, see [`with_template`]. Written by [`set`].
static REAL_FENCES: AtomicBool = AtomicBool::new(true);

/// Offsets that [`reset`] needs, besides the template.
static LIST: AtomicUsize = AtomicUsize::new(0);

/// The id of the next block, see [`Tid::Unique`](crate::tls::Tid::Unique). Above the kernel's
/// highest `pid_max` (2^22), below the bits that a futex word keeps for itself (2^30).
///
/// Processes begin at different ones, as C's mutexes may be shared between them. Then one after the other,
/// around the end: so two processes meet with a chance of both their slots in 2^29, while ids drawn one by
/// one would meet sooner, also within a process.
static NEXT_TID: AtomicU32 = AtomicU32::new(0);
/// The first id, and how many there are.
const FIRST_TID: u32 = 1 << 29;

/// Where this process begins. From the kernel, as what libc and std know of chance (AT_RANDOM, the keys of hash
/// maps) is the same in processes that one forked.
///
/// Once is enough. In the child of a `fork` from a process that has goroutines there are no new ones, and
/// libc has the kernel write the child's own id to the block that it runs on.
fn random_tid() -> u32 {
    let mut number = 0_u32;
    let bytes = size_of_val(&number);
    let args = [
        (&raw mut number) as usize,
        bytes,
        libc::GRND_NONBLOCK as usize,
        0,
    ];
    // SAFETY: the kernel writes so many bytes to `number`.
    if unsafe { crate::sys::raw(libc::SYS_getrandom, args) } == bytes as isize {
        return number;
    }
    // A filter forbids it, or the machine has just booted: as far apart as processes are.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let now = now.map_or(0, |time| time.subsec_nanos());
    std::process::id().wrapping_mul(0x9e37_79b1) ^ now
}

/// Sets what the functions here work with. Before the first slot.
pub(super) fn set(template: Template, libc: &Glibc, thread_tid: bool) {
    for (hot, word) in HOT.words.iter().zip(&template.malloc_words) {
        hot.store(*word, Relaxed);
    }
    let more = if template.malloc_words.len() > 2 {
        MORE_WORDS
    } else {
        0
    };
    HOT.unusual
        .store(more | if thread_tid { THREAD_TID } else { 0 }, Relaxed);
    HOT.tid.store(libc.tid, Relaxed);
    HOT.keys.store(libc.first_key(), Relaxed);
    LIST.store(libc.list, Relaxed);
    NEXT_TID.store(random_tid(), Relaxed);
    REAL_FENCES.store(!membarrier(REGISTER_PRIVATE_EXPEDITED), Relaxed);
    replace(template);
}

/// Publishes a new template. The old one stays valid for readers, for good.
pub(super) fn replace(template: Template) {
    TEMPLATE.store(Box::into_raw(Box::new(template)), Release);
}

/// The template in use.
pub(super) fn template() -> &'static Template {
    // SAFETY: the pointer is null or from a `Box` that is never freed or changed.
    unsafe { TEMPLATE.load(Acquire).as_ref() }.expect("tls::init comes before the first slot")
}

/// From the kernel's `linux/membarrier.h`.
const PRIVATE_EXPEDITED: usize = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

fn membarrier(command: usize) -> bool {
    // SAFETY: takes a command, flags and a CPU number that these commands do not use.
    unsafe { crate::sys::raw(libc::SYS_membarrier, [command, 0, 0, 0]) == 0 }
}

/// After [`replace`], before values are written to slots: whoever is writing a block is either through, and seen,
/// or will find the new template, see [`with_template`].
pub(super) fn barrier() {
    fence(SeqCst);
    // Refused later than at the start only in a child of `fork`, which has one thread.
    if !REAL_FENCES.load(Relaxed) {
        membarrier(PRIVATE_EXPEDITED);
    }
}

/// Writes a block by the template, with `write`, which may be called again.
///
/// Meanwhile `loaded` may publish another template and write its new values into every slot, this one too, where
/// `write` would put the old ones over them. So look again behind the writing: whoever misses a new template there
/// has written before the [`barrier`] that follows it, which stands for a fence between writing and looking;
/// the new values are written behind that barrier, and to this slot, which was carved even earlier. Whoever does
/// not miss it writes again.
#[inline]
fn with_template(mut write: impl FnMut(&Template)) {
    let mut current = template();
    loop {
        write(current);
        if REAL_FENCES.load(Relaxed) {
            fence(SeqCst);
        } else {
            compiler_fence(SeqCst);
        }
        let now = template();
        if core::ptr::eq(now, current) {
            return;
        }
        current = now;
    }
}

/// In the DTV pointer, which is aligned to 16: the block has been reset and not been used since (T1).
const CLEAN: usize = 1;

/// Makes the block of a slot a new thread's (T1).
///
/// # Safety
///
/// As [`crate::tls::renew`].
#[inline]
pub(in crate::tls) unsafe fn renew(slot: Slot) -> Result<(), StackError> {
    let fs = slot.fs();
    let word = (fs + DTV) as *mut usize;
    // SAFETY: the word lies in the slot, which is the caller's.
    match unsafe { word.read() } {
        // SAFETY: the caller's contract is the same; and it was never written (T1).
        0 => unsafe { write_fresh(fs) }?,
        // SAFETY: as above for the word; what is left is the pointer.
        dtv if dtv & CLEAN != 0 => unsafe { word.write(dtv & !CLEAN) },
        // SAFETY: the caller's contract is the same; and it was written (T1).
        _ => unsafe { reset(fs) },
    }
    Ok(())
}

/// Resets the block of a goroutine that has just ended, so that [`renew`] has nothing left to do.
///
/// # Safety
///
/// As [`crate::tls::clean`].
#[inline]
pub(in crate::tls) unsafe fn clean(slot: Slot) {
    let fs = slot.fs();
    let word = (fs + DTV) as *mut usize;
    // SAFETY: the caller's contract covers `reset`; a goroutine ran here, so the block was written. The
    // word lies in the slot, which is the caller's.
    unsafe {
        reset(fs);
        word.write(word.read() | CLEAN);
    }
}

/// Writes the block of a slot that was never used.
///
/// # Safety
///
/// The slot of that FS is the caller's alone, and all zero but for what `loaded` has written.
#[cold]
unsafe fn write_fresh(fs: usize) -> Result<(), StackError> {
    // The same in every template.
    let len = template().dtv.len();
    // libc's own: `_dl_resize_dtv` gives it to `realloc`.
    // SAFETY: no preconditions.
    let raw = unsafe { libc::calloc(len + 1, size_of::<[usize; 2]>()) }.cast::<[usize; 2]>();
    if raw.is_null() {
        return Err(StackError(Why::NoHeap));
    }
    with_template(|template| {
        let words = (fs - template.below) as *mut usize;
        // SAFETY: `stack` placed FS so that `below` bytes under it and `cut` above it lie in the slot above
        // its stack (S4), which is the caller's; both are aligned to 8. `raw` has `len + 1` entries, the
        // first for the length.
        unsafe {
            copy_nonoverlapping(template.words.as_ptr(), words, template.words.len());
            for index in &template.relative {
                *words.add(*index as usize) += fs;
            }
            write_dtv(template, raw.add(1), fs);
        }
    });
    // SAFETY: as above; the two words are the block's own, and the template's has neither.
    unsafe {
        (*raw)[0] = len - 1;
        ((fs + DTV) as *mut *mut [usize; 2]).write(raw.add(1));
        if HOT.unusual.load(Relaxed) & THREAD_TID == 0 {
            let tid = NEXT_TID.fetch_add(1, Relaxed);
            // Half a billion slots, all ids, need more memory than a machine has.
            ((fs + HOT.tid.load(Relaxed)) as *mut u32).write(FIRST_TID | (tid % FIRST_TID));
        }
    }
    Ok(())
}

/// Makes the block of a dead goroutine look like a new thread's again (T1).
///
/// # Safety
///
/// As [`crate::tls::renew`]; and the block was written before.
unsafe fn reset(fs: usize) {
    let (list, tid) = (LIST.load(Relaxed), HOT.tid.load(Relaxed));
    // SAFETY: a word of the block, which is the caller's.
    let own_tid = unsafe { ((fs + tid) as *const u32).read() };
    with_template(|template| {
        let words = (fs - template.below) as *mut usize;
        // Below FS everything; above it only from the list of threads on. What lies between is set by
        // nobody but the loader and the switch: self pointers, canary, DTV.
        let (low, high) = (template.below / 8, (template.below + list) / 8);
        // SAFETY: the block is the caller's (see `crate::tls::renew`), and was written by `write_fresh`
        // with the same layout. The template's words cover it.
        unsafe {
            copy_nonoverlapping(template.words.as_ptr(), words, low);
            let rest = template.words.len() - high;
            copy_nonoverlapping(template.words.as_ptr().add(high), words.add(high), rest);
            for index in template.relative.iter().map(|index| *index as usize) {
                if index < low || index >= high {
                    *words.add(index) += fs;
                }
            }
            let dtv = ((fs + DTV) as *const *mut [usize; 2]).read();
            let len = (*dtv.sub(1))[0];
            write_dtv(template, dtv, fs);
            for index in template.dtv.len()..=len {
                *dtv.add(index) = [usize::MAX, 0]; // "not allocated yet", TLS_DTV_UNALLOCATED
            }
        }
    });
    if HOT.unusual.load(Relaxed) & THREAD_TID == 0 {
        // SAFETY: the word read above.
        unsafe { ((fs + tid) as *mut u32).write(own_tid) };
    }
}

/// Writes the entries of the template's DTV.
///
/// # Safety
///
/// `dtv` has at least as many entries, and is the caller's.
unsafe fn write_dtv(template: &Template, dtv: *mut [usize; 2], fs: usize) {
    for (index, entry) in template.dtv.iter().enumerate() {
        let value = match entry {
            DtvEntry::Value(value) => *value,
            DtvEntry::Below(below) => fs - below,
        };
        // SAFETY: `index` is below the length that the caller vouches for.
        unsafe { *dtv.add(index) = [value, 0] };
    }
}

/// Has the processor fetch what is touched of a block when its goroutine goes on, and ends: the head of the control block,
/// malloc's words, what the destructors look at. A hint, whatever `fs` is.
pub(in crate::tls) fn prefetch(fs: usize) {
    context::prefetch_line(fs);
    for word in &HOT.words[..2] {
        context::prefetch_line(fs.wrapping_add_signed(word.load(Relaxed)));
    }
    context::prefetch_line(fs.wrapping_add(HOT.keys.load(Relaxed)));
}

/// Malloc's words from one block to another, and the M's thread id if that is wanted.
///
/// # Safety
///
/// `from` and `to` are FS bases of complete blocks; `from` has malloc's words (T2), and nobody runs
/// on `to`.
#[inline(always)]
pub(in crate::tls) unsafe fn lend(from: usize, to: usize, tid: u32) {
    // SAFETY: the caller's contract covers `move_words` and, as `to` is nobody's, its thread id.
    unsafe {
        move_words(from, to);
        let unusual = HOT.unusual.load(Relaxed);
        if unusual != 0 {
            lend_unusual(from, to, tid, unusual);
        }
    }
}

/// Malloc's words from a block back to the M's.
///
/// # Safety
///
/// As [`lend`].
#[inline(always)]
pub(in crate::tls) unsafe fn take_back(from: usize, to: usize) {
    // SAFETY: the caller's contract is that of the calls.
    unsafe {
        move_words(from, to);
        if HOT.unusual.load(Relaxed) & MORE_WORDS != 0 {
            lend_unusual(from, to, 0, MORE_WORDS);
        }
    }
}

/// # Safety
///
/// As [`lend`].
#[inline(always)]
unsafe fn move_words(from: usize, to: usize) {
    // SAFETY: the offsets are those of words in every complete block, and aligned to 8.
    unsafe { move_word(from, to, &HOT.words[0]) };
    // SAFETY: as above.
    unsafe { move_word(from, to, &HOT.words[1]) };
}

/// # Safety
///
/// As [`lend`].
#[inline(always)]
unsafe fn move_word(from: usize, to: usize, offset: &AtomicIsize) {
    let offset = offset.load(Relaxed);
    let from = from.wrapping_add_signed(offset) as *const usize;
    let to = to.wrapping_add_signed(offset) as *mut usize;
    // SAFETY: the caller vouches for the blocks. Volatile: to the compiler these are thread-locals of
    // code that runs at another FS base, which it must not reorder with a switch.
    unsafe { to.write_volatile(from.read_volatile()) };
}

/// The rare part of [`lend`].
///
/// # Safety
///
/// As [`lend`].
#[cold]
#[inline(never)]
unsafe fn lend_unusual(from: usize, to: usize, tid: u32, unusual: u8) {
    if unusual & MORE_WORDS != 0 {
        for word in &HOT.words[2..] {
            // SAFETY: as in `move_words`; unused entries name the canary.
            unsafe { move_word(from, to, word) };
        }
    }
    if unusual & THREAD_TID != 0 {
        let to = (to + HOT.tid.load(Relaxed)) as *mut u32;
        // SAFETY: a 32-bit word of the block's `struct pthread`.
        unsafe { to.write_volatile(tid) };
    }
}

/// Frees thread-locals of the running goroutine that libc allocated when they were first used, as
/// libc does at a thread's end.
///
/// # Safety
///
/// Called on the goroutine, when none of its code uses them any more.
pub(super) unsafe fn free_dynamic(fs: usize) {
    // SAFETY: FS+8 is the DTV's address; its length is in the entry before it; entry 0 is the
    // generation. `to_free` is null or a block from libc's malloc that nobody else knows.
    unsafe {
        let dtv = ((fs + DTV) as *const *mut [usize; 2]).read();
        let len = (*dtv.sub(1))[0];
        for index in 1..=len {
            let [_, to_free] = *dtv.add(index);
            if to_free != 0 {
                *dtv.add(index) = [usize::MAX, 0];
                libc::free(to_free as *mut c_void);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{self, Class};
    use crate::tls::{Mode, Request};

    /// A publish in the middle of the copy, which writes its values before the copy goes on.
    #[test]
    fn a_template_that_comes_while_a_block_is_written_is_used() {
        let support = crate::tls::init(Request::Own);
        assert_eq!(support.mode, Mode::Own, "{}", support.reason);
        let mut changed = template().clone();
        changed.words[0] = !changed.words[0];
        let mut changed = Some(changed);
        let mut written = Vec::new();
        with_template(|template| {
            let word = template.words[0];
            if let Some(changed) = changed.take() {
                replace(changed);
                barrier();
            }
            written.push(word);
        });
        assert_eq!(written.len(), 2);
        assert_eq!(written[1], !written[0]);
        // What both ways of writing leave is the template's, also one that came later.
        let class = Class::for_size(64 << 10).expect("a class");
        let slot = stack::allocate(class).expect("a slot");
        let word = (slot.fs() - template().below) as *mut usize;
        // SAFETY: the first word of the slot's block, which is ours.
        unsafe {
            assert_eq!(word.read(), written[1]);
            word.write(0x55);
            renew(slot).expect("written before");
            assert_eq!(word.read(), written[1]);
            word.write(0x55);
            clean(slot);
            assert_eq!(word.read(), written[1]);
            renew(slot).expect("written before");
        }
        stack::release_batch(&[slot]);
    }
}

//! The touch of a page that was put away: the part of the handler of SIGBUS and SIGSEGV that puts it back.
//!
//! It may run on any thread and under any lock, so it waits for nobody but who has made the slot's word BUSY, the
//! keeper or another handler, neither of which waits for anybody (`gort_queue::sleep_word`). So no signal stops it
//! halfway: a goroutine that was preempted here would wait for a P that may be held by who waits for it.
//!
//! In the child of a fork there is nobody else. Another thread of the parent's may have been putting pages back:
//! then its record is in the word still, and what is not back yet is put back here.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use gort_arch::hibernate as arch;
use gort_arch::hibernate::{PAGE_BYTES, Page};
use gort_arch::stack;
use gort_queue::sleep_word::{SleepWord, Touched};

use super::record::{Record, retire};
use super::{AWAY, counters, is_started};
use crate::clock::NEVER;
use crate::fork;
use crate::os::{futex, signal};

/// `si_code` of what a mark gives, on a kernel that knows of failing memory and on one that does not.
const BUS_MCEERR_AR: c_int = 4;
const BUS_ADRERR: c_int = 2;
/// And of what protected memory gives.
const SEGV_ACCERR: c_int = 2;
/// After so many looks at a page that cannot be read, of a goroutine that is awake, the fault is another one.
const LOOKS_MAX: u32 = 1_000;

/// Whether the fault at `address` was a touch of pages that were put away, and they are there now: then the
/// instruction is to be tried again. Async-signal-safe.
pub(crate) fn resolve(signo: c_int, code: c_int, address: usize, is_fetch: bool) -> bool {
    let is_of_ours = matches!(
        (signo, code),
        (libc::SIGBUS, BUS_MCEERR_AR | BUS_ADRERR) | (libc::SIGSEGV, SEGV_ACCERR)
    );
    // Code is never run from a stack: that is somebody's bug, and comes again and again.
    if !is_of_ours || is_fetch {
        return false;
    }
    let Some(slot) = stack::find(address).filter(|slot| !slot.guard().contains(&address)) else {
        return false;
    };
    let Some(word) = arch::word(slot) else {
        return false;
    };
    let word = SleepWord::from_atomic(word);
    let _alone = signal::blocked();
    for _ in 0..LOOKS_MAX {
        bring_back(word);
        // It may be away again, or just be frozen.
        if arch::is_readable(address) {
            return true;
        }
    }
    false
}

/// Sees to it that the pages are there, or were a moment ago. With all signals blocked.
fn bring_back(word: &SleepWord) {
    loop {
        let touched = if fork::is_forked() {
            word.touch_alone()
        } else {
            word.touch()
        };
        match touched {
            Touched::Awake => return,
            Touched::Wait(value) => {
                futex::wait(word.futex(), value, NEVER);
            }
            Touched::Fetch(address) => {
                // SAFETY: what the keeper has put into the word, and given to us alone (W1).
                let record = unsafe { Record::at(address) };
                // SAFETY: as above.
                unsafe { put_back(record) };
                if word.finish() {
                    futex::wake(word.futex(), u32::MAX >> 1);
                }
                super::ask_for_sysmon();
                AWAY.fetch_sub(1, Ordering::Relaxed);
                counters::BYTES.fetch_sub(record.bytes(), Ordering::Relaxed);
                // SAFETY: ours, and its pages are there.
                unsafe { retire(record) };
                return;
            }
        }
    }
}

/// Copies words from `address` on, aligned, as far as there are some in the same slot, if that is put away: and leaves it so.
/// Says how many. Async-signal-safe.
pub(crate) fn peek(address: usize, words: &[AtomicUsize]) -> usize {
    if !is_started() {
        return 0;
    }
    let word = stack::find(address).and_then(arch::word);
    let Some(word) = word.map(SleepWord::from_atomic) else {
        return 0;
    };
    if !word.is_away() {
        return 0;
    }
    let _alone = signal::blocked();
    let Touched::Fetch(record) = word.touch() else {
        return 0;
    };
    // SAFETY: as in `bring_back`.
    let count = copy(unsafe { Record::at(record) }, address, words);
    if word.put_away(record) {
        futex::wake(word.futex(), u32::MAX >> 1);
    }
    count
}

fn copy(record: Record, address: usize, words: &[AtomicUsize]) -> usize {
    let end = address + size_of_val(words);
    for word in words {
        // What is in no page of the record is zero.
        word.store(0, Ordering::Relaxed);
    }
    let result = with_scratch(|page| {
        record.each_page(page, |at, contents| {
            let shared = address.max(at)..end.min(at + PAGE_BYTES);
            for place in shared.step_by(size_of::<usize>()) {
                let bytes = &contents[place - at..][..size_of::<usize>()];
                let value = usize::from_ne_bytes(bytes.try_into().expect("a word"));
                words[(place - address) / size_of::<usize>()].store(value, Ordering::Relaxed);
            }
            Ok::<(), ()>(())
        })
    });
    debug_assert_eq!(result, Ok(()));
    words.len()
}

/// Pages for contents on their way: a handler's stack may be too short for one.
static SCRATCH: [Scratch; u32::BITS as usize] =
    [const { Scratch(UnsafeCell::new([0; PAGE_BYTES])) }; u32::BITS as usize];
/// A bit for each that is in use.
static SCRATCH_TAKEN: AtomicU32 = AtomicU32::new(0);

struct Scratch(UnsafeCell<Page>);
// SAFETY: used by who has set its bit.
unsafe impl Sync for Scratch {}

fn with_scratch<R>(f: impl FnOnce(&mut Page) -> R) -> R {
    let mut taken = SCRATCH_TAKEN.load(Ordering::Relaxed);
    let index = loop {
        let index = (!taken).trailing_zeros();
        if index == u32::BITS {
            // Who has one waits for nobody.
            std::thread::yield_now();
            taken = SCRATCH_TAKEN.load(Ordering::Relaxed);
            continue;
        }
        match SCRATCH_TAKEN.compare_exchange_weak(
            taken,
            taken | 1 << index,
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => break index,
            Err(now) => taken = now,
        }
    };
    // SAFETY: its bit is ours until we clear it.
    let result = f(unsafe { &mut *SCRATCH[index as usize].0.get() });
    SCRATCH_TAKEN.fetch_and(!(1 << index), Ordering::Release);
    result
}

/// Puts the pages of a record where they were.
///
/// # Safety
///
/// They were taken away for it, and nobody else puts them back.
pub(super) unsafe fn put_back(record: Record) {
    let is_forked = fork::is_forked();
    let result = with_scratch(|page| {
        record.each_page(page, |address, contents| {
            if is_forked && arch::is_readable(address) {
                return Ok(()); // The parent's thread has come so far.
            }
            // SAFETY: the page is gone, nobody else puts it back (the caller's word), and these are its contents.
            unsafe { arch::put_back(address, contents, is_forked) }
        })
    });
    if let Err(errno) = result {
        let error = std::io::Error::from_raw_os_error(errno);
        fatal!("the stack of a goroutine that hibernates cannot be put back: {error}");
    }
}

//! Whether the memory of a parked stack is there, or put away in a record: one word for each slot.
//!
//! The *keeper*, one thread, copies what a parked goroutine needs into a record and takes its pages away. Others
//! may touch these pages at any moment: whoever wakes the goroutine or runs it on, whoever has borrowed from it.
//! The touch is a fault, and its handler asks this word.
//!
//! | from         | to           | by                               | then                                              |
//! |--------------|--------------|----------------------------------|---------------------------------------------------|
//! | AWAKE        | BUSY         | the keeper (`try_begin`)         | the pages are its own, to copy and take away      |
//! | BUSY         | record       | the keeper (`put_away`)          | the pages are gone; the record has their contents |
//! | BUSY         | AWAKE        | the keeper (`finish`)            | it has thought better of it                       |
//! | record       | record, BUSY | who touches them first (`touch`) | the record is its own, to put the pages back      |
//! | record, BUSY | AWAKE        | the same (`finish`)              | the pages are there                               |
//! | record, BUSY | record       | the same (`put_away`)            | it has only looked into the record                |
//! | .. BUSY      | .. WAITED    | who touches them meanwhile       | it sleeps on the word                             |
//! | .. WAITED    | as from BUSY | as from BUSY                     | and all who sleep on the word are woken           |
//!
//! BUSY and WAITED are bits; the address of a record is a multiple of 8. Who puts pages back leaves it in the word
//! for the child of a fork, in which that thread does not exist (`touch_alone`).
//!
//! W1. Only who has made the word BUSY ends that. So pages are taken away by one, put back by one, and not by both
//!     at once; and a record is given out once.
//! W2. Who finds AWAKE has nothing to do but try again: the pages were put back, or not taken, after its fault. (Or
//!     the fault has another cause; the handler has to tell.)
//! W3. Who waits has made the word WAITED before it sleeps, and the kernel lets nobody sleep on a word that is
//!     not. So it is seen by who ends BUSY, or does not sleep.
//!
//! Orderings: each change is AcqRel. What the keeper wrote into the record comes before `put_away`, and its reader's
//! `touch` acquires it. Of the pages themselves no ordering is asked: contents that were put back are the kernel's
//! page table's to show.
//!
//! The keeper never waits for anybody while a word is BUSY by it, and no handler that puts pages back does: so who
//! waits, with whatever locks, is never waited for.
//!
//! Elsewhere: pages (`gort_arch::hibernate`); records, who is put away and when, the handler
//! (`gort_core::hibernate`). Checked by the test below and `tests/loom_sleep_word.rs`.

use crate::facade::{AtomicUsize, Ordering, const_unless_loom};
use std::fmt;
use std::num::NonZeroUsize;

const AWAKE: usize = 0;
/// Bit 0: pages are being taken away or put back.
const BUSY: usize = 1;
/// Bit 1, beside BUSY: somebody sleeps on the word.
const WAITED: usize = 2;
/// The rest: the address of a record.
const MARKS: usize = 7;

/// See the [module header](self). All zero bytes are the word of a slot whose pages are there.
#[repr(transparent)]
pub struct SleepWord(AtomicUsize);

/// What is to be done by who has touched a page that was not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a record that was given out is nobody else's to put back"]
pub enum Touched {
    /// The pages are there.
    Awake,
    /// Put the pages back from this record, then `finish`.
    Fetch(NonZeroUsize),
    /// Sleep while the [`futex`](SleepWord::futex) of the word is that, then ask again.
    Wait(u32),
}

impl SleepWord {
    const_unless_loom! {
        /// The pages are there.
        pub fn new() -> Self {
            Self(AtomicUsize::new(AWAKE))
        }
    }

    /// The keeper: the pages are its own from here on. False: they are put away already, or are just being put back.
    #[must_use = "pages of another's must not be touched"]
    pub fn try_begin(&self) -> bool {
        self.0
            .compare_exchange(AWAKE, BUSY, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The keeper, after `try_begin`: the pages are gone. Or who got the record by `touch` and has only looked into it. True: wake
    /// all who sleep on the word.
    ///
    /// # Panics
    ///
    /// `record` is no address of a record.
    #[must_use = "who sleeps on the word is woken by nobody else"]
    pub fn put_away(&self, record: NonZeroUsize) -> bool {
        assert!(record.get() & MARKS == 0, "record {record:#x}");
        self.end(record.get())
    }

    /// After `try_begin` or a `touch` that gave a record out: the pages are there. True: wake all who sleep on the word.
    #[must_use = "who sleeps on the word is woken by nobody else"]
    pub fn finish(&self) -> bool {
        self.end(AWAKE)
    }

    fn end(&self, next: usize) -> bool {
        if cfg!(gort_fault = "sleep_word_end") {
            // The fault that loom must find: who comes to sleep between the look and the change is not seen.
            let was = self.0.load(Ordering::Acquire);
            self.0.store(next, Ordering::Release);
            return was & WAITED != 0;
        }
        let was = self.0.swap(next, Ordering::AcqRel);
        debug_assert!(was & BUSY != 0, "{was:#x}");
        was & WAITED != 0
    }

    /// Whoever has touched a page that was not there.
    pub fn touch(&self) -> Touched {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let next = match word {
                AWAKE => return Touched::Awake,
                _ if word & WAITED != 0 => return Touched::Wait(word as u32),
                _ if word & BUSY != 0 => word | WAITED,
                _ => word | BUSY,
            };
            let changed = self
                .0
                .compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire);
            match (changed, NonZeroUsize::new(word)) {
                (Err(now), _) => word = now,
                (Ok(_), Some(record)) if word & BUSY == 0 => return Touched::Fetch(record),
                (Ok(_), _) => return Touched::Wait(next as u32),
            }
        }
    }

    /// As [`touch`](Self::touch), in the child of a fork, which has one thread: whatever pages are not there, that
    /// thread has to put back. The keeper must not have been at it.
    pub fn touch_alone(&self) -> Touched {
        let word = self.0.load(Ordering::Acquire);
        match NonZeroUsize::new(word & !MARKS) {
            None => Touched::Awake,
            Some(record) => {
                self.0.store(record.get() | BUSY, Ordering::Relaxed);
                Touched::Fetch(record)
            }
        }
    }

    /// Whether the pages are put away, or were a moment ago.
    pub fn is_away(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !MARKS != 0
    }
}

#[cfg(not(loom))]
impl SleepWord {
    /// The word that lies there.
    pub fn from_atomic(word: &std::sync::atomic::AtomicUsize) -> &SleepWord {
        // SAFETY: transparent.
        unsafe { &*std::ptr::from_ref(word).cast() }
    }

    /// The half of the word that the kernel looks at: it has the marks.
    pub fn futex(&self) -> &std::sync::atomic::AtomicU32 {
        let low = if cfg!(target_endian = "little") {
            0
        } else {
            size_of::<usize>() / 4 - 1
        };
        let halves = self.0.as_ptr().cast::<u32>();
        // SAFETY: a part of the word, aligned to 4, which is used atomically only; mixed sizes are the kernel's and
        // the processor's business, as this half is not read in Rust.
        unsafe { std::sync::atomic::AtomicU32::from_ptr(halves.add(low)) }
    }
}

#[cfg(loom)]
impl SleepWord {
    /// What the kernel does before it lets somebody sleep.
    pub fn is_still(&self, value: u32) -> bool {
        self.0.load(Ordering::SeqCst) as u32 == value
    }
}

impl Default for SleepWord {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SleepWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            AWAKE => f.write_str("Awake"),
            word if word & BUSY != 0 => f.write_str("Busy"),
            record => write!(f, "Away({record:#x})"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn record(address: usize) -> NonZeroUsize {
        NonZeroUsize::new(address).unwrap()
    }

    #[test]
    fn each_way_through_the_table() {
        let word = SleepWord::new();
        assert_eq!(word.touch(), Touched::Awake);
        assert!(word.try_begin());
        assert!(!word.try_begin());
        assert!(!word.finish());
        assert!(word.try_begin());
        assert_eq!(word.touch(), Touched::Wait(3));
        assert_eq!(word.touch(), Touched::Wait(3));
        assert!(!word.is_away());
        assert!(word.put_away(record(64)));
        assert!(word.is_away());
        assert!(!word.try_begin());
        assert_eq!(word.touch(), Touched::Fetch(record(64)));
        assert!(!word.try_begin());
        assert_eq!(word.touch(), Touched::Wait(64 + 3));
        assert!(word.finish());
        assert_eq!(word.touch(), Touched::Awake);
        assert!(word.try_begin());
        assert!(!word.put_away(record(8)));
        assert_eq!(word.touch(), Touched::Fetch(record(8)));
        assert!(!word.finish());
    }

    #[test]
    #[should_panic(expected = "record 0x3")]
    fn a_mark_is_no_record() {
        let word = SleepWord::new();
        assert!(word.try_begin());
        let _ = word.put_away(record(3));
    }

    #[test]
    fn the_kernel_compares_the_half_with_the_marks() {
        let word = SleepWord::new();
        assert!(word.try_begin());
        let waits = word.touch();
        let half = word.futex().load(Ordering::Relaxed);
        assert_eq!(waits, Touched::Wait(half));
    }

    #[test]
    fn a_forks_child_takes_over_what_another_thread_was_putting_back() {
        let word = SleepWord::new();
        assert_eq!(word.touch_alone(), Touched::Awake);
        assert!(word.try_begin());
        assert!(!word.put_away(record(64)));
        assert_eq!(word.touch(), Touched::Fetch(record(64)));
        assert_eq!(word.touch(), Touched::Wait(64 + 3));
        assert_eq!(word.touch_alone(), Touched::Fetch(record(64)));
        assert!(!word.finish());
        assert_eq!(word.touch_alone(), Touched::Awake);
    }
}

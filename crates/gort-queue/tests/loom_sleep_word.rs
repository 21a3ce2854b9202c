//! Models of the sleep word: pages are taken away and put back by one at a time, and nobody sleeps on a word that
//! has changed.
//!
//! The pages are a loom cell: to take them away or to put them back is to write to it, to find them there is to
//! read it. The futex is a lock and a condition, under which the word is compared, as the kernel does.

#![cfg(loom)]

mod model;

use std::num::NonZeroUsize;

use gort_queue::sleep_word::{SleepWord, Touched};
use loom::{
    cell::UnsafeCell,
    sync::{Condvar, Mutex},
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::sync::Arc;

const RECORD: NonZeroUsize = NonZeroUsize::new(64).unwrap();

struct Slot {
    word: SleepWord,
    /// What the goroutine has there; 0 while it is away.
    pages: UnsafeCell<u32>,
    record: UnsafeCell<u32>,
    kernel: Mutex<()>,
    sleepers: Condvar,
}

// SAFETY: loom's cells check every access, which is what the models are for.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    fn new() -> Arc<Slot> {
        Arc::new(Slot {
            word: SleepWord::new(),
            pages: UnsafeCell::new(7),
            record: UnsafeCell::new(0),
            kernel: Mutex::new(()),
            sleepers: Condvar::new(),
        })
    }

    fn wake(&self, is_waited: bool) {
        if is_waited {
            let _kernel = self.kernel.lock().unwrap();
            self.sleepers.notify_all();
        }
    }

    /// Loom reports a sleep that nobody ends as a deadlock.
    fn wait(&self, value: u32) {
        let kernel = self.kernel.lock().unwrap();
        if self.word.is_still(value) {
            drop(self.sleepers.wait(kernel).unwrap());
        }
    }

    /// The keeper.
    fn put_away(&self) {
        if !self.word.try_begin() {
            return;
        }
        // SAFETY: nothing else gives out pointers into the cells; that no two are used at once is what loom checks.
        let contents = self.pages.with_mut(|pages| unsafe { pages.replace(0) });
        assert_eq!(contents, 7);
        // SAFETY: as above.
        self.record.with_mut(|record| unsafe { *record = contents });
        self.wake(self.word.put_away(RECORD));
    }

    /// A handler, until the pages are there.
    fn touch(&self) {
        loop {
            match self.word.touch() {
                Touched::Awake => return,
                Touched::Fetch(record) => {
                    assert_eq!(record, RECORD);
                    // SAFETY: as above.
                    let contents = self.record.with_mut(|record| unsafe { record.replace(0) });
                    assert_eq!(contents, 7);
                    // SAFETY: as above.
                    self.pages.with_mut(|pages| unsafe { *pages = contents });
                    self.wake(self.word.finish());
                    return;
                }
                Touched::Wait(value) => self.wait(value),
            }
        }
    }
}

#[test]
fn what_was_put_away_comes_back_whole_and_once() {
    model(|| {
        let slot = Slot::new();
        let keeper = {
            let slot = slot.clone();
            thread::spawn(move || slot.put_away())
        };
        let toucher = {
            let slot = slot.clone();
            thread::spawn(move || slot.touch())
        };
        slot.touch();
        keeper.join().unwrap();
        toucher.join().unwrap();
        // It may have been put away after the touches.
        slot.touch();
        // SAFETY: nobody else is left.
        slot.pages.with(|pages| assert_eq!(unsafe { *pages }, 7));
    });
}

#[test]
fn who_only_looks_gives_the_record_back() {
    model(|| {
        let slot = Slot::new();
        slot.put_away();
        let looker = {
            let slot = slot.clone();
            thread::spawn(move || {
                if let Touched::Fetch(record) = slot.word.touch() {
                    // SAFETY: nothing else gives out pointers into the cell; that nobody writes to it is what loom checks.
                    slot.record.with(|record| assert_eq!(unsafe { *record }, 7));
                    slot.wake(slot.word.put_away(record));
                }
            })
        };
        slot.touch();
        looker.join().unwrap();
        // SAFETY: nobody else is left.
        slot.pages.with(|pages| assert_eq!(unsafe { *pages }, 7));
    });
}

#[test]
fn a_keeper_that_calls_it_off_wakes_who_waits() {
    model(|| {
        let slot = Slot::new();
        let keeper = {
            let slot = slot.clone();
            thread::spawn(move || {
                assert!(slot.word.try_begin());
                slot.wake(slot.word.finish());
                slot.put_away();
            })
        };
        slot.touch();
        keeper.join().unwrap();
        slot.touch();
    });
}

//! A std mutex that is held while its goroutine is preempted; all others wait in the kernel for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Done;
use crate::mark::{Site, during};

/// Numbers that are equal whenever nobody has the lock.
#[derive(Debug)]
pub(crate) struct Shared {
    cells: Mutex<[u64; 512]>,
    sections: AtomicU64,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            cells: Mutex::new([0; 512]),
            sections: AtomicU64::new(0),
        }
    }
}

/// Additions to each number under one lock: long enough to be stopped in.
const ROUNDS: u64 = 64;

impl Shared {
    /// Takes the lock again and again until enough has happened; gives how often.
    pub(crate) fn work(&self, done: &Done) -> u64 {
        let mut sections = 0;
        while !done.is_set() {
            let mut cells = self.cells.lock().expect("nobody has panicked with it");
            during(Site::StdLock, || {
                let first = cells[0];
                assert!(
                    cells.iter().all(|cell| *cell == first),
                    "somebody else was in"
                );
                for _ in 0..ROUNDS {
                    for cell in cells.iter_mut() {
                        *cell = std::hint::black_box(*cell + 1);
                    }
                }
            });
            drop(cells);
            sections += 1;
        }
        self.sections.fetch_add(sections, Ordering::Relaxed);
        sections
    }

    /// # Panics
    ///
    /// If an addition was lost.
    pub(crate) fn check(&self) {
        let cells = self.cells.lock().expect("nobody has panicked with it");
        let expected = self.sections.load(Ordering::Relaxed) * ROUNDS;
        assert!(cells.iter().all(|cell| *cell == expected), "additions lost");
    }
}

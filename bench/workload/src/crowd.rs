//! Counting those of [`Workload::Parked`](crate::Workload::Parked).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sum_below;

/// What a crowd shares whose members park and are woken. A twin's members have one handle to all they share,
/// as Go's refer to the variables of the function around them.
#[derive(Debug)]
pub struct Crowd {
    n: u64,
    arrived: AtomicU64,
    woken: AtomicU64,
    sum: AtomicU64,
}

impl Crowd {
    /// None of `n` is there yet.
    pub fn new(n: u64) -> Crowd {
        Crowd {
            n,
            arrived: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one that is about to park. True: it is the last.
    pub fn arrive(&self) -> bool {
        self.arrived.fetch_add(1, Ordering::Relaxed) + 1 == self.n
    }

    /// Counts number `i` of them, which was woken. True: it is the last.
    pub fn go_on(&self, i: u64) -> bool {
        self.sum.fetch_add(i, Ordering::Relaxed);
        self.woken.fetch_add(1, Ordering::AcqRel) + 1 == self.n
    }

    /// # Panics
    ///
    /// If not each of them went on once.
    pub fn check(&self) {
        assert_eq!(self.sum.load(Ordering::Relaxed), sum_below(self.n));
    }
}

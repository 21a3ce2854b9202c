//! C code that computes for some tenths of a millisecond and calls nobody.

use std::sync::Arc;

use gort_test_support::Random;

use super::Done;
use crate::mark::{Site, during};

unsafe extern "C" {
    safe fn preempt_foreign(seed: u64, rounds: u32) -> u64;
}

const SEEDS: u64 = 16;
const ROUNDS: u32 = 30_000;

/// The results, from a thread that nobody stops.
#[derive(Clone, Debug)]
pub(crate) struct Expected(Arc<[u64]>);

impl Expected {
    pub(crate) fn compute() -> Expected {
        let results = (0..SEEDS).map(|seed| preempt_foreign(seed, ROUNDS));
        Expected(results.collect())
    }

    /// Computes the same until enough has happened; gives how often.
    pub(crate) fn work(&self, done: &Done, mut random: Random) -> u64 {
        let mut operations = 0;
        while !done.is_set() {
            let seed = random.below(SEEDS);
            let result = during(Site::Foreign, || preempt_foreign(seed, ROUNDS));
            assert_eq!(result, self.0[seed as usize], "a register was lost");
            operations += 1;
        }
        operations
    }
}

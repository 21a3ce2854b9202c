//! Join handles in every way: joined, joined with a timeout that may be too short, awaited, dropped
//! before or after the end.

use std::time::Duration;

use gort_test_support::Random;

use crate::progress;

pub(super) fn round(random: &mut Random) -> u64 {
    let count = 20 + random.below(200);
    for i in 0..count {
        let mut own = random.fork();
        let handle = gort::go(move || {
            for _ in 0..own.below(50) {
                gort::yield_now();
            }
            // Large enough not to fit into the descriptor, so that a lost box would show.
            vec![i; 3]
        });
        match random.below(5) {
            0 => drop(handle),
            1 => assert_eq!(gort::block_on(handle).unwrap(), [i; 3]),
            2 => {
                while !handle.is_finished() {
                    gort::yield_now();
                }
                drop(handle);
            }
            3 => {
                let mut handle = handle;
                loop {
                    match handle.join_timeout(Duration::from_micros(random.below(50))) {
                        Ok(result) => {
                            assert_eq!(result.unwrap(), [i; 3]);
                            break;
                        }
                        Err(back) => handle = back,
                    }
                }
            }
            _ => assert_eq!(handle.join().unwrap(), [i; 3]),
        }
        progress();
    }
    count
}

//! Mutexes, read-write locks, condition variables and wait groups under contention, from goroutines
//! and plain threads.

use std::sync::Arc;

use gort::sync::{Condvar, Mutex, RwLock, WaitGroup};
use gort_test_support::Random;

use crate::progress;

struct Shared {
    sum: Mutex<u64>,
    pair: RwLock<(u64, u64)>,
    turn: Mutex<u64>,
    changed: Condvar,
}

pub(super) fn round(random: &mut Random) -> u64 {
    let workers = 2 + random.below(8);
    let steps = 50 + random.below(500);
    let shared = Arc::new(Shared {
        sum: Mutex::new(0),
        pair: RwLock::new((0, 0)),
        turn: Mutex::new(0),
        changed: Condvar::new(),
    });
    let wg = WaitGroup::new();
    wg.add(workers as isize);
    let plain = random.below(4) == 0;
    for worker in 0..workers {
        let (shared, wg, mut random) = (Arc::clone(&shared), wg.clone(), random.fork());
        let run = move || {
            for step in 0..steps {
                *shared.sum.lock() += 1;
                match random.below(4) {
                    0 => {
                        let mut pair = shared.pair.write();
                        pair.0 += 1;
                        gort::yield_now();
                        pair.1 += 1;
                    }
                    1 => {
                        let pair = shared.pair.read();
                        assert_eq!(pair.0, pair.1, "a reader saw a writer's half");
                    }
                    _ => {}
                }
                if step % 10 == 0 {
                    // One after the other: each waits for its turn.
                    let mut turn = shared.turn.lock();
                    while *turn % workers != worker {
                        shared.changed.wait(&mut turn);
                    }
                    *turn += 1;
                    drop(turn);
                    shared.changed.notify_all();
                    progress();
                }
            }
            wg.done();
        };
        if plain && worker == 0 {
            std::thread::spawn(run);
        } else {
            gort::go(run);
        }
    }
    wg.wait();
    assert_eq!(*shared.sum.lock(), workers * steps, "an increment was lost");
    workers * steps
}

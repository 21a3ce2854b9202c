//! The waist itself: a waiter publishes itself and parks, a waker takes it and readies it, as often as
//! possible, from goroutines on all Ps and from plain threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort_core::g::{self, GRef};
use gort_core::lock::Mutex;
use gort_core::sched;
use gort_core::wait_reason::WaitReason;
use gort_test_support::Random;

use crate::progress;

/// A place for at most one waiter, and tokens that came while there was none.
#[derive(Debug)]
struct Cell {
    state: Mutex<(Option<GRef>, u32)>,
}

impl Cell {
    fn new() -> Arc<Cell> {
        Arc::new(Cell {
            state: Mutex::new((None, 0)),
        })
    }

    fn take(&self) {
        {
            let mut state = self.state.lock();
            if state.1 > 0 {
                state.1 -= 1;
                return;
            }
            state.0 = Some(g::current());
        }
        sched::park(WaitReason::Park);
    }

    fn give(&self) {
        let waiter = {
            let mut state = self.state.lock();
            let waiter = state.0.take();
            if waiter.is_none() {
                state.1 += 1;
            }
            waiter
        };
        if let Some(waiter) = waiter {
            sched::ready(waiter);
        }
    }
}

pub(super) fn round(random: &mut Random) -> u64 {
    let rings = 1 + random.below(6);
    let laps = 200 + random.below(3_000);
    let done = Arc::new(AtomicUsize::new(0));
    let mut handles = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..rings {
        // Each member waits for its cell and gives to the next: one token goes round.
        let members = 2 + random.below(4) as usize;
        let cells: Vec<_> = (0..members).map(|_| Cell::new()).collect();
        let plain = (random.below(4) == 0).then(|| random.below(members as u64) as usize);
        let laps = if plain.is_some() { laps / 20 + 1 } else { laps };
        for i in 0..members {
            let (own, next) = (Arc::clone(&cells[i]), Arc::clone(&cells[(i + 1) % members]));
            let done = Arc::clone(&done);
            let mut random = random.fork();
            let run = move || {
                for lap in 0..laps {
                    own.take();
                    if random.below(64) == 0 {
                        gort::yield_now();
                    }
                    if lap % 64 == 0 {
                        progress();
                    }
                    next.give();
                }
                done.fetch_add(1, Ordering::Release);
            };
            if plain == Some(i) {
                threads.push(std::thread::spawn(run));
            } else {
                handles.push(gort::go(run));
            }
        }
        cells[0].give();
    }
    let members = handles.len() + threads.len();
    for handle in handles {
        handle.join().unwrap();
    }
    for thread in threads {
        gort::blocking(|| thread.join()).unwrap();
    }
    assert_eq!(done.load(Ordering::Acquire), members);
    members as u64 * laps
}

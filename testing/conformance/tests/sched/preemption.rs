//! S77, S78, S81, S82: Ps that are taken back from who does not come to give them up.
//!
//! On one P, so that nobody gets on otherwise.

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gort::runtime::metrics;
use gort::{chan, time};
use gort_conformance::child;
use gort_conformance::support::eventually;

/// Turns that are waited for.
const TURNS: u64 = 10;

/// Who ran last, of several that compute, and how often that changed.
#[derive(Default)]
struct Turns {
    last: AtomicUsize,
    changes: AtomicU64,
}

impl Turns {
    /// Computes for a moment as number `me`. False: there were enough turns.
    fn step(&self, me: usize) -> bool {
        for i in 0..1000u32 {
            black_box(i);
        }
        if self.last.swap(me, Ordering::Relaxed) != me {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.changes.load(Ordering::Relaxed) >= TURNS
    }
}

#[test]
fn s077_a_p_is_taken_back_from_a_call_that_blocks() {
    child::of(|| {
        let before = metrics().retakes;
        let (mut input, mut output) = std::io::pipe().expect("two descriptors");
        let reader = gort::go(move || {
            let mut byte = [0];
            input.read_exact(&mut byte).expect("one comes");
            byte[0]
        });
        let writer = gort::go(move || {
            eventually("the reader has begun and lost its P", || {
                metrics().retakes > before
            });
            output.write_all(b"x").expect("the reader is there");
        });
        assert_eq!(reader.join().expect("no panic"), b'x');
        writer.join().expect("no panic");
    })
    .procs(1)
    .unshaken()
    .passes();
}

#[test]
fn s078_goroutines_that_compute_take_turns() {
    child::of(|| {
        let done = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 3]> = Arc::default();
        let loops: Vec<_> = (0..counts.len())
            .map(|me| {
                let (done, counts) = (Arc::clone(&done), Arc::clone(&counts));
                gort::go(move || {
                    while !done.load(Ordering::Relaxed) {
                        counts[me].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // From a plain thread, which needs no P.
        eventually("each loop has run, and lost its P to another", || {
            let now = metrics();
            now.preemptions + now.retakes >= TURNS
                && counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) != 0)
        });
        done.store(true, Ordering::Relaxed);
        for one in loops {
            one.join().expect("no panic");
        }
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) != 0)
        );
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// A pair that goes on by `run_next` is one schedule, and always runnable; the loop is stopped each time.
#[test]
fn s078_a_loop_and_a_pair_that_is_always_busy_take_turns() {
    child::of(|| {
        let turns = Arc::new(Turns::default());
        let (ping, pings) = chan::bounded::<()>(0);
        let (pong, pongs) = chan::bounded::<()>(0);
        let echo = gort::go(move || {
            for () in pings {
                pong.send(()).expect("the other waits for it");
            }
        });
        let its_turns = Arc::clone(&turns);
        let pair = gort::go(move || {
            while its_turns.step(1) {
                ping.send(()).expect("the other receives");
                pongs.recv().expect("the other answers");
            }
        });
        let its_turns = Arc::clone(&turns);
        let alone = gort::go(move || while its_turns.step(2) {});
        for one in [echo, pair, alone] {
            one.join().expect("no panic");
        }
        assert!(turns.is_over());
    })
    .procs(1)
    .unshaken()
    .passes();
}

#[test]
fn s081_a_loop_without_calls_does_not_stop_the_others() {
    child::of(|| {
        // For each of main's 100 waits the loop has its slice of 10 ms: 1.1 s in all. Twenty times that leaves room for
        // a machine that does other things, and none for a loop that loses its P only now and then.
        const LIMIT: Duration = Duration::from_secs(22);
        let done = Arc::new(AtomicBool::new(false));
        let its_done = Arc::clone(&done);
        let endless = gort::go(move || {
            let mut count = 0u64;
            while !its_done.load(Ordering::Relaxed) {
                count = black_box(count + 1);
            }
            count
        });
        let start = Instant::now();
        gort::run(|| {
            for _ in 0..100 {
                // waits: the work of the case is 100 short waits
                time::sleep(Duration::from_millis(1));
            }
        });
        let elapsed = start.elapsed();
        assert!(elapsed < LIMIT, "main took {elapsed:?}");
        assert!(!endless.is_finished());
        done.store(true, Ordering::Relaxed);
        assert_ne!(endless.join().expect("no panic"), 0);
        assert_ne!(metrics().preemptions, 0, "{:?}", metrics());
    })
    .procs(1)
    .unshaken()
    .passes();
}

#[test]
fn s082_one_that_is_stopped_keeps_its_std_lock_and_its_place_in_malloc() {
    child::of(|| {
        let both = Arc::new(Mutex::new((0u64, Vec::<u64>::new())));
        let before = metrics().preemptions;
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let both = Arc::clone(&both);
                gort::go(move || {
                    while metrics().preemptions < before + TURNS {
                        // The thread blocks while one that was stopped holds it.
                        let mut both = both.lock().unwrap_or_else(PoisonError::into_inner);
                        both.0 += 1;
                        for i in 0..200_000u32 {
                            black_box(i);
                        }
                        let len = both.0;
                        both.1.push(len);
                        assert_eq!(both.0, both.1.len() as u64, "somebody else was inside");
                        let copy = both.1.clone();
                        both.1 = copy;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("nobody was inside");
        }
    })
    .procs(1)
    .unshaken()
    .passes();
}

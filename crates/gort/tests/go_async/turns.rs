//! Who gets turns beside async goroutines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gort::chan;
use gort::time::Ticker;

/// Two that hand over to each other, beside one that a timer wakes so often that no slice is ever used up. Each round
/// is as many switches as the last, whatever their number was before.
#[gort::test(procs = 1)]
fn those_that_hand_over_to_each_other_leave_the_global_queue_its_turns() {
    const TURNS: usize = 100;
    // Of two picks each. Every 1024th pick is the global queue's, and now and then somebody else has that.
    const ROUNDS_MAX: u64 = 4 * 1024;
    for parity in 0..2 {
        let is_over = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (there, from_here) = chan::bounded(1);
        let (back, from_there) = chan::bounded(1);
        let one = gort::go_async({
            let (is_over, rounds) = (Arc::clone(&is_over), Arc::clone(&rounds));
            async move {
                while !is_over.load(Ordering::Relaxed) {
                    rounds.fetch_add(1, Ordering::Relaxed);
                    there.send(()).unwrap();
                    from_there.recv_async().await.unwrap();
                }
            }
        });
        let other = gort::go_async(async move {
            while from_here.recv_async().await.is_ok() {
                back.send(()).unwrap();
            }
        });
        let ticker = gort::go({
            let is_over = Arc::clone(&is_over);
            move || {
                let ticker = Ticker::new(Duration::from_millis(1));
                while !is_over.load(Ordering::Relaxed) {
                    ticker.chan().recv().unwrap();
                }
            }
        });
        for _ in 0..parity {
            gort::yield_now();
        }
        // Who yields stands in the global queue, behind nobody.
        let mut waited: Vec<_> = (0..TURNS)
            .map(|_| {
                let before = rounds.load(Ordering::Relaxed);
                gort::yield_now();
                rounds.load(Ordering::Relaxed) - before
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        one.join().unwrap();
        other.join().unwrap();
        ticker.join().unwrap();
        waited.sort_unstable();
        let most = waited[TURNS * 19 / 20];
        assert!(most <= ROUNDS_MAX, "{parity}: {waited:?}");
    }
}

//! Everything that can be done to a tree of contexts, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gort::chan::TryRecvError;
use gort::context::{Cancel, Context, StopFunc, background};
use gort::sync::Mutex;
use gort_test_support::{Random, eventually};

/// One place of the pool that all share.
#[derive(Default)]
struct Place {
    ctx: Option<Context>,
    cancel: Option<Cancel>,
    stop: Option<StopFunc>,
}

/// Counts, in its context, and in functions that wait for one.
struct Counted(#[expect(dead_code, reason = "held")] Arc<()>);

/// Makes, cancels, drops and waits at random places. What is taken out is dropped without the lock, which is
/// how a context goes away under those who cancel it.
fn disturb(seed: u64, places: &[Mutex<Place>], counted: &Arc<()>, runs: &Arc<AtomicUsize>) {
    let mut random = Random::new(seed);
    for _ in 0..3000 {
        let from = &places[random.index(places.len())];
        let to = &places[random.index(places.len())];
        let ctx = from.lock().ctx.clone().unwrap_or_else(background);
        match random.below(10) {
            0..=2 => {
                let (ctx, cancel) = match random.below(3) {
                    0 => ctx.with_cancel(),
                    1 => ctx.with_timeout(Duration::from_micros(random.below(400))),
                    _ => ctx.with_timeout(Duration::from_secs(3600)),
                };
                let ctx = ctx.with_value(Counted(Arc::clone(counted)));
                let old = {
                    let mut place = to.lock();
                    (place.ctx.replace(ctx), place.cancel.replace(cancel))
                };
                drop(old);
            }
            3 => drop(to.lock().ctx.replace(ctx.without_cancel())),
            4 => {
                let (counted, runs) = (Arc::clone(counted), Arc::clone(runs));
                let stop = ctx.after_func(move || {
                    drop(counted);
                    runs.fetch_add(1, Ordering::Relaxed);
                });
                let old = to.lock().stop.replace(stop);
                drop(old);
            }
            5 => {
                let stop = to.lock().stop.take();
                drop(stop.map(|stop| (stop.stop(), stop)));
            }
            6 => {
                let cancel = from.lock().cancel.clone();
                if let Some(cancel) = cancel {
                    cancel.cancel();
                }
            }
            7 => drop(std::mem::take(&mut *to.lock())),
            8 => {
                let waited = Duration::from_micros(random.below(100));
                let outcome = ctx.done().recv_timeout(waited).unwrap_err();
                assert!(outcome.is_timeout() || ctx.err().is_some());
            }
            // waits: at random, under a context that others may end.
            _ => ctx.enter(|| gort::time::sleep(Duration::from_micros(random.below(50)))),
        }
    }
}

#[gort::test]
fn a_tree_that_everybody_changes_stays_whole_and_goes_away() {
    let counted = Arc::new(());
    let runs = Arc::new(AtomicUsize::new(0));
    let places: Arc<Vec<Mutex<Place>>> = Arc::new((0..16).map(|_| Mutex::default()).collect());
    let all: Vec<_> = (1..=6)
        .map(|seed| {
            let (places, counted, runs) = (places.clone(), counted.clone(), runs.clone());
            let disturb = move || disturb(seed * 0x9E37_79B9, &places, &counted, &runs);
            // One is a plain thread.
            match seed {
                1 => Err(std::thread::spawn(disturb)),
                _ => Ok(gort::go(disturb)),
            }
        })
        .collect();
    for one in all {
        match one {
            Ok(goroutine) => goroutine.join().unwrap(),
            Err(thread) => gort::blocking(|| thread.join().unwrap()),
        }
    }
    assert!(runs.load(Ordering::Relaxed) > 0);
    // Nothing is left of what they made, once the functions that were started have run.
    drop(places);
    eventually("nothing is left", || Arc::strong_count(&counted) == 1);
}

/// Some ask for `done` for the first time, in the same moment as another ends the context. All get one
/// channel, and it is closed in the end.
fn assert_done_closes(askers: usize, rounds: usize) {
    let all: Arc<Vec<_>> = Arc::new((0..rounds).map(|_| background().with_cancel()).collect());
    let arrived = Arc::new(AtomicUsize::new(0));
    // They come to a round together, as nearly as can be had.
    let meet = move |round: usize| {
        arrived.fetch_add(1, Ordering::Relaxed);
        while arrived.load(Ordering::Relaxed) < (askers + 1) * (round + 1) {
            gort::yield_now();
        }
    };
    let ask = |_| {
        let (all, meet) = (all.clone(), meet.clone());
        gort::go(move || {
            let ask = |(round, (ctx, _)): (usize, &(Context, Cancel))| {
                meet(round);
                ctx.done().clone()
            };
            all.iter().enumerate().map(ask).collect::<Vec<_>>()
        })
    };
    let askers: Vec<_> = (0..askers).map(ask).collect();
    for (round, (_, cancel)) in all.iter().enumerate() {
        meet(round);
        cancel.cancel();
    }
    for asker in askers {
        for ((ctx, _), done) in all.iter().zip(asker.join().unwrap()) {
            // Before `ctx.done()`, which would close it.
            assert_eq!(done.try_recv(), Err(TryRecvError::Disconnected));
            assert!(done.same_channel(ctx.done()));
        }
    }
}

#[gort::test(procs = 2)]
fn done_closes_when_it_is_made_while_the_context_ends() {
    assert_done_closes(1, 1000);
}

#[gort::test(procs = 4)]
fn all_who_ask_for_done_at_once_get_the_same() {
    assert_done_closes(3, 300);
}

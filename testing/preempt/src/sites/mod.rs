//! Goroutines that are preempted in the middle of something, until each has happened often enough.

mod foreign;
mod heap;
mod lines;
mod locks;
mod retakes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gort::runtime::metrics;
use gort_test_support::Random;

use crate::load::Load;
use crate::mark::{self, Site};
use crate::watch;

/// Goroutines of each kind.
const OF_EACH: u32 = 2;
/// Those that block for about as long as it takes to lose a P.
const BLOCKERS: u32 = 8;
/// Timers that ask for preemption.
const TICKERS: usize = 4;

/// Told when enough has happened.
#[derive(Clone, Debug, Default)]
struct Done(Arc<AtomicBool>);

impl Done {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs until each site was hit `count` times and `count` retakes met the thread coming back. True if
/// all that was worked on is as it must be.
pub(crate) fn run(count: u64, seed: u64) -> bool {
    let start = Instant::now();
    let mut random = Random::new(seed);
    let expected = foreign::Expected::compute();
    let printed = lines::Printed::redirect();
    let heap = Arc::new(heap::Exchange::default());
    let locks = Arc::new(locks::Shared::default());
    let before = metrics();
    mark::observe();

    let done = Done::default();
    let load = Load::start(0, TICKERS, random.number());
    let mut workers = Vec::new();
    for id in 0..OF_EACH {
        let (its_done, mut its_random, heap) = (done.clone(), random.fork(), heap.clone());
        workers.push(gort::go(move || heap.work(&its_done, &mut its_random)));
        let its_done = done.clone();
        workers.push(gort::go(move || lines::print_by_std(id, &its_done)));
        let its_done = done.clone();
        workers.push(gort::go(move || lines::print_by_c(id, &its_done)));
        let (its_done, locks) = (done.clone(), locks.clone());
        workers.push(gort::go(move || locks.work(&its_done)));
        let (its_done, its_random, expected) = (done.clone(), random.fork(), expected.clone());
        workers.push(gort::go(move || expected.work(&its_done, its_random)));
        let (its_done, mut its_random) = (done.clone(), random.fork());
        let enter = if id % 2 == 0 {
            retakes::enter
        } else {
            retakes::enter_unstoppable
        };
        workers.push(gort::go(move || enter(&its_done, &mut its_random)));
    }
    let blockers: Vec<_> = (0..BLOCKERS)
        .map(|_| {
            let (its_done, mut its_random) = (done.clone(), random.fork());
            gort::go(move || retakes::block(&its_done, &mut its_random))
        })
        .collect();

    let mut last = 0;
    loop {
        let now = metrics();
        let races = now.retake_races - before.retake_races;
        let sites = Site::WANTED.map(mark::hits);
        let reached: u64 = sites
            .iter()
            .chain([&races])
            .map(|hit| (*hit).min(count))
            .sum();
        if reached == count * (sites.len() as u64 + 1) {
            break;
        }
        if reached != last {
            last = reached;
            watch::progress();
        }
        // waits: the plain main thread looks at the counters now and then.
        thread::sleep(Duration::from_millis(20));
    }
    done.0.store(true, Ordering::Relaxed);
    let operations: u64 = workers
        .into_iter()
        .map(|worker| worker.join().expect("no worker panics"))
        .sum();
    watch::progress();
    let blocked: u64 = blockers
        .into_iter()
        .map(|blocker| blocker.join().expect("no blocker panics"))
        .sum();
    load.stop();
    watch::progress();

    heap.check();
    locks.check();
    let lines = printed.check();
    mark::report();
    let now = metrics();
    let waits = now.preemptions - before.preemptions;
    eprintln!(
        "{waits:>9} preemptions in all; {} retakes, {} met the thread coming back",
        now.retakes - before.retakes,
        now.retake_races - before.retake_races,
    );
    eprintln!(
        "{operations:>9} operations, {lines} lines, {blocked} blocking calls in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let observed = mark::all_hits();
    if observed != waits {
        eprintln!("preempt: {observed} preemptions were observed, but {waits} counted");
    }
    observed == waits
}

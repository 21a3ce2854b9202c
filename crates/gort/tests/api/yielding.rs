//! Who runs when goroutines yield on several Ps, where each P keeps a part of the global queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use gort_test_support::{alone, eventually, eventually_parked, eventually_within, go_named};

/// The turns that goroutines have had which do nothing but yield.
struct Turns {
    each: Vec<AtomicU64>,
    is_over: AtomicBool,
}

impl Turns {
    fn of(count: usize) -> Arc<Turns> {
        Arc::new(Turns {
            each: (0..count).map(|_| AtomicU64::new(0)).collect(),
            is_over: AtomicBool::new(false),
        })
    }

    fn yields(&self, index: usize) {
        while !self.is_over.load(Ordering::Relaxed) {
            self.each[index].fetch_add(1, Ordering::Relaxed);
            gort::yield_now();
        }
    }

    fn least(&self) -> u64 {
        let each = self.each.iter();
        each.map(|turns| turns.load(Ordering::Relaxed))
            .min()
            .unwrap()
    }

    fn most(&self) -> u64 {
        let each = self.each.iter();
        each.map(|turns| turns.load(Ordering::Relaxed))
            .max()
            .unwrap()
    }
}

fn go_yielding(turns: &Arc<Turns>, indices: std::ops::Range<usize>) {
    for index in indices {
        let turns = Arc::clone(turns);
        gort::go(move || turns.yields(index));
    }
}

/// As many turns for one of many on one P as for the only one on another.
#[test]
fn those_that_yield_have_as_many_turns_wherever_they_began() {
    const COUNT: usize = 50;
    let name = "yielding::those_that_yield_have_as_many_turns_wherever_they_began";
    alone(name, || {
        gort::Config::new().procs(2).start().unwrap();
        let turns = Turns::of(COUNT);
        go_yielding(&turns, 0..2);
        eventually("both Ps have one", || {
            (0..2).all(|index| turns.each[index].load(Ordering::Relaxed) > 1_000)
        });
        // The others begin on one P, and neither is ever without work.
        let begin = Arc::clone(&turns);
        gort::go(move || go_yielding(&begin, 2..COUNT));
        eventually("all have begun", || turns.least() > 0);
        // A turn of goroutines that are threads is a thousand times as long.
        let own_stacks = gort::runtime::metrics().tls_mode == gort::runtime::TlsMode::Own;
        let enough = if own_stacks { 20_000 } else { 200 };
        let minute = Duration::from_secs(60);
        // The turns that one had least and most, in rounds until they are alike: a thread that gets little time
        // spoils a round.
        let mut rounds = Vec::new();
        let are_alike = (0..5).any(|_| {
            for each in &turns.each {
                each.store(0, Ordering::Relaxed);
            }
            eventually_within(minute, "all have had turns", || turns.least() > enough);
            let (least, most) = (turns.least(), turns.most());
            rounds.push((least, most));
            most < 8 * least
        });
        turns.is_over.store(true, Ordering::Relaxed);
        assert!(are_alike, "{rounds:?} turns");
    });
}

/// One that yielded stands near a P whose next goroutine then computes without end, and no other P is ever without
/// work of its own.
#[test]
fn who_has_yielded_is_run_elsewhere_while_its_p_computes() {
    let name = "yielding::who_has_yielded_is_run_elsewhere_while_its_p_computes";
    alone(name, || {
        gort::Config::new().procs(2).preempt(false).start().unwrap();
        let turns = Turns::of(3);
        go_yielding(&turns, 0..3);
        eventually("they yield", || turns.least() > 1_000);
        assert_run_beside_one_that_computes();
        turns.is_over.store(true, Ordering::Relaxed);
    });
}

/// As above, and what keeps the other P is a goroutine with a thread of its own.
#[test]
fn who_has_yielded_is_run_in_place_of_one_with_a_thread_of_its_own() {
    let name = "yielding::who_has_yielded_is_run_in_place_of_one_with_a_thread_of_its_own";
    alone(name, || {
        gort::Config::new().procs(2).preempt(false).start().unwrap();
        let turns = Turns::of(1);
        let keeps = Arc::clone(&turns);
        let builder = gort::Builder::new().own_thread();
        builder.go(move || keeps.yields(0)).unwrap();
        eventually("it yields", || turns.least() > 1_000);
        assert_run_beside_one_that_computes();
        turns.is_over.store(true, Ordering::Relaxed);
    });
}

/// One yields, and the next on its P computes: the first runs all the same. Not each time: if its slice was over just
/// then, both may come to one ring, in this order or the other, where it waits for the one that computes.
#[track_caller]
fn assert_run_beside_one_that_computes() {
    let ran = (0..20).any(|_| runs_beside_one_that_computes(Duration::from_secs(1)));
    assert!(ran, "who has yielded waits for the one that computes");
}

/// Whether it ran before the other had computed for so long.
fn runs_beside_one_that_computes(limit: Duration) -> bool {
    let has_run = Arc::new(AtomicBool::new(false));
    let (tx, rx) = gort::chan::bounded(0);
    let is_seen = Arc::clone(&has_run);
    let computes = go_named("computes", move || {
        rx.recv().unwrap();
        let begin = Instant::now();
        while !is_seen.load(Ordering::Relaxed) && begin.elapsed() < limit {
            std::hint::spin_loop();
        }
        is_seen.load(Ordering::Relaxed)
    });
    // Or it would ready the other: that one would be the next to run here, and nobody would rob it of that place.
    eventually_parked("computes", "chan receive");
    let yields = gort::go(move || {
        // It runs next on this P.
        tx.send(()).unwrap();
        gort::yield_now();
        has_run.store(true, Ordering::Relaxed);
    });
    yields.join().unwrap();
    computes.join().unwrap()
}

/// Starts its successor, which runs next, and yields: the P's own queue is never empty, and all of them are on one
/// slice.
fn relay(is_over: Arc<AtomicBool>, links: Arc<AtomicU64>) {
    if !is_over.load(Ordering::Relaxed) && links.fetch_add(1, Ordering::Relaxed) < RELAYED_MAX {
        gort::go(move || relay(is_over, links));
        gort::yield_now();
    }
}

/// Far more than are made in some slices of 10 ms.
const RELAYED_MAX: u64 = 400_000;

#[test]
fn a_relay_of_those_that_yield_does_not_starve_the_ring() {
    let name = "yielding::a_relay_of_those_that_yield_does_not_starve_the_ring";
    alone(name, || {
        gort::Config::new().procs(1).start().unwrap();
        for turns_before in 0..4 {
            let is_over = Arc::new(AtomicBool::new(false));
            let (over, links) = (Arc::clone(&is_over), Arc::new(AtomicU64::new(0)));
            let starter = gort::go(move || {
                for _ in 0..turns_before {
                    gort::yield_now();
                }
                let so_far = Arc::clone(&links);
                let in_ring = gort::go(move || so_far.load(Ordering::Relaxed));
                // Takes `run_next`, and sends that one to the ring.
                gort::go(move || relay(over, links));
                in_ring
            });
            let in_ring = starter.join().unwrap().join().unwrap();
            is_over.store(true, Ordering::Relaxed);
            assert!(in_ring < RELAYED_MAX, "it waited until the end");
            eventually("all have ended", || gort::runtime::num_goroutine() == 0);
        }
    });
}

/// Neither the Ps' own queues nor their parts of the global queue ever get empty.
#[test]
fn those_that_yield_do_not_starve_what_comes_from_outside() {
    let name = "yielding::those_that_yield_do_not_starve_what_comes_from_outside";
    alone(name, || {
        gort::Config::new().procs(2).start().unwrap();
        let turns = Turns::of(24);
        for _ in 0..4 {
            let turns = Arc::clone(&turns);
            gort::go_async(std::future::poll_fn(move |cx| {
                if turns.is_over.load(Ordering::Relaxed) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
        }
        go_yielding(&turns, 0..24);
        eventually("all yield", || turns.least() > 100);
        for _ in 0..100 {
            // From a plain thread: to what all Ps share.
            let outside = gort::go(|| ());
            eventually("it has run", || outside.is_finished());
        }
        turns.is_over.store(true, Ordering::Relaxed);
    });
}

/// One that starts a thousand and yields stands behind all of them, also beside another that yields.
#[test]
fn who_yields_comes_after_all_that_it_has_started() {
    const AT_ONCE: usize = 1_000;
    let name = "yielding::who_yields_comes_after_all_that_it_has_started";
    alone(name, || {
        gort::Config::new().procs(2).preempt(false).start().unwrap();
        let turns = Turns::of(1);
        go_yielding(&turns, 0..1);
        // Keeps one P for itself.
        let keeps = Arc::clone(&turns);
        let is_kept = Arc::new(AtomicBool::new(false));
        let keeper = Arc::clone(&is_kept);
        gort::go(move || {
            keeper.store(true, Ordering::Relaxed);
            while !keeps.is_over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        // Before the starter is there: both in one ring would be one after the other for good.
        eventually("one P is kept", || is_kept.load(Ordering::Relaxed));
        let starter = gort::go(|| {
            let mut most = 0;
            for _ in 0..50 {
                for _ in 0..AT_ONCE {
                    gort::go(|| ());
                }
                most = most.max(gort::runtime::num_goroutine());
                gort::yield_now();
            }
            most
        });
        let most = starter.join().unwrap();
        turns.is_over.store(true, Ordering::Relaxed);
        // Those of one turn, and who stood in the ring when the last came to an end.
        assert!(most <= AT_ONCE + 300, "{most} alive");
    });
}

/// With one P, after long work: the one that was started has the turn.
#[test]
fn who_yields_after_long_work_lets_the_next_run() {
    let name = "yielding::who_yields_after_long_work_lets_the_next_run";
    alone(name, || {
        gort::Config::new().procs(1).preempt(false).start().unwrap();
        let has_run = gort::go(|| {
            (0..5).all(|_| {
                let next = gort::go(|| ());
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(50) {
                    std::hint::spin_loop();
                }
                gort::yield_now();
                next.is_finished()
            })
        });
        assert!(has_run.join().unwrap(), "the yield was for nobody");
    });
}

/// GOMAXPROCS is lowered and raised under goroutines that yield: none stays behind with a P that is put away.
#[test]
fn a_p_that_is_put_away_leaves_nobody_who_has_yielded() {
    let name = "yielding::a_p_that_is_put_away_leaves_nobody_who_has_yielded";
    alone(name, || {
        gort::Config::new().procs(4).start().unwrap();
        let turns = Turns::of(40);
        go_yielding(&turns, 0..40);
        for round in 1..=100 {
            for procs in [1, 4, 2, 3] {
                gort::runtime::set_gomaxprocs(procs);
                let before = turns.least();
                eventually("all have turns", || turns.least() > before);
            }
            assert!(turns.least() >= round);
        }
        turns.is_over.store(true, Ordering::Relaxed);
        eventually("all have ended", || gort::runtime::num_goroutine() == 0);
    });
}

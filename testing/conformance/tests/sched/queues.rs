//! S44 to S48: who runs next on one P.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gort::runtime::metrics;
use gort::sync::WaitGroup;
use gort_conformance::child;
use gort_conformance::look::{goroutine, has_own_stacks, sized, undisturbed, until};
use gort_core::wait_reason::WaitReason;

/// How often a P looks at the global queue first.
const GLOBAL_TICKS: usize = 61;
/// And after how many switches, for those that make one schedule of many.
const GLOBAL_SWITCHES: usize = 1024;

/// Runs `order` once, on the plain thread that waits for orders: what it starts comes to the global
/// queue.
struct Outside {
    orders: std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Outside {
    fn new() -> Outside {
        let (orders, taken) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        thread::spawn(move || taken.iter().for_each(|order| order()));
        Outside { orders }
    }

    /// Keeps the P while it waits.
    fn run(&self, order: impl FnOnce() + Send + 'static) {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let order = move || {
            order();
            is_done.store(true, Ordering::Release);
        };
        self.orders.send(Box::new(order)).unwrap();
        while !done.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }
}

#[test]
fn s044_the_last_started_runs_next_and_the_others_in_order() {
    child::of(|| {
        gort::run(|| {
            let in_order = || {
                let order = undisturbed(|| {
                    let order = Arc::new(Mutex::new(Vec::new()));
                    let wg = WaitGroup::new();
                    for i in 0..3 {
                        let order = Arc::clone(&order);
                        wg.go(move || order.lock().unwrap().push(i));
                    }
                    wg.wait();
                    Arc::into_inner(order).unwrap().into_inner().unwrap()
                });
                order == [2, 0, 1]
            };
            // Where goroutines are threads, to make one may cost main its turn, and the order with it.
            if has_own_stacks() {
                // A thread that sleeps in the kernel, for memory, say, may lose its P unseen.
                assert!((0..5).any(|_| (0..20).all(|_| in_order())));
            } else {
                assert!((0..50).any(|_| in_order()));
            }
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// Two that wake each other: they take turns in `run_next`, on one slice.
struct Pair {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicUsize>,
    players: [gort::JoinHandle<()>; 2],
}

impl Pair {
    fn start() -> Pair {
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicUsize::new(0));
        let (ping, pinged) = gort::chan::bounded(0);
        let (pong, ponged) = gort::chan::bounded(0);
        let first = {
            let (stop, turns) = (Arc::clone(&stop), Arc::clone(&turns));
            gort::go(move || {
                while !stop.load(Ordering::Relaxed) {
                    ping.send(()).unwrap();
                    ponged.recv().unwrap();
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let second = gort::go(move || while pinged.recv().is_ok() && pong.send(()).is_ok() {});
        until("they play", || turns.load(Ordering::Relaxed) > 10);
        Pair {
            stop,
            turns,
            players: [first, second],
        }
    }

    fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for player in self.players {
            player.join().unwrap();
        }
    }
}

/// For how long a third waits beside a pair, and how many turns the pair has meanwhile: each the best of a few tries.
fn third_beside_a_pair(start: impl Fn() -> gort::JoinHandle<Instant>) -> (Duration, usize) {
    let try_once = |_| {
        let pair = Pair::start();
        let (turns, begin) = (pair.turns(), Instant::now());
        let waited = start().join().unwrap().duration_since(begin);
        let turns = pair.turns() - turns;
        println!("after {waited:?} and {turns} turns");
        pair.stop();
        (waited, turns)
    };
    let (waited, turns): (Vec<_>, Vec<_>) = (0..5).map(try_once).unzip();
    let least = "there were five tries";
    (
        waited.into_iter().min().expect(least),
        turns.into_iter().min().expect(least),
    )
}

#[test]
fn s045_a_pair_that_wake_each_other_does_not_starve_a_third() {
    child::of(|| {
        gort::run(|| {
            let (waited, _) = third_beside_a_pair(|| {
                let third = gort::go(Instant::now);
                // Takes `run_next`, so that the third goes to the ring, behind one of the pair.
                gort::go(|| ());
                third
            });
            // A slice, on a machine that has time for it; for ever, if the pair's slice were never over.
            assert!(waited < Duration::from_secs(10), "{waited:?}");
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// The pair's slice counts as one schedule, and the global queue is looked at every 61st time: that
/// must not come to 61 slices.
#[test]
fn s045_a_pair_does_not_starve_the_global_queue() {
    child::of(|| {
        gort::run(|| {
            let (_, turns) = third_beside_a_pair(|| {
                gort::go(|| {
                    gort::yield_now();
                    Instant::now()
                })
            });
            // 511, of two switches each, and some for main's own way to the wait. 61 slices are many times that.
            assert!(turns <= GLOBAL_SWITCHES, "{turns} turns");
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// Whoever a timer wakes has a slice of its own, so that the pair's begins anew each time: the end of a slice
/// is no occasion for the global queue then, and 61 such schedules are 61 periods of the timer.
#[test]
fn s045_a_pair_and_a_ticker_do_not_starve_the_global_queue() {
    child::of(|| {
        gort::run(|| {
            const TURNS: usize = 20;
            let pair = Pair::start();
            let stop = Arc::new(AtomicBool::new(false));
            let ticks = Arc::new(AtomicUsize::new(0));
            let ticker = {
                let (stop, ticks) = (Arc::clone(&stop), Arc::clone(&ticks));
                gort::go(move || {
                    while !stop.load(Ordering::Relaxed) {
                        gort::time::sleep(Duration::from_millis(1)); // waits: it is a ticker
                        ticks.fetch_add(1, Ordering::Relaxed);
                    }
                })
            };
            until("it ticks", || ticks.load(Ordering::Relaxed) > 2);
            // What had been counted when it was sent.
            let now = move || (metrics().switches, ticks.load(Ordering::Relaxed));
            let (ask, asked) = gort::chan::bounded::<(u64, usize)>(0);
            let receiver = {
                let now = now.clone();
                gort::go(move || {
                    let waited = asked.iter().map(|(switches, ticks)| {
                        let now = now();
                        (now.0 - switches, now.1 - ticks)
                    });
                    waited.collect::<Vec<_>>()
                })
            };
            // What a thread outside wakes comes to the global queue.
            let id = receiver.goroutine().id();
            let is_parked = move || {
                goroutine(id).is_some_and(|it| it.wait_reason == Some(WaitReason::ChanReceive))
            };
            let thread = thread::spawn(move || {
                for _ in 0..TURNS {
                    until("it waits to be woken", &is_parked);
                    ask.send(now()).unwrap();
                }
            });
            gort::blocking(|| thread.join().unwrap());
            let mut waited = receiver.join().unwrap();
            stop.store(true, Ordering::Relaxed);
            ticker.join().unwrap();
            pair.stop();
            waited.sort_unstable();
            println!("switches and ticks: {waited:?}");
            assert_eq!(waited.len(), TURNS);
            // Half of them for a thread that has no processor between the count and the waking. 61 ticks are
            // thousands of switches, or the machine has no time for 1024 between two ticks.
            let (switches, _) = waited[TURNS / 2];
            assert!(switches <= 2 * GLOBAL_SWITCHES as u64, "{waited:?}");
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// What the queues held when a goroutine ran, and when that was.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    own: usize,
    global: usize,
    /// Switches so far.
    switches: u64,
    at: Instant,
}

impl Lengths {
    fn now() -> Lengths {
        let metrics = metrics();
        Lengths {
            own: metrics.local_queues,
            global: metrics.global_queue,
            switches: metrics.switches,
            at: Instant::now(),
        }
    }
}

/// Whether each ran soon after the one before, and nobody else in between. A goroutine whose slice of 10 ms passes, as
/// its thread has no processor, say, may lose its P, and goes on beside the next; and one that is stopped then stands
/// in the global queue once more.
fn are_undisturbed(begin: Lengths, seen: &[Lengths]) -> bool {
    let mut before = begin;
    seen.iter().all(|now| {
        // None: main had lost its P before it noted when it began.
        let gap = now.at.checked_duration_since(before.at);
        let is_next = now.switches == before.switches + 1;
        before = *now;
        is_next && gap.is_some_and(|gap| gap < Duration::from_millis(5))
    })
}

/// With one P its share of the global queue is all of it, but for the bound of half a ring; and every
/// 61st time it takes one only.
#[test]
fn s046_s047_a_p_takes_its_share_of_the_global_queue() {
    child::of(|| {
        gort::run(|| {
            let n = sized(300, 40, 300);
            let outside = Outside::new();
            let in_batches = || {
                let seen = Arc::new(Mutex::new(Vec::new()));
                let ran = Arc::new(Mutex::new(Vec::new()));
                let (main, main_waits) = (gort::current().id(), Arc::new(AtomicBool::new(false)));
                let wg = WaitGroup::new();
                wg.add(n as isize);
                let (all, order, done) = (Arc::clone(&seen), Arc::clone(&ran), wg.clone());
                let waits = Arc::clone(&main_waits);
                outside.run(move || {
                    for i in 0..n {
                        let (seen, ran, wg) = (Arc::clone(&all), Arc::clone(&order), done.clone());
                        let waits = Arc::clone(&waits);
                        gort::go(move || {
                            let mut seen = seen.lock().unwrap();
                            seen.push(Lengths::now());
                            if seen.len() == 1 {
                                let main = goroutine(main).and_then(|main| main.wait_reason);
                                waits.store(main.is_some(), Ordering::Relaxed);
                            }
                            ran.lock().unwrap().push(i);
                            wg.done();
                        });
                    }
                });
                let first = Lengths::now();
                wg.wait();
                let (seen, ran) = (seen.lock().unwrap().clone(), ran.lock().unwrap().clone());
                // Main may have lost its P while it waited for the others to be there; or after that, and then it is
                // one more in the global queue.
                let is_over = Lengths::now();
                let undisturbed = first.global == n
                    && main_waits.load(Ordering::Relaxed)
                    && (is_over.own, is_over.global) == (0, 0)
                    && are_undisturbed(first, &seen);
                undisturbed.then_some((first, seen, ran))
            };
            let (mut before, seen, ran) = (0..200)
                .find_map(|_| in_batches())
                .expect("the machine leaves a P alone once");
            assert_eq!((before.own, before.global), (0, n));
            let mut batches = Vec::new();
            for (i, now) in seen.iter().enumerate() {
                let step = (before.own.wrapping_sub(now.own), before.global - now.global);
                match step {
                    (1, 0) => {}
                    (0, 1) => {}
                    (_, taken) => {
                        assert_eq!(before.own, 0, "{i}: {before:?} {now:?}");
                        assert_eq!(
                            taken,
                            (before.global + 1).min(128).min(before.global),
                            "{i}: {before:?} {now:?}"
                        );
                        assert_eq!(now.own, taken - 1, "{i}: one of the batch runs");
                        batches.push(taken);
                    }
                }
                before = *now;
            }
            println!("batches of {batches:?}");
            assert!(!batches.is_empty());
            let mut sorted = ran;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n), "each once");
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// Two chains of goroutines that start their own successors, by way of the ring.
#[derive(Default)]
struct Respawn {
    links: AtomicUsize,
    stop: AtomicBool,
    /// Since which link, 0 for none, somebody has been seen in the global queue.
    seen_at: AtomicUsize,
    /// How many stood there at most.
    seen_most: AtomicUsize,
}

fn respawn(chains: Arc<Respawn>) {
    let link = chains.links.fetch_add(1, Ordering::Relaxed) + 1;
    let waiting = metrics().global_queue;
    if waiting > 0 {
        let seen_at = &chains.seen_at;
        let _ = seen_at.compare_exchange(0, link, Ordering::Relaxed, Ordering::Relaxed);
        chains.seen_most.fetch_max(waiting, Ordering::Relaxed);
    }
    if !chains.stop.load(Ordering::Relaxed) {
        gort::go(move || respawn(chains));
        // Takes `run_next`, so that the successor goes to the ring.
        gort::go(|| ());
    }
}

#[test]
fn s047_every_61st_schedule_looks_at_the_global_queue_first() {
    child::of(|| {
        let mut most = 0;
        for _ in 0..20 {
            let chains = Arc::new(Respawn::default());
            for _ in 0..2 {
                let chains = Arc::clone(&chains);
                gort::go(move || respawn(chains));
            }
            until("they respawn", || {
                chains.links.load(Ordering::Relaxed) > 200
            });
            // The first links came by the global queue too.
            chains.seen_most.store(0, Ordering::Relaxed);
            chains.seen_at.store(0, Ordering::Relaxed);
            // From a plain thread: to the global queue.
            let stops = Arc::clone(&chains);
            let outsider = gort::go(move || {
                stops.stop.store(true, Ordering::Relaxed);
                stops.links.load(Ordering::Relaxed)
            });
            let queued_at = chains.links.load(Ordering::Relaxed);
            let ran_at = outsider.join().unwrap();
            let waited = match chains.seen_at.load(Ordering::Relaxed) {
                // It ran before anyone saw it waiting.
                0 => 0,
                // Whom they saw may have been a link, long before we came to start this one.
                seen => ran_at.saturating_sub(seen.max(queued_at)),
            };
            // A link whose slice is over stands there as well, before or after the outsider.
            let before = chains.seen_most.load(Ordering::Relaxed);
            most = most.max(waited);
            assert!(
                waited <= (before + 1) * (GLOBAL_TICKS + 1),
                "{waited} links while it waited with {before} in all"
            );
            until("all have ended", || gort::runtime::num_goroutine() == 0);
        }
        println!("at most {most} links");
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// Where a goroutine waits when its P becomes free, and what is taken first.
#[test]
fn s048_the_order_in_which_work_is_looked_for() {
    child::of(|| {
        gort::run(|| {
            const ROUNDS: usize = 200;
            // With less of them it is content on a machine where each is repeated again and again.
            const ROUNDS_MIN: usize = 20;
            let outside = Outside::new();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            let stream = Arc::new(gort::net::TcpStream::from_std(stream).unwrap());
            let mut global_first = 0;
            let mut others = Vec::new();
            let mut rounds = 0;
            let start = Instant::now();
            let has_time = || start.elapsed() < Duration::from_secs(10);
            while rounds < ROUNDS_MIN || rounds < ROUNDS && has_time() {
                rounds += 1;
                let order = undisturbed(|| {
                    let order = Arc::new(Mutex::new(String::new()));
                    let wg = WaitGroup::new();
                    let entry = |name: char| {
                        let (order, wg) = (Arc::clone(&order), wg.clone());
                        wg.add(1);
                        move || {
                            order.lock().unwrap().push(name);
                            wg.done();
                        }
                    };
                    let network = entry('n');
                    let reading = Arc::clone(&stream);
                    let reader = gort::go(move || {
                        let mut byte = [0];
                        (&*reading).read_exact(&mut byte).unwrap();
                        network();
                    });
                    gort_conformance::look::until_waiting(&reader, WaitReason::IoWait);
                    let global = entry('g');
                    outside.run(move || drop(gort::go(global)));
                    peer.write_all(b"x").unwrap();
                    gort::go(entry('l'));
                    gort::go(entry('r'));
                    wg.wait();
                    order.lock().unwrap().clone()
                });
                match order.as_str() {
                    // `run_next`, the local ring, the global queue, the network.
                    "rlgn" => {}
                    // The 61st time.
                    "grln" | "rgln" => global_first += 1,
                    // The monitor saw a slice end, and asks for the P when the next has begun.
                    _ => others.push(order),
                }
            }
            assert!(others.len() <= rounds / 10, "of {rounds}: {others:?}");
            println!("the global queue was first {global_first} times of {rounds}");
            // Of few rounds more may happen to be a 61st time.
            assert!(global_first <= rounds / 5 + 5, "{global_first}");
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

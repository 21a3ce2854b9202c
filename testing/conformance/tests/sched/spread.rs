//! S50, S52, S53, SC01, SC02, SC04, SC06, SC15 and SC16: several Ps at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gort::runtime::{num_goroutine, set_gomaxprocs};
use gort_conformance::child;
use gort_conformance::look::{has_own_stacks, scaled, sized, sum_of_threads, until, until_waiting};
use gort_core::runtime::current_p;
use gort_core::wait_reason::WaitReason;

/// The time on a processor in a thread's `schedstat`.
fn processor_ns(schedstat: &str) -> u64 {
    let first = schedstat.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// The others have nothing to do, and do not look for it all the time.
#[test]
fn s050_one_busy_goroutine_keeps_one_thread_busy() {
    child::of(|| {
        gort::run(|| {
            let _here = gort::lock_os_thread();
            let own_ns =
                || processor_ns(&fs::read_to_string("/proc/thread-self/schedstat").unwrap());
            let others_ns = || sum_of_threads("schedstat", processor_ns);
            let (own_before, others_before) = (own_ns(), others_ns());
            while own_ns() - own_before < 400_000_000 {
                for _ in 0..1_000 {
                    std::hint::spin_loop();
                    gort::checkpoint();
                }
            }
            let (own, others) = (own_ns() - own_before, others_ns() - others_before);
            println!("own {own} ns, others {others} ns");
            assert!(others < own / 4, "own {own} ns, others {others} ns");
        });
    })
    .procs(16)
    .passes();
}

/// The tasks hold their Ps without using a processor, so that four Ps show on any machine.
#[test]
fn s052_many_short_tasks_spread_over_the_ps() {
    child::of(|| {
        gort::run(|| {
            const PROCS: usize = 4;
            let tasks = scaled(400, 10_000);
            // waits: the thread, that is, with its P: nothing of the runtime is called.
            let task = || thread::sleep(Duration::from_millis(1));
            // Of all rounds: in one of them a P may be without a processor.
            let ps = Mutex::new(HashSet::new());
            let is_spread = |_| {
                let start = Instant::now();
                (0..tasks / 4).for_each(|_| task());
                let serial = start.elapsed() * 4;
                let start = Instant::now();
                let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
                gort::scope(|s| {
                    for _ in 0..tasks {
                        s.go(|| {
                            ps.lock().unwrap().insert(current_p());
                            let at_once = now.fetch_add(1, Ordering::Relaxed) + 1;
                            most.fetch_max(at_once, Ordering::Relaxed);
                            task();
                            now.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                });
                let share = start.elapsed().as_secs_f64() / serial.as_secs_f64();
                let most = most.into_inner();
                let ps = ps.lock().unwrap();
                println!("{share:.2} of the serial time, {most} at once, so far on Ps {ps:?}");
                // Where each is a thread, to make it may take longer than it does.
                let is_fast = share <= 1.5 / PROCS as f64 || !has_own_stacks();
                is_fast && most >= PROCS && ps.len() == PROCS
            };
            assert!((0..20).any(is_spread));
        });
    })
    .procs(4)
    .passes();
}

/// Four goroutines pass a counter round, each spinning until it is its turn: so all four are at once on
/// Ps of their own.
fn pass_round(rounds: usize) {
    const GOROUTINES: usize = 4;
    let turn = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..GOROUTINES)
        .map(|i| {
            let turn = Arc::clone(&turn);
            gort::go(move || {
                for round in 0..rounds {
                    while turn.load(Ordering::Acquire) != round * GOROUTINES + i {
                        // The kernel may run the next one here; the runtime knows nothing of it.
                        thread::yield_now();
                    }
                    turn.fetch_add(1, Ordering::Release);
                }
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    assert_eq!(turn.load(Ordering::Relaxed), rounds * GOROUTINES);
}

#[gort::test(procs = 4)]
fn s053_sc01_goroutines_that_pass_a_counter_round_run_at_once() {
    for _ in 0..50 {
        pass_round(3);
    }
    assert_eq!(gort::runtime::gomaxprocs(), 4);
}

/// Spawned in a nest, two deep; after a load that has put the threads to sleep.
#[gort::test(procs = 4)]
fn sc02_spawned_in_a_nest_they_run_at_once_too() {
    fn nest(depth: usize, arrived: &Arc<AtomicUsize>, all: usize) {
        arrived.fetch_add(1, Ordering::AcqRel);
        let inner = (depth > 0).then(|| {
            let arrived = Arc::clone(arrived);
            gort::go(move || nest(depth - 1, &arrived, all))
        });
        // Nobody goes on before all are there, and nobody gives up its P.
        while arrived.load(Ordering::Acquire) < all {
            thread::yield_now();
        }
        if let Some(inner) = inner {
            inner.join().unwrap();
        }
    }
    for with_listener in [false, true] {
        let listener = with_listener.then(|| gort::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let listener = listener.map(Arc::new);
        let accepting = listener
            .clone()
            .map(|listener| gort::go(move || listener.accept().is_err()));
        for _ in 0..10 {
            let load: Vec<_> = (0..100).map(|_| gort::go(gort::yield_now)).collect();
            load.into_iter().for_each(|handle| handle.join().unwrap());
            // waits: until the threads sleep, so that they have to be woken.
            gort::time::sleep(Duration::from_millis(2));
            let arrived = Arc::new(AtomicUsize::new(0));
            // This goroutine and three in a row.
            nest(3, &arrived, 4);
            assert_eq!(arrived.load(Ordering::Relaxed), 4);
        }
        if let (Some(listener), Some(accepting)) = (listener, accepting) {
            listener.close().unwrap();
            assert!(accepting.join().unwrap());
        }
    }
}

#[test]
fn sc04_spinning_goroutines_alternate_on_one_p() {
    #[inline(never)]
    fn small(i: &AtomicUsize) -> usize {
        gort::checkpoint();
        i.load(Ordering::Acquire)
    }
    child::of(|| {
        gort::run(|| {
            const TURNS: usize = 5;
            let turn = Arc::new(AtomicUsize::new(0));
            let handles = [0, 1].map(|i| {
                let turn = Arc::clone(&turn);
                gort::go(move || {
                    for round in 0..TURNS {
                        while small(&turn) != 2 * round + i {}
                        turn.fetch_add(1, Ordering::Release);
                    }
                })
            });
            for handle in handles {
                handle.join().unwrap();
            }
            assert_eq!(turn.load(Ordering::Relaxed), 2 * TURNS);
        });
    })
    .procs(1)
    .passes();
}

#[gort::test(procs = 2)]
fn sc06_gomaxprocs_changes_while_goroutines_respawn() {
    fn respawn(stop: Arc<AtomicBool>, links: Arc<AtomicUsize>) {
        links.fetch_add(1, Ordering::Relaxed);
        if !stop.load(Ordering::Relaxed) {
            gort::go(move || respawn(stop, links));
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let links = Arc::new(AtomicUsize::new(0));
    gort::go({
        let (stop, links) = (Arc::clone(&stop), Arc::clone(&links));
        move || respawn(stop, links)
    });
    for i in 0..1_000 {
        set_gomaxprocs(if i % 2 == 0 { 3 } else { 2 });
    }
    until("it goes on", || links.load(Ordering::Relaxed) > 1_000);
    stop.store(true, Ordering::Relaxed);
    assert_eq!(set_gomaxprocs(0), 2);
}

/// Somebody sleeps in the poller until a timer that is far away; a nearer one has to break that sleep.
#[test]
fn sc15_the_wait_of_the_poller_can_be_broken() {
    child::of(|| {
        let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let accepting = gort::go(move || listener.accept().is_ok());
        let far = gort::go(|| {
            // waits: for longer than the case lasts.
            gort::time::sleep(Duration::from_secs(1_000));
        });
        until_waiting(&accepting, WaitReason::IoWait);
        until_waiting(&far, WaitReason::Sleep);
        for _ in 0..20 {
            // waits: until all threads sleep.
            thread::sleep(Duration::from_millis(5));
            let start = Instant::now();
            let near = || {
                // waits: for the nearer timer.
                gort::time::sleep(Duration::from_millis(1));
            };
            // One on a P, and one of a plain thread.
            gort::go(near).join().unwrap();
            near();
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{:?}",
                start.elapsed()
            );
        }
        assert!(!accepting.is_finished() && !far.is_finished());
    })
    .passes();
}

#[test]
fn sc16_a_thousand_ps_start() {
    child::of(|| {
        gort::run(|| {
            assert_eq!(gort::runtime::gomaxprocs(), 1_024);
            let n = sized(5_000, 500, 50_000);
            let done = Arc::new(AtomicUsize::new(0));
            let handles: Vec<_> = (0..n)
                .map(|_| {
                    let done = Arc::clone(&done);
                    gort::go(move || {
                        gort::yield_now();
                        done.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            for handle in handles {
                handle.join().unwrap();
            }
            assert_eq!(done.load(Ordering::Relaxed), n);
            assert_eq!(num_goroutine(), 1);
        });
    })
    .procs(1_024)
    .passes();
}

//! S25 to S34 and S41: how a program starts, runs, idles and ends.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gort::runtime::{gomaxprocs, metrics, num_goroutine, set_gomaxprocs, stacks};
use gort_conformance::child;

use gort_conformance::look::{has_own_stacks, sized, sum_of_threads, thread_names, until};
use gort_core::snapshot;

#[test]
fn s025_main_is_goroutine_one_and_run_works_twice() {
    child::of(|| {
        assert_eq!(gort::run(|| gort::current().id().as_u64()), 1);
        // A thread names itself, when it gets to it.
        until("the monitor runs", || {
            thread_names().contains(&"gort-sysmon".to_owned())
        });
        let second = gort::run(|| {
            gort::run(|| ()); // inside a goroutine it just calls
            gort::current().id().as_u64()
        });
        assert!(second > 1, "a new goroutine, not {second}");
    })
    .passes();
}

#[test]
fn s026_gomaxprocs_comes_from_the_environment() {
    let output = child::of(|| {
        println!("procs {} by {}", gomaxprocs(), metrics().gomaxprocs_source);
    })
    .without("GORT_PROCS")
    .var("GOMAXPROCS", 3)
    .passes();
    assert!(output.stdout.contains("procs 3 by GOMAXPROCS"), "{output}");
}

#[test]
fn s026_a_bad_gomaxprocs_is_named_and_not_used() {
    let case = || println!("procs {}", gomaxprocs());
    let unset = child::of(case)
        .without("GORT_PROCS")
        .without("GOMAXPROCS")
        .passes();
    let bad = child::of(case)
        .without("GORT_PROCS")
        .var("GOMAXPROCS", "many")
        .passes();
    let procs = |output: &child::Output| {
        let line = output.stdout.lines().find(|line| line.contains("procs "));
        line.expect("the case wrote it").to_owned()
    };
    assert_eq!(procs(&bad), procs(&unset));
    assert!(bad.stderr.contains("GOMAXPROCS=many"), "{bad}");
    assert!(!unset.stderr.contains("GOMAXPROCS"), "{unset}");
}

#[gort::test(procs = 2)]
fn s026_setting_gomaxprocs_returns_the_old_value() {
    assert_eq!(set_gomaxprocs(4), 2);
    assert_eq!(set_gomaxprocs(300), 4);
    assert_eq!(set_gomaxprocs(0), 300);
    assert_eq!(gomaxprocs(), 300);
    assert_eq!(set_gomaxprocs(1), 300);
    assert_eq!(gomaxprocs(), 1);
    assert!(gort::Config::new().procs(0).start().is_err());
}

#[gort::test(procs = 2)]
fn s026_a_change_while_goroutines_run_loses_none() {
    const ROUNDS: usize = 300;
    let goroutines = 100;
    let steps = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..goroutines)
        .map(|_| {
            let steps = Arc::clone(&steps);
            gort::go(move || {
                for _ in 0..ROUNDS {
                    steps.fetch_add(1, Ordering::Relaxed);
                    gort::yield_now();
                }
            })
        })
        .collect();
    for procs in [1, 4, 2, 8, 1, 3].into_iter().cycle().take(100) {
        set_gomaxprocs(procs);
        gort::yield_now();
    }
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(steps.load(Ordering::Relaxed), goroutines * ROUNDS);
}

#[test]
fn s027_a_fresh_program_has_one_goroutine() {
    child::of(|| {
        gort::run(|| {
            assert_eq!(num_goroutine(), 1);
            assert_eq!(stacks().matches("goroutine ").count(), 1, "{}", stacks());
        });
    })
    .passes();
}

#[test]
fn s028_d08_the_program_ends_when_main_returns() {
    let output = child::of(|| {
        struct Told;
        impl Drop for Told {
            fn drop(&mut self) {
                println!("a destructor of another goroutine");
            }
        }
        gort::run(|| {
            let started = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&started);
            gort::go(move || {
                let _told = Told;
                told.store(true, Ordering::Release);
                // waits: for longer than the program lives.
                gort::time::sleep(Duration::from_secs(1_000));
                println!("the other goroutine after its sleep");
            });
            until("the other runs", || started.load(Ordering::Acquire));
            println!("main returns");
        });
    })
    .passes();
    assert!(output.stdout.contains("main returns"), "{output}");
    assert!(!output.stdout.contains("other goroutine"), "{output}");
}

#[gort::test]
fn s029_operands_are_evaluated_by_the_caller() {
    let caller = gort::current().id();
    let order = Arc::new(Mutex::new(Vec::new()));
    let record = |what: &'static str| {
        order.lock().unwrap().push((what, gort::current().id()));
        what
    };
    let handle = gort::go({
        let function = record("function");
        let argument = record("argument");
        let order = Arc::clone(&order);
        move || {
            let here = gort::current().id();
            order.lock().unwrap().push(("body", here));
            (function, argument, here)
        }
    });
    order.lock().unwrap().push(("after", caller));
    let (function, argument, body) = handle.join().unwrap();
    assert_eq!((function, argument), ("function", "argument"));
    let order = order.lock().unwrap();
    assert_eq!(
        order[..2],
        [("function", caller), ("argument", caller)],
        "before the goroutine begins"
    );
    assert!(order[2..].contains(&("body", body)) && body != caller);
}

#[gort::test]
fn s030_frames_are_found_as_they_were_left() {
    #[inline(never)]
    fn down(depth: u64, seed: u64) -> u64 {
        let mut locals = [0u64; 8];
        for (i, local) in locals.iter_mut().enumerate() {
            *local = seed.wrapping_mul(depth + 1).wrapping_add(i as u64);
        }
        let before = black_box(locals);
        gort::yield_now();
        let below = if depth == 0 { 0 } else { down(depth - 1, seed) };
        gort::yield_now();
        assert_eq!(before, black_box(locals));
        below + 1
    }
    let goroutines: Vec<_> = (1..=20)
        .map(|seed| gort::go(move || down(100, seed)))
        .collect();
    for goroutine in goroutines {
        assert_eq!(goroutine.join().unwrap(), 101);
    }
}

/// S61 asks for the same: what the ABI wants kept across a call is kept across a switch.
#[gort::test(timeout = "10m")]
fn s030_s061_registers_survive_switches_under_load() {
    /// More live values than there are registers, integers and floats, with or without switches.
    fn churn(seed: u64, rounds: u64, between: fn()) -> (u64, f64) {
        let (mut a, mut b, mut c, mut d) = (seed, seed ^ 1, seed ^ 2, seed ^ 3);
        let (mut e, mut f, mut g, mut h) = (seed ^ 4, seed ^ 5, seed ^ 6, seed ^ 7);
        let (mut x, mut y, mut z, mut w) = (1.0f64, 0.5f64, 0.25f64, seed as f64);
        for i in 0..rounds {
            a = a.wrapping_mul(6364136223846793005).wrapping_add(b);
            b ^= a.rotate_left(7);
            c = c.wrapping_add(a ^ i);
            d = d.rotate_right(3) ^ c;
            x = (x + y) * 0.5;
            between();
            e = e.wrapping_add(d);
            f ^= e.rotate_left(11);
            g = g.wrapping_mul(3).wrapping_add(f);
            h ^= g;
            y = (y + z) * 0.25 + 0.1;
            z = (z + x) * 0.125;
            w = w * 0.5 + x - y;
        }
        (a ^ b ^ c ^ d ^ e ^ f ^ g ^ h, x + y + z + w)
    }
    let goroutines = 10;
    let rounds = sized(10_000, 500, 1_000_000) as u64;
    let running: Vec<_> = (0..goroutines)
        .map(|seed| gort::go(move || churn(seed, rounds, gort::yield_now)))
        .collect();
    for (seed, goroutine) in running.into_iter().enumerate() {
        let undisturbed = churn(seed as u64, rounds, || ());
        assert!(undisturbed.1.is_finite());
        assert_eq!(goroutine.join().unwrap(), undisturbed);
    }
}

#[test]
fn s031_threads_are_as_many_as_there_is_work_for() {
    child::of(|| {
        const PROCS: usize = 4;
        gort::run(|| {
            // Main's (in thread mode that of the runtime's own goroutine as well), at most one more that
            // looks for work, a spare, one in the poller.
            let idle = metrics().threads;
            assert!(idle <= 6, "{idle} threads for one goroutine");
        });
        let goroutines = sized(1_000, 200, 1_000);
        let peak = Arc::new(AtomicUsize::new(0));
        gort::scope(|s| {
            for _ in 0..goroutines {
                let peak = Arc::clone(&peak);
                s.go(move || {
                    for i in 0..20 {
                        black_box((0..1_000u64).fold(i, |a, b| a ^ b.rotate_left(3)));
                        // Not `metrics`, which allocates: whoever waits for malloc sleeps, and its P goes to another thread.
                        let threads = snapshot::counters().threads as usize;
                        peak.fetch_max(threads, Ordering::Relaxed);
                        gort::yield_now();
                    }
                });
            }
        });
        let peak = peak.load(Ordering::Relaxed);
        println!("{goroutines} goroutines, {peak} threads");
        if has_own_stacks() {
            // One more for each P that was taken from a thread which slept in the kernel for a moment, or had no
            // processor for as long as a slice: more on a busy machine. One for each goroutine would be four times as
            // many.
            let others = 2 + goroutines / 4;
            assert!(peak <= 2 * PROCS + others, "{peak} threads on {PROCS} Ps");
        } else {
            // Besides the goroutines' and the Ps': main's, those of the runtime's own two goroutines, a spare, one
            // in the poller, what is on its way when counted, and those that took over from threads which slept in
            // the kernel for a moment: more on a busy machine. A second one for each would be twice as many.
            let others = PROCS + 8 + goroutines / 4;
            assert!(peak <= goroutines + others, "{peak} threads");
        }
    })
    .procs(4)
    .passes();
}

#[test]
fn s032_an_idle_program_uses_no_processor_time() {
    child::of(|| {
        // A burst on all Ps.
        gort::scope(|s| {
            for _ in 0..200 {
                s.go(|| {
                    for _ in 0..50 {
                        gort::yield_now();
                    }
                });
            }
        });
        // Nanoseconds on a processor are the first number.
        let used_ns = || {
            sum_of_threads("schedstat", |text| {
                let first = text.split_whitespace().next();
                first.and_then(|n| n.parse().ok()).unwrap_or(0)
            })
        };
        let in_a_second = |_| {
            let before = used_ns();
            // waits: the second that is measured: the case is about what happens while nothing happens
            thread::sleep(Duration::from_secs(1));
            // A thread that has ended takes its time with it.
            used_ns().saturating_sub(before)
        };
        // First the threads find out that there is no work, which takes them longer on a busy machine.
        let is_calm = |used: &u64| {
            println!("{used} ns in a second");
            *used < 10_000_000
        };
        let calm = (0..10).map(in_a_second).find(is_calm);
        assert!(calm.is_some(), "never less than 10 ms in a second");
    })
    .procs(4)
    .passes();
}

/// The one that started them calls nothing of the runtime meanwhile: only another P can run them.
#[gort::test(procs = 2)]
fn s033_more_work_wakes_another_p() {
    for _ in 0..20 {
        let ran = Arc::new(AtomicUsize::new(0));
        let handles = [(); 2].map(|()| {
            let ran = Arc::clone(&ran);
            gort::go(move || ran.fetch_add(1, Ordering::Release))
        });
        while ran.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(ran.load(Ordering::Acquire), 2);
    }
}

/// Counts its drops, and says whether each was on the goroutine it belongs to.
struct Counted {
    owner: Arc<Mutex<Option<gort::GoroutineId>>>,
    drops: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let here = gort::try_current().map(|g| g.id());
        assert_eq!(here, *self.owner.lock().unwrap(), "dropped elsewhere");
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

#[gort::test]
fn s034_closure_and_result_are_dropped_once_on_the_goroutine() {
    for _ in 0..100 {
        let owner = Arc::new(Mutex::new(None));
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = || Counted {
            owner: Arc::clone(&owner),
            drops: Arc::clone(&drops),
        };
        let (captured, result) = (counted(), counted());
        let owner_of = Arc::clone(&owner);
        let ended = WaitForDrop::new();
        let guard = ended.guard();
        let detached = Arc::new(AtomicBool::new(false));
        let is_detached = Arc::clone(&detached);
        let handle = gort::go(move || {
            *owner_of.lock().unwrap() = Some(gort::current().id());
            drop(captured);
            until("the handle is gone", || is_detached.load(Ordering::Acquire));
            (result, guard)
        });
        drop(handle);
        detached.store(true, Ordering::Release);
        until("nobody asks for the result", || ended.is_dropped());
        assert_eq!(drops.load(Ordering::Relaxed), 2);
    }
}

/// Sees the drop of what it lends.
struct WaitForDrop(Arc<()>);

impl WaitForDrop {
    fn new() -> WaitForDrop {
        WaitForDrop(Arc::new(()))
    }
    fn guard(&self) -> Arc<()> {
        Arc::clone(&self.0)
    }
    fn is_dropped(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

#[gort::test]
fn s034_a_joined_result_belongs_to_the_joiner() {
    let owner = Arc::new(Mutex::new(Some(gort::current().id())));
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted {
        owner,
        drops: Arc::clone(&drops),
    };
    let result = gort::go(move || counted).join().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(result);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[gort::test]
fn s041_ids_are_unique_and_never_used_again() {
    let rounds = 20;
    let mut seen = HashSet::new();
    for _ in 0..rounds {
        let from_thread = thread::spawn(|| {
            let handles: Vec<_> = (0..20).map(|_| gort::go(|| gort::current().id())).collect();
            let ids = handles.into_iter().map(|h| h.join().unwrap());
            ids.collect::<Vec<_>>()
        });
        let handles: Vec<_> = (0..100)
            .map(|_| {
                gort::go(|| {
                    let inner = gort::go(|| gort::current().id());
                    [gort::current().id(), inner.join().unwrap()]
                })
            })
            .collect();
        for handle in handles {
            for id in handle.join().unwrap() {
                assert!(seen.insert(id), "{id} twice");
            }
        }
        for id in gort::blocking(|| from_thread.join()).unwrap() {
            assert!(seen.insert(id), "{id} twice");
        }
    }
    assert_eq!(seen.len(), rounds * 220);
    assert!(seen.iter().all(|id| id.as_u64() != 0));
}

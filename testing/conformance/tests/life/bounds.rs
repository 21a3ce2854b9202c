//! S69 to S73: running out of stacks, and bounding how many goroutines there are.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gort::chan;
use gort::runtime::num_goroutine;
use gort::sync::WaitGroup;
use gort_conformance::child;
use gort_conformance::look::{sized, stacks_made, until};

/// Bytes of address space that this process uses.
fn address_space() -> u64 {
    gort_conformance::look::status("VmSize") as u64 * 1_024
}

fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: reads one rlimit, which lives through the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(result, 0);
}

#[test]
fn s069_no_memory_for_a_stack_is_an_error() {
    child::of(|| {
        gort::run(|| {
            assert_eq!(gort::go(|| 1).join().unwrap(), 1);
            // So large that what is left when one more cannot be had is enough for all else: a thread
            // that gets no memory for its signal stack ends the process.
            const STACK_BYTES: usize = 256 << 20;
            let mut handles = Vec::new();
            limit_address_space(address_space() + 5 * STACK_BYTES as u64);
            let (tx, rx) = chan::bounded::<()>(0);
            let error = loop {
                let rx = rx.clone();
                match gort::Builder::new()
                    .stack_size(STACK_BYTES)
                    .go(move || rx.recv())
                {
                    Ok(handle) => handles.push(handle),
                    Err(error) => break error,
                }
                assert!(handles.len() <= 5, "the limit is not felt");
            };
            println!("after {}: {error}", handles.len());
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(!handles.is_empty());
            // Those that run go on, and what they leave is there for others.
            tx.close();
            for handle in handles {
                assert!(handle.join().unwrap().is_err());
            }
            // The last one may still be leaving its stack when its handle is told.
            let builder = || gort::Builder::new().stack_size(STACK_BYTES);
            until("a stack is free", || {
                let again = builder().go(|| 2);
                again.is_ok_and(|handle| handle.join().unwrap() == 2)
            });
        });
    })
    .passes();
}

#[gort::test(timeout = "10m")]
fn s069_many_sleepers_all_end() {
    let n = sized(20_000, 500, 1_000_000);
    let nap = Duration::from_secs(1);
    let start = Instant::now();
    let wg = WaitGroup::new();
    for _ in 0..n {
        // waits: sleeping side by side is the case.
        wg.go(move || gort::time::sleep(nap));
    }
    wg.wait();
    let elapsed = start.elapsed();
    // Side by side, that is: a hundred at a time would need as long, or a few if there are few.
    let limit = (nap * n as u32 / 100).max(nap * 60);
    assert!(elapsed >= nap && elapsed < limit, "{elapsed:?}");
}

#[test]
fn s070_a_channel_of_tokens_bounds_the_workers() {
    child::of(|| {
        gort::run(|| {
            let (tokens, free) = chan::bounded(3);
            let wg = WaitGroup::new();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let at_work = Arc::new(AtomicUsize::new(0));
            let peak = Arc::new(AtomicUsize::new(0));
            for i in 0..10 {
                tokens.send(()).unwrap();
                wg.add(1);
                let (wg, free, seen) = (wg.clone(), free.clone(), Arc::clone(&seen));
                let (at_work, peak) = (Arc::clone(&at_work), Arc::clone(&peak));
                gort::go(move || {
                    let now = at_work.fetch_add(1, Ordering::Relaxed) + 1;
                    peak.fetch_max(now, Ordering::Relaxed);
                    seen.lock().unwrap().push((i, num_goroutine()));
                    until("three are at work", || peak.load(Ordering::Relaxed) == 3);
                    at_work.fetch_sub(1, Ordering::Relaxed);
                    // The token is free before `done`: a fourth may start meanwhile.
                    free.recv().unwrap();
                    wg.done();
                });
            }
            wg.wait();
            let mut seen = seen.lock().unwrap().clone();
            // Main, itself, and whoever has given its token back and has not ended yet.
            assert!(
                seen.iter().all(|(_, count)| (2..=11).contains(count)),
                "{seen:?}"
            );
            seen.sort_unstable();
            assert!(seen.iter().map(|(i, _)| *i).eq(0..10));
            assert_eq!(peak.load(Ordering::Relaxed), 3);
            until("all have ended", || num_goroutine() == 1);
        });
    })
    .passes();
}

#[test]
fn s071_a_fixed_set_of_workers_shares_a_channel() {
    child::of(|| {
        gort::run(|| {
            let (tx, rx) = chan::bounded(0);
            let wg = WaitGroup::new();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let (rx, wg, seen) = (rx.clone(), wg.clone(), Arc::clone(&seen));
                    gort::go(move || {
                        for task in rx {
                            seen.lock().unwrap().push((task, worker, num_goroutine()));
                            wg.done();
                        }
                    })
                })
                .collect();
            for task in 0..10 {
                wg.add(1);
                tx.send(task).unwrap();
            }
            wg.wait();
            let mut seen = seen.lock().unwrap().clone();
            assert!(
                seen.iter()
                    .all(|(_, worker, count)| *worker < 3 && *count == 4)
            );
            seen.sort_unstable();
            assert!(seen.iter().map(|(task, ..)| *task).eq(0..10));
            // Nobody has closed the channel: the workers are left waiting.
            assert_eq!(num_goroutine(), 4);
            tx.close();
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(num_goroutine(), 1);
        });
    })
    .passes();
}

/// S70 with many requests: what is bounded is the memory.
#[test]
fn s073_bounded_work_needs_bounded_memory() {
    child::of(|| {
        gort::run(|| {
            const BOUND: usize = 100;
            let n = sized(10_000, 1_000, 100_000);
            let run = |requests: usize| {
                let (tokens, free) = chan::bounded(BOUND);
                let wg = WaitGroup::new();
                let peak = Arc::new(AtomicUsize::new(0));
                for _ in 0..requests {
                    tokens.send(()).unwrap();
                    let (free, peak) = (free.clone(), Arc::clone(&peak));
                    wg.go(move || {
                        peak.fetch_max(num_goroutine(), Ordering::Relaxed);
                        // waits: a request that takes its time.
                        gort::time::sleep(Duration::from_millis(1));
                        free.recv().unwrap();
                    });
                }
                wg.wait();
                peak.load(Ordering::Relaxed)
            };
            run(n / 10);
            let stacks = stacks_made();
            let peak = run(n);
            println!(
                "{n} requests, {peak} at once, {stacks} stacks, then {}",
                stacks_made()
            );
            // Their tokens are free shortly before they end.
            assert!(peak <= 3 * BOUND, "{peak}");
            assert!(stacks_made() <= 3 * BOUND + 2 * 32, "{}", stacks_made());
        });
    })
    .procs(2)
    .passes();
}

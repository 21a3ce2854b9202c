//! S57 to S59, S83 and SC05: calls that block their thread, announced by `gort::blocking`.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use gort::fs::{self, File};
use gort::runtime::metrics;
use gort_conformance::child;
use gort_conformance::look::{sized, until};
use gort_core::runtime::current_p;

/// The call ends only after the other has ticked: if it kept the P, that would be never.
#[test]
fn s057_a_blocking_call_frees_its_p() {
    child::of(|| {
        gort::run(|| {
            let (release, released) = mpsc::channel();
            let blocked = gort::go(move || gort::blocking(|| released.recv().unwrap()));
            // How late each is shows how busy the machine is; that they end shows that there is a P for them.
            for _ in 0..40 {
                let due = Instant::now() + Duration::from_millis(5);
                gort::time::sleep_until(due);
                assert!(Instant::now() >= due);
            }
            assert!(!blocked.is_finished());
            release.send(7).unwrap();
            assert_eq!(blocked.join().unwrap(), 7);
        });
    })
    .procs(1)
    .passes();
}

/// A file operation that blocks is such a call: here each waits for what the other is going to do.
#[test]
fn s057_a_file_operation_frees_its_p() {
    child::of(|| {
        gort::run(|| {
            let path = std::env::temp_dir().join(format!("gort-s057-{}", std::process::id()));
            let text = CString::new(path.as_os_str().as_bytes()).unwrap();
            // SAFETY: the path is a C string.
            assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
            let to_read = path.clone();
            let reader = gort::go(move || fs::read_to_string(to_read).unwrap());
            let mut fifo = File::create(&path).unwrap();
            fifo.write_all(b"read ").unwrap();
            until("the reader waits on its thread", || metrics().threads > 1);
            assert!(!reader.is_finished());
            fifo.write_all(b"meanwhile").unwrap();
            drop(fifo);
            assert_eq!(reader.join().unwrap(), "read meanwhile");
            fs::remove_file(path).unwrap();
        });
    })
    .procs(1)
    .passes();
}

/// The calls meet inside: none ends before all have begun.
#[test]
fn s058_many_blocking_calls_progress_on_two_ps() {
    child::of(|| {
        gort::run(|| {
            let n = sized(300, 300, 1_000);
            let batch = || {
                let barrier = Arc::new(Barrier::new(n));
                let handles: Vec<_> = (0..n)
                    .map(|_| {
                        let barrier = Arc::clone(&barrier);
                        gort::go(move || gort::blocking(|| barrier.wait().is_leader()))
                    })
                    .collect();
                let ends = handles.into_iter().map(|handle| handle.join().unwrap());
                ends.filter(|is_leader| *is_leader).count()
            };
            assert_eq!(batch(), 1);
            let threads = metrics().threads;
            assert!(threads < n + 20, "{threads} threads");
            for _ in 0..3 {
                assert_eq!(batch(), 1);
            }
            println!("{threads} threads, then {}", metrics().threads);
            // A thread that has queued its goroutine and is not idle yet is not found by the next batch. Three that
            // are not used again would be 3 n more.
            let few = n / 4;
            assert!(metrics().threads <= threads + few, "they are used again");
        });
    })
    .procs(2)
    .passes();
}

#[test]
fn s059_the_way_back_prefers_the_p_it_left() {
    child::of(|| {
        gort::run(|| {
            const ROUNDS: usize = 200;
            let mut same = 0;
            for _ in 0..ROUNDS {
                let before = current_p().expect("a goroutine runs on a P");
                gort::blocking(|| {
                    assert_eq!(current_p(), None);
                    // Whoever was handed the P finds nothing to do, and puts it away.
                    let start = Instant::now();
                    while metrics().idle_procs < 4 && start.elapsed() < Duration::from_secs(10) {
                        thread::yield_now();
                    }
                });
                same += usize::from(current_p() == Some(before));
            }
            println!("{same} of {ROUNDS}");
            // One that spins may hold it just now.
            assert!(same >= ROUNDS * 9 / 10, "{same} of {ROUNDS}");
        });
    })
    .procs(4)
    .unshaken()
    .passes();
}

/// The P is busy when the call returns: its goroutine waits in line, and gets its turn.
#[test]
fn s083_a_return_from_a_blocking_call_is_a_place_to_reschedule() {
    child::of(|| {
        gort::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let calls = Arc::new(AtomicUsize::new(0));
            let runs = Arc::new(AtomicBool::new(false));
            let busy_runs = Arc::clone(&runs);
            let (busy_stop, seen) = (Arc::clone(&stop), Arc::clone(&calls));
            let busy = gort::go(move || {
                let mut rounds = 0u64;
                while !busy_stop.load(Ordering::Relaxed) {
                    rounds += 1;
                    busy_runs.store(true, Ordering::Relaxed);
                    gort::checkpoint();
                }
                (rounds, seen.load(Ordering::Relaxed))
            });
            // Some returns find the P before the other's thread has come for it.
            let start = Instant::now();
            while calls.load(Ordering::Relaxed) < 20 || !runs.load(Ordering::Relaxed) {
                assert!(start.elapsed() < Duration::from_secs(20), "it never runs");
                gort::blocking(thread::yield_now);
                calls.fetch_add(1, Ordering::Relaxed);
            }
            stop.store(true, Ordering::Relaxed);
            let (rounds, calls) = busy.join().unwrap();
            assert!(rounds > 0 && calls >= 20);
        });
    })
    .procs(1)
    .passes();
}

#[test]
fn sc05_short_blocking_calls_let_others_in() {
    for micros in [10, 100, 1_000] {
        child::of(|| {
            let micros = std::env::var("MICROS").unwrap().parse().unwrap();
            gort::run(|| {
                let stop = Arc::new(AtomicBool::new(false));
                let stopped = Arc::clone(&stop);
                let looping = gort::go(move || {
                    let mut calls = 0u64;
                    while !stopped.load(Ordering::Relaxed) {
                        // waits: a call that blocks for so long is what the case is about.
                        gort::blocking(|| thread::sleep(Duration::from_micros(micros)));
                        calls += 1;
                    }
                    calls
                });
                until("it loops", || metrics().threads > 1);
                for _ in 0..100 {
                    gort::yield_now();
                    // waits: for a timer, beside the calls.
                    gort::time::sleep(Duration::from_micros(50));
                }
                stop.store(true, Ordering::Relaxed);
                assert!(looping.join().unwrap() > 0);
            });
        })
        .procs(1)
        .var("MICROS", micros)
        .passes();
    }
}

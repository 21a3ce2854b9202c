//! S74 to S76, S80 and S84: the monitor, and nobody starves.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gort_conformance::child;
use gort_conformance::look::{goroutine, sum_of_threads, thread_names, until};
use gort_core::wait_reason::WaitReason;

/// How often a thread has gone to sleep; from its `status`. How often others had its processor instead is
/// the machine's affair.
fn sleeps_in(status: &str) -> u64 {
    let of = |line: &str| {
        let count = line.strip_prefix("voluntary_ctxt_switches:")?;
        count.trim().parse::<u64>().ok()
    };
    status.lines().find_map(of).expect("the kernel counts them")
}

/// Whether the monitor's thread has come as far as to its name.
fn is_monitor_there() -> bool {
    thread_names().iter().any(|name| name == "gort-sysmon")
}

/// How often the monitor has slept.
fn monitor_sleeps() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let folders = tasks.map(|task| task.unwrap().path());
    let is_monitor = |folder: &std::path::PathBuf| {
        fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "gort-sysmon")
    };
    let folder = folders
        .into_iter()
        .find(is_monitor)
        .expect("the monitor runs");
    sleeps_in(&fs::read_to_string(folder.join("status")).unwrap())
}

#[test]
fn s074_the_monitor_runs_without_a_p_from_the_start() {
    child::of(|| {
        gort::Config::new().start().unwrap();
        until("it runs before the first goroutine", is_monitor_there);
        gort::run(|| {
            // Ours is the only P, and nothing here gives it up.
            let before = monitor_sleeps();
            while monitor_sleeps() < before + 10 {
                std::hint::spin_loop();
            }
            assert!(monitor_sleeps() >= before + 10);
        });
    })
    .procs(1)
    .passes();
}

#[test]
fn s075_the_monitor_sleeps_while_the_program_is_idle() {
    child::of(|| {
        gort::run(|| (0..100).for_each(|_| gort::go(|| ()).join().unwrap()));
        let sleeps_of_two_seconds = || {
            let before = sum_of_threads("status", sleeps_in);
            // waits: the case is about what happens while nothing happens.
            thread::sleep(Duration::from_secs(2));
            // Less, if a thread has ended.
            let sleeps = sum_of_threads("status", sleeps_in).saturating_sub(before);
            println!("{sleeps} sleeps in two seconds");
            sleeps
        };
        // It takes a second until nothing happens, and longer where threads seldom have a processor.
        assert!((0..10).any(|_| sleeps_of_two_seconds() < 10));
    })
    .procs(4)
    .passes();
}

/// How often the monitor looks while the caller computes for a second; and that it goes on looking. The less of
/// five tries: others may keep it busy.
fn looks_while_computing() -> f64 {
    until("the monitor runs", is_monitor_there);
    let looks_per_second = || {
        let (before, start) = (monitor_sleeps(), Instant::now());
        while start.elapsed() < Duration::from_secs(1) {
            std::hint::spin_loop();
        }
        let looks = monitor_sleeps() - before;
        let per_second = looks as f64 / start.elapsed().as_secs_f64();
        println!("{per_second:.0} looks a second");
        per_second
    };
    let least = (0..5).map(|_| looks_per_second()).fold(f64::MAX, f64::min);
    let before = monitor_sleeps();
    while monitor_sleeps() < before + 10 {
        std::hint::spin_loop();
    }
    least
}

/// With one P, always busy, it looks every 20 µs at first, and every 10 ms when all stays as it is.
#[test]
fn s075_the_period_grows_to_ten_milliseconds() {
    // 100 if every sleep lasts 10 ms to the point; a busy machine adds to each.
    child::of(|| gort::run(|| assert!(looks_while_computing() < 250.0)))
        .procs(1)
        .passes();
}

/// At the end of each slice it asks the one to stop, and looks every 20 µs until that has happened; not for as long as
/// where it had to act itself.
#[test]
fn s075_the_period_grows_while_two_take_turns() {
    child::of(|| {
        gort::run(|| {
            gort::go(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
            // Of the 100 slices in a second each has 18 looks; 50 at 20 µs would make it 58.
            assert!(looks_while_computing() < 3000.0);
        });
    })
    .procs(1)
    .passes();
}

/// The only P computes; it stops when the monitor asks it to, and the monitor polls.
#[test]
fn s076_the_network_is_served_while_the_only_p_computes() {
    child::of(|| {
        gort::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = Arc::clone(&stop);
            let busy = gort::go(move || {
                while !stopped.load(Ordering::Relaxed) {
                    gort::checkpoint();
                }
            });
            let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let main = gort::current().id();
            let is_parked = move || {
                goroutine(main).is_some_and(|main| main.wait_reason == Some(WaitReason::IoWait))
            };
            let client = thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                let mut times: Vec<_> = (0..20u8)
                    .map(|i| {
                        // From here on only the other one has the P.
                        until("the server waits for the network", is_parked);
                        let start = Instant::now();
                        stream.write_all(&[i]).unwrap();
                        let mut answer = [0];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, [i]);
                        start.elapsed()
                    })
                    .collect();
                times.sort_unstable();
                times
            });
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 {
                stream.write_all(&byte).unwrap();
            }
            // All answers came while the other computed: it had the P, and never gave it up of its own accord.
            assert!(!busy.is_finished());
            stop.store(true, Ordering::Relaxed);
            busy.join().unwrap();
            let times = gort::blocking(|| client.join()).unwrap();
            println!("{times:?}");
            assert_eq!(times.len(), 20);
        });
    })
    .procs(1)
    .passes();
}

#[test]
fn s080_a_loop_with_checkpoints_lets_a_ticker_run() {
    child::of(|| {
        gort::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = Arc::clone(&stop);
            let busy = gort::go(move || {
                let mut rounds = 0u64;
                while !stopped.load(Ordering::Relaxed) {
                    rounds += 1;
                    gort::checkpoint();
                }
                rounds
            });
            let mut late: Vec<_> = (0..40)
                .map(|_| {
                    let due = Instant::now() + Duration::from_millis(3);
                    gort::time::sleep_until(due);
                    due.elapsed()
                })
                .collect();
            // All ticks came while the other looped, on the only P.
            assert!(!busy.is_finished());
            stop.store(true, Ordering::Relaxed);
            assert!(busy.join().unwrap() > 0);
            late.sort_unstable();
            println!("late by {:?}, at most {:?}", late[20], late[39]);
        });
    })
    .procs(1)
    .passes();
}

/// All that could starve a third party at once, on one P.
#[test]
fn s084_nobody_starves_beside_the_greedy() {
    fn respawn(stop: Arc<AtomicBool>, links: Arc<AtomicUsize>) {
        if !stop.load(Ordering::Relaxed) {
            links.fetch_add(1, Ordering::Relaxed);
            gort::go(move || respawn(stop, links));
        }
    }
    child::of(|| {
        gort::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let counts: [Arc<AtomicUsize>; 4] = Default::default();
            // Two that start their own successors.
            for _ in 0..2 {
                let (stop, links) = (Arc::clone(&stop), Arc::clone(&counts[0]));
                gort::go(move || respawn(stop, links));
            }
            // Two that wake each other.
            let (ping, pinged) = gort::chan::bounded(0);
            let (pong, ponged) = gort::chan::bounded(0);
            let pair = [
                gort::go({
                    let (stop, turns) = (Arc::clone(&stop), Arc::clone(&counts[1]));
                    move || {
                        while !stop.load(Ordering::Relaxed) {
                            ping.send(()).unwrap();
                            ponged.recv().unwrap();
                            turns.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }),
                gort::go(move || while pinged.recv().is_ok() && pong.send(()).is_ok() {}),
            ];
            // One that computes for as long as it may.
            let computing = {
                let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&counts[2]));
                gort::go(move || {
                    while !stop.load(Ordering::Relaxed) {
                        rounds.fetch_add(1, Ordering::Relaxed);
                        gort::checkpoint();
                    }
                })
            };
            // One that makes blocking calls.
            let calling = {
                let (stop, calls) = (Arc::clone(&stop), Arc::clone(&counts[3]));
                gort::go(move || {
                    while !stop.load(Ordering::Relaxed) {
                        gort::blocking(thread::yield_now);
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                })
            };
            // The third party yields, sleeps, and waits for each of them.
            let mut fastest = Duration::MAX;
            for _ in 0..10 {
                let start = Instant::now();
                gort::yield_now();
                // waits: a timer is due beside all that.
                gort::time::sleep(Duration::from_millis(1));
                fastest = fastest.min(start.elapsed());
            }
            // Each of them may have its slice first, twice.
            assert!(fastest < Duration::from_millis(400), "{fastest:?}");
            for (i, count) in counts.iter().enumerate() {
                let before = count.load(Ordering::Relaxed);
                until(format_args!("greedy one {i} goes on"), || {
                    count.load(Ordering::Relaxed) > before
                });
            }
            stop.store(true, Ordering::Relaxed);
            for handle in pair.into_iter().chain([computing, calling]) {
                handle.join().unwrap();
            }
            let counts = counts.map(|count| count.load(Ordering::Relaxed));
            println!("respawned, woken, computed, called: {counts:?}");
            assert!(counts.iter().all(|count| *count > 0));
        });
    })
    .procs(1)
    .passes();
}

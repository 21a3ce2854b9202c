//! S35 to S40, SC07 and DG04: what a goroutine is doing, and what dumps say of it.

use std::net::TcpStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gort::chan;
use gort::runtime::{num_goroutine, stacks};
use gort_conformance::child;
use gort_conformance::look::{goroutine, has_own_stacks, sized, until, until_waiting};
use gort_core::wait_reason::WaitReason;
use gort_core::{g, sched};

#[test]
fn s035_yielding_goroutines_alternate_on_one_p() {
    child::of(|| {
        gort::run(|| {
            let alternates = || {
                let order = Arc::new(Mutex::new(Vec::new()));
                let handles = ["ping", "pong"].map(|name| {
                    let order = Arc::clone(&order);
                    gort::go(move || {
                        for _ in 0..200 {
                            order.lock().unwrap().push(name);
                            gort::yield_now();
                        }
                    })
                });
                for handle in handles {
                    handle.join().unwrap();
                }
                let order = order.lock().unwrap();
                assert_eq!(order.len(), 400);
                order.windows(2).all(|pair| pair[0] != pair[1])
            };
            // One whose thread sleeps for a moment (for memory, say) loses its turn to the other: that is
            // rare, but the machine's to decide.
            assert!((0..50).any(|_| alternates()));
        });
    })
    .procs(1)
    .unshaken()
    .passes();
}

/// A goroutine that parks again and again, and calls out shortly before each time.
struct Parker {
    /// How many parks were announced.
    announced: AtomicUsize,
    gp: OnceLock<g::GRef>,
}

impl Parker {
    fn start(rounds: usize) -> (Arc<Parker>, gort::JoinHandle<()>) {
        let parker = Arc::new(Parker {
            announced: AtomicUsize::new(0),
            gp: OnceLock::new(),
        });
        let own = Arc::clone(&parker);
        let handle = gort::go(move || {
            own.gp.set(g::current()).unwrap();
            for round in 1..=rounds {
                own.announced.store(round, Ordering::Release);
                // A few instructions more or less, so that the two meet everywhere.
                for _ in 0..round % 64 {
                    std::hint::spin_loop();
                }
                sched::park(WaitReason::Park);
            }
        });
        (parker, handle)
    }

    /// Wakes it once for each announcement.
    fn wake(&self, rounds: usize, wait: fn()) {
        for round in 1..=rounds {
            while self.announced.load(Ordering::Acquire) < round {
                wait();
            }
            sched::ready(*self.gp.get().expect("set before the first announcement"));
        }
    }
}

#[gort::test(timeout = "10m")]
fn s036_a_wake_up_that_races_with_parking_is_not_lost() {
    let rounds = sized(100_000, 10_000, 1_000_000);
    let (parker, handle) = Parker::start(rounds);
    parker.wake(rounds, gort::yield_now);
    handle.join().unwrap();
    assert_eq!(parker.announced.load(Ordering::Relaxed), rounds);
}

#[gort::test(timeout = "10m")]
fn s036_a_wake_up_from_outside_is_not_lost_either() {
    let rounds = sized(5_000, 1_000, 1_000_000);
    let (parker, handle) = Parker::start(rounds);
    let waker = Arc::clone(&parker);
    let waker = thread::spawn(move || waker.wake(rounds, thread::yield_now));
    handle.join().unwrap();
    gort::blocking(|| waker.join()).unwrap();
    assert_eq!(parker.announced.load(Ordering::Relaxed), rounds);
}

#[test]
fn s036_nobody_wakes_what_nobody_readies() {
    child::of(|| {
        let never = Arc::new(AtomicBool::new(false));
        let ran = Arc::clone(&never);
        let parked = gort::go(move || {
            sched::park(WaitReason::Park);
            ran.store(true, Ordering::Relaxed);
        });
        until_waiting(&parked, WaitReason::Park);
        gort::scope(|s| {
            for _ in 0..100 {
                s.go(|| (0..20).for_each(|_| gort::yield_now()));
            }
        });
        assert_eq!(
            gort::runtime::metrics().local_queues + gort::runtime::metrics().global_queue,
            0
        );
        assert!(!never.load(Ordering::Relaxed) && !parked.is_finished());
    })
    .passes();
}

#[test]
fn s037_a_dump_shows_each_state_and_reason() {
    child::of(|| {
        gort::run(|| {
            let (release, held) = mpsc::channel::<()>();
            let blocked = gort::go(move || {
                // waits: the thread of the goroutine does, in a call that was announced.
                gort::blocking(|| held.recv().ok());
            });
            let blocked = blocked.goroutine().id();
            let (_tx, rx) = chan::bounded::<u8>(0);
            let (full, _rx) = chan::bounded::<u8>(0);
            let (nil_tx, nil_rx) = chan::nil::<u8>();
            let (other, third) = (rx.clone(), rx.clone());
            let mutex = Arc::new(gort::sync::Mutex::new(()));
            let wg = gort::sync::WaitGroup::new();
            wg.add(1);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let _peer = StdStream::connect(address).unwrap();
            let stream = gort::net::TcpStream::connect(address).unwrap();
            let locked = mutex.lock();
            let waiting: Vec<(&str, gort::JoinHandle<()>)> = vec![
                (
                    "chan receive",
                    gort::go(move || assert!(other.recv().is_err())),
                ),
                (
                    "chan send",
                    gort::go(move || assert!(full.send(1).is_err())),
                ),
                (
                    "chan receive (nil chan)",
                    gort::go(move || assert!(nil_rx.recv().is_err())),
                ),
                (
                    "chan send (nil chan)",
                    gort::go(move || assert!(nil_tx.send(1).is_err())),
                ),
                (
                    "select",
                    gort::go(move || {
                        let never = chan::never::<u8>();
                        gort::chan::select! {
                            recv(third) -> _ => {},
                            recv(never) -> _ => {},
                        }
                    }),
                ),
                (
                    "sync.Mutex.Lock",
                    gort::go({
                        let mutex = Arc::clone(&mutex);
                        move || drop(mutex.lock())
                    }),
                ),
                (
                    "sync.WaitGroup.Wait",
                    gort::go({
                        let wg = wg.clone();
                        move || wg.wait()
                    }),
                ),
                (
                    "sleep",
                    // waits: a sleeper is what the dump is to show.
                    gort::go(|| gort::time::sleep(Duration::from_secs(1_000))),
                ),
                (
                    "IO wait",
                    gort::go(move || {
                        let mut byte = [0];
                        let _ = std::io::Read::read(&mut &stream, &mut byte);
                    }),
                ),
            ];
            let state = |id| goroutine(id).map(|goroutine| goroutine.state.name());
            until("the call blocks", || state(blocked) == Some("syscall"));
            for (reason, handle) in &waiting {
                let id = handle.goroutine().id();
                until(format_args!("{id} in {reason}"), || {
                    goroutine(id)
                        .is_some_and(|g| g.wait_reason.is_some_and(|r| r.as_str() == *reason))
                });
            }
            let dead = gort::go(|| ());
            let dead_id = dead.goroutine().id();
            dead.join().unwrap();
            // On the only P, which is ours, it does not run before we stop; but the P may be taken from us while
            // we wait for the stack of one that has a thread.
            let mut tries = (0..20).map(|_| {
                // Whoever was stopped is stopped again soon, until its next switch.
                gort::yield_now();
                let fresh = gort::go(|| ());
                let text = stacks();
                (fresh, text)
            });
            let (fresh, text) = tries
                .find(|(fresh, text)| {
                    text.contains(&format!("goroutine {} [", fresh.goroutine().id()))
                })
                .expect("it waits for its turn while the dump is made");
            let fresh_id = fresh.goroutine().id();
            let me = gort::current().id();
            println!("{text}");
            let shows = |id: gort::GoroutineId, what: &str| {
                let own_stack = format!("goroutine {id} [{what}]:\n");
                let own_thread = format!("goroutine {id} [{what}, locked to thread]:\n");
                assert!(
                    text.contains(&own_stack) || text.contains(&own_thread),
                    "{what}"
                );
            };
            shows(me, "running");
            shows(fresh_id, "runnable");
            shows(blocked, "syscall");
            for (reason, handle) in &waiting {
                shows(handle.goroutine().id(), reason);
            }
            assert!(!text.contains(&format!("goroutine {dead_id} [")));
            assert_eq!(text.matches("\ncreated at ").count(), waiting.len() + 3);
            drop((release, locked));
        });
    })
    .procs(1)
    .passes();
}

/// A wrong step ends the process: every change of state is checked against the table.
#[gort::test]
fn s038_only_the_listed_transitions_happen() {
    let goroutines = sized(100, 20, 1_000);
    let steps = 1_000;
    let (tx, rx) = chan::bounded(4);
    let done = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..goroutines)
        .map(|i| {
            let (tx, rx, done) = (tx.clone(), rx.clone(), Arc::clone(&done));
            gort::go(move || {
                // xorshift: the same mixture each time.
                let mut random = i as u64 * 2 + 1;
                for _ in 0..steps {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    match random % 64 {
                        // waits: one of the operations that change a state.
                        0 => gort::time::sleep(Duration::from_micros(random % 50)),
                        1 => gort::blocking(thread::yield_now),
                        2 => gort::go(|| ()).join().unwrap(),
                        3 => assert!(gort::go(|| gort::goexit()).join().is_err()),
                        4..16 => gort::yield_now(),
                        // As many are sent as are received.
                        _ => gort::chan::select! {
                            send(tx, 1) -> sent => { sent.unwrap(); }
                            recv(rx) -> _ => {}
                        },
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), goroutines * steps);
}

#[gort::test(procs = 1)]
fn s039_spawn_park_ready_and_exit_change_the_state() {
    // The states after `go` and after `ready`.
    let from_start_to_end = || {
        // Begins a slice.
        gort::yield_now();
        let gp = Arc::new(OnceLock::new());
        let own = Arc::clone(&gp);
        let (tell, told) = mpsc::channel();
        let handle = gort::go(move || {
            own.set(g::current()).unwrap();
            let id = gort::current().id();
            tell.send(goroutine(id).unwrap().state).unwrap();
            sched::park(WaitReason::Park);
        });
        let id = handle.goroutine().id();
        let state = || goroutine(id).map(|goroutine| goroutine.state.name());
        let started = state();
        until_waiting(&handle, WaitReason::Park);
        assert_eq!(told.try_recv().unwrap().name(), "running");
        assert_eq!(state(), Some("waiting"));
        sched::ready(*gp.get().unwrap());
        let readied = state();
        handle.join().unwrap();
        until("the dead are not listed", || state().is_none());
        (started, readied)
    };
    // This goroutine keeps the only P until it stops, or until its slice ends, which it may do without a processor:
    // then the other has run meanwhile.
    let both_runnable = (Some("runnable"), Some("runnable"));
    assert!((0..50).any(|_| from_start_to_end() == both_runnable));
}

/// A goroutine that parks once, and how to wake it.
fn parked_once() -> (gort::JoinHandle<()>, g::GRef) {
    let gp = Arc::new(OnceLock::new());
    let own = Arc::clone(&gp);
    let handle = gort::go(move || {
        own.set(g::current()).unwrap();
        sched::park(WaitReason::Park);
    });
    until_waiting(&handle, WaitReason::Park);
    (handle, *gp.get().unwrap())
}

#[gort::test]
fn s040_a_waiting_goroutine_shows_why_where_and_for_how_long() {
    let (handle, gp) = parked_once();
    let id = handle.goroutine().id();
    let first = goroutine(id).unwrap();
    assert_eq!(first.wait_reason, Some(WaitReason::Park));
    assert!(first.parked_at.unwrap().file().ends_with("states.rs"));
    assert!(first.created_at.unwrap().file().ends_with("states.rs"));
    until("it has waited for half a second", || {
        goroutine(id).unwrap().waited >= Some(Duration::from_millis(500))
    });
    sched::ready(gp);
    handle.join().unwrap();
}

/// The monitor, which keeps the time, sleeps while the program is idle.
#[test]
fn s040_time_passes_while_all_wait() {
    child::of(|| {
        let start = Instant::now();
        let (handle, _gp) = parked_once();
        // waits: the case is about the time that is shown.
        thread::sleep(Duration::from_secs(3));
        let waited = goroutine(handle.goroutine().id()).unwrap().waited.unwrap();
        let elapsed = start.elapsed();
        println!("{waited:?} of {elapsed:?}");
        assert!(waited >= Duration::from_millis(2_900), "{waited:?}");
        // The time of a park is that of the monitor's last round.
        assert!(waited <= elapsed + Duration::from_millis(500), "{waited:?}");
    })
    .passes();
}

/// The number of the monitor's sleep, if it sleeps: not if it waits for a processor.
fn monitors_sleep() -> Option<String> {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.find_map(|task| {
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let line = |name| status.lines().find(|line| line.starts_with(name));
        let sleeps = line("Name:")?.ends_with("gort-sysmon") && line("State:")?.contains("S (");
        sleeps.then(|| line("voluntary_ctxt_switches:").map(str::to_owned))?
    })
}

#[test]
fn s040_a_wait_begins_when_it_begins() {
    child::of(|| {
        drop(parked_once());
        for _ in 0..3 {
            // It has kept the time so far.
            until("the monitor sleeps", || {
                let before = monitors_sleep();
                // waits: for longer than the monitor's pauses
                thread::sleep(Duration::from_millis(50));
                before.is_some() && before == monitors_sleep()
            });
            // waits: for the time that the monitor misses
            thread::sleep(Duration::from_millis(1_500));
            let start = Instant::now();
            let (handle, gp) = parked_once();
            let waited = goroutine(handle.goroutine().id()).unwrap().waited.unwrap();
            // The monitor's sleep is no part of it.
            let elapsed = start.elapsed();
            assert!(
                waited < elapsed + Duration::from_millis(700),
                "parked for {elapsed:?} at most: {waited:?}"
            );
            sched::ready(gp);
            handle.join().unwrap();
        }
    })
    .passes();
}

/// How many goroutines a dump shows, those included that it only counts.
fn stacks_in(dump: &str) -> usize {
    let of_line = |line: &str| match line.split_once(" more goroutines like this: ") {
        Some((number, _)) => number.parse().expect("a number"),
        None => usize::from(line.starts_with("goroutine ")),
    };
    dump.lines().map(of_line).sum()
}

#[test]
fn dg04_a_dump_has_gos_form() {
    child::of(|| {
        gort::run(|| {
            let (tx, rx) = chan::bounded::<()>(0);
            let waiter = gort::go(move || {
                let _here = gort::lock_os_thread();
                rx.recv()
            });
            until_waiting(&waiter, WaitReason::ChanReceive);
            let dump = stacks();
            // With a line between.
            let parts: Vec<&str> = dump.trim_end().split("\n\n").collect();
            assert_eq!(parts.len(), 2, "{dump}");
            assert!(parts[0].starts_with("goroutine 1 [running"), "{dump}");
            let id = waiter.goroutine().id();
            let head = format!("goroutine {id} [chan receive, locked to thread]:");
            let (first, last) = (parts[1].lines().next(), parts[1].lines().last());
            assert_eq!(first, Some(&*head), "{dump}");
            if has_own_stacks() {
                assert!(parts[1].contains("(...)\n\t"), "no frames: {dump}");
            }
            let last = last.unwrap();
            let place = "created at testing/conformance/tests/life/states.rs:";
            assert!(last.starts_with(place), "{dump}");
            assert!(last.ends_with(" in goroutine 1"), "{dump}");
            drop(tx);
            assert!(waiter.join().unwrap().is_err());
        });
    })
    .passes();
}

#[test]
fn sc07_the_count_equals_the_stacks_in_a_dump() {
    child::of(|| {
        gort::run(|| {
            assert_eq!(num_goroutine(), 1);
            let goroutines = sized(300, 50, 3_000);
            let (tx, rx) = chan::bounded::<()>(0);
            for _ in 0..goroutines {
                let rx = rx.clone();
                gort::go(move || rx.recv());
            }
            for _ in 0..10 {
                gort::go(|| (0..50).for_each(|_| gort::yield_now()));
                let listed = stacks_in(&stacks());
                assert!(listed > goroutines, "{listed}");
            }
            until("all others have ended", || {
                num_goroutine() == goroutines + 1
            });
            assert_eq!(stacks_in(&stacks()), goroutines + 1);
            drop(tx);
            until("all have ended", || num_goroutine() == 1);
            until("none is listed", || stacks_in(&stacks()) == 1);
        });
    })
    .passes();
}

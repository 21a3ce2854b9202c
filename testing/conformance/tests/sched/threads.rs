//! S55, S56, S60, S62, SC03, SC12 to SC14, SC20 to SC22: stacks, threads of one's own, and what both cost.

use std::collections::HashSet;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gort_conformance::child;
use gort_conformance::look::{has_own_stacks, sized, stacks_made, status, until, until_waiting};
use gort_core::sched;
use gort_core::wait_reason::WaitReason;

/// Bytes between here and the end of the stack, as libc knows it: a goroutine is a thread to it.
#[inline(never)]
fn stack_left() -> usize {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the first call initializes the attributes, which the others read and free; all pointers
    // are to locals.
    let result = unsafe {
        let result = libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr());
        assert_eq!(result, 0);
        let result =
            libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        result
    };
    assert_eq!(result, 0);
    let here = black_box(&raw const size).addr();
    assert!((lowest.addr()..lowest.addr() + size).contains(&here));
    here - lowest.addr()
}

/// Calls `f` with less than `bytes` of stack left.
#[inline(never)]
fn with_little_stack(bytes: usize, f: &mut dyn FnMut()) {
    let frame = black_box([0u8; 256]);
    if stack_left() < bytes {
        f();
    } else {
        with_little_stack(bytes, f);
    }
    black_box(frame);
}

/// Stopping, waking, polling and finding work need next to nothing of a goroutine's stack.
#[gort::test]
fn s055_the_scheduler_runs_on_a_stack_of_its_own() {
    // Unoptimized frames are several times larger; in thread mode the stack is the thread's as well.
    let little = if cfg!(debug_assertions) {
        16 << 10
    } else {
        6 << 10
    };
    let handles: Vec<_> = (0..8)
        .map(|i| {
            let builder = gort::Builder::new().stack_size(64 << 10);
            let run = move || {
                let mut rounds = 0;
                let (tx, rx) = gort::chan::bounded(1);
                with_little_stack(little, &mut || {
                    for round in 0..50 {
                        gort::yield_now();
                        // waits: parks with a timer.
                        gort::time::sleep(Duration::from_micros(10 * (i + 1)));
                        tx.send(round).unwrap();
                        assert_eq!(rx.recv(), Ok(round));
                        rounds += 1;
                    }
                });
                rounds
            };
            builder.go(run).unwrap()
        })
        .collect();
    for handle in handles {
        assert_eq!(handle.join().unwrap(), 50);
    }
}

/// The OS thread, as the kernel sees it.
fn thread_id() -> PathBuf {
    fs::read_link("/proc/thread-self").expect("/proc is mounted")
}

#[gort::test]
fn s056_a_locked_goroutine_stays_on_its_thread_alone() {
    let locked_on = Arc::new(Mutex::new(None));
    let done = Arc::new(AtomicUsize::new(0));
    let locked = {
        let (locked_on, done) = (Arc::clone(&locked_on), Arc::clone(&done));
        gort::go(move || {
            let _here = gort::lock_os_thread();
            let thread = thread_id();
            *locked_on.lock().unwrap() = Some(thread.clone());
            for _ in 0..200 {
                gort::yield_now();
                // waits: parked, and its thread with it.
                gort::time::sleep(Duration::from_micros(20));
                assert_eq!(thread_id(), thread);
            }
            *locked_on.lock().unwrap() = None;
            done.store(1, Ordering::Release);
        })
    };
    let others: Vec<_> = (0..10)
        .map(|_| {
            let (locked_on, done) = (Arc::clone(&locked_on), Arc::clone(&done));
            gort::go(move || {
                while done.load(Ordering::Acquire) == 0 {
                    // Under the lock: else the other might have unlocked its thread since.
                    let theirs = locked_on.lock().unwrap();
                    assert_ne!(theirs.as_ref(), Some(&thread_id()));
                    drop(theirs);
                    gort::yield_now();
                }
            })
        })
        .collect();
    locked.join().unwrap();
    for other in others {
        other.join().unwrap();
    }
}

#[gort::test]
fn sc03_a_locked_goroutine_sends_to_an_unlocked_one() {
    let (tx, rx) = gort::chan::bounded(0);
    let sender = gort::go(move || {
        let _here = gort::lock_os_thread();
        for i in 0..10 {
            tx.send(i).unwrap();
        }
    });
    assert!(rx.iter().eq(0..10));
    sender.join().unwrap();
}

#[gort::test]
fn sc12_locking_to_a_thread_nests() {
    gort::go(|| {
        assert_eq!(sched::os_thread_locks(), 0);
        let outer = gort::lock_os_thread();
        let inner = gort::lock_os_thread();
        assert_eq!(sched::os_thread_locks(), 2);
        let thread = thread_id();
        let stays = || {
            for _ in 0..50 {
                gort::yield_now();
                assert_eq!(thread_id(), thread);
            }
        };
        stays();
        drop(outer);
        assert_eq!(sched::os_thread_locks(), 1);
        stays();
        drop(inner);
        assert_eq!(sched::os_thread_locks(), 0);
    })
    .join()
    .unwrap();
}

/// The thread that ran a goroutine which ended while it was locked.
fn ended_locked() -> PathBuf {
    let thread = gort::go(|| {
        std::mem::forget(gort::lock_os_thread());
        thread_id()
    });
    thread.join().unwrap()
}

#[gort::test]
fn sc13_a_goroutine_that_ends_locked_takes_its_thread_along() {
    for _ in 0..20 {
        let thread = ended_locked();
        until("the thread has ended", || {
            !PathBuf::from("/proc").join(&thread).exists()
        });
        assert_ne!(gort::go(thread_id).join().unwrap(), thread);
    }
}

/// The timer slack of the calling thread: like how nice it is, but nobody has begun this process with the most of it.
fn slack() -> i32 {
    // SAFETY: asks for a number of this thread.
    unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }
}

#[test]
fn sc14_what_a_locked_goroutine_changes_about_its_thread_stays_there() {
    child::of(|| {
        gort::run(|| {
            let ours = slack();
            for _ in 0..20 {
                let theirs = gort::go(move || {
                    std::mem::forget(gort::lock_os_thread());
                    // SAFETY: changes a number of this thread.
                    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ours + 1, 0, 0, 0) };
                    slack()
                });
                assert_eq!(theirs.join().unwrap(), ours + 1);
            }
            // On all threads there are, and on new ones.
            let release = gort::chan::bounded::<()>(0);
            let others: Vec<_> = (0..30)
                .map(|_| {
                    let wait = release.1.clone();
                    gort::go(move || {
                        gort::blocking(|| assert!(wait.recv().is_err()));
                        slack()
                    })
                })
                .collect();
            release.0.close();
            for other in others {
                assert_eq!(other.join().unwrap(), ours);
            }
        });
    })
    .passes();
}

/// With stacks of their own they get threads when they lock themselves to one. In thread mode each has one from its
/// start, and the one too many is not started.
#[test]
fn sc20_running_out_of_threads_is_fatal_with_a_text() {
    const REFUSED: &str = "refused: no thread for a goroutine";
    let output = child::of(|| {
        gort::run(|| {
            println!("own stacks: {}", has_own_stacks());
            gort_core::runtime::set_thread_limit(10);
            let (tx, rx) = gort::chan::bounded::<()>(0);
            let locked: Vec<_> = (0..100)
                .map_while(|_| {
                    let rx = rx.clone();
                    let started = gort::Builder::new().go(move || {
                        let _here = gort::lock_os_thread();
                        rx.recv()
                    });
                    started.map_err(|error| println!("refused: {error}")).ok()
                })
                .collect();
            if locked.len() < 100 {
                tx.close();
            }
            locked.into_iter().for_each(|it| drop(it.join()));
            drop(tx);
        });
    })
    .output();
    if output.stdout.contains("own stacks: false\n") {
        assert!(output.status.success(), "{output}");
        assert!(output.stdout.contains(REFUSED), "{output}");
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{output}");
    let text = "runtime: program exceeds 10-thread limit\nfatal error: thread exhaustion\n";
    assert!(output.stderr.contains(text), "{output}");
}

#[test]
fn goroutines_that_end_locked_leave_no_threads_behind() {
    child::of(|| {
        gort::run(|| {
            (0..10).for_each(|_| drop(ended_locked()));
            let threads = status("Threads");
            (0..200).for_each(|_| drop(ended_locked()));
            until("the last ones have ended", || {
                status("Threads") <= threads + 4
            });
            assert!(gort::runtime::metrics().threads <= threads + 4);
        });
    })
    .passes();
}

#[gort::test]
fn a_goroutine_with_a_thread_of_its_own_takes_it_along() {
    for _ in 0..10 {
        let builder = gort::Builder::new().own_thread();
        let thread = builder.go(thread_id).unwrap().join().unwrap();
        let is_gone = || !PathBuf::from("/proc").join(&thread).exists();
        until("the thread has ended", is_gone);
        assert_ne!(thread_id(), thread);
    }
}

/// What a goroutine costs beside a thread: of the same kind of work the fastest of a few tries, with nothing beside it.
#[test]
fn s060_goroutines_cost_less_than_threads() {
    fn fastest(mut work: impl FnMut()) -> Duration {
        let time = |_| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        (0..20).map(time).min().unwrap()
    }
    child::of(|| {
        gort::run(|| {
            let goroutines = fastest(|| {
                for i in 0..100 {
                    assert_eq!(gort::go(move || i).join().unwrap(), i);
                }
            });
            let threads = fastest(|| {
                for i in 0..100 {
                    assert_eq!(thread::spawn(move || i).join().unwrap(), i);
                }
            });
            let channel = fastest(|| {
                let (tx, rx) = gort::chan::bounded(0);
                let sender = gort::go(move || (0..1_000).for_each(|i| tx.send(i).unwrap()));
                assert_eq!(rx.iter().count(), 1_000);
                sender.join().unwrap();
            });
            let thread_channel = fastest(|| {
                let (tx, rx) = std::sync::mpsc::sync_channel(0);
                let sender = thread::spawn(move || (0..1_000).for_each(|i| tx.send(i).unwrap()));
                assert_eq!(rx.iter().count(), 1_000);
                sender.join().unwrap();
            });
            println!(
                "start and join: goroutine {:?}, thread {:?}",
                goroutines / 100,
                threads / 100
            );
            println!(
                "unbuffered: goroutines {:?}, threads {:?}",
                channel / 1_000,
                thread_channel / 1_000
            );
            if has_own_stacks() {
                assert!(goroutines < threads, "{goroutines:?} against {threads:?}");
                assert!(
                    channel < thread_channel,
                    "{channel:?} against {thread_channel:?}"
                );
            } else {
                let all_at_once = gort::sync::Barrier::new(10);
                let on = gort::scope(|s| {
                    let meet = || {
                        all_at_once.wait();
                        thread_id()
                    };
                    let goroutines: Vec<_> = (0..10).map(|_| s.go(meet)).collect();
                    let on = goroutines.into_iter().map(|it| it.join().unwrap());
                    on.collect::<HashSet<_>>()
                });
                assert_eq!(on.len(), 10, "each on a thread of its own");
            }
        });
    })
    .passes();
}

/// Frames of a good KiB each, with values that must be intact on the way back.
#[inline(never)]
fn deep(frames: usize) -> usize {
    let mut frame = [0usize; 128];
    for (i, value) in frame.iter_mut().enumerate() {
        *value = i * frames;
    }
    // By reference: by value the frame would hold copies.
    black_box(&mut frame);
    let below = if frames == 0 { 0 } else { deep(frames - 1) };
    black_box(&mut frame);
    for (i, value) in frame.iter().enumerate() {
        assert_eq!(*value, i * frames);
    }
    below + 1
}

/// Of the same recursion a stack of 8 MiB has room for, and one of 64 KiB has not.
#[test]
fn s062_recursion_that_overflows_64_kib_passes_with_8_mib() {
    let output = child::of(|| {
        gort::run(|| {
            let recurse = |name: &str, stack_bytes: usize| {
                let builder = gort::Builder::new().name(name).stack_size(stack_bytes);
                builder.go(|| deep(1_024)).unwrap().join().unwrap()
            };
            println!("{} frames", recurse("roomy", 8 << 20));
            println!("{} frames too many", recurse("narrow", 64 << 10));
        });
    })
    .output();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output}");
    assert!(output.stdout.contains("1025 frames\n"), "{output}");
    assert!(!output.stdout.contains("too many"), "{output}");
    let said = " (\"narrow\") overflowed its stack of 64 KiB\n";
    assert!(output.stderr.contains(said), "{output}");
}

/// Go grows the stack; here it is as large as the builder was told.
#[gort::test]
fn sc22_a_stack_holds_what_was_asked_for() {
    const STACK_BYTES: usize = 16 << 20;
    let builder = || gort::Builder::new().stack_size(STACK_BYTES);
    let plain = builder().go(|| {
        assert!(stack_left() > STACK_BYTES * 9 / 10);
        deep(1_024)
    });
    assert_eq!(plain.unwrap().join().unwrap(), 1_025);
    let locked = builder().go(|| {
        let _here = gort::lock_os_thread();
        deep(1_024)
    });
    assert_eq!(locked.unwrap().join().unwrap(), 1_025);
    /// Starts a goroutine as it is dropped.
    struct Starts(gort::chan::Sender<usize>);
    impl Drop for Starts {
        fn drop(&mut self) {
            let tx = self.0.clone();
            let run = move || tx.send(deep(1_024)).unwrap();
            gort::Builder::new()
                .stack_size(STACK_BYTES)
                .go(run)
                .unwrap();
        }
    }
    let (tx, rx) = gort::chan::bounded(0);
    gort::go(move || drop(Starts(tx))).join().unwrap();
    assert_eq!(rx.recv(), Ok(1_025));
}

/// Stacks that were deep are used again, and their pages with them.
#[test]
fn sc21_deep_stacks_are_used_again() {
    child::of(|| {
        gort::run(|| {
            const BATCH: usize = 32;
            // Each P keeps some for itself.
            gort::runtime::set_gomaxprocs(gort::runtime::gomaxprocs().min(4));
            let batches = sized(64, 20, 256);
            let batch = || {
                let handles: Vec<_> = (0..BATCH).map(|_| gort::go(|| deep(128))).collect();
                for handle in handles {
                    assert_eq!(handle.join().unwrap(), 129);
                }
            };
            (0..4).for_each(|_| batch());
            let resident = status("VmRSS");
            (0..batches).for_each(|_| batch());
            let grown_kib = status("VmRSS").saturating_sub(resident);
            println!("{} stacks, {grown_kib} KiB more", stacks_made());
            // Some 150 KiB of each were used; in debug builds a frame takes more.
            let one_batch_kib = BATCH * if cfg!(debug_assertions) { 600 } else { 150 };
            assert!(grown_kib < 8 * one_batch_kib, "{grown_kib} KiB more");
            assert!(stacks_made() <= 8 * BATCH, "{} stacks", stacks_made());
        });
    })
    .passes();
}

/// A parked goroutine that is locked to its thread leaves its P to others.
#[gort::test(procs = 1)]
fn s056_the_thread_of_a_parked_goroutine_parks_with_it() {
    let (tx, rx) = gort::chan::bounded::<()>(0);
    let locked = gort::go(move || {
        let _here = gort::lock_os_thread();
        let thread = thread_id();
        assert_eq!(rx.recv(), Err(gort::chan::RecvError));
        assert_eq!(thread_id(), thread);
        thread
    });
    until_waiting(&locked, WaitReason::ChanReceive);
    let others: HashSet<_> = (0..50)
        .map(|_| gort::go(thread_id).join().unwrap())
        .collect();
    tx.close();
    let thread = locked.join().unwrap();
    assert!(!others.contains(&thread));
}

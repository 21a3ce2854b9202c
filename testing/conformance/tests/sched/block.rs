//! S63 to S65, S79 and SC23: blocking lets others run, and waking says where.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gort::chan;
use gort::runtime::num_goroutine;
use gort::sync::{Condvar, Mutex, RwLock, Semaphore, WaitGroup};
use gort_conformance::child;
use gort_conformance::look::{sized, undisturbed, until, until_waiting};
use gort_core::wait_reason::WaitReason;
use gort_core::{g, runtime, sched, snapshot};

#[test]
fn s063_each_blocking_operation_leaves_the_thread_to_others() {
    child::of(|| {
        gort::run(|| {
            let of_each = sized(120, 10, 1_000);
            let (tx, rx) = chan::bounded::<()>(0);
            let (full_tx, full_rx) = chan::bounded::<()>(1);
            full_tx.send(()).unwrap();
            let mutex = Arc::new(Mutex::new(0));
            let rw_lock = Arc::new(RwLock::new(0));
            let semaphore = Arc::new(Semaphore::new(0));
            let gate = Arc::new((Mutex::new(false), Condvar::new()));
            let wg = WaitGroup::new();
            wg.add(1);
            let locked = mutex.lock();
            let write_locked = rw_lock.write();
            let mut handles = Vec::new();
            for _ in 0..of_each {
                handles.push(gort::go({
                    let rx = rx.clone();
                    move || assert!(rx.recv().is_err())
                }));
                handles.push(gort::go({
                    let tx = full_tx.clone();
                    move || assert!(tx.send(()).is_err())
                }));
                handles.push(gort::go({
                    let (rx, never) = (rx.clone(), chan::never::<()>());
                    move || {
                        gort::chan::select! {
                            recv(rx) -> got => assert!(got.is_err()),
                            recv(never) -> _ => unreachable!(),
                        }
                    }
                }));
                handles.push(gort::go({
                    let mutex = Arc::clone(&mutex);
                    move || *mutex.lock() += 1
                }));
                handles.push(gort::go({
                    let rw_lock = Arc::clone(&rw_lock);
                    move || assert_eq!(*rw_lock.read(), 0)
                }));
                handles.push(gort::go({
                    let semaphore = Arc::clone(&semaphore);
                    move || drop(semaphore.acquire(1))
                }));
                handles.push(gort::go({
                    let gate = Arc::clone(&gate);
                    move || {
                        let mut open = gate.0.lock();
                        gate.1.wait_while(&mut open, |open| !*open);
                    }
                }));
                handles.push(gort::go({
                    let wg = wg.clone();
                    move || wg.wait()
                }));
            }
            let waiting = || {
                let all = snapshot::goroutines();
                all.iter().filter(|g| g.wait_reason.is_some()).count()
            };
            until("all of them wait", || waiting() == handles.len());
            assert_eq!(num_goroutine(), handles.len() + 1);
            // Main and whom it starts run on.
            assert_eq!(
                (0..1_000)
                    .map(|i| gort::go(move || i).join().unwrap())
                    .max(),
                Some(999)
            );
            assert_eq!(waiting(), handles.len());
            tx.close();
            full_rx.close();
            drop((locked, write_locked));
            semaphore.add_permits(1);
            *gate.0.lock() = true;
            gate.1.notify_all();
            wg.done();
            for handle in handles {
                handle.join().unwrap();
            }
            assert_eq!(*mutex.lock(), of_each);
        });
    })
    .procs(1)
    .passes();
}

/// The goroutine that is woken sits, for the time being, on its waker's P: it runs as soon as that stops.
#[test]
fn s064_a_woken_goroutine_goes_to_the_p_of_its_waker() {
    child::of(|| {
        gort::run(|| {
            const ROUNDS: usize = 1_000;
            const BATCHES: usize = 5;
            let gp = Arc::new(OnceLock::new());
            // Where the woken one ran, as P plus 1.
            let woken_on = Arc::new(AtomicUsize::new(0));
            let stop = Arc::new(AtomicBool::new(false));
            let woken = {
                let (gp, woken_on) = (Arc::clone(&gp), Arc::clone(&woken_on));
                let stop = Arc::clone(&stop);
                gort::go(move || {
                    gp.set(g::current()).unwrap();
                    while !stop.load(Ordering::Acquire) {
                        sched::park(WaitReason::Park);
                        let here = runtime::current_p().expect("a goroutine runs on a P");
                        woken_on.store(here as usize + 1, Ordering::Release);
                    }
                })
            };
            let is_same = || {
                until_waiting(&woken, WaitReason::Park);
                woken_on.store(0, Ordering::Release);
                let here = runtime::current_p().unwrap() as usize + 1;
                sched::ready(*gp.get().unwrap());
                // Stops here: whom it has woken is next.
                until("it runs", || woken_on.load(Ordering::Acquire) != 0);
                woken_on.load(Ordering::Acquire) == here
            };
            let is_rule = |_| {
                let same = (0..ROUNDS).filter(|_| is_same()).count();
                println!("{same} of {ROUNDS} on the waker's P");
                // The rest was taken by an idle P while the waker's thread had no processor.
                same >= ROUNDS * 8 / 10
            };
            assert!((0..BATCHES).any(is_rule));
            until_waiting(&woken, WaitReason::Park);
            stop.store(true, Ordering::Release);
            sched::ready(*gp.get().unwrap());
            woken.join().unwrap();
        });
    })
    .procs(2)
    .unshaken()
    .passes();
}

/// Whether a goroutine gets to run while main does something once.
#[track_caller]
fn assert_others_run(what: &str, act: impl FnOnce(&Arc<AtomicBool>)) {
    let start_other = || {
        let ran = Arc::new(AtomicBool::new(false));
        let runs = Arc::clone(&ran);
        let other = gort::go(move || runs.store(true, Ordering::Release));
        // To start it may have cost us the P, where it is a thread: then another.
        (!ran.load(Ordering::Acquire)).then_some((ran, other))
    };
    let (ran, other) = (0..200)
        .find_map(|_| start_other())
        .expect("there is one P, and it is ours");
    act(&ran);
    assert!(ran.load(Ordering::Acquire), "nobody else ran: {what}");
    other.join().unwrap();
}

/// S79: a goroutine that parks has given up its P of its own accord.
#[test]
fn s065_s079_each_scheduling_point_lets_another_run() {
    child::of(|| {
        gort::run(|| {
            let after_a_yield = || {
                undisturbed(|| {
                    let other = gort::go(|| ());
                    let was_early = other.is_finished();
                    gort::yield_now();
                    !was_early && other.is_finished()
                })
            };
            // Now and then our thread sleeps for a moment as it makes the other's, and loses its turn.
            assert!((0..50).any(|_| after_a_yield()));
            let after_an_end = || {
                undisturbed(|| {
                    let other = gort::go(|| ());
                    // It takes the other's place, which runs as this one ends, before main's next turn.
                    let ends = gort::go(|| ());
                    gort::yield_now();
                    ends.is_finished() && other.is_finished()
                })
            };
            assert!((0..50).any(|_| after_an_end()));
            assert_others_run("a blocking call", |ran| {
                gort::blocking(|| {
                    while !ran.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                });
            });
            assert_others_run("a channel", |ran| {
                let (tx, rx) = chan::bounded(0);
                let ran = Arc::clone(ran);
                let sender = gort::go(move || {
                    until("the other one", || ran.load(Ordering::Acquire));
                    tx.send(()).unwrap();
                });
                rx.recv().unwrap();
                sender.join().unwrap();
            });
            assert_others_run("a lock", |ran| {
                let mutex = Arc::new(Mutex::new(()));
                let (tx, rx) = chan::bounded(0);
                let (theirs, ran) = (Arc::clone(&mutex), Arc::clone(ran));
                let holder = gort::go(move || {
                    let _locked = theirs.lock();
                    tx.send(()).unwrap();
                    until("the other one", || ran.load(Ordering::Acquire));
                });
                rx.recv().unwrap();
                drop(mutex.lock());
                holder.join().unwrap();
            });
            assert_others_run("a sleep", |ran| {
                // Again, if the other one's thread had no processor meanwhile.
                for _ in 0..10_000 {
                    // waits: the sleep is what the case is about.
                    gort::time::sleep(Duration::from_millis(1));
                    if ran.load(Ordering::Acquire) {
                        break;
                    }
                }
            });
            assert_others_run("a long run with checkpoints", |ran| {
                until("the slice is over", || {
                    // Nothing but a checkpoint lets the other run: `until` yields, but after us.
                    for _ in 0..100_000_000 {
                        gort::checkpoint();
                        if ran.load(Ordering::Acquire) {
                            break;
                        }
                    }
                    true
                });
            });
        });
    })
    .procs(1)
    .passes();
}

/// A producer that pushes its values, seen as an iterator that they are pulled from.
struct Pull<T> {
    ask: Option<chan::Sender<()>>,
    values: chan::Receiver<T>,
    producer: Option<gort::JoinHandle<()>>,
    is_inside: AtomicBool,
}

impl<T: Send + 'static> Pull<T> {
    /// The producer's `yield` is false when nobody wants more.
    fn new(produce: impl FnOnce(&dyn Fn(T) -> bool) + Send + 'static) -> Pull<T> {
        let (ask, asked) = chan::bounded(0);
        let (tx, values) = chan::bounded(0);
        let producer = gort::go(move || {
            if asked.recv().is_ok() {
                produce(&|value| tx.send(value).is_ok() && asked.recv().is_ok());
            }
        });
        Pull {
            ask: Some(ask),
            values,
            producer: Some(producer),
            is_inside: AtomicBool::new(false),
        }
    }

    fn next(&mut self) -> Option<T> {
        assert!(
            !self.is_inside.swap(true, Ordering::Relaxed),
            "next inside next"
        );
        let value = match self.ask.as_ref().map(|ask| ask.send(())) {
            Some(Ok(())) => self.values.recv().ok(),
            _ => None,
        };
        self.is_inside.store(false, Ordering::Relaxed);
        if value.is_none() {
            self.stop();
        }
        value
    }

    /// Ends the producer, and passes on its panic.
    fn stop(&mut self) {
        self.ask = None;
        if let Some(producer) = self.producer.take()
            && let Err(error) = producer.join()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

#[gort::test]
fn sc23_pull_iteration_over_a_producer_that_pushes() {
    let mut squares = Pull::new(|push| {
        for i in 0..1_000u64 {
            if !push(i * i) {
                return;
            }
        }
    });
    for i in 0..1_000 {
        assert_eq!(squares.next(), Some(i * i));
    }
    assert_eq!(squares.next(), None);
    assert_eq!(squares.next(), None, "after the end there is none");
}

#[gort::test]
fn sc23_stopping_early_ends_the_producer_with_its_cleanup() {
    let cleaned_up = Arc::new(AtomicBool::new(false));
    let cleans_up = Arc::clone(&cleaned_up);
    let mut endless = Pull::new(move |push| {
        gort::defer! { cleans_up.store(true, Ordering::Release) }
        let mut i = 0;
        while push(i) {
            i += 1;
        }
    });
    assert_eq!((endless.next(), endless.next()), (Some(0), Some(1)));
    assert!(!cleaned_up.load(Ordering::Acquire));
    endless.stop();
    assert!(cleaned_up.load(Ordering::Acquire));
    assert_eq!(endless.next(), None);
}

#[gort::test]
fn sc23_a_panic_in_the_producer_appears_at_the_puller() {
    let mut broken = Pull::new(|push| {
        push(1);
        panic!("out of values");
    });
    assert_eq!(broken.next(), Some(1));
    let next = std::panic::AssertUnwindSafe(|| broken.next());
    let payload = std::panic::catch_unwind(next).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"out of values"));
}

//! What is legal but seldom done: threads locked by one goroutine after the other, handles used after
//! their end, GOMAXPROCS lowered under load.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use gort_test_support::eventually;

/// Waits for `done`, without giving way to other goroutines.
fn spin_until(done: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

fn tid() -> i64 {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let name = link.file_name().expect("it ends in a number");
    name.to_str()
        .and_then(|t| t.parse().ok())
        .expect("it ends in a number")
}

/// A goroutine that lets go of its thread and goes on to the next goroutine without the system stack
/// leaves that one free to lock the same thread, while the M is still in the loop for the first.
#[test]
fn a_thread_passes_from_one_locked_goroutine_to_the_next() {
    gort::run(|| {
        let handles: Vec<_> = (0..8)
            .map(|_| {
                gort::go(|| {
                    for _ in 0..200 {
                        let guard = gort::lock_os_thread();
                        let before = tid();
                        gort::yield_now();
                        gort::yield_now();
                        assert_eq!(tid(), before, "locked, and moved");
                        drop(guard);
                        gort::yield_now();
                    }
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
    });
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(future).poll(&mut cx)
}

fn polled_to_its_end() -> gort::JoinHandle<u32> {
    let mut handle = gort::go(|| 7);
    assert!(spin_until(|| handle.is_finished()));
    match poll_once(&mut handle) {
        Poll::Ready(result) => assert_eq!(result.unwrap(), 7),
        Poll::Pending => panic!("it has ended"),
    }
    handle
}

#[test]
fn a_handle_that_gave_its_result_has_ended_and_gives_nothing_more() {
    let mut handle = polled_to_its_end();
    assert!(handle.is_finished());
    let again = panic::catch_unwind(AssertUnwindSafe(|| poll_once(&mut handle)));
    assert!(again.is_err(), "polled after its end");
    let joined = panic::catch_unwind(AssertUnwindSafe(|| {
        let handle = polled_to_its_end();
        handle.join_timeout(Duration::from_millis(1))
    }));
    assert!(joined.is_err(), "joined after its end");
}

/// The scope's handle is dropped in the moment in which its goroutine ends. No other test meanwhile (`procs`):
/// the goroutines of a plain thread, which belong to no test, might wake another's, so that its hang is not seen.
#[gort::test(procs = 2, timeout = "300s")]
fn a_scope_hears_of_a_panic_however_late_its_handle_goes() {
    let all_pauses = || {
        let mut unheard = 0;
        for pauses in 0..10_000u32 {
            let ending = AtomicBool::new(false);
            let heard = panic::catch_unwind(|| {
                gort::scope(|s| {
                    let handle = s.go(|| {
                        ending.store(true, Ordering::Release);
                        panic::resume_unwind(Box::new(()))
                    });
                    assert!(spin_until(|| ending.load(Ordering::Acquire)));
                    for _ in 0..pauses.wrapping_mul(7919) % 600 {
                        std::hint::spin_loop();
                    }
                    drop(handle);
                });
            });
            unheard += usize::from(heard.is_ok());
        }
        unheard
    };
    // Its panics are meant, and ten thousand backtraces take minutes.
    const QUIET: &str = "panics in scopes";
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(QUIET) {
            before(info);
        }
    }));
    let thread = std::thread::Builder::new().name(QUIET.to_owned());
    let thread = thread.spawn(all_pauses).unwrap();
    assert_eq!(gort::blocking(|| thread.join().unwrap()), 0);
}

/// The goroutines in the queue of a P that is to go are not lost while its goroutine computes.
#[gort::test(procs = 8, timeout = "60s")]
fn a_lowered_gomaxprocs_strands_nobody() {
    let lowered = Arc::new(AtomicBool::new(false));
    let ready = Arc::new(AtomicUsize::new(0));
    let hogs: Vec<_> = (0..3)
        .map(|_| {
            let (lowered, ready) = (Arc::clone(&lowered), Arc::clone(&ready));
            gort::go(move || {
                ready.fetch_add(1, Ordering::AcqRel);
                assert!(spin_until(|| lowered.load(Ordering::Acquire)));
                let ran = Arc::new(AtomicUsize::new(0));
                for _ in 0..20 {
                    let ran = Arc::clone(&ran);
                    gort::go(move || ran.fetch_add(1, Ordering::AcqRel));
                }
                assert!(
                    spin_until(|| ran.load(Ordering::Acquire) == 20),
                    "{} of 20 ran",
                    ran.load(Ordering::Acquire)
                );
            })
        })
        .collect();
    while ready.load(Ordering::Acquire) < 3 {
        gort::yield_now();
    }
    gort::runtime::set_gomaxprocs(4);
    lowered.store(true, Ordering::Release);
    for hog in hogs {
        hog.join().unwrap();
    }
}

/// Polls a channel of the clock with a waker that runs `f`.
fn when_due(after: Duration, f: impl Fn() + Send + Sync + 'static) -> impl Sized {
    struct Call<F>(F);
    impl<F: Fn() + Send + Sync> Wake for Call<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    let rx: &'static _ = Box::leak(Box::new(gort::chan::after(after)));
    let mut future = Box::pin(rx.recv_async());
    let waker = Waker::from(Arc::new(Call(f)));
    assert!(
        future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    future
}

/// Wakers of timers run on the runtime's own goroutines.
#[test]
fn a_waker_that_waits_for_another_waker_holds_up_nobody() {
    let (tx, rx) = gort::chan::bounded::<()>(0);
    let (done_tx, done) = gort::chan::bounded::<bool>(1);
    let _waits = when_due(Duration::from_millis(5), move || {
        let came = rx.recv_timeout(Duration::from_secs(20)).is_ok();
        done_tx.send(came).expect("the test waits");
    });
    let _frees = when_due(Duration::from_millis(5), move || {
        tx.send(()).expect("the other waker waits");
    });
    let _frees_none = when_due(Duration::from_millis(5), || ());
    assert!(done.recv().expect("the waker says how it went"));
}

#[test]
fn a_waker_that_panics_holds_up_nobody() {
    /// Panics once more when the panic is taken care of.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose: the payload's drop");
        }
    }
    for _ in 0..4 {
        let (tx, rx) = gort::chan::bounded::<()>(1);
        let _panics = when_due(Duration::from_millis(1), || panic::panic_any(Bomb));
        let _goes_on = when_due(Duration::from_millis(5), move || {
            tx.send(()).expect("the test waits");
        });
        rx.recv_timeout(Duration::from_secs(20))
            .expect("the next waker is called");
    }
}

#[test]
fn a_dropped_handles_result_may_panic_as_it_goes() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose: the result's drop");
        }
    }
    let handle = gort::go(|| Bomb);
    eventually("the goroutine has ended", || handle.is_finished());
    drop(handle);
}

#[test]
fn a_goroutine_keeps_its_number_after_its_end_and_takes_no_other_name() {
    let mut seen = Vec::new();
    for i in 0..200 {
        let handle = gort::Builder::new()
            .name(format!("number {i}"))
            .go(|| gort::current().id())
            .expect("there is a stack");
        let goroutine = handle.goroutine().clone();
        let id = handle.join().expect("it ends");
        assert_eq!(goroutine.id(), id);
        assert!(!seen.iter().any(|(other, _)| *other == goroutine));
        seen.push((goroutine, i));
    }
    for (goroutine, i) in seen {
        let name = goroutine.name();
        assert!(
            name.is_none() || name == Some(format!("number {i}")),
            "{name:?}"
        );
    }
}

/// Goroutines on all kinds of threads meet in one channel while GOMAXPROCS goes up and down.
#[gort::test(procs = 3, timeout = "60s")]
fn locked_blocking_and_bound_goroutines_mix_under_a_changing_gomaxprocs() {
    const ROUNDS: u32 = 150;
    let (tx, rx) = gort::chan::bounded::<u32>(0);
    let senders: Vec<_> = (0..6u32)
        .map(|kind| {
            let tx = tx.clone();
            let work = move || {
                for round in 0..ROUNDS {
                    match kind % 3 {
                        0 => {
                            let _guard = gort::lock_os_thread();
                            gort::blocking(|| {
                                let _inner = gort::lock_os_thread();
                                tx.send(round).expect("the receivers wait");
                            });
                            gort::yield_now();
                        }
                        1 => gort::blocking(|| {
                            // waits: the length of the announced call; nothing depends on it.
                            gort::time::sleep(Duration::from_micros(50));
                            tx.send(round).expect("the receivers wait");
                        }),
                        _ => {
                            tx.send(round).expect("the receivers wait");
                            gort::checkpoint();
                        }
                    }
                }
            };
            if kind < 3 {
                gort::go(work)
            } else {
                let builder = gort::Builder::new().own_thread();
                builder.go(work).expect("there is a thread")
            }
        })
        .collect();
    drop(tx);
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let rx = rx.clone();
            gort::go(move || {
                let mut sum = 0;
                loop {
                    match rx.recv_timeout(Duration::from_micros(200)) {
                        Ok(round) => sum += round,
                        Err(gort::chan::RecvTimeoutError::Timeout) => {}
                        Err(_) => return sum,
                    }
                }
            })
        })
        .collect();
    for procs in (1..=5).cycle().take(200) {
        gort::runtime::set_gomaxprocs(procs);
        gort::yield_now();
    }
    for sender in senders {
        sender.join().expect("it sends all");
    }
    let received: u32 = receivers
        .into_iter()
        .map(|receiver| receiver.join().expect("it ends"))
        .sum();
    assert_eq!(received, 6 * (0..ROUNDS).sum::<u32>());
}

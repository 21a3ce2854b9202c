//! Wakers: called by anybody, at any moment, any number of times.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use gort_test_support::{eventually, yield_once};

/// A number of calls of a future's waker, and the waker.
#[derive(Default)]
struct Calls {
    made: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Calls {
    fn call(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until so many calls have been made. A lost one is a hang.
    async fn until(&self, count: u64) {
        poll_fn(|cx| {
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            if self.made.load(Ordering::Relaxed) >= count {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

/// Callers from goroutines and plain threads, while the future is polled by whoever it is.
#[gort::test(timeout = "120s")]
fn no_call_is_lost_wherever_it_comes_from() {
    const CALLS: u64 = 1_000;
    let calls = Arc::new(Calls::default());
    let waiting = {
        let calls = calls.clone();
        gort::go_async(async move {
            for count in 1..=3 * CALLS {
                calls.until(count).await;
            }
        })
    };
    let call_all = |calls: Arc<Calls>| {
        move || {
            for i in 0..CALLS {
                calls.call();
                if i % 16 == 0 {
                    gort::yield_now();
                }
            }
        }
    };
    let plain = std::thread::spawn(call_all(calls.clone()));
    let stackful = gort::go(call_all(calls.clone()));
    let from_async = {
        let calls = calls.clone();
        gort::go_async(async move {
            for _ in 0..CALLS {
                calls.call();
                yield_once().await;
            }
        })
    };
    stackful.join().unwrap();
    from_async.join().unwrap();
    gort::blocking(|| plain.join()).unwrap();
    waiting.join().unwrap();
}

/// A stray waker must not end a wait within the poll: that one has another cause.
#[gort::test(timeout = "120s")]
fn a_call_while_the_poll_parks_does_not_end_that_park() {
    let calls = Arc::new(Calls::default());
    let stop = Arc::new(AtomicBool::new(false));
    let caller = {
        let (calls, stop) = (calls.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                calls.call();
                std::thread::yield_now();
            }
        })
    };
    let handle = {
        let calls = calls.clone();
        gort::go_async(async move {
            for round in 1..=500u64 {
                calls.until(round).await;
                let (tx, rx) = gort::chan::bounded(0);
                gort::go(move || tx.send(round).unwrap());
                // Not awaited: it parks with the stack.
                assert_eq!(rx.recv(), Ok(round));
            }
        })
    };
    handle.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    gort::blocking(|| caller.join()).unwrap();
}

#[test]
fn a_waker_outlives_its_goroutine_and_does_nothing_then() {
    let (tx, rx) = std::sync::mpsc::channel::<Waker>();
    let mut handles = Vec::new();
    for _ in 0..100 {
        let tx = tx.clone();
        let mut sent = false;
        handles.push(gort::go_async(poll_fn(move |cx| {
            if std::mem::replace(&mut sent, true) {
                return Poll::Ready(());
            }
            tx.send(cx.waker().clone()).unwrap();
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
    }
    for handle in handles {
        handle.join().unwrap();
    }
    // Their descriptors are others' now.
    let others: Vec<_> = (0..100)
        .map(|n| {
            gort::go_async(async move {
                gort::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
                    .await
                    .unwrap_err();
                n
            })
        })
        .collect();
    drop(tx);
    for waker in rx {
        waker.wake_by_ref();
        waker.wake();
    }
    for (n, other) in others.into_iter().enumerate() {
        assert_eq!(other.join().unwrap(), n);
    }
}

/// One that always calls itself is no reason for others to wait, stackful or not.
#[test]
fn one_that_calls_itself_in_every_poll_lets_others_run() {
    let stop = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..2 * gort::runtime::gomaxprocs())
        .map(|_| {
            let stop = stop.clone();
            gort::go_async(async move {
                let mut polls = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    yield_once().await;
                    polls += 1;
                }
                polls
            })
        })
        .collect();
    for _ in 0..100 {
        gort::go(|| ()).join().unwrap();
        gort::go_async(yield_once()).join().unwrap();
    }
    eventually("a timer fired", || {
        // waits: for a timer, which is what is tested
        gort::go(|| gort::time::sleep(Duration::from_millis(1)))
            .join()
            .is_ok()
    });
    stop.store(true, Ordering::Relaxed);
    for spinner in spinners {
        assert!(spinner.join().unwrap() > 0);
    }
}

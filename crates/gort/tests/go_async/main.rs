//! `gort::go_async`: futures as goroutines.

mod identity;
mod load;
mod turns;
mod wakers;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gort::chan;
use gort_test_support::yield_once;

#[gort::test(timeout = "60s")]
fn its_result_is_what_join_and_await_give() {
    assert_eq!(gort::go_async(async { 1 }).join().unwrap(), 1);
    let outer = gort::go_async(async { gort::go_async(async { [7u8; 100] }).await.unwrap() });
    assert_eq!(outer.join().unwrap(), [7; 100]);
    let from_stackful = gort::go_async(async { gort::go(|| "stackful").await.unwrap() });
    assert_eq!(from_stackful.join().unwrap(), "stackful");
}

/// As it ends, when nothing of its poll is left to unlock it.
#[gort::test(timeout = "60s")]
fn a_result_whose_drop_locks_the_thread_takes_none_along() {
    struct Locks;
    impl Drop for Locks {
        fn drop(&mut self) {
            std::mem::forget(gort::lock_os_thread());
        }
    }
    let threads = || gort::runtime::metrics().threads;
    let before = threads();
    for _ in 0..300 {
        drop(gort::go_async(async { Locks }));
        gort::go_async(async {}).join().unwrap();
    }
    assert!(
        threads() < before + 50,
        "{before} threads, now {}",
        threads()
    );
}

#[gort::test(timeout = "60s")]
fn a_result_that_is_lost_to_its_futures_drop_may_panic_as_it_goes() {
    struct Result;
    impl Drop for Result {
        fn drop(&mut self) {
            panic!("the result's");
        }
    }
    struct Gives {
        exits: bool,
    }
    impl Future for Gives {
        type Output = Result;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result> {
            Poll::Ready(Result)
        }
    }
    impl Drop for Gives {
        fn drop(&mut self) {
            if self.exits {
                gort::goexit();
            }
            panic!("the future's");
        }
    }
    for _ in 0..10 {
        let error = gort::go_async(Gives { exits: false })
            .join()
            .map(std::mem::forget);
        let payload = error.unwrap_err().into_panic();
        assert_eq!(payload.downcast_ref(), Some(&"the future's"));
        let error = gort::go_async(Gives { exits: true })
            .join()
            .map(std::mem::forget);
        assert!(error.unwrap_err().is_goexit());
        assert_eq!(gort::go_async(async { 1 }).join().unwrap(), 1);
    }
}

/// Async goroutines share their carriers' thread-locals.
#[gort::test(timeout = "60s")]
fn a_guard_that_one_has_left_behind_unlocks_no_other() {
    thread_local! {
        static LEFT: RefCell<Vec<gort::OsThreadGuard>> = const { RefCell::new(Vec::new()) };
    }
    let thread = || std::fs::read_link("/proc/thread-self").unwrap();
    let mut found = 0;
    for _ in 0..100 {
        let leaving =
            gort::go_async(async { LEFT.with_borrow_mut(|l| l.push(gort::lock_os_thread())) });
        leaving.join().unwrap();
        let finding = gort::go_async(async move {
            let _guard = gort::lock_os_thread();
            let before = thread();
            let left = LEFT.take();
            let found = left.len();
            drop(left);
            for _ in 0..3 {
                gort::yield_now();
                assert_eq!(thread(), before);
            }
            assert_eq!(gort_core::sched::os_thread_locks(), 1);
            found
        });
        found += finding.join().unwrap();
    }
    assert!(found > 0, "none was ever found");
}

#[gort::test(timeout = "60s")]
fn channels_join_async_goroutines_stackful_ones_and_plain_threads() {
    let (to_async, from_thread) = chan::bounded(1);
    let (to_stackful, from_async) = chan::bounded(0);
    let doubling = gort::go_async(async move {
        while let Ok(n) = from_thread.recv_async().await {
            to_stackful.send_async(n * 2).await.unwrap();
        }
    });
    let sending = std::thread::spawn(move || {
        for n in 0..1_000u64 {
            to_async.send(n).unwrap();
        }
    });
    assert_eq!(from_async.iter().sum::<u64>(), 999_000);
    doubling.join().unwrap();
    gort::blocking(|| sending.join()).unwrap();
}

#[gort::test(timeout = "60s")]
fn select_async_takes_what_is_ready() {
    let (tx, rx) = chan::unbounded::<u32>();
    let (never_tx, never) = chan::unbounded::<u32>();
    let handle = gort::go_async(async move {
        let mut taken = Vec::new();
        while taken.len() < 100 {
            let mut select = chan::Select::new();
            let from_rx = select.recv(&rx);
            select.recv(&never);
            let operation = select.select_async().await;
            assert_eq!(operation.index(), from_rx);
            taken.push(operation.recv(&rx).unwrap());
        }
        taken
    });
    for n in 0..100 {
        tx.send(n).unwrap();
        if n % 10 == 0 {
            gort::yield_now();
        }
    }
    assert_eq!(handle.join().unwrap(), (0..100).collect::<Vec<_>>());
    drop(never_tx);
}

#[gort::test(timeout = "60s")]
fn a_timeout_ends_a_wait() {
    let (tx, rx) = chan::unbounded::<()>();
    let handle = gort::go_async(async move {
        let begin = Instant::now();
        let waited = gort::time::timeout(Duration::from_millis(20), rx.recv_async()).await;
        assert!(waited.is_err() && begin.elapsed() >= Duration::from_millis(20));
    });
    handle.join().unwrap();
    drop(tx);
}

#[gort::test(timeout = "60s")]
fn combinators_and_channels_of_the_futures_crate_work() {
    use futures::stream::{FuturesUnordered, StreamExt};
    let (mut tx, mut rx) = futures::channel::mpsc::channel::<u32>(2);
    let sending = gort::go_async(async move {
        use futures::sink::SinkExt;
        for n in 0..50 {
            tx.send(n).await.unwrap();
        }
    });
    let handle = gort::go_async(async move {
        let lock = futures::lock::Mutex::new(0u32);
        let mut all: FuturesUnordered<_> = (0..50u32)
            .map(|n| gort::go_async(async move { n }))
            .collect();
        let adding = async {
            while let Some(n) = all.next().await {
                *lock.lock().await += n.unwrap();
            }
        };
        let receiving = async {
            while let Some(n) = rx.next().await {
                *lock.lock().await += n;
            }
        };
        futures::join!(adding, receiving);
        lock.into_inner()
    });
    assert_eq!(handle.join().unwrap(), 2 * (49 * 50 / 2));
    sending.join().unwrap();
}

#[gort::test(timeout = "60s")]
fn one_with_a_thread_of_its_own_is_polled_there() {
    let tid = || std::fs::read_link("/proc/thread-self").unwrap();
    let handle = gort::Builder::new().own_thread().go_async(async move {
        let before = tid();
        yield_once().await;
        gort::go(|| ()).await.unwrap();
        assert_eq!(tid(), before);
    });
    handle.unwrap().join().unwrap();
}

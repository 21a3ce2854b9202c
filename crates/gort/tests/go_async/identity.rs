//! To itself and to others an async goroutine is a goroutine like any.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use gort::{chan, thread};
use gort_test_support::{eventually, yield_once};

#[gort::test(timeout = "60s")]
fn it_has_number_name_and_labels_in_every_poll() {
    let builder = gort::Builder::new().name("poet").label("of", "odes");
    let handle = builder.go_async(async {
        let first = gort::current();
        let as_thread = thread::current().id();
        for _ in 0..100 {
            yield_once().await;
            gort::go_async(yield_once()).await.unwrap();
            assert_eq!(gort::current().id(), first.id());
            assert_eq!(thread::current().id(), as_thread);
        }
        assert_eq!(first.name().as_deref(), Some("poet"));
        let child = gort::go_async(async { gort::current().labels() });
        assert_eq!(child.await.unwrap(), [("of".into(), "odes".into())]);
        first.id()
    });
    let handle = handle.unwrap();
    let id = handle.goroutine().id();
    assert_ne!(id, gort::current().id());
    assert_eq!(handle.join().unwrap(), id);
}

#[gort::test(timeout = "60s")]
fn it_is_listed_and_its_stack_is_there_while_it_parks_in_a_poll() {
    let (tx, rx) = chan::bounded::<()>(0);
    let blocked_before = gort::runtime::metrics().blocked_polls;
    let parks_inside = gort::Builder::new()
        .name("parks inside")
        .go_async(async move { rx.recv() })
        .unwrap();
    let waker = Arc::new(Mutex::new(None::<Waker>));
    let done = Arc::new(AtomicBool::new(false));
    let awaits = {
        let (waker, done) = (waker.clone(), done.clone());
        gort::Builder::new()
            .name("awaits")
            .go_async(poll_fn(move |cx| {
                *waker.lock().unwrap() = Some(cx.waker().clone());
                if done.load(Ordering::Relaxed) {
                    return Poll::Ready(());
                }
                Poll::Pending
            }))
            .unwrap()
    };
    let find = |name: &str| {
        let all = gort::debug::goroutines();
        all.into_iter()
            .find(|goroutine| goroutine.name.as_deref() == Some(name))
    };
    eventually("waiting", || {
        find("parks inside").is_some_and(|found| {
            found
                .wait_reason
                .is_some_and(|r| r.as_str() == "chan receive")
        }) && find("awaits")
            .is_some_and(|found| found.wait_reason.is_some_and(|r| r.as_str() == "await"))
    });
    let stacks = gort::debug::stacks();
    let part_of = |name: &str| {
        let parts = stacks.split("\n\n");
        let mut with_name = parts.filter(|part| part.contains(&format!("{name:?}")));
        with_name.next().expect("it is listed").to_owned()
    };
    let inside = part_of("parks inside");
    let by = format!(" in goroutine {}", gort::current().id());
    for part in [&inside, &part_of("awaits")] {
        assert!(part.trim_end().ends_with(&by), "{part}");
    }
    assert!(
        inside.contains("[chan receive") && inside.contains("identity"),
        "{inside}"
    );
    let pending = part_of("awaits");
    assert!(
        pending.contains("[await]") && pending.contains("created at"),
        "{pending}"
    );
    assert!(!pending.contains("(...)"), "it has no stack: {pending}");

    tx.send(()).unwrap();
    parks_inside.join().unwrap().unwrap();
    assert!(gort::runtime::metrics().blocked_polls > blocked_before);
    done.store(true, Ordering::Relaxed);
    waker.lock().unwrap().take().unwrap().wake();
    awaits.join().unwrap();
}

#[gort::test(timeout = "60s")]
fn panics_and_goexit_are_its_own() {
    let error = gort::go_async(async { std::panic::panic_any(3) }).join();
    assert_eq!(error.unwrap_err().into_panic().downcast_ref(), Some(&3));
    let later = gort::go_async(async {
        yield_once().await;
        panic!("after a while")
    });
    let error: gort::JoinError = later.join().map(|(): ()| ()).unwrap_err();
    assert!(error.to_string().contains("after a while"));
    let exited = gort::go_async(async {
        yield_once().await;
        gort::goexit();
    });
    assert!(exited.join().unwrap_err().is_goexit());
}

/// Says when it is dropped, and panics then if it is to.
struct Dropped(Arc<AtomicBool>, bool);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        assert!(!self.1, "in a drop");
    }
}

#[gort::test(timeout = "60s")]
fn the_future_is_dropped_at_its_end_whatever_that_is() {
    for panics_in_drop in [false, true] {
        for how in ["returns", "panics", "exits"] {
            let dropped = Arc::new(AtomicBool::new(false));
            let guard = Dropped(dropped.clone(), panics_in_drop);
            let handle = gort::go_async(poll_fn(move |_| {
                let _ = &guard;
                match how {
                    "returns" => Poll::Ready(()),
                    "panics" => panic!("in the poll"),
                    _ => gort::goexit(),
                }
            }));
            let result = handle.join();
            assert!(dropped.load(Ordering::Acquire));
            match result {
                Ok(()) => assert!(how == "returns" && !panics_in_drop),
                Err(error) if error.is_goexit() => assert!(how == "exits" && !panics_in_drop),
                Err(error) => assert!(how == "panics" || panics_in_drop, "{how}: {error}"),
            }
        }
    }
}

#[test]
fn a_detached_one_runs_on_and_its_result_is_dropped() {
    let dropped = Arc::new(AtomicBool::new(false));
    let result = Dropped(dropped.clone(), false);
    let (tx, rx) = chan::bounded(1);
    drop(gort::go_async(async move {
        rx.recv_async().await.unwrap();
        result
    }));
    assert!(!dropped.load(Ordering::Acquire));
    tx.send(()).unwrap();
    eventually("dropped", || dropped.load(Ordering::Acquire));
}

#[test]
fn a_lock_of_its_thread_ends_with_the_poll() {
    let handle = gort::go_async(async {
        std::mem::forget(gort::lock_os_thread());
        yield_once().await;
        yield_once().await;
    });
    handle.join().unwrap();
    // All threads still run whatever comes.
    let others: Vec<_> = (0..100).map(|_| gort::go(gort::yield_now)).collect();
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn one_that_is_never_woken_waits_for_ever() {
    let handle = gort::Builder::new()
        .name("for ever")
        .go_async(pending::<()>());
    let handle = handle.unwrap();
    eventually("waiting", || {
        let all = gort::debug::goroutines();
        all.iter().any(|goroutine| {
            goroutine.name.as_deref() == Some("for ever")
                && goroutine.wait_reason.is_some_and(|r| r.as_str() == "await")
        })
    });
    assert!(!handle.is_finished());
}

/// The stack on which it is polled has one of its own, and lends it to others.
#[test]
fn its_builders_context_is_current_in_each_poll() {
    let (ctx, cancel) = gort::context::background().with_cancel();
    let (go_on, next) = gort::chan::bounded::<()>(0);
    let first = gort::Builder::new()
        .context(&ctx)
        .go_async(async move {
            next.recv_async().await.expect("sent below");
            // waits: until it is canceled
            gort::time::sleep(std::time::Duration::from_secs(3600));
            gort::context::background().err()
        })
        .expect("there is memory");
    go_on.send(()).expect("it receives");
    cancel.cancel();
    assert_eq!(first.join().expect("no panic"), None);
}

//! `gort::thread`, from goroutines and from plain threads.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gort::thread::{self, Thread};

/// Calls `body` on a goroutine, and on a plain thread, and gives up after a while.
fn on_both(body: fn()) {
    let goroutine = gort::go(body);
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        body();
        let _ = tx.send(());
    });
    match goroutine.join_timeout(Duration::from_secs(30)) {
        Ok(ended) => ended.unwrap(),
        Err(_) => panic!("it hangs:\n{}", gort::debug::stacks()),
    }
    let ended = rx.recv_timeout(Duration::from_secs(30));
    assert!(ended.is_ok(), "the plain thread panicked or hangs");
}

#[test]
fn a_token_given_before_the_park_is_not_lost_and_there_is_one() {
    on_both(|| {
        let me = thread::current();
        me.unpark();
        me.unpark();
        thread::park();
        let begin = Instant::now();
        thread::park_timeout(Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(20));
    });
}

#[test]
fn a_token_that_comes_after_a_timeout_is_for_the_next_park() {
    on_both(|| {
        thread::park_timeout(Duration::from_millis(1));
        thread::park_timeout(Duration::ZERO);
        thread::current().unpark();
        thread::park();
    });
}

/// Adds to its own counter, and waits for the other's to follow.
fn take_turns(own: &AtomicU32, other: &AtomicU32, peer: &Thread, rounds: u32, timeout: bool) {
    for round in 1..=rounds {
        own.store(round, Ordering::Relaxed);
        peer.unpark();
        while other.load(Ordering::Relaxed) < round {
            if timeout {
                thread::park_timeout(Duration::from_micros(u64::from(round % 7)));
            } else {
                thread::park();
            }
        }
    }
}

/// One side is a goroutine, the other what `start` makes; the token is all they have.
fn assert_they_take_turns(timeout: bool, with_plain_thread: bool) {
    const ROUNDS: u32 = 2_000;
    let counters = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let (tx, rx) = mpsc::channel::<Thread>();
    let first = {
        let counters = counters.clone();
        thread::spawn(move || {
            let peer = rx.recv().unwrap();
            take_turns(&counters.0, &counters.1, &peer, ROUNDS, timeout);
        })
    };
    let peer = first.thread().clone();
    let second = move || {
        tx.send(thread::current()).unwrap();
        take_turns(&counters.1, &counters.0, &peer, ROUNDS, timeout);
    };
    if with_plain_thread {
        std::thread::spawn(second).join().unwrap();
    } else {
        thread::spawn(second).join().unwrap();
    }
    first.join().unwrap();
}

#[gort::test(timeout = "60s")]
fn no_token_is_lost_between_goroutines() {
    assert_they_take_turns(false, false);
    assert_they_take_turns(true, false);
}

#[gort::test(timeout = "60s")]
fn no_token_is_lost_between_a_goroutine_and_a_plain_thread() {
    assert_they_take_turns(false, true);
    assert_they_take_turns(true, true);
}

#[gort::test(timeout = "60s")]
fn many_wakers_and_timeouts_ready_once_each() {
    let stop = Arc::new(AtomicBool::new(false));
    let sleeper = {
        let stop = stop.clone();
        thread::spawn(move || {
            let mut returns = 0u64;
            while !stop.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_micros(returns % 5));
                // Another wait of the same goroutine: a late waker must not end it early.
                let (tx, rx) = gort::chan::bounded(1);
                if returns.is_multiple_of(64) {
                    gort::go(move || tx.send(returns).unwrap());
                    assert_eq!(rx.recv(), Ok(returns));
                }
                returns += 1;
            }
        })
    };
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for i in 0..5_000 {
                    sleeper.thread().unpark();
                    if i % 8 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    stop.store(true, Ordering::Relaxed);
    sleeper.thread().unpark();
    sleeper.join().unwrap();
}

#[gort::test(timeout = "60s")]
fn a_handle_may_outlive_its_goroutine() {
    let handle = thread::spawn(|| {
        thread::park_timeout(Duration::from_millis(1));
    });
    let ended = handle.thread().clone();
    handle.join().unwrap();
    // Others use the descriptor by now.
    let others: Vec<_> = (0..100).map(|_| thread::spawn(thread::park)).collect();
    for _ in 0..100 {
        ended.unpark();
    }
    for other in others {
        assert_ne!(other.thread().id(), ended.id());
        other.thread().unpark();
        other.join().unwrap();
    }
}

#[test]
fn who_is_current_is_one_and_the_same() {
    let handle = thread::Builder::new()
        .name("one".to_owned())
        .spawn(|| {
            let ids = [thread::current().id(), thread::current().id()];
            thread::yield_now();
            assert_eq!(thread::current().name(), Some("one"));
            assert_eq!(gort::current().name().as_deref(), Some("one"));
            (ids, thread::current())
        })
        .unwrap();
    let id = handle.thread().id();
    let (ids, current) = handle.join().unwrap();
    assert_eq!(ids, [id, id]);
    assert_eq!(current.id(), id);

    let plain = std::thread::Builder::new().name("plain".to_owned());
    let plain = plain.spawn(|| (thread::current(), thread::current().id()));
    let (plain, plain_id) = plain.unwrap().join().unwrap();
    assert_eq!(plain.name(), Some("plain"));
    assert_eq!(plain.id(), plain_id);
    assert_ne!(plain_id, id);

    let started_by_go = gort::Builder::new()
        .name("go")
        .go(|| thread::current().name().map(str::to_owned));
    let name = started_by_go.unwrap().join().unwrap();
    assert_eq!(name.as_deref(), Some("go"));
}

/// Asks who is current and parks while thread-locals are destroyed.
#[gort::test(timeout = "60s")]
fn a_destructor_of_a_thread_local_can_park() {
    struct AtEnd(thread::ThreadId, mpsc::Sender<Thread>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let me = thread::current();
            // A plain thread's descriptor may have been given back by now: it is another one then.
            assert!(gort::try_current().is_none() || me.id() == self.0);
            self.1.send(me).unwrap();
            thread::park();
        }
    }
    thread_local! {
        static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    let (tx, rx) = mpsc::channel();
    let plain_tx = tx.clone();
    let set = |tx| AT_END.set(Some(AtEnd(thread::current().id(), tx)));
    let goroutine = thread::spawn(move || set(tx));
    rx.recv().unwrap().unpark();
    goroutine.join().unwrap();
    let plain = std::thread::spawn(move || set(plain_tx));
    rx.recv().unwrap().unpark();
    plain.join().unwrap();
}

#[test]
fn what_a_goroutine_panics_with_is_what_join_gives() {
    let error = thread::spawn(|| std::panic::panic_any(17)).join();
    assert_eq!(error.unwrap_err().downcast_ref(), Some(&17));
    let exited: thread::Result<()> = thread::spawn(|| gort::goexit()).join();
    let exited = exited.unwrap_err().downcast::<gort::JoinError>().unwrap();
    assert!(exited.is_goexit());
    let in_scope = thread::scope(|s| s.spawn(|| panic!("in a scope")).join());
    assert_eq!(
        in_scope.unwrap_err().downcast_ref::<&str>(),
        Some(&"in a scope")
    );
}

#[test]
#[should_panic(expected = "interior null bytes")]
fn a_name_with_a_zero_byte_is_refused() {
    let _ = thread::Builder::new().name("a\0b".to_owned()).spawn(|| {});
}

#[test]
fn stack_sizes_are_as_in_std_and_too_large_ones_are_errors() {
    let smallest = thread::Builder::new().stack_size(0).spawn(|| 1).unwrap();
    assert_eq!(smallest.join().unwrap(), 1);
    let error = thread::Builder::new()
        .stack_size(usize::MAX)
        .spawn(|| ())
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

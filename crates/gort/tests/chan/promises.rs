//! Send arms of selects: the value is made after the arm has won, and nobody else gets in between.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gort::chan::{
    self, RecvError, RecvTimeoutError, Select, SelectFuture, SendError, TryRecvError, TrySendError,
    select,
};
use gort_test_support::{SOON, eventually_parked, go_named};

/// A value that cannot be made.
fn no_value() -> i32 {
    panic!("no value")
}

#[gort::test]
fn a_parked_receiver_waits_until_the_value_is_made() {
    let (s, r) = chan::bounded(0);
    let receiver = go_named("waits for the value", move || r.recv());
    eventually_parked("waits for the value", "chan receive");
    let result = select! {
        send(s, {
            // Nobody else can send to the receiver meanwhile.
            assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
            assert!(!receiver.is_finished());
            2
        }) -> result => result,
    };
    assert_eq!(result, Ok(()));
    assert_eq!(receiver.join().unwrap(), Ok(2));
}

#[gort::test]
fn a_place_in_the_buffer_is_kept_until_the_value_is_made() {
    let (s, r) = chan::bounded(2);
    s.send(0).unwrap();
    select! {
        send(s, {
            assert!(s.is_full());
            assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
            assert_eq!(r.len(), 1);
            2
        }) -> result => assert_eq!(result, Ok(())),
    }
    assert_eq!(r.try_iter().collect::<Vec<_>>(), [0, 2]);
}

#[gort::test]
fn a_promise_is_broken_when_making_the_value_panics() {
    // A place.
    let (s, r) = chan::bounded::<i32>(1);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        select! { send(s, no_value()) -> _ => unreachable!() }
    }));
    assert!(caught.is_err());
    assert_eq!(s.try_send(1), Ok(()));
    assert_eq!(r.recv(), Ok(1));

    // A receiver, which begins again.
    let (s, r) = chan::bounded::<i32>(0);
    let receiver = go_named("begins again", move || r.recv());
    eventually_parked("begins again", "chan receive");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        select! { send(s, no_value()) -> _ => unreachable!() }
    }));
    assert!(caught.is_err());
    assert_eq!(s.send(2), Ok(()));
    assert_eq!(receiver.join().unwrap(), Ok(2));
}

#[gort::test]
fn a_promise_is_broken_by_leaving_the_select() {
    let (s, r) = chan::bounded::<i32>(1);
    let leave = || {
        select! {
            send(s, r.try_recv()?) -> result => {
                result.unwrap();
                Ok(())
            }
        }
    };
    for _ in 0..3 {
        assert_eq!(leave(), Err(TryRecvError::Empty));
    }
    assert_eq!((r.len(), s.is_full()), (0, false));
}

#[gort::test]
fn a_broken_place_is_for_the_sender_that_waits() {
    let (s, r) = chan::bounded::<i32>(1);
    let mut select = Select::new();
    select.send(&s);
    let operation = select.select();
    let sender = go_named("waits for a place", {
        let s = s.clone();
        move || s.send(1)
    });
    eventually_parked("waits for a place", "chan send");
    let dropped = catch_unwind(AssertUnwindSafe(move || drop(operation)));
    let text = dropped.unwrap_err();
    assert_eq!(
        text.downcast_ref::<&str>().copied(),
        Some("dropped `SelectedOperation` without completing the operation")
    );
    sender.join().unwrap().unwrap();
    assert_eq!(r.recv(), Ok(1));
}

#[gort::test]
fn a_receiver_that_meets_a_parked_select_gets_its_value() {
    let (s, r) = chan::bounded::<i32>(0);
    let other = chan::never::<()>();
    let selecting = go_named("selects to send", move || {
        select! {
            recv(other) -> _ => unreachable!(),
            send(s, 6 * 7) -> result => result,
        }
    });
    eventually_parked("selects to send", "select");
    // The form that does not wait as well: a sender is there.
    assert_eq!(r.try_recv(), Ok(42));
    assert_eq!(selecting.join().unwrap(), Ok(()));
    assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
}

#[gort::test]
fn a_receiver_begins_again_when_the_select_it_met_makes_no_value() {
    for with_select in [false, true] {
        let (s, r) = chan::bounded::<i32>(0);
        let selecting = gort::Builder::new().name("makes no value").go({
            let s = s.clone();
            move || {
                let other = chan::never::<()>();
                select! {
                    recv(other) -> _ => unreachable!(),
                    send(s, no_value()) -> _ => unreachable!(),
                }
            }
        });
        let selecting = selecting.unwrap();
        eventually_parked("makes no value", "select");
        let receiver = go_named("meets it", move || {
            if !with_select {
                return r.recv();
            }
            let other = chan::never::<()>();
            select! {
                recv(other) -> _ => unreachable!(),
                recv(r) -> value => value,
            }
        });
        assert!(selecting.join().unwrap_err().is_panic());
        let reason = if with_select {
            "select"
        } else {
            "chan receive"
        };
        eventually_parked("meets it", reason);
        s.send(3).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(3));
    }
}

#[gort::test]
fn a_promise_of_a_place_does_not_outlive_the_channel() {
    let (s, r) = chan::bounded::<i32>(1);
    let mut set = Select::new();
    set.send(&s);
    let operation = set.select();
    assert!(r.close());
    assert_eq!(operation.send(&s, 1), Err(SendError(1)));
    assert_eq!(r.recv(), Err(RecvError));
}

#[gort::test]
fn a_promise_to_a_receiver_is_kept_though_the_channel_closes() {
    let (s, r) = chan::bounded::<i32>(0);
    let receiver = go_named("was promised", move || r.recv());
    eventually_parked("was promised", "chan receive");
    let mut set = Select::new();
    set.send(&s);
    let operation = set.select();
    assert!(s.close());
    assert_eq!(operation.send(&s, 1), Ok(()));
    assert_eq!(receiver.join().unwrap(), Ok(1));
}

#[gort::test]
fn promises_on_an_unbounded_channel_need_no_room() {
    let (s, r) = chan::unbounded::<u32>();
    for i in 0..1000 {
        select! { send(s, i) -> result => result.unwrap() }
    }
    let mut set = Select::new();
    set.send(&s);
    let operation = set.select();
    s.send(1000).unwrap();
    operation.send(&s, 1001).unwrap();
    assert!(r.try_iter().eq(0..=1001));
}

#[gort::test]
fn the_wrong_handle_is_refused() {
    let (s, r) = chan::bounded::<i32>(1);
    let (s2, r2) = (s.clone(), r.clone());
    let mut set = Select::new();
    set.send(&s);
    let operation = set.select();
    assert!(catch_unwind(AssertUnwindSafe(move || operation.send(&s2, 1))).is_err());
    // What was promised is free again.
    assert_eq!(s.try_send(1), Ok(()));

    let mut set = Select::new();
    set.recv(&r);
    let operation = set.select();
    assert!(catch_unwind(AssertUnwindSafe(move || operation.recv(&r2))).is_err());
    // And the value is back.
    assert_eq!(r.try_recv(), Ok(1));
}

#[gort::test]
fn a_deadline_does_not_end_the_wait_for_a_promised_value() {
    let (s, r) = chan::bounded::<i32>(0);
    let (made, may_make) = chan::bounded::<()>(0);
    let selecting = go_named("slow to make", move || {
        let other = chan::never::<()>();
        select! {
            recv(other) -> _ => unreachable!(),
            send(s, { may_make.recv().unwrap(); 1 }) -> result => result,
        }
    });
    eventually_parked("slow to make", "select");
    let receiver = go_named("promised in time", move || {
        r.recv_timeout(Duration::from_millis(5))
    });
    eventually_parked("slow to make", "chan receive");
    // waits: past the receiver's deadline
    gort::time::sleep(Duration::from_millis(20));
    assert!(!receiver.is_finished());
    made.send(()).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(1));
    assert_eq!(selecting.join().unwrap(), Ok(()));
}

/// An async select that waits to send on `s`.
fn polled_once<'s, 'a>(select: &'s mut Select<'a>) -> Pin<Box<SelectFuture<'s, 'a>>> {
    let mut selecting = Box::pin(select.select_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(selecting.as_mut().poll(&mut context).is_pending());
    selecting
}

#[gort::test]
fn who_may_not_wait_does_not_wait_for_an_async_select_to_be_polled() {
    let timeout = Duration::from_millis(5);
    for way in 0..5 {
        let (s, r) = chan::bounded::<i32>(0);
        let (_open, other) = chan::bounded::<i32>(0);
        let mut select = Select::new();
        select.send(&s);
        let selecting = polled_once(&mut select);
        let mut receives = Select::new();
        receives.recv(&r);
        match way {
            0 => assert_eq!(r.try_recv(), Err(TryRecvError::Empty)),
            1 => assert_eq!(r.recv_timeout(timeout), Err(RecvTimeoutError::Timeout)),
            2 => select! {
                recv(r) -> value => panic!("{value:?}"),
                recv(other) -> value => panic!("{value:?}"),
                default => {}
            },
            3 => select! {
                recv(r) -> value => panic!("{value:?}"),
                recv(other) -> value => panic!("{value:?}"),
                default(timeout) => {}
            },
            _ => assert!(receives.try_select().is_err()),
        }
        // It was asked to send: the value comes to the next one, who is there or is not.
        gort::block_on(selecting).send(&s, 7).unwrap();
        assert_eq!(r.try_recv(), Ok(7));
    }
}

#[gort::test]
fn a_receiver_that_waits_gets_the_value_of_an_async_select_when_that_is_polled() {
    let (s, r) = chan::bounded::<i32>(0);
    let mut select = Select::new();
    select.send(&s);
    let selecting = polled_once(&mut select);
    let receiver = go_named("waits for a task", move || r.recv_timeout(SOON));
    eventually_parked("waits for a task", "chan receive");
    gort::block_on(selecting).send(&s, 7).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(7));
}

#[gort::test]
fn a_receiver_goes_on_when_the_async_select_it_met_goes_away() {
    let (s, r) = chan::bounded::<i32>(0);
    let mut select = Select::new();
    select.send(&s);
    let selecting = polled_once(&mut select);
    let receiver = go_named("met a task", move || r.recv());
    eventually_parked("met a task", "chan receive");
    drop(selecting);
    s.send(8).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(8));
}

#[gort::test]
fn one_task_may_look_for_what_the_other_sends_on_the_same_thread() {
    let (s, r) = chan::bounded::<i32>(0);
    let mut select = Select::new();
    select.send(&s);
    let mut sending = Box::pin(async { select.select_async().await.send(&s, 7) });
    let mut is_sent = false;
    let received = gort::block_on(std::future::poll_fn(|context| {
        is_sent = is_sent || sending.as_mut().poll(context).is_ready();
        match r.try_recv() {
            Ok(value) => Poll::Ready(value),
            Err(_) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }));
    assert_eq!(received, 7);
}

#[gort::test]
fn an_async_select_that_is_asked_in_vain_leaves_the_others_to_be_found() {
    let (s, r) = chan::bounded::<i32>(0);
    let mut select = Select::new();
    select.send(&s);
    let selecting = polled_once(&mut select);
    let mut sending = Box::pin(s.send_async(9));
    let mut context = Context::from_waker(Waker::noop());
    assert!(sending.as_mut().poll(&mut context).is_pending());
    assert_eq!(r.try_recv(), Ok(9));
    drop(selecting);
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
}

//! `send_async`, `recv_async` and `select_async`: ready when they should be, woken once, and undone when
//! they are dropped early.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use gort::chan::{
    self, Receiver, RecvError, Select, SendError, Sender, TryRecvError, TrySendError,
};
use gort_test_support::{Dropped, Wakes, eventually, eventually_parked, go_named};

use super::{poll, poll_to_panic};

#[gort::test]
fn a_ready_channel_needs_no_second_poll() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(1);
    assert_eq!(
        poll(&mut Box::pin(s.send_async(1)), &wakes),
        Poll::Ready(Ok(()))
    );
    assert_eq!(
        poll(&mut Box::pin(r.recv_async()), &wakes),
        Poll::Ready(Ok(1))
    );
    drop(s);
    assert_eq!(
        poll(&mut Box::pin(r.recv_async()), &wakes),
        Poll::Ready(Err(RecvError))
    );
    assert_eq!(wakes.count(), 0);
}

#[gort::test]
fn a_receiver_is_woken_once_with_its_value() {
    for capacity in [0, 1, 3] {
        let wakes = Arc::<Wakes>::default();
        let (s, r) = chan::bounded(capacity);
        let mut receive = Box::pin(r.recv_async());
        assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
        assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
        // Even without a buffer: somebody waits for the value.
        assert_eq!(s.try_send("a"), Ok(()));
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(&mut receive, &wakes), Poll::Ready(Ok("a")));
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
    }
}

#[gort::test]
fn the_waker_of_the_latest_poll_is_woken() {
    let (first, second) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
    let (s, r) = chan::bounded(0);
    let mut receive = Box::pin(r.recv_async());
    assert_eq!(poll(&mut receive, &first), Poll::Pending);
    assert_eq!(poll(&mut receive, &second), Poll::Pending);
    s.send(1).unwrap();
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[gort::test]
fn a_receiver_that_is_dropped_takes_nothing() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut receive = Box::pin(r.recv_async());
    assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
    drop(receive);
    assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(wakes.count(), 0);
}

#[gort::test]
fn a_receiver_that_is_dropped_with_its_value_gives_it_back() {
    for capacity in [0, 2] {
        let wakes = Arc::<Wakes>::default();
        let (s, r) = chan::bounded(capacity);
        let mut receive = Box::pin(r.recv_async());
        assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
        s.send(1).unwrap();
        if capacity > 0 {
            s.send(2).unwrap();
        }
        drop(receive);
        assert_eq!(r.len(), 1 + capacity / 2);
        // The value that came first is received first.
        assert_eq!(r.try_recv(), Ok(1));
        if capacity > 0 {
            assert_eq!(r.try_recv(), Ok(2));
        }
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
    }
}

#[gort::test]
fn a_value_given_back_goes_to_whoever_waits() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut first = Box::pin(r.recv_async());
    assert_eq!(poll(&mut first, &wakes), Poll::Pending);
    let second = {
        let r = r.clone();
        go_named("given back to", move || r.recv())
    };
    eventually_parked("given back to", "chan receive");
    s.send(7).unwrap();
    drop(first);
    assert_eq!(second.join().unwrap(), Ok(7));
}

#[gort::test]
fn values_given_back_are_dropped_with_the_last_receiver() {
    let wakes = Arc::<Wakes>::default();
    let drops = Arc::new(AtomicUsize::new(0));
    let (s, r) = chan::bounded(0);
    let mut futures: Vec<_> = (0..3).map(|_| Box::pin(r.recv_async())).collect();
    for future in &mut futures {
        assert!(poll(future, &wakes).is_pending());
    }
    for _ in 0..3 {
        s.send(Dropped(Arc::clone(&drops))).unwrap();
    }
    drop(futures);
    assert_eq!((r.len(), drops.load(Ordering::SeqCst)), (3, 0));
    drop(r);
    assert_eq!(drops.load(Ordering::SeqCst), 3);
}

#[gort::test]
fn a_sender_is_woken_when_its_turn_comes_and_sends_when_it_is_polled() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(1);
    s.send(1).unwrap();
    let mut send = Box::pin(s.send_async(2));
    assert_eq!(poll(&mut send, &wakes), Poll::Pending);
    assert_eq!(r.recv(), Ok(1));
    assert_eq!(wakes.count(), 1);
    // The place is kept for it.
    assert_eq!(s.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(poll(&mut send, &wakes), Poll::Ready(Ok(())));
    assert_eq!(r.recv(), Ok(2));
    assert_eq!(wakes.count(), 1);
}

#[gort::test]
fn a_sender_that_is_dropped_has_sent_nothing() {
    let wakes = Arc::<Wakes>::default();
    let drops = Arc::new(AtomicUsize::new(0));
    let (s, r) = chan::bounded(1);
    s.send(Dropped(Arc::clone(&drops))).unwrap();

    // While it waits.
    let mut send = Box::pin(s.send_async(Dropped(Arc::clone(&drops))));
    assert!(poll(&mut send, &wakes).is_pending());
    drop(send);
    assert_eq!(drops.load(Ordering::SeqCst), 1);

    // And when its turn has come but it was not polled again: the place is for the next one.
    let mut first = Box::pin(s.send_async(Dropped(Arc::clone(&drops))));
    let mut second = Box::pin(s.send_async(Dropped(Arc::clone(&drops))));
    assert!(poll(&mut first, &wakes).is_pending());
    assert!(poll(&mut second, &wakes).is_pending());
    drop(r.recv().unwrap());
    assert_eq!((drops.load(Ordering::SeqCst), wakes.count()), (2, 1));
    drop(first);
    assert_eq!((drops.load(Ordering::SeqCst), wakes.count()), (3, 2));
    assert_eq!(r.len(), 0);
    assert!(poll(&mut second, &wakes).is_ready());
    assert_eq!(r.len(), 1);
    drop(r);
    assert_eq!(drops.load(Ordering::SeqCst), 4);
}

#[gort::test]
fn a_receiver_takes_the_value_of_a_sender_that_is_not_polled() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(1);
    s.send(1).unwrap();
    let mut send = Box::pin(s.send_async(2));
    assert_eq!(poll(&mut send, &wakes), Poll::Pending);
    assert_eq!(r.recv(), Ok(1));
    assert_eq!(r.recv(), Ok(2));
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(s.try_send(3), Ok(()));
    assert_eq!(poll(&mut send, &wakes), Poll::Ready(Ok(())));
}

#[gort::test]
fn a_sender_without_a_buffer_meets_its_receiver() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut send = Box::pin(s.send_async(5));
    assert_eq!(poll(&mut send, &wakes), Poll::Pending);
    assert_eq!(r.try_recv(), Ok(5));
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut send, &wakes), Poll::Ready(Ok(())));
}

#[gort::test]
fn close_wakes_futures_and_gives_values_back() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(1);
    s.send(0).unwrap();
    let mut waiting: Vec<_> = (1..=5).map(|i| Box::pin(s.send_async(i))).collect();
    for future in &mut waiting {
        assert_eq!(poll(future, &wakes), Poll::Pending);
    }
    // One of them has a place already.
    assert_eq!(r.recv(), Ok(0));
    assert!(r.close());
    assert_eq!(wakes.count(), 5);
    for (i, future) in (1..).zip(&mut waiting) {
        assert_eq!(poll(future, &wakes), Poll::Ready(Err(SendError(i))));
    }
    assert_eq!(r.recv(), Err(RecvError));

    let (s, r) = chan::unbounded::<i32>();
    let mut receive = Box::pin(r.recv_async());
    assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
    drop(s);
    assert_eq!(wakes.count(), 6);
    assert_eq!(poll(&mut receive, &wakes), Poll::Ready(Err(RecvError)));
}

#[gort::test]
fn nil_is_pending_for_ever() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::nil();
    assert_eq!(poll(&mut Box::pin(s.send_async(1)), &wakes), Poll::Pending);
    assert_eq!(poll(&mut Box::pin(r.recv_async()), &wakes), Poll::Pending);
    let mut select = Select::new();
    select.recv(&r);
    select.send(&s);
    assert!(poll(&mut Box::pin(select.select_async()), &wakes).is_pending());
}

#[gort::test]
fn a_forgotten_future_leaks_and_harms_nobody() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut receive = Box::pin(r.recv_async());
    assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
    std::mem::forget(receive);
    // Its waiter is still queued, and gets the value.
    assert_eq!(s.try_send(1), Ok(()));
    assert_eq!(wakes.count(), 1);
    assert_eq!(s.try_send(2), Err(TrySendError::Full(2)));

    let mut select = Select::new();
    select.recv(&r);
    let mut future = Box::pin(select.select_async());
    assert!(poll(&mut future, &wakes).is_pending());
    std::mem::forget(future);
    drop(select);
    assert_eq!(s.try_send(3), Ok(()));
    drop(r);
    assert_eq!(s.send(4), Err(SendError(4)));
}

#[gort::test]
fn a_timed_channel_wakes_a_future() {
    // Later, if the machine was too busy for the future to wait before the value was due.
    let was_woken = [5, 500, 5_000].into_iter().any(|ms| {
        let wakes = Arc::<Wakes>::default();
        let r = chan::after(Duration::from_millis(ms));
        let mut receive = Box::pin(r.recv_async());
        if poll(&mut receive, &wakes).is_ready() {
            return false;
        }
        eventually("the waker is woken", || wakes.count() == 1);
        assert!(matches!(poll(&mut receive, &wakes), Poll::Ready(Ok(_))));
        true
    });
    assert!(was_woken, "it never had to wait");

    let ticks = chan::tick(Duration::from_millis(2));
    gort::block_on(async {
        let first = ticks.recv_async().await.unwrap();
        let second = ticks.recv_async().await.unwrap();
        assert!(second >= first + Duration::from_millis(2));
    });
}

#[gort::test]
fn select_async_performs_one_operation() {
    let wakes = Arc::<Wakes>::default();
    let (s1, r1) = chan::bounded::<i32>(0);
    let (s2, r2) = chan::bounded::<[u64; 40]>(1);
    let mut select = Select::new();
    let first = select.recv(&r1);
    let second = select.recv(&r2);
    {
        let mut future = Box::pin(select.select_async());
        assert!(poll(&mut future, &wakes).is_pending());
        s2.send([9; 40]).unwrap();
        assert_eq!(wakes.count(), 1);
        // It has been won: the other channel sees nobody.
        assert_eq!(s1.try_send(1), Err(TrySendError::Full(1)));
        let Poll::Ready(operation) = poll(&mut future, &wakes) else {
            panic!("still pending")
        };
        assert_eq!(operation.index(), second);
        assert_eq!(operation.recv(&r2), Ok([9; 40]));
    }
    // And again, ready at once.
    let sender = go_named("select_async's sender", move || s1.send(4));
    eventually_parked("select_async's sender", "chan send");
    let Poll::Ready(operation) = poll(&mut Box::pin(select.select_async()), &wakes) else {
        panic!("pending though a sender waits")
    };
    assert_eq!(operation.index(), first);
    assert_eq!(operation.recv(&r1), Ok(4));
    sender.join().unwrap().unwrap();
}

#[gort::test]
fn select_async_that_is_dropped_undoes_what_it_won() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded::<i32>(0);
    let (full, drain) = chan::bounded::<i32>(1);
    full.send(0).unwrap();

    // A value, which goes back.
    let mut select = Select::new();
    select.recv(&r);
    select.send(&full);
    let mut future = Box::pin(select.select_async());
    assert!(poll(&mut future, &wakes).is_pending());
    s.send(1).unwrap();
    drop(future);
    assert_eq!(r.try_recv(), Ok(1));

    // A place, which is free again.
    let mut future = Box::pin(select.select_async());
    assert!(poll(&mut future, &wakes).is_pending());
    assert_eq!(drain.recv(), Ok(0));
    assert_eq!(wakes.count(), 2);
    assert_eq!(full.try_send(5), Err(TrySendError::Full(5)));
    drop(future);
    assert_eq!(full.try_send(6), Ok(()));

    // Nothing at all.
    let mut future = Box::pin(select.select_async());
    assert!(poll(&mut future, &wakes).is_pending());
    drop(future);
    assert_eq!(s.try_send(7), Err(TrySendError::Full(7)));
}

#[gort::test]
fn select_async_keeps_a_promise() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded::<i32>(0);
    let mut select = Select::new();
    select.send(&s);
    let mut future = Box::pin(select.select_async());
    assert!(poll(&mut future, &wakes).is_pending());
    let receiver = go_named("promised", move || r.recv());
    eventually("the select is woken", || wakes.count() == 1);
    let Poll::Ready(operation) = poll(&mut future, &wakes) else {
        panic!("still pending")
    };
    assert_eq!(operation.send(&s, 3), Ok(()));
    assert_eq!(receiver.join().unwrap(), Ok(3));
}

#[gort::test]
fn a_future_that_was_held_for_a_promise_may_leave() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded::<i32>(0);
    let mut receive = Box::pin(r.recv_async());
    assert_eq!(poll(&mut receive, &wakes), Poll::Pending);
    let mut select = Select::new();
    select.send(&s);
    let operation = select.try_select().unwrap();
    drop(receive);
    // The one it was promised to has gone; another one gets the value.
    let other = go_named("gets the promised value", {
        let r = r.clone();
        move || r.recv()
    });
    eventually_parked("gets the promised value", "chan receive");
    assert_eq!(operation.send(&s, 8), Ok(()));
    assert_eq!(other.join().unwrap(), Ok(8));
}

#[gort::test]
fn futures_goroutines_and_threads_share_one_channel() {
    const EACH: u64 = 2_000;
    for capacity in [0, 1, 16] {
        let (s, r) = chan::bounded::<u64>(capacity);
        let total = Arc::new(AtomicUsize::new(0));
        let add = |total: &AtomicUsize, value: u64| {
            total.fetch_add(value as usize, Ordering::Relaxed);
        };
        let receivers = [
            gort::go({
                let (r, total) = (r.clone(), Arc::clone(&total));
                move || r.iter().for_each(|value| add(&total, value))
            }),
            gort::go({
                let (r, total) = (r.clone(), Arc::clone(&total));
                move || {
                    gort::block_on(async {
                        while let Ok(value) = r.recv_async().await {
                            add(&total, value);
                        }
                    })
                }
            }),
        ];
        let thread = std::thread::spawn({
            let (r, total) = (r, Arc::clone(&total));
            move || r.iter().for_each(|value| add(&total, value))
        });
        let senders = [
            gort::go({
                let s = s.clone();
                move || (1..=EACH).for_each(|i| s.send(i).unwrap())
            }),
            gort::go({
                let s = s.clone();
                move || {
                    gort::block_on(async {
                        for i in 1..=EACH {
                            s.send_async(i).await.unwrap();
                        }
                    })
                }
            }),
        ];
        let sender = std::thread::spawn(move || (1..=EACH).for_each(|i| s.send(i).unwrap()));
        for handle in senders {
            handle.join().unwrap();
        }
        sender.join().unwrap();
        for handle in receivers {
            handle.join().unwrap();
        }
        thread.join().unwrap();
        assert_eq!(
            total.load(Ordering::Relaxed) as u64,
            3 * EACH * (EACH + 1) / 2
        );
    }
}

#[gort::test]
fn a_waker_that_panics_keeps_nobody_from_being_woken() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded::<i32>(0);
    let mut first = Box::pin(r.recv_async());
    assert_eq!(poll_to_panic(&mut first), Poll::Pending);
    let mut others: Vec<_> = (0..5).map(|_| Box::pin(r.recv_async())).collect();
    for other in &mut others {
        assert_eq!(poll(other, &wakes), Poll::Pending);
    }
    // The panic is the task's, not ours.
    assert!(s.close());
    assert_eq!(wakes.count(), 5);
    for other in &mut others {
        assert_eq!(poll(other, &wakes), Poll::Ready(Err(RecvError)));
    }
    assert_eq!(poll(&mut first, &wakes), Poll::Ready(Err(RecvError)));
}

#[gort::test]
fn a_waker_that_panics_does_not_unwind_a_receiver_that_is_kept_for_a_promise() {
    let (s, r) = chan::bounded::<i32>(0);
    let mut select = Select::new();
    select.send(&s);
    let mut selecting = Box::pin(select.select_async());
    assert!(poll_to_panic(&mut selecting).is_pending());
    // Its value is to be written where the receiver stands: it may not go away.
    let receiver = go_named("receives", move || r.recv());
    eventually_parked("receives", "chan receive");
    let Poll::Ready(operation) = poll(&mut selecting, &Arc::default()) else {
        panic!("there is a receiver");
    };
    assert_eq!(operation.send(&s, 7), Ok(()));
    assert_eq!(receiver.join().unwrap(), Ok(7));
}

/// Parks when it is woken, until somebody receives.
struct Parks {
    is_woken: Arc<AtomicBool>,
    sender: Sender<()>,
}

impl Wake for Parks {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.sender.send(()).expect("the receiver is there");
    }
}

/// What it waits for would end what the waker waits for, if it ran that.
#[gort::test(timeout = "20s")]
fn a_receiver_kept_for_a_promise_runs_no_waker_that_parks() {
    for (is_thread, is_select) in [(false, false), (false, true), (true, false), (true, true)] {
        let (s, r) = chan::bounded::<i32>(0);
        let is_woken = Arc::new(AtomicBool::new(false));
        let (sender, woken) = chan::bounded(0);
        let waker = Waker::from(Arc::new(Parks {
            is_woken: Arc::clone(&is_woken),
            sender,
        }));
        let mut select = Select::new();
        select.send(&s);
        let mut selecting = Box::pin(select.select_async());
        assert!(
            selecting
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        let (tell, told) = chan::bounded(1);
        let receive = move || {
            let received = if is_select {
                gort::select! {
                    recv(r) -> value => value,
                    recv(chan::never::<()>()) -> _ => unreachable!(),
                }
            } else {
                r.recv()
            };
            tell.send(received).unwrap();
        };
        if is_thread {
            std::thread::spawn(receive);
        } else {
            gort::go(receive);
        }
        eventually("the task is woken", || is_woken.load(Ordering::SeqCst));
        let Poll::Ready(operation) = poll(&mut selecting, &Arc::default()) else {
            panic!("there is a receiver");
        };
        assert_eq!(operation.send(&s, 7), Ok(()));
        assert_eq!(told.recv(), Ok(Ok(7)));
        // The waker is at it all the while.
        assert_eq!(woken.recv(), Ok(()));
        assert!(woken.recv().is_err(), "once, and then it is gone");
    }
}

/// The one who would have received is the one who sends, or polls.
#[gort::test(timeout = "20s")]
fn a_promise_whose_receiver_has_gone_is_kept_at_once() {
    for is_closed in [false, true] {
        let (s, r) = chan::bounded::<i32>(0);
        let mut select = Select::new();
        select.send(&s);
        let mut selecting = Box::pin(select.select_async());
        assert!(poll(&mut selecting, &Arc::default()).is_pending());
        let mut receiving = Box::pin(r.recv_async());
        assert!(poll(&mut receiving, &Arc::default()).is_pending());
        drop(receiving);
        let Poll::Ready(operation) = poll(&mut selecting, &Arc::default()) else {
            panic!("there was a receiver");
        };
        if is_closed {
            drop(r);
            assert_eq!(operation.send(&s, 1), Err(SendError(1)));
        } else {
            assert_eq!(operation.send(&s, 1), Ok(()));
            // As what a future was handed that is then dropped.
            assert_eq!(r.recv(), Ok(1));
            assert!(r.is_empty());
        }
    }
}

/// Uses the channel whenever somebody else's code may run: when it is woken, and when it is dropped.
struct Meddles {
    receiver: Receiver<u32>,
    calls: Arc<AtomicUsize>,
}

impl Meddles {
    fn meddle(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        // Each takes the channel's lock.
        assert_eq!(self.receiver.len(), 0);
        assert!(self.receiver.try_recv().is_err());
    }
}

impl Wake for Meddles {
    fn wake(self: Arc<Self>) {
        self.meddle();
    }
}

impl Drop for Meddles {
    fn drop(&mut self) {
        self.meddle();
    }
}

#[gort::test(timeout = "20s")]
fn wakers_are_woken_and_dropped_with_no_lock_held() {
    for capacity in [Some(0), Some(1), None] {
        let (sender, receiver) = capacity.map_or_else(chan::unbounded, chan::bounded);
        let calls = Arc::new(AtomicUsize::new(0));
        let waker = || {
            Waker::from(Arc::new(Meddles {
                receiver: receiver.clone(),
                calls: Arc::clone(&calls),
            }))
        };
        let mut expected = 0;
        // Each future polled with two wakers, of which the first is dropped; then woken, or dropped
        // with its waker in it.
        let mut select = Select::new();
        select.recv(&receiver);
        let receive = Box::pin(receiver.recv_async());
        let mut futures: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![
            Box::pin(async {
                let _ = receive.await;
            }),
            Box::pin(async {
                let _ = select.select_async().await.recv(&receiver);
            }),
        ];
        for future in &mut futures {
            for _ in 0..2 {
                let waker = waker();
                assert!(
                    future
                        .as_mut()
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending()
                );
            }
            expected += 1;
        }
        drop(futures);
        expected += 2;
        assert_eq!(calls.load(Ordering::SeqCst), expected);

        // A receiver that is woken by a send, and one that is by the close.
        let mut first = Box::pin(receiver.recv_async());
        assert!(
            first
                .as_mut()
                .poll(&mut Context::from_waker(&waker()))
                .is_pending()
        );
        sender.try_send(1).expect("the future waits for it");
        expected += 2;
        assert_eq!(calls.load(Ordering::SeqCst), expected);
        let mut second = Box::pin(receiver.recv_async());
        assert!(
            second
                .as_mut()
                .poll(&mut Context::from_waker(&waker()))
                .is_pending()
        );
        sender.close();
        expected += 2;
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn an_iterator_that_has_ended_stays_so_when_a_future_gives_a_value_back() {
    let (s, r) = chan::bounded(1);
    let mut receiving = Box::pin(r.recv_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    s.send(1).unwrap();
    drop(s);
    let mut values = r.iter();
    let other = r.clone();
    let mut owned = other.into_iter();
    assert_eq!((values.next(), owned.next()), (None, None));
    drop(receiving);
    assert_eq!((values.next(), owned.next()), (None, None));
    assert_eq!(r.recv(), Ok(1));
}

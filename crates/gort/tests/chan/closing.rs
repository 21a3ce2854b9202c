//! How channels end: by `close`, by dropping handles, with values inside and with waiters outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::chan::{
    self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, select,
};
use gort_test_support::{Dropped, eventually_parked, go_named};

#[gort::test]
fn close_keeps_the_buffer_and_the_last_receiver_discards_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (s, r) = chan::bounded(3);
    for _ in 0..3 {
        s.send(Dropped(Arc::clone(&drops))).unwrap();
    }
    assert!(s.close() && !s.close() && !r.close());
    assert_eq!((r.len(), drops.load(Ordering::SeqCst)), (3, 0));
    drop(r.recv().unwrap());
    let second = r.clone();
    drop(r);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    drop(second);
    assert_eq!(drops.load(Ordering::SeqCst), 3);
    assert_eq!(s.len(), 0);
}

#[gort::test]
fn a_value_that_is_discarded_may_use_its_own_channel() {
    struct Sends(Sender<Sends>, Arc<AtomicUsize>);
    impl Drop for Sends {
        fn drop(&mut self) {
            // Not under the lock, or this would never return.
            assert!(self.0.is_empty());
            assert!(!self.0.close());
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    for unbounded in [false, true] {
        let (s, r) = if unbounded {
            chan::unbounded()
        } else {
            chan::bounded(2)
        };
        for _ in 0..2 {
            let value = Sends(s.clone(), Arc::clone(&drops));
            assert!(s.send(value).is_ok());
        }
        drop(r);
    }
    assert_eq!(drops.load(Ordering::SeqCst), 4);
}

#[gort::test]
fn dropping_the_last_handle_of_a_side_wakes_the_other() {
    let (s, r) = chan::bounded::<i32>(0);
    let receiver = go_named("loses its senders", move || r.recv());
    eventually_parked("loses its senders", "chan receive");
    let second = s.clone();
    drop(s);
    assert!(!receiver.is_finished());
    drop(second);
    assert_eq!(receiver.join().unwrap(), Err(RecvError));

    let (s, r) = chan::bounded::<i32>(0);
    let sender = go_named("loses its receivers", move || s.send(1));
    eventually_parked("loses its receivers", "chan send");
    drop(r);
    assert_eq!(sender.join().unwrap(), Err(SendError(1)));
}

#[gort::test]
fn nothing_goes_into_a_closed_channel() {
    let (s, r) = chan::unbounded();
    s.send(1).unwrap();
    s.close();
    assert_eq!(s.send(2), Err(SendError(2)));
    assert_eq!(s.try_send(3), Err(TrySendError::Disconnected(3)));
    select! {
        send(s, 4) -> result => assert_eq!(result, Err(SendError(4))),
        default => panic!("an operation on a closed channel is ready"),
    }
    assert_eq!(r.try_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
}

#[gort::test]
fn nil_is_never_closed() {
    let (s, r) = chan::nil::<i32>();
    assert!(!s.close() && !r.close());
    let (s2, r2) = (s.clone(), r.clone());
    drop((s, r));
    assert_eq!(s2.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(r2.try_recv(), Err(TryRecvError::Empty));
    assert_eq!((s2.len(), s2.capacity(), s2.is_full()), (0, Some(0), true));
    assert_eq!((r2.len(), r2.capacity(), r2.is_full()), (0, Some(0), true));
    assert!(s2.same_channel(&chan::nil().0) && r2.same_channel(&chan::never()));
}

#[gort::test]
fn a_panic_in_a_drop_leaves_the_channel_whole() {
    struct Panics(bool);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.0, "in a drop");
        }
    }
    let (s, r) = chan::bounded(2);
    assert!(s.send(Panics(true)).is_ok());
    assert!(s.send(Panics(false)).is_ok());
    let caught = std::panic::catch_unwind(move || drop(r));
    assert!(caught.is_err());
    assert!(s.send(Panics(false)).is_err());
}

#[gort::test]
fn handles_may_come_and_go_while_the_channel_works() {
    const EACH: usize = 200;
    let (s, r) = chan::bounded::<usize>(2);
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let s = s.clone();
            gort::go(move || {
                for i in 0..EACH {
                    let one_more = s.clone();
                    one_more.send(i).unwrap();
                }
            })
        })
        .collect();
    drop(s);
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let r = r.clone();
            gort::go(move || {
                let mut sum = 0;
                while let Ok(value) = Receiver::clone(&r).recv() {
                    sum += value;
                }
                sum
            })
        })
        .collect();
    drop(r);
    for sender in senders {
        sender.join().unwrap();
    }
    let sum: usize = receivers.into_iter().map(|r| r.join().unwrap()).sum();
    assert_eq!(sum, 4 * EACH * (EACH - 1) / 2);
}

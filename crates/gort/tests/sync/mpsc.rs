//! mpsc: std's shape and its error types.

use std::time::Duration;

use gort::sync::mpsc::{self, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use gort_test_support::{eventually_parked, go_named};

#[gort::test]
fn values_of_many_senders_come_in_their_order() {
    let (tx, rx) = mpsc::channel();
    for sender in 0..4 {
        let tx = tx.clone();
        gort::go(move || (0..100).for_each(|i| tx.send((sender, i)).unwrap()));
    }
    drop(tx);
    let mut next = [0; 4];
    for (sender, i) in rx {
        assert_eq!(i, next[sender]);
        next[sender] += 1;
    }
    assert_eq!(next, [100; 4]);
}

#[gort::test]
fn a_bounded_channel_waits_and_tells_errors_as_std_does() {
    let (tx, rx) = mpsc::sync_channel(1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(
        rx.recv_timeout(Duration::from_millis(1)),
        Err(RecvTimeoutError::Timeout)
    );
    tx.send(1).unwrap();
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    let sender = {
        let tx = tx.clone();
        go_named("mpsc-sender", move || tx.send(3))
    };
    eventually_parked("mpsc-sender", "chan send");
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(sender.join().unwrap(), Ok(()));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [3]);
    drop(tx);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    assert!(rx.recv().is_err());
    assert_eq!(
        rx.recv_timeout(Duration::MAX),
        Err(RecvTimeoutError::Disconnected)
    );
}

#[gort::test]
fn without_a_receiver_values_come_back() {
    let (tx, rx) = mpsc::channel();
    let (sync_tx, sync_rx) = mpsc::sync_channel(0);
    drop((rx, sync_rx));
    assert_eq!(tx.send(1), Err(SendError(1)));
    assert_eq!(sync_tx.send(2), Err(SendError(2)));
    assert_eq!(sync_tx.try_send(3), Err(TrySendError::Disconnected(3)));
}

//! `mpsc`: what holds for any channel is checked of one without bound, of rendezvous, and of a place for
//! one value (`mpsc.rs` and `mpsc_sync.rs` there).

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::sync::mpsc::{
    Receiver, RecvTimeoutError, SendError, Sender, SyncSender, TryRecvError, TrySendError, channel,
    sync_channel,
};
use gort_test_support::{eventually_parked, go_named};

use super::CountsDrops;

const SHORT: Duration = Duration::from_millis(1);

/// The sending half of either kind.
enum Tx<T> {
    Free(Sender<T>),
    Bound(SyncSender<T>),
}

impl<T> Tx<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self {
            Tx::Free(tx) => tx.send(value),
            Tx::Bound(tx) => tx.send(value),
        }
    }
}

impl<T> Clone for Tx<T> {
    fn clone(&self) -> Self {
        match self {
            Tx::Free(tx) => Tx::Free(tx.clone()),
            Tx::Bound(tx) => Tx::Bound(tx.clone()),
        }
    }
}

const KINDS: [Option<usize>; 3] = [None, Some(0), Some(1)];

fn pair<T>(bound: Option<usize>) -> (Tx<T>, Receiver<T>) {
    match bound {
        None => {
            let (tx, rx) = channel();
            (Tx::Free(tx), rx)
        }
        Some(bound) => {
            let (tx, rx) = sync_channel(bound);
            (Tx::Bound(tx), rx)
        }
    }
}

/// Whether a send to nobody there returns.
fn has_room(bound: Option<usize>) -> bool {
    bound != Some(0)
}

/// `smoke`, `smoke_shared`, `oneshot_single_thread_send_then_recv`, `.._try_send_open`, `.._try_recv_open`
#[gort::test]
fn what_is_sent_is_received() {
    for bound in KINDS.into_iter().filter(|&bound| has_room(bound)) {
        let (tx, rx) = pair(bound);
        tx.send(Box::new(1)).unwrap();
        assert_eq!(rx.recv(), Ok(Box::new(1)));
        let other = tx.clone();
        other.send(Box::new(2)).unwrap();
        assert_eq!(rx.recv(), Ok(Box::new(2)));
    }
}

/// `drop_full`, `drop_full_shared`, `drop_unreceived`, `oneshot_single_thread_close_*_first`
#[gort::test]
fn what_nobody_receives_is_dropped_with_the_receiver() {
    for bound in KINDS {
        drop(pair::<Box<i32>>(bound));
        let (tx, rx) = pair::<Box<i32>>(bound);
        drop(rx);
        drop(tx);
        if has_room(bound) {
            let drops = AtomicUsize::new(0);
            let (tx, rx) = pair(bound);
            drop(tx.clone());
            tx.send(CountsDrops(&drops)).unwrap();
            drop(rx);
            assert_eq!(drops.load(Ordering::SeqCst), 1);
        }
    }
    // Values need not be `Send` as long as their channel stays.
    let (tx, rx) = sync_channel::<Rc<()>>(1);
    let value = Rc::new(());
    let weak = Rc::downgrade(&value);
    tx.send(value).unwrap();
    drop(rx);
    assert!(weak.upgrade().is_none());
}

/// `smoke_threads`, `oneshot_multi_thread_send_recv_stress`, `oneshot_multi_task_recv_then_send`, `send1`
#[gort::test(procs = 4)]
fn a_value_passes_between_two_goroutines() {
    for bound in KINDS {
        for round in 0..50 {
            let (tx, rx) = pair(bound);
            let sender = gort::go(move || tx.send(Box::new(round)));
            let receiver = gort::go(move || rx.recv());
            assert_eq!(receiver.join().unwrap(), Ok(Box::new(round)));
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    }
}

/// `smoke_port_gone`, `smoke_shared_port_gone2`, `oneshot_single_thread_send_port_close`, `.._try_send_closed`
#[gort::test]
fn without_a_receiver_sends_fail() {
    for bound in KINDS {
        let (tx, rx) = pair(bound);
        drop(rx);
        assert_eq!(tx.send(1), Err(SendError(1)));
        let other = tx.clone();
        drop(tx);
        assert_eq!(other.send(2), Err(SendError(2)));
    }
}

/// `port_gone_concurrent`, `port_gone_concurrent_shared`, `oneshot_multi_thread_send_close_stress`
#[gort::test(procs = 4)]
fn sends_fail_once_the_receiver_goes() {
    for bound in KINDS {
        let (tx, rx) = pair(bound);
        let other = tx.clone();
        let receiver = gort::go(move || rx.recv());
        while tx.send(1).is_ok() && other.send(1).is_ok() {}
        assert_eq!(receiver.join().unwrap(), Ok(1));
    }
}

/// `smoke_chan_gone`, `smoke_chan_gone_shared`, `oneshot_single_thread_recv_chan_close`,
/// `.._try_recv_closed`, `.._peek_close`, `oneshot_single_thread_try_recv_closed_with_data`
#[gort::test]
fn without_senders_what_is_left_is_received_and_then_nothing() {
    for bound in KINDS {
        let (tx, rx) = pair::<i32>(bound);
        let other = tx.clone();
        if has_room(bound) {
            tx.send(10).unwrap();
        }
        drop((tx, other));
        if has_room(bound) {
            assert_eq!(rx.try_recv(), Ok(10));
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert!(rx.recv().is_err());
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Disconnected));
    }
}

/// `chan_gone_concurrent`, `oneshot_multi_task_recv_then_close`, `oneshot_multi_thread_recv_close_stress`
#[gort::test(procs = 4)]
fn receives_end_once_the_senders_go() {
    for bound in KINDS {
        let (tx, rx) = pair(bound);
        let receiver = go_named("counts", move || {
            let mut count = 0;
            while rx.recv().is_ok() {
                count += 1;
            }
            count
        });
        eventually_parked("counts", "chan receive");
        tx.send(1).unwrap();
        tx.send(1).unwrap();
        drop(tx);
        assert_eq!(receiver.join().unwrap(), 2);
    }
}

/// `oneshot_multi_thread_close_stress`
#[gort::test(procs = 4)]
fn both_halves_go_at_once() {
    for bound in KINDS {
        for _ in 0..100 {
            let (tx, rx) = pair::<i32>(bound);
            let other = gort::go(move || drop(rx));
            drop(tx);
            other.join().unwrap();
        }
    }
}

/// `stress`, `stress_shared`, `stress_recv_timeout_*`, `shared_chan_stress`: with patience and without
#[gort::test(procs = 4)]
fn many_senders_lose_nothing() {
    const SENDERS: usize = 8;
    const EACH: usize = 1_000;
    for bound in KINDS {
        for patience in [None, Some(Duration::from_micros(50))] {
            let (tx, rx) = pair(bound);
            let receiver = gort::go(move || {
                let mut count = 0;
                loop {
                    let result = match patience {
                        None => rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
                        Some(patience) => rx.recv_timeout(patience),
                    };
                    match result {
                        Ok(value) => {
                            assert_eq!(value, 1);
                            count += 1;
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
                count
            });
            gort::scope(|s| {
                for sender in 0..SENDERS {
                    let tx = tx.clone();
                    s.go(move || {
                        for i in 0..EACH {
                            tx.send(1).unwrap();
                            if i % 100 == sender {
                                gort::yield_now();
                            }
                        }
                    });
                }
            });
            drop(tx);
            assert_eq!(receiver.join().unwrap(), SENDERS * EACH);
        }
    }
}

/// `send_from_outside_runtime`, `recv_from_outside_runtime`, `no_runtime`: plain threads on either side
#[test]
fn plain_threads_send_and_receive() {
    for bound in KINDS {
        let (to_goroutine, from_thread) = pair(bound);
        let (to_thread, from_goroutine) = pair(bound);
        let goroutine = gort::go(move || {
            for i in 0..40 {
                assert_eq!(from_thread.recv(), Ok(i));
                to_thread.send(i + 1).unwrap();
            }
        });
        let thread = std::thread::spawn(move || {
            for i in 0..40 {
                to_goroutine.send(i).unwrap();
                assert_eq!(from_goroutine.recv(), Ok(i + 1));
            }
        });
        goroutine.join().unwrap();
        thread.join().unwrap();
        // Between two threads.
        let (tx, rx) = pair(bound);
        let sender = std::thread::spawn(move || (0..40).try_for_each(|i| tx.send(i)));
        assert!(rx.iter().eq(0..40));
        assert_eq!(sender.join().unwrap(), Ok(()));
    }
}

/// `stream_send_recv_stress`: each value is sent and received by goroutines of its own.
#[gort::test(procs = 4)]
fn halves_wander_from_goroutine_to_goroutine() {
    fn send(tx: Tx<i32>, i: i32) {
        if i < 10 {
            drop(gort::go(move || {
                tx.send(i).unwrap();
                send(tx, i + 1);
            }));
        }
    }
    fn receive(rx: Receiver<i32>, i: i32, done: Sender<()>) {
        drop(gort::go(move || {
            if i == 10 {
                return done.send(()).unwrap();
            }
            assert_eq!(rx.recv(), Ok(i));
            receive(rx, i + 1, done);
        }));
    }
    for bound in KINDS {
        let (tx, rx) = pair(bound);
        let (done, is_done) = channel();
        send(tx, 0);
        receive(rx, 0, done);
        assert_eq!(is_done.recv(), Ok(()));
    }
}

/// `oneshot_single_thread_peek_data`, `.._peek_open`, `try_recv_states`
#[gort::test(procs = 4)]
fn a_try_tells_empty_from_gone() {
    for bound in [None, Some(1)] {
        let (tx, rx) = pair(bound);
        let (next, steps) = pair(bound);
        let (did, done) = pair(bound);
        let sender = gort::go(move || {
            steps.recv().unwrap();
            tx.send(1).unwrap();
            did.send(()).unwrap();
            steps.recv().unwrap();
            drop(tx);
            did.send(()).unwrap();
        });
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        next.send(()).unwrap();
        done.recv().unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        next.send(()).unwrap();
        done.recv().unwrap();
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        sender.join().unwrap();
    }
}

/// `oneshot_single_thread_recv_timeout`, `recv_timeout`, `recv_timeout_upgrade`, `shared_recv_timeout`
#[gort::test]
fn a_timed_receive_takes_what_is_there_and_waits_no_longer_than_it_may() {
    for bound in [None, Some(1)] {
        let (tx, rx) = pair(bound);
        let _other = tx.clone();
        for _ in 0..2 {
            tx.send(()).unwrap();
            assert_eq!(rx.recv_timeout(SHORT), Ok(()));
            let start = Instant::now();
            assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
            assert!(start.elapsed() >= SHORT);
        }
    }
}

/// `very_long_recv_timeout_wont_panic`
#[gort::test(procs = 4)]
fn a_timeout_that_no_clock_reaches_is_for_ever() {
    let (tx, rx) = channel();
    let forever = Duration::from_secs(u64::MAX);
    let receiver = go_named("for-ever", move || rx.recv_timeout(forever));
    eventually_parked("for-ever", "chan receive");
    tx.send(()).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(()));
}

/// `recv_a_lot`
#[gort::test]
fn a_channel_holds_a_lot() {
    const COUNT: usize = 10_000;
    for bound in [None, Some(COUNT)] {
        let (tx, rx) = pair(bound);
        (0..COUNT).for_each(|i| tx.send(i).unwrap());
        (0..COUNT).for_each(|i| assert_eq!(rx.recv(), Ok(i)));
    }
}

/// `test_nested_recv_iter`, `test_recv_iter_break`
#[gort::test(procs = 4)]
fn an_iteration_ends_with_the_senders_or_by_a_break() {
    for bound in KINDS {
        let (tx, rx) = pair(bound);
        let sum = gort::go(move || rx.iter().sum::<i32>());
        [3, 1, 2]
            .into_iter()
            .for_each(|value| tx.send(value).unwrap());
        drop(tx);
        assert_eq!(sum.join().unwrap(), 6);

        let (tx, rx) = pair(bound);
        let taken = gort::go(move || rx.iter().take_while(|&value| value != 3).count());
        (1..=3).for_each(|value| tx.send(value).unwrap());
        // It may find nobody.
        let _ = tx.send(4);
        assert_eq!(taken.join().unwrap(), 2);
    }
}

/// `test_recv_try_iter`
#[gort::test(procs = 4)]
fn an_iteration_over_what_is_there_does_not_wait() {
    let (asks, requests) = channel();
    let (answers, responses) = channel();
    let asker = gort::go(move || {
        let mut sum = 0;
        loop {
            for value in responses.try_iter() {
                sum += value;
                if sum == 6 {
                    return sum;
                }
            }
            asks.send(()).unwrap();
            gort::yield_now();
        }
    });
    for () in requests.iter() {
        if answers.send(2).is_err() {
            break;
        }
    }
    assert_eq!(asker.join().unwrap(), 6);
}

/// `test_recv_into_iter_owned`, `test_recv_into_iter_borrowed`
#[gort::test]
fn a_receiver_is_iterated_by_value_and_by_reference() {
    for bound in [None, Some(2)] {
        let (tx, rx) = pair(bound);
        [1, 2].into_iter().for_each(|value| tx.send(value).unwrap());
        let mut borrowed = (&rx).into_iter();
        assert_eq!(borrowed.next(), Some(1));
        drop(tx);
        let mut owned = rx.into_iter();
        assert_eq!((owned.next(), owned.next()), (Some(2), None));
    }
}

/// `destroy_upgraded_shared_port_when_sender_still_active`, `issue_32114`
#[gort::test(procs = 4)]
fn a_receiver_goes_while_a_clone_of_the_sender_is_there() {
    for bound in KINDS {
        let (tx, rx) = pair(bound);
        let receiver = go_named("goes", move || {
            rx.recv().unwrap();
            drop(rx);
        });
        eventually_parked("goes", "chan receive");
        let other = tx.clone();
        drop(tx);
        other.send(()).unwrap();
        receiver.join().unwrap();
        assert_eq!(other.send(()), Err(SendError(())));
        assert_eq!(other.clone().send(()), Err(SendError(())), "still");
    }
}

/// `send2`, `send3`, `send4`: senders that wait when the receiver goes get their values back.
#[gort::test(procs = 4)]
fn waiting_senders_get_their_values_back() {
    for bound in [0, 1] {
        let (tx, rx) = sync_channel(bound);
        (0..bound).for_each(|_| tx.send(0).unwrap());
        let senders = [1, 2].map(|value| {
            let (tx, name) = (tx.clone(), format!("sends-{value}"));
            let sender = go_named(&name, move || tx.send(value));
            eventually_parked(&name, "chan send");
            sender
        });
        drop(rx);
        let results = senders.map(|sender| sender.join().unwrap());
        assert_eq!(results, [Err(SendError(1)), Err(SendError(2))]);
    }
}

/// `try_send1`, `try_send2`, `try_send3`, `oneshot_single_thread_try_send_closed2`
#[gort::test]
fn a_try_to_send_tells_full_from_gone() {
    let (tx, rx) = sync_channel(0);
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    drop(rx);
    assert_eq!(tx.try_send(1), Err(TrySendError::Disconnected(1)));
    let (tx, rx) = sync_channel(1);
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    drop(rx);
    assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
}

/// `issue_15761`
#[gort::test(procs = 4)]
fn tries_to_send_wake_who_waits() {
    for _ in 0..100 {
        let (ask, asked) = sync_channel(3);
        let (answer, answered) = sync_channel(3);
        let other = gort::go(move || {
            asked.recv().unwrap();
            answer.try_send(()).unwrap();
        });
        ask.try_send(()).unwrap();
        answered.recv().unwrap();
        other.join().unwrap();
    }
}

/// A sender is shared by reference as well: `Sync`, as std's since 1.72.
#[gort::test(procs = 4)]
fn a_sender_is_shared_by_reference() {
    fn assert_both<T: Send + Sync>() {}
    assert_both::<Sender<i32>>();
    assert_both::<SyncSender<i32>>();
    let (tx, rx) = channel();
    let tx = Arc::new(tx);
    gort::scope(|s| {
        for i in 0..10 {
            let tx = &tx;
            s.go(move || tx.send(i).unwrap());
        }
    });
    drop(tx);
    assert_eq!(rx.iter().sum::<i32>(), 45);
}

//! CH01 to CH20, CH22, CH24, CH25: what single operations do.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gort::chan::{
    self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, select,
};
use gort_conformance::support::{
    assert_not_for_a_while, eventually, eventually_parked, go_named, panic_text,
};

use super::{Counted, goroutines_max, scaled};

#[gort::test]
fn ch01_a_buffer_is_first_in_first_out() {
    let (s, r) = chan::bounded(10);
    for i in 0..10 {
        s.send(i).unwrap();
    }
    for i in 0..10 {
        assert_eq!(r.recv(), Ok(i));
    }
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn ch02_a_chain_of_receivers_is_served_in_order() {
    const N: usize = 10;
    let (s, r) = chan::bounded(0);
    let (start, mut turn) = chan::bounded(0);
    for i in 0..N {
        let r = r.clone();
        let (done, next) = chan::bounded(0);
        let my_turn = std::mem::replace(&mut turn, next);
        gort::go(move || {
            my_turn.recv().unwrap();
            assert_eq!(r.recv(), Ok(i));
            done.send(()).unwrap();
        });
    }
    start.send(()).unwrap();
    for i in 0..N {
        s.send(i).unwrap();
    }
    assert_eq!(turn.recv(), Ok(()));
}

#[gort::test]
fn ch02_parked_receivers_are_served_in_order_of_arrival() {
    for capacity in [0, 3] {
        let (s, r) = chan::bounded(capacity);
        let receivers: Vec<_> = (0..10)
            .map(|i| {
                let name = format!("ch02 receiver {capacity} {i}");
                let r = r.clone();
                let receiver = go_named(&name, move || r.recv());
                eventually_parked(&name, "chan receive");
                receiver
            })
            .collect();
        for i in 0..10 {
            s.send(i).unwrap();
        }
        for (i, receiver) in receivers.into_iter().enumerate() {
            assert_eq!(receiver.join().unwrap(), Ok(i));
        }
    }
}

#[gort::test]
fn ch03_a_non_blocking_receive_on_an_empty_channel_takes_the_default() {
    fn check<T>() {
        for capacity in [0, 1] {
            let (_s, r) = chan::bounded::<T>(capacity);
            let took_default = select! {
                recv(r) -> _ => false,
                default => true,
            };
            assert!(took_default);
            assert!(matches!(r.try_recv(), Err(TryRecvError::Empty)));
        }
    }
    check::<u32>();
    check::<u64>();
    check::<bool>();
    check::<String>();
}

#[gort::test]
fn ch04_a_non_blocking_send_finds_a_receiver_soon() {
    fn check<T: Clone + PartialEq + std::fmt::Debug + Send + 'static>(value: T) {
        for capacity in [0, 1] {
            let (s, r) = chan::bounded::<T>(capacity);
            let receiver = gort::go(move || r.recv());
            eventually("somebody receives", || {
                select! {
                    send(s, value.clone()) -> result => result.is_ok(),
                    default => false,
                }
            });
            assert_eq!(receiver.join().unwrap(), Ok(value.clone()));
        }
    }
    check(123_u32);
    check(123_456_u64);
    check(true);
    check("hello".to_owned());
}

#[gort::test]
fn ch05_a_non_blocking_receive_finds_a_sender_soon() {
    fn check<T: Clone + PartialEq + std::fmt::Debug + Send + 'static>(value: T) {
        for capacity in [0, 1] {
            let (s, r) = chan::bounded::<T>(capacity);
            let sender = gort::go({
                let value = value.clone();
                move || s.send(value)
            });
            if capacity == 0 {
                // It goes on only after the receive.
                assert_not_for_a_while("the sender has gone on", || sender.is_finished());
            } else {
                // It goes on before.
                eventually("the sender goes on", || sender.is_finished());
            }
            let mut received = None;
            eventually("somebody sends", || {
                received = select! {
                    recv(r) -> value => value.ok(),
                    default => None,
                };
                received.is_some()
            });
            assert_eq!(received, Some(value.clone()));
            sender.join().unwrap().unwrap();
        }
    }
    check(234_u32);
    check(234_567_u64);
    check(true);
    check("hello again".to_owned());
}

#[gort::test]
fn ch06_a_daisy_chain() {
    let (leftmost, end) = chan::bounded::<i32>(0);
    let mut left = leftmost;
    let links: Vec<_> = (0..scaled(10_000, 100_000).min(goroutines_max()))
        .map(|_| {
            let (right, from_right) = chan::bounded(0);
            let to_left = std::mem::replace(&mut left, right);
            gort::go(move || to_left.send(from_right.recv().unwrap()).unwrap())
        })
        .collect();
    gort::go(move || left.send(1).unwrap());
    assert_eq!(end.recv(), Ok(1));
    for link in links {
        link.join().unwrap();
    }
}

#[gort::test]
fn ch08_channels_of_zero_sized_elements() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Nothing;
    for capacity in [0, 1] {
        let (s, r) = chan::bounded(capacity);
        let sender = gort::go(move || (0..1000).for_each(|_| s.send(Nothing).unwrap()));
        for _ in 0..1000 {
            assert_eq!(r.recv(), Ok(Nothing));
        }
        assert_eq!(r.recv(), Err(RecvError));
        sender.join().unwrap();
    }
    // The capacity holds although no byte is stored.
    let (s, r) = chan::bounded(3);
    for _ in 0..3 {
        assert_eq!(s.try_send([Nothing; 7]), Ok(()));
    }
    assert_eq!(
        s.try_send([Nothing; 7]),
        Err(TrySendError::Full([Nothing; 7]))
    );
    assert_eq!(r.len(), 3);
}

#[gort::test]
fn ch09_a_channel_received_from_a_channel_is_evaluated_once() {
    let (channels, from_channels) = chan::bounded(1);
    let (s, r) = chan::bounded(1);
    channels.send(s).unwrap();
    let mut received = 0;
    let mut receive = || {
        received += 1;
        from_channels.recv().unwrap()
    };
    select! {
        send(receive(), 2) -> result => assert_eq!(result, Ok(())),
        default => panic!("there is room"),
    }
    assert_eq!(received, 1);
    assert_eq!(r.recv(), Ok(2));
    assert!(from_channels.try_recv().is_err());
}

#[gort::test]
fn ch10_the_prime_sieve() {
    const PRIMES: [u32; 25] = [
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
        97,
    ];
    let (s, mut numbers) = chan::bounded(0);
    let mut parts = vec![gort::go(move || {
        (2..).take_while(|&i| s.send(i).is_ok()).count()
    })];
    for expected in PRIMES {
        let prime = numbers.recv().unwrap();
        assert_eq!(prime, expected);
        let (s, filtered) = chan::bounded(0);
        let source = std::mem::replace(&mut numbers, filtered);
        parts.push(gort::go(move || {
            let others = source.iter().filter(|number| number % prime != 0);
            others.take_while(|&number| s.send(number).is_ok()).count()
        }));
    }
    // Go leaves the 26 goroutines parked. Here the end of the chain ends them all (D4).
    drop(numbers);
    for part in parts {
        part.join().unwrap();
    }
}

#[gort::test]
fn ch11_length_and_capacity() {
    let (s, r) = chan::bounded(10);
    let sizes = || (s.len(), s.capacity(), r.len(), r.capacity());
    assert_eq!(sizes(), (0, Some(10), 0, Some(10)));
    for i in 0..3 {
        s.send(i).unwrap();
    }
    assert_eq!(sizes(), (3, Some(10), 3, Some(10)));

    let (s, r) = chan::bounded::<i32>(0);
    assert_eq!((s.len(), s.capacity()), (0, Some(0)));
    assert_eq!((r.len(), r.capacity()), (0, Some(0)));
    let (s, r) = chan::nil::<i32>();
    assert_eq!((s.len(), s.capacity()), (0, Some(0)));
    assert_eq!((r.len(), r.capacity()), (0, Some(0)));
    let (s, _r) = chan::unbounded::<i32>();
    assert_eq!((s.len(), s.capacity()), (0, None));
}

#[gort::test]
fn ch12_a_capacity_beyond_memory_panics() {
    fn text_of<T>(capacity: usize) -> String {
        let panic = catch_unwind(|| chan::bounded::<T>(capacity)).unwrap_err();
        panic_text(&*panic).to_owned()
    }
    let text = "makechan: size out of range";
    assert_eq!(text_of::<u64>(1 << 59), text);
    // Times the size of an element it is more than fits into a word.
    assert_eq!(text_of::<u64>(usize::MAX / 2), text);
    assert_eq!(text_of::<[u64; 1024]>(usize::MAX / 1024), text);
    assert_eq!(text_of::<u8>(usize::MAX), text);
}

#[gort::test]
fn ch13_receives_from_a_closed_channel_in_every_form() {
    for capacity in [0, 1] {
        let (s, r) = chan::bounded::<i32>(capacity);
        assert!(s.close());
        for _ in 0..10 {
            assert_eq!(r.recv(), Err(RecvError));
            assert_eq!(r.recv().unwrap_or_default(), 0);
            assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
            select! {
                recv(r) -> value => assert_eq!(value, Err(RecvError)),
                default => panic!("a closed channel is ready"),
            }
            select! {
                recv(r) -> value => assert_eq!(value, Err(RecvError)),
                recv(chan::never::<()>()) -> _ => unreachable!(),
            }
            assert_eq!(r.iter().next(), None);
        }
    }
}

#[gort::test]
fn ch14_close_loses_nothing_that_was_sent() {
    let (s, r) = chan::bounded(2);
    s.send(1).unwrap();
    s.send(2).unwrap();
    assert!(s.close());
    assert_eq!(r.recv(), Ok(1));
    assert_eq!(r.recv(), Ok(2));
    assert_eq!(r.recv(), Err(RecvError));
    assert_eq!(r.recv(), Err(RecvError));
}

#[gort::test]
fn ch15_d1_sends_on_closed_channels_and_second_closes_in_every_form() {
    for capacity in [0, 1] {
        let (s, r) = chan::bounded(capacity);
        assert!(s.close());
        assert_eq!(s.send(1), Err(SendError(1)));
        assert_eq!(s.try_send(2), Err(TrySendError::Disconnected(2)));
        assert!(
            s.send_timeout(3, Duration::ZERO)
                .unwrap_err()
                .is_disconnected()
        );
        select! {
            send(s, 4) -> result => assert_eq!(result, Err(SendError(4))),
            default => panic!("a closed channel is ready"),
        }
        select! {
            send(s, 5) -> result => assert_eq!(result, Err(SendError(5))),
            recv(chan::never::<()>()) -> _ => unreachable!(),
        }
        assert!(!s.close());
        assert!(!r.close());
    }
    let (s, r) = chan::nil::<i32>();
    assert!(!s.close());
    assert!(!r.close());
}

/// Whether none of `handles` ends for a millisecond.
fn all_are_waiting<T>(handles: &[gort::JoinHandle<T>]) -> bool {
    // waits: as long as Go's test watches
    gort::time::sleep(Duration::from_millis(1));
    handles.iter().all(|handle| !handle.is_finished())
}

#[gort::test]
fn ch16_receivers_park_on_an_empty_channel() {
    for capacity in 0..scaled(20, 200) {
        let (s, r) = chan::bounded(capacity);
        let receivers = [
            gort::go({
                let r = r.clone();
                move || assert_eq!(r.recv(), Ok(0))
            }),
            gort::go({
                let r = r.clone();
                move || match r.recv() {
                    Ok(value) => assert_eq!(value, 0),
                    Err(error) => panic!("{error}"),
                }
            }),
        ];
        assert!(all_are_waiting(&receivers), "capacity {capacity}");
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        s.send(0).unwrap();
        s.send(0).unwrap();
        for receiver in receivers {
            receiver.join().unwrap();
        }
    }
}

#[gort::test]
fn ch17_a_sender_parks_on_a_full_channel() {
    for capacity in 0..scaled(20, 200) {
        let (s, r) = chan::bounded(capacity);
        for i in 0..capacity {
            s.send(i).unwrap();
        }
        let sender = [gort::go({
            let s = s.clone();
            move || s.send(capacity).unwrap()
        })];
        assert!(all_are_waiting(&sender), "capacity {capacity}");
        select! {
            send(s, 0) -> _ => panic!("capacity {capacity}: there was room"),
            default => {}
        }
        assert_eq!(r.recv(), Ok(0));
        for sender in sender {
            sender.join().unwrap();
        }
        assert_eq!(r.try_iter().last(), (capacity > 0).then_some(capacity));
    }
}

#[gort::test]
fn ch18_what_was_buffered_comes_before_the_end() {
    for capacity in 0..scaled(20, 200) {
        let (s, r) = chan::bounded(capacity);
        for i in 0..capacity {
            s.send(i).unwrap();
        }
        s.close();
        for i in 0..capacity {
            assert_eq!(r.recv(), Ok(i));
        }
        assert_eq!(r.recv(), Err(RecvError));
        assert_eq!(r.recv().unwrap_or_default(), 0);
    }
}

#[gort::test]
fn ch19_close_wakes_a_parked_receiver() {
    for capacity in 0..scaled(20, 200) {
        let (s, r) = chan::bounded::<i32>(capacity);
        let receiver = [gort::go(move || r.recv())];
        assert!(all_are_waiting(&receiver), "capacity {capacity}");
        s.close();
        for receiver in receiver {
            assert_eq!(receiver.join().unwrap(), Err(RecvError));
        }
    }
}

#[gort::test]
fn ch20_one_senders_values_arrive_in_order() {
    for capacity in 0..scaled(20, 200) {
        for in_a_loop in [false, true] {
            let (s, r) = chan::bounded(capacity);
            let sender = gort::go(move || (0..100).for_each(|i| s.send(i).unwrap()));
            if in_a_loop {
                assert!(r.iter().eq(0..100));
            } else {
                for i in 0..100 {
                    assert_eq!(r.recv(), Ok(i));
                }
                assert_eq!(r.recv(), Err(RecvError));
            }
            sender.join().unwrap();
        }
    }
}

#[gort::test]
fn ch22_length_and_capacity_empty_and_full() {
    for capacity in 0..scaled(20, 200) {
        let (s, r) = chan::bounded(capacity);
        assert_eq!((s.len(), s.capacity()), (0, Some(capacity)));
        assert_eq!((r.is_empty(), r.is_full()), (true, capacity == 0));
        for i in 0..capacity {
            s.send(i).unwrap();
        }
        assert_eq!((s.len(), s.capacity()), (capacity, Some(capacity)));
        assert_eq!((r.is_empty(), r.is_full()), (capacity == 0, true));
    }
}

#[gort::test]
fn ch24_a_shared_value_is_neither_copied_nor_dropped_twice() {
    let (s, r) = chan::bounded::<Arc<dyn Send + Sync>>(2);
    let object = Arc::new(5);
    let count = || Arc::strong_count(&object);
    s.send(object.clone()).unwrap();
    assert_eq!(count(), 2);
    s.send(object.clone()).unwrap();
    assert_eq!(count(), 3);
    // Full: the values of arms that lose are not made.
    select! {
        send(s, object.clone()) -> _ => unreachable!(),
        send(s, object.clone()) -> _ => unreachable!(),
        default => {}
    }
    assert_eq!(count(), 3);
    let returned = s.try_send(object.clone()).unwrap_err();
    assert_eq!(count(), 4);
    drop(returned);
    assert_eq!(count(), 3);
    drop(r.recv().unwrap());
    assert_eq!(count(), 2);
    let value = r.recv().unwrap();
    assert_eq!(count(), 2);
    drop(value);
    assert_eq!(count(), 1);
}

#[gort::test]
fn ch25_a_value_nobody_took_is_dropped_once() {
    const N: usize = 1000;
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::SeqCst);
    let value = || Counted(Arc::clone(&drops));

    // In the buffer, when the last handle goes: the sender's, or the receiver's.
    let fill = |(s, r): (Sender<Counted>, Receiver<Counted>)| {
        for _ in 0..N {
            s.send(value()).unwrap();
        }
        (s, r)
    };
    for (round, channel) in [chan::bounded(N), chan::unbounded()]
        .into_iter()
        .enumerate()
    {
        let (s, r) = fill(channel);
        drop(s);
        assert_eq!(count(), round * N);
        drop(r);
        assert_eq!(count(), (round + 1) * N);
    }
    for (round, channel) in [chan::bounded(N), chan::unbounded()]
        .into_iter()
        .enumerate()
    {
        let (s, r) = fill(channel);
        drop(r);
        assert_eq!(count(), (round + 3) * N);
        drop(s);
    }
    assert_eq!(count(), 4 * N);

    // Given back by a failed send.
    let (s, r) = chan::bounded(0);
    for _ in 0..N {
        let returned = s.try_send(value()).unwrap_err();
        assert!(returned.is_full());
        drop(returned);
    }
    assert_eq!(count(), 5 * N);

    // Of senders that park and then see the channel closed.
    let senders: Vec<_> = (0..N)
        .map(|_| {
            let (s, value) = (s.clone(), value());
            gort::go(move || s.send(value))
        })
        .collect();
    r.close();
    for sender in senders {
        drop(sender.join().unwrap().unwrap_err());
    }
    assert_eq!(count(), 6 * N);
}

//! S105 to S114: an article's pitfalls with channels, and its account of how they work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gort::chan::{
    self, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, select,
};
use gort::sync::{Mutex, WaitGroup};
use gort_conformance::support::{eventually_parked, go_named, reason_of};

/// A buffer with 0 to 9 in it, closed.
fn ten_numbers() -> Receiver<i32> {
    let (s, r) = chan::bounded(10);
    for i in 0..10 {
        s.send(i).unwrap();
    }
    assert!(s.close());
    r
}

#[gort::test]
fn s105_d2_a_receiver_that_ignores_the_end_reads_zeros() {
    // The literal port: of the first 15 values the last 5 are made up.
    let tasks = ten_numbers();
    let read: Vec<i32> = (0..15).map(|_| tasks.recv().unwrap_or_default()).collect();
    assert_eq!(read, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0]);
}

#[gort::test]
fn s105_d2_a_receiver_that_heeds_the_end_stops() {
    type Worker = fn(&Receiver<i32>) -> Vec<i32>;
    let workers: [Worker; 2] = [
        |tasks| {
            let mut read = Vec::new();
            while let Ok(task) = tasks.recv() {
                read.push(task);
            }
            read
        },
        |tasks| tasks.iter().collect(),
    ];
    for worker in workers {
        let tasks = ten_numbers();
        let group = WaitGroup::new();
        let printed = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..4 {
            let (tasks, printed) = (tasks.clone(), Arc::clone(&printed));
            group.go(move || {
                let read = worker(&tasks);
                printed.lock().extend(read);
            });
        }
        group.wait();
        let mut printed = std::mem::take(&mut *printed.lock());
        printed.sort_unstable();
        assert_eq!(printed, (0..10).collect::<Vec<_>>());
    }
}

#[gort::test]
fn s106_a_select_that_times_out_leaks_its_worker_unless_there_is_a_buffer() {
    for capacity in [0, 1] {
        let name = format!("s106 worker {capacity}");
        let (s, r) = chan::bounded(capacity);
        let (slow, go_on) = chan::bounded::<()>(0);
        let worker = go_named(&name, move || {
            go_on.recv().unwrap();
            s.send("result")
        });
        select! {
            recv(r) -> _ => panic!("the worker is slow"),
            recv(chan::after(Duration::from_millis(2))) -> _ => {}
        }
        slow.send(()).unwrap();
        if capacity == 0 {
            // As long as somebody keeps the receiver, the worker is stuck.
            eventually_parked(&name, "chan send");
            // When it is dropped, as it would be here, the send fails (D4).
            drop(r);
            assert_eq!(worker.join().unwrap(), Err(SendError("result")));
        } else {
            assert_eq!(worker.join().unwrap(), Ok(()));
        }
    }
}

#[gort::test]
fn s107_a_result_read_before_the_wait_may_be_old_after_it_never() {
    for capacity in [0, 1] {
        for _ in 0..1000 {
            let (s, r) = chan::bounded(capacity);
            let result = Arc::new(AtomicU32::new(0));
            let consumer = gort::go({
                let result = Arc::clone(&result);
                move || {
                    for value in r {
                        result.fetch_add(value, Ordering::Relaxed);
                    }
                }
            });
            let producer = gort::go({
                let result = Arc::clone(&result);
                move || {
                    s.send(4).unwrap();
                    result.load(Ordering::Relaxed)
                }
            });
            let early = producer.join().unwrap();
            assert!(early == 0 || early == 4, "{early}");
            consumer.join().unwrap();
            assert_eq!(result.load(Ordering::Relaxed), 4);
        }
    }
}

#[gort::test]
fn s108_a_lock_held_round_a_send_deadlocks_with_a_receiver_that_takes_it() {
    let lock = Arc::new(Mutex::new(()));
    let (s, r) = chan::bounded(1);
    let group = WaitGroup::new();
    let consumed = Arc::new(Mutex::new(Vec::new()));
    // The producer has the lock before the consumer asks for it, as in every run of the article's
    // program that prints nothing.
    let (locked, is_locked) = chan::bounded(1);
    group.add(2);
    let producer = go_named("s108 producer", {
        let (lock, group) = (Arc::clone(&lock), group.clone());
        move || {
            let _guard = lock.lock();
            locked.send(()).unwrap();
            for i in 0..4 {
                s.send(i).unwrap();
            }
            group.done();
        }
    });
    is_locked.recv().unwrap();
    let consumer = go_named("s108 consumer", {
        let (lock, group, r) = (Arc::clone(&lock), group.clone(), r.clone());
        let consumed = Arc::clone(&consumed);
        move || {
            for value in r {
                let _guard = lock.lock();
                consumed.lock().push(value);
            }
            group.done();
        }
    });
    let main = go_named("s108 main", move || group.wait());
    eventually_parked("s108 consumer", "sync.Mutex.Lock");
    eventually_parked("s108 producer", "chan send");
    eventually_parked("s108 main", "sync.WaitGroup.Wait");
    assert!(consumed.lock().is_empty());
    // They stay: each waits for what another has.
    assert_eq!(reason_of("s108 producer").as_deref(), Some("chan send"));
    // Somebody from outside takes what is in the way.
    let mut taken = Vec::new();
    while !producer.is_finished() {
        taken.extend(r.try_recv());
        gort::yield_now();
    }
    producer.join().unwrap();
    consumer.join().unwrap();
    main.join().unwrap();
    taken.append(&mut consumed.lock());
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3]);

    // The cure: no lock round the channel.
    let (s, r) = chan::bounded(1);
    gort::go(move || (0..4).for_each(|i| s.send(i).unwrap()));
    let consumer = gort::go(move || {
        let mut printed = Vec::new();
        for value in r {
            let _guard = lock.lock();
            printed.push(value);
        }
        printed
    });
    assert_eq!(consumer.join().unwrap(), [0, 1, 2, 3]);
}

#[gort::test]
fn s109_length_and_capacity() {
    let (s, r) = chan::bounded(3);
    assert_eq!((s.len(), s.capacity()), (0, Some(3)));
    s.send('a').unwrap();
    s.send('b').unwrap();
    assert_eq!((r.len(), r.capacity()), (2, Some(3)));
    let (s, r) = chan::bounded::<char>(0);
    assert_eq!(
        (s.len(), s.capacity(), r.len(), r.capacity()),
        (0, Some(0), 0, Some(0))
    );
    // Nor do those who wait count.
    let sender = go_named("s109 sender", move || s.send('c'));
    eventually_parked("s109 sender", "chan send");
    assert_eq!((r.len(), r.capacity()), (0, Some(0)));
    assert_eq!(r.recv(), Ok('c'));
    sender.join().unwrap().unwrap();
    let (s, r) = chan::nil::<char>();
    assert_eq!(
        (s.len(), s.capacity(), r.len(), r.capacity()),
        (0, Some(0), 0, Some(0))
    );
}

#[gort::test]
fn s110_a_send_hands_over_buffers_or_parks() {
    let (s, r) = chan::bounded(1);
    // (1) A receiver waits: the value goes to it and not through the buffer.
    let receiver = go_named("s110 receiver", {
        let r = r.clone();
        move || r.recv()
    });
    eventually_parked("s110 receiver", "chan receive");
    assert_eq!(s.try_send(1), Ok(()));
    assert_eq!(r.len(), 0);
    assert_eq!(receiver.join().unwrap(), Ok(1));
    // (2) There is room.
    assert_eq!(s.try_send(2), Ok(()));
    assert_eq!(r.len(), 1);
    // (3) It parks until a receiver takes the value, or the channel is closed.
    let sender = go_named("s110 sender", {
        let s = s.clone();
        move || s.send(3)
    });
    eventually_parked("s110 sender", "chan send");
    assert_eq!(r.recv(), Ok(2));
    assert_eq!(sender.join().unwrap(), Ok(()));
    let sender = go_named("s110 sender", {
        let s = s.clone();
        move || s.send(4)
    });
    eventually_parked("s110 sender", "chan send");
    s.close();
    assert_eq!(sender.join().unwrap(), Err(SendError(4)));
    assert_eq!(r.recv(), Ok(3));
}

#[gort::test]
fn s111_a_receive_keeps_the_order_of_buffer_and_parked_senders() {
    // (1) Unbuffered: from the sender that waits.
    let (s, r) = chan::bounded(0);
    let sender = go_named("s111 sender", move || s.send(1));
    eventually_parked("s111 sender", "chan send");
    assert_eq!(r.recv(), Ok(1));
    sender.join().unwrap().unwrap();
    // (1) Full: the head of the buffer, and the sender's value goes to its tail.
    let (s, r) = chan::bounded(2);
    s.send(10).unwrap();
    s.send(11).unwrap();
    let senders: Vec<_> = (12..15)
        .map(|i| {
            let s = s.clone();
            let name = format!("s111 sender {i}");
            let sender = go_named(&name, move || s.send(i));
            eventually_parked(&name, "chan send");
            sender
        })
        .collect();
    assert_eq!(r.recv(), Ok(10));
    assert_eq!(r.len(), 2);
    // (2) From the buffer.
    for expected in 11..15 {
        assert_eq!(r.recv(), Ok(expected));
    }
    for sender in senders {
        sender.join().unwrap().unwrap();
    }
    // (4) It parks.
    let receiver = go_named("s111 receiver", {
        let r = r.clone();
        move || r.recv()
    });
    eventually_parked("s111 receiver", "chan receive");
    s.send(15).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(15));
    // (3) Closed.
    s.close();
    assert_eq!(r.recv(), Err(RecvError));
}

/// What a select with a default does.
fn non_blocking(s: &Sender<i32>, r: &Receiver<i32>) -> [String; 2] {
    let received = select! {
        recv(r) -> value => format!("{value:?}"),
        default => "default".to_owned(),
    };
    let sent = select! {
        send(s, 7) -> result => format!("{result:?}"),
        default => "default".to_owned(),
    };
    [received, sent]
}

#[gort::test(leaks = "allow")]
fn s112_d1_d3_the_column_of_the_nil_channel() {
    let (s, r) = chan::nil::<i32>();
    assert!(!s.close() && !r.close());
    type Operation = fn(Sender<i32>, Receiver<i32>) -> bool;
    let operations: [(&str, &str, Operation); 3] = [
        ("s112 receive", "chan receive (nil chan)", |_, r| {
            r.recv().is_ok()
        }),
        ("s112 send", "chan send (nil chan)", |s, _| {
            s.send(1).is_ok()
        }),
        ("s112 range", "chan receive (nil chan)", |_, r| {
            r.iter().count() > 0
        }),
    ];
    for (name, reason, operation) in operations {
        let (s, r) = (s.clone(), r.clone());
        go_named(name, move || operation(s, r));
        eventually_parked(name, reason);
    }
    assert_eq!(non_blocking(&s, &r), ["default", "default"]);
    assert_eq!((s.len(), s.capacity()), (0, Some(0)));
    assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn s112_d1_the_column_of_a_closed_channel() {
    let (s, r) = chan::bounded(3);
    for i in 1..=3 {
        s.send(i).unwrap();
    }
    assert!(s.close());
    assert!(!s.close());
    assert_eq!((s.len(), s.capacity()), (3, Some(3)));
    assert_eq!(r.recv(), Ok(1));
    assert_eq!(s.send(4), Err(SendError(4)));
    assert_eq!(s.try_send(5), Err(TrySendError::Disconnected(5)));
    assert_eq!(non_blocking(&s, &r), ["Ok(2)", "Err(SendError(..))"]);
    assert_eq!(r.iter().collect::<Vec<_>>(), [3]);
    assert_eq!(r.recv(), Err(RecvError));
    assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(
        non_blocking(&s, &r),
        ["Err(RecvError)", "Err(SendError(..))"]
    );
    assert_eq!((s.len(), s.capacity()), (0, Some(3)));
}

#[gort::test]
fn s112_d1_the_column_of_an_open_channel() {
    let (s, r) = chan::bounded(1);
    assert_eq!(non_blocking(&s, &r), ["default", "Ok(())"]);
    assert_eq!(non_blocking(&s, &r), ["Ok(7)", "Ok(())"]);
    assert_eq!((s.len(), s.capacity()), (1, Some(1)));
    let full = select! {
        send(s, 8) -> _ => false,
        default => true,
    };
    assert!(full);
    let sender = go_named("s112 parks", {
        let s = s.clone();
        move || s.send(8)
    });
    eventually_parked("s112 parks", "chan send");
    assert_eq!((r.recv(), r.recv()), (Ok(7), Ok(8)));
    sender.join().unwrap().unwrap();
    let ranges = go_named("s112 ranges", move || r.iter().collect::<Vec<_>>());
    eventually_parked("s112 ranges", "chan receive");
    s.send(9).unwrap();
    eventually_parked("s112 ranges", "chan receive");
    assert!(s.close());
    assert_eq!(ranges.join().unwrap(), [9]);
}

#[gort::test]
fn s113_d1_close_wakes_every_parked_receiver_and_sender() {
    let parked = |what: &'static str, reason: &str| {
        for i in 0..100 {
            eventually_parked(&format!("s113 {what} {i}"), reason);
        }
    };
    let (s, r) = chan::bounded::<usize>(0);
    let receivers: Vec<_> = (0..100)
        .map(|i| {
            let r = r.clone();
            go_named(&format!("s113 receiver {i}"), move || r.recv())
        })
        .collect();
    parked("receiver", "chan receive");
    s.close();
    for receiver in receivers {
        assert_eq!(receiver.join().unwrap(), Err(RecvError));
    }

    let (s, _r) = chan::bounded::<usize>(0);
    let senders: Vec<_> = (0..100)
        .map(|i| {
            let s = s.clone();
            go_named(&format!("s113 sender {i}"), move || s.send(i))
        })
        .collect();
    parked("sender", "chan send");
    s.close();
    for (i, sender) in senders.into_iter().enumerate() {
        assert_eq!(sender.join().unwrap(), Err(SendError(i)));
    }
}

#[gort::test]
fn s114_ch07_d21_a_receiver_may_close_and_gives_senders_their_values_back() {
    let (s, r) = chan::bounded(1);
    s.send(0).unwrap();
    let senders: Vec<_> = (1..4)
        .map(|i| {
            let s = s.clone();
            let name = format!("s114 sender {i}");
            let sender = go_named(&name, move || s.send(i));
            eventually_parked(&name, "chan send");
            sender
        })
        .collect();
    assert!(r.close());
    for (i, sender) in (1..).zip(senders) {
        assert_eq!(sender.join().unwrap(), Err(SendError(i)));
    }
    assert_eq!(r.recv(), Ok(0));
    assert_eq!(r.recv(), Err(RecvError));
}

//! SE01, SE03 to SE08, SE15, SE16, SE18 to SE20, SE22: what one select does.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use gort::chan::{self, Receiver, RecvError, Select, SendError, Sender, select};
use gort_conformance::support::{eventually_parked, go_named};

#[gort::test]
fn se01_d20_nil_disables_an_arm() {
    let (mut a, from_a) = chan::bounded(1);
    let (mut b, from_b) = chan::bounded(1);
    // Go makes the values of all send arms on every entry; here only the winner's is made.
    let made = Cell::new(0);
    let make = |value: i32| {
        made.set(made.get() + 1);
        value
    };
    let mut sends = 0;
    loop {
        let won = select! {
            send(a, make(1)) -> result => {
                result.unwrap();
                Some(&mut a)
            }
            send(b, make(2)) -> result => {
                result.unwrap();
                Some(&mut b)
            }
            default => None,
        };
        match won {
            Some(s) => *s = chan::nil().0,
            None => break,
        }
        sends += 1;
    }
    assert_eq!((sends, made.get()), (2, 2));
    assert_eq!((from_a.recv(), from_b.recv()), (Ok(1), Ok(2)));
}

#[gort::test]
fn se03_the_destination_of_an_arm_not_chosen_is_not_evaluated() {
    let (s, r) = chan::bounded(1);
    s.send(7).unwrap();
    let mut values = [0; 2];
    let index = |evaluated: bool| {
        assert!(evaluated, "the destination of an arm that was not chosen");
        1
    };
    select! {
        recv(chan::never::<i32>()) -> value => values[index(false)] = value.unwrap(),
        recv(r) -> value => values[index(true)] = value.unwrap(),
        default => values[index(false)] = 1,
    }
    assert_eq!(values, [0, 7]);
}

/// Records what is evaluated, in which order.
#[derive(Default)]
struct Recorder(RefCell<Vec<&'static str>>);

impl Recorder {
    fn note<T>(&self, what: &'static str, value: T) -> T {
        self.0.borrow_mut().push(what);
        value
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }
}

#[gort::test]
fn se04_d20_operands_are_evaluated_once_and_in_order() {
    let seen = Recorder::default();
    let (s, r) = chan::bounded(1);
    let (nil_s, nil_r) = chan::nil::<i32>();

    // Two arms: the value after the choice, the place of the result last.
    let mut place = [0; 1];
    select! {
        recv(seen.note("receiver", &nil_r)) -> _ => unreachable!(),
        send(seen.note("sender", &s), seen.note("value", 5)) -> result => {
            place[seen.note("place", 0)] = i32::from(result.is_ok());
        }
    }
    assert_eq!(seen.take(), ["receiver", "sender", "value", "place"]);
    assert_eq!(place, [1]);

    // Three, with a default that is not taken.
    select! {
        send(seen.note("1", &nil_s), seen.note("value 1", 1)) -> _ => unreachable!(),
        recv(seen.note("2", &r)) -> value => assert_eq!(seen.note("place", value), Ok(5)),
        send(seen.note("3", &nil_s), seen.note("value 3", 1)) -> _ => unreachable!(),
        default => unreachable!(),
    }
    assert_eq!(seen.take(), ["1", "2", "3", "place"]);

    // Four, with a default that is: no value is made.
    select! {
        send(seen.note("1", &nil_s), seen.note("value 1", 1)) -> _ => unreachable!(),
        default => { seen.note("default", ()) }
        recv(seen.note("2", &r)) -> _ => unreachable!(),
        recv(seen.note("3", &nil_r)) -> _ => unreachable!(),
        send(seen.note("4", &nil_s), seen.note("value 4", 1)) -> _ => unreachable!(),
    }
    assert_eq!(seen.take(), ["1", "2", "3", "4", "default"]);

    // Eight, the last one wins; the timeout is evaluated once, after the channels.
    select! {
        recv(seen.note("1", &nil_r)) -> _ => unreachable!(),
        recv(seen.note("2", &r)) -> _ => unreachable!(),
        send(seen.note("3", &nil_s), seen.note("value 3", 1)) -> _ => unreachable!(),
        recv(seen.note("4", &nil_r)) -> _ => unreachable!(),
        recv(seen.note("5", &nil_r)) -> _ => unreachable!(),
        send(seen.note("6", &nil_s), seen.note("value 6", 1)) -> _ => unreachable!(),
        recv(seen.note("7", &r)) -> _ => unreachable!(),
        send(seen.note("8", &s), seen.note("value 8", 8)) -> result => result.unwrap(),
        default(seen.note("timeout", Duration::from_secs(60))) => unreachable!(),
    }
    assert_eq!(
        seen.take(),
        ["1", "2", "3", "4", "5", "6", "7", "8", "timeout", "value 8"]
    );
    assert_eq!(r.recv(), Ok(8));

    // A value that is wanted in any case is made before.
    let value = seen.note("value", 9);
    select! {
        send(seen.note("sender", &nil_s), value) -> _ => unreachable!(),
        default => {}
    }
    assert_eq!(seen.take(), ["value", "sender"]);
}

#[gort::test]
fn se05_the_default_arm_may_stand_anywhere() {
    let (s, r) = chan::bounded(1);
    for is_full in [false, true] {
        let first = select! {
            default => "default",
            recv(r) -> _ => "r",
            recv(chan::never::<()>()) -> _ => "never",
        };
        if is_full {
            s.send(1).unwrap();
        }
        let middle = select! {
            recv(r) -> _ => "r",
            default => "default",
            recv(chan::never::<()>()) -> _ => "never",
        };
        if is_full {
            s.send(1).unwrap();
        }
        let last = select! {
            recv(chan::never::<()>()) -> _ => "never",
            recv(r) -> _ => "r",
            default => "default",
        };
        if is_full {
            assert_eq!([first, middle, last], ["r"; 3]);
        } else {
            assert_eq!([first, middle, last], ["default"; 3]);
            s.send(1).unwrap();
        }
    }
}

#[gort::test]
fn se06_a_stale_entry_takes_no_value() {
    for _ in 0..100 {
        let (to_1, c1) = chan::bounded::<bool>(0);
        let (to_2, c2) = chan::bounded::<bool>(0);
        let (to_3, c3) = chan::bounded::<bool>(0);
        let (done, ended) = chan::bounded(0);
        let first = gort::go({
            let (c1, done) = (c1.clone(), done.clone());
            move || {
                c1.recv().unwrap();
                done.send(1).unwrap();
            }
        });
        let second = gort::go(move || {
            select! {
                recv(c1) -> _ => unreachable!("nothing was sent there yet"),
                recv(c2) -> value => {
                    value.unwrap();
                    to_3.send(true).unwrap();
                }
            }
            c1.recv().unwrap();
            done.send(2).unwrap();
        });
        to_2.send(true).unwrap();
        c3.recv().unwrap();
        // One of these must not go to the entry that the second one's select had in this queue.
        to_1.send(true).unwrap();
        to_1.send(true).unwrap();
        assert_eq!(ended.iter().take(2).sum::<i32>(), 3);
        first.join().unwrap();
        second.join().unwrap();
    }
}

#[gort::test]
fn se07_each_form_of_receive_meets_each_form_of_send() {
    let receives: [fn(Receiver<i32>) -> i32; 3] = [
        |r| r.recv().unwrap(),
        |r| select! { recv(r) -> value => value.unwrap() },
        |r| {
            let (_s, other) = chan::bounded::<i32>(0);
            select! {
                recv(r) -> value => value.unwrap(),
                recv(other) -> _ => unreachable!(),
            }
        },
    ];
    type Send = fn(Sender<i32>, &Sender<i32>);
    let sends: [Send; 3] = [
        |s, _| s.send(42).unwrap(),
        |s, _| select! { send(s, 42) -> result => result.unwrap() },
        |s, other| {
            select! {
                send(s, 42) -> result => result.unwrap(),
                send(other, 0) -> _ => unreachable!(),
            }
        },
    ];
    for (i, receive) in receives.into_iter().enumerate() {
        for (j, send) in sends.into_iter().enumerate() {
            let (s, r) = chan::bounded(0);
            let (other, _nobody) = chan::bounded(0);
            let name = format!("se07 receiver {i} {j}");
            let receiver = go_named(&name, move || receive(r));
            let reason = if i == 2 { "select" } else { "chan receive" };
            eventually_parked(&name, reason);
            send(s, &other);
            assert_eq!(receiver.join().unwrap(), 42);
        }
    }
}

#[gort::test]
fn se08_break_leaves_the_select_only() {
    let (s, r) = chan::bounded(1);
    let after = Cell::new(0);
    // A block with a label is what Go's `break` leaves; the code behind the select runs.
    s.send(()).unwrap();
    'select: {
        select! {
            recv(r) -> _ => break 'select,
        }
    }
    after.set(after.get() + 1);
    'select: {
        select! {
            default => break 'select,
        }
    }
    after.set(after.get() + 1);
    for is_ready in [false, true] {
        if is_ready {
            s.send(()).unwrap();
        }
        'select: {
            select! {
                recv(r) -> _ => break 'select,
                default => break 'select,
            }
        }
        after.set(after.get() + 1);
        if is_ready {
            s.send(()).unwrap();
        }
        'select: {
            select! {
                recv(r) -> _ => break 'select,
                recv(chan::never::<()>()) -> _ => unreachable!(),
                default => break 'select,
            }
        }
        after.set(after.get() + 1);
    }
    assert_eq!(after.get(), 6);
    s.send(()).unwrap();
    // Without a label it leaves the loop around, for the macro is no loop.
    for round in 0.. {
        select! {
            recv(r) -> value => value.unwrap(),
            default => break,
        }
        assert_eq!(round, 0, "the only value is taken in the first round");
    }
}

#[gort::test]
fn se15_one_channel_twice_in_a_select() {
    for _ in 0..100 {
        let (to_c, c) = chan::bounded(0);
        let (to_d, d) = chan::bounded(0);
        let (to_e, e) = chan::bounded(0);
        let first = go_named("se15 A", {
            let c = c.clone();
            move || {
                select! {
                    recv(c) -> _ => unreachable!("B has taken it"),
                    recv(c) -> _ => unreachable!("B has taken it"),
                    recv(d) -> value => assert_eq!(value, Ok(7)),
                }
                to_e.send(9).unwrap();
            }
        });
        eventually_parked("se15 A", "select");
        let second = go_named("se15 B", move || assert_eq!(c.recv(), Ok(8)));
        eventually_parked("se15 B", "chan receive");
        to_d.send(7).unwrap();
        assert_eq!(e.recv(), Ok(9));
        to_c.send(8).unwrap();
        first.join().unwrap();
        second.join().unwrap();
    }
}

#[gort::test]
fn se16_a_losing_arms_variable_is_untouched() {
    let (_s, c) = chan::bounded::<i64>(0);
    let (to_d, d) = chan::bounded::<()>(0);
    let parked: Vec<_> = (0..2)
        .map(|i| {
            let (c, d) = (c.clone(), d.clone());
            let name = format!("se16 {i}");
            let handle = go_named(&name, move || {
                let mut value = 0x1234_5678_i64;
                select! {
                    recv(c) -> received => value = received.unwrap(),
                    recv(c) -> received => value = received.unwrap(),
                    recv(d) -> result => assert_eq!(result, Err(RecvError)),
                    recv(chan::never::<i64>()) -> received => value = received.unwrap(),
                }
                value
            });
            eventually_parked(&name, "select");
            handle
        })
        .collect();
    to_d.close();
    for handle in parked {
        assert_eq!(handle.join().unwrap(), 0x1234_5678);
    }
}

#[gort::test(leaks = "allow")]
fn se18_selects_of_one_arm_of_none_and_of_the_default_only() {
    // One arm waits as the plain operation does.
    let (s, r) = chan::bounded::<i32>(0);
    let receiver = go_named(
        "se18 receives",
        move || select! { recv(r) -> value => value },
    );
    eventually_parked("se18 receives", "chan receive");
    select! { send(s, 1) -> result => result.unwrap() }
    assert_eq!(receiver.join().unwrap(), Ok(1));
    let (s, r) = chan::bounded::<i32>(0);
    let sender = go_named(
        "se18 sends",
        move || select! { send(s, 2) -> result => result },
    );
    eventually_parked("se18 sends", "chan send");
    assert_eq!(r.recv(), Ok(2));
    sender.join().unwrap().unwrap();
    go_named("se18 nil", || {
        select! { recv(chan::never::<()>()) -> _ => unreachable!() }
    });
    eventually_parked("se18 nil", "chan receive (nil chan)");

    // Only the default returns at once.
    let value = select! { default => 3 };
    assert_eq!(value, 3);

    // None waits for ever; so does an endless timeout with nothing else.
    go_named("se18 none", || {
        select! { default(Duration::MAX) => unreachable!() }
    });
    eventually_parked("se18 none", "select (no cases)");
    assert!(Select::new().try_select().is_err());
    assert!(
        Select::new()
            .select_timeout(Duration::from_millis(1))
            .is_err()
    );
}

#[gort::test]
fn se19_d1_a_closed_send_arm_counts_as_ready() {
    let (closed, _receiver) = chan::bounded::<i32>(1);
    closed.close();
    let (s, r) = chan::bounded(1);
    let mut counts = [0; 2];
    for _ in 0..1000 {
        s.send(1).unwrap();
        select! {
            send(closed, 5) -> result => {
                assert_eq!(result, Err(SendError(5)));
                counts[0] += 1;
                r.recv().unwrap();
            }
            recv(r) -> value => {
                assert_eq!(value, Ok(1));
                counts[1] += 1;
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[gort::test]
fn se20_d1_close_wakes_goroutines_parked_in_select() {
    let (s, r) = chan::bounded::<usize>(0);
    let (never_s, never_r) = chan::bounded::<usize>(0);
    let receivers: Vec<_> = (0..100)
        .map(|i| {
            let (r, never_r) = (r.clone(), never_r.clone());
            go_named(&format!("se20 receiver {i}"), move || {
                select! {
                    recv(never_r) -> _ => unreachable!(),
                    recv(r) -> value => assert_eq!(value, Err(RecvError)),
                }
            })
        })
        .collect();
    for i in 0..100 {
        eventually_parked(&format!("se20 receiver {i}"), "select");
    }
    assert!(s.close());
    for receiver in receivers {
        receiver.join().unwrap();
    }

    let (s, r) = chan::bounded::<usize>(0);
    let senders: Vec<_> = (0..100)
        .map(|i| {
            let (s, never_s) = (s.clone(), never_s.clone());
            let name = format!("se20 sender {i}");
            go_named(&name, move || {
                select! {
                    send(never_s, 0) -> _ => unreachable!(),
                    send(s, i) -> result => assert_eq!(result, Err(SendError(i))),
                }
            })
        })
        .collect();
    for i in 0..100 {
        eventually_parked(&format!("se20 sender {i}"), "select");
    }
    assert!(r.close());
    for sender in senders {
        sender.join().unwrap();
    }
}

#[gort::test]
fn se22_sixty_four_arms() {
    let channels: Vec<_> = (0..64).map(|_| chan::bounded(1)).collect();
    let (s, r): (Vec<Sender<usize>>, Vec<Receiver<usize>>) = channels.into_iter().unzip();
    for (ready, s) in s.iter().enumerate() {
        s.send(ready).unwrap();
        let (value, index) = select! {
            recv(r[0]) -> value => (value, 0),
            recv(r[1]) -> value => (value, 1),
            recv(r[2]) -> value => (value, 2),
            recv(r[3]) -> value => (value, 3),
            recv(r[4]) -> value => (value, 4),
            recv(r[5]) -> value => (value, 5),
            recv(r[6]) -> value => (value, 6),
            recv(r[7]) -> value => (value, 7),
            recv(r[8]) -> value => (value, 8),
            recv(r[9]) -> value => (value, 9),
            recv(r[10]) -> value => (value, 10),
            recv(r[11]) -> value => (value, 11),
            recv(r[12]) -> value => (value, 12),
            recv(r[13]) -> value => (value, 13),
            recv(r[14]) -> value => (value, 14),
            recv(r[15]) -> value => (value, 15),
            recv(r[16]) -> value => (value, 16),
            recv(r[17]) -> value => (value, 17),
            recv(r[18]) -> value => (value, 18),
            recv(r[19]) -> value => (value, 19),
            recv(r[20]) -> value => (value, 20),
            recv(r[21]) -> value => (value, 21),
            recv(r[22]) -> value => (value, 22),
            recv(r[23]) -> value => (value, 23),
            recv(r[24]) -> value => (value, 24),
            recv(r[25]) -> value => (value, 25),
            recv(r[26]) -> value => (value, 26),
            recv(r[27]) -> value => (value, 27),
            recv(r[28]) -> value => (value, 28),
            recv(r[29]) -> value => (value, 29),
            recv(r[30]) -> value => (value, 30),
            recv(r[31]) -> value => (value, 31),
            recv(r[32]) -> value => (value, 32),
            recv(r[33]) -> value => (value, 33),
            recv(r[34]) -> value => (value, 34),
            recv(r[35]) -> value => (value, 35),
            recv(r[36]) -> value => (value, 36),
            recv(r[37]) -> value => (value, 37),
            recv(r[38]) -> value => (value, 38),
            recv(r[39]) -> value => (value, 39),
            recv(r[40]) -> value => (value, 40),
            recv(r[41]) -> value => (value, 41),
            recv(r[42]) -> value => (value, 42),
            recv(r[43]) -> value => (value, 43),
            recv(r[44]) -> value => (value, 44),
            recv(r[45]) -> value => (value, 45),
            recv(r[46]) -> value => (value, 46),
            recv(r[47]) -> value => (value, 47),
            recv(r[48]) -> value => (value, 48),
            recv(r[49]) -> value => (value, 49),
            recv(r[50]) -> value => (value, 50),
            recv(r[51]) -> value => (value, 51),
            recv(r[52]) -> value => (value, 52),
            recv(r[53]) -> value => (value, 53),
            recv(r[54]) -> value => (value, 54),
            recv(r[55]) -> value => (value, 55),
            recv(r[56]) -> value => (value, 56),
            recv(r[57]) -> value => (value, 57),
            recv(r[58]) -> value => (value, 58),
            recv(r[59]) -> value => (value, 59),
            recv(r[60]) -> value => (value, 60),
            recv(r[61]) -> value => (value, 61),
            recv(r[62]) -> value => (value, 62),
            recv(r[63]) -> value => (value, 63),
        };
        assert_eq!((value, index), (Ok(ready), ready));
    }
}

#[gort::test(leaks = "allow")]
fn se22_a_thousand_arms_at_run_time() {
    const N: usize = 1000;
    let channels: Vec<_> = (0..N).map(|_| chan::bounded::<usize>(1)).collect();
    let mut set = Select::new();
    for (i, (s, r)) in channels.iter().enumerate() {
        let index = if i % 2 == 0 { set.recv(r) } else { set.send(s) };
        assert_eq!(index, i);
        if i % 2 == 1 {
            s.send(i).unwrap();
        }
    }
    assert!(set.try_select().is_err());
    for i in (0..N).step_by(37) {
        let (s, r) = &channels[i];
        if i % 2 == 0 {
            s.send(i).unwrap();
            let operation = set.select();
            assert_eq!(operation.index(), i);
            assert_eq!(operation.recv(r), Ok(i));
        } else {
            assert_eq!(r.recv(), Ok(i));
            let operation = set.select();
            assert_eq!(operation.index(), i);
            operation.send(s, i).unwrap();
        }
    }

    drop(set);

    // Also when it has to wait for it.
    let channels = Arc::new(channels);
    let waiting = go_named("se22 waits", {
        let channels = Arc::clone(&channels);
        move || {
            let mut set = Select::new();
            for (_, r) in channels.iter().step_by(2) {
                set.recv(r);
            }
            let operation = set.select();
            let index = operation.index();
            (index, operation.recv(&channels[index * 2].1))
        }
    });
    eventually_parked("se22 waits", "select");
    channels[500].0.send(5).unwrap();
    assert_eq!(waiting.join().unwrap(), (250, Ok(5)));

    // All nil: for ever.
    go_named("se22 all nil", || {
        let nil: Vec<_> = (0..N).map(|_| chan::nil::<i32>()).collect();
        let mut set = Select::new();
        for (s, r) in &nil {
            set.send(s);
            set.recv(r);
        }
        let _ = set.ready();
        unreachable!();
    });
    eventually_parked("se22 all nil", "select");
}

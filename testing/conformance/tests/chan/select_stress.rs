//! SE09 to SE14, SE17, SE21: selects beside others, many times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gort::chan::{self, Receiver, Sender, select};
use gort_conformance::child;
use gort_conformance::support::eventually;

use super::{goroutines_max, scaled};

/// Two channels of which one is ready at every moment, while `make_ready` acts on the second.
fn assert_one_moment_is_seen(make_ready: fn(Sender<i32>)) {
    for round in 0..scaled(1000, 100_000) {
        let (s1, c1) = chan::bounded(1);
        let (s2, c2) = chan::bounded(1);
        s1.send(1).unwrap();
        let looks = gort::go({
            // We keep both receivers, or the channels could close when it ends.
            let (c1, c2) = (c1.clone(), c2.clone());
            move || {
                select! {
                    recv(c1) -> _ => true,
                    recv(c2) -> _ => true,
                    default => false,
                }
            }
        });
        make_ready(s2);
        let _ = c1.try_recv();
        assert!(looks.join().unwrap(), "round {round}: it took the default");
    }
}

#[gort::test(procs = 2)]
fn se09_select_assert_one_moment_is_seen_against_a_send() {
    assert_one_moment_is_seen(|s2| s2.send(1).unwrap());
}

#[gort::test(procs = 2)]
fn se10_select_assert_one_moment_is_seen_against_a_close() {
    assert_one_moment_is_seen(|s2| assert!(s2.close()));
}

#[gort::test(procs = 2)]
fn se11_a_goroutine_does_not_receive_from_itself() {
    const N: usize = 1000;
    for capacity in [0, 10] {
        let (s, r) = chan::bounded(capacity);
        let both: Vec<_> = (0..2)
            .map(|me: usize| {
                let (s, r) = (s.clone(), r.clone());
                gort::go(move || {
                    let check = |value: usize| {
                        assert!(capacity > 0 || value != me, "received its own {value}");
                    };
                    for i in 0..N {
                        // The arms in either order.
                        if me == 0 || i % 2 == 0 {
                            select! {
                                send(s, me) -> result => result.unwrap(),
                                recv(r) -> value => check(value.unwrap()),
                            }
                        } else {
                            select! {
                                recv(r) -> value => check(value.unwrap()),
                                send(s, me) -> result => result.unwrap(),
                            }
                        }
                    }
                })
            })
            .collect();
        for goroutine in both {
            goroutine.join().unwrap();
        }
    }
}

#[gort::test(procs = 10, timeout = "120s")]
fn se12_four_channels_under_stress_from_plain_and_selecting_goroutines() {
    let n = scaled(10_000, 100_000);
    let channels: Vec<_> = [0, 0, 2, 3].map(chan::bounded).into_iter().collect();
    let mut goroutines = Vec::new();
    for (s, r) in &channels {
        let (s, r) = (s.clone(), r.clone());
        goroutines.push(gort::go(move || {
            for i in 0..n {
                s.send(i).unwrap();
            }
        }));
        goroutines.push(gort::go(move || {
            for _ in 0..n {
                r.recv().unwrap();
            }
        }));
    }
    let (s, r): (Vec<Sender<usize>>, Vec<Receiver<usize>>) = channels.into_iter().unzip();
    goroutines.push(gort::go(move || {
        let mut s: [Sender<usize>; 4] = s.try_into().expect("four");
        let mut left = [n; 4];
        for _ in 0..4 * n {
            let won = select! {
                send(s[3], 3) -> result => { result.unwrap(); 3 }
                send(s[2], 2) -> result => { result.unwrap(); 2 }
                send(s[0], 0) -> result => { result.unwrap(); 0 }
                send(s[1], 1) -> result => { result.unwrap(); 1 }
            };
            left[won] -= 1;
            if left[won] == 0 {
                s[won] = chan::nil().0;
            }
        }
        assert_eq!(left, [0; 4]);
    }));
    goroutines.push(gort::go(move || {
        let mut r: [Receiver<usize>; 4] = r.try_into().expect("four");
        let mut left = [n; 4];
        for _ in 0..4 * n {
            let won = select! {
                recv(r[0]) -> value => { value.unwrap(); 0 }
                recv(r[1]) -> value => { value.unwrap(); 1 }
                recv(r[2]) -> value => { value.unwrap(); 2 }
                recv(r[3]) -> value => { value.unwrap(); 3 }
            };
            left[won] -= 1;
            if left[won] == 0 {
                r[won] = chan::never();
            }
        }
        assert_eq!(left, [0; 4]);
    }));
    for goroutine in goroutines {
        goroutine.join().unwrap();
    }
}

/// Ten standard deviations of `trials` tosses of a fair coin.
fn tolerance(trials: usize) -> f64 {
    10.0 * (trials as f64 / 4.0).sqrt()
}

#[gort::test(procs = 2)]
fn se13_ready_arms_are_chosen_evenly() {
    const TRIALS: usize = 10_000;
    let (s1, c1) = chan::bounded(TRIALS + 1);
    let (s2, c2) = chan::bounded(TRIALS + 1);
    for i in 0..TRIALS + 1 {
        s1.send(i).unwrap();
        s2.send(i).unwrap();
    }
    let (_s3, c3) = chan::bounded::<()>(0);
    let (_s4, c4) = chan::bounded::<()>(0);
    let mut counts = [0; 2];
    for _ in 0..TRIALS {
        select! {
            recv(c3) -> _ => unreachable!(),
            recv(c1) -> _ => counts[0] += 1,
            recv(c4) -> _ => unreachable!(),
            recv(c2) -> _ => counts[1] += 1,
        }
    }
    assert_eq!(counts[0] + counts[1], TRIALS);
    let off = (counts[0] as f64 - TRIALS as f64 / 2.0).abs();
    assert!(off < tolerance(TRIALS), "{counts:?}");
}

#[gort::test]
fn se14_two_sends_on_one_channel_are_chosen_at_random() {
    const N: usize = 100;
    for capacity in [0, N] {
        let (s, r) = chan::bounded(capacity);
        let receiver = gort::go(move || {
            let values: Vec<u8> = r.iter().take(N).collect();
            values.iter().filter(|value| **value == 1).count()
        });
        for _ in 0..N {
            select! {
                send(s, 0) -> result => result.unwrap(),
                send(s, 1) -> result => result.unwrap(),
            }
        }
        let ones = receiver.join().unwrap();
        assert!(
            (11..=N - 11).contains(&ones),
            "capacity {capacity}: {ones} ones"
        );
    }
}

/// The processor time that it takes to wake `n` goroutines, one after the other, ten times each, out of a
/// select in which all wait for one common channel too.
fn leave_the_common_queue(n: usize) -> Duration {
    const MESSAGES: usize = 10;
    let (common, from_common) = chan::bounded::<()>(0);
    let waiting = Arc::new(AtomicU64::new(0));
    let own: Vec<_> = (0..n)
        .map(|_| {
            let (s, own) = chan::bounded(0);
            let (from_common, waiting) = (from_common.clone(), Arc::clone(&waiting));
            let goroutine = gort::go(move || {
                for _ in 0..MESSAGES {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    select! {
                        recv(from_common) -> _ => unreachable!(),
                        recv(own) -> value => value.unwrap(),
                    }
                }
            });
            (s, goroutine)
        })
        .collect();
    eventually("all wait", || waiting.load(Ordering::SeqCst) == n as u64);
    let before = processor_time();
    for _ in 0..MESSAGES {
        for (s, _) in own.iter().rev() {
            s.send(()).unwrap();
        }
    }
    let used = processor_time() - before;
    for (_, goroutine) in own {
        goroutine.join().unwrap();
    }
    drop(common);
    used
}

/// What this process has used so far. Unlike the time on the wall it leaves out what other programs use.
fn processor_time() -> Duration {
    let mut used = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec, which lives through the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) };
    assert_eq!(result, 0);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

#[test]
fn se17_leaving_a_queue_takes_constant_time() {
    child::of(|| {
        gort::run(|| {
            // As Go's checkLinear: a busy machine may need a few tries, and larger sizes are steadier.
            let mut failures = Vec::new();
            let mut n = 1000;
            for _ in 0..6 {
                let (small, large) = (leave_the_common_queue(n), leave_the_common_queue(2 * n));
                if large < small * 3 {
                    return;
                }
                failures.push(format!("{n}: {small:?}, {}: {large:?}", 2 * n));
                n = (n * 2).min(goroutines_max() / 2).min(8000);
            }
            panic!("not linear: {failures:?}");
        });
    })
    .passes();
}

#[gort::test(procs = 4, timeout = "10m")]
fn se21_two_selects_exchange_exactly_one_value() {
    let rounds = scaled(5_000, 100_000);
    for capacity in [0, 1] {
        let (s1, r1) = chan::bounded(capacity);
        let (s2, r2) = chan::bounded(capacity);
        let sender = gort::go(move || {
            for i in 0..rounds {
                select! {
                    send(s1, i) -> result => result.unwrap(),
                    send(s2, i) -> result => result.unwrap(),
                }
            }
            // Kept until all is received: a closed channel is ready too.
            (s1, s2)
        });
        let receiver = gort::go(move || {
            let mut seen = vec![false; rounds];
            for _ in 0..rounds {
                let value: usize = select! {
                    recv(r2) -> value => value.unwrap(),
                    recv(r1) -> value => value.unwrap(),
                };
                assert!(!std::mem::replace(&mut seen[value], true), "{value} twice");
            }
            assert!(r1.try_recv().is_err() && r2.try_recv().is_err());
        });
        let senders = sender.join().unwrap();
        receiver.join().unwrap();
        drop(senders);
    }
}

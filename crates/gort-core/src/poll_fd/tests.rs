//! Turns, close, and the races between a wait and what ends it.

use super::*;
use crate::clock;
use crate::runtime;
use crate::sched::SpawnOptions;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::thread;
use std::time::Duration;

const DIRECTIONS: [Direction; 2] = [Direction::Read, Direction::Write];

/// A descriptor, and the other end of its connection, which blocks.
fn connected() -> (PollFd, UnixStream) {
    runtime::ensure_started();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    (PollFd::new(OwnedFd::from(ours)).unwrap(), theirs)
}

fn line_len(fd: &PollFd, direction: Direction) -> usize {
    fd.queue.lock().lines[direction as usize].len()
}

#[test]
fn ne26_after_a_close_nothing_can_be_had() {
    let (fd, mut peer) = connected();
    drop(fd.lock(Direction::Read, NEVER).unwrap());
    drop(fd.reference().unwrap());
    assert!(fd.close());
    assert!(!fd.close());
    for direction in DIRECTIONS {
        assert_eq!(fd.lock(direction, NEVER).err(), Some(PollError::Closed));
    }
    assert_eq!(fd.reference().err(), Some(PollError::Closed));
    assert_eq!(fd.expose().err(), Some(PollError::Closed));
    assert_eq!(fd.set_deadline(None, NEVER), Err(PollError::Closed));
    assert_eq!(fd.raw(), None);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(fd.into_owned().err(), Some(PollError::Closed));
}

#[test]
fn ne26_close_empties_the_line_and_waits_for_the_last_guard() {
    let (fd, mut peer) = connected();
    thread::scope(|s| {
        let turn = fd.lock(Direction::Read, NEVER).unwrap();
        let reference = fd.reference().unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|_| s.spawn(|| fd.lock(Direction::Read, NEVER).err()))
            .collect();
        while line_len(&fd, Direction::Read) < 4 {
            thread::yield_now();
        }
        let closer = s.spawn(|| fd.close());
        for waiter in waiting {
            assert_eq!(waiter.join().unwrap(), Some(PollError::Closed));
        }
        assert_eq!(turn.prepare(), Err(PollError::Closed));
        assert_eq!(turn.wait(NEVER), Err(PollError::Closed));
        // While there are guards the descriptor is open, and the closer waits.
        peer.set_nonblocking(true).unwrap();
        assert_eq!(
            peer.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(turn);
        assert_eq!(
            peer.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert!(!closer.is_finished());
        drop(reference);
        assert!(closer.join().unwrap());
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn ne26_one_at_a_time_per_direction() {
    const WORKERS: u64 = 8;
    // As in Go's long form, and its short one.
    let is_long = std::env::var_os("GORT_TEST_LONG").is_some();
    let rounds: u64 = if is_long { 1_000_000 } else { 5_000 };
    let fd: &'static (PollFd, UnixStream) = Box::leak(Box::new(connected()));
    let fd = &fd.0;
    static INSIDE: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
    let worker = move |number: u64| {
        let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut got = 0u64;
        for _ in 0..rounds {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let direction = DIRECTIONS[(random & 1) as usize];
            // Some give up when they have to wait.
            let deadline = if random & 14 == 0 {
                clock::now_ns() + 20_000
            } else {
                NEVER
            };
            if random & 112 == 0 {
                drop(fd.reference().unwrap());
            } else if let Ok(turn) = fd.lock(direction, deadline) {
                let inside = &INSIDE[direction as usize];
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                if random & 768 == 0 {
                    sched::yield_now();
                }
                assert_eq!(inside.fetch_sub(1, Ordering::Relaxed), 1);
                drop(turn);
                got += 1;
            }
        }
        got
    };
    let goroutines: Vec<_> = (0..WORKERS)
        .map(|i| sched::spawn(move || worker(i), SpawnOptions::new()).unwrap())
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|i| thread::spawn(move || worker(100 + i)))
        .collect();
    for handle in goroutines {
        match handle.join() {
            sched::join::Outcome::Returned(got) => assert!(got > rounds / 2),
            other => panic!("{other:?}"),
        }
    }
    for handle in threads {
        assert!(handle.join().unwrap() > rounds / 2);
    }
    // Nothing is left behind but the flags' resting state.
    assert_eq!(fd.state.load(Ordering::Relaxed), 0);
}

#[test]
fn turns_go_by_arrival_and_one_who_gives_up_is_skipped() {
    let (fd, _peer) = connected();
    let order = Mutex::new(Vec::new());
    let has_given_up = AtomicBool::new(false);
    thread::scope(|s| {
        let turn = fd.lock(Direction::Write, NEVER).unwrap();
        for number in 0..4u64 {
            let (fd, order, has_given_up) = (&fd, &order, &has_given_up);
            s.spawn(move || {
                let wait = if number == 1 {
                    clock::now_ns() + 1_000_000
                } else {
                    NEVER
                };
                match fd.lock(Direction::Write, wait) {
                    Ok(_turn) => order.lock().push(number),
                    Err(error) => {
                        assert_eq!((error, number), (PollError::DeadlineExceeded, 1));
                        has_given_up.store(true, Ordering::Relaxed);
                    }
                }
            });
            if number != 1 {
                let len = 1 + number as usize - usize::from(number > 1);
                while line_len(fd, Direction::Write) != len {
                    thread::yield_now();
                }
            } else {
                while !has_given_up.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
        }
        // The other direction is free all the while.
        drop(fd.lock(Direction::Read, NEVER).unwrap());
        drop(turn);
    });
    assert_eq!(order.into_inner(), [0, 2, 3]);
}

fn spin(count: u64) {
    for _ in 0..count {
        std::hint::spin_loop();
    }
}

/// A deadline comes at the moment at which a reader decides to wait: set into the past by another
/// thread, or fired by its timer. A wake-up that is lost between the look and the park is a hang.
fn race_with_a_deadline(deadline: impl Fn(u64) -> u64) {
    const ROUNDS: u32 = 20_000;
    let (fd, _peer) = connected();
    // Odd: the reader may start; even: it is done.
    let round = AtomicU32::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            let turn = fd.lock(Direction::Read, NEVER).unwrap();
            for number in 0..ROUNDS {
                while round.load(Ordering::Acquire) != 2 * number + 1 {
                    thread::yield_now();
                }
                let result = loop {
                    // The try lies between the two.
                    let tried = turn.prepare().map(|()| spin(u64::from(number % 97)));
                    match tried.and_then(|()| turn.wait(NEVER)) {
                        // News are no reason to end: look again.
                        Ok(()) => {}
                        error => break error,
                    }
                };
                assert_eq!(result, Err(PollError::DeadlineExceeded));
                round.store(2 * number + 2, Ordering::Release);
            }
        });
        let mut random = 1u64;
        for number in 0..ROUNDS {
            fd.set_deadline(None, NEVER).unwrap();
            round.store(2 * number + 1, Ordering::Release);
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            spin(random % 97);
            fd.set_deadline(None, deadline(random >> 8)).unwrap();
            let start = clock::now_ns();
            while round.load(Ordering::Acquire) != 2 * number + 2 {
                if clock::now_ns() > start + 10_000_000_000 {
                    // Get the reader going, so that this ends.
                    fd.desc.evict().into_iter().for_each(sched::ready);
                    panic!("a wake-up was lost in round {number}");
                }
                thread::yield_now();
            }
        }
    });
}

#[test]
fn a_past_deadline_finds_every_reader_on_its_way_to_the_park() {
    race_with_a_deadline(|_| 1);
}

#[test]
fn a_timer_finds_every_reader_on_its_way_to_the_park() {
    race_with_a_deadline(|random| clock::now_ns() + random % 2_000);
}

/// A reader waits, its deadline comes, and before a timer can say so something happens to the deadlines of the
/// writers, who share its slot.
fn a_due_deadline_beside(happens: impl Fn(&PollFd)) {
    let (fd, _peer) = connected();
    for round in 0..100 {
        let deadline = clock::now_ns() + 1_000_000;
        fd.set_deadline(Some(Direction::Read), deadline).unwrap();
        thread::scope(|s| {
            let (tell, told) = std::sync::mpsc::channel();
            let fd = &fd;
            s.spawn(move || {
                let turn = fd.lock(Direction::Read, NEVER).unwrap();
                let result = loop {
                    // News are no reason to end: look again.
                    match turn.prepare().and_then(|()| turn.wait(NEVER)) {
                        Ok(()) => {}
                        Err(error) => break error,
                    }
                };
                tell.send(result).unwrap();
            });
            while clock::now_ns() < deadline {
                std::hint::spin_loop();
            }
            happens(fd);
            match told.recv_timeout(Duration::from_secs(10)) {
                Ok(result) => assert_eq!(result, PollError::DeadlineExceeded),
                Err(_) => {
                    // Get the reader going, so that this ends.
                    fd.desc.evict().into_iter().for_each(sched::ready);
                    panic!("a wake-up was lost in round {round}");
                }
            }
        });
    }
}

#[test]
fn a_due_deadline_is_told_beside_a_new_one_of_the_other_direction() {
    a_due_deadline_beside(|fd| {
        let far = clock::now_ns() + 3_600_000_000_000;
        fd.set_deadline(Some(Direction::Write), far).unwrap();
    });
}

#[test]
fn a_due_deadline_is_told_beside_a_call_of_the_other_direction() {
    a_due_deadline_beside(|fd| {
        let turn = fd.lock(Direction::Write, NEVER).unwrap();
        let _ = turn.wait(clock::now_ns() + 1_000);
    });
}

/// One timer serves both, and the one whose call it was ends first.
#[test]
fn a_due_deadline_is_told_although_the_timer_was_anothers() {
    let (fd, _peer) = connected();
    for round in 0..100 {
        let deadline = clock::now_ns() + 1_000_000;
        fd.set_deadline(Some(Direction::Write), deadline).unwrap();
        // A reader's call: the timer that goes for it is the reader's, and the writer has none.
        fd.desc
            .set_call_deadline(Direction::Read, deadline)
            .into_iter()
            .for_each(sched::ready);
        let gp = g::current();
        // That there is room is news, once.
        while fd.desc.register(Direction::Write, gp) != Registered::Waiting {}
        while clock::now_ns() < deadline {
            std::hint::spin_loop();
        }
        let wakes: Vec<_> = fd
            .desc
            .set_call_deadline(Direction::Read, NEVER)
            .into_iter()
            .collect();
        // Either it is among these, or the timer was faster and has readied us.
        match &wakes[..] {
            [] => assert!(
                !fd.desc.withdraw(Direction::Write, gp),
                "nobody tells the writer, in round {round}"
            ),
            wakes => {
                assert_eq!(wakes, [gp]);
                sched::ready(gp);
            }
        }
        sched::park(WaitReason::IoWait);
    }
}

#[test]
fn an_exposed_number_stays_open_until_the_drop() {
    let (fd, mut peer) = connected();
    {
        let lent = fd.expose().unwrap();
        assert!(fd.close());
        // The connection is gone, the number is not.
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert!(lent.try_clone_to_owned().is_ok());
        let again = fd.expose().unwrap();
        assert_eq!(again.as_raw_fd(), lent.as_raw_fd());
    }
    drop(fd);
}

#[test]
fn a_descriptor_given_back_works_and_is_not_watched() {
    let (fd, peer) = connected();
    let mut stream = UnixStream::from(fd.into_owned().unwrap());
    stream.write_all(b"x").unwrap();
    (&peer).read_exact(&mut [0]).unwrap();
    // Registering it again shows that it was taken out.
    let fd = PollFd::new(OwnedFd::from(stream)).unwrap();
    assert!(fd.close());
}

#[test]
fn a_cancel_ends_the_waits_under_it_and_no_others() {
    let (fd, mut peer) = connected();
    let cancellation = Cancellation::new();
    thread::scope(|s| {
        let under = |direction| {
            let (fd, cancellation) = (&fd, &cancellation);
            move || match fd.lock_under(direction, NEVER, Some(cancellation)) {
                Ok(turn) => turn.wait_under(NEVER, Some(cancellation)).err(),
                Err(error) => Some(error),
            }
        };
        let first = s.spawn(under(Direction::Read));
        while fd.state.load(Ordering::Relaxed) & locked(Direction::Read) == 0 {
            thread::yield_now();
        }
        let second = s.spawn(under(Direction::Read));
        while line_len(&fd, Direction::Read) < 1 {
            thread::yield_now();
        }
        let (tell, told) = std::sync::mpsc::channel();
        let fd = &fd;
        let other = s.spawn(move || {
            let turn = fd.lock(Direction::Read, NEVER).unwrap();
            turn.prepare()?;
            tell.send(()).unwrap();
            turn.wait(NEVER)
        });
        while line_len(fd, Direction::Read) < 2 {
            thread::yield_now();
        }
        cancellation.cancel();
        assert_eq!(first.join().unwrap(), Some(PollError::Canceled));
        assert_eq!(second.join().unwrap(), Some(PollError::Canceled));
        // What comes before is forgotten by `prepare`, and the poller tells it once.
        told.recv().unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(other.join().unwrap(), Ok(()));
        // Under what was called off nobody begins to wait.
        assert_eq!(under(Direction::Read)(), Some(PollError::Canceled));
    });
}

/// A cancel that comes at any moment of a wait ends it; and the descriptor is as before.
#[test]
fn a_cancel_is_not_lost_between_the_registration_and_the_park() {
    let (fd, _peer) = connected();
    for round in 0..3000 {
        let cancellation = Cancellation::new();
        thread::scope(|s| {
            let waiting = s.spawn(|| {
                let turn = fd.lock(Direction::Read, NEVER).unwrap();
                turn.prepare().unwrap();
                turn.wait_under(NEVER, Some(&cancellation))
            });
            for _ in 0..round % 200 {
                std::hint::spin_loop();
            }
            cancellation.cancel();
            assert_eq!(waiting.join().unwrap(), Err(PollError::Canceled));
        });
    }
}

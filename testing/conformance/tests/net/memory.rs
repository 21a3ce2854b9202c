//! A pipe in memory: NE25, that is, the cases of NE18 over it, and what a close means there.

use std::array;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::JoinHandle;
use gort::net::{Pipe, pipe};
use gort_core::snapshot;
use gort_core::wait_reason::WaitReason;

use crate::support::{after_ms, assert_timeout, past, run, scaled, sleep, until};

const CLOSED: &str = "io: read/write on closed pipe";

#[track_caller]
fn assert_closed<T: std::fmt::Debug>(result: std::io::Result<T>, kind: ErrorKind) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, CLOSED));
}

fn until_parked<T>(handle: &JoinHandle<T>) {
    let id = handle.goroutine().id().as_u64();
    until("a goroutine parked at the pipe", || {
        let all = snapshot::goroutines();
        all.iter()
            .any(|gp| gp.id == id && gp.wait_reason == Some(WaitReason::CondWait))
    });
}

/// A pipe with a goroutine that reads and one that writes, both parked at its first end.
fn both_parked() -> (Arc<Pipe>, Pipe, [JoinHandle<std::io::Error>; 2]) {
    let (ours, theirs) = pipe();
    let ours = Arc::new(ours);
    let reader = Arc::clone(&ours);
    let reader = gort::go(move || (&*reader).read(&mut [0]).unwrap_err());
    let writer = Arc::clone(&ours);
    let writer = gort::go(move || (&*writer).write(&[0]).unwrap_err());
    until_parked(&reader);
    until_parked(&writer);
    (ours, theirs, [reader, writer])
}

#[test]
fn ne25_a_bytes_through_an_echo() {
    run(|| {
        let (ours, mut theirs) = pipe();
        let echo = gort::go(move || {
            let mut buf = [0; 700];
            loop {
                match theirs.read(&mut buf).unwrap() {
                    0 => return,
                    count => theirs.write_all(&buf[..count]).unwrap(),
                }
            }
        });
        let sent: Arc<Vec<u8>> = Arc::new((0..1 << 20).map(|i: u32| (i / 7) as u8).collect());
        let ours = Arc::new(ours);
        let writer = {
            let (ours, sent) = (Arc::clone(&ours), Arc::clone(&sent));
            gort::go(move || {
                for chunk in sent.chunks(1024) {
                    assert_eq!((&*ours).write(chunk).unwrap(), chunk.len());
                }
            })
        };
        let mut got = vec![0; sent.len()];
        (&*ours).read_exact(&mut got).unwrap();
        assert!(got == *sent);
        writer.join().unwrap();
        ours.close().unwrap();
        echo.join().unwrap();
    });
}

#[test]
fn ne25_b_a_counter_goes_to_and_fro() {
    run(|| {
        let (mut ours, mut theirs) = pipe();
        const ROUNDS: u64 = 1_000;
        let other = gort::go(move || {
            let mut bytes = [0; 8];
            while theirs.read_exact(&mut bytes).is_ok() {
                let next = u64::from_be_bytes(bytes) + 1;
                theirs.write_all(&next.to_be_bytes()).unwrap();
            }
        });
        let mut count = 0u64;
        while count < ROUNDS {
            ours.write_all(&count.to_be_bytes()).unwrap();
            let mut bytes = [0; 8];
            ours.read_exact(&mut bytes).unwrap();
            assert_eq!(u64::from_be_bytes(bytes), count + 1);
            count += 1;
        }
        drop(ours);
        other.join().unwrap();
    });
}

#[test]
fn ne25_c_writes_of_several_are_not_mixed_and_several_may_read() {
    run(|| {
        let (ours, theirs) = pipe();
        let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
        const WRITES: usize = 100;
        let writers: Vec<_> = (0..8u8)
            .map(|number| {
                let ours = Arc::clone(&ours);
                gort::go(move || {
                    for _ in 0..WRITES {
                        assert_eq!((&*ours).write(&[number; 50]).unwrap(), 50);
                    }
                })
            })
            .collect();
        let total = Arc::new(gort::sync::Mutex::new(0));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (theirs, total) = (Arc::clone(&theirs), Arc::clone(&total));
                gort::go(move || {
                    let mut buf = [0; 64];
                    loop {
                        // A whole write, as there is room: one writer's alone.
                        let count = (&*theirs).read(&mut buf).unwrap();
                        if count == 0 {
                            return;
                        }
                        assert_eq!(count, 50);
                        assert!(buf[..50].iter().all(|byte| *byte == buf[0]));
                        *total.lock() += count;
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        ours.close().unwrap();
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        assert_eq!(*total.lock(), 8 * 50 * WRITES);
    });
}

#[test]
fn ne25_d_each_direction_has_its_own_deadline() {
    run(|| {
        let (mut ours, mut theirs) = pipe();
        ours.set_read_deadline(past()).unwrap();
        let reader = gort::go(move || theirs.read(&mut [0; 8]).map(|count| (count, theirs)));
        ours.write_all(b"x").unwrap();
        let (count, mut theirs) = reader.join().unwrap().unwrap();
        assert_eq!(count, 1);
        assert_timeout(ours.read(&mut [0]));
        ours.set_read_deadline(None).unwrap();
        ours.set_write_deadline(past()).unwrap();
        let writer = gort::go(move || theirs.write_all(b"y").map(|()| theirs));
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 1);
        let _theirs = writer.join().unwrap().unwrap();
        assert_timeout(ours.write(b"z"));
    });
}

#[test]
fn ne25_e_f_g_deadlines_end_both_and_can_be_cleared() {
    run(|| {
        let (ours, theirs, parked) = both_parked();
        let start = Instant::now();
        ours.set_deadline(after_ms(30)).unwrap();
        for handle in parked {
            assert_timeout::<()>(Err(handle.join().unwrap()));
        }
        assert!(start.elapsed() >= Duration::from_millis(30));

        ours.set_deadline(None).unwrap();
        let writer = gort::go(move || (&theirs).write(b"resynced").map(|_| theirs));
        let mut buf = [0; 8];
        (&*ours).read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"resynced");
        let _theirs = writer.join().unwrap().unwrap();

        let (ours, _theirs, parked) = both_parked();
        ours.set_deadline(past()).unwrap();
        for handle in parked {
            assert_timeout::<()>(Err(handle.join().unwrap()));
        }
    });
}

#[test]
fn ne25_a_write_that_is_cut_off_says_how_far_it_came() {
    run(|| {
        let (mut ours, mut theirs) = pipe();
        let writer = gort::go(move || {
            let first = ours.write(&[1; 10]);
            (first, ours.write(&[2; 10]))
        });
        theirs.read_exact(&mut [0; 4]).unwrap();
        theirs.close().unwrap();
        let (first, second) = writer.join().unwrap();
        assert_eq!(first.unwrap(), 4);
        assert_closed(second, ErrorKind::BrokenPipe);
    });
}

#[test]
fn ne25_h_close_ends_both() {
    run(|| {
        let (ours, _theirs, parked) = both_parked();
        ours.close().unwrap();
        for handle in parked {
            assert_closed::<()>(Err(handle.join().unwrap()), ErrorKind::NotConnected);
        }
        // And from the other end: the end of the stream for the reader, an error for the writer.
        let (mut ours, theirs) = pipe();
        let reader = gort::go(move || ours.read(&mut [0]).map(|count| (count, ours)));
        until_parked(&reader);
        drop(theirs);
        let (count, mut ours) = reader.join().unwrap().unwrap();
        assert_eq!(count, 0);
        assert_closed(ours.write(b"x"), ErrorKind::BrokenPipe);
    });
}

#[test]
fn ne25_after_a_close_every_operation_fails() {
    run(|| {
        let (mut ours, mut theirs) = pipe();
        ours.close().unwrap();
        ours.close().unwrap();
        assert_closed(ours.read(&mut [0]), ErrorKind::NotConnected);
        assert_closed(ours.read(&mut []), ErrorKind::NotConnected);
        assert_closed(ours.write(b"x"), ErrorKind::NotConnected);
        assert_closed(ours.set_deadline(None), ErrorKind::NotConnected);
        assert_closed(ours.set_read_deadline(None), ErrorKind::NotConnected);
        assert_closed(ours.set_write_deadline(None), ErrorKind::NotConnected);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        assert_closed(theirs.write(b"x"), ErrorKind::BrokenPipe);
        theirs.set_deadline(None).unwrap();
    });
}

#[test]
fn ne25_i_a_hundred_goroutines_call_everything_at_once() {
    run(|| {
        let (ours, theirs) = pipe();
        let ours = Arc::new(ours);
        let stop = Arc::new(AtomicBool::new(false));
        let drain = gort::go(move || {
            let mut buf = [0; 100];
            while (&theirs).read(&mut buf).is_ok_and(|count| count > 0) {
                theirs.set_write_deadline(after_ms(1)).unwrap();
                let _ = (&theirs).write(&buf[..10]);
            }
        });
        let calls: Arc<[AtomicUsize; 100]> = Arc::new(array::from_fn(|_| AtomicUsize::new(0)));
        let callers: Vec<_> = (0..100u64)
            .map(|i| {
                let (ours, stop) = (Arc::clone(&ours), Arc::clone(&stop));
                let calls = Arc::clone(&calls);
                gort::go(move || {
                    let mut random = 0x9e37_79b9_7f4a_7c15 ^ i << 32 | 1;
                    while !stop.load(Ordering::Relaxed) {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let deadline = after_ms(random >> 8 & 7);
                        match random % 5 {
                            0 => drop((&*ours).read(&mut [0; 64])),
                            1 => drop((&*ours).write(&[0; 512])),
                            2 => ours.set_deadline(deadline).unwrap(),
                            3 => ours.set_read_deadline(deadline).unwrap(),
                            _ => ours.set_write_deadline(deadline).unwrap(),
                        }
                        calls[i as usize].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // waits: for the calls to mix; the length is the size of the test.
        sleep(Duration::from_millis(scaled(100, 5_000) as u64));
        until("each has called", || {
            calls.iter().all(|calls| calls.load(Ordering::Relaxed) > 0)
        });
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().unwrap();
        }
        assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) > 0));
        ours.close().unwrap();
        drain.join().unwrap();
    });
}

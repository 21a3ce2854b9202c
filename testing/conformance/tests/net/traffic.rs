//! Traffic: NE18 (Go's nettest) and NE20.

use std::array;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::net::TcpStream;

use crate::support::{
    after_ms, assert_closed, assert_timeout, listen, pair, past, run, scaled, sleep, until,
    until_parked,
};

/// Sends back whatever comes.
fn echo(mut stream: TcpStream) {
    let mut buf = vec![0; 8 << 10];
    loop {
        match stream.read(&mut buf).unwrap() {
            0 => return,
            count => stream.write_all(&buf[..count]).unwrap(),
        }
    }
}

#[test]
fn ne18_a_eight_mebibytes_through_an_echo() {
    run(|| {
        let (client, server) = pair();
        let want: Arc<Vec<u8>> = Arc::new(
            (0..8 << 20)
                .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
        );
        let echo = gort::go(move || echo(server));
        let client = Arc::new(client);
        let writer = gort::go({
            let (client, want) = (Arc::clone(&client), Arc::clone(&want));
            move || {
                for chunk in want.chunks(1024) {
                    (&*client).write_all(chunk).unwrap();
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
            }
        });
        let mut got = Vec::new();
        (&*client).read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        echo.join().unwrap();
        assert!(got == *want);
    });
}

#[test]
fn ne18_b_a_counter_goes_to_and_fro() {
    run(|| {
        let (mut client, mut server) = pair();
        let play = |stream: &mut TcpStream| {
            let mut buf = [0; 8];
            while stream.read_exact(&mut buf).is_ok() {
                let count = u64::from_be_bytes(buf) + 1;
                if count > 2_000 || stream.write_all(&count.to_be_bytes()).is_err() {
                    return count;
                }
            }
            0
        };
        let other = gort::go(move || play(&mut server));
        client.write_all(&0u64.to_be_bytes()).unwrap();
        let here = play(&mut client);
        drop(client);
        let there = other.join().unwrap();
        assert_eq!(here.max(there), 2_001);
    });
}

#[test]
fn ne18_c_writes_of_several_are_not_mixed() {
    run(|| {
        const LEN: usize = 100_000;
        const WRITES: usize = 20;
        let (client, mut server) = pair();
        let client = Arc::new(client);
        let writers: Vec<_> = (1..=4u8)
            .map(|byte| {
                let client = Arc::clone(&client);
                gort::go(move || {
                    for round in 0..WRITES {
                        if round % 2 == 0 {
                            assert_eq!((&*client).write(&[byte; LEN]).unwrap(), LEN);
                        } else {
                            let (a, b) = ([byte; LEN / 4], [byte; LEN - LEN / 4]);
                            let bufs = [&a[..], &b[..]].map(std::io::IoSlice::new);
                            assert_eq!((&*client).write_vectored(&bufs).unwrap(), LEN);
                        }
                    }
                })
            })
            .collect();
        let mut buf = vec![0; LEN];
        let mut seen = [0; 5];
        for _ in 0..4 * WRITES {
            server.read_exact(&mut buf).unwrap();
            assert!(
                buf.iter().all(|byte| *byte == buf[0]),
                "two writes are mixed"
            );
            seen[usize::from(buf[0])] += 1;
        }
        assert_eq!(seen, [0, WRITES, WRITES, WRITES, WRITES]);
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn ne18_c_two_may_read_at_once() {
    run(|| {
        let (client, mut server) = pair();
        let client = Arc::new(client);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let client = Arc::clone(&client);
                gort::go(move || {
                    let mut buf = [0; 100];
                    let mut total = 0;
                    loop {
                        match (&*client).read(&mut buf).unwrap() {
                            0 => return total,
                            count => total += count,
                        }
                    }
                })
            })
            .collect();
        for _ in 0..1000 {
            server.write_all(&[0; 100]).unwrap();
        }
        drop(server);
        let total: usize = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert_eq!(total, 100_000);
    });
}

#[test]
fn ne18_d_each_direction_has_its_own_timeout() {
    run(|| {
        let (client, server) = pair();
        let client = Arc::new(client);
        let echo = gort::go(move || echo(server));
        client.set_read_deadline(past()).unwrap();
        assert_timeout((&*client).read(&mut [0; 1]));
        (&*client).write_all(b"x").unwrap();
        client.set_read_deadline(None).unwrap();
        (&*client).read_exact(&mut [0; 1]).unwrap();
        client.set_write_deadline(past()).unwrap();
        assert_timeout((&*client).write(b"x"));
        client.set_write_deadline(None).unwrap();
        resync(&client);
        drop(client);
        echo.join().unwrap();
    });
}

/// Shows that the connection to an echo works in both directions.
fn resync(client: &TcpStream) {
    let (mut client, mut buf) = (client, [0; 6]);
    client.write_all(b"resync").unwrap();
    client.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"resync");
}

#[test]
fn ne18_e_a_past_deadline_can_be_cleared() {
    run(|| {
        let (client, server) = pair();
        let echo = gort::go(move || echo(server));
        client.set_deadline(past()).unwrap();
        for _ in 0..10 {
            assert_timeout((&client).read(&mut [0; 1]));
            assert_timeout((&client).write(&[0; 1]));
        }
        client.set_deadline(None).unwrap();
        resync(&client);
        drop(client);
        echo.join().unwrap();
    });
}

/// How a call ended, and when.
type Ended = (std::io::Error, Instant);

/// A connection's ends, and two goroutines that are parked at the first: a reader and a writer.
fn both_parked() -> (Arc<TcpStream>, TcpStream, [gort::JoinHandle<Ended>; 2]) {
    let (client, server) = pair();
    let client = Arc::new(client);
    let reader = gort::go({
        let client = Arc::clone(&client);
        move || ((&*client).read(&mut [0; 1]).unwrap_err(), Instant::now())
    });
    let writer = gort::go({
        let client = Arc::clone(&client);
        move || {
            let bytes = vec![0; 1 << 20];
            loop {
                if let Err(error) = (&*client).write(&bytes) {
                    return (error, Instant::now());
                }
            }
        }
    });
    until_parked(&reader);
    until_parked(&writer);
    (client, server, [reader, writer])
}

#[test]
fn ne18_f_a_past_deadline_ends_both_and_not_before() {
    run(|| {
        let (client, _server, parked) = both_parked();
        assert!(parked.iter().all(|handle| !handle.is_finished()));
        let before = Instant::now();
        client.set_deadline(past()).unwrap();
        for handle in parked {
            let (error, at) = handle.join().unwrap();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(at >= before);
        }
    });
}

#[test]
fn ne18_g_a_future_deadline_ends_both_in_time() {
    run(|| {
        let (client, server, parked) = both_parked();
        let deadline = after_ms(100);
        client.set_deadline(deadline).unwrap();
        for handle in parked {
            let (error, at) = handle.join().unwrap();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(Some(at) >= deadline);
        }
        client.set_deadline(None).unwrap();
        let echo = gort::go(move || echo(server));
        // What the stalled writer sent comes back first.
        (&*client).write_all(b"resync").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        (&*client).read_to_end(&mut all).unwrap();
        assert!(all.ends_with(b"resync"));
        echo.join().unwrap();
    });
}

#[test]
fn ne18_h_close_ends_both() {
    run(|| {
        let (client, _server, parked) = both_parked();
        client.close().unwrap();
        for handle in parked {
            let (error, _) = handle.join().unwrap();
            assert_closed::<()>(Err(error));
        }
    });
}

#[test]
fn ne18_i_a_hundred_goroutines_call_everything_at_once() {
    run(|| {
        let (client, server) = pair();
        let client = Arc::new(client);
        let stop = Arc::new(AtomicBool::new(false));
        let drain = gort::go(move || {
            let mut buf = vec![0; 1 << 16];
            while (&server).read(&mut buf).is_ok_and(|count| count > 0) {
                let _ = (&server).write(&buf[..10]);
            }
        });
        let calls: Arc<[AtomicUsize; 100]> = Arc::new(array::from_fn(|_| AtomicUsize::new(0)));
        let callers: Vec<_> = (0..100u64)
            .map(|i| {
                let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
                let calls = Arc::clone(&calls);
                gort::go(move || {
                    // A small generator of its own for each: the order of calls differs.
                    let mut random = 0x9e37_79b9_7f4a_7c15 ^ i << 32 | 1;
                    while !stop.load(Ordering::Relaxed) {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        match random % 12 {
                            0 | 1 => drop((&*client).read(&mut [0; 64])),
                            2 | 3 => drop((&*client).write(&[0; 512])),
                            4 => client.set_deadline(after_ms(random >> 8 & 7)).unwrap(),
                            5 => client.set_read_deadline(after_ms(random >> 8 & 7)).unwrap(),
                            6 => client
                                .set_write_deadline(after_ms(random >> 8 & 7))
                                .unwrap(),
                            7 => drop((client.local_addr().unwrap(), client.peer_addr().unwrap())),
                            8 => client.set_nodelay(random & 256 != 0).unwrap(),
                            9 => drop(client.peek(&mut [0; 8])),
                            10 => client
                                .set_read_timeout(Some(Duration::from_micros(
                                    1 + (random >> 8 & 1023),
                                )))
                                .unwrap(),
                            _ => drop(client.try_clone().unwrap()),
                        }
                        calls[i as usize].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // waits: for the calls to mix; the length is the size of the test.
        sleep(Duration::from_millis(scaled(300, 5_000) as u64));
        until("each has called", || {
            calls.iter().all(|calls| calls.load(Ordering::Relaxed) > 0)
        });
        stop.store(true, Ordering::Relaxed);
        // A caller may be parked: the deadlines are milliseconds away at most, unless cleared.
        client.set_deadline(past()).unwrap();
        for caller in callers {
            caller.join().unwrap();
        }
        assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) > 0));
        client.close().unwrap();
        drain.join().unwrap();
    });
}

#[test]
fn ne20_many_round_trips_over_two_connections() {
    run(|| {
        let rounds = scaled(2_000, 10_000);
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let server = gort::go(move || {
            let both: Vec<_> = (0..2)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    gort::go(move || echo(stream))
                })
                .collect();
            both.into_iter().for_each(|handle| handle.join().unwrap());
        });
        let clients: Vec<_> = (0..2u8)
            .map(|number| {
                gort::go(move || {
                    let mut client = TcpStream::connect(addr).unwrap();
                    let mut buf = [0; 512];
                    for round in 0..rounds {
                        let question = [number ^ round as u8; 512];
                        client.write_all(&question).unwrap();
                        client.read_exact(&mut buf).unwrap();
                        assert_eq!(buf, question);
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        server.join().unwrap();
    });
}

//! Waiting, in both worlds: for data, for room, for a turn, for a connection.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream, UdpSocket};
use gort_test_support::{alone, eventually_parked, go_named};

use crate::support::{assert_closed, assert_kind, in_both_worlds, pair};

#[gort::test(timeout = "60s")]
fn a_call_that_may_not_wait_does_not_wait_for_another_one() {
    let (client, mut server) = pair();
    let other = client.try_clone().unwrap();
    let reader = go_named("reads", move || (&other).read(&mut [0; 1]));
    eventually_parked("reads", "IO wait");
    client.set_nonblocking(true).unwrap();
    assert_kind((&client).read(&mut [0; 1]), ErrorKind::WouldBlock);
    // Who waited before goes on.
    server.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), 1);
}

#[test]
fn a_server_with_a_handler_for_each_connection_answers_all() {
    in_both_worlds(|world| {
        const CLIENTS: usize = 40;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = world.go(move || {
            for stream in listener.incoming().take(CLIENTS) {
                let mut stream = stream.unwrap();
                world.go(move || {
                    let mut question = String::new();
                    stream.read_to_string(&mut question).unwrap();
                    stream
                        .write_all(question.to_uppercase().as_bytes())
                        .unwrap();
                });
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|i| {
                world.go(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    write!(stream, "question {i}").unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).unwrap();
                    assert_eq!(answer, format!("QUESTION {i}"));
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join());
        server.join();
    });
}

#[test]
fn a_write_that_finds_no_room_waits_for_it() {
    in_both_worlds(|world| {
        const LEN: usize = 16 << 20;
        let (mut client, mut server) = pair();
        let writer = world.go(move || client.write(&vec![7; LEN]).unwrap());
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), LEN);
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert_eq!(writer.join(), LEN);
    });
}

#[test]
fn close_ends_calls_wherever_they_are() {
    in_both_worlds(|world| {
        // The calls may be on their way, parked, or in line behind the others: all end the same way.
        for _ in 0..50 {
            let (client, _server) = pair();
            let client = Arc::new(client);
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let client = Arc::clone(&client);
                    world.go(move || (&*client).read(&mut [0; 1]))
                })
                .collect();
            gort::yield_now();
            client.close().unwrap();
            readers
                .into_iter()
                .for_each(|reader| assert_closed(reader.join()));
        }
    });
}

#[test]
fn close_ends_an_accept_and_incoming() {
    in_both_worlds(|world| {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let connections = world.go({
            let listener = Arc::clone(&listener);
            move || {
                listener
                    .incoming()
                    .inspect(|stream| assert!(stream.is_ok()))
                    .count()
            }
        });
        drop(TcpStream::connect(addr).unwrap());
        drop(TcpStream::connect(addr).unwrap());
        // The second has been taken as soon as its peer's side is closed by `count`.
        let mut third = TcpStream::connect(addr).unwrap();
        assert_eq!(third.read(&mut [0; 1]).unwrap(), 0);
        listener.close().unwrap();
        assert_eq!(connections.join(), 3);
        assert_closed(listener.accept());
    });
}

#[test]
fn the_earlier_of_deadline_and_timeout_counts() {
    in_both_worlds(|_| {
        let (mut client, _server) = pair();
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(3_600));
        for (timeout, deadline) in [(short, long), (long, short)] {
            let start = Instant::now();
            client.set_read_timeout(Some(timeout)).unwrap();
            client.set_read_deadline(Some(start + deadline)).unwrap();
            assert_kind(client.read(&mut [0; 1]), ErrorKind::TimedOut);
            assert!(start.elapsed() >= short);
        }
        // A timeout starts anew with each call, a deadline does not.
        client.set_read_deadline(None).unwrap();
        client.set_read_timeout(Some(short)).unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            assert_kind(client.read(&mut [0; 1]), ErrorKind::TimedOut);
            assert!(start.elapsed() >= short);
        }
    });
}

#[test]
fn a_timeout_covers_the_wait_for_a_turn() {
    // Alone, so that whoever waits for the network is ours.
    alone("waiting::a_timeout_covers_the_wait_for_a_turn", || {
        in_both_worlds(|world| {
            let (client, mut server) = pair();
            let client = Arc::new(client);
            // The first has no timeout and holds the turn.
            let first = world.go({
                let client = Arc::clone(&client);
                move || (&*client).read(&mut [0; 1])
            });
            while gort_core::netpoll::waiters() == 0 {
                gort::yield_now();
            }
            let timeout = Duration::from_millis(20);
            client.set_read_timeout(Some(timeout)).unwrap();
            let others: Vec<_> = (0..3)
                .map(|_| {
                    let client = Arc::clone(&client);
                    world.go(move || {
                        let start = Instant::now();
                        ((&*client).read(&mut [0; 1]), start.elapsed())
                    })
                })
                .collect();
            for other in others {
                let (result, took) = other.join();
                assert_kind(result, ErrorKind::TimedOut);
                assert!(took >= timeout);
            }
            // The line is empty again, and the one who has the turn is not disturbed.
            server.write_all(b"xy").unwrap();
            assert_eq!(first.join().unwrap(), 1);
            assert_eq!((&*client).read(&mut [0; 1]).unwrap(), 1);
        });
    });
}

#[test]
fn connecting_waits_and_reports_a_refusal() {
    // Where others start children, those have the listener too, until they run their programs.
    let name = "waiting::connecting_waits_and_reports_a_refusal";
    alone(name, || {
        in_both_worlds(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let limit = Duration::from_secs(30);
            TcpStream::connect_timeout(&addr, limit).unwrap();
            drop(listener);
            assert_kind(TcpStream::connect(addr), ErrorKind::ConnectionRefused);
            assert_kind(
                TcpStream::connect_timeout(&addr, limit),
                ErrorKind::ConnectionRefused,
            );
        })
    });
}

/// One system call takes 1,024 of them.
#[test]
fn a_vectored_write_passes_any_number_of_empty_buffers() {
    in_both_worlds(|world| {
        let (mut client, mut server) = pair();
        let writer = world.go(move || {
            let mut bufs = vec![IoSlice::new(&[]); 3_000];
            assert_eq!(client.write_vectored(&bufs).unwrap(), 0);
            bufs.push(IoSlice::new(b"a"));
            bufs.extend(vec![IoSlice::new(&[]); 3_000]);
            bufs.push(IoSlice::new(b"b"));
            let deadline = Instant::now() + Duration::from_secs(20);
            client.set_write_deadline(Some(deadline)).unwrap();
            assert_eq!(client.write_vectored(&bufs).unwrap(), 2);
        });
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab");
        writer.join();
    });
}

#[test]
fn vectored_calls_pass_any_number_of_buffers() {
    in_both_worlds(|world| {
        let (mut client, mut server) = pair();
        // More buffers than one system call takes, and more bytes than there is room for.
        let pieces: Vec<Vec<u8>> = (0..5_000usize).map(|i| vec![i as u8; i % 700]).collect();
        let want = pieces.concat();
        let len = want.len();
        let writer = world.go(move || {
            let bufs: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            assert_eq!(client.write_vectored(&bufs).unwrap(), len);
            client
        });
        let mut got: Vec<u8> = Vec::new();
        while got.len() < len {
            let (mut a, mut b) = ([0; 300], [0; 5_000]);
            let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
            let count = server.read_vectored(&mut bufs).unwrap();
            assert_ne!(count, 0);
            got.extend(&[&a[..], &b[..]].concat()[..count]);
        }
        assert!(got == want);
        drop(writer.join());
        let mut nothing = [IoSliceMut::new(&mut [])];
        assert_eq!(server.read_vectored(&mut nothing).unwrap(), 0);
    });
}

#[test]
fn peek_leaves_the_bytes() {
    in_both_worlds(|world| {
        let (mut client, mut server) = pair();
        let peeker = world.go(move || {
            let mut buf = [0; 8];
            assert_eq!(server.peek(&mut buf).unwrap(), 4);
            assert_eq!(&buf[..4], b"peek");
            assert_eq!(server.read(&mut buf).unwrap(), 4);
            assert_eq!(server.peek(&mut buf).unwrap(), 0);
        });
        client.write_all(b"peek").unwrap();
        drop(client);
        peeker.join();
    });
}

#[test]
fn nonblocking_calls_fail_instead_of_waiting() {
    in_both_worlds(|_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_kind(listener.accept(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        assert_kind(client.read(&mut [0; 1]), ErrorKind::WouldBlock);
        let bytes = vec![0; 64 << 20];
        let written = client.write(&bytes).unwrap();
        assert!(0 < written && written < bytes.len());
        client.set_nonblocking(false).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
    });
}

/// Waits until the goroutine is parked, and compares where.
#[track_caller]
fn assert_parked_at<T>(line: u32, handle: &gort::JoinHandle<T>) {
    let id = handle.goroutine().id().as_u64();
    let start = Instant::now();
    let parked_at = loop {
        let all = gort_core::snapshot::goroutines();
        let gp = all.into_iter().find(|gp| gp.id == id);
        if let Some(place) = gp.and_then(|gp| gp.parked_at) {
            break place;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never parked");
        gort::yield_now();
    };
    assert_eq!((parked_at.file(), parked_at.line()), (file!(), line));
}

#[test]
fn whoever_is_parked_shows_the_line_that_waits() {
    let (mut client, server) = pair();
    let (line, reader) = (line!(), gort::go(move || client.read(&mut [0; 1])));
    assert_parked_at(line, &reader);
    drop(server);
    assert_eq!(reader.join().unwrap().unwrap(), 0);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    let (line, next) = (line!(), gort::go(move || accepting.incoming().next()));
    assert_parked_at(line, &next);
    listener.close().unwrap();
    assert!(next.join().unwrap().is_none());

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let twin = socket.try_clone().unwrap();
    let (line, receiver) = (line!(), gort::go(move || twin.recv_from(&mut [0; 1])));
    assert_parked_at(line, &receiver);
    socket.close().unwrap();
    assert_closed(receiver.join().unwrap());

    let (mut reader, writer) = gort::io::pipe().unwrap();
    let (line, reader) = (line!(), gort::go(move || reader.read(&mut [0; 1])));
    assert_parked_at(line, &reader);
    drop(writer);
    assert_eq!(reader.join().unwrap().unwrap(), 0);

    let (mut one, other) = gort::net::pipe();
    let (line, writer) = (line!(), gort::go(move || one.write(&[0; 1])));
    assert_parked_at(line, &writer);
    drop(other);
    assert_kind(writer.join().unwrap(), ErrorKind::BrokenPipe);
}

//! Connections and their ends: NE01 to NE06, NE08 to NE11, NE19, NE22.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream};
use gort_conformance::child;

use crate::support::{
    after_ms, assert_closed, assert_timeout, listen, pair, run, until, until_parked,
};

#[test]
fn ne01_a_line_comes_back_and_deadlines_can_be_set() {
    run(|| {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        listener.set_deadline(after_ms(60_000)).unwrap();
        let server = gort::go(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_deadline(after_ms(60_000)).unwrap();
            let mut line = Vec::new();
            BufReader::new(&stream)
                .read_until(b'\n', &mut line)
                .unwrap();
            (&stream).write_all(&line).unwrap();
        });
        let mut client = TcpStream::connect(addr).unwrap();
        assert!(client.peer_addr().unwrap().ip().is_loopback());
        client.set_deadline(after_ms(60_000)).unwrap();
        client.write_all(b"a line\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "a line\n");
        server.join().unwrap();
    });
}

#[test]
fn ne02_closing_the_reading_half_ends_reads() {
    run(|| {
        let (client, _server) = pair();
        let client = Arc::new(client);
        let reader = gort::go({
            let client = Arc::clone(&client);
            move || (&*client).read(&mut [0; 1])
        });
        until_parked(&reader);
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
        assert_eq!((&*client).read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn ne03_closing_the_writing_half_is_the_end_of_the_stream() {
    run(|| {
        let (mut client, mut server) = pair();
        let other = gort::go(move || {
            assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
            server.shutdown(Shutdown::Write).unwrap();
            assert_eq!(
                server.write(b"x").unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
            server
        });
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(
            client.write(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        other.join().unwrap();
    });
}

#[test]
fn ne04_after_a_close_every_operation_fails_and_closing_again_does_not() {
    run(|| {
        let (mut client, server) = pair();
        client.close().unwrap();
        assert_closed(client.read(&mut [0; 1]));
        assert_closed(client.read(&mut []));
        assert_closed(client.write(b"x"));
        assert_closed(client.write(b""));
        assert_closed(client.peek(&mut [0; 1]));
        assert_closed(client.local_addr());
        assert_closed(client.peer_addr());
        assert_closed(client.shutdown(Shutdown::Both));
        assert_closed(client.set_deadline(None));
        assert_closed(client.set_read_timeout(None));
        assert_closed(client.set_nodelay(true));
        assert_closed(client.try_clone());
        // Where Go's second Close gives an error, ours has nothing to report.
        client.close().unwrap();
        assert_eq!((&server).read(&mut [0; 1]).unwrap(), 0);

        let listener = listen();
        listener.close().unwrap();
        assert_closed(listener.accept());
        assert_closed(listener.local_addr());
        assert_closed(listener.set_deadline(None));
        assert!(listener.incoming().next().is_none());
        listener.close().unwrap();
    });
}

#[test]
fn ne05_a_connection_given_up_in_the_queue_does_not_end_accept() {
    run(|| {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        for _ in 0..10 {
            drop(TcpStream::connect(addr).unwrap());
        }
        let mut last = TcpStream::connect(addr).unwrap();
        last.write_all(b"last").unwrap();
        let mut accepted = 0;
        loop {
            // Linux hands out those that were given up; each reads as ended.
            let (mut stream, _) = listener.accept().unwrap();
            accepted += 1;
            let mut text = String::new();
            if stream.peer_addr().ok() == last.local_addr().ok() {
                last.shutdown(Shutdown::Write).unwrap();
                stream.read_to_string(&mut text).unwrap();
                assert_eq!(text, "last");
                break;
            }
        }
        assert!(accepted <= 11);
    });
}

#[test]
fn ne06_reading_into_nothing_returns_at_once() {
    run(|| {
        let (mut client, mut server) = pair();
        assert_eq!(client.read(&mut []).unwrap(), 0);
        assert_eq!(server.read(&mut []).unwrap(), 0);
        assert_eq!(server.write(&[]).unwrap(), 0);
    });
}

#[test]
fn ne08_the_peers_close_ends_a_parked_read() {
    run(|| {
        let (mut client, server) = pair();
        let reader = gort::go(move || client.read(&mut [0; 1]));
        until_parked(&reader);
        drop(server);
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn ne09_a_reset_connection_is_an_error_and_not_the_end() {
    run(|| {
        let (client, mut server) = pair();
        server.write_all(b"unread").unwrap();
        // Closing with unread bytes resets the connection.
        until("bytes to leave unread", || {
            client.peek(&mut [0; 6]).unwrap() == 6
        });
        drop(client);
        let error = server.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn ne10_connecting_gives_up_in_time_and_not_before() {
    run(|| {
        // A listener that accepts nothing and has a full queue: the kernel drops further attempts.
        let listener = TcpListener::builder("127.0.0.1:0")
            .backlog(0)
            .bind()
            .unwrap();
        let addr = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let limit = Duration::from_millis(200);
        // One may be too slow although there was room, and takes that.
        let mut given_up_in_a_row = 0;
        while given_up_in_a_row < 2 {
            let start = Instant::now();
            match TcpStream::connect_timeout(&addr, limit) {
                Ok(stream) => {
                    queued.push(stream);
                    given_up_in_a_row = 0;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    assert!(start.elapsed() >= limit);
                    given_up_in_a_row += 1;
                }
            }
            assert!(queued.len() < 100, "the queue is never full");
        }
        let start = Instant::now();
        assert_timeout(TcpStream::connect_timeout(&addr, Duration::from_millis(1)));
        assert!(start.elapsed() >= Duration::from_millis(1));
        let error = TcpStream::connect_timeout(&addr, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn ne11_the_longest_timeout_does_not_overflow() {
    run(|| {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect_timeout(&addr, Duration::MAX).unwrap();
        client.set_read_timeout(Some(Duration::MAX)).unwrap();
        client.set_write_timeout(Some(Duration::MAX)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!((&client).read(&mut [0; 1]).unwrap(), 1);
        assert_eq!((&client).write(b"x").unwrap(), 1);
    });
}

#[test]
fn ne19_ten_acceptors_on_one_listener_and_close_ends_them() {
    run(|| {
        const ACCEPTORS: usize = 10;
        const DIALS: usize = 100;
        let listener = Arc::new(listen());
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
                gort::go(move || {
                    let error = loop {
                        match listener.accept() {
                            Ok(_) => accepted.fetch_add(1, Ordering::Relaxed),
                            error => break error,
                        };
                    };
                    assert_closed(error);
                })
            })
            .collect();
        for _ in 0..DIALS {
            drop(TcpStream::connect(addr).unwrap());
        }
        // Go lets one dial in nine fail; over loopback none does.
        until("all accepted", || accepted.load(Ordering::Relaxed) == DIALS);
        acceptors.iter().for_each(until_parked);
        listener.close().unwrap();
        acceptors
            .into_iter()
            .for_each(|acceptor| acceptor.join().unwrap());
    });
}

#[test]
fn ne22_the_port_is_free_when_close_returns() {
    // A process of its own: where others start children, those have the listener too, until they run their programs.
    child::of(|| {
        gort::run(|| {
            // An address of this process's own: elsewhere another socket may be given the port meanwhile.
            let [_, high, middle, low] = std::process::id().to_be_bytes();
            let own = Ipv4Addr::new(127, 64 | high & 63, middle, low);
            let mut listener = Arc::new(TcpListener::bind((own, 0)).unwrap());
            let addr = listener.local_addr().unwrap();
            for _ in 0..50 {
                let acceptor = gort::go({
                    let listener = Arc::clone(&listener);
                    move || listener.accept().map(drop)
                });
                until_parked(&acceptor);
                listener.close().unwrap();
                listener = Arc::new(TcpListener::bind(addr).unwrap());
                assert_closed(acceptor.join().unwrap());
            }
        });
    })
    .passes();
}

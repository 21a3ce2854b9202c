//! The system's pipes, and how many goroutines wait for descriptors: NE27, NE28.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use gort::io::{PipeReader, pipe};
use gort::net::{TcpStream, UdpSocket};
use gort_core::netpoll;

use crate::support::{
    after_ms, alone, assert_timeout, listen, pair, past, run, until, until_parked,
};

#[track_caller]
fn assert_closed<T: std::fmt::Debug>(result: std::io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotConnected, "file already closed")
    );
}

#[test]
fn ne27_reading_a_pipe_parks_the_goroutine_alone() {
    run(|| {
        // More readers than there are threads; the writer needs one of them.
        let readers: Vec<_> = (0..100)
            .map(|i: u8| {
                let (mut reader, writer) = pipe().unwrap();
                let reader = gort::go(move || {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).unwrap();
                    byte[0] == i
                });
                (reader, writer)
            })
            .collect();
        readers.iter().for_each(|(reader, _)| until_parked(reader));
        for (i, (reader, mut writer)) in readers.into_iter().enumerate() {
            writer.write_all(&[i as u8]).unwrap();
            assert!(reader.join().unwrap());
        }
    });
}

#[test]
fn ne27_a_close_frees_parked_reads() {
    run(|| {
        let (reader, _writer) = pipe().unwrap();
        let readers: Vec<_> = (0..100)
            .map(|_| {
                let reader = reader.try_clone().unwrap();
                gort::go(move || (&reader).read(&mut [0]))
            })
            .collect();
        until_parked(&readers[0]);
        reader.close().unwrap();
        for reader in readers {
            assert_closed(reader.join().unwrap());
        }
        assert_closed((&reader).read(&mut [0]));
    });
}

#[test]
fn ne27_closes_and_reads_race_and_all_end() {
    run(|| {
        for _ in 0..100 {
            let (reader, writer) = pipe().unwrap();
            let twin = reader.try_clone().unwrap();
            let read = gort::go(move || (&twin).read(&mut [0]));
            let close = gort::go(move || reader.close());
            assert_closed(read.join().unwrap());
            close.join().unwrap().unwrap();
            drop(writer);
        }
    });
}

#[test]
fn ne27_the_end_comes_with_the_last_writers_close() {
    run(|| {
        let (mut reader, writer) = pipe().unwrap();
        let writers: Vec<_> = (0..10).map(|_| writer.try_clone().unwrap()).collect();
        writer.into_std().map(drop).unwrap();
        let reader = gort::go(move || reader.read(&mut [0]));
        until_parked(&reader);
        drop(writers);
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn ne27_pipes_have_deadlines_and_files_have_none() {
    run(|| {
        let (reader, writer) = pipe().unwrap();
        (&writer).write_all(b"x").unwrap();
        reader.set_deadline(past()).unwrap();
        assert_timeout((&reader).read(&mut [0]));
        reader.set_deadline(None).unwrap();
        assert_eq!((&reader).read(&mut [0]).unwrap(), 1);
        let start = Instant::now();
        reader.set_deadline(after_ms(20)).unwrap();
        assert_timeout((&reader).read(&mut [0]));
        assert!(start.elapsed() >= Duration::from_millis(20));
        // One that waits already is woken by a deadline set elsewhere.
        writer.set_deadline(None).unwrap();
        let stalled = writer.try_clone().unwrap();
        let stalled = gort::go(move || (&stalled).write(&[0; 1 << 20]));
        until_parked(&stalled);
        writer.set_deadline(past()).unwrap();
        // It has written what there was room for, and says how much that was.
        let written = stalled.join().unwrap().unwrap();
        assert!((4096..1 << 20).contains(&written), "{written}");
        assert_timeout((&writer).write(b"x"));

        let file = File::open("/proc/self/status").unwrap();
        let file = PipeReader::from(OwnedFd::from(file));
        let error = file.set_deadline(after_ms(1000)).unwrap_err();
        let text = "file type does not support deadline";
        assert_eq!(error.to_string(), text);
        assert!((&file).read(&mut [0]).unwrap() == 1);
    });
}

#[test]
fn ne28_nobody_is_counted_as_waiting_when_all_is_done() {
    alone(
        "pipe::ne28_nobody_is_counted_as_waiting_when_all_is_done",
        || {
            run(|| {
                assert_eq!(netpoll::waiters(), 0);
                let listener = listen();
                let addr = listener.local_addr().unwrap();
                let acceptor = listener.try_clone().unwrap();
                let acceptor = gort::go(move || acceptor.accept().map(drop));
                let (client, mut server) = pair();
                // One ended by data, one by a deadline, one by a close, one by the end of the stream.
                let by_data = gort::go(move || (&client).read(&mut [0]).map(|_| client));
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let timed = socket.try_clone().unwrap();
                let by_deadline = gort::go(move || timed.recv(&mut [0]));
                let (reader, writer) = pipe().unwrap();
                let by_close = reader.try_clone().unwrap();
                let by_close = gort::go(move || (&by_close).read(&mut [0]));
                until("four wait", || netpoll::waiters() == 4);
                server.write_all(b"x").unwrap();
                let client = by_data.join().unwrap().unwrap();
                let by_end = gort::go(move || (&client).read(&mut [0]));
                until("four wait", || netpoll::waiters() == 4);
                socket.set_deadline(past()).unwrap();
                assert_timeout(by_deadline.join().unwrap());
                reader.close().unwrap();
                assert_closed(by_close.join().unwrap());
                drop(server);
                assert_eq!(by_end.join().unwrap().unwrap(), 0);
                let stream = TcpStream::connect(addr).unwrap();
                acceptor.join().unwrap().unwrap();
                drop((writer, stream));
                assert_eq!(netpoll::waiters(), 0);
            });
        },
    );
}

#[test]
fn ne28_a_blocked_accept_or_dial_is_no_deadlock() {
    alone("pipe::ne28_a_blocked_accept_or_dial_is_no_deadlock", || {
        // A queue for one connection, and no more: the second dial waits until there is room.
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let other = listen();
        let wanted = other.local_addr().unwrap();
        gort_core::os::socket::listen(std::os::fd::AsFd::as_fd(&listener), 0).unwrap();
        let helper = thread::spawn(move || {
            // waits: for a detector to raise a false alarm, which is no condition we could await.
            thread::sleep(Duration::from_millis(500));
            let first = listener.accept().unwrap();
            let second = net::TcpStream::connect(wanted).unwrap();
            (listener, first, second)
        });
        gort::run(|| {
            let acceptor = gort::go(move || other.accept().map(drop));
            let dials: Vec<_> = (0..3)
                .map(|_| {
                    gort::go(move || TcpStream::connect_timeout(&addr, Duration::from_secs(2)))
                })
                .collect();
            acceptor.join().unwrap().unwrap();
            // Which of them there was room for is the kernel's affair; the one that was accepted is among them.
            let dials = dials.into_iter().map(|dial| dial.join().unwrap());
            let connected = dials.filter(Result::is_ok).count();
            assert!(connected >= 1, "no dial came through");
        });
        helper.join().unwrap();
        until("nobody waits", || netpoll::waiters() == 0);
    });
}

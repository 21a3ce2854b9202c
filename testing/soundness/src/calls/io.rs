//! Pipes, standard input, datagrams, Unix sockets.

use std::io::{BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::SocketAddr;
use std::time::Instant;

use gort::io;
use gort::net::unix::{UnixDatagram, UnixListener, UnixStream};
use gort::net::{self, UdpSocket};

use super::Needs::{Nothing, Start, Wait};
use super::system::new_path;
use super::{Call, act, call, partner, prepared};

const ANY: &str = "127.0.0.1:0";

pub(super) fn calls() -> Vec<Call> {
    let mut all = pipes();
    all.extend(sockets());
    all
}

fn pipes() -> Vec<Call> {
    vec![
        call(
            "io::pipe",
            "io::pipe io::PipeReader:Read io::PipeWriter:Write io::copy",
            Start,
            || {
                let (mut reader, mut writer) = io::pipe().unwrap();
                assert_eq!(io::copy(&mut &b"abc"[..], &mut writer).unwrap(), 3);
                drop(writer);
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text, "abc");
            },
        ),
        prepared("io::pipe, waiting", "io::PipeReader:Read", Wait, || {
            let (mut reader, mut writer) = io::pipe().unwrap();
            let partner = partner(move || writer.write_all(b"a").unwrap());
            act(move || {
                partner.begin();
                reader.read_exact(&mut [0]).unwrap();
            })
        }),
        prepared(
            "io::stdin",
            "io::stdin io::Stdin::is_terminal io::Stdin::lock io::Stdin::lines \
             io::Stdin::read_line io::Stdin:AsFd io::Stdin:AsRawFd io::Stdin:Read \
             io::&Stdin:Read io::StdinLock:AsFd io::StdinLock:AsRawFd io::StdinLock:BufRead \
             io::StdinLock:Read",
            Start,
            || {
                act(|| {
                    // The tests give the program no input: it ends at once.
                    assert!(!io::stdin().is_terminal());
                    assert_eq!(io::stdin().as_fd().as_raw_fd(), io::stdin().as_raw_fd());
                    assert_eq!(io::stdin().lock().as_fd().as_raw_fd(), 0);
                    assert_eq!(io::stdin().lock().as_raw_fd(), 0);
                    assert_eq!(io::stdin().read_line(&mut String::new()).unwrap(), 0);
                    assert_eq!(io::stdin().lines().count(), 0);
                    assert_eq!(io::stdin().read(&mut [0]).unwrap(), 0);
                    assert_eq!((&io::stdin()).read(&mut [0]).unwrap(), 0);
                    assert_eq!(io::stdin().lock().read(&mut [0]).unwrap(), 0);
                    assert!(io::stdin().lock().fill_buf().unwrap().is_empty());
                })
            },
        ),
        call(
            "net::pipe",
            "net::pipe net::Pipe::close net::Pipe::set_deadline net::Pipe::set_read_deadline \
             net::Pipe::set_write_deadline net::Pipe:Drop",
            Nothing,
            || {
                let (mut a, b) = net::pipe();
                let past = Some(Instant::now());
                a.set_read_deadline(past).unwrap();
                a.set_write_deadline(past).unwrap();
                a.read(&mut [0]).unwrap_err();
                b.set_deadline(past).unwrap();
                b.close().unwrap();
            },
        ),
        prepared(
            "net::pipe, waiting",
            "net::Pipe:Read net::Pipe:Write net::&Pipe:Read net::&Pipe:Write",
            Wait,
            || {
                let (mut a, mut b) = net::pipe();
                let partner = partner(move || {
                    b.write_all(b"a").unwrap();
                    (&b).write_all(b"b").unwrap();
                });
                act(move || {
                    partner.begin();
                    a.read_exact(&mut [0]).unwrap();
                    (&a).read_exact(&mut [0]).unwrap();
                })
            },
        ),
    ]
}

fn sockets() -> Vec<Call> {
    vec![
        call(
            "UdpSocket",
            "net::UdpSocket::bind net::UdpSocket::connect net::UdpSocket::send_to \
             net::UdpSocket::recv_from net::UdpSocket::peek_from net::UdpSocket::send \
             net::UdpSocket::peek net::UdpSocket::recv",
            Start,
            || {
                let (a, b) = (UdpSocket::bind(ANY).unwrap(), UdpSocket::bind(ANY).unwrap());
                let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
                a.send_to(b"a", to_b).unwrap();
                assert_eq!(b.peek_from(&mut [0]).unwrap(), (1, to_a));
                assert_eq!(b.recv_from(&mut [0]).unwrap(), (1, to_a));
                a.connect(to_b).unwrap();
                b.connect(to_a).unwrap();
                b.send(b"b").unwrap();
                assert_eq!(a.peek(&mut [0]).unwrap(), 1);
                assert_eq!(a.recv(&mut [0]).unwrap(), 1);
            },
        ),
        call(
            "UnixStream and UnixListener",
            "net::unix::UnixStream::pair net::unix::UnixStream::connect \
             net::unix::UnixStream::connect_addr net::unix::UnixListener::bind \
             net::unix::UnixListener::bind_addr net::unix::UnixListener::accept \
             net::unix::UnixListener::incoming net::unix::UnixListener::close \
             net::unix::UnixListener::set_unlink_on_close net::unix::Incoming:Iterator \
             net::unix::&UnixListener:IntoIterator",
            Start,
            || {
                let (mut a, mut b) = UnixStream::pair().unwrap();
                a.write_all(b"a").unwrap();
                b.read_exact(&mut [0]).unwrap();
                let path = new_path();
                let listener = UnixListener::bind(&path).unwrap();
                listener.set_unlink_on_close(true);
                let addr = SocketAddr::from_pathname(&path).unwrap();
                let _first = UnixStream::connect(&path).unwrap();
                let _others = [0, 1].map(|_| UnixStream::connect_addr(&addr).unwrap());
                listener.accept().unwrap();
                listener.incoming().next().unwrap().unwrap();
                (&listener).into_iter().next().unwrap().unwrap();
                listener.close().unwrap();
                let path = new_path();
                let addr = SocketAddr::from_pathname(&path).unwrap();
                drop(UnixListener::bind_addr(&addr).unwrap());
                let _ = std::fs::remove_file(path);
            },
        ),
        call(
            "UnixDatagram",
            "net::unix::UnixDatagram::bind net::unix::UnixDatagram::bind_addr \
             net::unix::UnixDatagram::unbound net::unix::UnixDatagram::pair \
             net::unix::UnixDatagram::connect net::unix::UnixDatagram::connect_addr \
             net::unix::UnixDatagram::send net::unix::UnixDatagram::send_to \
             net::unix::UnixDatagram::send_to_addr net::unix::UnixDatagram::recv \
             net::unix::UnixDatagram::recv_from net::unix::UnixDatagram::peek \
             net::unix::UnixDatagram::peek_from",
            Start,
            || {
                let (a, b) = UnixDatagram::pair().unwrap();
                a.send(b"a").unwrap();
                assert_eq!(b.peek(&mut [0]).unwrap(), 1);
                assert_eq!(b.recv(&mut [0]).unwrap(), 1);
                let (path, other) = (new_path(), new_path());
                let addr = SocketAddr::from_pathname(&other).unwrap();
                let first = UnixDatagram::bind(&path).unwrap();
                let second = UnixDatagram::bind_addr(&addr).unwrap();
                let sender = UnixDatagram::unbound().unwrap();
                sender.send_to(b"a", &path).unwrap();
                sender.send_to_addr(b"a", &addr).unwrap();
                assert_eq!(first.peek_from(&mut [0]).unwrap().0, 1);
                assert_eq!(first.recv_from(&mut [0]).unwrap().0, 1);
                sender.connect(&path).unwrap();
                sender.connect_addr(&addr).unwrap();
                drop(second);
                std::fs::remove_file(path).unwrap();
                std::fs::remove_file(other).unwrap();
            },
        ),
    ]
}

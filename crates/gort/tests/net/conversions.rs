//! From and to std's types and descriptors, clones, and what a close means for them.

use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use gort::net::{TcpListener, TcpStream};

use crate::support::{assert_closed, assert_kind, in_both_worlds, pair};

/// Whether the descriptor is in non-blocking mode.
fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap() & 0o4000 != 0
}

#[test]
fn std_sockets_become_ours_and_go_back() {
    in_both_worlds(|world| {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        assert!(is_nonblocking(&listener));
        let acceptor = world.go(move || (listener.accept().unwrap().0, listener));
        let client = TcpStream::from_std(net::TcpStream::connect(addr).unwrap()).unwrap();
        let (mut server, listener) = acceptor.join();
        assert!(is_nonblocking(&client));

        let reader = world.go(move || {
            let mut client = client;
            client.read_exact(&mut [0; 1]).unwrap();
            client
        });
        server.write_all(b"x").unwrap();
        let client = reader.join();

        let mut client = client.into_std().unwrap();
        assert!(!is_nonblocking(&client));
        server.write_all(b"y").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        let listener = listener.into_std().unwrap();
        assert!(!is_nonblocking(&listener));
        assert_eq!(listener.local_addr().unwrap(), addr);
    });
}

#[test]
fn conversions_work_in_all_directions() {
    let std_listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::try_from(std_listener).unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = OwnedFd::from(listener);
    let listener = TcpListener::from(listener);
    let listener = net::TcpListener::try_from(listener).unwrap();
    assert_eq!(listener.local_addr().unwrap(), addr);

    let stream = TcpStream::try_from(net::TcpStream::connect(addr).unwrap()).unwrap();
    let stream = OwnedFd::from(stream);
    assert!(!is_nonblocking(&stream));
    let stream = TcpStream::from(stream);
    assert!(is_nonblocking(&stream));
    let stream = net::TcpStream::try_from(stream).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addr);

    let number = TcpStream::from_std(stream).unwrap().into_raw_fd();
    // SAFETY: `into_raw_fd` has just given the number away, and nobody else has it.
    let stream = unsafe { TcpStream::from_raw_fd(number) };
    assert_eq!(stream.peer_addr().unwrap(), addr);
}

#[test]
fn a_descriptor_that_cannot_be_waited_for_is_refused() {
    let file = || OwnedFd::from(std::fs::File::open("/proc/self/status").unwrap());
    assert_kind(
        TcpStream::from_std(net::TcpStream::from(file())),
        ErrorKind::PermissionDenied,
    );
    // `From` cannot say so: the calls do. The descriptor can be had back.
    let mut stream = TcpStream::from(file());
    assert_kind(stream.read(&mut [0; 1]), ErrorKind::PermissionDenied);
    assert_kind(stream.write(&[0; 1]), ErrorKind::PermissionDenied);
    assert_kind(stream.peer_addr(), ErrorKind::PermissionDenied);
    let file_again = OwnedFd::from(stream);
    assert!(!is_nonblocking(&file_again));
    let mut text = String::new();
    std::fs::File::from(file_again)
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("Threads:"));
    let closed = TcpStream::from(file());
    closed.close().unwrap();
    assert_eq!(closed.as_raw_fd(), -1);
}

#[test]
fn clones_share_the_connection_and_its_settings() {
    in_both_worlds(|_| {
        let (client, mut server) = pair();
        let clone = client.try_clone().unwrap();
        assert_eq!(clone.as_raw_fd(), client.as_raw_fd());
        client
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        assert_eq!(
            clone.read_timeout().unwrap(),
            Some(Duration::from_millis(20))
        );
        assert_kind((&clone).read(&mut [0; 1]), ErrorKind::TimedOut);
        drop(client);
        server.write_all(b"x").unwrap();
        assert_eq!((&clone).read(&mut [0; 1]).unwrap(), 1);

        // A duplicate for std leaves the clones in working order.
        let other = clone.try_clone().unwrap();
        let mut duplicate = other.into_std().unwrap();
        assert_ne!(duplicate.as_raw_fd(), clone.as_raw_fd());
        assert_kind((&clone).read(&mut [0; 1]), ErrorKind::TimedOut);
        server.write_all(b"y").unwrap();
        duplicate.read_exact(&mut [0; 1]).unwrap();
        drop(duplicate);

        let other = clone.try_clone().unwrap();
        other.close().unwrap();
        assert_closed((&clone).read(&mut [0; 1]));
        assert_closed(clone.into_std());
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn a_borrowed_descriptor_stays_open_although_the_connection_closes() {
    let (client, mut server) = pair();
    let borrowed = client.as_fd();
    client.close().unwrap();
    // The peer sees the end at once, and the number has not been given to anybody else.
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    assert!(borrowed.try_clone_to_owned().is_ok());
    let number = borrowed.as_raw_fd();
    assert_eq!(client.as_fd().as_raw_fd(), number);
    assert_eq!(client.as_raw_fd(), -1);
    let others: Vec<_> = (0..8).map(|_| pair()).collect();
    assert!(
        others
            .iter()
            .all(|(a, b)| a.as_raw_fd() != number && b.as_raw_fd() != number)
    );
}

#[test]
fn a_number_that_was_asked_for_is_nobody_elses_although_the_connection_closes() {
    let (client, _server) = pair();
    let number = client.as_raw_fd();
    client.close().unwrap();
    assert_eq!(client.as_raw_fd(), -1);
    let others: Vec<_> = (0..8).map(|_| pair()).collect();
    let is_other = |fd: &TcpStream| fd.as_raw_fd() != number;
    assert!(
        others
            .iter()
            .all(|(a, b)| is_other(a) && b.as_raw_fd() != number)
    );
}

#[test]
#[should_panic(expected = "use of closed network connection")]
fn borrowing_the_descriptor_after_a_close_panics() {
    let (client, _server) = pair();
    client.close().unwrap();
    client.as_fd();
}

#[test]
fn dropping_closes() {
    let (client, mut server) = pair();
    drop(client);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn sockets_have_the_auto_traits_of_stds() {
    use std::panic::{RefUnwindSafe, UnwindSafe};
    fn assert_all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    assert_all::<TcpStream>();
    assert_all::<TcpListener>();
    assert_all::<gort::net::UdpSocket>();
    assert_all::<gort::net::unix::UnixStream>();
    assert_all::<gort::net::unix::UnixListener>();
    assert_all::<gort::net::unix::UnixDatagram>();
}

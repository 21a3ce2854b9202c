//! UDP sockets: datagrams, addresses, options, and what ends a wait.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use gort::net::UdpSocket;
use gort_test_support::alone;

use crate::support::{assert_closed, assert_kind, has_ipv6, in_both_worlds};

fn pair() -> (UdpSocket, UdpSocket) {
    let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    (a, b)
}

#[test]
fn datagrams_keep_their_bounds_and_senders() {
    in_both_worlds(|world| {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            if host.starts_with('[') && !has_ipv6() {
                continue;
            }
            let server = UdpSocket::bind(host).unwrap();
            let addr = server.local_addr().unwrap();
            let echo = world.go(move || {
                let mut buf = [0; 100];
                for len in [5, 0, 3] {
                    let (count, sender) = server.peek_from(&mut buf).unwrap();
                    assert_eq!(count, len);
                    assert_eq!(server.recv_from(&mut buf).unwrap(), (len, sender));
                    assert_eq!(server.send_to(&buf[..len], sender).unwrap(), len);
                }
            });
            let client = UdpSocket::bind(host).unwrap();
            client.send_to(b"hello", addr).unwrap();
            client.connect(addr).unwrap();
            assert_eq!(client.peer_addr().unwrap(), addr);
            client.send(b"").unwrap();
            client.send(b"bye").unwrap();
            let mut buf = [7; 100];
            assert_eq!(client.recv(&mut buf).unwrap(), 5);
            assert_eq!(&buf[..5], b"hello");
            assert_eq!(client.recv(&mut buf).unwrap(), 0);
            // Two bytes of room for three: the third is lost.
            assert_eq!(client.peek(&mut buf[..2]).unwrap(), 2);
            assert_eq!(client.recv(&mut buf[..2]).unwrap(), 2);
            assert_eq!(&buf[..2], b"by");
            echo.join();
        }
    });
}

#[test]
fn a_parked_receiver_is_woken_by_data_deadline_and_close() {
    in_both_worlds(|world| {
        let (a, b) = pair();
        let receiver = b.try_clone().unwrap();
        let receiver = world.go(move || receiver.recv(&mut [0; 10]));
        a.send(b"x").unwrap();
        assert_eq!(receiver.join().unwrap(), 1);

        b.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        assert_kind(b.recv(&mut [0]), ErrorKind::TimedOut);
        b.set_read_timeout(None).unwrap();
        b.set_read_deadline(Some(Instant::now() + Duration::from_millis(5)))
            .unwrap();
        assert_kind(b.recv_from(&mut [0]), ErrorKind::TimedOut);
        // The other direction has no deadline.
        b.send(b"y").unwrap();
        b.set_deadline(None).unwrap();

        b.set_nonblocking(true).unwrap();
        assert_kind(b.recv(&mut [0]), ErrorKind::WouldBlock);
        b.set_nonblocking(false).unwrap();

        let receiver = b.try_clone().unwrap();
        let receiver = world.go(move || receiver.recv(&mut [0; 10]));
        b.close().unwrap();
        assert_closed(receiver.join());
        assert_closed(b.send(b"z"));
        b.close().unwrap();
    });
}

#[test]
fn an_empty_buffer_takes_a_datagram_too() {
    in_both_worlds(|_| {
        let (a, b) = pair();
        a.send(b"lost").unwrap();
        a.send(b"next").unwrap();
        assert_eq!(b.recv(&mut []).unwrap(), 0);
        let mut buf = [0; 10];
        assert_eq!(b.recv(&mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"next");
    });
}

#[test]
fn a_refusal_is_reported_to_a_connected_socket() {
    // Where others start children, those have the socket too, until they run their programs.
    let name = "udp::a_refusal_is_reported_to_a_connected_socket";
    alone(name, || {
        in_both_worlds(|_| {
            let (a, b) = pair();
            drop(b);
            a.send(b"x").unwrap();
            assert_kind(a.recv(&mut [0; 10]), ErrorKind::ConnectionRefused);
        })
    });
}

#[test]
fn options_are_kept() {
    let (socket, _) = pair();
    assert!(!socket.broadcast().unwrap());
    socket.set_broadcast(true).unwrap();
    assert!(socket.broadcast().unwrap());
    socket.set_ttl(42).unwrap();
    assert_eq!(socket.ttl().unwrap(), 42);
    socket.set_multicast_loop_v4(false).unwrap();
    assert!(!socket.multicast_loop_v4().unwrap());
    socket.set_multicast_ttl_v4(43).unwrap();
    assert_eq!(socket.multicast_ttl_v4().unwrap(), 43);
    assert!(socket.take_error().unwrap().is_none());
    assert!(format!("{socket:?}").contains("127.0.0.1"));
    // No group, and no member.
    assert!(
        socket
            .join_multicast_v4(&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST)
            .is_err()
    );
    assert!(
        socket
            .leave_multicast_v4(&Ipv4Addr::new(224, 0, 0, 123), &Ipv4Addr::LOCALHOST)
            .is_err()
    );
    if !has_ipv6() {
        return;
    }
    let six = UdpSocket::bind("[::1]:0").unwrap();
    six.set_multicast_loop_v6(false).unwrap();
    assert!(!six.multicast_loop_v6().unwrap());
    assert!(six.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).is_err());
    assert!(six.leave_multicast_v6(&Ipv6Addr::LOCALHOST, 0).is_err());
}

#[test]
fn multicast_reaches_the_members_of_a_group() {
    in_both_worlds(|_| {
        let group = Ipv4Addr::new(224, 0, 0, 123);
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        member
            .join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        let port = member.local_addr().unwrap().port();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        if sender.send_to(b"all", (group, port)).is_err() {
            // This machine's loopback takes no multicast: then there is nothing to look at.
            return println!("skipped: no multicast here");
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        member.set_read_deadline(Some(deadline)).unwrap();
        let mut buf = [0; 10];
        let (len, from) = member.recv_from(&mut buf).unwrap();
        assert_eq!(
            (&buf[..len], from),
            (&b"all"[..], sender.local_addr().unwrap())
        );
        member
            .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
    });
}

#[test]
fn bad_destinations_are_refused() {
    in_both_worlds(|_| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_kind(socket.send_to(b"x", &[][..]), ErrorKind::InvalidInput);
        assert!(socket.send(b"x").is_err());
        assert!(socket.peer_addr().is_err());
        assert!(socket.send_to(&[0; 70_000], "127.0.0.1:9").is_err());
        let addr = socket.local_addr().unwrap();
        assert_kind(UdpSocket::bind(addr), ErrorKind::AddrInUse);
    });
}

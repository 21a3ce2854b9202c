//! Datagrams: NE23, and what NE04 and NE08 say of them.

use std::time::{Duration, Instant};

use gort::net::UdpSocket;

use crate::support::{after_ms, assert_closed, assert_timeout, past, run, until_parked};

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

#[test]
fn ne23_a_datagram_may_be_empty() {
    run(|| {
        let (a, b) = (socket(), socket());
        let addr = b.local_addr().unwrap();
        let receiver = gort::go(move || b.recv_from(&mut [7; 8]).unwrap());
        until_parked(&receiver);
        assert_eq!(a.send_to(&[], addr).unwrap(), 0);
        let from = a.local_addr().unwrap();
        assert_eq!(receiver.join().unwrap(), (0, from));
    });
}

#[test]
fn ne23_what_does_not_fit_is_dropped() {
    run(|| {
        let (a, b) = (socket(), socket());
        let addr = b.local_addr().unwrap();
        a.send_to(b"0123456789", addr).unwrap();
        a.send_to(b"next", addr).unwrap();
        let mut buf = [0; 9];
        assert_eq!(b.recv_from(&mut buf).unwrap().0, 9);
        assert_eq!(&buf, b"012345678");
        assert_eq!(b.recv_from(&mut buf).unwrap().0, 4);
        assert_eq!(&buf[..4], b"next");
    });
}

#[test]
fn ne23_receiving_tells_the_sender() {
    run(|| {
        let server = socket();
        let addr = server.local_addr().unwrap();
        let clients: Vec<_> = (0..20u8)
            .map(|i| {
                let client = socket();
                assert_eq!(client.send_to(&[i], addr).unwrap(), 1);
                client
            })
            .collect();
        for _ in &clients {
            let mut byte = [0];
            let (len, sender) = server.recv_from(&mut byte).unwrap();
            let client = &clients[usize::from(byte[0])];
            assert_eq!((len, sender), (1, client.local_addr().unwrap()));
        }
    });
}

#[test]
fn ne23_receiving_obeys_its_timeout() {
    run(|| {
        let b = socket();
        b.set_read_deadline(past()).unwrap();
        assert_timeout(b.recv_from(&mut [0]));
        assert_timeout(b.recv_from(&mut [0]));
        let start = Instant::now();
        b.set_read_deadline(after_ms(20)).unwrap();
        assert_timeout(b.recv(&mut [0]));
        assert!(start.elapsed() >= Duration::from_millis(20));
        b.set_read_deadline(None).unwrap();
        let addr = b.local_addr().unwrap();
        b.send_to(b"x", addr).unwrap();
        assert_eq!(b.recv_from(&mut [0; 2]).unwrap(), (1, addr));
    });
}

#[test]
fn ne04_after_a_close_every_operation_of_a_datagram_socket_fails() {
    run(|| {
        let socket = socket();
        let addr = socket.local_addr().unwrap();
        socket.close().unwrap();
        assert_closed(socket.recv_from(&mut [0]));
        assert_closed(socket.send_to(b"x", addr));
        assert_closed(socket.connect(addr));
        assert_closed(socket.local_addr());
        assert_closed(socket.set_deadline(None));
        socket.close().unwrap();
    });
}

#[test]
fn ne08_a_close_ends_a_parked_receive() {
    run(|| {
        let socket = socket();
        let receiver = socket.try_clone().unwrap();
        let receiver = gort::go(move || receiver.recv_from(&mut [0]));
        until_parked(&receiver);
        socket.close().unwrap();
        assert_closed(receiver.join().unwrap());
    });
}

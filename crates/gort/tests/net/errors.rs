//! Bad input and options: a clear error, or the value that was set.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use gort::net::{TcpListener, TcpStream, lookup_host};

use crate::support::{assert_kind, has_ipv6, in_both_worlds, pair};

#[test]
fn a_port_in_use_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    assert_kind(TcpListener::bind(addr), ErrorKind::AddrInUse);
    assert_kind(
        TcpListener::builder(addr).reuse_port(true).bind(),
        ErrorKind::AddrInUse,
    );
}

#[test]
fn listeners_that_agree_share_a_port() {
    in_both_worlds(|world| {
        let share = |addr| {
            TcpListener::builder(addr)
                .reuse_port(true)
                .backlog(200)
                .bind()
                .unwrap()
        };
        let one = share(SocketAddr::from(([127, 0, 0, 1], 0)));
        let addr = one.local_addr().unwrap();
        let two = share(addr);
        // The kernel spreads them by the clients' ports; many go to each.
        let counts: Vec<_> = [one, two]
            .map(|listener| {
                listener
                    .set_deadline(Some(std::time::Instant::now() + Duration::from_secs(30)))
                    .unwrap();
                listener
            })
            .into_iter()
            .map(|listener| {
                let clone = listener.try_clone().unwrap();
                (
                    clone,
                    world.go(move || listener.incoming().take_while(|s| s.is_ok()).count()),
                )
            })
            .collect();
        for _ in 0..100 {
            // The end of the stream says that the connection has been accepted, and dropped.
            let mut stream = TcpStream::connect(addr).unwrap();
            assert_eq!(std::io::Read::read(&mut stream, &mut [0; 1]).unwrap(), 0);
        }
        let counts: Vec<_> = counts
            .into_iter()
            .map(|(listener, count)| {
                listener.close().unwrap();
                count.join()
            })
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 100);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    });
}

#[test]
fn addresses_that_are_none_are_refused() {
    in_both_worlds(|_| {
        assert_kind(TcpStream::connect("127.0.0.1"), ErrorKind::InvalidInput);
        assert_kind(
            TcpListener::bind("127.0.0.1:65536"),
            ErrorKind::InvalidInput,
        );
        assert_kind(TcpStream::connect(&[][..]), ErrorKind::InvalidInput);
        assert!(TcpStream::connect("no such host:80").is_err());
        assert!(lookup_host("no such host:80").is_err());
        // Documentation addresses are nobody's.
        assert_kind(
            TcpListener::bind("192.0.2.1:0"),
            ErrorKind::AddrNotAvailable,
        );
    });
}

#[test]
fn the_first_address_that_works_is_taken() {
    in_both_worlds(|_| {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[free, taken][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), taken);
        let other = TcpListener::bind(&[taken, free][..]).unwrap();
        assert_eq!(other.local_addr().unwrap(), free);
    });
}

#[test]
fn names_are_looked_up() {
    in_both_worlds(|_| {
        let addrs: Vec<_> = lookup_host(("localhost", 80)).unwrap().collect();
        assert!(!addrs.is_empty());
        assert!(
            addrs
                .iter()
                .all(|addr| addr.ip().is_loopback() && addr.port() == 80)
        );
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("localhost", port)).is_ok());
    });
}

#[test]
fn options_are_kept() {
    let (client, server) = pair();
    assert!(!client.nodelay().unwrap());
    client.set_nodelay(true).unwrap();
    assert!(client.nodelay().unwrap() && !server.nodelay().unwrap());
    client.set_ttl(42).unwrap();
    assert_eq!(client.ttl().unwrap(), 42);
    assert!(client.take_error().unwrap().is_none());

    assert_eq!(client.read_timeout().unwrap(), None);
    let timeout = Duration::from_micros(1_500);
    client.set_read_timeout(Some(timeout)).unwrap();
    client.set_write_timeout(Some(2 * timeout)).unwrap();
    assert_eq!(client.read_timeout().unwrap(), Some(timeout));
    assert_eq!(client.write_timeout().unwrap(), Some(2 * timeout));
    assert_kind(
        client.set_read_timeout(Some(Duration::ZERO)),
        ErrorKind::InvalidInput,
    );
    assert_eq!(client.read_timeout().unwrap(), Some(timeout));

    assert_eq!(client.keepalive().unwrap(), None);
    client.set_keepalive(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(client.keepalive().unwrap(), Some(Duration::from_secs(30)));
    assert_eq!(client.linger().unwrap(), None);
    client.set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(client.linger().unwrap(), Some(Duration::ZERO));
    // Without lingering, a close throws the connection away: a reset.
    drop(client);
    assert_kind(
        std::io::Read::read(&mut &server, &mut [0; 1]),
        ErrorKind::ConnectionReset,
    );

    let listener = TcpListener::builder("127.0.0.1:0")
        .only_v6(true)
        .bind()
        .unwrap();
    listener.set_ttl(43).unwrap();
    assert_eq!(listener.ttl().unwrap(), 43);
    assert!(listener.take_error().unwrap().is_none());
    assert!(format!("{listener:?}").contains("127.0.0.1"));

    if !has_ipv6() {
        return;
    }
    let listener = TcpListener::builder("[::1]:0")
        .only_v6(true)
        .bind()
        .unwrap();
    assert!(listener.only_v6().unwrap());
    let listener = TcpListener::builder("[::]:0")
        .only_v6(false)
        .bind()
        .unwrap();
    assert!(!listener.only_v6().unwrap());
}

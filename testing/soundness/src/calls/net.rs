//! Sockets, over the loopback.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream, lookup_host};

use super::Needs::{Nothing, Start, Wait};
use super::{Call, act, call, partner, prepared};

const ANY: &str = "127.0.0.1:0";

pub(super) fn calls() -> Vec<Call> {
    vec![
        call(
            "TcpListener",
            "net::TcpListener::bind net::TcpListener::builder net::TcpListenerBuilder::bind \
             net::TcpListenerBuilder::backlog net::TcpListenerBuilder::reuse_port \
             net::TcpListener::local_addr net::TcpListener::try_clone \
             net::TcpListener::set_deadline net::TcpListener::accept net::TcpListener::set_ttl \
             net::TcpListener::ttl net::TcpListener::take_error \
             net::TcpListener::set_nonblocking net::TcpListener::close \
             net::TcpListener::into_incoming net::TcpListener::only_v6 \
             net::TcpListener::set_only_v6 net::TcpListenerBuilder::only_v6 \
             net::IntoIncoming:Iterator",
            Start,
            || {
                let listener = TcpListener::bind(ANY).unwrap();
                let builder = TcpListener::builder(ANY).backlog(5).reuse_port(true);
                builder.bind().unwrap();
                assert!(listener.local_addr().unwrap().port() != 0);
                let clone = listener.try_clone().unwrap();
                // The past: does not wait.
                listener.set_deadline(Some(Instant::now())).unwrap();
                listener.accept().unwrap_err();
                listener.set_ttl(63).unwrap();
                assert_eq!(clone.ttl().unwrap(), 63);
                assert!(listener.take_error().unwrap().is_none());
                listener.set_nonblocking(false).unwrap();
                let _ = listener.only_v6();
                #[expect(deprecated, reason = "it is there, as std's is")]
                let _ = listener.set_only_v6(false);
                let _ = TcpListener::builder("[::1]:0").only_v6(true).bind();
                listener.close().unwrap();
                clone.accept().unwrap_err();
                assert!(clone.into_incoming().next().is_none());
            },
        ),
        call(
            "TcpListener, converted",
            "net::TcpListener::from_std net::TcpListener::into_std net::TcpListener:TryFrom \
             net::TcpListener:AsFd net::TcpListener:AsRawFd net::TcpListener:IntoRawFd",
            Start,
            || {
                let std = std::net::TcpListener::bind(ANY).unwrap();
                let listener = TcpListener::from_std(std).unwrap();
                let std = listener.into_std().unwrap();
                let listener = TcpListener::try_from(std).unwrap();
                assert!(listener.as_raw_fd() == listener.as_fd().as_raw_fd());
                let fd = listener.into_raw_fd();
                // SAFETY: it was just given to us.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
            },
        ),
        prepared(
            "TcpListener::accept, waiting",
            "net::TcpListener::accept net::TcpListener::accept_retrying \
             net::TcpListener::incoming net::Incoming:Iterator",
            Wait,
            || {
                let listener = TcpListener::bind(ANY).unwrap();
                let addr = listener.local_addr().unwrap();
                let partner = partner(move || {
                    (0..3).for_each(|_| drop(std::net::TcpStream::connect(addr)));
                });
                act(move || {
                    partner.begin();
                    listener.accept().unwrap();
                    listener.accept_retrying().unwrap();
                    listener.incoming().next().unwrap().unwrap();
                })
            },
        ),
        prepared(
            "TcpListener::accept, closed by another",
            "net::TcpListener::close",
            Wait,
            || {
                let listener = TcpListener::bind(ANY).unwrap();
                let clone = listener.try_clone().unwrap();
                let partner = partner(move || drop(clone.close()));
                act(move || {
                    partner.begin();
                    listener.accept().unwrap_err();
                })
            },
        ),
        prepared(
            "TcpStream",
            "net::TcpStream::peer_addr net::TcpStream::local_addr net::TcpStream::try_clone \
             net::TcpStream::set_deadline net::TcpStream::set_read_deadline \
             net::TcpStream::set_write_deadline net::TcpStream::set_read_timeout \
             net::TcpStream::set_write_timeout net::TcpStream::read_timeout \
             net::TcpStream::write_timeout net::TcpStream::set_nodelay net::TcpStream::nodelay \
             net::TcpStream::set_ttl net::TcpStream::ttl net::TcpStream::take_error \
             net::TcpStream::set_nonblocking net::TcpStream::shutdown net::TcpStream::close \
             net::TcpStream:Read net::TcpStream:Write net::&TcpStream:Read \
             net::&TcpStream:Write net::TcpStream:AsFd net::TcpStream:AsRawFd \
             net::TcpStream::keepalive net::TcpStream::set_keepalive net::TcpStream::linger \
             net::TcpStream::set_linger",
            Wait,
            || {
                let (mut a, b) = pair();
                act(move || {
                    assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
                    let _clone = a.try_clone().unwrap();
                    assert!(a.as_raw_fd() == a.as_fd().as_raw_fd());
                    a.set_read_deadline(None).unwrap();
                    a.set_write_deadline(None).unwrap();
                    a.set_write_timeout(None).unwrap();
                    let long = Some(Duration::from_secs(3600));
                    a.set_read_timeout(long).unwrap();
                    assert_eq!(a.read_timeout().unwrap(), long);
                    assert_eq!(a.write_timeout().unwrap(), None);
                    a.set_nodelay(true).unwrap();
                    assert!(a.nodelay().unwrap());
                    a.set_keepalive(long).unwrap();
                    assert!(a.keepalive().unwrap().is_some());
                    a.set_linger(None).unwrap();
                    assert_eq!(a.linger().unwrap(), None);
                    a.set_ttl(63).unwrap();
                    assert_eq!(a.ttl().unwrap(), 63);
                    assert!(a.take_error().unwrap().is_none());
                    a.set_nonblocking(false).unwrap();
                    a.write_all(b"ab").unwrap();
                    (&a).write_all(b"c").unwrap();
                    a.shutdown(Shutdown::Write).unwrap();
                    // The past: does not wait.
                    a.set_deadline(Some(Instant::now())).unwrap();
                    a.read(&mut [0]).unwrap_err();
                    (&a).read(&mut [0]).unwrap_err();
                    a.close().unwrap();
                })
            },
        ),
        prepared(
            "TcpStream, read",
            "net::TcpStream:Read net::TcpStream::peek",
            Wait,
            || {
                let (mut a, mut b) = pair();
                let partner = partner(move || drop(b.write_all(b"abc")));
                act(move || {
                    partner.begin();
                    assert!(a.peek(&mut [0]).unwrap() > 0);
                    let mut text = [0; 3];
                    a.read_exact(&mut text).unwrap();
                    assert_eq!(&text, b"abc");
                })
            },
        ),
        call(
            "TcpStream::connect",
            "net::TcpStream::connect net::TcpStream::connect_timeout",
            Start,
            || {
                let listener = std::net::TcpListener::bind(ANY).unwrap();
                let addr = listener.local_addr().unwrap();
                TcpStream::connect(addr).unwrap();
                TcpStream::connect_timeout(&addr, Duration::from_secs(3600)).unwrap();
                drop(listener);
                TcpStream::connect(addr).unwrap_err();
            },
        ),
        prepared(
            "TcpStream, converted",
            "net::TcpStream::from_std net::TcpStream::into_std net::TcpStream:TryFrom \
             net::TcpStream:IntoRawFd",
            Start,
            || {
                let (a, b) = pair();
                act(move || {
                    let std = a.into_std().unwrap();
                    let fd = TcpStream::from_std(std).unwrap().into_raw_fd();
                    // SAFETY: it was just given to us.
                    drop(unsafe { OwnedFd::from_raw_fd(fd) });
                    drop(TcpStream::from(OwnedFd::from(b)));
                })
            },
        ),
        call("lookup_host", "net::lookup_host", Nothing, || {
            assert_eq!(lookup_host("127.0.0.1:80").unwrap().count(), 1);
            assert!(lookup_host("localhost:80").unwrap().count() > 0);
        }),
    ]
}

/// Both ends of a connection.
pub(super) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(ANY).unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (a, listener.accept().unwrap().0)
}

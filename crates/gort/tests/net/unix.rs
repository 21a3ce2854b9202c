//! Unix sockets: streams, listeners with their files, datagrams, addresses of all three kinds.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gort::net::unix::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

use gort::context::ContextError;

use gort_test_support::{eventually_parked, go_named};

use crate::support::{World, assert_closed, assert_kind, in_both_worlds};

static USED: AtomicUsize = AtomicUsize::new(0);

/// A path that nobody else uses; the file, if there is one at the end, goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let number = USED.fetch_add(1, Relaxed);
        let name = format!("gort-net-{}-{number}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }

    fn exists(&self) -> bool {
        std::fs::symlink_metadata(&self.0).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn abstract_addr() -> SocketAddr {
    let number = USED.fetch_add(1, Relaxed);
    SocketAddr::from_abstract_name(format!("gort net {} {number}", std::process::id())).unwrap()
}

#[test]
fn streams_connect_by_path_and_by_abstract_name() {
    in_both_worlds(|world| {
        let place = Place::new();
        for addr in [
            SocketAddr::from_pathname(&place.0).unwrap(),
            abstract_addr(),
        ] {
            let listener = UnixListener::bind_addr(&addr).unwrap();
            let same = |other: &SocketAddr| {
                (other.as_pathname(), other.as_abstract_name())
                    == (addr.as_pathname(), addr.as_abstract_name())
            };
            assert!(same(&listener.local_addr().unwrap()));
            let server = world.go(move || {
                let (mut stream, peer) = listener.accept().unwrap();
                assert!(peer.is_unnamed());
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                stream.write_all(text.to_uppercase().as_bytes()).unwrap();
                listener.close().unwrap();
            });
            let mut client = UnixStream::connect_addr(&addr).unwrap();
            assert!(same(&client.peer_addr().unwrap()));
            assert!(client.local_addr().unwrap().is_unnamed());
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "HELLO");
            server.join();
        }
        assert_kind(UnixStream::connect(&place.0), ErrorKind::NotFound);
    });
}

#[test]
fn a_stream_obeys_deadlines_timeouts_and_close() {
    in_both_worlds(|world| {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        assert_kind((&a).read(&mut [0]), ErrorKind::TimedOut);
        a.set_read_timeout(None).unwrap();
        a.set_write_deadline(Some(Instant::now() + Duration::from_millis(5)))
            .unwrap();
        assert_kind((&a).write_all(&[0; 4 << 20]), ErrorKind::TimedOut);
        (&b).write_all(b"peeked").unwrap();
        let mut buf = [0; 3];
        assert_eq!(a.peek(&mut buf).unwrap(), 3);
        assert_eq!((&a).read(&mut buf).unwrap(), 3);
        assert_eq!(&buf, b"pee");
        (&a).read_exact(&mut buf).unwrap();
        let reader = a.try_clone().unwrap();
        let reader = world.go(move || (&reader).read(&mut [0]));
        a.close().unwrap();
        assert_closed(reader.join());
    });
}

#[test]
fn connecting_waits_for_room_in_the_queue() {
    in_both_worlds(|world| {
        // A queue for one: the listener is std's, as ours have the longest there is.
        let addr = abstract_addr();
        let listener = net::UnixListener::bind_addr(&addr).unwrap();
        gort_core::os::socket::listen(listener.as_fd(), 0).unwrap();
        let first = UnixStream::connect_addr(&addr).unwrap();
        let second = world.go(move || UnixStream::connect_addr(&addr).unwrap());
        let (accepted, _) = listener.accept().unwrap();
        second.join();
        drop((first, accepted));
    });
}

#[test]
fn listeners_take_many_and_end_with_a_close() {
    in_both_worlds(|world| {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        assert_kind(UnixListener::bind(&place.0), ErrorKind::AddrInUse);
        let server = listener.try_clone().unwrap();
        let server = world.go(move || {
            let mut count = 0;
            for stream in &server {
                stream.unwrap().write_all(b"x").unwrap();
                count += 1;
            }
            count
        });
        for _ in 0..20 {
            let mut byte = [0];
            let mut stream = UnixStream::connect(&place.0).unwrap();
            stream.read_exact(&mut byte).unwrap();
        }
        listener.close().unwrap();
        assert_eq!(server.join(), 20);
        assert_closed(listener.accept());
        assert!(!place.exists());

        listener.set_unlink_on_close(true);
        let listener = UnixListener::bind(&place.0).unwrap();
        listener.set_deadline(Some(Instant::now())).unwrap();
        assert_kind(listener.accept(), ErrorKind::TimedOut);
        listener.set_deadline(None).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_kind(listener.accept(), ErrorKind::WouldBlock);
        assert!(listener.take_error().unwrap().is_none());
    });
}

#[test]
fn a_listener_that_shares_its_socket_with_std_goes_on() {
    in_both_worlds(|world| {
        let addr = abstract_addr();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let twin = listener.try_clone().unwrap().into_std().unwrap();
        let acceptor = world.go(move || listener.accept().map(|_| listener));
        let client = UnixStream::connect_addr(&addr).unwrap();
        let listener = acceptor.join().unwrap();
        // std's blocks, as its owner expects; ours parks, and a close still wakes it.
        let other = listener.try_clone().unwrap();
        let acceptor = world.go(move || other.accept());
        listener.close().unwrap();
        assert_closed(acceptor.join());
        drop((client, twin));
    });
}

#[test]
fn datagrams_wait_for_a_full_receiver() {
    in_both_worlds(|world| {
        let place = Place::new();
        let receiver = UnixDatagram::bind(&place.0).unwrap();
        let (sender, connected) = (
            UnixDatagram::unbound().unwrap(),
            UnixDatagram::unbound().unwrap(),
        );
        connected.connect(&place.0).unwrap();
        const COUNT: u32 = 2_000;
        let path = place.0.clone();
        let one = world.go(move || {
            for i in 0..COUNT {
                assert_eq!(sender.send_to(&i.to_le_bytes(), &path).unwrap(), 4);
            }
        });
        let two = world.go(move || {
            for i in 0..COUNT {
                assert_eq!(connected.send(&(COUNT + i).to_le_bytes()).unwrap(), 4);
            }
        });
        // None is lost, and each sender's come in their order.
        let mut next = [0, COUNT];
        for _ in 0..2 * COUNT {
            let mut bytes = [0; 4];
            let (len, from) = receiver.recv_from(&mut bytes).unwrap();
            assert!(len == 4 && from.is_unnamed());
            let number = u32::from_le_bytes(bytes);
            let next = &mut next[(number / COUNT) as usize];
            assert_eq!(number, *next);
            *next += 1;
        }
        one.join();
        two.join();
    });
}

#[test]
fn a_send_to_a_full_receiver_can_be_ended() {
    in_both_worlds(|world| {
        let addr = abstract_addr();
        let receiver = UnixDatagram::bind_addr(&addr).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send_to_addr(b"x", &addr).is_ok() {}
        assert_kind(sender.send_to_addr(b"x", &addr), ErrorKind::WouldBlock);
        sender.set_nonblocking(false).unwrap();
        sender
            .set_write_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        assert_kind(sender.send_to_addr(b"x", &addr), ErrorKind::TimedOut);
        sender.set_write_timeout(None).unwrap();
        let other = sender.try_clone().unwrap();
        let waiting = world.go(move || other.send_to_addr(b"x", &addr));
        sender.close().unwrap();
        assert_closed(waiting.join());
        drop(receiver);
    });
}

#[test]
fn datagram_sockets_know_their_addresses() {
    in_both_worlds(|_| {
        let (one, two) = (abstract_addr(), abstract_addr());
        let a = UnixDatagram::bind_addr(&one).unwrap();
        let b = UnixDatagram::bind_addr(&two).unwrap();
        b.connect_addr(&one).unwrap();
        let name = |addr: SocketAddr| addr.as_abstract_name().map(<[u8]>::to_vec);
        assert_eq!(name(b.peer_addr().unwrap()), name(one));
        b.send(b"hello").unwrap();
        let mut buf = [0; 10];
        let (len, from) = a.peek_from(&mut buf).unwrap();
        assert_eq!((len, name(from)), (5, name(two)));
        assert_eq!(a.peek(&mut buf[..1]).unwrap(), 1);
        assert_eq!(a.recv(&mut buf).unwrap(), 5);
        let (c, d) = UnixDatagram::pair().unwrap();
        assert!(c.local_addr().unwrap().is_unnamed());
        d.shutdown(Shutdown::Write).unwrap();
        assert!(d.send(b"x").is_err());
        assert!(c.take_error().unwrap().is_none());
        assert!(format!("{c:?}").contains("UnixDatagram"));
    });
}

/// As std's, which gets that from the kernel: whoever asks it without waiting is told "not now" for ever.
#[test]
fn what_is_shut_down_for_reading_gives_empty_datagrams() {
    in_both_worlds(|_| {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        let names = ["first receiver", "second receiver"];
        let receivers = names.map(|name| {
            let ours = ours.try_clone().unwrap();
            go_named(name, move || ours.recv(&mut [0; 10]))
        });
        for name in names {
            eventually_parked(name, "IO wait");
        }
        ours.shutdown(Shutdown::Read).unwrap();
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap().unwrap(), 0);
        }
        let mut buf = [0; 10];
        assert_eq!(ours.recv(&mut buf).unwrap(), 0);
        assert_eq!(ours.peek(&mut buf).unwrap(), 0);
        let (len, from) = ours.recv_from(&mut buf).unwrap();
        assert!(len == 0 && from.is_unnamed());
        let (len, from) = ours.peek_from(&mut buf).unwrap();
        assert!(len == 0 && from.is_unnamed());
    });
}

#[test]
fn std_sockets_become_ours_and_go_back() {
    in_both_worlds(|_| {
        let (a, b) = net::UnixStream::pair().unwrap();
        let (a, mut b) = (
            UnixStream::from_std(a).unwrap(),
            UnixStream::from(OwnedFd::from(b)),
        );
        let mut a = a.into_std().unwrap();
        b.write_all(b"x").unwrap();
        a.read_exact(&mut [0]).unwrap();
        let place = Place::new();
        let listener = net::UnixListener::bind(&place.0).unwrap();
        let listener = UnixListener::try_from(listener).unwrap();
        // The file is not this listener's own.
        listener.close().unwrap();
        assert!(place.exists());
        assert_eq!(listener.as_raw_fd(), -1);
        let (c, d) = net::UnixDatagram::pair().unwrap();
        let c = UnixDatagram::try_from(c).unwrap();
        c.send(b"x").unwrap();
        assert_eq!(d.recv(&mut [0]).unwrap(), 1);
    });
}

/// Runs `call` under a context that is cancelled when somebody may be parked in it, and before.
fn assert_cancelable<T: Debug + Send + 'static>(
    world: World,
    call: impl Fn() -> io::Result<T> + Send + 'static,
) {
    let (context, cancel) = gort::context::background().with_cancel();
    let canceler = world.go(move || {
        for _ in 0..10 {
            gort::yield_now();
        }
        cancel.cancel();
    });
    for _ in 0..2 {
        let error = context.enter(&call).unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<ContextError>();
        assert_eq!(inner, Some(&ContextError::Canceled));
    }
    canceler.join();
    // One that has run out of time: the error is a timeout, and it ends all the same.
    let soon = gort::time::now() + Duration::from_millis(3);
    let (context, _cancel) = gort::context::background().with_deadline(soon);
    assert_kind(context.enter(&call), ErrorKind::TimedOut);
}

#[test]
fn the_current_context_ends_all_kinds_of_waits() {
    in_both_worlds(|world| {
        let (stream, _peer) = UnixStream::pair().unwrap();
        assert_cancelable(world, move || (&stream).read(&mut [0]));
        let listener = UnixListener::bind_addr(&abstract_addr()).unwrap();
        assert_cancelable(world, move || listener.accept());
        // These try again now and then.
        let addr = abstract_addr();
        let _full = UnixDatagram::bind_addr(&addr).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send_to_addr(b"x", &addr).is_ok() {}
        sender.set_nonblocking(false).unwrap();
        assert_cancelable(world, move || sender.send_to_addr(b"x", &addr));
        let addr = abstract_addr();
        let full = net::UnixListener::bind_addr(&addr).unwrap();
        gort_core::os::socket::listen(full.as_fd(), 0).unwrap();
        let _first = UnixStream::connect_addr(&addr).unwrap();
        assert_cancelable(world, move || UnixStream::connect_addr(&addr));
        let socket = gort::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_cancelable(world, move || socket.recv_from(&mut [0]));
        let (reader, _writer) = gort::io::pipe().unwrap();
        assert_cancelable(world, move || (&reader).read(&mut [0]));
    });
}

#[test]
fn paths_that_are_too_long_are_refused() {
    let long = "x".repeat(108);
    assert_kind(UnixListener::bind(&long), ErrorKind::InvalidInput);
    assert_kind(UnixStream::connect(&long), ErrorKind::InvalidInput);
    assert_kind(UnixDatagram::bind(&long), ErrorKind::InvalidInput);
    assert_kind(UnixListener::bind("/no/such/folder/x"), ErrorKind::NotFound);
}

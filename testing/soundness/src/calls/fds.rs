//! What all descriptors can do: be turned into others, options, deadlines. And the standard output.

use std::io::{IsTerminal, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use gort::io::{self, PipeReader, PipeWriter};
use gort::net::UdpSocket;
use gort::net::unix::{UnixDatagram, UnixListener, UnixStream};
use gort::signal::{self, Signal};

use super::Needs::Start;
use super::system::new_path;
use super::{Call, call};

const ANY: &str = "127.0.0.1:0";

pub(super) fn calls() -> Vec<Call> {
    let mut all = pipes_and_output();
    all.extend(datagrams());
    all.extend(unix());
    all
}

/// There and back by each way, and a clone on the way.
macro_rules! convert {
    ($fd:expr, $name:ty) => {{
        let fd: $name = $fd;
        let clone = fd.try_clone().unwrap();
        assert_eq!(clone.as_fd().as_raw_fd(), clone.as_raw_fd());
        let fd = <$name>::from_std(fd.into_std().unwrap()).unwrap();
        let fd = <$name>::try_from(fd.into_std().unwrap()).unwrap();
        let raw = fd.into_raw_fd();
        // SAFETY: it was just given to us.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let fd = <$name>::from(fd);
        fd.set_nonblocking(true).unwrap();
        fd.set_nonblocking(false).unwrap();
        fd
    }};
}

/// Timeouts and deadlines of a socket; the last one has passed when it is to receive.
macro_rules! deadlines {
    ($socket:ident, $receives:expr) => {{
        let timeout = Some(Duration::from_secs(60));
        $socket.set_read_timeout(timeout).unwrap();
        $socket.set_write_timeout(timeout).unwrap();
        assert_eq!($socket.read_timeout().unwrap(), timeout);
        assert_eq!($socket.write_timeout().unwrap(), timeout);
        $socket.set_deadline(None).unwrap();
        $socket.set_write_deadline(None).unwrap();
        $socket.set_read_deadline(Some(Instant::now())).unwrap();
        $receives.unwrap_err();
    }};
}

fn pipes_and_output() -> Vec<Call> {
    vec![
        call(
            "PipeReader and PipeWriter, converted",
            "io::PipeReader::try_clone io::PipeReader::from_std io::PipeReader::into_std \
             io::PipeReader::set_nonblocking io::PipeReader::set_deadline io::PipeReader::close \
             io::PipeReader:AsFd io::PipeReader:AsRawFd io::PipeReader:IntoRawFd \
             io::PipeReader:TryFrom io::&PipeReader:Read io::PipeWriter::try_clone \
             io::PipeWriter::from_std io::PipeWriter::into_std io::PipeWriter::set_nonblocking \
             io::PipeWriter::set_deadline io::PipeWriter::close io::PipeWriter:AsFd \
             io::PipeWriter:AsRawFd io::PipeWriter:IntoRawFd io::PipeWriter:TryFrom \
             io::&PipeWriter:Write",
            Start,
            || {
                let (reader, writer) = io::pipe().unwrap();
                let reader = convert!(reader, PipeReader);
                let writer = convert!(writer, PipeWriter);
                writer.set_deadline(None).unwrap();
                (&writer).write_all(b"a").unwrap();
                (&reader).read_exact(&mut [0]).unwrap();
                reader.set_deadline(Some(Instant::now())).unwrap();
                (&reader).read_exact(&mut [0]).unwrap_err();
                reader.close().unwrap();
                writer.close().unwrap();
            },
        ),
        call(
            "io::stdout and io::stderr",
            "io::stdout io::Stdout::lock io::Stdout::is_terminal io::Stdout:AsFd \
             io::Stdout:AsRawFd io::Stdout:Write io::&Stdout:Write io::StdoutLock:AsFd \
             io::StdoutLock:AsRawFd io::StdoutLock:Write io::stderr io::Stderr::lock \
             io::Stderr::is_terminal io::Stderr:AsFd io::Stderr:AsRawFd io::Stderr:Write \
             io::&Stderr:Write io::StderrLock:AsFd io::StderrLock:AsRawFd io::StderrLock:Write",
            Start,
            || {
                let (mut out, mut err) = (io::stdout(), io::stderr());
                assert_eq!((out.as_fd().as_raw_fd(), out.as_raw_fd()), (1, 1));
                assert_eq!((err.as_fd().as_raw_fd(), err.as_raw_fd()), (2, 2));
                assert_eq!(out.is_terminal(), std::io::stdout().is_terminal());
                assert_eq!(err.is_terminal(), std::io::stderr().is_terminal());
                // Nothing is to be seen of it.
                out.write_all(b"").unwrap();
                (&out).flush().unwrap();
                err.write_all(b"").unwrap();
                (&err).flush().unwrap();
                let mut locked = out.lock();
                assert_eq!((locked.as_fd().as_raw_fd(), locked.as_raw_fd()), (1, 1));
                locked.flush().unwrap();
                let mut locked = err.lock();
                assert_eq!((locked.as_fd().as_raw_fd(), locked.as_raw_fd()), (2, 2));
                locked.flush().unwrap();
            },
        ),
        call(
            "signal::context",
            "signal::context signal::Stop::stop signal::Stop:Drop forget(signal::Stop)",
            Start,
            || {
                let background = gort::context::background();
                let (ctx, stop) = signal::context(&background, &[Signal::SIGWINCH]);
                assert_eq!(ctx.err(), None);
                stop.stop();
                assert!(ctx.err().is_some());
                // It stays subscribed.
                let (_, stop) = signal::context(&background, &[Signal::SIGWINCH]);
                std::mem::forget(stop);
                signal::reset(&[Signal::SIGWINCH]);
            },
        ),
    ]
}

fn datagrams() -> Vec<Call> {
    vec![
        call(
            "UdpSocket, converted",
            "net::UdpSocket::from_std net::UdpSocket::into_std net::UdpSocket::try_clone \
             net::UdpSocket::set_nonblocking net::UdpSocket::close net::UdpSocket:AsFd \
             net::UdpSocket:AsRawFd net::UdpSocket:IntoRawFd net::UdpSocket:TryFrom",
            Start,
            || {
                let socket = convert!(UdpSocket::bind(ANY).unwrap(), UdpSocket);
                socket.close().unwrap();
                socket.recv(&mut [0]).unwrap_err();
            },
        ),
        call(
            "UdpSocket, options",
            "net::UdpSocket::broadcast net::UdpSocket::set_broadcast net::UdpSocket::local_addr \
             net::UdpSocket::peer_addr net::UdpSocket::join_multicast_v4 \
             net::UdpSocket::leave_multicast_v4 net::UdpSocket::join_multicast_v6 \
             net::UdpSocket::leave_multicast_v6 net::UdpSocket::multicast_loop_v4 \
             net::UdpSocket::set_multicast_loop_v4 net::UdpSocket::multicast_loop_v6 \
             net::UdpSocket::set_multicast_loop_v6 net::UdpSocket::multicast_ttl_v4 \
             net::UdpSocket::set_multicast_ttl_v4 net::UdpSocket::ttl net::UdpSocket::set_ttl \
             net::UdpSocket::take_error",
            Start,
            || {
                let socket = UdpSocket::bind(ANY).unwrap();
                socket.set_broadcast(true).unwrap();
                assert!(socket.broadcast().unwrap());
                socket.set_ttl(63).unwrap();
                assert_eq!(socket.ttl().unwrap(), 63);
                socket.set_multicast_ttl_v4(2).unwrap();
                assert_eq!(socket.multicast_ttl_v4().unwrap(), 2);
                socket.set_multicast_loop_v4(false).unwrap();
                assert!(!socket.multicast_loop_v4().unwrap());
                assert!(socket.local_addr().unwrap().port() != 0);
                socket.peer_addr().unwrap_err();
                assert!(socket.take_error().unwrap().is_none());
                // Whether there is a way for these depends on the machine.
                let group = Ipv4Addr::new(224, 0, 0, 251);
                let _ = socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST);
                let _ = socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST);
                let _ = socket.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0);
                let _ = socket.leave_multicast_v6(&Ipv6Addr::LOCALHOST, 0);
                let _ = socket.set_multicast_loop_v6(false);
                let _ = socket.multicast_loop_v6();
            },
        ),
        call(
            "UdpSocket, deadlines",
            "net::UdpSocket::read_timeout net::UdpSocket::set_read_timeout \
             net::UdpSocket::write_timeout net::UdpSocket::set_write_timeout \
             net::UdpSocket::set_deadline net::UdpSocket::set_read_deadline \
             net::UdpSocket::set_write_deadline",
            Start,
            || {
                let socket = UdpSocket::bind(ANY).unwrap();
                deadlines!(socket, socket.recv_from(&mut [0]));
            },
        ),
    ]
}

fn unix() -> Vec<Call> {
    vec![
        call(
            "UnixStream, options",
            "net::unix::UnixStream::from_std net::unix::UnixStream::into_std \
             net::unix::UnixStream::try_clone net::unix::UnixStream::set_nonblocking \
             net::unix::UnixStream:AsFd net::unix::UnixStream:AsRawFd \
             net::unix::UnixStream:IntoRawFd net::unix::UnixStream:TryFrom \
             net::unix::UnixStream::close net::unix::UnixStream::local_addr \
             net::unix::UnixStream::peer_addr net::unix::UnixStream::peek \
             net::unix::UnixStream::read_timeout net::unix::UnixStream::set_read_timeout \
             net::unix::UnixStream::write_timeout net::unix::UnixStream::set_write_timeout \
             net::unix::UnixStream::set_deadline net::unix::UnixStream::set_read_deadline \
             net::unix::UnixStream::set_write_deadline net::unix::UnixStream::shutdown \
             net::unix::UnixStream::take_error net::unix::UnixStream:Read \
             net::unix::UnixStream:Write net::unix::&UnixStream:Read \
             net::unix::&UnixStream:Write",
            Start,
            || {
                let (a, b) = UnixStream::pair().unwrap();
                let (mut a, mut b) = (convert!(a, UnixStream), b);
                assert!(a.local_addr().unwrap().is_unnamed());
                assert!(a.peer_addr().unwrap().is_unnamed());
                a.write_all(b"a").unwrap();
                (&a).write_all(b"b").unwrap();
                assert_eq!(b.peek(&mut [0]).unwrap(), 1);
                b.read_exact(&mut [0]).unwrap();
                (&b).read_exact(&mut [0]).unwrap();
                deadlines!(b, b.read_exact(&mut [0]));
                assert!(b.take_error().unwrap().is_none());
                b.shutdown(Shutdown::Write).unwrap();
                assert_eq!(a.read(&mut [0]).unwrap(), 0);
                b.close().unwrap();
            },
        ),
        call(
            "UnixListener, options",
            "net::unix::UnixListener::from_std net::unix::UnixListener::into_std \
             net::unix::UnixListener::try_clone net::unix::UnixListener::set_nonblocking \
             net::unix::UnixListener:AsFd net::unix::UnixListener:AsRawFd \
             net::unix::UnixListener:IntoRawFd net::unix::UnixListener:TryFrom \
             net::unix::UnixListener::local_addr net::unix::UnixListener::take_error \
             net::unix::UnixListener::set_deadline net::unix::UnixListener::accept_retrying",
            Start,
            || {
                let path = new_path();
                let listener = convert!(UnixListener::bind(&path).unwrap(), UnixListener);
                assert!(listener.local_addr().unwrap().as_pathname().is_some());
                assert!(listener.take_error().unwrap().is_none());
                let _stream = UnixStream::connect(&path).unwrap();
                listener.accept_retrying().unwrap();
                listener.set_deadline(Some(Instant::now())).unwrap();
                listener.accept_retrying().unwrap_err();
                let _ = std::fs::remove_file(path);
            },
        ),
        call(
            "UnixDatagram, options",
            "net::unix::UnixDatagram::from_std net::unix::UnixDatagram::into_std \
             net::unix::UnixDatagram::try_clone net::unix::UnixDatagram::set_nonblocking \
             net::unix::UnixDatagram:AsFd net::unix::UnixDatagram:AsRawFd \
             net::unix::UnixDatagram:IntoRawFd net::unix::UnixDatagram:TryFrom \
             net::unix::UnixDatagram::close net::unix::UnixDatagram::local_addr \
             net::unix::UnixDatagram::peer_addr net::unix::UnixDatagram::read_timeout \
             net::unix::UnixDatagram::set_read_timeout net::unix::UnixDatagram::write_timeout \
             net::unix::UnixDatagram::set_write_timeout net::unix::UnixDatagram::set_deadline \
             net::unix::UnixDatagram::set_read_deadline \
             net::unix::UnixDatagram::set_write_deadline net::unix::UnixDatagram::shutdown \
             net::unix::UnixDatagram::take_error",
            Start,
            || {
                let (a, b) = UnixDatagram::pair().unwrap();
                let a = convert!(a, UnixDatagram);
                assert!(a.local_addr().unwrap().is_unnamed());
                assert!(a.peer_addr().unwrap().is_unnamed());
                deadlines!(b, b.recv(&mut [0]));
                assert!(b.take_error().unwrap().is_none());
                b.shutdown(Shutdown::Both).unwrap();
                b.close().unwrap();
            },
        ),
    ]
}

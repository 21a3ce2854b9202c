//! Sockets: the system calls behind `gort::net`, safe to call.
//!
//! Plain wrappers without policy: none of them parks, retries or keeps state. All sockets are made
//! non-blocking and close-on-exec in the call that creates them, so that no fork in between can
//! inherit one. Reads and writes also ask for `MSG_DONTWAIT`: whoever shares the open file through a
//! duplicate may clear `O_NONBLOCK` on it, and that must not make our threads block. Writes ask for
//! `MSG_NOSIGNAL`: a broken pipe is an error, not a signal.
//!
//! A result of `WouldBlock` means "not now"; `netpoll` knows how to wait. `Interrupted` is passed on.
//!
//! Elsewhere: options and calls that std has as methods, which are std's ([`super::as_std`]); waiting and
//! closing (`poll_fd`), addresses from names (`gort::net::lookup_host`).
//! Checked by the tests at the end, and by those of `gort::net`.

mod address;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub use address::{Address, Native};

/// How many buffers one vectored call takes; the kernel refuses more.
pub const IOV_MAX: usize = libc::UIO_MAXIOV as usize;

/// The largest `TCP_KEEPIDLE` and `TCP_KEEPINTVL` that Linux takes.
const KEEPALIVE_SECONDS_MAX: libc::c_int = 32767;

/// A new stream socket that can use `addr`.
pub fn stream<A: Address>(addr: &A) -> io::Result<OwnedFd> {
    socket(addr.family(), libc::SOCK_STREAM)
}

/// A new datagram socket that can use `addr`.
pub fn datagram<A: Address>(addr: &A) -> io::Result<OwnedFd> {
    socket(addr.family(), libc::SOCK_DGRAM)
}

/// A socket that is connected to nothing and never will be: it stands in for a closed one.
pub fn placeholder() -> io::Result<OwnedFd> {
    socket(libc::AF_UNIX, libc::SOCK_STREAM)
}

fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd =
        check(unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given us this number, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives the socket its own address.
pub fn bind<A: Address>(fd: BorrowedFd<'_>, addr: &A) -> io::Result<()> {
    let native = addr.encode();
    // SAFETY: `native` holds an initialized address of `len` bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), native.as_ptr(), native.len) }).map(drop)
}

/// Lets the socket take connections. The kernel cuts `backlog` to `net.core.somaxconn`.
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Takes one connection out of the queue.
pub fn accept<A: Address>(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, A)> {
    let mut native = Native::room();
    // SAFETY: `native` is `len` writable bytes; the kernel sets `len` to what it wrote.
    let accepted = check(unsafe {
        libc::accept4(
            fd.as_raw_fd(),
            native.as_mut_ptr(),
            &raw mut native.len,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel has just given us this number, and nobody else knows it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    Ok((accepted, A::decode(&native)?))
}

/// Starts to connect. `InProgress` (as a raw `EINPROGRESS`) is the usual answer of TCP; the socket
/// becomes writable when the attempt has ended, and its pending error tells how. A Unix socket answers
/// at once; [`is_queue_full`] tells the one case that is worth another try.
pub fn connect<A: Address>(fd: BorrowedFd<'_>, addr: &A) -> io::Result<()> {
    let native = addr.encode();
    // SAFETY: `native` holds an initialized address of `len` bytes.
    check(unsafe { libc::connect(fd.as_raw_fd(), native.as_ptr(), native.len) }).map(drop)
}

/// Whether `error`, from [`connect`], only says that the attempt goes on.
pub fn is_connecting(error: &io::Error) -> bool {
    // EINTR: the attempt goes on in the background, exactly as with EINPROGRESS.
    matches!(
        error.raw_os_error(),
        Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR)
    )
}

/// Whether `error`, from [`connect`] to a Unix socket, says that the listener's queue is full. No
/// readiness will ever say when that ends.
pub fn is_queue_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

/// Whether `error`, from [`accept`], concerns only the connection that was next in line.
pub fn is_aborted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECONNABORTED)
}

/// Whether `error` says that this process or the system is out of descriptors, of memory for sockets,
/// or (`ENOSPC`) of places in epoll instances.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC)
    )
}

/// The socket's own address.
pub fn local_addr<A: Address>(fd: BorrowedFd<'_>) -> io::Result<A> {
    address_of(fd, libc::getsockname)
}

/// The address at the other end.
pub fn peer_addr<A: Address>(fd: BorrowedFd<'_>) -> io::Result<A> {
    address_of(fd, libc::getpeername)
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_of<A: Address>(fd: BorrowedFd<'_>, call: AddressCall) -> io::Result<A> {
    let mut native = Native::room();
    // SAFETY: `call` is getsockname or getpeername; `native` is `len` writable bytes.
    check(unsafe { call(fd.as_raw_fd(), native.as_mut_ptr(), &raw mut native.len) })?;
    A::decode(&native)
}

/// Receives into `buf`; 0 bytes (into a buffer that is not empty) is the end of the stream.
pub fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    recv_flags(fd, buf, 0)
}

/// Receives into `buf` without taking the bytes out of the socket.
pub fn peek(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    recv_flags(fd, buf, libc::MSG_PEEK)
}

fn recv_flags(fd: BorrowedFd<'_>, buf: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    // SAFETY: `buf` is writable for its length.
    check_len(unsafe {
        libc::recv(
            fd.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            flags | libc::MSG_DONTWAIT,
        )
    })
}

/// Receives one datagram into `buf`, with its sender's address. What does not fit is lost.
pub fn recv_from<A: Address>(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, A)> {
    recv_from_flags(fd, buf, 0)
}

/// As [`recv_from`], but leaves the datagram in the socket.
pub fn peek_from<A: Address>(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, A)> {
    recv_from_flags(fd, buf, libc::MSG_PEEK)
}

fn recv_from_flags<A: Address>(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    flags: libc::c_int,
) -> io::Result<(usize, A)> {
    let mut native = Native::room();
    // SAFETY: `buf` is writable for its length, and so is `native`, whose `len` the kernel sets.
    let count = check_len(unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            flags | libc::MSG_DONTWAIT,
            native.as_mut_ptr(),
            &raw mut native.len,
        )
    })?;
    Ok((count, A::decode(&native)?))
}

/// Whether `fd` was shut down for reading, by us or whoever shares it, or by the other side.
pub fn is_read_shut(fd: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one entry, for the length of the call, which does not wait.
    unsafe { libc::poll(&raw mut asked, 1, 0) == 1 && asked.revents & libc::POLLRDHUP != 0 }
}

/// Receives into several buffers, one after the other.
pub fn recv_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // SAFETY: an all-zero msghdr is a valid one: no name, no buffers, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = bufs.as_mut_ptr().cast();
    message.msg_iovlen = bufs.len().min(IOV_MAX) as _;
    // SAFETY: `IoSliceMut` has the layout of iovec (std guarantees it on Unix), and each buffer is
    // writable for its length.
    check_len(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) })
}

/// Sends the start of `buf`, as much as there is room for.
pub fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: `buf` is readable for its length.
    check_len(unsafe {
        libc::send(
            fd.as_raw_fd(),
            buf.as_ptr().cast(),
            buf.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    })
}

/// Sends `buf` as one datagram to `addr`.
pub fn send_to<A: Address>(fd: BorrowedFd<'_>, buf: &[u8], addr: &A) -> io::Result<usize> {
    let native = addr.encode();
    // SAFETY: `buf` is readable for its length, and `native` holds an address of `len` bytes.
    check_len(unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            buf.as_ptr().cast(),
            buf.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            native.as_ptr(),
            native.len,
        )
    })
}

/// Sends from several buffers, one after the other, as much as there is room for.
pub fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: an all-zero msghdr is a valid one: no name, no buffers, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // sendmsg does not write to the buffers; the field is `*mut` for recvmsg's sake.
    message.msg_iov = bufs.as_ptr().cast_mut().cast();
    message.msg_iovlen = bufs.len().min(IOV_MAX) as _;
    // SAFETY: `IoSlice` has the layout of iovec (std guarantees it on Unix), and each buffer is
    // readable for its length.
    check_len(unsafe {
        libc::sendmsg(
            fd.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    })
}

/// Lets a bind take an address whose last connections are still in TIME_WAIT (`SO_REUSEADDR`).
pub fn set_reuse_addr(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(
        fd,
        libc::SOL_SOCKET,
        libc::SO_REUSEADDR,
        libc::c_int::from(on),
    )
}

/// Lets several sockets share one address (`SO_REUSEPORT`).
pub fn set_reuse_port(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(
        fd,
        libc::SOL_SOCKET,
        libc::SO_REUSEPORT,
        libc::c_int::from(on),
    )
}

/// Keeps an IPv6 socket from taking IPv4 connections as well (`IPV6_V6ONLY`). Before the bind.
pub fn set_only_v6(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(
        fd,
        libc::IPPROTO_IPV6,
        libc::IPV6_V6ONLY,
        libc::c_int::from(on),
    )
}

/// Whether the socket takes no IPv4 connections (`IPV6_V6ONLY`).
pub fn only_v6(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(option::<libc::c_int>(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)? != 0)
}

/// Sets how long a close waits for what has not been sent (`SO_LINGER`); the kernel counts in
/// seconds, so the time is rounded up.
pub fn set_linger(fd: BorrowedFd<'_>, linger: Option<Duration>) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: libc::c_int::from(linger.is_some()),
        l_linger: linger.map_or(0, seconds),
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, linger)
}

/// The linger time; `None` if a close does not wait.
pub fn linger(fd: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let linger: libc::linger = option(fd, libc::SOL_SOCKET, libc::SO_LINGER)?;
    Ok((linger.l_onoff != 0).then(|| Duration::from_secs(linger.l_linger as u64)))
}

/// Makes the kernel probe a silent peer after `idle`, and then each `idle` again; `None` stops that.
/// The kernel counts in seconds, of which there is one at least, so the time is rounded up.
pub fn set_keepalive(fd: BorrowedFd<'_>, idle: Option<Duration>) -> io::Result<()> {
    if let Some(idle) = idle {
        let idle = seconds(idle).clamp(1, KEEPALIVE_SECONDS_MAX);
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle)?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, idle)?;
    }
    let on = libc::c_int::from(idle.is_some());
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, on)
}

/// After how long a silent peer is probed; `None` for never.
pub fn keepalive(fd: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    if option::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE)? == 0 {
        return Ok(None);
    }
    let idle: libc::c_int = option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE)?;
    Ok(Some(Duration::from_secs(idle as u64)))
}

/// `duration` in whole seconds, rounded up, and cut to what the kernel takes.
fn seconds(duration: Duration) -> libc::c_int {
    let seconds = duration.as_nanos().div_ceil(1_000_000_000);
    libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX)
}

/// Sets or clears `O_NONBLOCK`, for all duplicates.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut on = libc::c_int::from(on);
    // SAFETY: FIONBIO reads one int through the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut on) }).map(drop)
}

/// Makes the number of `target` refer to what `source` refers to, close-on-exec. What `target`
/// referred to before is closed, unless a duplicate is left.
pub fn replace(target: BorrowedFd<'_>, source: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        // SAFETY: the call takes no pointers. Both numbers are open, and `target` stays so.
        let result =
            check(unsafe { libc::dup3(source.as_raw_fd(), target.as_raw_fd(), libc::O_CLOEXEC) });
        match result {
            // EBUSY: a race with an open of the same number, says dup(2); it passes.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            result => return result.map(drop),
        }
    }
}

/// Types of options: any bytes of their size are a value.
///
/// # Safety
///
/// All zeros, and whatever the kernel writes, is a value of the type.
unsafe trait Plain: Copy {}
// SAFETY: an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: two integers.
unsafe impl Plain for libc::linger {}

fn option<T: Plain>(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` writable bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    })?;
    // SAFETY: zeros, and over them what the kernel wrote, are a value of the type (`Plain`).
    Ok(unsafe { value.assume_init() })
}

fn set_option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` readable bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) })
        .map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_len(result: libc::ssize_t) -> io::Result<usize> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::as_std;
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net as unix;
    use std::time::Instant;

    fn shutdown(fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
        as_std(fd, |stream: &TcpStream| stream.shutdown(how))
    }

    /// Calls `f` until it does not say `WouldBlock`, for at most ten seconds.
    fn insist<T>(mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            match f() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    assert!(start.elapsed() < Duration::from_secs(10), "never ready");
                    std::thread::yield_now();
                }
                result => return result,
            }
        }
    }

    fn pair(host: &str) -> (OwnedFd, OwnedFd) {
        let any: SocketAddr = format!("{host}:0").parse().unwrap();
        let listener = stream(&any).unwrap();
        bind(listener.as_fd(), &any).unwrap();
        listen(listener.as_fd(), i32::MAX).unwrap();
        let addr: SocketAddr = local_addr(listener.as_fd()).unwrap();
        let client = stream(&addr).unwrap();
        if let Err(error) = connect(client.as_fd(), &addr) {
            assert!(is_connecting(&error), "{error}");
        }
        let (server, peer) = insist(|| accept::<SocketAddr>(listener.as_fd())).unwrap();
        assert_eq!(peer, local_addr(client.as_fd()).unwrap());
        assert_eq!(addr, peer_addr(client.as_fd()).unwrap());
        (client, server)
    }

    /// Whether this machine has the IPv6 loopback; if not, says that what needs it is skipped.
    fn has_ipv6() -> bool {
        let Err(error) = std::net::UdpSocket::bind("[::1]:0") else {
            return true;
        };
        let missing = [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT];
        let is_missing = error.raw_os_error().is_some_and(|it| missing.contains(&it));
        assert!(is_missing, "{error}");
        println!("skipped: no IPv6 here");
        false
    }

    #[test]
    fn bytes_pass_both_ways_over_ipv4_and_ipv6() {
        for host in ["127.0.0.1", "[::1]"] {
            if host == "[::1]" && !has_ipv6() {
                continue;
            }
            let (a, b) = pair(host);
            let mut buf = [0; 16];
            assert_eq!(
                recv(b.as_fd(), &mut buf).unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
            assert_eq!(send(a.as_fd(), b"hello").unwrap(), 5);
            assert_eq!(insist(|| peek(b.as_fd(), &mut buf)).unwrap(), 5);
            let (mut one, mut two) = ([0; 2], [0; 9]);
            let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            assert_eq!(insist(|| recv_vectored(b.as_fd(), &mut bufs)).unwrap(), 5);
            assert_eq!((&one, &two[..3]), (b"he", &b"llo"[..]));
            let bufs = [IoSlice::new(b"by"), IoSlice::new(b"e")];
            assert_eq!(send_vectored(b.as_fd(), &bufs).unwrap(), 3);
            shutdown(b.as_fd(), Shutdown::Write).unwrap();
            assert_eq!(insist(|| recv(a.as_fd(), &mut buf)).unwrap(), 3);
            assert_eq!(&buf[..3], b"bye");
            assert_eq!(insist(|| recv(a.as_fd(), &mut buf)).unwrap(), 0);
        }
    }

    #[test]
    fn options_read_back_as_set() {
        let (a, _b) = pair("127.0.0.1");
        assert_eq!(linger(a.as_fd()).unwrap(), None);
        assert_eq!(keepalive(a.as_fd()).unwrap(), None);
        for (asked, kept) in [(1, 1), (1_001, 2), (60_000, 60)] {
            let (asked, kept) = (Duration::from_millis(asked), Duration::from_secs(kept));
            set_linger(a.as_fd(), Some(asked)).unwrap();
            assert_eq!(linger(a.as_fd()).unwrap(), Some(kept));
            set_keepalive(a.as_fd(), Some(asked)).unwrap();
            assert_eq!(keepalive(a.as_fd()).unwrap(), Some(kept));
        }
        set_keepalive(a.as_fd(), Some(Duration::MAX)).unwrap();
        set_keepalive(a.as_fd(), None).unwrap();
        assert_eq!(keepalive(a.as_fd()).unwrap(), None);
        set_linger(a.as_fd(), None).unwrap();
        assert_eq!(linger(a.as_fd()).unwrap(), None);
        if !has_ipv6() {
            return;
        }
        let six = stream(&"[::1]:0".parse::<SocketAddr>().unwrap()).unwrap();
        for on in [true, false] {
            set_only_v6(six.as_fd(), on).unwrap();
            assert_eq!(only_v6(six.as_fd()).unwrap(), on);
        }
    }

    #[test]
    fn datagrams_come_with_their_senders() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let [a, b] = [(); 2].map(|()| datagram(&any).unwrap());
        bind(a.as_fd(), &any).unwrap();
        bind(b.as_fd(), &any).unwrap();
        let [addr_a, addr_b] = [&a, &b].map(|fd| local_addr::<SocketAddr>(fd.as_fd()).unwrap());
        assert_eq!(send_to(a.as_fd(), b"hello", &addr_b).unwrap(), 5);
        let mut buf = [0; 4];
        let peeked = insist(|| peek_from::<SocketAddr>(b.as_fd(), &mut buf)).unwrap();
        assert_eq!(peeked, (4, addr_a));
        buf = [0; 4];
        assert_eq!(recv_from(b.as_fd(), &mut buf).unwrap(), (4, addr_a));
        assert_eq!(&buf, b"hell");
    }

    #[test]
    fn unix_sockets_connect_at_once() {
        let name = format!("gort-core test {}", std::process::id());
        let addr = unix::SocketAddr::from_abstract_name(name).unwrap();
        let listener = stream(&addr).unwrap();
        bind(listener.as_fd(), &addr).unwrap();
        listen(listener.as_fd(), 0).unwrap();
        let client = stream(&addr).unwrap();
        connect(client.as_fd(), &addr).unwrap();
        let other = stream(&addr).unwrap();
        assert!(is_queue_full(&connect(other.as_fd(), &addr).unwrap_err()));
        let (server, peer) = accept::<unix::SocketAddr>(listener.as_fd()).unwrap();
        assert!(peer.is_unnamed());
        connect(other.as_fd(), &addr).unwrap();
        assert_eq!(send(server.as_fd(), b"x").unwrap(), 1);
        assert_eq!(recv(client.as_fd(), &mut [0; 2]).unwrap(), 1);
    }

    #[test]
    fn a_shared_blocking_file_does_not_make_us_block() {
        let (a, _b) = pair("127.0.0.1");
        set_nonblocking(a.as_fd(), false).unwrap();
        let error = recv(a.as_fd(), &mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_replaced_descriptor_stays_open_and_lets_its_peer_go() {
        let (a, b) = pair("127.0.0.1");
        replace(a.as_fd(), placeholder().unwrap().as_fd()).unwrap();
        assert_eq!(insist(|| recv(b.as_fd(), &mut [0; 1])).unwrap(), 0);
        assert!(send(a.as_fd(), b"x").is_err());
    }

    #[test]
    fn writing_to_a_reset_connection_is_an_error_and_no_signal() {
        let (a, b) = pair("127.0.0.1");
        drop(b);
        let start = Instant::now();
        loop {
            match send(a.as_fd(), b"x") {
                Ok(_) => assert!(start.elapsed() < Duration::from_secs(10), "never refused"),
                Err(e) => {
                    let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
                    assert!(kinds.contains(&e.kind()), "{e}");
                    break;
                }
            }
        }
    }
}

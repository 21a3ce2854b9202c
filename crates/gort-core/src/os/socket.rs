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
//! Elsewhere: waiting and closing (`poll_fd`), addresses from names (`gort::net::lookup_host`).
//! Checked by the tests at the end, and by those of `gort::net`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// How many buffers one vectored call takes; the kernel refuses more.
pub const IOV_MAX: usize = libc::UIO_MAXIOV as usize;

/// A new TCP socket of the family of `addr`.
pub fn tcp(addr: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match addr {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    socket(family, libc::SOCK_STREAM)
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
pub fn bind(fd: BorrowedFd<'_>, addr: &SocketAddr) -> io::Result<()> {
    let (storage, len) = encode(addr);
    // SAFETY: `storage` holds an initialized address of `len` bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const storage).cast(), len) }).map(drop)
}

/// Lets the socket take connections. The kernel cuts `backlog` to `net.core.somaxconn`.
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Takes one connection out of the queue.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` is `len` writable bytes; the kernel sets `len` to what it wrote.
    let accepted = check(unsafe {
        libc::accept4(
            fd.as_raw_fd(),
            storage.as_mut_ptr().cast(),
            &raw mut len,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel has just given us this number, and nobody else knows it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    // SAFETY: all of `storage` was zeroed, which is a valid value of this plain structure.
    let addr = decode(unsafe { storage.assume_init_ref() })?;
    Ok((accepted, addr))
}

/// Starts to connect. `InProgress` (as a raw `EINPROGRESS`) is the usual answer; the socket becomes
/// writable when the attempt has ended, and [`take_error`] tells how.
pub fn connect(fd: BorrowedFd<'_>, addr: &SocketAddr) -> io::Result<()> {
    let (storage, len) = encode(addr);
    // SAFETY: `storage` holds an initialized address of `len` bytes.
    check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const storage).cast(), len) }).map(drop)
}

/// Whether `error`, from [`connect`], only says that the attempt goes on.
pub fn is_connecting(error: &io::Error) -> bool {
    // EINTR: the attempt goes on in the background, exactly as with EINPROGRESS.
    matches!(
        error.raw_os_error(),
        Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR)
    )
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
pub fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    address_of(fd, libc::getsockname)
}

/// The address at the other end.
pub fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    address_of(fd, libc::getpeername)
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_of(fd: BorrowedFd<'_>, call: AddressCall) -> io::Result<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `call` is getsockname or getpeername; `storage` is `len` writable bytes.
    check(unsafe { call(fd.as_raw_fd(), storage.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: all of `storage` was zeroed, which is a valid value of this plain structure.
    decode(unsafe { storage.assume_init_ref() })
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

/// Closes the reading half, the writing half or both, for all duplicates.
pub fn shutdown(fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

/// Takes the pending error of the socket (`SO_ERROR`) and clears it.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    match option(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(None),
        code => Ok(Some(io::Error::from_raw_os_error(code))),
    }
}

/// Whether small writes are sent at once (`TCP_NODELAY`).
pub fn nodelay(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)? != 0)
}

/// Sets `TCP_NODELAY`.
pub fn set_nodelay(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(
        fd,
        libc::IPPROTO_TCP,
        libc::TCP_NODELAY,
        libc::c_int::from(on),
    )
}

/// The time-to-live of outgoing packets (`IP_TTL`).
pub fn ttl(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(option(fd, libc::IPPROTO_IP, libc::IP_TTL)? as u32)
}

/// Sets `IP_TTL`.
pub fn set_ttl(fd: BorrowedFd<'_>, ttl: u32) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_TTL, ttl as libc::c_int)
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

fn option(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is `len` writable bytes; all the options used here are ints.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is `len` readable bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) })
        .map(drop)
}

/// `addr` as the kernel wants it.
fn encode(addr: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: sockaddr_storage is plain bytes, for which all zeros is a value.
    let mut storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let len = match addr {
        SocketAddr::V4(addr) => {
            let native = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(addr.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than any address and aligned for all of them.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(native) };
            size_of_val(&native)
        }
        SocketAddr::V6(addr) => {
            let native = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: addr.port().to_be(),
                sin6_flowinfo: addr.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: addr.ip().octets(),
                },
                sin6_scope_id: addr.scope_id(),
            };
            // SAFETY: as above.
            unsafe {
                (&raw mut storage)
                    .cast::<libc::sockaddr_in6>()
                    .write(native)
            };
            size_of_val(&native)
        }
    };
    (storage, len as libc::socklen_t)
}

/// The address in `storage`, which the kernel has filled in.
///
/// # Errors
///
/// `InvalidInput` for a family other than IPv4 and IPv6: the descriptor is no TCP socket.
fn decode(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure this is, and the storage is large enough and
            // aligned for it.
            let native = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(native.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddrV4::new(ip, u16::from_be(native.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let native = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(native.sin6_addr.s6_addr);
            let port = u16::from_be(native.sin6_port);
            Ok(SocketAddrV6::new(ip, port, native.sin6_flowinfo, native.sin6_scope_id).into())
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an internet address",
        )),
    }
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
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

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
        let listener = tcp(&any).unwrap();
        bind(listener.as_fd(), &any).unwrap();
        listen(listener.as_fd(), i32::MAX).unwrap();
        let addr = local_addr(listener.as_fd()).unwrap();
        let client = tcp(&addr).unwrap();
        if let Err(error) = connect(client.as_fd(), &addr) {
            assert!(is_connecting(&error), "{error}");
        }
        let (server, peer) = insist(|| accept(listener.as_fd())).unwrap();
        assert_eq!(peer, local_addr(client.as_fd()).unwrap());
        assert_eq!(addr, peer_addr(client.as_fd()).unwrap());
        (client, server)
    }

    #[test]
    fn bytes_pass_both_ways_over_ipv4_and_ipv6() {
        for host in ["127.0.0.1", "[::1]"] {
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
        for on in [true, false] {
            set_nodelay(a.as_fd(), on).unwrap();
            assert_eq!(nodelay(a.as_fd()).unwrap(), on);
        }
        set_ttl(a.as_fd(), 17).unwrap();
        assert_eq!(ttl(a.as_fd()).unwrap(), 17);
        assert!(take_error(a.as_fd()).unwrap().is_none());
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

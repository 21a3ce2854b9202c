//! A UDP socket.
//!
//! One call sends or receives one datagram. Receiving into an empty buffer takes a datagram all the same,
//! as the system call does; so these calls have no short cut for it.

use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;

use gort_core::netpoll::Direction;
use gort_core::os::socket;

use super::lookup;
use crate::fd::{Fd, Kind};

/// A UDP socket; as [`std::net::UdpSocket`], but waiting parks the goroutine.
///
/// Several goroutines may receive at once; each datagram goes to one of them, in the order of their
/// calls.
///
/// # Examples
///
/// ```
/// use gort::net::UdpSocket;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let addr = server.local_addr()?;
/// gort::go(move || -> std::io::Result<()> {
///     let mut buf = [0; 1500];
///     let (len, sender) = server.recv_from(&mut buf)?;
///     server.send_to(&buf[..len], sender)?;
///     Ok(())
/// });
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(addr)?;
/// client.send(b"hello")?;
/// let mut buf = [0; 1500];
/// assert_eq!(client.recv(&mut buf)?, 5);
/// assert_eq!(&buf[..5], b"hello");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "UDPConn")]
#[doc(alias = "ListenUDP")]
pub struct UdpSocket {
    fd: Arc<Fd>,
}

impl UdpSocket {
    /// A socket at `addr`; if that has several addresses, at the first that can be had. Port 0 lets the
    /// kernel choose. Names are looked up as by [`lookup_host`](super::lookup_host).
    ///
    /// # Errors
    ///
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`; an unknown host.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let error = UdpSocket::bind(socket.local_addr()?).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "ListenPacket")]
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        lookup::first_success(addr, |addr| {
            let fd = socket::datagram(addr)?;
            socket::bind(fd.as_fd(), addr)?;
            Ok(UdpSocket {
                fd: Arc::new(Fd::new(fd, Kind::Socket)?),
            })
        })
    }

    /// Says where [`send`](UdpSocket::send) sends to, and that only datagrams from there are to be
    /// received. If `addr` has several addresses, the first that can be reached counts.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](UdpSocket::close); an unknown host; those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UdpSocket;
    ///
    /// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// a.connect(b.local_addr()?)?;
    /// a.send(b"hello")?;
    /// let (len, sender) = b.recv_from(&mut [0; 16])?;
    /// assert_eq!((len, sender), (5, a.local_addr()?));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        lookup::first_success(addr, |addr| {
            socket::connect(self.fd.reference()?.as_fd(), addr)
        })
    }

    /// Waits for a datagram, puts it into `buf`, and returns how many bytes that were, and who sent
    /// them. What does not fit is lost. Parks until there is one, or until a deadline or a close.
    ///
    /// # Errors
    ///
    /// `TimedOut` past a deadline or timeout; `NotConnected` after [`close`](UdpSocket::close); what the
    /// network has reported about an earlier datagram (`ConnectionRefused`).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let me = socket.local_addr()?;
    /// socket.send_to(b"a note to myself", me)?;
    /// let mut buf = [0; 6];
    /// // The rest of it is lost.
    /// assert_eq!(socket.recv_from(&mut buf)?, (6, me));
    /// assert_eq!(&buf, b"a note");
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "ReadFrom")]
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.fd
            .retry(Direction::Read, |fd| socket::recv_from(fd, buf))
    }

    /// Sends `buf` as one datagram to the first address of `addr`. Parks while the socket's buffer
    /// is full, which is seldom.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no address; a datagram that is too long; `TimedOut`, `NotConnected`
    /// and network errors as for [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UdpSocket;
    ///
    /// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// assert_eq!(a.send_to(b"hello", b.local_addr()?)?, 5);
    /// assert_eq!(b.recv_from(&mut [0; 16])?.0, 5);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "WriteTo")]
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let Some(addr) = lookup::lookup_host(addr)?.next() else {
            return Err(lookup::no_addresses());
        };
        self.fd
            .retry(Direction::Write, |fd| socket::send_to(fd, buf, &addr))
    }

    /// Sends `buf` as one datagram to the peer that the socket is connected to.
    ///
    /// # Errors
    ///
    /// Without [`connect`](UdpSocket::connect) before; else as for [`send_to`](UdpSocket::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::net::UdpSocket;
    ///
    /// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// assert!(a.send(b"to whom?").is_err());
    /// a.connect(b.local_addr()?)?;
    /// assert_eq!(a.send(b"hello")?, 5);
    /// assert_eq!(b.recv(&mut [0; 16])?, 5);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.fd.retry(Direction::Write, |fd| socket::send(fd, buf))
    }
}

asked_methods! { net::UdpSocket => UdpSocket {
    /// The address that the socket is connected to.
    fn peer_addr() -> SocketAddr, example = r#"```
use gort::net::UdpSocket;

let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
assert!(a.peer_addr().is_err());
a.connect(b.local_addr()?)?;
assert_eq!(a.peer_addr()?, b.local_addr()?);
# std::io::Result::Ok(())
```"#;

    /// The address of the socket.
    fn local_addr() -> SocketAddr, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert_ne!(socket.local_addr()?.port(), 0); // The kernel has chosen one.
# std::io::Result::Ok(())
```"#;

    /// Allows or forbids to send to a broadcast address (`SO_BROADCAST`).
    fn set_broadcast(broadcast: bool) -> (), example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert!(!socket.broadcast()?);
socket.set_broadcast(true)?;
assert!(socket.broadcast()?);
# std::io::Result::Ok(())
```"#;

    /// Whether sending to a broadcast address is allowed.
    fn broadcast() -> bool, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert!(!socket.broadcast()?); // It must be asked for.
# std::io::Result::Ok(())
```"#;

    /// Sets whether this machine gets the multicast datagrams sent (`IP_MULTICAST_LOOP`).
    fn set_multicast_loop_v4(multicast_loop_v4: bool) -> (), example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
socket.set_multicast_loop_v4(false)?; // What we send is for others.
assert!(!socket.multicast_loop_v4()?);
# std::io::Result::Ok(())
```"#;

    /// Whether this machine gets the multicast datagrams sent.
    fn multicast_loop_v4() -> bool, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert!(socket.multicast_loop_v4()?); // as it is at first
# std::io::Result::Ok(())
```"#;

    /// Sets the time-to-live of multicast datagrams (`IP_MULTICAST_TTL`).
    fn set_multicast_ttl_v4(multicast_ttl_v4: u32) -> (), example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
socket.set_multicast_ttl_v4(4)?;
assert_eq!(socket.multicast_ttl_v4()?, 4);
# std::io::Result::Ok(())
```"#;

    /// The time-to-live of multicast datagrams.
    fn multicast_ttl_v4() -> u32, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert_eq!(socket.multicast_ttl_v4()?, 1); // At first, not beyond this network.
# std::io::Result::Ok(())
```"#;

    /// Sets whether this machine gets the IPv6 multicast datagrams sent (`IPV6_MULTICAST_LOOP`).
    fn set_multicast_loop_v6(multicast_loop_v6: bool) -> (), example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("[::1]:0")?;
socket.set_multicast_loop_v6(false)?; // What we send is for others.
assert!(!socket.multicast_loop_v6()?);
# std::io::Result::Ok(())
```"#;

    /// Whether this machine gets the IPv6 multicast datagrams sent.
    fn multicast_loop_v6() -> bool, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("[::1]:0")?;
assert!(socket.multicast_loop_v6()?); // as it is at first
# std::io::Result::Ok(())
```"#;

    /// Sets the time-to-live of the datagrams sent.
    fn set_ttl(ttl: u32) -> (), example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
socket.set_ttl(1)?; // Not beyond this network.
assert_eq!(socket.ttl()?, 1);
# std::io::Result::Ok(())
```"#;

    /// The time-to-live of the datagrams sent.
    fn ttl() -> u32, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert_ne!(socket.ttl()?, 0); // The system has a default.
socket.set_ttl(100)?;
assert_eq!(socket.ttl()?, 100);
# std::io::Result::Ok(())
```"#;

    /// Joins a multicast group at the interface that has the address `interface`; the unspecified address
    /// lets the system choose.
    #[doc(alias = "ListenMulticastUDP")]
    fn join_multicast_v4(multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> (), example = r#"```no_run
use gort::net::{Ipv4Addr, UdpSocket};

let socket = UdpSocket::bind("0.0.0.0:5353")?;
socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::UNSPECIFIED)?;
let (len, sender) = socket.recv_from(&mut [0; 1500])?;
println!("{len} bytes from {sender}");
# std::io::Result::Ok(())
```"#;

    /// Joins an IPv6 multicast group at the interface with that number; 0 is any.
    fn join_multicast_v6(multiaddr: &Ipv6Addr, interface: u32) -> (), example = r#"```no_run
use gort::net::{Ipv6Addr, UdpSocket};

let socket = UdpSocket::bind("[::]:5353")?;
socket.join_multicast_v6(&Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb), 0)?;
let (len, sender) = socket.recv_from(&mut [0; 1500])?;
println!("{len} bytes from {sender}");
# std::io::Result::Ok(())
```"#;

    /// Leaves a group; see [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    fn leave_multicast_v4(multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> (), example = r#"```no_run
use gort::net::{Ipv4Addr, UdpSocket};

let socket = UdpSocket::bind("0.0.0.0:5353")?;
let group = Ipv4Addr::new(224, 0, 0, 251);
socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
socket.leave_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
# std::io::Result::Ok(())
```"#;

    /// Leaves a group; see [`join_multicast_v6`](UdpSocket::join_multicast_v6).
    fn leave_multicast_v6(multiaddr: &Ipv6Addr, interface: u32) -> (), example = r#"```no_run
use gort::net::{Ipv6Addr, UdpSocket};

let socket = UdpSocket::bind("[::]:5353")?;
let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
socket.join_multicast_v6(&group, 0)?;
socket.leave_multicast_v6(&group, 0)?;
# std::io::Result::Ok(())
```"#;

    /// Takes the pending error of the socket and clears it.
    fn take_error() -> Option<io::Error>, example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
assert!(socket.take_error()?.is_none());
# std::io::Result::Ok(())
```"#;
} }

receiving_methods!(
    UdpSocket,
    retry = retry,
    pair = r#"use gort::net::UdpSocket;

let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
ours.connect(theirs.local_addr()?)?;
theirs.connect(ours.local_addr()?)?;"#
);
close_method!(
    UdpSocket,
    "Closes the socket, for all clones.",
    example = r#"```
use gort::net::UdpSocket;

let socket = UdpSocket::bind("127.0.0.1:0")?;
let clone = socket.try_clone()?;
let receiver = gort::go(move || clone.recv_from(&mut [0; 16]));
socket.close()?;
let error = receiver.join().unwrap().unwrap_err();
assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
# std::io::Result::Ok(())
```"#
);
deadline_methods!(UdpSocket);
debug_fields!(UdpSocket { addr, fd });
descriptor_methods!(UdpSocket { fd }, std = net::UdpSocket, kind = Kind::Socket);

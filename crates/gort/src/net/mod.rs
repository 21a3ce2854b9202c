//! Sockets for goroutines: std's types and methods, Go's deadlines and close.
//!
//! [`TcpStream`], [`TcpListener`] and [`UdpSocket`] read like those of `std::net`, and those in [`unix`]
//! like the ones of `std::os::unix::net`: calls return when they are done. While they wait, the goroutine is
//! parked and its thread runs others; a call from a plain OS thread blocks that thread. All descriptors
//! are watched by one epoll instance, which comes into being with the first socket.
//!
//! Beyond std:
//! - **Deadlines**: points in time for all calls to come, and for those that wait already
//!   ([`TcpStream::set_deadline`]). std's timeouts for each call work as well; the earlier one wins.
//! - **Close** from anywhere: [`TcpStream::close`] wakes whoever waits for the socket.
//! - **Order**: several goroutines may use one side of a socket at once; they take their turns in the
//!   order of their calls, and what one call of `write` sends is never mixed with another's.
//!
//! [`pipe`] is a connection inside the process, for tests mostly.
//!
//! Elsewhere: what all sockets share (`crate::fd`), waiting for descriptors (`gort_core::netpoll`), turns
//! and close (`gort_core::poll_fd`).

// Not `forbid`: `FromRawFd` has an unsafe method, which one macro implements.
#![deny(unsafe_code)]

mod listener;
mod lookup;
mod pipe;
mod stream;
mod udp;
pub mod unix;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    ToSocketAddrs,
};

pub use listener::{Incoming, IntoIncoming, TcpListener, TcpListenerBuilder};
pub use lookup::lookup_host;
pub use pipe::{Pipe, pipe};
pub use stream::TcpStream;
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};

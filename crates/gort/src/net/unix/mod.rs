//! Unix sockets for goroutines: the types and methods of `std::os::unix::net`.
//!
//! Addresses are std's [`SocketAddr`]: a path, or (with std's
//! [`SocketAddrExt`](std::os::linux::net::SocketAddrExt)) an abstract name, for the functions that end in
//! `_addr`.
//!
//! The kernel keeps no list of those who wait for a place in a full queue: in that of a listener, or of a
//! datagram socket to which others send without being connected. Those calls try again, up to 50
//! times a second, until they succeed or their deadline passes.

mod datagram;
mod listener;
mod stream;

pub use std::os::unix::net::SocketAddr;

pub use datagram::UnixDatagram;
pub use listener::{Incoming, UnixListener};
pub use stream::UnixStream;

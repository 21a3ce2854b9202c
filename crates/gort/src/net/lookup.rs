//! From names to addresses.
//!
//! The resolver of libc blocks its thread, for seconds when a name server is down; the P is handed
//! off for that time. Nobody can tell from an `A: ToSocketAddrs` whether it is a name, so plain
//! addresses take the same way.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::vec;

/// The addresses of a host and port: `"localhost:80"`, `("localhost", 80)`, or an address as it is.
///
/// Parks the goroutine while the system's resolver works; other goroutines run on.
///
/// # Errors
///
/// Those of [`ToSocketAddrs::to_socket_addrs`]: an unknown host, or no port.
///
/// # Examples
///
/// ```
/// let addrs: Vec<_> = gort::net::lookup_host("localhost:80")?.collect();
/// assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80));
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "LookupHost")]
pub fn lookup_host<A: ToSocketAddrs>(host: A) -> io::Result<vec::IntoIter<SocketAddr>> {
    let addrs = gort_core::sched::blocking(|| host.to_socket_addrs().map(Vec::from_iter))?;
    Ok(addrs.into_iter())
}

/// Calls `f` with one address of `host` after the other until it succeeds.
///
/// # Errors
///
/// The last of `f`'s; `InvalidInput` if there is no address at all.
pub(super) fn first_success<A: ToSocketAddrs, T>(
    host: A,
    mut f: impl FnMut(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for addr in lookup_host(host)? {
        match f(&addr) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "could not resolve to any addresses",
        )
    }))
}

//! From names to addresses.
//!
//! The resolver of libc blocks its thread, for seconds when a name server is down; the P is handed
//! off for that time. Handing off costs more than a plain address is worth, so those are told apart:
//! see [`may_block`].

use std::io;
use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::vec;

use crate::context::current as context;

/// The addresses of a host and port: `"localhost:80"`, `("localhost", 80)`, or an address as it is.
///
/// Parks the goroutine while the system's resolver works; other goroutines run on. The resolver cannot be
/// stopped: a [current context](crate::context::Context::enter) that ends meanwhile is obeyed when it is done.
///
/// # Errors
///
/// Those of [`ToSocketAddrs::to_socket_addrs`]: an unknown host, or no port; and the current context's.
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
    context::check()?;
    let lookup = || host.to_socket_addrs().map(Vec::from_iter);
    let addrs = if may_block::<A>() {
        gort_core::sched::blocking(lookup)
    } else {
        lookup()
    };
    // Before the resolver's error: a lookup is ended for the context's reason, if it has one.
    context::check()?;
    let addrs = addrs?;
    Ok(addrs.into_iter())
}

/// Whether a lookup of this type can block: whether its addresses come in memory of their own.
///
/// Names, and pairs of name and port, are looked up into a vector. A `SocketAddr`, an address with a
/// port and a slice of addresses have their addresses with them and iterate over those. A type that
/// defies the rule is looked up correctly all the same; only the hand-off is missing or idle.
fn may_block<A: ToSocketAddrs>() -> bool {
    mem::needs_drop::<A::Iter>()
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
        // Not all that is done with an address waits.
        context::check()?;
        match f(&addr) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(no_addresses))
}

/// What std says to a host that has no address at all.
pub(super) fn no_addresses() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "could not resolve to any addresses",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};

    #[test]
    fn names_may_block_and_addresses_do_not() {
        assert!(may_block::<&str>());
        assert!(may_block::<String>());
        assert!(may_block::<(&str, u16)>());
        assert!(may_block::<(String, u16)>());
        assert!(!may_block::<SocketAddr>());
        assert!(!may_block::<&SocketAddr>());
        assert!(!may_block::<SocketAddrV4>());
        assert!(!may_block::<SocketAddrV6>());
        assert!(!may_block::<(IpAddr, u16)>());
        assert!(!may_block::<&[SocketAddr]>());
    }

    #[test]
    fn the_last_error_of_all_addresses_counts() {
        let addrs = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| addr.parse().unwrap());
        let result = first_success(&addrs[..], |addr| -> io::Result<()> {
            Err(io::Error::other(addr.port().to_string()))
        });
        assert_eq!(result.unwrap_err().to_string(), "2");
        let result = first_success(&addrs[..0], |_| Ok(()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

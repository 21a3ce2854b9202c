//! From names to addresses.
//!
//! The resolver of libc blocks its thread, for seconds when a name server is down; the P is handed
//! off for that time. Handing off costs more than a plain address is worth, so those are told apart:
//! see [`may_block`].
//!
//! Nor can it be stopped. A caller in a context that ends leaves it to finish alone (`context::unstoppable`), for
//! which the name must not be borrowed: see [`Name::of`].
//!
//! Checked by the tests below and, with a resolver that hangs, by `crates/gort/tests/lookup.rs`.

use std::any::TypeId;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ptr;
use std::vec;

use crate::context::{current as context, unstoppable};

/// The addresses of a host and port: `"localhost:80"`, `("localhost", 80)`, or an address as it is.
///
/// Waits while the system's resolver works; other goroutines run on. The resolver cannot be stopped: when the
/// [current context](crate::context::Context::enter) is done, this returns, and the resolver goes on alone,
/// with a thread, for as long as it takes. (For a `host` that is neither text nor a pair of text and port, nor a
/// reference to one, but a type of your own, the context is obeyed when it has answered.)
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
#[doc(alias = "LookupIPAddr")]
pub fn lookup_host<A: ToSocketAddrs>(host: A) -> io::Result<vec::IntoIter<SocketAddr>> {
    context::check()?;
    let lookup = || host.to_socket_addrs().map(Vec::from_iter);
    let addrs = if !may_block::<A>() {
        lookup()
    } else if let Some(name) = Name::of(&host).filter(|_| context::is_some()) {
        unstoppable::blocking(move || name.look_up())?
    } else {
        gort_core::sched::blocking(lookup)
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

/// A name that may outlive who asks for it.
#[derive(PartialEq, Eq, Debug)]
enum Name {
    Text(String),
    Pair(String, u16),
}

impl Name {
    /// The name in `host`, if that is one of the types by which std knows names, or a reference to one.
    #[expect(
        unsafe_code,
        reason = "a type that may borrow cannot be asked by `Any` what it is"
    )]
    fn of<A>(host: &A) -> Option<Name> {
        /// `host` as a `T`, if that is its type.
        ///
        /// # Safety
        ///
        /// Lifetimes in `T` are no longer than the reference's.
        unsafe fn cast<A, T>(host: &A) -> Option<&T> {
            // SAFETY: the types are the same but for lifetimes, which have no part in how a value lies
            // in memory; and those of `T` end with the borrow (the caller's word), those of `A` no earlier.
            (type_of::<A>() == type_of::<T>()).then(|| unsafe { &*ptr::from_ref(host).cast() })
        }

        fn any<'a, A>(host: &'a A) -> Option<Name> {
            let text = |text: &str| Name::Text(text.to_owned());
            let pair = |host: &str, port| Name::Pair(host.to_owned(), port);
            // SAFETY: the only lifetime in each type is the reference's own.
            unsafe {
                (cast::<A, &'a str>(host).map(|it| text(it)))
                    .or_else(|| cast::<A, String>(host).map(|it| text(it)))
                    .or_else(|| cast::<A, (&'a str, u16)>(host).map(|it| pair(it.0, it.1)))
                    .or_else(|| cast::<A, (String, u16)>(host).map(|it| pair(&it.0, it.1)))
            }
        }

        /// The same for references to them.
        fn behind<'a, A>(host: &'a A) -> Option<Name> {
            // SAFETY: as above.
            unsafe {
                (cast::<A, &'a &'a str>(host).and_then(|it| any(*it)))
                    .or_else(|| cast::<A, &'a String>(host).and_then(|it| any(*it)))
                    .or_else(|| cast::<A, &'a (&'a str, u16)>(host).and_then(|it| any(*it)))
                    .or_else(|| cast::<A, &'a (String, u16)>(host).and_then(|it| any(*it)))
            }
        }

        any(host).or_else(|| behind(host))
    }

    fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let addrs = match self {
            Name::Text(text) => text.to_socket_addrs(),
            Name::Pair(host, port) => (host.as_str(), *port).to_socket_addrs(),
        };
        addrs.map(Vec::from_iter)
    }
}

/// Which type `T` is, whatever its lifetimes.
#[expect(unsafe_code, reason = "`TypeId::of` is for types that do not borrow")]
fn type_of<T>() -> TypeId {
    trait Typed {
        fn id(&self) -> TypeId
        where
            Self: 'static;
    }

    impl<T> Typed for PhantomData<T> {
        fn id(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<T>()
        }
    }

    let it = PhantomData::<T>;
    // SAFETY: only the bound of what is behind the reference changes, which is no data at all; and the
    // method that it allows to call borrows nothing of type `T`, but names it.
    let it = unsafe { mem::transmute::<&dyn Typed, &(dyn Typed + 'static)>(&it) };
    it.id()
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
    fn names_are_found_in_all_their_types() {
        let (text, port) = (String::from("host:7"), 7);
        let whole = Some(Name::Text(text.clone()));
        assert_eq!(Name::of(&text.as_str()), whole);
        assert_eq!(Name::of(&&text.as_str()), whole);
        assert_eq!(Name::of(&&text), whole);
        let pair = Some(Name::Pair(text.clone(), port));
        assert_eq!(Name::of(&(text.as_str(), port)), pair);
        assert_eq!(Name::of(&&(text.as_str(), port)), pair);
        assert_eq!(Name::of(&(text.clone(), port)), pair);
        assert_eq!(Name::of(&&(text.clone(), port)), pair);
        assert_eq!(Name::of(&text), whole);
    }

    #[test]
    fn nothing_else_is_taken_for_a_name() {
        assert_eq!(Name::of(&7_u16), None);
        assert_eq!(Name::of(&("host", 7_i16)), None);
        assert_eq!(Name::of(&(7_u16, "host")), None);
        assert_eq!(Name::of(&b"host".as_slice()), None);
        assert_eq!(Name::of(&Box::<str>::from("host:7")), None);
        assert_eq!(Name::of(&SocketAddr::from(([127, 0, 0, 1], 7))), None);
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

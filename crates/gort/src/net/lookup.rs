//! From names to addresses.
//!
//! The resolver of libc blocks its thread, for seconds when a name server is down; the P is handed
//! off for that time. Handing off costs more than a plain address is worth, so those are told apart:
//! see [`may_block`] and, for addresses in text, [`Name::address`].
//!
//! Nor can it be stopped. A caller in a context that ends leaves it to finish alone (`context::unstoppable`), for
//! which the name must not be borrowed: see [`Name::of`].
//!
//! Each call has a thread for so long, and the process only so many: who looks up a name has one of [`PLACES`], which
//! belongs to the call, not to whoever waits for it. One that is left alone keeps its place with its thread.
//!
//! Checked by the tests below and, with a resolver that hangs, by `crates/gort/tests/lookup.rs`.

use std::any::TypeId;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ptr;
use std::vec;

use gort_core::{fork, g, sched};

use crate::context::{current as context, unstoppable};
use crate::sync::{Permit, Semaphore};

/// The places of lookups that block a thread: 500, as Go's for the resolver of C.
static PLACES: Semaphore = Semaphore::new(500);

thread_local! {
    /// Whether this goroutine has a place for the lookup that it makes.
    static HAS_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// The addresses of a host and port: `"localhost:80"`, `("localhost", 80)`, or an address as it is.
///
/// Waits while the system's resolver works; other goroutines run on. The resolver cannot be stopped: when the
/// [current context](crate::context::Context::enter) is done, this returns, and the resolver goes on alone,
/// with a thread, for as long as it takes. (For a `host` that is neither text nor a pair of text and port, nor a
/// reference to one, but a type of your own, the context is obeyed when it has answered.)
///
/// At most 500 lookups, with those that go on alone, have a thread at once, as in Go. A goroutine whose lookup would
/// be one more parks until another's is done, or its context; first come, first served. Addresses, also in text
/// (`"127.0.0.1:80"`, `("::1", 80)`), need no resolver and do not wait.
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
    if !may_block::<A>() {
        return Ok(lookup()?.into_iter());
    }
    let name = Name::of(&host);
    if let Some(addr) = name.as_ref().and_then(Name::address) {
        return Ok(vec![addr].into_iter());
    }
    let place = place()?;
    let addrs = match name.filter(|_| context::is_some()) {
        Some(name) => {
            // The place goes with the call, and comes back when its thread is free.
            let (addrs, _place) = unstoppable::blocking(move || (name.look_up(), place))?;
            addrs
        }
        None => {
            let _marked = place.as_ref().map(|_| Marked::new());
            sched::blocking(lookup)
        }
    };
    // Before the resolver's error: a lookup is ended for the context's reason, if it has one.
    context::check()?;
    Ok(addrs?.into_iter())
}

/// A place for a lookup, as soon as there is one. `None` if it needs none.
///
/// # Errors
///
/// The current context's, when it ends before.
fn place() -> io::Result<Option<Permit<'static>>> {
    // A plain thread makes the call itself, if it may wait for the end.
    let has_thread = g::current_goroutine().is_none() && !context::is_some();
    // In the child of a fork nobody would give a place back. And a lookup inside another, by a type of the user's, must
    // not wait for a second place: if all did that, none would come.
    if has_thread || fork::is_forked() || HAS_PLACE.get() {
        return Ok(None);
    }
    let context = context::current().to_context();
    Ok(Some(PLACES.acquire_ctx(&context, 1)?))
}

/// While it lives the current goroutine has a place, and had none before.
struct Marked;

impl Marked {
    fn new() -> Marked {
        HAS_PLACE.set(true);
        Marked
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        HAS_PLACE.set(false);
    }
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

    /// The address that the name is, if it is one. std tries the same before it asks the resolver.
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Name::Text(text) => text.parse().ok(),
            Name::Pair(host, port) => Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, *port)),
        }
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
    fn names_that_are_addresses_are_told_as_std_tells_them() {
        let texts = ["127.0.0.1:7", "[::1]:7", "[fe80::1%3]:7"];
        for name in texts.map(|text| Name::Text(text.into())) {
            let addr = name.address().unwrap();
            assert_eq!(name.look_up().unwrap(), [addr], "{name:?}");
        }
        let hosts = ["127.0.0.1", "::1", "::ffff:1.2.3.4"];
        for name in hosts.map(|host| Name::Pair(host.into(), 7)) {
            let addr = name.address().unwrap();
            assert_eq!(name.look_up().unwrap(), [addr], "{name:?}");
        }
        let others = ["localhost:7", "127.0.0.1", "127.1:7", "::1:7", "fe80::1%3"];
        for name in others.map(|text| Name::Text(text.into())) {
            assert_eq!(name.address(), None);
        }
        let others = ["localhost", "127.1", "[::1]", "fe80::1%3", "", "1.2.3.4:7"];
        for name in others.map(|host| Name::Pair(host.into(), 7)) {
            assert_eq!(name.address(), None);
        }
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

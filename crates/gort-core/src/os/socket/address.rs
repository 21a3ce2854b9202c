//! Addresses as programs write them, and as the kernel wants them.
//!
//! [`Address`] is what lets one call serve all families: internet addresses, and those of Unix sockets,
//! which are paths, abstract names, or nothing.

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;
use std::path::Path;
use std::{ffi::OsStr, fmt, ptr};

/// An address of one family of sockets, or of several.
pub trait Address: Sized {
    /// The family of sockets that can use this address.
    fn family(&self) -> libc::c_int;

    /// The address as the kernel wants it.
    fn encode(&self) -> Native;

    /// The address that the kernel has filled in.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address of another family: the descriptor is no socket of this kind.
    fn decode(native: &Native) -> io::Result<Self>;
}

/// An address in the kernel's form: room for one of any family, and how much of it is used.
pub struct Native {
    storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

impl Native {
    /// Room for an address that the kernel will fill in.
    pub(super) fn room() -> Native {
        Native {
            // SAFETY: sockaddr_storage is plain bytes, for which all zeros is a value.
            storage: unsafe { MaybeUninit::zeroed().assume_init() },
            len: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    /// `addr`, one of the kernel's structures, of which `len` bytes count.
    fn of<T: Copy>(addr: T, len: usize) -> Native {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        const { assert!(align_of::<T>() <= align_of::<libc::sockaddr_storage>()) };
        assert!(len <= size_of::<T>());
        let mut native = Native::room();
        // SAFETY: the storage is as large as a `T` and as strictly aligned, says the assertion.
        unsafe { (&raw mut native.storage).cast::<T>().write(addr) };
        native.len = len as libc::socklen_t;
        native
    }

    fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native")
            .field("family", &self.family())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Address for SocketAddr {
    fn family(&self) -> libc::c_int {
        match self {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        }
    }

    fn encode(&self) -> Native {
        let family = self.family() as libc::sa_family_t;
        match self {
            SocketAddr::V4(addr) => {
                let native = libc::sockaddr_in {
                    sin_family: family,
                    sin_port: addr.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(addr.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                Native::of(native, size_of_val(&native))
            }
            SocketAddr::V6(addr) => {
                let native = libc::sockaddr_in6 {
                    sin6_family: family,
                    sin6_port: addr.port().to_be(),
                    sin6_flowinfo: addr.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: addr.ip().octets(),
                    },
                    sin6_scope_id: addr.scope_id(),
                };
                Native::of(native, size_of_val(&native))
            }
        }
    }

    fn decode(native: &Native) -> io::Result<SocketAddr> {
        match native.family() {
            libc::AF_INET => {
                // SAFETY: the family says which structure this is, and the storage is large enough
                // and aligned for it.
                let native = unsafe { &*native.as_ptr().cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(native.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(native.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let native = unsafe { &*native.as_ptr().cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(native.sin6_addr.s6_addr);
                let port = u16::from_be(native.sin6_port);
                Ok(SocketAddrV6::new(ip, port, native.sin6_flowinfo, native.sin6_scope_id).into())
            }
            _ => Err(wrong_family("not an internet address")),
        }
    }
}

/// Where the name begins in the address of a Unix socket.
const NAME_OFFSET: usize = offset_of!(libc::sockaddr_un, sun_path);

impl Address for unix::SocketAddr {
    fn family(&self) -> libc::c_int {
        libc::AF_UNIX
    }

    fn encode(&self) -> Native {
        let (prefix, name, suffix): (&[u8], &[u8], &[u8]) =
            match (self.as_pathname(), self.as_abstract_name()) {
                (Some(path), _) => (&[], path.as_os_str().as_bytes(), &[0]),
                (None, Some(name)) => (&[0], name, &[]),
                (None, None) => (&[], &[], &[]),
            };
        let mut native = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as libc::sa_family_t,
            sun_path: [0; 108],
        };
        let bytes = prefix.iter().chain(name).chain(suffix);
        let mut len = NAME_OFFSET;
        // std makes no address whose name does not fit.
        for (place, byte) in native.sun_path.iter_mut().zip(bytes) {
            *place = *byte as libc::c_char;
            len += 1;
        }
        Native::of(native, len)
    }

    fn decode(native: &Native) -> io::Result<unix::SocketAddr> {
        let len = native.len as usize;
        // No bytes at all: the peer has no address. (Linux says so of a datagram's sender.)
        if len != 0 && native.family() != libc::AF_UNIX {
            return Err(wrong_family("not the address of a Unix socket"));
        }
        let name_len = len
            .min(size_of::<libc::sockaddr_un>())
            .saturating_sub(NAME_OFFSET);
        // SAFETY: the storage is plain bytes, longer than any address of a Unix socket.
        let name = unsafe {
            let first = native.as_ptr().cast::<u8>().add(NAME_OFFSET);
            &*ptr::slice_from_raw_parts(first, name_len)
        };
        match name {
            [0, name @ ..] => unix::SocketAddr::from_abstract_name(name),
            path => {
                // With or without a zero at its end. std has no room for a path of 108 bytes, which
                // other programs may bind: it cuts such a path, and so do we.
                let end = path.iter().position(|byte| *byte == 0);
                let path = &path[..end.unwrap_or(path.len()).min(107)];
                unix::SocketAddr::from_pathname(Path::new(OsStr::from_bytes(path)))
            }
        }
    }
}

fn wrong_family(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["1.2.3.4:5", "[1:2::3%7]:65535", "[::]:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::decode(&addr.encode()).unwrap(), addr);
            assert!(unix::SocketAddr::decode(&addr.encode()).is_err());
        }
        for path in ["a", "/tmp/with space", &"x".repeat(107), ""] {
            let addr = unix::SocketAddr::from_pathname(path).unwrap();
            let native = addr.encode();
            let back = unix::SocketAddr::decode(&native).unwrap();
            assert_eq!(back.as_pathname(), addr.as_pathname());
            assert_eq!(back.is_unnamed(), path.is_empty());
            assert!(SocketAddr::decode(&native).is_err());
        }
        for name in [&b""[..], b"a\0b", &[b'x'; 107]] {
            let addr = unix::SocketAddr::from_abstract_name(name).unwrap();
            let back = unix::SocketAddr::decode(&addr.encode()).unwrap();
            assert_eq!(back.as_abstract_name(), Some(name));
        }
    }

    #[test]
    fn a_sender_without_an_address_is_unnamed() {
        let mut native = Native::room();
        native.len = 0;
        assert!(unix::SocketAddr::decode(&native).unwrap().is_unnamed());
    }
}

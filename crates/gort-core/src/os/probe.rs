//! What the kernel and the C library have, found out by trying: for `gort doctor` and bug reports.
//!
//! A seccomp filter refuses calls that the kernel's version promises, so versions are not asked.
//! Nothing here is used while goroutines run.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `UFFD_USER_MODE_ONLY`: faults of user code alone, which needs no privileges (Linux 5.11).
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
/// `MEMBARRIER_CMD_QUERY` and the bit of `MEMBARRIER_CMD_PRIVATE_EXPEDITED` in its answer.
const MEMBARRIER_CMD_QUERY: libc::c_int = 0;
const MEMBARRIER_PRIVATE_EXPEDITED: libc::c_long = 1 << 3;

/// Whether a userfaultfd for user-mode faults can be had.
///
/// # Errors
///
/// The kernel's refusal.
pub fn userfaultfd() -> io::Result<()> {
    // SAFETY: the call takes flags alone and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

/// Whether one thread can make all others of the process pass a memory barrier at once.
///
/// # Errors
///
/// The kernel's refusal, or `Unsupported` where it has the call but not this use of it.
pub fn membarrier() -> io::Result<()> {
    // SAFETY: a query takes numbers alone and changes nothing.
    let supported = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) };
    match supported {
        _ if supported < 0 => Err(io::Error::last_os_error()),
        _ if supported & MEMBARRIER_PRIVATE_EXPEDITED == 0 => {
            Err(io::ErrorKind::Unsupported.into())
        }
        _ => Ok(()),
    }
}

/// Name and version of the C library.
#[cfg(target_env = "gnu")]
pub fn libc_version() -> String {
    // SAFETY: glibc returns a static string that ends in 0.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

/// Name of the C library.
#[cfg(not(target_env = "gnu"))]
pub fn libc_version() -> String {
    "not glibc".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_no_descriptor_behind() {
        let open = || {
            std::fs::read_dir("/proc/self/fd")
                .expect("Linux has /proc")
                .count()
        };
        // Other tests of this process may open and close some; a thousand leaks would stand out.
        let before = open();
        for _ in 0..1_000 {
            // A refusal is an answer too.
            let _ = userfaultfd();
        }
        assert!(open() < before + 500, "{before} -> {}", open());
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn glibc_has_a_version() {
        assert!(libc_version().starts_with("glibc 2."), "{}", libc_version());
    }
}

//! Epoll, and the event counter that breaks a wait in it.
//!
//! Plain wrappers without policy: what to register, when to wait and whom to wake is `netpoll`'s
//! business. Descriptors come in as `BorrowedFd`, so that none of these calls can hit a number that
//! the caller does not own.
//!
//! `wait` takes nanoseconds. It uses `epoll_pwait2` (Linux 5.11) and, where the kernel or a seccomp
//! filter refuses that, `epoll_wait` with the time rounded up to a millisecond: waiting too long by
//! less than one is a delay, waiting too short would be a busy loop.
//!
//! Nothing here allocates or takes a lock, so the scheduler may call it from a system stack.
//! Checked by the tests at the end.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// There is something to read, or a connection to accept.
pub const IN: u32 = libc::EPOLLIN as u32;
/// There is room to write, or a connection attempt has ended.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// The peer has closed its writing half.
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// Both halves are closed. Always reported.
pub const HUP: u32 = libc::EPOLLHUP as u32;
/// The descriptor has an error pending. Always reported.
pub const ERR: u32 = libc::EPOLLERR as u32;
/// Report changes, not states.
pub const EDGE_TRIGGERED: u32 = libc::EPOLLET as u32;

/// What one descriptor has to report.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Event(libc::epoll_event);

impl Event {
    /// Which of [`IN`], [`OUT`], [`RDHUP`], [`HUP`], [`ERR`] have happened.
    pub fn events(&self) -> u32 {
        self.0.events
    }

    /// The number the descriptor was registered with.
    pub fn data(&self) -> u64 {
        self.0.u64
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("events", &format_args!("{:#x}", self.events()))
            .field("data", &format_args!("{:#x}", self.data()))
            .finish()
    }
}

/// A new epoll instance, close-on-exec.
pub fn create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just given us this number, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers `fd` for `events`, to be reported together with `data`.
pub fn add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, events: u32, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: `event` is a valid epoll_event that outlives the call; the kernel keeps no pointer.
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            &raw mut event,
        )
    };
    check(result).map(drop)
}

/// Takes `fd` out again. Needed before a close: a duplicate would keep the registration alive.
pub fn delete(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: EPOLL_CTL_DEL ignores the event pointer (since Linux 2.6.9).
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_DEL,
            fd.as_raw_fd(),
            ptr::null_mut(),
        )
    };
    check(result).map(drop)
}

/// Waits until something happens, at most `timeout_ns` nanoseconds (0: only look; `None`: for ever),
/// and returns the reports, which it has put at the start of `events`.
///
/// # Errors
///
/// `Interrupted` when a signal arrived. Anything else means a broken `epoll` argument.
pub fn wait<'a>(
    epoll: BorrowedFd<'_>,
    events: &'a mut [MaybeUninit<Event>],
    timeout_ns: Option<u64>,
) -> io::Result<&'a [Event]> {
    let first = events.as_mut_ptr().cast::<libc::epoll_event>();
    let len = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    let count = match timeout_ns {
        None => wait_ms(epoll, first, len, -1)?,
        Some(0) => wait_ms(epoll, first, len, 0)?,
        Some(ns) => wait_ns(epoll, first, len, ns)?,
    };
    // SAFETY: the kernel has filled in the first `count` elements, and `Event` is transparent over
    // what it writes.
    Ok(unsafe { std::slice::from_raw_parts(events.as_ptr().cast::<Event>(), count) })
}

/// Set once `epoll_pwait2` has been refused.
static NO_PWAIT2: AtomicBool = AtomicBool::new(false);

fn wait_ns(
    epoll: BorrowedFd<'_>,
    first: *mut libc::epoll_event,
    len: libc::c_int,
    ns: u64,
) -> io::Result<usize> {
    // Relaxed: a thread that misses the flag asks the kernel once more.
    if !NO_PWAIT2.load(Ordering::Relaxed) {
        let timeout = libc::timespec {
            tv_sec: (ns / 1_000_000_000) as _,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: `first` and `len` describe writable memory (our caller's slice), `timeout` lives
        // until the call returns, and a null signal mask means "leave it alone".
        let result = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll.as_raw_fd(),
                first,
                len,
                &raw const timeout,
                ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM) => NO_PWAIT2.store(true, Ordering::Relaxed),
            _ => return Err(error),
        }
    }
    let ms = ns.div_ceil(1_000_000).min(libc::c_int::MAX as u64);
    wait_ms(epoll, first, len, ms as libc::c_int)
}

fn wait_ms(
    epoll: BorrowedFd<'_>,
    first: *mut libc::epoll_event,
    len: libc::c_int,
    ms: libc::c_int,
) -> io::Result<usize> {
    // SAFETY: `first` and `len` describe writable memory: `wait` takes them from a slice.
    let count = check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), first, len, ms) })?;
    Ok(count as usize)
}

/// A new event counter (eventfd) at zero, non-blocking and close-on-exec.
pub fn counter_create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel has just given us this number, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to the counter, which makes it readable. Async-signal-safe.
pub fn counter_raise(counter: BorrowedFd<'_>) {
    let one = 1u64;
    loop {
        // SAFETY: `one` is eight readable bytes.
        let result = unsafe {
            libc::write(
                counter.as_raw_fd(),
                (&raw const one).cast(),
                size_of_val(&one),
            )
        };
        // EAGAIN: the counter is at its limit, hence readable, which is all we want.
        if result >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Sets the counter back to zero.
pub fn counter_clear(counter: BorrowedFd<'_>) {
    let mut value = 0u64;
    loop {
        // SAFETY: `value` is eight writable bytes.
        let result = unsafe {
            libc::read(
                counter.as_raw_fd(),
                (&raw mut value).cast(),
                size_of_val(&value),
            )
        };
        // EAGAIN: it was zero already.
        if result >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    #[test]
    fn a_raised_counter_is_reported_with_its_data_until_cleared() {
        let epoll = create().unwrap();
        let counter = counter_create().unwrap();
        add(epoll.as_fd(), counter.as_fd(), IN, 0xfeed_0000_0000_0001).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 8];
        assert!(
            wait(epoll.as_fd(), &mut buffer, Some(0))
                .unwrap()
                .is_empty()
        );
        counter_raise(counter.as_fd());
        counter_raise(counter.as_fd());
        for timeout in [Some(0), Some(1_000_000_000), None] {
            let events = wait(epoll.as_fd(), &mut buffer, timeout).unwrap();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].data(), 0xfeed_0000_0000_0001);
            assert_eq!(events[0].events(), IN);
        }
        counter_clear(counter.as_fd());
        assert!(
            wait(epoll.as_fd(), &mut buffer, Some(0))
                .unwrap()
                .is_empty()
        );
        counter_raise(counter.as_fd());
        delete(epoll.as_fd(), counter.as_fd()).unwrap();
        assert!(
            wait(epoll.as_fd(), &mut buffer, Some(0))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_wait_takes_at_least_its_timeout_with_and_without_pwait2() {
        let epoll = create().unwrap();
        let mut buffer = [MaybeUninit::uninit(); 1];
        for without in [false, true] {
            NO_PWAIT2.store(without, Ordering::Relaxed);
            let start = Instant::now();
            // A process that is stopped and goes on gets EINTR.
            let events = loop {
                match wait(epoll.as_fd(), &mut buffer, Some(1_500_000)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result.map(|events| events.len()),
                }
            };
            assert_eq!(events.unwrap(), 0);
            assert!(start.elapsed() >= Duration::from_micros(1_500));
        }
        NO_PWAIT2.store(false, Ordering::Relaxed);
    }

    #[test]
    fn a_second_registration_is_refused() {
        let epoll = create().unwrap();
        let counter = counter_create().unwrap();
        add(epoll.as_fd(), counter.as_fd(), IN, 1).unwrap();
        let error = add(epoll.as_fd(), counter.as_fd(), IN, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}

//! A socket's descriptor with what all kinds of sockets share: retry and wait, timeouts, errors.
//!
//! An operation locks its direction, asks whether it may (closed, deadline), tries the system call,
//! and waits only when that would block. The current context is obeyed where a turn is taken and where one
//! waits. A new kind of socket adds its system calls and its names.
//!
//! Elsewhere: the locks and the close (`gort_core::poll_fd`), the calls (`gort_core::os::socket`).

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort_core::clock::{self, NEVER};
use gort_core::netpoll::{Direction, PollError};
use gort_core::os::socket;
use gort_core::poll_fd::{Locked, PollFd, Reference};
use gort_core::{runtime, sched};

use crate::context::{ContextError, current as context};

/// How many buffers of a vectored write are handed to the kernel at once after a short one.
const REST_SLICES: usize = 64;

/// The descriptor of a socket.
pub(super) struct NetFd {
    fd: PollFd,
    /// For each call, by direction, in nanoseconds; 0 is none. Written by the setters, read at the
    /// start of a call.
    timeouts_ns: [AtomicU64; 2],
    /// Calls that would wait fail instead. Written by the setter, read when a call would wait.
    is_nonblocking: AtomicBool,
}

impl NetFd {
    /// Takes over a socket that is non-blocking already.
    pub(super) fn new(fd: OwnedFd) -> io::Result<NetFd> {
        runtime::ensure_started();
        Ok(NetFd {
            fd: PollFd::new(fd)?,
            timeouts_ns: [AtomicU64::new(0), AtomicU64::new(0)],
            is_nonblocking: AtomicBool::new(false),
        })
    }

    /// Takes over a socket from elsewhere.
    pub(super) fn adopt(fd: OwnedFd) -> io::Result<NetFd> {
        socket::set_nonblocking(fd.as_fd(), true)?;
        NetFd::new(fd)
    }

    /// Tries `attempt` until it does not say `WouldBlock`, and waits for the direction in between.
    #[track_caller]
    pub(super) fn retry<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline_ns = self.call_deadline_ns(direction);
        let turn = self.lock(direction, deadline_ns)?;
        turn.prepare().map_err(error)?;
        loop {
            match attempt(turn.as_fd()) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(&turn, deadline_ns)?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Reads into a buffer of `len` bytes by `attempt`. Nothing is read into an empty one, at once.
    #[track_caller]
    pub(super) fn read(
        &self,
        len: usize,
        attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if len == 0 {
            // Not even a look at the deadline, but a closed socket is an error: as Go.
            return self
                .lock(Direction::Read, self.call_deadline_ns(Direction::Read))
                .map(|_| 0);
        }
        self.retry(Direction::Read, attempt)
    }

    /// Writes all of `buf`, in one turn. If that comes to nothing half-way, the count says how far it
    /// came, and the next call gets the error.
    #[track_caller]
    pub(super) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.write_turn(buf.len(), |fd, written| socket::send(fd, &buf[written..]))
    }

    /// As `write`, from several buffers.
    #[track_caller]
    pub(super) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.write_turn(len, |fd, written| {
            if written == 0 {
                return socket::send_vectored(fd, bufs);
            }
            let mut slices = [IoSlice::new(&[]); REST_SLICES];
            let count = rest_of(bufs, written, &mut slices);
            socket::send_vectored(fd, &slices[..count])
        })
    }

    #[track_caller]
    fn write_turn(
        &self,
        len: usize,
        mut attempt: impl FnMut(BorrowedFd<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline_ns = self.call_deadline_ns(Direction::Write);
        let turn = self.lock(Direction::Write, deadline_ns)?;
        turn.prepare().map_err(error)?;
        let mut written = 0;
        while written < len {
            let outcome = match attempt(turn.as_fd(), written) {
                Ok(count) => {
                    written += count;
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(&turn, deadline_ns),
                Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
                Err(e) => Err(e),
            };
            match outcome {
                Err(e) if written == 0 => return Err(e),
                Err(_) => break,
                Ok(()) => {}
            }
        }
        Ok(written)
    }

    /// Waits until a connection attempt has ended, at most until `deadline_ns`.
    #[track_caller]
    pub(super) fn finish_connect(&self, deadline_ns: u64) -> io::Result<()> {
        let turn = self.lock(Direction::Write, deadline_ns)?;
        loop {
            wait(&turn, deadline_ns).map_err(error)?;
            if let Some(error) = socket::take_error(turn.as_fd())? {
                return Err(error);
            }
            // No error may also mean that it goes on and the wake-up was about something else.
            if socket::peer_addr(turn.as_fd()).is_ok() {
                return Ok(());
            }
        }
    }

    /// Lets `duration` pass. Ends early, with an error, by a close or the read deadline.
    #[track_caller]
    pub(super) fn pause(&self, duration: Duration) -> io::Result<()> {
        let until_ns = clock::deadline_after(duration);
        let turn = self.lock(Direction::Read, NEVER)?;
        loop {
            match wait(&turn, until_ns) {
                // Something came; it is not what we wait for.
                Ok(()) => {}
                Err(PollError::DeadlineExceeded) => {
                    // Which deadline was it?
                    turn.prepare().map_err(error)?;
                    return Ok(());
                }
                Err(other) => return Err(error(other)),
            }
        }
    }

    #[track_caller]
    fn lock(&self, direction: Direction, deadline_ns: u64) -> io::Result<Locked<'_>> {
        // A call into the runtime is a place to yield, if the slice is used up.
        sched::checkpoint();
        context::check()?;
        if let Some(turn) = self.fd.try_lock(direction).map_err(error)? {
            return Ok(turn);
        }
        let current = context::current();
        let turn = self
            .fd
            .lock_under(direction, deadline_ns, current.cancellation());
        turn.map_err(error)
    }

    #[track_caller]
    fn wait(&self, turn: &Locked<'_>, deadline_ns: u64) -> io::Result<()> {
        if self.is_nonblocking.load(Ordering::Relaxed) {
            return Err(ErrorKind::WouldBlock.into());
        }
        wait(turn, deadline_ns).map_err(error)
    }

    /// The right to use the descriptor for something that does not wait.
    pub(super) fn reference(&self) -> io::Result<Reference<'_>> {
        self.fd.reference().map_err(error)
    }

    /// See [`PollFd::close`].
    #[track_caller]
    pub(super) fn close(&self) {
        self.fd.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.fd.is_closed()
    }

    pub(super) fn raw(&self) -> Option<RawFd> {
        self.fd.raw()
    }

    /// See [`PollFd::expose`].
    pub(super) fn expose(&self) -> io::Result<BorrowedFd<'_>> {
        self.fd.expose().map_err(error)
    }

    /// Gives the descriptor back, still non-blocking.
    pub(super) fn into_owned(self) -> io::Result<OwnedFd> {
        self.fd.into_owned().map_err(error)
    }

    pub(super) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        let _reference = self.reference()?;
        self.is_nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn set_deadline(
        &self,
        which: Option<Direction>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let deadline_ns = deadline.map_or(NEVER, clock::from_instant);
        self.fd.set_deadline(which, deadline_ns).map_err(error)
    }

    pub(super) fn set_timeout(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let _reference = self.reference()?;
        let timeout_ns = match timeout {
            None => 0,
            Some(Duration::ZERO) => return Err(zero_timeout()),
            Some(timeout) => u64::try_from(timeout.as_nanos()).unwrap_or(NEVER),
        };
        self.timeouts_ns[direction as usize].store(timeout_ns, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn timeout(&self, direction: Direction) -> io::Result<Option<Duration>> {
        let _reference = self.reference()?;
        let timeout_ns = self.timeouts_ns[direction as usize].load(Ordering::Relaxed);
        Ok((timeout_ns != 0).then(|| Duration::from_nanos(timeout_ns)))
    }

    /// Until when a call that starts now may wait, by its timeout.
    fn call_deadline_ns(&self, direction: Direction) -> u64 {
        match self.timeouts_ns[direction as usize].load(Ordering::Relaxed) {
            0 => NEVER,
            timeout_ns => clock::now_ns().saturating_add(timeout_ns),
        }
    }
}

// std's sockets are unwind safe, and so are ours: an unwind through a call gives its turn up and leaves
// nothing half done.
impl UnwindSafe for NetFd {}
impl RefUnwindSafe for NetFd {}

impl fmt::Debug for NetFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fd.fmt(f)
    }
}

/// Puts what is left of `bufs` after `written` bytes into `slices`, as far as that goes, and returns
/// how many slices that took.
fn rest_of<'a>(
    bufs: &'a [IoSlice<'_>],
    mut written: usize,
    slices: &mut [IoSlice<'a>; REST_SLICES],
) -> usize {
    let mut count = 0;
    for buf in bufs {
        if written >= buf.len() {
            written -= buf.len();
            continue;
        }
        if count == slices.len() {
            break;
        }
        slices[count] = IoSlice::new(&buf[written..]);
        count += 1;
        written = 0;
    }
    count
}

/// Waits for news until `deadline_ns`, or until the current context has ended.
#[track_caller]
fn wait(turn: &Locked<'_>, deadline_ns: u64) -> Result<(), PollError> {
    let current = context::current();
    turn.wait_under(deadline_ns, current.cancellation())
}

/// The error that users see; the texts are Go's.
fn error(error: PollError) -> io::Error {
    match error {
        // The call was under the current context, which is still current and says why it has ended.
        PollError::Canceled => context::check()
            .err()
            .unwrap_or(ContextError::Canceled)
            .into(),
        PollError::Closed => {
            io::Error::new(ErrorKind::NotConnected, "use of closed network connection")
        }
        PollError::DeadlineExceeded => io::Error::new(ErrorKind::TimedOut, "i/o timeout"),
        PollError::NotPollable => io::Error::new(ErrorKind::Unsupported, "not pollable"),
    }
}

/// What std says to a timeout of zero, which would mean none to the kernel.
pub(super) fn zero_timeout() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "cannot set a 0 duration timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_vectored_write_starts_where_the_kernel_stopped() {
        let bufs = [b"abc".as_slice(), b"", b"de", b"f"].map(IoSlice::new);
        let whole = b"abcdef";
        for written in 0..=whole.len() {
            let mut slices = [IoSlice::new(&[]); REST_SLICES];
            let count = rest_of(&bufs, written, &mut slices);
            let rest: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            assert_eq!(rest, whole[written..]);
        }
    }

    #[test]
    fn the_rest_of_many_buffers_is_cut_to_what_fits() {
        let bytes = [7u8; REST_SLICES + 10];
        let bufs: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        let mut slices = [IoSlice::new(&[]); REST_SLICES];
        assert_eq!(rest_of(&bufs, 3, &mut slices), REST_SLICES);
        assert_eq!(rest_of(&bufs, 20, &mut slices), REST_SLICES - 10);
    }
}

//! A descriptor with what all sockets and pipes share: retry and wait, timeouts, errors, conversions.
//!
//! An operation locks its direction, asks whether it may (closed, deadline), tries the system call,
//! and waits only when that would block. The current context is obeyed where a turn is taken and where one
//! waits. A new kind of socket adds its system calls and its names; the methods that all kinds have are made
//! by the macros in `methods`.
//!
//! `From<OwnedFd>` cannot fail, but registering with the poller can: there may be no memory, or it is a file,
//! for which there is no waiting. Such a descriptor is kept as it is ([`Refused`]); each operation
//! says why, unless its type knows another way (pipes).
//!
//! Elsewhere: the locks and the close (`gort_core::poll_fd`), the calls (`gort_core::os`), contexts
//! (`crate::context`).

#[macro_use]
mod methods;

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net as unix;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort_core::clock::{self, NEVER};
use gort_core::netpoll::{Direction, PollError};
use gort_core::os::file::{self, Interest};
use gort_core::os::{StdOwner, as_std, socket};
use gort_core::poll_fd::{Locked, PollFd, Reference};
use gort_core::{runtime, sched};

use crate::context::current as context;

/// How many buffers of a vectored write are handed to the kernel at once after a short one.
const REST_SLICES: usize = 64;

/// The pauses between attempts where the kernel does not say when the next is worth while, as in
/// [`Fd::retry_paced`]. The first is short, as whoever makes room needs little time.
pub(crate) const PACE_MIN: Duration = Duration::from_micros(100);
pub(crate) const PACE_MAX: Duration = Duration::from_millis(20);

/// The first and the longest pause of [`Fd::sit_out_shortage`]: those of Go's HTTP server.
pub(crate) const SHORTAGE_MIN: Duration = Duration::from_millis(5);
const SHORTAGE_MAX: Duration = Duration::from_secs(1);

/// What kind of thing a descriptor is to its user: it decides the text of the error after a close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Socket,
    File,
}

/// What a call that receives gives when nothing can come any more.
pub(crate) trait EmptyDatagram: Sized {
    fn empty() -> io::Result<Self>;
}

impl EmptyDatagram for usize {
    fn empty() -> io::Result<usize> {
        Ok(0)
    }
}

/// From nobody.
impl EmptyDatagram for (usize, unix::SocketAddr) {
    fn empty() -> io::Result<Self> {
        Ok((0, unix::SocketAddr::from_pathname("")?))
    }
}

/// A descriptor of ours.
pub(crate) struct Fd {
    state: State,
    kind: Kind,
    /// For each call, by direction, in nanoseconds; 0 is none. Written by the setters, read at the
    /// start of a call.
    timeouts_ns: [AtomicU64; 2],
    /// Calls that would wait fail instead. Written by the setter, read when a call would wait.
    is_nonblocking: AtomicBool,
    /// The open file is not in non-blocking mode, because others use it as well. Set before they
    /// get it, read at the start of a call.
    is_lent: AtomicBool,
}

enum State {
    /// Registered with the poller.
    Registered(PollFd),
    /// Not registered.
    Refused(Refused),
}

/// A descriptor that could not be registered.
#[derive(Debug)]
struct Refused {
    fd: OwnedFd,
    /// Why.
    error: io::Error,
    /// It serves no more. It goes back to the kernel with the last handle. Written by a close, read by the
    /// calls.
    is_closed: AtomicBool,
}

impl State {
    fn refused(fd: OwnedFd, error: io::Error) -> State {
        State::Refused(Refused {
            fd,
            error,
            is_closed: AtomicBool::new(false),
        })
    }
}

impl Refused {
    /// Epoll's way to say that there is nothing to wait for.
    fn is_always_ready(&self) -> bool {
        self.error.kind() == ErrorKind::PermissionDenied
    }
}

/// In blocking mode, unless it knows none: a descriptor that could not be registered was to be non-blocking.
fn blocking_if_can(fd: OwnedFd) -> OwnedFd {
    let _ = socket::set_nonblocking(fd.as_fd(), false);
    fd
}

impl Fd {
    /// Takes over a descriptor that is non-blocking already.
    pub(crate) fn new(fd: OwnedFd, kind: Kind) -> io::Result<Fd> {
        match Fd::from_state(register(fd), kind) {
            Fd {
                state: State::Refused(refused),
                ..
            } => Err(refused.error),
            fd => Ok(fd),
        }
    }

    /// Takes over a descriptor from elsewhere, and makes it non-blocking. If it cannot be waited for, each
    /// operation will say so.
    pub(crate) fn adopt(fd: OwnedFd, kind: Kind) -> Fd {
        let state = match socket::set_nonblocking(fd.as_fd(), true) {
            Ok(()) => register(fd),
            Err(error) => State::refused(fd, error),
        };
        Fd::from_state(state, kind)
    }

    /// As `adopt`, but a descriptor that cannot be waited for is an error, and closed.
    pub(crate) fn try_adopt(fd: OwnedFd, kind: Kind) -> io::Result<Fd> {
        socket::set_nonblocking(fd.as_fd(), true)?;
        Fd::new(fd, kind)
    }

    /// Takes over a descriptor of an open file that others use, and leaves its mode alone. One that is always
    /// ready is kept; any other that cannot be waited for is an error, and closed.
    pub(crate) fn borrow(fd: OwnedFd, kind: Kind) -> io::Result<Fd> {
        let state = match register(fd) {
            State::Refused(refused) if !refused.is_always_ready() => return Err(refused.error),
            state => state,
        };
        let fd = Fd::from_state(state, kind);
        fd.is_lent.store(true, Ordering::Relaxed);
        Ok(fd)
    }

    fn from_state(state: State, kind: Kind) -> Fd {
        Fd {
            state,
            kind,
            timeouts_ns: [AtomicU64::new(0), AtomicU64::new(0)],
            is_nonblocking: AtomicBool::new(false),
            is_lent: AtomicBool::new(false),
        }
    }

    fn poll_fd(&self) -> io::Result<&PollFd> {
        match &self.state {
            State::Registered(fd) => Ok(fd),
            State::Refused(refused) => Err(copy(&refused.error)),
        }
    }

    /// The descriptor, if nothing can wait for it because it is always ready: a file, or a device like
    /// one.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it has been closed.
    pub(crate) fn always_ready(&self) -> io::Result<Option<BorrowedFd<'_>>> {
        match &self.state {
            State::Refused(refused) if refused.is_always_ready() => {
                self.check_open()?;
                Ok(Some(refused.fd.as_fd()))
            }
            _ => Ok(None),
        }
    }

    /// Whether it has not been closed.
    pub(crate) fn check_open(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(self.error(PollError::Closed));
        }
        Ok(())
    }

    /// Whether others use the open file as well, so that a call may wait unless one looks first.
    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent.load(Ordering::Acquire)
    }

    /// Before a call that cannot be told not to wait: says `WouldBlock` if it would. `fd` is ours.
    pub(crate) fn look(&self, fd: BorrowedFd<'_>, direction: Direction) -> io::Result<()> {
        let interest = match direction {
            Direction::Read => Interest::Read,
            Direction::Write => Interest::Write,
        };
        if self.is_lent() && !file::is_ready(fd, interest)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// Tries `attempt` until it does not say `WouldBlock`, and waits for the direction in between.
    #[track_caller]
    pub(crate) fn retry<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline_ns = self.call_deadline_ns(direction);
        let turn = self.lock(direction, deadline_ns)?;
        self.prepare(&turn)?;
        loop {
            match attempt(turn.as_fd()) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(&turn, deadline_ns)?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// As `retry`, for a datagram socket of the Unix family: one that was shut down for reading says "not now" for
    /// ever, where a call that blocks gives an empty datagram.
    #[track_caller]
    pub(crate) fn retry_unless_shut<T: EmptyDatagram>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.retry(direction, |fd| match attempt(fd) {
            Err(e) if e.kind() == ErrorKind::WouldBlock && socket::is_read_shut(fd) => T::empty(),
            result => result,
        })
    }

    /// As `retry`, for what the poller does not hear of: also tries again now and then.
    #[track_caller]
    pub(crate) fn retry_paced<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline_ns = self.call_deadline_ns(direction);
        let turn = self.lock(direction, deadline_ns)?;
        let mut pause = PACE_MIN;
        loop {
            self.prepare(&turn)?;
            match attempt(turn.as_fd()) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let next_ns = clock::deadline_after(pause).min(deadline_ns);
                    if self.is_nonblocking.load(Ordering::Relaxed) {
                        return Err(e);
                    }
                    match wait(&turn, next_ns) {
                        Err(PollError::DeadlineExceeded) if next_ns != deadline_ns => {}
                        result => result.map_err(|error| self.error(error))?,
                    }
                    pause = (pause * 2).min(PACE_MAX);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Reads into a buffer of `len` bytes by `attempt`. Nothing is read into an empty one, at once.
    #[track_caller]
    pub(crate) fn read(
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

    /// Sends all of `buf` through a socket, in one turn. If that comes to nothing half-way, the count
    /// says how far it came, and the next call gets the error.
    #[track_caller]
    pub(crate) fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.write(buf, socket::send)
    }

    /// As `send`, from several buffers.
    #[track_caller]
    pub(crate) fn send_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(bufs, socket::send_vectored)
    }

    /// Writes all of `buf` by `attempt`; else as `send`.
    #[track_caller]
    pub(crate) fn write(
        &self,
        buf: &[u8],
        mut attempt: impl FnMut(BorrowedFd<'_>, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.write_turn(buf.len(), |fd, written| attempt(fd, &buf[written..]))
    }

    /// As `write`, from several buffers.
    #[track_caller]
    pub(crate) fn write_vectored(
        &self,
        bufs: &[IoSlice<'_>],
        mut attempt: impl FnMut(BorrowedFd<'_>, &[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        // A list that begins with nothing, as long as the kernel takes, would come to nothing.
        let first = bufs.iter().position(|buf| !buf.is_empty());
        let bufs = &bufs[first.unwrap_or(0)..];
        self.write_turn(len, |fd, written| {
            if written == 0 {
                return attempt(fd, bufs);
            }
            let mut slices = [IoSlice::new(&[]); REST_SLICES];
            let count = rest_of(bufs, written, &mut slices);
            attempt(fd, &slices[..count])
        })
    }

    /// Writes `len` bytes by `attempt`, which gets the number of those that are written already.
    #[track_caller]
    fn write_turn(
        &self,
        len: usize,
        mut attempt: impl FnMut(BorrowedFd<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let deadline_ns = self.call_deadline_ns(Direction::Write);
        let turn = self.lock(Direction::Write, deadline_ns)?;
        self.prepare(&turn)?;
        let mut written = 0;
        while written < len {
            let outcome = match attempt(turn.as_fd(), written) {
                Ok(0) => break,
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
    pub(crate) fn finish_connect(&self, deadline_ns: u64) -> io::Result<()> {
        let turn = self.lock(Direction::Write, deadline_ns)?;
        loop {
            wait(&turn, deadline_ns).map_err(|error| self.error(error))?;
            let outcome = as_std(turn.as_fd(), |stream: &std::net::TcpStream| {
                (stream.take_error(), stream.peer_addr())
            });
            match outcome {
                (Ok(Some(error)) | Err(error), _) => return Err(error),
                (Ok(None), Ok(_)) => return Ok(()),
                // It goes on, and the wake-up was about something else.
                (Ok(None), Err(_)) => {}
            }
        }
    }

    /// Lets `duration` pass. Ends early, with an error, by a close or the read deadline.
    #[track_caller]
    pub(crate) fn pause(&self, duration: Duration) -> io::Result<()> {
        let until_ns = clock::deadline_after(duration);
        let turn = self.lock(Direction::Read, NEVER)?;
        loop {
            match wait(&turn, until_ns) {
                // Something came; it is not what we wait for.
                Ok(()) => {}
                Err(PollError::DeadlineExceeded) => {
                    // Which deadline was it?
                    self.prepare(&turn)?;
                    return Ok(());
                }
                Err(other) => return Err(self.error(other)),
            }
        }
    }

    /// A pause of a server that lacks descriptors or memory: `pause` long, and longer the next time. Begin
    /// with [`SHORTAGE_MIN`].
    #[track_caller]
    pub(crate) fn sit_out_shortage(&self, pause: &mut Duration) -> io::Result<()> {
        let now = *pause;
        *pause = (now * 2).min(SHORTAGE_MAX);
        self.pause(now)
    }

    #[track_caller]
    fn lock(&self, direction: Direction, deadline_ns: u64) -> io::Result<Locked<'_>> {
        // A call into the runtime is a place to yield, if the slice is used up.
        sched::checkpoint();
        context::check()?;
        let fd = self.poll_fd()?;
        if let Some(turn) = fd.try_lock(direction).map_err(|error| self.error(error))? {
            return Ok(turn);
        }
        if self.is_nonblocking.load(Ordering::Relaxed) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let current = context::current();
        fd.lock_under(direction, deadline_ns, current.cancellation())
            .map_err(|error| self.error(error))
    }

    fn prepare(&self, turn: &Locked<'_>) -> io::Result<()> {
        turn.prepare().map_err(|error| self.error(error))
    }

    #[track_caller]
    fn wait(&self, turn: &Locked<'_>, deadline_ns: u64) -> io::Result<()> {
        if self.is_nonblocking.load(Ordering::Relaxed) {
            return Err(ErrorKind::WouldBlock.into());
        }
        wait(turn, deadline_ns).map_err(|error| self.error(error))
    }

    /// The right to use the descriptor for something that does not wait.
    pub(crate) fn reference(&self) -> io::Result<Reference<'_>> {
        self.poll_fd()?
            .reference()
            .map_err(|error| self.error(error))
    }

    /// Calls a method of std's that does not wait.
    pub(crate) fn ask<S: StdOwner, R>(&self, f: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        as_std(self.reference()?.as_fd(), f)
    }

    /// See [`PollFd::close`]. False if it was closed before.
    #[track_caller]
    pub(crate) fn close(&self) -> bool {
        match &self.state {
            State::Registered(fd) => fd.close(),
            State::Refused(refused) => !refused.is_closed.swap(true, Ordering::Relaxed),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match &self.state {
            State::Registered(fd) => fd.is_closed(),
            State::Refused(refused) => refused.is_closed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn raw(&self) -> Option<RawFd> {
        use std::os::fd::AsRawFd;
        match &self.state {
            State::Registered(fd) => fd.raw(),
            State::Refused(refused) => (!self.is_closed()).then(|| refused.fd.as_raw_fd()),
        }
    }

    /// See [`PollFd::expose`].
    pub(crate) fn expose(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.state {
            State::Registered(fd) => fd.expose().map_err(|error| self.error(error)),
            State::Refused(refused) => self.check_open().map(|()| refused.fd.as_fd()),
        }
    }

    /// Gives the descriptor away, in blocking mode as others expect it; a duplicate if there are other
    /// handles. These go on with an open file that may wait, and know it ([`Fd::is_lent`]).
    pub(crate) fn give(self: Arc<Fd>) -> io::Result<OwnedFd> {
        self.check_open()?;
        let given = match Arc::try_unwrap(self) {
            Ok(fd) => match fd.state {
                State::Refused(refused) => return Ok(blocking_if_can(refused.fd)),
                State::Registered(poll_fd) => {
                    let kind = fd.kind;
                    poll_fd.into_owned().map_err(|error| to_io(error, kind))?
                }
            },
            Err(fd) => {
                fd.is_lent.store(true, Ordering::Release);
                match &fd.state {
                    State::Refused(refused) => return refused.fd.try_clone().map(blocking_if_can),
                    State::Registered(_) => fd.reference()?.as_fd().try_clone_to_owned()?,
                }
            }
        };
        socket::set_nonblocking(given.as_fd(), false)?;
        Ok(given)
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.check_open()?;
        self.is_nonblocking.store(on, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn set_deadline(
        &self,
        which: Option<Direction>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        if self.always_ready()?.is_some() {
            let text = "file type does not support deadline";
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        let deadline_ns = deadline.map_or(NEVER, clock::from_instant);
        self.poll_fd()?
            .set_deadline(which, deadline_ns)
            .map_err(|error| self.error(error))
    }

    pub(crate) fn set_timeout(
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

    pub(crate) fn timeout(&self, direction: Direction) -> io::Result<Option<Duration>> {
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

    fn error(&self, error: PollError) -> io::Error {
        to_io(error, self.kind)
    }
}

/// Waits for news until `deadline_ns`, or until the current context has ended.
#[track_caller]
fn wait(turn: &Locked<'_>, deadline_ns: u64) -> Result<(), PollError> {
    let current = context::current();
    turn.wait_under(deadline_ns, current.cancellation())
}

/// Registers `fd` with the poller, if it can be.
fn register(fd: OwnedFd) -> State {
    runtime::ensure_started();
    match PollFd::new(fd) {
        Ok(fd) => State::Registered(fd),
        Err(refused) => State::refused(refused.fd, refused.error),
    }
}

// std's sockets are unwind safe, and so are ours: an unwind through a call gives its turn up and leaves
// nothing half done.
impl UnwindSafe for Fd {}
impl RefUnwindSafe for Fd {}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Registered(fd) => fd.fmt(f),
            State::Refused(refused) => refused.fmt(f),
        }
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

/// The error that users see; the texts are Go's.
fn to_io(error: PollError, kind: Kind) -> io::Error {
    match (error, kind) {
        (PollError::Canceled, _) => context::ended(),
        (PollError::Closed, Kind::Socket) => {
            io::Error::new(ErrorKind::NotConnected, "use of closed network connection")
        }
        (PollError::Closed, Kind::File) => {
            io::Error::new(ErrorKind::NotConnected, "file already closed")
        }
        (PollError::DeadlineExceeded, _) => io::Error::new(ErrorKind::TimedOut, "i/o timeout"),
        (PollError::NotPollable, _) => io::Error::new(ErrorKind::Unsupported, "not pollable"),
    }
}

/// The same error once more.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What std says to a timeout of zero, which would mean none to the kernel.
pub(crate) fn zero_timeout() -> io::Error {
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

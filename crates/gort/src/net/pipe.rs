//! A connection inside the process: Go's `net.Pipe`.
//!
//! Each direction is a place where a writer lays down what it offers, and stays until readers have taken
//! all of it. There is no buffer: what `write` has returned for, somebody has read. (Go lends the writer's
//! own bytes to the reader; safe Rust cannot, so they are copied once more.)
//!
//! A lock and a condition for each direction are enough. Everybody in a direction is woken by every change,
//! as there are seldom more than two. The current context ends waits, as those for sockets.
//!
//! Several writers, and several readers, have their turns in the order in which they began to wait ([`Line`]): one that
//! comes again at once stands behind those who wait. (Without that the second of two writers on one P never had a turn.)
//!
//! Checked by `crates/gort/tests/context` (contexts) and the tests of `net`.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use crate::context::current as context;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// One end of a [`pipe`].
///
/// Reading and writing work on references too, also from several goroutines at once; what one call of
/// `write` sends is never mixed with another's. Dropping it closes it.
///
/// # Examples
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
///
/// let (ours, mut theirs) = gort::net::pipe();
/// let echo = gort::go(move || {
///     let mut line = String::new();
///     BufReader::new(&ours).read_line(&mut line)?;
///     (&ours).write_all(line.as_bytes())
/// });
/// theirs.write_all(b"one\n")?;
/// let mut line = String::new();
/// BufReader::new(&theirs).read_line(&mut line)?;
/// assert_eq!(line, "one\n");
/// echo.join().unwrap()?;
/// # std::io::Result::Ok(())
/// ```
pub struct Pipe {
    incoming: Arc<Half>,
    outgoing: Arc<Half>,
}

// As for sockets: a direction is whole whenever its lock is free.
impl UnwindSafe for Pipe {}
impl RefUnwindSafe for Pipe {}

/// One direction.
#[derive(Default)]
struct Half {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What a writer has laid down. It stays until that writer takes it away.
    offer: Option<Offer>,
    is_reader_closed: bool,
    is_writer_closed: bool,
    read_deadline: Option<Instant>,
    write_deadline: Option<Instant>,
    readers: Line,
    writers: Line,
}

/// Who waits for a turn, first to last, by numbers.
#[derive(Default)]
struct Line {
    waiting: VecDeque<u64>,
    last: u64,
}

impl Line {
    /// Whether it is the turn of the one with this number, or of one who comes now.
    fn is_turn(&self, number: Option<u64>) -> bool {
        self.waiting.front().copied().or(number) == number
    }

    /// Puts one that comes now behind all others.
    fn join(&mut self) -> u64 {
        self.last += 1;
        self.waiting.push_back(self.last);
        self.last
    }

    /// One has had its turn, or waits no more. True if others wait, who are to be told.
    fn leave(&mut self, number: Option<u64>) -> bool {
        self.waiting.retain(|waiting| Some(*waiting) != number);
        !self.waiting.is_empty()
    }
}

struct Offer {
    bytes: Vec<u8>,
    taken: usize,
}

/// A connection inside the process: what is written at one end is read at the other.
///
/// There is no buffer: a `write` returns when all of it has been read, or with how much that was when its
/// deadline has passed, an end has been closed, or the [current
/// context](crate::context::Context::enter) is done.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut a, mut b) = gort::net::pipe();
/// gort::go(move || a.write_all(b"hello"));
/// let mut text = String::new();
/// b.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "net.Pipe")]
pub fn pipe() -> (Pipe, Pipe) {
    let [one, other] = [(); 2].map(|()| Arc::new(Half::default()));
    let first = Pipe {
        incoming: Arc::clone(&one),
        outgoing: Arc::clone(&other),
    };
    let second = Pipe {
        incoming: other,
        outgoing: one,
    };
    (first, second)
}

impl Pipe {
    /// Closes this end. Whoever waits in a call at it is woken with an error, and later calls get the same;
    /// the other end reads the end of the stream, and cannot write any more.
    ///
    /// Closing again is no error and does nothing.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// let (ours, mut theirs) = gort::net::pipe();
    /// let writer = gort::go(move || theirs.write_all(b"nobody reads this"));
    /// ours.close()?;
    /// assert!(writer.join().unwrap().is_err());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.incoming.change(|state| state.is_reader_closed = true);
        self.outgoing.change(|state| state.is_writer_closed = true);
        Ok(())
    }

    /// Sets the deadline for reading and writing; see
    /// [`TcpStream::set_deadline`](super::TcpStream::set_deadline).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Pipe::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::{Duration, Instant};
    ///
    /// let (mut ours, _theirs) = gort::net::pipe();
    /// ours.set_deadline(Some(Instant::now() + Duration::from_millis(1)))?;
    /// assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "SetDeadline")]
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.set_read_deadline(deadline)?;
        self.set_write_deadline(deadline)
    }

    /// Sets the deadline for reading.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Pipe::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Instant;
    ///
    /// let (mut ours, _theirs) = gort::net::pipe();
    /// ours.set_read_deadline(Some(Instant::now()))?;
    /// assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "SetReadDeadline")]
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.incoming.change(|state| {
            state.check_reader()?;
            state.read_deadline = deadline;
            Ok(())
        })
    }

    /// Sets the deadline for writing.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Pipe::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Write};
    /// use std::time::Instant;
    ///
    /// let (mut ours, _theirs) = gort::net::pipe();
    /// ours.set_write_deadline(Some(Instant::now()))?;
    /// assert_eq!(ours.write(b"late").unwrap_err().kind(), ErrorKind::TimedOut);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "SetWriteDeadline")]
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.outgoing.change(|state| {
            state.check_writer()?;
            state.write_deadline = deadline;
            Ok(())
        })
    }
}

impl Half {
    /// Changes the state, and tells everybody.
    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = f(&mut self.state.lock());
        self.changed.notify_all();
        result
    }

    /// Waits for a change, or until the deadline, which may itself be changed meanwhile, or until the
    /// current context is done.
    #[track_caller]
    fn wait(&self, state: &mut MutexGuard<'_, State>, deadline: Option<Instant>) {
        let current = context::current();
        self.changed
            .wait_under(state, deadline, current.cancellation());
    }

    #[track_caller]
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let mut number = None;
        let result = loop {
            if let Some(result) = state.read(buf, number).transpose() {
                break result;
            }
            number.get_or_insert_with(|| state.readers.join());
            let deadline = state.read_deadline;
            self.wait(&mut state, deadline);
        };
        let others_wait = state.readers.leave(number);
        drop(state);
        if others_wait || result.as_ref().is_ok_and(|len| *len != 0) {
            self.changed.notify_all();
        }
        result
    }

    #[track_caller]
    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let mut number = None;
        let may_write = loop {
            let may_write = state.check_write();
            let is_turn = state.offer.is_none() && state.writers.is_turn(number);
            if may_write.is_err() || buf.is_empty() || is_turn {
                break may_write;
            }
            number.get_or_insert_with(|| state.writers.join());
            let deadline = state.write_deadline;
            self.wait(&mut state, deadline);
        };
        let others_wait = state.writers.leave(number);
        if may_write.is_err() || buf.is_empty() {
            drop(state);
            if others_wait {
                self.changed.notify_all();
            }
            return may_write.map(|()| 0);
        }
        state.offer = Some(Offer {
            bytes: buf.to_vec(),
            taken: 0,
        });
        self.changed.notify_all();
        loop {
            let taken = state.offer.as_ref().expect("we laid it down").taken;
            let obstacle = state.check_write();
            if taken == buf.len() || obstacle.is_err() {
                state.offer = None;
                drop(state);
                // For the next writer.
                self.changed.notify_all();
                return match obstacle {
                    Err(error) if taken == 0 => Err(error),
                    _ => Ok(taken),
                };
            }
            let deadline = state.write_deadline;
            self.wait(&mut state, deadline);
        }
    }
}

impl State {
    /// Reads for the reader with this number in the line, or for one who comes now. `None`: it has to wait.
    fn read(&mut self, buf: &mut [u8], number: Option<u64>) -> io::Result<Option<usize>> {
        context::check()?;
        self.check_reader()?;
        if buf.is_empty() {
            return Ok(Some(0));
        }
        check_deadline(self.read_deadline)?;
        let is_turn = self.readers.is_turn(number);
        if let Some(offer) = self.offer.as_mut().filter(|_| is_turn)
            && offer.taken < offer.bytes.len()
        {
            let rest = &offer.bytes[offer.taken..];
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            offer.taken += len;
            return Ok(Some(len));
        }
        Ok(self.is_writer_closed.then_some(0))
    }

    fn check_reader(&self) -> io::Result<()> {
        match self.is_reader_closed {
            true => Err(closed(ErrorKind::NotConnected)),
            false => Ok(()),
        }
    }

    fn check_writer(&self) -> io::Result<()> {
        match self.is_writer_closed {
            true => Err(closed(ErrorKind::NotConnected)),
            false => Ok(()),
        }
    }

    /// Whether there is somebody to write for, and time.
    fn check_write(&self) -> io::Result<()> {
        context::check()?;
        self.check_writer()?;
        if self.is_reader_closed {
            return Err(closed(ErrorKind::BrokenPipe));
        }
        check_deadline(self.write_deadline)
    }
}

fn check_deadline(deadline: Option<Instant>) -> io::Result<()> {
    match deadline {
        Some(deadline) if deadline <= crate::time::now() => {
            Err(io::Error::new(ErrorKind::TimedOut, "i/o timeout"))
        }
        _ => Ok(()),
    }
}

/// The text is Go's.
fn closed(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "io: read/write on closed pipe")
}

impl Read for &Pipe {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buf)
    }
}

impl Read for Pipe {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buf)
    }
}

impl Write for &Pipe {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outgoing.write(buf)
    }

    /// Does nothing: what `write` has taken has been read.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Pipe {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outgoing.write(buf)
    }

    /// Does nothing: what `write` has taken has been read.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _never_fails = self.close();
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

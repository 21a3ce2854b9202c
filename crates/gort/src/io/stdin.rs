//! The standard input.
//!
//! The buffer is ours, apart from that of `std::io::stdin`: a program that reads by both would find parts
//! of its input in one and parts in the other.
//!
//! Who wants to read waits for a turn first, at a semaphore: that wait can obey a context, as the one for input
//! does, and a mutex's cannot. The buffer's mutex is always free to whose turn it is.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSliceMut, IsTerminal, Lines, Read};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::Stdio;

use gort_core::netpoll::Direction;
use gort_core::os::as_std;

use super::inherited::Inherited;
use crate::context;
use crate::sync::{LazyLock, Mutex, MutexGuard, Permit, Semaphore};

static TURN: Semaphore = Semaphore::new(1);
/// Locked in one's turn.
static BUFFER: LazyLock<Mutex<BufReader<Raw>>> =
    LazyLock::new(|| Mutex::new(BufReader::new(Raw(io::stdin()))));
static WATCHED: Inherited = Inherited::new();

/// The descriptor, read past std's buffer.
struct Raw(io::Stdin);

/// The standard input; as [`std::io::Stdin`], but waiting parks the goroutine.
///
/// All handles share one buffer, which is not that of `std::io::stdin`: use one of the two.
///
/// # Examples
///
/// ```
/// let mut lines = gort::io::stdin().lines().collect::<Result<Vec<String>, _>>()?;
/// lines.sort();
/// for line in lines {
///     println!("{line}");
/// }
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
#[doc(alias = "os.Stdin")]
pub struct Stdin {
    std: io::Stdin,
}

/// The standard input, locked; as [`std::io::StdinLock`].
///
/// # Examples
///
/// ```
/// use std::io::BufRead;
///
/// let mut input = gort::io::stdin().lock();
/// let mut field = Vec::new();
/// let len = input.read_until(b'\t', &mut field)?; // 0 at the end of the input
/// assert_eq!(field.len(), len);
/// # std::io::Result::Ok(())
/// ```
#[must_use = "the lock goes back at once if this is not kept"]
pub struct StdinLock<'a> {
    // Dropped first: whose turn is next finds it free.
    buffer: MutexGuard<'static, BufReader<Raw>>,
    _turn: Permit<'static>,
    _handle: PhantomData<&'a Stdin>,
}

/// A handle to the standard input.
///
/// # Examples
///
/// ```no_run
/// for line in gort::io::stdin().lines() {
///     println!("read: {}", line?);
/// }
/// # std::io::Result::Ok(())
/// ```
pub fn stdin() -> Stdin {
    Stdin { std: io::stdin() }
}

impl Stdin {
    /// Locks the standard input, for reading by the line and without a lock for each call. Parks while
    /// another goroutine has it. Locking it again while one has it waits for ever.
    ///
    /// No context ends this wait, as there is no error to say so by. [`read_line`](Self::read_line) and the
    /// methods of [`Read`] wait for their turn under the current context.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::BufRead;
    ///
    /// // Nobody else reads between these two.
    /// let mut input = gort::io::stdin().lock();
    /// let (mut name, mut street) = (String::new(), String::new());
    /// input.read_line(&mut name)?;
    /// input.read_line(&mut street)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn lock(&self) -> StdinLock<'static> {
        StdinLock::new(TURN.acquire(1))
    }

    /// As `lock`, for one call, under the current context.
    #[track_caller]
    fn lock_for_call(&self) -> io::Result<StdinLock<'static>> {
        let context = context::current::current().to_context();
        Ok(StdinLock::new(TURN.acquire_ctx(&context, 1)?))
    }

    /// Reads to the end of the line, appends that to `line` with its line feed, and returns how many
    /// bytes it was: 0 at the end of the input. Parks until then.
    ///
    /// # Errors
    ///
    /// `InvalidData` for bytes that are not UTF-8; that of the current context; those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut name = String::new();
    /// if gort::io::stdin().read_line(&mut name)? == 0 {
    ///     println!("nobody there");
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn read_line(&self, line: &mut String) -> io::Result<usize> {
        self.lock_for_call()?.read_line(line)
    }

    /// The lines of the standard input, without their line feeds. It is [locked](Self::lock) for them all.
    ///
    /// # Examples
    ///
    /// ```
    /// for line in gort::io::stdin().lines() {
    ///     println!("> {}", line?);
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }

    /// Whether it is a terminal. (std's trait for this cannot be implemented by others.)
    ///
    /// # Examples
    ///
    /// ```
    /// let stdin = gort::io::stdin();
    /// if stdin.is_terminal() {
    ///     eprintln!("type your text, and Ctrl-D at its end:");
    /// }
    /// let text = std::io::read_to_string(stdin)?;
    /// println!("{} lines", text.lines().count());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_terminal(&self) -> bool {
        self.std.is_terminal()
    }
}

impl StdinLock<'_> {
    fn new(turn: Permit<'static>) -> StdinLock<'static> {
        StdinLock {
            buffer: BUFFER.lock(),
            _turn: turn,
            _handle: PhantomData,
        }
    }
}

impl Read for Raw {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_by(|mut file| file.read(buf))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_by(|mut file| file.read_vectored(bufs))
    }
}

impl Raw {
    #[track_caller]
    fn read_by(&self, mut read: impl FnMut(&File) -> io::Result<usize>) -> io::Result<usize> {
        let result = WATCHED.when_ready(&self.0, Direction::Read, |_| {
            as_std(self.0.as_fd(), &mut read)
        });
        match result {
            // Closed: std's input is empty then.
            Err(error) if error.raw_os_error() == Some(EBADF) => Ok(0),
            result => result,
        }
    }
}

/// What Linux says to a number that is not open.
const EBADF: i32 = 9;

impl Read for StdinLock<'_> {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.buffer.read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.buffer.read_vectored(bufs)
    }
}

impl BufRead for StdinLock<'_> {
    #[track_caller]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.buffer.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.consume(amount);
    }
}

impl Read for &Stdin {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.lock_for_call()?.read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.lock_for_call()?.read_vectored(bufs)
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.lock_for_call()?.read_to_end(buf)
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.lock_for_call()?.read_to_string(buf)
    }

    #[track_caller]
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.lock_for_call()?.read_exact(buf)
    }
}

read_by_reference!(
    Stdin,
    read_to_end(Vec<u8>) -> usize,
    read_to_string(String) -> usize,
    read_exact([u8]) -> ()
);

impl AsFd for Stdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std.as_fd()
    }
}

impl AsRawFd for Stdin {
    fn as_raw_fd(&self) -> RawFd {
        self.std.as_raw_fd()
    }
}

impl AsFd for StdinLock<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.buffer.get_ref().0.as_fd()
    }
}

impl AsRawFd for StdinLock<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A child process reads from the standard input.
impl From<Stdin> for Stdio {
    fn from(_: Stdin) -> Stdio {
        Stdio::inherit()
    }
}

impl fmt::Debug for StdinLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdinLock").finish_non_exhaustive()
    }
}

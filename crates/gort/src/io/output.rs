//! The standard output and the standard error.
//!
//! The buffers and locks are std's, so that `print!` and ours can be mixed. But std's lock blocks the
//! thread of whoever waits for it, and its writes block it too. So ours wait before: first at a gate of
//! our own, where goroutines park, then until the stream is ready; and then std is asked to write what
//! surely fits.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::Stdio;

use gort_core::g::{self, GRef};
use gort_core::netpoll::Direction;
use gort_core::os::file::PIPE_BUF;

use super::inherited::{Inherited, Readiness};
use crate::sync::{Mutex, Semaphore};

/// What one call hands to std. With what its buffer may hold already, that is no more than a pipe
/// takes when it has room for anything.
const CHUNK: usize = PIPE_BUF - STD_BUFFER;
/// The size of the buffer of std's standard output.
const STD_BUFFER: usize = 1024;

/// Lets one goroutine at a time to a stream, as often as it likes.
struct Gate {
    free: Semaphore,
    /// Who is inside, and how many times. Only that one changes it from there.
    inside: Mutex<Option<(GRef, usize)>>,
    watched: Inherited,
}

/// Evidence of having come through the gate.
struct Inside(&'static Gate);

impl Gate {
    const fn new() -> Gate {
        Gate {
            free: Semaphore::new(1),
            inside: Mutex::new(None),
            watched: Inherited::new(),
        }
    }

    #[track_caller]
    fn enter(&'static self) -> Inside {
        let me = g::current();
        if let Some((who, times)) = &mut *self.inside.lock()
            && *who == me
        {
            *times += 1;
            return Inside(self);
        }
        self.free.acquire(1).forget();
        *self.inside.lock() = Some((me, 1));
        Inside(self)
    }

    /// Writes to `std`, the locked form of `stream`.
    #[track_caller]
    fn write(&self, stream: impl AsFd, std: &mut impl Write, buf: &[u8]) -> io::Result<usize> {
        self.watched
            .when_ready(&stream, Direction::Write, |readiness| {
                let len = match readiness {
                    Readiness::Always => buf.len(),
                    Readiness::Announced | Readiness::Unknown => buf.len().min(CHUNK),
                };
                std.write(&buf[..len])
            })
    }

    /// As `write`, for a text, which comes in many pieces: who need not wait is asked once.
    #[track_caller]
    fn write_fmt(
        &self,
        stream: impl AsFd,
        std: &mut impl Write,
        text: fmt::Arguments<'_>,
    ) -> io::Result<()> {
        if self.watched.is_always_ready(&stream) {
            return std.write_fmt(text);
        }
        Pieces {
            gate: self,
            stream,
            std,
        }
        .write_fmt(text)
    }

    #[track_caller]
    fn flush(&self, stream: impl AsFd, std: &mut impl Write) -> io::Result<()> {
        self.watched
            .when_ready(&stream, Direction::Write, |_| std.flush())
    }
}

/// Writes each piece of a text when the stream is ready for it.
struct Pieces<'a, S, W> {
    gate: &'a Gate,
    stream: S,
    std: &'a mut W,
}

impl<S: AsFd, W: Write> Write for Pieces<'_, S, W> {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.gate.write(&self.stream, self.std, buf)
    }

    #[track_caller]
    fn flush(&mut self) -> io::Result<()> {
        self.gate.flush(&self.stream, self.std)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut inside = self.0.inside.lock();
        let (_, times) = inside.as_mut().expect("we are inside");
        *times -= 1;
        if *times == 0 {
            *inside = None;
            drop(inside);
            self.0.free.add_permits(1);
        }
    }
}

/// One stream: std's name, that of its lock, the function, the gate, and words for the docs.
macro_rules! output {
    ($name:ident, $lock:ident, $function:ident, $gate:ident, $what:literal, $print:literal) => {
        static $gate: Gate = Gate::new();

        #[doc = concat!("A handle to the standard ", $what, "; as [`std::io::", stringify!($name), "`],")]
        /// but waiting parks the goroutine.
        ///
        /// It shares buffer and lock with std's own handles and with
        #[doc = concat!("`", $print, "!`, which block their thread where this one parks.")]
        /// What they all write keeps its order.
        ///
        /// # Examples
        ///
        /// ```
        /// use gort::io::Write;
        ///
        #[doc = concat!("let mut out = gort::io::", stringify!($function), "();")]
        /// writeln!(out, "hello")?;
        /// out.flush()?;
        /// # std::io::Result::Ok(())
        /// ```
        #[derive(Debug)]
        pub struct $name {
            std: io::$name,
        }

        #[doc = concat!("The standard ", $what, ", locked; as [`std::io::", stringify!($lock), "`].")]
        ///
        /// # Examples
        ///
        /// ```
        /// use gort::io::Write;
        ///
        #[doc = concat!("let mut out = gort::io::", stringify!($function), "().lock();")]
        /// for name in ["one", "two"] {
        ///     writeln!(out, "{name}")?; // Nothing of others comes between these.
        /// }
        /// # std::io::Result::Ok(())
        /// ```
        #[must_use = "the lock goes back at once if this is not kept"]
        pub struct $lock<'a> {
            // Dropped first: whoever comes through the gate next finds std's lock free.
            std: io::$lock<'static>,
            _inside: Inside,
            _handle: PhantomData<&'a $name>,
        }

        #[doc = concat!("A handle to the standard ", $what, ".")]
        ///
        /// # Examples
        ///
        /// ```
        /// use gort::io::Write;
        ///
        #[doc = concat!("let mut out = gort::io::", stringify!($function), "().lock();")]
        /// writeln!(out, "two lines,")?;
        /// writeln!(out, "one after the other")?;
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $function() -> $name {
            $name {
                std: io::$function(),
            }
        }

        impl $name {
            /// Locks the stream, so that nobody else writes in between. Parks while another goroutine
            /// has it; who has it may lock it again.
            ///
            /// # Examples
            ///
            /// ```
            /// use gort::io::Write;
            ///
            #[doc = concat!("let mut out = gort::io::", stringify!($function), "().lock();")]
            /// write!(out, "the answer is ")?;
            /// writeln!(out, "{}", 6 * 7)?; // on the same line, whoever else prints
            /// # std::io::Result::Ok(())
            /// ```
            #[track_caller]
            pub fn lock(&self) -> $lock<'static> {
                let inside = $gate.enter();
                $lock {
                    // Free, unless a `print!` of somebody else is at work.
                    std: self.std.lock(),
                    _inside: inside,
                    _handle: PhantomData,
                }
            }

            /// Whether it is a terminal. (std's trait for this cannot be implemented by others.)
            ///
            /// # Examples
            ///
            /// ```
            /// use gort::io::Write;
            ///
            #[doc = concat!("let mut out = gort::io::", stringify!($function), "();")]
            /// let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            /// writeln!(out, "{bold}hello{plain}")?; // without the codes in a file
            /// # std::io::Result::Ok(())
            /// ```
            pub fn is_terminal(&self) -> bool {
                self.std.is_terminal()
            }
        }

        impl Write for $lock<'_> {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                $gate.write(io::$function(), &mut self.std, buf)
            }

            #[track_caller]
            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                $gate.write_fmt(io::$function(), &mut self.std, text)
            }

            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                $gate.flush(io::$function(), &mut self.std)
            }
        }

        impl Write for &$name {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.lock().write(buf)
            }

            #[track_caller]
            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                self.lock().write_all(buf)
            }

            #[track_caller]
            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                self.lock().write_fmt(text)
            }

            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                self.lock().flush()
            }
        }

        impl Write for $name {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            #[track_caller]
            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                (&*self).write_all(buf)
            }

            #[track_caller]
            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                (&*self).write_fmt(text)
            }

            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                (&*self).flush()
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.std.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.std.as_raw_fd()
            }
        }

        impl AsFd for $lock<'_> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.std.as_fd()
            }
        }

        impl AsRawFd for $lock<'_> {
            fn as_raw_fd(&self) -> RawFd {
                self.std.as_raw_fd()
            }
        }

        /// A child process writes to the same stream.
        impl From<$name> for Stdio {
            fn from(stream: $name) -> Stdio {
                stream.std.into()
            }
        }

        impl fmt::Debug for $lock<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($lock)).finish_non_exhaustive()
            }
        }
    };
}

output!(Stdout, StdoutLock, stdout, STDOUT, "output", "println");
output!(Stderr, StderrLock, stderr, STDERR, "error", "eprintln");

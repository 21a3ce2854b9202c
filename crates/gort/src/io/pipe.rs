//! The system's pipes.
//!
//! Ours are non-blocking as long as they are ours. An end that is given away, to a child process
//! mostly, must block, as that process expects; a clone of it that stays shares that mode, and looks
//! before each call (`Fd::look`), with writes cut to what fits whenever anything does.
//!
//! A pipe made from the descriptor of a file works too, as std's does: its calls run on a thread
//! without a P, and it has no deadlines.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

use gort_core::netpoll::Direction;
use gort_core::os::as_std;
use gort_core::os::file::PIPE_BUF;
use gort_core::sched;

use crate::context::current as context;
use crate::fd::{Fd, Kind};

/// Makes a pipe of the system's: what is written at one end is read at the other.
///
/// # Errors
///
/// A lack of descriptors.
///
/// # Examples
///
/// ```
/// use gort::io::{Read, Write};
///
/// let (mut reader, mut writer) = gort::io::pipe()?;
/// gort::go(move || writer.write_all(b"hello"));
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Pipe")]
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((PipeReader::from_std(reader)?, PipeWriter::from_std(writer)?))
}

/// The end of a [`pipe`] where one reads; as [`std::io::PipeReader`], but waiting parks the goroutine.
///
/// Reading works on references too; several goroutines take their turns in the order of their calls.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = gort::io::pipe()?;
/// let read = gort::go(move || {
///     let mut text = String::new();
///     reader.read_to_string(&mut text).map(|_| text) // parks until all writers are gone
/// });
/// writer.write_all(b"through the kernel")?;
/// drop(writer);
/// assert_eq!(read.join().unwrap()?, "through the kernel");
/// # std::io::Result::Ok(())
/// ```
pub struct PipeReader {
    fd: Arc<Fd>,
}

/// The end of a [`pipe`] where one writes; as [`std::io::PipeWriter`], but waiting parks the goroutine.
///
/// Writing works on references too. One call of `write` writes its whole buffer before it returns, so
/// that the bytes of two goroutines are never mixed. When nobody can read any more, it fails with
/// `BrokenPipe`.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// let (reader, mut writer) = gort::io::pipe()?;
/// drop(reader);
/// let error = writer.write_all(b"nobody reads this").unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
/// # std::io::Result::Ok(())
/// ```
pub struct PipeWriter {
    fd: Arc<Fd>,
}

#[track_caller]
fn read(
    fd: &Fd,
    len: usize,
    mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
) -> io::Result<usize> {
    if let Some(file) = fd.always_ready()? {
        context::check()?;
        return sched::blocking(|| attempt(file));
    }
    fd.read(len, |pipe| {
        fd.look(pipe, Direction::Read)?;
        attempt(pipe)
    })
}

#[track_caller]
fn write(fd: &Fd, buf: &[u8]) -> io::Result<usize> {
    let attempt =
        |pipe: BorrowedFd<'_>, buf: &[u8]| as_std(pipe, |mut file: &File| file.write(buf));
    if let Some(file) = fd.always_ready()? {
        context::check()?;
        return sched::blocking(|| attempt(file, buf));
    }
    fd.write(buf, |pipe, buf| {
        fd.look(pipe, Direction::Write)?;
        attempt(pipe, &buf[..fitting(fd, buf.len())])
    })
}

#[track_caller]
fn write_vectored(fd: &Fd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let attempt = |pipe: BorrowedFd<'_>, bufs: &[IoSlice<'_>]| {
        as_std(pipe, |mut file: &File| file.write_vectored(bufs))
    };
    if let Some(file) = fd.always_ready()? {
        context::check()?;
        return sched::blocking(|| attempt(file, bufs));
    }
    fd.write_vectored(bufs, |pipe, bufs| {
        fd.look(pipe, Direction::Write)?;
        let first = bufs.iter().find(|buf| !buf.is_empty());
        match first {
            Some(buf) if fd.is_lent() => {
                attempt(pipe, &[IoSlice::new(&buf[..fitting(fd, buf.len())])])
            }
            _ => attempt(pipe, bufs),
        }
    })
}

/// How many of `len` bytes to write at once, so that the call does not wait.
fn fitting(fd: &Fd, len: usize) -> usize {
    if fd.is_lent() { len.min(PIPE_BUF) } else { len }
}

read_methods!(
    PipeReader,
    |pipe, buf| read(&pipe.fd, buf.len(), |fd| {
        as_std(fd, |mut file: &File| file.read(buf))
    }),
    |pipe, bufs| {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        read(&pipe.fd, len, |fd| {
            as_std(fd, |mut file: &File| file.read_vectored(bufs))
        })
    }
);
write_methods!(
    PipeWriter,
    |pipe, buf| write(&pipe.fd, buf),
    |pipe, bufs| write_vectored(&pipe.fd, bufs)
);
close_method!(
    PipeReader,
    "Closes this end, for all clones.",
    example = r#"```
use std::io::Read;

let (reader, _writer) = gort::io::pipe()?;
let mut clone = reader.try_clone()?;
let reads = gort::go(move || clone.read(&mut [0]));
reader.close()?;
assert!(reads.join().unwrap().is_err());
# std::io::Result::Ok(())
```"#
);
close_method!(
    PipeWriter,
    "Closes this end, for all clones.",
    example = r#"```
use std::io::Write;

let (reader, writer) = gort::io::pipe()?;
let mut clone = writer.try_clone()?;
clone.write_all(b"hello")?;
writer.close()?;
assert_eq!(std::io::read_to_string(reader)?, "hello"); // and then the end
assert!(clone.write_all(b"more").is_err());
# std::io::Result::Ok(())
```"#
);
deadline_method!(PipeReader, set_deadline, None, "reading", "SetReadDeadline");
deadline_method!(
    PipeWriter,
    set_deadline,
    None,
    "writing",
    "SetWriteDeadline"
);
debug_fields!(PipeReader { fd });
debug_fields!(PipeWriter { fd });
descriptor_methods!(PipeReader { fd }, std = io::PipeReader, kind = Kind::File);
descriptor_methods!(PipeWriter { fd }, std = io::PipeWriter, kind = Kind::File);

/// Makes the end the standard input of a child process, in blocking mode.
///
/// # Panics
///
/// As the conversion to an `OwnedFd` does.
impl From<PipeReader> for Stdio {
    #[track_caller]
    fn from(pipe: PipeReader) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

/// Makes the end the standard output of a child process, in blocking mode.
///
/// # Panics
///
/// As the conversion to an `OwnedFd` does.
impl From<PipeWriter> for Stdio {
    #[track_caller]
    fn from(pipe: PipeWriter) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

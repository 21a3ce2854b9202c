//! From a reader to a writer.
//!
//! The loop is std's: it knows `BufWriter`s and std's own files and sockets. What is ours parks in it by
//! itself. (`splice` between two of our sockets would need to know the types behind `R` and `W`, which the
//! language does not tell.)

use std::io::{self, Read, Write};

/// Copies all of `reader` to `writer` and returns how many bytes that were.
///
/// Parks where `reader` and `writer` park. Calls that are interrupted by a signal are repeated. Several
/// goroutines that copy from one reader get parts of it each.
///
/// # Errors
///
/// The first error of either side; what has been copied before it is lost count of.
///
/// # Examples
///
/// ```
/// use gort::io::{self, Read, Write};
/// use gort::net::unix::UnixStream;
///
/// let (mut a, b) = UnixStream::pair()?;
/// let echo = gort::go(move || io::copy(&mut &b, &mut &b));
/// a.write_all(b"hello")?;
/// a.shutdown(std::net::Shutdown::Write)?;
/// let mut text = String::new();
/// a.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// assert_eq!(echo.join().unwrap()?, 5);
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    io::copy(reader, writer)
}

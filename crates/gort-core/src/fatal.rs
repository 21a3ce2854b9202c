//! How gort ends the process when an invariant is broken: raw `write(2)`, then abort.
//!
//! Nothing here allocates, locks or unwinds: the state is damaged, and destructors must not run on it.

use std::fmt::{self, Write};

/// A line buffer on the stack that drops what does not fit.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

/// Writes one formatted line to stderr without allocating or locking.
pub fn write_line(args: fmt::Arguments<'_>) {
    let mut line = Line {
        bytes: [0; 512],
        len: 0,
    };
    // `Line` drops what does not fit and never fails.
    let _ = line.write_fmt(args);
    if line.len == line.bytes.len() {
        line.len -= 1;
    }
    line.bytes[line.len] = b'\n';
    write_bytes(&line.bytes[..=line.len]);
}

/// Writes all of `bytes` to stderr, without std's lock: somebody may have parked with it in hand.
pub fn write_bytes(bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: `write` reads `rest.len()` bytes at `rest`, which is a live slice.
        let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        if let Ok(written @ 1..) = usize::try_from(written) {
            rest = &rest[written..];
        // SAFETY: errno's address is valid in every thread.
        } else if written == 0 || unsafe { *libc::__errno_location() } != libc::EINTR {
            // There is nobody to tell.
            return;
        }
    }
}

/// Reports a broken invariant and aborts. Use the [`fatal!`](crate::fatal!) macro.
#[cold]
pub fn abort_with(args: fmt::Arguments<'_>) -> ! {
    write_line(format_args!("gort: fatal: {args}"));
    std::process::abort()
}

/// Ends the process with Go's form of an unrecoverable error: `fatal error: …`, status 2.
#[cold]
pub fn exit_with(args: fmt::Arguments<'_>) -> ! {
    write_line(format_args!("fatal error: {args}"));
    exit()
}

/// Ends the process with Go's status of a program that died: 2.
pub fn exit() -> ! {
    // SAFETY: `_exit` takes any status and does not return. No destructor or atexit handler may run:
    // what they need may be held by the code that is at fault.
    unsafe { libc::_exit(2) }
}

/// A broken invariant of the runtime: prints `gort: fatal: …` and aborts the process.
#[macro_export]
macro_rules! fatal {
    ($($arg:tt)*) => { $crate::fatal::abort_with(format_args!($($arg)*)) };
}

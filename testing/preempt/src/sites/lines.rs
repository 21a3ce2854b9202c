//! Lines to standard output, by std's println and by C's stdio, which is a pipe here: who reads it looks
//! whether each line is whole and none is missing.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int};
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::Done;
use crate::mark::{Site, during};

unsafe extern "C" {
    safe fn preempt_line_buffered() -> c_int;
    safe fn preempt_flush() -> c_int;
    /// # Safety
    ///
    /// `filler` is a C string.
    unsafe fn preempt_print(id: u32, sequence: u64, filler: *const c_char);
}

/// Lines printed so far, by both ways.
static PRINTED: AtomicU64 = AtomicU64::new(0);

/// Standard output as a pipe, and the thread that reads it.
#[derive(Debug)]
pub(crate) struct Printed {
    terminal: OwnedFd,
    reader: JoinHandle<u64>,
}

impl Printed {
    /// Lets descriptor 1 lead to a reader of ours.
    pub(crate) fn redirect() -> Printed {
        let (reader, writer) = io::pipe().expect("descriptors for a pipe");
        assert_eq!(preempt_line_buffered(), 0, "stdio has not printed yet");
        // SAFETY: descriptor 1 is open; the copy is ours.
        let terminal = unsafe {
            let copy = libc::dup(1);
            assert!(copy >= 0, "a descriptor");
            OwnedFd::from_raw_fd(copy)
        };
        // SAFETY: both are open; who prints from now on prints to the pipe.
        assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), 1) }, 1);
        Printed {
            terminal,
            reader: thread::spawn(move || read(reader)),
        }
    }

    /// Lets descriptor 1 lead where it did before; gives how many lines came.
    ///
    /// # Panics
    ///
    /// If a line was torn or lost.
    pub(crate) fn check(self) -> u64 {
        io::stdout().flush().expect("the pipe is open");
        assert_eq!(preempt_flush(), 0, "the pipe is open");
        // SAFETY: both are open; this closes the last writing end of the pipe.
        assert_eq!(unsafe { libc::dup2(self.terminal.as_raw_fd(), 1) }, 1);
        let lines = self.reader.join().expect("every line is whole");
        let printed = PRINTED.load(Ordering::Relaxed);
        assert_eq!(lines, printed, "lines were lost or printed twice");
        lines
    }
}

/// What the line says beside its number: different lengths and letters.
fn filler(id: u32, sequence: u64) -> String {
    let letter = b'a' + ((sequence + u64::from(id)) % 26) as u8;
    let length = (sequence * 7 + u64::from(id)) % 50;
    std::iter::repeat_n(char::from(letter), length as usize).collect()
}

fn read(pipe: PipeReader) -> u64 {
    let mut next: HashMap<(String, u32), u64> = HashMap::new();
    let mut count = 0;
    for line in BufReader::new(pipe).lines() {
        let line = line.expect("ASCII");
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [kind, id, sequence, rest] = words[..] else {
            panic!("torn line: {line:?}");
        };
        let number = |text: &str| {
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("torn: {line:?}"))
        };
        let (id, sequence) = (number(id) as u32, number(sequence));
        assert!(kind == "R" || kind == "C", "torn line: {line:?}");
        assert_eq!(rest, filler(id, sequence), "torn line: {line:?}");
        let expected = next.entry((kind.to_owned(), id)).or_default();
        assert_eq!(sequence, *expected, "a line before is missing: {line:?}");
        *expected += 1;
        count += 1;
    }
    count
}

/// Prints by `println`, and under the lock of `stdout`, in turn; gives how many lines.
pub(crate) fn print_by_std(id: u32, done: &Done) -> u64 {
    let mut sequence = 0;
    while !done.is_set() {
        let text = filler(id, sequence);
        if sequence.is_multiple_of(2) {
            during(Site::Stdout, || println!("R {id} {sequence} {text}"));
        } else {
            during(Site::Stdout, || {
                let mut out = io::stdout().lock();
                write!(out, "R {id} {sequence} ").expect("the pipe is open");
                for letter in text.chars() {
                    write!(out, "{letter}").expect("the pipe is open");
                }
                writeln!(out).expect("the pipe is open");
            });
        }
        sequence += 1;
        PRINTED.fetch_add(1, Ordering::Relaxed);
    }
    sequence
}

/// Prints by C's stdio; gives how many lines.
pub(crate) fn print_by_c(id: u32, done: &Done) -> u64 {
    let mut sequence = 0;
    while !done.is_set() {
        let text = CString::new(filler(id, sequence)).expect("letters");
        // SAFETY: a C string that lives until the call returns.
        during(Site::Stdio, || unsafe {
            preempt_print(id, sequence, text.as_ptr());
        });
        sequence += 1;
        PRINTED.fetch_add(1, Ordering::Relaxed);
    }
    sequence
}

//! Pipes: between goroutines, to child processes, over files; and what ends a wait.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gort::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use gort::io::{PipeReader, PipeWriter};
use gort_test_support::alone;

use crate::support::{assert_kind, in_both_worlds};

#[track_caller]
fn assert_closed<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(error.to_string(), "file already closed");
}

#[test]
fn bytes_pass_and_the_end_is_seen() {
    in_both_worlds(|world| {
        let (reader, mut writer) = io::pipe().unwrap();
        let lines = world.go(move || {
            BufReader::new(reader)
                .lines()
                .collect::<io::Result<Vec<_>>>()
        });
        writeln!(writer, "one\ntwo").unwrap();
        writeln!(&writer, "three").unwrap();
        drop(writer);
        assert_eq!(lines.join().unwrap(), ["one", "two", "three"]);
    });
}

#[test]
fn a_long_write_parks_until_all_is_read() {
    in_both_worlds(|world| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let bytes: Vec<u8> = (0..1_000_000).map(|i| (i / 7) as u8).collect();
        let sent = bytes.clone();
        let writer = world.go(move || {
            let (one, rest) = sent.split_at(10);
            let (two, rest) = rest.split_at(0);
            let slices = [one, two, rest].map(IoSlice::new);
            writer.write_vectored(&slices).unwrap()
        });
        let mut got = vec![0; 17];
        let (a, b) = got.split_at_mut(5);
        let count = reader
            .read_vectored(&mut [IoSliceMut::new(a), IoSliceMut::new(b)])
            .unwrap();
        got.truncate(count);
        reader.read_to_end(&mut got).unwrap();
        assert_eq!(writer.join(), bytes.len());
        assert!(got == bytes);
    });
}

#[test]
fn close_deadline_and_the_other_end_wake_who_waits() {
    // Where others start children, those have the pipe's ends too, until they run their programs.
    let name = "pipe::close_deadline_and_the_other_end_wake_who_waits";
    alone(name, || {
        in_both_worlds(|world| {
            let (reader, writer) = io::pipe().unwrap();
            let parked = reader.try_clone().unwrap();
            let parked = world.go(move || (&parked).read(&mut [0]));
            reader.close().unwrap();
            reader.close().unwrap();
            assert_closed(parked.join());
            assert_closed((&reader).read(&mut []));
            assert_eq!(reader.as_raw_fd(), -1);
            assert_kind((&writer).write(b"x"), ErrorKind::BrokenPipe);

            let (reader, writer) = io::pipe().unwrap();
            let soon = || Some(Instant::now() + Duration::from_millis(5));
            reader.set_deadline(soon()).unwrap();
            assert_kind((&reader).read(&mut [0]), ErrorKind::TimedOut);
            reader.set_deadline(None).unwrap();
            writer.set_deadline(soon()).unwrap();
            assert_kind((&writer).write_all(&[0; 1 << 20]), ErrorKind::TimedOut);
            writer.set_deadline(None).unwrap();
            // It is full now: this write waits until nobody can read any more.
            let parked = world.go(move || (&writer).write_all(&[0; 1 << 20]));
            drop(reader);
            assert_kind(parked.join(), ErrorKind::BrokenPipe);

            let (reader, writer) = io::pipe().unwrap();
            reader.set_nonblocking(true).unwrap();
            assert_kind((&reader).read(&mut [0]), ErrorKind::WouldBlock);
            reader.set_nonblocking(false).unwrap();
            let parked = world.go(move || (&reader).read(&mut [0]));
            drop(writer);
            assert_eq!(parked.join().unwrap(), 0);
        })
    });
}

#[test]
fn a_child_process_gets_ends_that_block() {
    in_both_worlds(|world| {
        let (child_in, mut to_child) = io::pipe().unwrap();
        let (mut from_child, child_out) = io::pipe().unwrap();
        // Our clone shares the open file with the child, and neither disturbs the other.
        let ours = child_out.try_clone().unwrap();
        let script = "while read line; do echo \"<$line>\"; done; \
                      grep -q '^flags:.*04...$' /proc/self/fdinfo/1 && echo nonblocking";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(child_in)
            .stdout(child_out)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        to_child.write_all(b"a\nb\n").unwrap();
        drop(to_child);
        let status = world.go(move || child.wait().unwrap());
        let mut text = vec![0; "<a>\n<b>\n".len()];
        from_child.read_exact(&mut text).unwrap();
        assert_eq!(text, b"<a>\n<b>\n");
        // grep finds nothing.
        assert_eq!(status.join().code(), Some(1));
        // The clone looks before it writes: a write that finds no room parks.
        let writer = world.go(move || {
            let slices = [&[][..], &[1; 100_000], &[2; 100_000]].map(IoSlice::new);
            let mut count = (&ours).write_vectored(&slices).unwrap();
            count += (&ours).write(&[3; 100_000]).unwrap();
            count
        });
        let mut rest = Vec::new();
        from_child.read_to_end(&mut rest).unwrap();
        assert_eq!(writer.join(), 300_000);
        let expected = [1, 2, 3].map(|byte| vec![byte; 100_000]).concat();
        assert!(rest == expected);
    });
}

#[test]
fn a_pipe_over_a_file_reads_and_writes_it_and_has_no_deadline() {
    in_both_worlds(|_| {
        let path = std::env::temp_dir().join(format!("gort-pipe-{}", std::process::id()));
        let mut writer = PipeWriter::from(OwnedFd::from(File::create(&path).unwrap()));
        writer.write_all(b"hello").unwrap();
        let count = writer.write_vectored(&[IoSlice::new(b", file")]);
        assert_eq!(count.unwrap(), 6);
        let deadline = writer.set_deadline(Some(Instant::now()));
        assert_eq!(
            deadline.unwrap_err().to_string(),
            "file type does not support deadline"
        );
        let clone = writer.try_clone().unwrap();
        writer.close().unwrap();
        assert_closed((&clone).write(b"x"));
        let mut reader = PipeReader::from(OwnedFd::from(File::open(&path).unwrap()));
        std::fs::remove_file(&path).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello, file");
    });
}

#[test]
fn ends_become_stds_and_come_back() {
    let (reader, writer) = io::pipe().unwrap();
    let mut reader: std::io::PipeReader = reader.into_std().unwrap();
    let mut writer = std::io::PipeWriter::try_from(writer).unwrap();
    writer.write_all(b"xy").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    let reader = PipeReader::try_from(reader).unwrap();
    let reader = PipeReader::from(OwnedFd::from(reader));
    assert_eq!((&reader).read(&mut [0; 2]).unwrap(), 1);
    assert!(reader.into_raw_fd() > 2);
    fn assert_all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    assert_all::<PipeReader>();
    assert_all::<PipeWriter>();
}

//! Files on which a call waits for somebody else.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use gort::fs::{self, File, OpenOptions};
use gort_test_support::{alone, eventually, go_named};

use super::support::{Folder, raise_descriptor_limit};

/// One P: whoever held it while it waits would keep the other from ever coming.
#[gort::test(procs = 1)]
fn a_goroutine_that_opens_or_reads_a_fifo_holds_up_nobody() {
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    let reader = gort::go({
        let path = path.clone();
        move || {
            let mut lines = BufReader::new(File::open(path).unwrap()).lines();
            [(); 2].map(|()| lines.next().unwrap().unwrap())
        }
    });
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"one\n").unwrap();
    gort::yield_now();
    assert!(!reader.is_finished());
    writer.write_all(b"two\n").unwrap();
    assert_eq!(reader.join().unwrap(), ["one", "two"]);
}

#[gort::test(procs = 1)]
fn a_goroutine_that_writes_to_a_full_fifo_holds_up_nobody() {
    const LEN: usize = 1 << 20;
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    let writer = gort::go({
        let path = path.clone();
        move || fs::write(path, vec![7; LEN])
    });
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() == LEN && bytes.iter().all(|&byte| byte == 7));
    writer.join().unwrap().unwrap();
}

/// If they counted among the calls, the last one's writer could not come. In a process of its own, for the
/// descriptors.
#[test]
fn any_number_of_readers_may_wait_at_fifos() {
    alone("waiting::any_number_of_readers_may_wait_at_fifos", || {
        raise_descriptor_limit();
        gort::run(many_read_fifos);
    });
}

fn many_read_fifos() {
    const READERS: usize = 520;
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    // Holds both ends open, so that no reader finds an end.
    let mut both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let (here, arrived) = gort::chan::bounded(0);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (path, here) = (path.clone(), here.clone());
            gort::go(move || {
                let mut fifo = File::open(path).unwrap();
                here.send(()).unwrap();
                fifo.read(&mut [0]).unwrap()
            })
        })
        .collect();
    for _ in 0..READERS {
        arrived.recv().unwrap();
    }
    // A file that counts goes on beside them.
    fs::write(folder.at("file"), "text").unwrap();
    both.write_all(&[0; READERS]).unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 1);
    }
}

#[gort::test]
fn a_file_opened_as_non_blocking_says_so() {
    let folder = Folder::new();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(folder.fifo("fifo"))
        .unwrap();
    let error = file.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

/// A terminal is a character device; a pair of them can be had without a terminal.
#[gort::test(procs = 1)]
fn a_goroutine_that_reads_a_terminal_holds_up_nobody() {
    let mut master = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/ptmx")
        .unwrap();
    let slave = open_slave(&master);
    let reader = gort::go(move || {
        let mut line = String::new();
        BufReader::new(slave).read_line(&mut line).map(|_| line)
    });
    gort::yield_now();
    assert!(!reader.is_finished());
    master.write_all(b"typed\n").unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), "typed\n");
}

/// An event descriptor is of no type that `stat` knows. In a process of its own, for the setting: with one place
/// for calls that count, a reader that had it would keep the writer from ever coming.
#[test]
fn who_reads_an_event_descriptor_does_not_keep_its_writer_out() {
    let name = "waiting::who_reads_an_event_descriptor_does_not_keep_its_writer_out";
    alone(name, || {
        let config = gort::Config::new().blocking_threads(1);
        config.run(read_and_write_an_event).unwrap();
    });
}

fn read_and_write_an_event() {
    // SAFETY: takes two numbers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: it is new, and nobody else's.
    let mut event = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let mut clone = event.try_clone().unwrap();
    let reader = go_named("reader", move || {
        let mut count = [0; 8];
        event.read_exact(&mut count).map(|()| count)
    });
    eventually("the reader waits", || is_in_read(fd));
    let writer = go_named("writer", move || clone.write_all(&7_u64.to_ne_bytes()));
    eventually("the writer is done", || writer.is_finished());
    writer.join().unwrap().unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), 7_u64.to_ne_bytes());
}

/// Whether a thread of this process sleeps in `read` of that descriptor. Asks by std's calls, which do not count.
fn is_in_read(fd: RawFd) -> bool {
    let call = format!("{} {fd:#x} ", libc::SYS_read);
    let mut threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads.any(|thread| {
        // One that has ended meanwhile is in no call.
        let text = std::fs::read_to_string(thread.unwrap().path().join("syscall"));
        text.is_ok_and(|text| text.starts_with(&call))
    })
}

fn open_slave(master: &File) -> File {
    let fd = master.as_raw_fd();
    let mut name = [0; 64];
    // SAFETY: `fd` is a master's; `ptsname_r` writes a C string of at most 64 bytes to `name`.
    unsafe {
        assert_eq!(libc::grantpt(fd), 0);
        assert_eq!(libc::unlockpt(fd), 0);
        assert_eq!(libc::ptsname_r(fd, name.as_mut_ptr().cast(), name.len()), 0);
    }
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap();
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().unwrap())
        .unwrap()
}

//! Calls that somebody else ends, a plain thread here. A handler with `SA_RESTART` does not show in them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::ptr;
use std::sync::Arc;

use super::sys::{Waker, check};
use super::timed::{Semaphore, connect_to, connection, full_listener, socket};
use super::{Call, Op, Shows};

pub(super) const CALLS: &[Call] = &[
    Call {
        name: "read of a pipe",
        shows: Shows::Never,
        new: read,
    },
    Call {
        name: "write to a pipe",
        shows: Shows::Never,
        new: write,
    },
    Call {
        name: "recv",
        shows: Shows::Never,
        new: receive,
    },
    Call {
        name: "accept",
        shows: Shows::Never,
        new: accept,
    },
    Call {
        name: "connect",
        shows: Shows::Never,
        new: connect,
    },
    Call {
        name: "flock",
        shows: Shows::Never,
        new: flock,
    },
    Call {
        name: "fcntl F_OFD_SETLKW",
        shows: Shows::Never,
        new: record_lock,
    },
    Call {
        name: "wait4",
        shows: Shows::Never,
        new: wait4,
    },
    Call {
        name: "sem_wait",
        shows: Shows::Never,
        new: sem_wait,
    },
    Call {
        name: "msgrcv",
        shows: Shows::Rarely,
        new: msgrcv,
    },
];

fn read() -> io::Result<Op> {
    let (mut reader, mut writer) = io::pipe()?;
    let waker = Waker::start(
        || {},
        move || drop(writer.write(&[7])), // The reader may be gone.
    );
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        read_seven(&mut reader)
    }))
}

/// As std does it: `read` does not try again. What was not read is waited for, so that the next call
/// finds nothing.
fn read_seven(reader: &mut impl Read) -> io::Result<()> {
    let mut byte = [0];
    let first = reader.read(&mut byte);
    if first.is_err() {
        reader.read_exact(&mut byte)?;
    }
    assert_eq!(byte, [7]);
    first.map(drop)
}

fn write() -> io::Result<Op> {
    let (mut reader, mut writer) = io::pipe()?;
    // SAFETY: takes numbers only.
    let size = check(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) })?;
    let page = vec![7; size as usize];
    writer.write_all(&page)?;
    let mut room = page.clone();
    let waker = Waker::start(
        || {},
        move || reader.read_exact(&mut room).unwrap_or(()), // The writer may be gone.
    );
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        let first = writer.write(&page);
        let written = first.as_ref().map_or(0, |len| *len);
        writer.write_all(&page[written..])?;
        first.map(drop)
    }))
}

fn receive() -> io::Result<Op> {
    let (mut near, mut far) = connection()?;
    let waker = Waker::start(|| {}, move || drop(far.write(&[7])));
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        read_seven(&mut near)
    }))
}

fn accept() -> io::Result<Op> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let waker = Waker::start(
        || {},
        move || drop(TcpStream::connect(address)), // The listener may be gone.
    );
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        let fd = listener.as_raw_fd();
        // Not by std, which tries again after EINTR.
        // SAFETY: the address is not asked for.
        let accept = || check(unsafe { libc::accept(fd, ptr::null_mut(), ptr::null_mut()) });
        let first = accept();
        let accepted = match first {
            Ok(accepted) => accepted,
            Err(_) => accept()?,
        };
        // SAFETY: the descriptor is new and ours.
        drop(unsafe { OwnedFd::from_raw_fd(accepted as i32) });
        first.map(drop)
    }))
}

fn connect() -> io::Result<Op> {
    let (listener, address, address_length) = full_listener()?;
    let listener = Arc::new(listener);
    let its_listener = Arc::clone(&listener);
    let waker = Waker::start(
        || {},
        move || {
            for _ in 0..2 {
                // SAFETY: the address is not asked for; what is accepted is new and ours.
                unsafe {
                    let fd = its_listener.as_raw_fd();
                    let accepted = libc::accept(fd, ptr::null_mut(), ptr::null_mut());
                    assert!(accepted >= 0, "two connect for each request");
                    drop(OwnedFd::from_raw_fd(accepted));
                }
            }
        },
    );
    Ok(Box::new(move |length| {
        let fills = socket()?;
        connect_to(&fills, &address, address_length)?;
        let late = socket()?;
        waker.wake_after(length);
        let first = connect_to(&late, &address, address_length);
        if first.is_err() {
            // Interrupted, it is not connected: again, for the waker's second.
            connect_to(&late, &address, address_length)?;
        }
        // The waker has taken both before it takes the next request.
        first
    }))
}

/// Two descriptions of one file that has no name.
fn two_files() -> io::Result<(File, File)> {
    // SAFETY: the name ends with a zero.
    let fd = check(unsafe { libc::memfd_create(c"preempt".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the descriptor is new and ours.
    let first = unsafe { File::from_raw_fd(fd as i32) };
    let path = format!("/proc/self/fd/{fd}");
    let second = File::options().read(true).write(true).open(path)?;
    Ok((first, second))
}

fn flock() -> io::Result<Op> {
    let (ours, theirs) = two_files()?;
    let set = |file: &File, how| {
        // SAFETY: takes numbers only.
        check(unsafe { libc::flock(file.as_raw_fd(), how) }).map(drop)
    };
    lock_in_turn(ours, theirs, move |file, locked| {
        set(file, if locked { libc::LOCK_EX } else { libc::LOCK_UN })
    })
}

fn record_lock() -> io::Result<Op> {
    let (ours, theirs) = two_files()?;
    let set = |file: &File, kind: i32| {
        // SAFETY: zeros are a lock of the whole file, without an owner.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = kind as _;
        // SAFETY: reads one lock.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw mut lock) }).map(drop)
    };
    lock_in_turn(ours, theirs, move |file, locked| {
        set(file, if locked { libc::F_WRLCK } else { libc::F_UNLCK })
    })
}

/// The waker has the lock first.
fn lock_in_turn(
    ours: File,
    theirs: File,
    set: impl Fn(&File, bool) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<Op> {
    let theirs = Arc::new(theirs);
    let (prepare, wake) = ((set.clone(), theirs.clone()), (set.clone(), theirs));
    let waker = Waker::start(
        move || (prepare.0)(&prepare.1, true).expect("nobody else has it for long"),
        move || (wake.0)(&wake.1, false).expect("it is ours"),
    );
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        let first = set(&ours, true);
        if first.is_err() {
            set(&ours, true)?;
        }
        set(&ours, false)?;
        first
    }))
}

/// The child takes its own time to end.
fn wait4() -> io::Result<Op> {
    Ok(Box::new(|_| {
        let child = Command::new("true").spawn()?;
        let pid = child.id() as i32;
        // SAFETY: neither status nor usage are asked for.
        let wait = || check(unsafe { libc::wait4(pid, ptr::null_mut(), 0, ptr::null_mut()) });
        let first = wait();
        if first.is_err() {
            wait()?;
        }
        first.map(drop)
    }))
}

fn sem_wait() -> io::Result<Op> {
    let semaphore = Arc::new(Semaphore::new());
    let posted = Arc::clone(&semaphore);
    let waker = Waker::start(
        || {},
        move || {
            // SAFETY: an initialized semaphore.
            let result = unsafe { libc::sem_post(posted.as_ptr()) };
            assert_eq!(result, 0, "it is far from its limit");
        },
    );
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        // SAFETY: an initialized semaphore.
        let wait = || check(unsafe { libc::sem_wait(semaphore.as_ptr()) });
        let first = wait();
        if first.is_err() {
            wait()?;
        }
        first.map(drop)
    }))
}

/// A queue of messages that is gone with the value.
struct Queue(i32);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; who waits on it is told.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, ptr::null_mut()) };
    }
}

#[repr(C)]
struct Message {
    kind: libc::c_long,
    text: [u8; 8],
}

/// The one of these that a handler interrupts in spite of `SA_RESTART`.
fn msgrcv() -> io::Result<Op> {
    // SAFETY: takes numbers only.
    let id = check(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) })?;
    let queue = Queue(id as i32);
    let id = queue.0;
    let waker = Waker::start(
        || {},
        move || {
            let message = Message {
                kind: 1,
                text: [7; 8],
            };
            // SAFETY: a kind and eight bytes, as said. The queue may be gone; then it is an error.
            unsafe { libc::msgsnd(id, (&raw const message).cast(), 8, 0) };
        },
    );
    Ok(Box::new(move |length| {
        let queue = &queue;
        waker.wake_after(length);
        let receive = || {
            let mut message = Message {
                kind: 0,
                text: [0; 8],
            };
            // SAFETY: room for a kind and eight bytes, as said.
            let result = unsafe { libc::msgrcv(queue.0, (&raw mut message).cast(), 8, 0, 0) };
            check(result as i64).map(|_| assert_eq!(message.text, [7; 8]))
        };
        let first = receive();
        if first.is_err() {
            receive()?;
        }
        first
    }))
}

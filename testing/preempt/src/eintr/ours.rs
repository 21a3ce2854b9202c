//! gort's own calls, and those of std that go on by themselves: no signal may show, and none may end
//! before its time.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::sys::Waker;
use super::timed::{connection, nanosleep, receive};
use super::{Call, Op, Shows};

pub(super) const CALLS: &[Call] = &[
    Call {
        name: "std thread::sleep",
        shows: Shows::Never,
        new: || Ok(whole(std::thread::sleep)),
    },
    Call {
        name: "std Condvar::wait_timeout",
        shows: Shows::Never,
        new: || Ok(whole(wait_timeout)),
    },
    Call {
        name: "std thread::park_timeout",
        shows: Shows::Never,
        new: || Ok(whole(std::thread::park_timeout)),
    },
    Call {
        name: "gort time::sleep",
        shows: Shows::Never,
        new: || Ok(whole(gort::time::sleep)),
    },
    Call {
        name: "gort read with a deadline",
        shows: Shows::Never,
        new: read_in_time,
    },
    Call {
        name: "gort read",
        shows: Shows::Never,
        new: read,
    },
    Call {
        name: "gort recv_timeout",
        shows: Shows::Never,
        new: receive_in_time,
    },
    Call {
        name: "gort blocking(nanosleep)",
        shows: Shows::Never,
        new: || Ok(Box::new(|length| gort::blocking(|| nanosleep(length)))),
    },
    Call {
        name: "gort blocking(recv)",
        shows: Shows::Never,
        new: || {
            let mut receive = receive()?;
            Ok(Box::new(move |length| gort::blocking(|| receive(length))))
        },
    },
];

/// A wait that must not end before its time.
fn whole(wait: fn(Duration)) -> Op {
    Box::new(move |length| {
        let start = Instant::now();
        wait(length);
        match start.elapsed() < length {
            true => Err(ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    })
}

fn wait_timeout(length: Duration) {
    let (lock, condition) = (Mutex::new(()), Condvar::new());
    let guard = lock.lock().expect("nobody else has it");
    drop(condition.wait_timeout(guard, length));
}

fn read_in_time() -> io::Result<Op> {
    let (near, far) = connection()?;
    let mut near = gort::net::TcpStream::from_std(near)?;
    Ok(Box::new(move |length| {
        let _open = &far;
        near.set_read_deadline(Some(Instant::now() + length))?;
        match near.read(&mut [0]) {
            Ok(_) => Err(io::Error::other("it ended before its time")),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
            Err(error) => Err(error),
        }
    }))
}

fn read() -> io::Result<Op> {
    let (near, mut far) = connection()?;
    let mut near = gort::net::TcpStream::from_std(near)?;
    let waker = Waker::start(|| {}, move || drop(far.write(&[7])));
    Ok(Box::new(move |length| {
        waker.wake_after(length);
        let mut byte = [0];
        assert_eq!(near.read(&mut byte)?, 1);
        assert_eq!(byte, [7]);
        Ok(())
    }))
}

fn receive_in_time() -> io::Result<Op> {
    let (sender, receiver) = gort::chan::bounded::<()>(0);
    Ok(Box::new(move |length| {
        let _open = &sender;
        let start = Instant::now();
        receiver
            .recv_timeout(length)
            .expect_err("nobody sends anything");
        match start.elapsed() < length {
            true => Err(ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }))
}

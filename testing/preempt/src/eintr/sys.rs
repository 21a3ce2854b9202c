//! What the rows of the lists share: reading results of system calls, and a thread that ends a call.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// The result of a call that gives -1 and errno.
pub(super) fn check(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The result of a call that gives an error number.
pub(super) fn check_number(number: i32) -> io::Result<()> {
    match number {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// Makes a success of the error by which a call says that its time is over.
pub(super) fn timed_out<T>(result: io::Result<T>, how: &[i32]) -> io::Result<()> {
    match result {
        Ok(_) => Err(io::Error::other("it ended before its time")),
        Err(error) if error.raw_os_error().is_some_and(|code| how.contains(&code)) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn timespec(length: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: length.as_secs() as _,
        tv_nsec: i64::from(length.subsec_nanos()) as _,
    }
}

pub(super) fn timeval(length: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: length.as_secs() as _,
        tv_usec: i64::from(length.subsec_micros()) as _,
    }
}

/// That long from now, on the clock that C's absolute timeouts are on.
pub(super) fn real_time_after(length: Duration) -> libc::timespec {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    timespec(since_epoch + length)
}

/// A plain thread that ends blocking calls.
#[derive(Debug)]
pub(super) struct Waker {
    ask: SyncSender<Duration>,
    is_ready: Receiver<()>,
}

impl Waker {
    /// For each request it calls `prepare`, waits, and calls `wake`.
    pub(super) fn start(
        mut prepare: impl FnMut() + Send + 'static,
        mut wake: impl FnMut() + Send + 'static,
    ) -> Waker {
        let (ask, asked) = sync_channel::<Duration>(1);
        let (ready, is_ready) = sync_channel(1);
        thread::spawn(move || {
            for length in asked {
                prepare();
                if ready.send(()).is_err() {
                    return;
                }
                // waits: the other side is to be blocked for that long; nothing depends on it.
                thread::sleep(length);
                wake();
            }
        });
        Waker { ask, is_ready }
    }

    /// Has the call that follows ended after `length`. Everything is prepared when this returns.
    pub(super) fn wake_after(&self, length: Duration) {
        self.ask
            .send(length)
            .expect("the thread lives as long as we");
        self.is_ready
            .recv()
            .expect("the thread lives as long as we");
    }
}

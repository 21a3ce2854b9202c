//! One of the three descriptors that a process begins with: waiting until it is ready.
//!
//! The open file behind it belongs to others as well, so its mode is left alone: whoever wants to read or
//! write parks here until the call would return, and then makes it. If another process is faster
//! meanwhile, the call blocks its thread; sysmon takes the P away then, as in any blocking call.
//!
//! Files and `/dev/null` never let anybody wait in the poller: a call to them is mostly over at once, and is
//! made as `fs` makes its short ones, with the P. To hand that off would cost ten times the call, and
//! who prints would fall behind whoever starts those who print.
//!
//! The poller watches a duplicate. A program may put another file behind the number at any time
//! (`dup2`), so it is compared before each wait.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use gort_core::netpoll::Direction;
use gort_core::os::as_std;
use gort_core::sched;

use crate::context;
use crate::fd::{Fd, Kind};
use crate::sync::Mutex;

/// Watches the file behind a standard stream.
pub(super) struct Inherited {
    watched: Mutex<Option<(Identity, Arc<Fd>)>>,
}

/// The device and number of a file.
type Identity = (u64, u64);

impl Inherited {
    pub(super) const fn new() -> Inherited {
        Inherited {
            watched: Mutex::new(None),
        }
    }

    /// Calls `f`, which reads from or writes to `stream`, when it would not wait: with what is known of that.
    #[track_caller]
    pub(super) fn when_ready<T>(
        &self,
        stream: &impl AsFd,
        direction: Direction,
        mut f: impl FnMut(Readiness) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let result = match self.wait(stream, direction)? {
                // One that is non-blocking says so: there is nothing to wait for it by.
                Readiness::Unknown => return sched::blocking(|| f(Readiness::Unknown)),
                readiness => f(readiness),
            };
            match result {
                // Somebody else has made the file non-blocking, and was faster.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Whether calls to `stream` need not be announced one by one: it is a file, or a device like
    /// `/dev/null`.
    pub(super) fn is_always_ready(&self, stream: &impl AsFd) -> bool {
        self.fd(stream)
            .is_ok_and(|fd| matches!(fd.always_ready(), Ok(Some(_))))
    }

    /// Input obeys the current context. Output does not: it is mostly meant to say why something has ended.
    #[track_caller]
    fn wait(&self, stream: &impl AsFd, direction: Direction) -> io::Result<Readiness> {
        if direction == Direction::Read {
            context::current::check()?;
        }
        let Ok(fd) = self.fd(stream) else {
            // Closed, or too few descriptors or too little memory for a duplicate that is watched: the call
            // itself may go better, or will say why not.
            return Ok(Readiness::Unknown);
        };
        if fd.always_ready()?.is_some() {
            return Ok(Readiness::Always);
        }
        let look = || fd.retry(direction, |fd_now| fd.look(fd_now, direction));
        match direction {
            Direction::Read => look()?,
            Direction::Write => context::background().enter(look)?,
        };
        Ok(Readiness::Announced)
    }

    /// The duplicate that is watched, of the file that is behind `stream` now. If there can be none it is tried
    /// again with the next call, as a shortage passes.
    fn fd(&self, stream: &impl AsFd) -> io::Result<Arc<Fd>> {
        let stream = stream.as_fd();
        let metadata = as_std(stream, |file: &File| file.metadata())?;
        let identity = (metadata.dev(), metadata.ino());
        let mut watched = self.watched.lock();
        if let Some((known, fd)) = &*watched
            && *known == identity
        {
            return Ok(Arc::clone(fd));
        }
        // That of another file ends now, whatever comes of the new one.
        *watched = None;
        let fd = Arc::new(Fd::borrow(stream.try_clone_to_owned()?, Kind::File)?);
        *watched = Some((identity, Arc::clone(&fd)));
        Ok(fd)
    }
}

/// Whether a call may have to wait for others.
#[derive(Clone, Copy)]
pub(super) enum Readiness {
    /// It returns at once, unless another process is faster.
    Announced,
    /// It does not: what is behind the stream is a file, or a device like `/dev/null`.
    Always,
    /// There is no telling.
    Unknown,
}

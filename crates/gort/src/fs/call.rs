//! How a call into the file system is made, and how many at once.
//!
//! | way       | the P                    | counts | for                                               |
//! |-----------|--------------------------|--------|---------------------------------------------------|
//! | `short`   | kept; sysmon may take it | yes    | what the page cache and the name cache answer     |
//! | `long`    | handed off at once       | yes    | what goes to the disk by its nature: `sync_all`   |
//! | `endless` | handed off at once       | no     | what waits for somebody: FIFOs, terminals, events |
//!
//! *Short* is the rule, as in Go. Measured with `examples/file_cost.rs`, 4 KiB from the page cache, ns a
//! read (2 processors, Linux 6.18; medians of three runs, with real-time priority):
//!
//! |                                          | 1 P   | 1 P, 2 more want it | 2 Ps | 2 Ps, 2 more |
//! |------------------------------------------|-------|---------------------|------|--------------|
//! | as a plain call                          | 457   | 896                 | 370  | 430          |
//! | with a place among the calls (`short`)   | 435   | 930                 | 394  | 398          |
//! | `preadv2` with `RWF_NOWAIT`, which says if the disk is needed | 694 | 1,088   | 549  | 681          |
//! | handed off (`long`)                      | 7,812 | 8,395               | 543  | 8,009        |
//!
//! A thread that does sleep in such a call loses its P to sysmon, if anybody wants that P: within 0.1 ms
//! (median) if sysmon was about, 10.7 ms at most if it slept deepest. Handing off would cost each cached read
//! ten times its time to save others that wait on a read from the disk, itself 0.1 to 10 ms.
//!
//! Those that count are at most `Config::blocking_threads`, and so are the threads that they block: a
//! goroutine beyond that parks, first come, first served. What may wait for another call to be made
//! must not count, for that one might have to wait for its place: 512 readers of FIFOs and no writer. Plain threads
//! do not count: they have their thread already.
//!
//! Checked by `tests/blocking_threads.rs` and `tests/fs`.
#![forbid(unsafe_code)]

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::LazyLock;

use gort_core::{g, runtime, sched};

use crate::sync::raw_semaphore::PERMITS_MAX;
use crate::sync::{Permit, Semaphore};

/// The places of those that count.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new((runtime::blocking_threads() as u64).min(PERMITS_MAX)));

/// A place among the calls, for goroutines.
#[track_caller]
fn place() -> Option<Permit<'static>> {
    g::current_goroutine()?;
    // A call into the runtime is a place to yield, if the slice is used up.
    sched::checkpoint();
    Some(PLACES.acquire(1))
}

/// Makes a call that is mostly over at once. See the module's header.
#[track_caller]
pub(super) fn short<R>(call: impl FnOnce() -> R) -> R {
    let _place = place();
    call()
}

/// Makes a call that goes to the disk.
#[track_caller]
pub(super) fn long<R>(call: impl FnOnce() -> R) -> R {
    let _place = place();
    sched::blocking(call)
}

/// Makes a call that may wait for somebody else for ever.
#[track_caller]
pub(super) fn endless<R>(call: impl FnOnce() -> R) -> R {
    sched::blocking(call)
}

/// Makes a call that opens the file at `path`: in the way that befits what is there. That may be something
/// else a moment later, and then the call counts while it waits.
#[track_caller]
pub(super) fn opening<R>(path: &Path, call: impl FnOnce() -> R) -> R {
    enum Outcome<F, R> {
        Done(R),
        WouldWait(F),
    }
    let attempt = short(|| match std::fs::metadata(path) {
        Ok(metadata) if is_endless(metadata.file_type()) => Outcome::WouldWait(call),
        _ => Outcome::Done(call()),
    });
    match attempt {
        Outcome::Done(result) => result,
        Outcome::WouldWait(call) => endless(call),
    }
}

/// Whether calls on such a file may wait for somebody else: on all that is not stored on a disk. That is FIFOs,
/// sockets, terminals and as their like all character devices; and what is of none of the types there are, such as
/// descriptors of events, timers and signals.
pub(super) fn is_endless(kind: FileType) -> bool {
    !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_block_device())
}

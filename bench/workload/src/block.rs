//! Calls that block their thread and that nobody announced to the runtime: what any library does.
//!
//! The calls are the same ordinary ones of std in all Rust twins, so they stand here. The twins start
//! goroutines, each of which makes one, and a ticker beside them.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::lateness::{GRACE, TICK};
use crate::{Case, Lateness, Measured, Workload};

/// How many goroutines block at once.
pub const BLOCKERS: usize = 64;

/// The blocking calls of one run.
#[derive(Debug)]
pub struct Blocking {
    start: Instant,
    how: How,
    length: Duration,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    ended: AtomicUsize,
    took: OnceLock<Duration>,
}

#[derive(Debug)]
enum How {
    /// `read` of a pipe that is empty.
    Read(Vec<(PipeReader, PipeWriter)>),
    Sleep,
    /// A std mutex that an OS thread holds.
    Lock(Mutex<usize>),
}

impl Blocking {
    /// Runs a `block_` workload. `spawn_ticker` starts a goroutine that serves the ticks and `spawn`
    /// one that runs what it is given; this thread, which must be none of the runtime's, holds the
    /// lock, feeds the pipes, and waits.
    pub fn run(
        case: &Case,
        spawn_ticker: impl FnOnce(Arc<Lateness>),
        mut spawn: impl FnMut(Box<dyn FnOnce() + Send>),
    ) -> Measured {
        let how = match case.workload {
            Workload::BlockRead => {
                let pipes = (0..BLOCKERS).map(|_| io::pipe().expect("descriptors for 64 pipes"));
                How::Read(pipes.collect())
            }
            Workload::BlockSleep => How::Sleep,
            Workload::BlockLock => How::Lock(Mutex::new(0)),
            other => unreachable!("{} blocks nothing", other.name()),
        };
        let blocking = Arc::new(Blocking {
            start: Instant::now(),
            how,
            length: TICK * case.n as u32,
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            took: OnceLock::new(),
        });
        let held = match &blocking.how {
            How::Lock(lock) => Some(lock.lock().expect("nobody had it yet")),
            _ => None,
        };
        let lateness = Lateness::start(case.n);
        spawn_ticker(Arc::clone(&lateness));
        for index in 0..BLOCKERS {
            let blocking = Arc::clone(&blocking);
            spawn(Box::new(move || blocking.call(index)));
        }
        blocking.wait_until(|| blocking.inside.load(Ordering::Relaxed) == BLOCKERS);
        lateness.wait();
        // Before the calls end, as the ticker may go on then.
        let measured = lateness.measured();
        drop(held);
        if let How::Read(pipes) = &blocking.how {
            for (_, writer) in pipes {
                let mut writer = writer;
                writer.write_all(&[7]).expect("the pipe is empty");
            }
        }
        blocking.wait_until(|| blocking.ended.load(Ordering::Acquire) == BLOCKERS);
        blocking.measured(measured)
    }

    fn call(&self, index: usize) {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_inside.fetch_max(inside, Ordering::Relaxed);
        match &self.how {
            How::Read(pipes) => {
                let mut reader = &pipes[index].0;
                let mut byte = [0];
                reader.read_exact(&mut byte).expect("the writer is open");
                assert_eq!(byte, [7]);
            }
            How::Sleep => thread::sleep(self.length),
            How::Lock(lock) => *lock.lock().expect("no panic under the lock") += 1,
        }
        self.inside.fetch_sub(1, Ordering::Relaxed);
        if self.ended.fetch_add(1, Ordering::AcqRel) + 1 == BLOCKERS {
            self.took
                .set(self.start.elapsed())
                .expect("only one is the last");
        }
    }

    /// Waits for it until [`GRACE`] after the calls should have ended.
    fn wait_until(&self, condition: impl Fn() -> bool) {
        while !condition() && self.start.elapsed() < self.length + GRACE {
            thread::sleep(TICK);
        }
    }

    fn measured(&self, measured: Measured) -> Measured {
        let too_late = self.length + GRACE;
        let took = self.took.get().filter(|took| **took < too_late);
        if let (Some(_), How::Lock(lock)) = (took, &self.how) {
            let locked = *lock.lock().expect("no panic under the lock");
            assert_eq!(locked, BLOCKERS, "each had the lock once");
        }
        measured
            .with("overlap", self.most_inside.load(Ordering::Relaxed) as f64)
            .with(
                "wall_ms",
                took.map_or(f64::INFINITY, |took| took.as_secs_f64() * 1e3),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(workload: Workload, spawn: impl FnMut(Box<dyn FnOnce() + Send>)) -> String {
        let case = Case {
            workload,
            procs: 1,
            n: 20,
        };
        let ticker = |lateness: Arc<Lateness>| {
            thread::spawn(move || while lateness.serve() {});
        };
        format!("{:?}", Blocking::run(&case, ticker, spawn))
    }

    #[test]
    fn threads_block_all_at_once() {
        for workload in [
            Workload::BlockRead,
            Workload::BlockSleep,
            Workload::BlockLock,
        ] {
            let line = line(workload, |call| {
                thread::spawn(call);
            });
            assert!(line.contains(r#"("served", 20.0)"#), "{line}");
            assert!(!line.contains("inf"), "{line}");
        }
    }

    #[test]
    fn calls_one_after_another_do_not_overlap() {
        let line = line(Workload::BlockSleep, |call| call());
        assert!(line.contains(r#"("overlap", 1.0)"#), "{line}");
    }
}

//! Ends a run that hangs, with all goroutines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long there may be no progress. Far more than anything here takes on a loaded machine.
const STALL: Duration = Duration::from_secs(30);

static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// Says that the run goes on.
pub(crate) fn progress() {
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// Watches from a plain thread, which no goroutine can hold up.
pub(crate) fn start(limit: Duration) {
    let start = Instant::now();
    thread::spawn(move || {
        let mut last = (0, start);
        loop {
            // waits: the watcher looks now and then; nothing depends on the length.
            thread::sleep(Duration::from_millis(100));
            let now = PROGRESS.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            }
            if last.1.elapsed() > STALL {
                give_up(&format!("no progress for {STALL:?}"));
            }
            if start.elapsed() > limit {
                give_up(&format!("not done within {limit:?}"));
            }
        }
    });
}

fn give_up(why: &str) -> ! {
    // If what follows hangs too, the kernel ends us.
    // SAFETY: no preconditions; SIGALRM is not handled.
    unsafe { libc::alarm(10) };
    eprintln!("{why}; {:?}", gort::runtime::metrics());
    crate::mark::report();
    eprintln!("{}", gort::runtime::stacks());
    std::process::abort()
}

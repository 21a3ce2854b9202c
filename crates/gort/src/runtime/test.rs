//! What `#[gort::test]` makes of a test: a group of its own, a deadline, a look at what it leaves behind.

use std::panic;
use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use gort_core::sched::join::Outcome;
use gort_core::sched::{self, SpawnOptions};
use gort_core::{clock, hang, runtime as core, snapshot};

use super::set_gomaxprocs;

/// What `#[gort::test]` was given.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct TestOptions {
    pub name: &'static str,
    pub procs: Option<usize>,
    pub timeout: Option<Duration>,
    pub allow_leaks: bool,
    pub seed: Option<u64>,
}

/// How long a test may take that sets no timeout.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether a test hangs.
const HANG_LOOKS: Duration = Duration::from_millis(100);
/// For how long goroutines of a test may still be ending after its body: goleak's 20 looks with
/// growing pauses, and more for a machine that has other things to do.
const SETTLE: Duration = Duration::from_secs(5);

/// Tests that change what there is one of run alone; the others share the runtime.
static RUNTIME_LOCK: RwLock<()> = RwLock::new(());

/// The runtime as one test wants it, and set back when that is over.
enum Hold {
    Shared(
        #[expect(dead_code, reason = "held until the test is over")] RwLockReadGuard<'static, ()>,
    ),
    Alone {
        old_procs: Option<usize>,
        old_seed: Option<Option<u64>>,
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

impl Hold {
    fn for_test(options: &TestOptions) -> Hold {
        if options.procs.is_none() && options.seed.is_none() {
            let guard = RUNTIME_LOCK.read();
            return Hold::Shared(guard.unwrap_or_else(|poisoned| poisoned.into_inner()));
        }
        let guard = RUNTIME_LOCK.write();
        let old_procs = options.procs.map(set_gomaxprocs);
        // Others would take part for a moment.
        core::await_retirement();
        Hold::Alone {
            old_procs,
            old_seed: options.seed.map(|seed| core::shake(Some(seed))),
            _guard: guard.unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Hold::Alone {
            old_procs,
            old_seed,
            ..
        } = self
        else {
            return;
        };
        if let Some(seed) = *old_seed {
            core::shake(seed);
        }
        if let Some(procs) = *old_procs {
            set_gomaxprocs(procs);
        }
    }
}

/// Runs the body of a `#[gort::test]` function: in a group of its own, with a deadline, and with a look
/// at what it left behind.
#[doc(hidden)]
#[track_caller]
pub fn run_test<T: Termination + 'static>(options: TestOptions, body: fn() -> T) -> ExitCode {
    static GROUPS: AtomicU32 = AtomicU32::new(1);
    let group = GROUPS.fetch_add(1, Ordering::Relaxed);
    core::ensure_started();
    // Before it waits for the others: while it does, it wakes none of their goroutines.
    let harness = hang::Harness::new();
    let _hold = Hold::for_test(&options);
    let timeout = options.timeout.unwrap_or(TEST_TIMEOUT);
    let seed = options.seed;
    let spawned = sched::spawn(
        move || {
            if seed.is_some() {
                // Once more: those who end from before may have thrown the dice.
                core::shake(seed);
            }
            body().report()
        },
        SpawnOptions {
            stack_bytes: Some(core::MAIN_STACK_BYTES),
            name: Some(options.name.to_owned()),
            group: Some(group),
            ..SpawnOptions::new()
        },
    );
    let handle = match spawned {
        Ok(handle) => handle,
        Err(error) => panic!("cannot start the test's goroutine: {error}"),
    };
    let outcome = match wait_for_test(handle, hang::Watch::new(group, &harness), timeout) {
        Ok(outcome) => outcome,
        Err(hang) => panic!(
            "{} {hang}; its goroutines:\n\n{}",
            options.name,
            crate::dump::of_group(group)
        ),
    };
    let code = match outcome {
        Outcome::Returned(code) => code,
        Outcome::Panicked(payload) => panic::resume_unwind(payload),
        Outcome::Exited => panic!("{} called goexit in its body", options.name),
    };
    if !options.allow_leaks {
        check_leaks(options.name, group);
    }
    code
}

/// Waits for the end of a test's body; the error says how it hangs.
fn wait_for_test<T>(
    mut handle: sched::JoinHandle<T>,
    mut watch: hang::Watch,
    timeout: Duration,
) -> Result<Outcome<T>, String> {
    let deadline = clock::deadline_after(timeout);
    loop {
        let look_at = clock::deadline_after(HANG_LOOKS).min(deadline);
        handle = match handle.join_until(look_at) {
            Ok(outcome) => return Ok(outcome),
            Err(running) => running,
        };
        if watch.hangs() {
            return Err("hangs: all its goroutines wait, and nothing is left to wake one".into());
        }
        if clock::now_ns() >= deadline {
            return Err(format!("has not ended after {timeout:?}"));
        }
    }
}

/// Fails if members of the group are still there after a while.
#[track_caller]
fn check_leaks(name: &str, group: u32) {
    let deadline = Instant::now() + SETTLE;
    let mut pause = Duration::from_micros(10);
    loop {
        // Whoever stands still here looks once more after it.
        let is_last = Instant::now() >= deadline;
        let left = snapshot::goroutines()
            .iter()
            .filter(|g| g.group == group)
            .count();
        if left == 0 {
            return;
        }
        if is_last {
            panic!(
                "{name} left {left} goroutine(s) behind:\n\n{}",
                crate::dump::of_group(group)
            );
        }
        // On the test's plain thread: looks again and again, until the deadline.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

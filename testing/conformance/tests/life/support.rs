//! What the cases share: waiting for conditions, sizes, a look at the process.

use std::fmt::Display;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use gort::runtime::TlsMode;

/// How long a condition may take to come about.
const HUNG: Duration = Duration::from_secs(60);

/// Waits until `is_true`, letting others run meanwhile.
#[track_caller]
pub(crate) fn until(what: impl Display, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(
            start.elapsed() < HUNG,
            "never came about: {what}\n{}",
            gort::runtime::stacks()
        );
        gort::yield_now();
        thread::yield_now();
    }
}

/// Whether goroutines have stacks of their own. In thread mode each is an OS thread.
pub(crate) fn has_own_stacks() -> bool {
    gort::runtime::metrics().tls_mode == TlsMode::Own
}

/// A number of goroutines: `own` with stacks of their own, `threads` if each is an OS thread, `long`
/// in a long run (`GORT_TEST_LONG=1`).
pub(crate) fn sized(own: usize, threads: usize, long: usize) -> usize {
    match (has_own_stacks(), env::var_os("GORT_TEST_LONG")) {
        (false, _) => threads,
        (true, None) => own,
        (true, Some(_)) => long,
    }
}

/// The names of the process's threads.
pub(crate) fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// The sum over all threads but the calling one of what `of` finds in a file of theirs in /proc.
pub(crate) fn sum_of_threads(file: &str, of: impl Fn(&str) -> u64) -> u64 {
    let own = fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let own = own.file_name().expect("…/task/<tid>").to_owned();
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .map(|task| task.expect("a folder that can be read"))
        .filter(|task| task.file_name() != own)
        .filter_map(|task| fs::read_to_string(task.path().join(file)).ok())
        .map(|text| of(&text))
        .sum()
}

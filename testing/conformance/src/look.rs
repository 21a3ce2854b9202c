//! What cases do and ask again and again: waiting for conditions, choosing sizes, looking at goroutines
//! and threads.

use std::fmt::Display;
use std::time::{Duration, Instant};
use std::{fs, thread};

use gort::runtime::TlsMode;
use gort_core::snapshot::{self, Goroutine};
use gort_core::wait_reason::WaitReason;
pub use gort_test_support::{is_long, patience, scaled};

/// How long a condition may take to come about.
const HUNG: Duration = Duration::from_secs(60);

/// Waits until `is_true`, letting others run meanwhile.
#[track_caller]
pub fn until(what: impl Display, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        // The last look comes after the deadline.
        let is_last = start.elapsed() >= patience(HUNG);
        if is_true() {
            return;
        }
        assert!(
            !is_last,
            "never came about: {what}\n{}",
            gort::runtime::stacks()
        );
        gort::yield_now();
        thread::yield_now();
    }
}

/// Repeats a case about an order until nothing disturbed it. What disturbs is that a turn is taken from a goroutine,
/// as its thread sleeps, say: that is counted. And that a slice passes, on a busy machine while nothing runs: its
/// goroutine is sent to the end of the line. Nobody counts that; it does not happen to a case shorter than a slice.
#[track_caller]
pub fn undisturbed<T>(mut case: impl FnMut() -> T) -> T {
    const SLICE: Duration = Duration::from_millis(10);
    let begin = Instant::now();
    loop {
        let is_last = begin.elapsed() >= patience(HUNG);
        let before = turns_taken();
        // Begins a slice.
        gort::yield_now();
        let start = Instant::now();
        let result = case();
        let elapsed = start.elapsed();
        if elapsed < SLICE && turns_taken() == before {
            return result;
        }
        assert!(
            !is_last,
            "the machine is too busy for a case about an order: {elapsed:?} the last time"
        );
    }
}

/// How often a goroutine lost its turn so far, before its slice was over or after.
fn turns_taken() -> u64 {
    let metrics = gort::runtime::metrics();
    metrics.retakes + metrics.preemptions
}

/// Whether goroutines have stacks of their own. In thread mode each is an OS thread.
pub fn has_own_stacks() -> bool {
    gort::runtime::metrics().tls_mode == TlsMode::Own
}

/// A number of goroutines: `own` with stacks of their own, `threads` if each is an OS thread, `long`
/// in a [long run](is_long).
pub fn sized(own: usize, threads: usize, long: usize) -> usize {
    match has_own_stacks() {
        false => threads,
        true => scaled(own, long),
    }
}

/// The names of the process's threads.
pub fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// The sum over all threads but the calling one of what `of` finds in a file of theirs in /proc.
pub fn sum_of_threads(file: &str, of: impl Fn(&str) -> u64) -> u64 {
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

/// What is known of the goroutine; `None` before its start and after its end.
pub fn goroutine(id: gort::GoroutineId) -> Option<Goroutine> {
    snapshot::goroutines()
        .into_iter()
        .find(|goroutine| goroutine.id == id.as_u64())
}

/// Waits until the goroutine is parked for `reason`.
#[track_caller]
pub fn until_waiting<T>(handle: &gort::JoinHandle<T>, reason: WaitReason) {
    let id = handle.goroutine().id();
    until(format_args!("goroutine {id} in {reason}"), || {
        goroutine(id).is_some_and(|goroutine| goroutine.wait_reason == Some(reason))
    });
}

/// Stacks that were made so far, in use or free; their address space is never given back.
pub fn stacks_made() -> usize {
    let classes = gort_core::runtime::report().stacks.classes;
    classes.iter().map(|class| class.slots).sum()
}

/// A line of /proc/self/status as a number.
pub fn status(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{name} in /proc/self/status"))
}

//! Which of several copies of a thing the caller uses, so that those who run at once use different
//! ones: a stripe per P.
//!
//! The answer is a hint. The caller may be on another P by the time it uses it, so what it uses must be
//! safe to share; it is only faster not to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gort_core::runtime;

/// As many as processors could be of use for; memory per map and pool is a multiple of it.
const COUNT_MAX: usize = 32;

/// How many stripes there are: the same for all callers, a power of two, as many as there were Ps or
/// processors when somebody asked first.
#[inline]
pub(super) fn count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    #[cold]
    fn settle() -> usize {
        let procs = runtime::gomaxprocs() as usize;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = procs
            .max(processors)
            .clamp(1, COUNT_MAX)
            .next_power_of_two();
        // Later callers may see other numbers; the first answer stays.
        match COUNT.compare_exchange(0, count, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => count,
            Err(earlier) => earlier,
        }
    }
    match COUNT.load(Ordering::Relaxed) {
        0 => settle(),
        count => count,
    }
}

/// The caller's stripe, below [`count`].
#[inline]
pub(super) fn current() -> usize {
    let index = match runtime::current_p() {
        Some(index) => index as usize,
        None => of_thread(),
    };
    // A power of two.
    index & (count() - 1)
}

/// A number that plain threads differ in: where their stacks are. Two MiB apart, by default.
#[inline]
fn of_thread() -> usize {
    let here = 0u8;
    (&raw const here).addr() >> 21
}

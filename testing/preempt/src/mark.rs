//! What a goroutine says it is doing, and how often it was preempted meanwhile.
//!
//! The mark is a thread-local of the goroutine's. The signal handler runs on the goroutine's
//! thread-locals as well, so whoever is about to wait in it can be asked.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, compiler_fence};

use gort_core::g::GRef;

/// Something a goroutine can be in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// Nothing of the following.
    Elsewhere,
    /// malloc, free, realloc.
    Malloc,
    /// Printing with std, whose lock it holds.
    Stdout,
    /// Printing with C's stdio, whose lock it holds.
    Stdio,
    /// Holding a std mutex.
    StdLock,
    /// In a C function.
    Foreign,
}

impl Site {
    /// Those that are to be hit.
    pub(crate) const WANTED: [Site; 5] = [
        Site::Malloc,
        Site::Stdout,
        Site::Stdio,
        Site::StdLock,
        Site::Foreign,
    ];

    fn name(self) -> &'static str {
        match self {
            Site::Elsewhere => "elsewhere",
            Site::Malloc => "malloc and free",
            Site::Stdout => "std's stdout, locked",
            Site::Stdio => "C's stdio, locked",
            Site::StdLock => "a std mutex, held",
            Site::Foreign => "foreign C code",
        }
    }
}

thread_local! {
    /// No destructor and no initializer: the handler may read it at any instruction.
    static MARK: AtomicU8 = const { AtomicU8::new(Site::Elsewhere as u8) };
}

static HITS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Runs `f` under the mark.
pub(crate) fn during<T>(site: Site, f: impl FnOnce() -> T) -> T {
    set(site);
    let value = f();
    set(Site::Elsewhere);
    value
}

fn set(site: Site) {
    // The handler is on this thread: the compiler alone could move `f` across.
    compiler_fence(Ordering::SeqCst);
    MARK.with(|mark| mark.store(site as u8, Ordering::Relaxed));
    compiler_fence(Ordering::SeqCst);
}

/// Counts from now on.
pub(crate) fn observe() {
    gort_core::preempt::set_observer(observer);
}

/// Signal context: a goroutine, the one that is asked, is about to wait in the handler.
fn observer(_gp: GRef) {
    let mark = MARK.with(|mark| mark.load(Ordering::Relaxed));
    HITS[usize::from(mark)].fetch_add(1, Ordering::Relaxed);
}

/// How often a goroutine was preempted there.
pub(crate) fn hits(site: Site) -> u64 {
    HITS[site as usize].load(Ordering::Relaxed)
}

/// How often goroutines were preempted, wherever they were.
pub(crate) fn all_hits() -> u64 {
    HITS.iter().map(|hits| hits.load(Ordering::Relaxed)).sum()
}

/// Prints the counts so far.
pub(crate) fn report() {
    for site in [Site::Elsewhere].into_iter().chain(Site::WANTED) {
        eprintln!("{:>9} preemptions in {}", hits(site), site.name());
    }
}

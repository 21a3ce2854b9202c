//! What was decided at start and is read on hot paths. Written once, by `runtime::start`.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use gort_arch::stack::Class;

/// Set after everything else (release).
static STAGE: AtomicU8 = AtomicU8::new(NOT_STARTED);
const NOT_STARTED: u8 = 0;
const OPEN: u8 = 1;
const SHUT: u8 = 2;

static OWN_TLS: AtomicBool = AtomicBool::new(false);
static PANICS_ABORT: AtomicBool = AtomicBool::new(false);
static STALL_LOG: AtomicBool = AtomicBool::new(false);
static DEFAULT_CLASS: AtomicU8 = AtomicU8::new(0);

pub(crate) fn set(own_tls: bool, class: Class, panics_abort: bool) {
    OWN_TLS.store(own_tls, Ordering::Relaxed);
    DEFAULT_CLASS.store(class.index() as u8, Ordering::Relaxed);
    PANICS_ABORT.store(panics_abort, Ordering::Relaxed);
}

pub(crate) fn set_stall_log(on: bool) {
    STALL_LOG.store(on, Ordering::Relaxed);
}

/// Whether each place where goroutines held a P past their slice is reported on stderr (`GORT_STALL=log`).
pub(crate) fn stall_log() -> bool {
    STALL_LOG.load(Ordering::Relaxed)
}

pub(crate) fn set_started() {
    STAGE.store(OPEN, Ordering::Release);
}

/// From here on only the runtime's own goroutines are started.
pub(crate) fn set_shut() {
    STAGE.store(SHUT, Ordering::SeqCst);
}

/// In the child of a fork: nothing can be started any more.
pub(crate) fn set_stopped() {
    STAGE.store(NOT_STARTED, Ordering::Relaxed);
}

/// Whether the runtime runs.
#[inline]
pub(crate) fn is_started() -> bool {
    STAGE.load(Ordering::Acquire) != NOT_STARTED
}

/// Whether it runs and takes new goroutines.
#[inline]
pub(crate) fn is_open() -> bool {
    STAGE.load(Ordering::Acquire) == OPEN
}

/// Whether goroutines have stacks and TLS blocks of their own (else each has a thread).
#[inline]
pub(crate) fn has_own_tls() -> bool {
    OWN_TLS.load(Ordering::Relaxed)
}

/// Whether a panic in a goroutine ends the process.
pub(crate) fn panics_abort() -> bool {
    PANICS_ABORT.load(Ordering::Relaxed)
}

/// The class of stacks whose goroutine asks for no size.
#[inline]
pub(crate) fn default_class() -> Class {
    let index = usize::from(DEFAULT_CLASS.load(Ordering::Relaxed));
    Class::from_index(index).expect("an index is stored only from a class")
}

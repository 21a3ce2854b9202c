//! Channels and select. Sizes are Go's short ones; `GORT_TEST_LONG=1` has the long ones.

mod channels;
mod first;
// It has an allocator of its own.
#[cfg(not(gort_audit))]
mod heap;
mod pairs;
mod seeds;
mod select;
mod select_stress;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::runtime::TlsMode;
use gort_conformance::look::scaled;

/// How many goroutines a case may have: where each has an OS thread, 10,000 are too many.
fn goroutines_max() -> usize {
    match gort::runtime::metrics().tls_mode {
        TlsMode::Own => usize::MAX,
        TlsMode::Thread => 4000,
    }
}

/// Counts the drops of its clones, each as one value.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

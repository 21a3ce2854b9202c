//! `gort::context` as its users see it; what Go has no tests for.

mod chaos;
// The audited build has an allocator of its own.
#[cfg(not(gort_audit))]
mod memory;
mod obeying;
mod using;

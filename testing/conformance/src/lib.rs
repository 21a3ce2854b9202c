//! What the conformance cases share. The cases are in `tests/`, one file or folder per area.

pub mod child;
pub mod look;
pub mod support;

//! The conformance suite has its cases in `tests/`, one file or folder per area.

pub mod support;

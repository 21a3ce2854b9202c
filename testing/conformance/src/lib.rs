//! The conformance suite has its cases in `tests/`, one file or folder per area.

pub mod support;
//! What the conformance cases share. The cases are in `tests/`, one file or folder per area.

pub mod child;

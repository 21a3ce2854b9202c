//! `gort::chan`, named `crossbeam_channel`.
//!
//! crossbeam-channel's tests compile against this crate without a line of them changed. Nothing is
//! added or adapted: what they find here is what users of gort find.

pub use gort::chan::*;

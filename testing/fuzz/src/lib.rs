//! Random programs against plain models: which histories did we not think of?
//!
//! A program is a string of bytes, read as decisions: which goroutine or future does what next, on which
//! channel. So a seed makes one (`program`), and so could a fuzzer that mutates bytes. Only one thing happens
//! at a time: after each step all goroutines have finished their operation or are parked in it. Therefore a
//! model with no concurrency at all says what must have come of each step, and the first difference is
//! reported with the steps that led to it.
//!
//! * `channels`: sends, receives, selects, closes, by goroutines that park and by futures that are polled and
//!   dropped, on channels of several capacities. The model is in `channel_model`.
//! * `timers`: timers and tickers that are stopped, set anew, received from and dropped.
//!
//! Where gort chooses at random (a select with several arms ready) the model takes over its choice, after
//! checking that it was one.
//!
//! Not in the models: `Select::ready`, selects of futures that send, and operations that time out.
//!
//! Elsewhere: what happens at the same time (`gort-stress`, `gort-model`). Run by `tests/fixed.rs` with a fixed
//! number of seeds, and by the program `gort-fuzz` for as long as one likes.

#![forbid(unsafe_code)]

mod channel_model;
pub mod channels;
mod decisions;
mod polled;
pub mod timers;

pub use decisions::{Decisions, program};

//! `gort::process` as its users see it: what std's commands and children do, from goroutines and plain threads;
//! and who waits for whom.

mod commands;
mod support;
mod unix;
mod waiting;

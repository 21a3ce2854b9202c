//! `gort::signal` as its users see it. Signals are the process's: each case has one of its own, or a process.
//! Programs that die by signals are in `testing/crash`.

mod actions;
mod chained;
mod contexts;
mod subscriptions;
mod support;

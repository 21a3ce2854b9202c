//! `gort::sync` as its users see it, from goroutines and plain threads; what Go has no tests for.

mod condvar;
mod groups;
mod locks;
mod map;
mod mpsc;
mod once;
mod others;

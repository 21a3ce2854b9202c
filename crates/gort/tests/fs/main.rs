//! `gort::fs` as its users see it: what std's functions do, from goroutines; and who waits for whom.

mod files;
mod locks;
mod support;
mod waiting;

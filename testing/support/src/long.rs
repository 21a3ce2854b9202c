//! Long runs: `GORT_TEST_LONG=1` asks for the sizes of the cases, which take minutes. Everyday runs have smaller ones.

use std::env;
use std::time::Duration;

/// Whether this is a long run.
pub fn is_long() -> bool {
    env::var_os("GORT_TEST_LONG").is_some()
}

/// The size of an everyday run, or of a long one.
pub fn scaled(everyday: usize, long: usize) -> usize {
    if is_long() { long } else { everyday }
}

/// How long to wait for what comes about within `everyday`; ten times that in a long run.
pub fn patience(everyday: Duration) -> Duration {
    everyday * if is_long() { 10 } else { 1 }
}

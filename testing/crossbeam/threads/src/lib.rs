//! Nothing: this package is a place for crossbeam-channel's tests, run from plain threads.

//! `gort::io` as users call it, from goroutines and from plain threads.

mod pipe;
mod stdio;
#[path = "../net/support.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of sockets, which use all of it"
)]
mod support;

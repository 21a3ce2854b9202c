//! `gort::net` as users call it: what std's sockets do, and what ours do beyond that, from goroutines
//! and from plain threads. Go's semantics have their own suite (`testing/conformance`).

mod conversions;
mod errors;
mod pipe;
mod shortage;
mod support;
mod udp;
mod unix;
mod waiting;

//! The network, case by case: SEEDS.md section 20 (S147 to S159), S89, D18, D22, and the NE cases but NE26
//! (which is `poll_fd`'s), which are Go's own tests in our words.
//!
//! Only loopback addresses are used. A case that looks at the whole process (its descriptors,
//! threads, memory) runs in one of its own; see `support::alone`.

mod body;
mod conn;
mod datagram;
mod memory;
mod pipe;
mod seeds;
mod support;
mod timeout;
mod traffic;
mod unix;

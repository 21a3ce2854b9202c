//! Stacks, thread-local blocks and the switch between them. `pub` for the other crates of gort only.

//! The scheduler. `pub` for the other crates of gort only.

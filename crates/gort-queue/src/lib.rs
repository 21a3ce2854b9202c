//! Structures that two threads race on. `pub` for the other crates of gort only.

//! Attribute macros of gort.

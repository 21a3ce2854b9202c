//! The life of a program and of its goroutines, case by case: SEEDS.md sections 1 (S2 to S5), 4, 5, 8,
//! 9 and 11, and the SC cases that are about them.
//!
//! A case that looks at the whole process runs in one of its own; see `gort_conformance::child`.

mod bounds;
mod count;
mod ends;
mod leaks;
mod start;
mod states;

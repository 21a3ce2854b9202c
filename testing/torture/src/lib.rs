//! The torture of thread-local storage: code that keeps something per OS thread, run on goroutines
//! that change their OS thread at each stop.
//!
//! A case is a function that panics if something is wrong. Most run one piece of code on many
//! goroutines, each of which looks after every park whether what belongs to its "thread" is still its
//! own. The program `torture` runs cases, each test of `tests/` one case in a process of its own, so
//! that a crash or a hang names its case. One file of `tests/` is one configuration.
//!
//! `TORTURE_N` says how many goroutines a case uses at full size, 1,000 by default. `ci/torture.sh` runs
//! all with 10,000, and shows that a build without own thread-local blocks fails.
//!
//! Elsewhere: the crate `gort-torture-dep`, the dependency that knows nothing; `csrc/`, what is C.

pub mod cases;
pub mod child;
pub mod drive;
mod native;

//! What the tests of `gort` and the packages beside this one share.
//!
//! Seeded runs take their numbers from [`Random`], so that they can be repeated.
//!
//! Only for tests: nothing in `crates/` depends on it but as a dev-dependency. What only one area needs stands
//! there. Checked by its own tests, and by all that use it.

#![forbid(unsafe_code)]

mod random;

pub use random::Random;

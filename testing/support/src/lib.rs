//! What the tests of `gort` and the packages beside this one share.
//!
//! A test waits for a condition, never for a duration, and what it waits for has a deadline that shows all
//! goroutines when it passes ([`eventually`]). A case whose process is changed by it, or looked at, has one to
//! itself ([`alone()`]). Seeded runs take their numbers from [`Random`], so that they can be repeated. A case that
//! has a size of its own is smaller in everyday runs ([`scaled`]).
//!
//! Only for tests: nothing in `crates/` depends on it but as a dev-dependency. What only one area needs stands
//! there. Checked by its own tests, and by all that use it.

#![forbid(unsafe_code)]

mod alone;
mod long;
mod random;
mod stand_ins;
mod wait;

pub use alone::{alone, alone_until_replaced, is_alone};
pub use long::{is_long, patience, scaled};
pub use random::Random;
pub use stand_ins::{Dropped, Wakes, yield_once};
pub use wait::{
    SOON, eventually, eventually_parked, eventually_parked_or_over, eventually_within, go_named,
    is_parked,
};

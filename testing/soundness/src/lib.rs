//! Every safe public call of gort, made from places where calls are seldom made.
//!
//! Safe code may do anything at any moment: send to a channel from a destructor while a panic unwinds,
//! join from the destructor of a thread-local, lock in the child of a `fork`, forget every guard.
//! [`calls`] is the table of the calls, [`Place`] names the places, and each call in each place has one
//! [`Expected`] outcome: it works, it panics with the text that its documentation names, or the process ends
//! as documented. Anything else is a failure: another panic, a crash, a hang.
//!
//! The program `soundness` makes calls in a place and says how each ended; the tests start it, in both
//! thread-local modes, and compare. `tests/items.rs` reads the source of the crate `gort` and fails if a
//! public function, method or type is in no call of the table, nor exempt for a stated reason. `ci/asan.sh`
//! runs all of it under the address sanitizer.
//!
//! To add a call: a line in the file of `calls` for its module. To add a place: a variant of [`Place`] and
//! its arm in `places`.

pub mod calls;
mod expected;
pub mod items;
mod outcome;
pub mod places;

pub use expected::{Expected, Place};
pub use outcome::Outcome;

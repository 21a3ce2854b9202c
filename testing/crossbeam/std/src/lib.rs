//! std, but its threads are goroutines, and `#[test]` is `#[gort::test]`.
//!
//! A package that depends on this crate under the name `std` gets it wherever it says `std`, in its
//! prelude too. So tests that were written for threads run as goroutines without a line of them
//! changed. Only what blocks or starts a thread in those tests is replaced; std's locks are left as they
//! are, and block the OS thread, as in any library that a goroutine calls.

pub use ::std::*;
/// In place of std's.
pub use gort::thread;

/// std's preludes, with the attribute `#[test]` replaced.
pub mod prelude {
    pub use ::std::prelude::*;

    /// The prelude of edition 2021.
    pub mod rust_2021 {
        pub use ::std::prelude::rust_2021::*;
        pub use gort::test;
    }
}

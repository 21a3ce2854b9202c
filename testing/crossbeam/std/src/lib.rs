//! std, but its threads are goroutines, and `#[test]` is `#[gort::test]`.
//!
//! A package that depends on this crate under the name `std` gets it wherever it says `std`, in its
//! prelude too. So tests that were written for threads run as goroutines without a line of them
//! changed. Only what blocks or starts a thread in those tests is replaced; std's locks are left as they
//! are, and block the OS thread, as in any library that a goroutine calls.

pub use ::std::*;

/// std's preludes, with the attribute `#[test]` replaced.
pub mod prelude {
    pub use ::std::prelude::*;

    /// The prelude of edition 2021.
    pub mod rust_2021 {
        pub use ::std::prelude::rust_2021::*;
        pub use gort::test;
    }
}

/// `std::thread` over goroutines.
pub mod thread {
    use ::std::any::Any;

    pub use ::std::thread::*;
    pub use gort::time::sleep;
    pub use gort::yield_now;

    /// A goroutine to be joined.
    #[derive(Debug)]
    pub struct JoinHandle<T>(gort::JoinHandle<T>);

    /// Starts a goroutine.
    #[track_caller]
    pub fn spawn<F, T>(f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        JoinHandle(gort::go(f))
    }

    impl<T> JoinHandle<T> {
        /// Waits for the goroutine's result, or the payload of its panic.
        pub fn join(self) -> Result<T> {
            self.0.join().map_err(|error| -> Box<dyn Any + Send> {
                if error.is_panic() {
                    error.into_panic()
                } else {
                    Box::new(error)
                }
            })
        }
    }
}

//! Attribute macros of gort: `#[gort::main]` and `#[gort::test]`.
//!
//! A macro keeps the annotated function as it stands, as an inner function, and puts a call of the
//! runtime around it. The inner function's result is turned into an exit code where it was made, on
//! the goroutine, so `Result<(), Box<dyn Error>>`, which is not `Send`, works as it does with std.
//!
//! What the expansions call lives in `gort::__private`:
//!
//! ```text
//! fn run_main<T: Termination>(body: fn() -> T) -> ExitCode
//! fn run_test<T: Termination>(options: TestOptions, body: fn() -> T) -> ExitCode
//! struct TestOptions { name: &'static str, procs: Option<usize>, timeout: Option<Duration>,
//!                      allow_leaks: bool, seed: Option<u64> }
//! ```
//!
//! Checked by the unit tests below, which read the expansions, and by `crates/gort/tests/ui`, which
//! hold the errors as a user sees them. Users reach the macros through the crate `gort` only.

#![forbid(unsafe_code)]

mod main_attr;
mod test_attr;

use proc_macro::TokenStream;

/// Runs the body of `main` as the main goroutine.
///
/// The runtime is started first. When the body returns the program ends, and goroutines that still
/// run stop where they are: their destructors do not run, as in Go. `main` may return whatever it
/// may return without the attribute (`T: Termination`).
///
/// `async fn main`, arguments and generic parameters are compile errors.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_attr::expand(args.into(), item.into()).into()
}

/// Runs a test as a goroutine with a group of its own.
///
/// The test fails if a goroutine that it started is still alive shortly after its body, if all its
/// goroutines are parked and nothing could wake them, or if it takes too long; the failure message
/// holds the stacks of the group. `#[should_panic]`, `#[ignore]` and a `Result` as return type work
/// as in `#[test]`.
///
/// # Arguments
///
/// * `procs = 4`: how many Ps the runtime has meanwhile.
/// * `timeout = "5s"`: a whole number and `ms`, `s` or `m`.
/// * `leaks = "allow"`: goroutines may outlive the body.
/// * `seed = 7`: leaves to chance, begun with this seed, what the scheduler may choose freely, as the
///   variable `GORT_SHAKE=7` does for a whole program. The test then runs alone among the tests of its
///   binary that have this attribute. The choices come in the same order each time; with `procs = 1`
///   that makes the order of goroutines, with more the machine has its share in it.
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    test_attr::expand(args.into(), item.into()).into()
}

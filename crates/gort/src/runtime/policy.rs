//! What a [`Config`](super::Config) chooses from, and why it may be refused.
//!
//! The types are the scheduler's. Their docs are here, since an example in `gort-core` could not name
//! `gort`; the doc tests of `gort` run them.

#![forbid(unsafe_code)]

/// Why the runtime could not be set up as asked.
///
/// # Examples
///
/// ```
/// use gort::{Config, ConfigError};
///
/// let refused = Config::new().procs(0).start();
/// assert!(matches!(refused, Err(ConfigError::Procs(0))));
/// assert!(refused.unwrap_err().to_string().starts_with("procs(0): must be 1 to "));
/// ```
pub use gort_core::runtime::ConfigError;

/// What happens when all goroutines are asleep; see [`run`](super::run).
///
/// # Examples
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// use gort::{Config, DeadlockPolicy};
///
/// // A report is enough here: what the clerk waits for may still come, by ways that the runtime does not know.
/// Config::new().deadlock(DeadlockPolicy::Report).run(|| {
///     let (orders, received) = gort::chan::bounded::<u32>(0);
///     gort::go(move || received.recv());
///     gort::time::sleep(Duration::from_millis(1));
///     drop(orders);
/// })?;
/// # Ok::<(), gort::ConfigError>(())
/// ```
pub use gort_core::runtime::DeadlockPolicy;

/// What happens when a goroutine panics.
///
/// # Examples
///
/// ```standalone_crate
/// use gort::{Config, PanicPolicy};
///
/// assert_eq!(PanicPolicy::default(), PanicPolicy::Contain);
/// Config::new().panic(PanicPolicy::Contain).run(|| {
///     let failed = gort::go(|| panic!("no more")).join();
///     assert!(failed.unwrap_err().is_panic()); // and the program goes on
/// })?;
/// # Ok::<(), gort::ConfigError>(())
/// ```
pub use gort_core::runtime::PanicPolicy;

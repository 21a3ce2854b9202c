//! The code in the pages of `docs`: compiled and run with the doctests, so that what users copy works.

#[doc = include_str!("../../../docs/should-i-use-gort.md")]
mod should_i_use_gort {}

#[doc = include_str!("../../../docs/coming-from-go.md")]
mod coming_from_go {}

#[doc = include_str!("../../../docs/coming-from-threads-and-tokio.md")]
mod coming_from_threads_and_tokio {}

#[doc = include_str!("../../../docs/what-blocks-what.md")]
mod what_blocks_what {}

#[doc = include_str!("../../../docs/soundness.md")]
mod soundness {}

#[doc = include_str!("../../../docs/cancellation.md")]
mod cancellation {}

#[doc = include_str!("../../../docs/stack-sizes.md")]
mod stack_sizes {}

#[doc = include_str!("../../../docs/preemption-and-signals.md")]
mod preemption_and_signals {}

#[doc = include_str!("../../../docs/what-a-goroutine-costs.md")]
mod what_a_goroutine_costs {}

#[doc = include_str!("../../../docs/using-gort-in-a-library.md")]
mod using_gort_in_a_library {}

#[doc = include_str!("../../../docs/versioning-and-msrv.md")]
mod versioning_and_msrv {}

#[doc = include_str!("../../../docs/gos-tools.md")]
mod gos_tools {}

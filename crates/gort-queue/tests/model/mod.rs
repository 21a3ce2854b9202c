//! How the models of this crate are run.

/// Runs `threads` in every interleaving with at most three preemptions, or as many as the variable
/// `LOOM_MAX_PREEMPTIONS` says. Switches at which a thread waits do not count. Two would do for all
/// faults of `ci/loom.sh` but one, `idle_abandon`.
///
/// `loom::model` would try them all without the variable, which takes hours for some.
pub(crate) fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(threads);
}

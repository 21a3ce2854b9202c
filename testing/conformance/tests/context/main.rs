//! Contexts, after Go's `context/x_test.go` and `afterfunc_test.go`. What needs a look inside (CX03 to CX05,
//! CX08, CX20) is tested in the module itself.

mod causes;
mod funcs;
mod tree;

use std::time::Duration;

use gort::context::{Context, ContextError};

const HOUR: Duration = Duration::from_secs(3600);

/// Whether the context has not ended, by all that can be asked.
#[track_caller]
fn assert_pending(ctx: &Context) {
    assert_eq!(ctx.err(), None, "{ctx:?}");
    assert!(ctx.cause().is_none(), "{ctx:?}");
    let done = ctx.done().try_recv().unwrap_err();
    assert!(done.is_empty(), "{ctx:?}");
}

/// Whether the context has ended so, by all that can be asked.
#[track_caller]
fn assert_ended(ctx: &Context, error: ContextError) {
    assert_eq!(ctx.err(), Some(error), "{ctx:?}");
    assert!(ctx.cause().is_some(), "{ctx:?}");
    let done = ctx.done().try_recv().unwrap_err();
    assert!(done.is_disconnected(), "{ctx:?}");
}

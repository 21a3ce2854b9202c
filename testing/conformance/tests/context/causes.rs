//! CX15, CX16.

use std::thread;
use std::time::Duration;

use gort::context::{Context, ContextError, background};

use super::{HOUR, assert_pending};

const CANCELED: (ContextError, &str) = (ContextError::Canceled, "context canceled");

#[track_caller]
fn assert_so(ctx: &Context, error: ContextError, cause: &str) {
    assert_eq!(ctx.err(), Some(error), "{ctx:?}");
    assert_eq!(ctx.cause().unwrap().to_string(), cause, "{ctx:?}");
}

#[test]
fn cx15_the_table_of_causes() {
    let root = background();
    assert!(root.cause().is_none());

    let (ctx, cancel) = root.with_cancel();
    assert_pending(&ctx);
    cancel.cancel();
    assert_so(&ctx, CANCELED.0, CANCELED.1);

    let (ctx, cancel) = root.with_cancel_cause();
    assert_pending(&ctx);
    cancel.cancel("mine");
    assert_so(&ctx, ContextError::Canceled, "mine");
    cancel.cancel("another");
    drop(cancel);
    assert_so(&ctx, ContextError::Canceled, "mine");

    // Go's nil cause: a handle that is dropped gives none.
    let (ctx, cancel) = root.with_cancel_cause();
    drop(cancel);
    assert_so(&ctx, CANCELED.0, CANCELED.1);

    // The parent's first, then the child's own; and the other way round.
    let (parent, cancel_parent) = root.with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    cancel_parent.cancel("parent");
    cancel_child.cancel("child");
    assert_so(&parent, ContextError::Canceled, "parent");
    assert_so(&child, ContextError::Canceled, "parent");
    let (parent, cancel_parent) = root.with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    let (grandchild, _cancel) = child.with_cancel();
    cancel_child.cancel("child");
    assert_pending(&parent);
    cancel_parent.cancel("parent");
    assert_so(&parent, ContextError::Canceled, "parent");
    assert_so(&child, ContextError::Canceled, "child");
    assert_so(&grandchild, ContextError::Canceled, "child");
    // A child without a way to give one takes its parent's.
    let (parent, cancel) = root.with_cancel_cause();
    let (child, _cancel) = parent.with_value(1).with_timeout(HOUR);
    cancel.cancel("parent");
    assert_so(&child, ContextError::Canceled, "parent");

    const EXCEEDED: &str = "context deadline exceeded";
    let (ctx, _cancel) = root.with_timeout(Duration::ZERO);
    assert_so(&ctx, ContextError::DeadlineExceeded, EXCEEDED);
    let (ctx, cancel) = root.with_timeout(HOUR);
    cancel.cancel();
    assert_so(&ctx, CANCELED.0, CANCELED.1);

    // A cause for the deadline is that of the deadline alone.
    let (ctx, _cancel) = root.with_timeout_cause(Duration::ZERO, "too slow");
    assert_so(&ctx, ContextError::DeadlineExceeded, "too slow");
    let (ctx, _cancel) = root.with_timeout_cause(Duration::from_millis(1), "too slow");
    assert!(ctx.done().recv().is_err());
    assert_so(&ctx, ContextError::DeadlineExceeded, "too slow");
    let (ctx, cancel) = root.with_timeout_cause(HOUR, "too slow");
    cancel.cancel();
    assert_so(&ctx, CANCELED.0, CANCELED.1);

    // Stacked, both ways.
    let (outer, _cancel) = root.with_timeout_cause(Duration::from_millis(1), "too slow");
    let (inner, cancel_inner) = outer.with_cancel_cause();
    assert!(inner.done().recv().is_err());
    cancel_inner.cancel("mine");
    assert_so(&inner, ContextError::DeadlineExceeded, "too slow");
    let (outer, cancel_outer) = root.with_cancel_cause();
    let (inner, _cancel_inner) = outer.with_timeout_cause(HOUR, "too slow");
    cancel_outer.cancel("mine");
    assert_so(&inner, ContextError::Canceled, "mine");
    let (inner, _cancel_inner) = outer.with_timeout_cause(Duration::ZERO, "too slow");
    assert_so(&inner, ContextError::Canceled, "mine");

    let (ctx, cancel) = root.with_cancel_cause();
    cancel.cancel("mine");
    assert_pending(&ctx.without_cancel());
}

/// Whoever sees one of error, `done` and cause sees the others, at every moment of an end.
#[test]
fn cx16_error_done_and_cause_agree_under_a_race() {
    for round in 0..200 {
        let (ctx, cancel) = background().with_cancel_cause();
        let (below, _cancel) = ctx.with_value(round).with_cancel();
        if round % 2 == 0 {
            assert_pending(&below);
        }
        thread::scope(|s| {
            for watched in [&ctx, &below] {
                s.spawn(move || {
                    while watched.err().is_none() {
                        std::hint::spin_loop();
                    }
                    let done = watched.done().try_recv().unwrap_err();
                    assert!(done.is_disconnected(), "an error before `done`");
                    assert_eq!(watched.cause().unwrap().to_string(), "why");
                });
                s.spawn(move || {
                    assert!(watched.done().recv().is_err());
                    assert_eq!(watched.err(), Some(ContextError::Canceled));
                    assert_eq!(watched.cause().unwrap().to_string(), "why");
                });
                s.spawn(move || {
                    let cause = loop {
                        if let Some(cause) = watched.cause() {
                            break cause;
                        }
                    };
                    assert_eq!(cause.to_string(), "why");
                    assert!(watched.err().is_some());
                });
            }
            for why in ["why", "too late"] {
                cancel.cancel(why);
            }
        });
    }
}

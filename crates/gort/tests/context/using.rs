//! Handles, causes, `done` and what the handles' drops do.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gort::chan::{TryRecvError, select};
use gort::context::{self, Cancel, CancelCause, Context, ContextError, StopFunc, background};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn contexts_and_handles_may_go_anywhere() {
    fn assert_anywhere<T: Send + Sync + std::panic::UnwindSafe + std::fmt::Debug + 'static>() {}
    assert_anywhere::<Context>();
    assert_anywhere::<ContextError>();
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Cancel>();
    assert_shared::<CancelCause>();
    assert_shared::<StopFunc>();
    static ROOT: Context = context::background();
    assert_eq!(ROOT.err(), None);
}

#[test]
fn the_last_handle_that_is_dropped_cancels() {
    let (ctx, cancel) = background().with_cancel();
    let other = cancel.clone();
    drop(cancel);
    assert_eq!(ctx.err(), None);
    drop(other);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));

    let (ctx, cancel) = background().with_cancel_cause();
    drop(cancel.clone());
    assert_eq!(ctx.err(), None);
    drop(cancel);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert_eq!(ctx.cause().unwrap().to_string(), "context canceled");
}

#[test]
fn nobody_but_the_context_closes_done() {
    let (ctx, cancel) = background().with_cancel();
    assert!(!ctx.done().close());
    let clone = ctx.done().clone();
    assert!(!clone.close());
    assert_eq!(ctx.done().try_recv(), Err(TryRecvError::Empty));
    drop(clone);
    assert_eq!(ctx.done().try_recv(), Err(TryRecvError::Empty));
    cancel.cancel();
    assert_eq!(ctx.done().try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_receiver_of_done_outlives_its_context() {
    let (ctx, cancel) = background().with_cancel();
    let done = ctx.done().clone();
    drop(ctx);
    assert_eq!(done.try_recv(), Err(TryRecvError::Empty));
    drop(cancel);
    assert_eq!(done.try_recv(), Err(TryRecvError::Disconnected));
}

#[gort::test]
fn goroutines_threads_and_futures_hear_of_a_cancel() {
    let (ctx, cancel) = background().with_cancel();
    let (first, second) = (ctx.clone(), ctx.clone());
    let goroutine = gort::go(move || {
        select! {
            recv(first.done()) -> _ => first.err(),
            recv(gort::chan::after(HOUR)) -> _ => None,
        }
    });
    let thread = thread::spawn(move || {
        assert!(second.done().recv().is_err());
        second.err()
    });
    let third = ctx.clone();
    let future = gort::go(move || {
        gort::block_on(async {
            assert!(third.done().recv_async().await.is_err());
            third.err()
        })
    });
    cancel.cancel();
    for heard in [
        goroutine.join().unwrap(),
        future.join().unwrap(),
        gort::blocking(|| thread.join().unwrap()),
    ] {
        assert_eq!(heard, Some(ContextError::Canceled));
    }
}

#[test]
fn a_cause_keeps_its_type() {
    let (ctx, cancel) = background().with_cancel_cause();
    cancel.cancel(io::Error::from(io::ErrorKind::BrokenPipe));
    let cause = ctx.cause().unwrap();
    let error: &io::Error = cause.downcast_ref().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    // And of what was not given one.
    let (ctx, cancel) = background().with_cancel();
    drop(cancel);
    let cause: Arc<dyn Error + Send + Sync> = ctx.cause().unwrap();
    assert_eq!(cause.downcast_ref(), Some(&ContextError::Canceled));
}

#[test]
fn deadlines_are_those_that_were_set() {
    let deadline = Instant::now() + HOUR;
    let (ctx, _cancel) = background().with_deadline(deadline);
    assert_eq!(ctx.deadline(), Some(deadline));
    let (later, _cancel_later) = ctx.with_deadline(deadline + HOUR);
    assert_eq!(later.deadline(), Some(deadline));
    assert_eq!(later.with_value(1).deadline(), Some(deadline));
    assert_eq!(later.without_cancel().deadline(), None);
    let (never, _cancel_never) = background().with_timeout(Duration::MAX);
    assert_eq!(never.deadline(), None);
    assert_eq!(never.err(), None);
}

#[test]
fn a_context_shows_how_it_was_made() {
    let (ctx, _cancel) = context::todo().with_cancel();
    let (ctx, _cancel_timed) = ctx.with_value(7u8).without_cancel().with_timeout(HOUR);
    let text = format!("{ctx:?}");
    let rest = text
        .strip_prefix("context.TODO.WithCancel.WithValue(u8).WithoutCancel.WithDeadline(in 35")
        .unwrap_or_else(|| panic!("{text}"));
    assert!(rest.ends_with("s)"), "{text}");
}

#[test]
fn an_error_of_a_deadline_is_a_timeout_to_io() {
    let error = io::Error::from(ContextError::DeadlineExceeded);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let error = io::Error::from(ContextError::Canceled);
    assert_eq!(error.kind(), io::ErrorKind::Other);
}

//! Contexts: making them, ending them, and waiting under them.

use std::time::{Duration, Instant};

use gort::context::{self, Context, ContextError, RecvCtxError, SendCtxError};
use gort::sync::Semaphore;
use gort::{chan, time};

use super::Needs::{Deadline, Nothing, Start, Wait};
use super::{Call, act, call, partner, prepared, short};

const LONG: Duration = Duration::from_secs(3600);

pub(super) fn calls() -> Vec<Call> {
    let mut all = contexts();
    all.extend(waits());
    all
}

fn contexts() -> Vec<Call> {
    vec![
        call(
            "Context::with_cancel",
            "context::background context::todo context::Context::with_cancel \
             context::Context::with_cancel_cause context::Cancel::cancel context::Cancel:Clone \
             context::Cancel:Drop context::CancelCause::cancel context::Context::done \
             context::Context::err context::Context::cause context::Context::deadline \
             context::Cause context::ContextError::is_timeout",
            Nothing,
            || {
                let (ctx, cancel) = context::background().with_cancel();
                let (child, cancel_child) = ctx.with_cancel_cause();
                assert_eq!((child.err(), child.deadline()), (None, None));
                cancel_child.cancel("on purpose");
                assert_eq!(child.cause().unwrap().to_string(), "on purpose");
                cancel.clone().cancel();
                ctx.done().recv().unwrap_err();
                assert!(!ctx.err().unwrap().is_timeout());
                let (ctx, cancel) = context::todo().with_cancel();
                drop(cancel);
                assert_eq!(ctx.err(), Some(ContextError::Canceled));
            },
        ),
        call(
            "Context, with values",
            "context::Context::with_value context::Context::value \
             context::Context::without_cancel",
            Nothing,
            || {
                let (ctx, cancel) = context::background().with_value(7_u32).with_cancel();
                let kept = ctx.without_cancel();
                drop(cancel);
                assert_eq!(kept.err(), None);
                assert_eq!(*kept.value::<u32>().unwrap(), 7);
            },
        ),
        call(
            "Context::with_deadline, in the past",
            "context::Context::with_deadline context::Context::with_deadline_cause",
            Nothing,
            || {
                let past = Instant::now();
                let (ctx, _cancel) = context::background().with_deadline(past);
                assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
                let (ctx, _cancel) = context::background().with_deadline_cause(past, "late");
                assert_eq!(ctx.cause().unwrap().to_string(), "late");
            },
        ),
        call(
            "Context::with_timeout",
            "context::Context::with_timeout context::Context::with_timeout_cause",
            Start,
            || {
                let (ctx, _cancel) = context::background().with_timeout(short());
                ctx.done().recv().unwrap_err();
                let (ctx, _cancel) = context::background().with_timeout_cause(LONG, "late");
                assert!(ctx.err().is_none() && ctx.deadline().is_some());
            },
        ),
        call(
            "Context::after_func",
            "context::Context::after_func context::StopFunc::stop",
            Start,
            || {
                let (ctx, cancel) = context::background().with_cancel();
                let (s, r) = chan::bounded(1);
                let runs = ctx.after_func(move || s.send(7).unwrap());
                assert!(ctx.after_func(|| unreachable!()).stop());
                cancel.cancel();
                assert_eq!(r.recv(), Ok(7));
                assert!(!runs.stop());
            },
        ),
        call("Context::enter", "context::Context::enter", Nothing, || {
            let ctx = ended();
            assert_eq!(ctx.enter(|| context::background().enter(|| 7)), 7);
            let unwinds = || ctx.enter(|| std::panic::resume_unwind(Box::new(())));
            std::panic::catch_unwind(unwinds).unwrap_err();
        }),
        call("Builder::context", "Builder::context", Start, || {
            let builder = gort::Builder::new().context(&ended());
            // waits: no: the context is done
            builder.go(|| time::sleep(LONG)).unwrap().join().unwrap();
        }),
    ]
}

fn waits() -> Vec<Call> {
    vec![
        call(
            "recv_ctx and send_ctx, done",
            "context::Receiver::recv_ctx context::Sender::send_ctx \
             context::RecvCtxError::context context::RecvCtxError::is_disconnected \
             context::SendCtxError::context context::SendCtxError::is_disconnected \
             context::SendCtxError::into_inner",
            Nothing,
            || {
                let ctx = ended();
                let (s, r) = chan::bounded(1);
                let error = s.send_ctx(&ctx, 7).unwrap_err();
                assert!(error.context().is_some() && !error.is_disconnected());
                assert_eq!(error.into_inner(), 7);
                s.send_ctx(&context::background(), 7).unwrap();
                let error = r.recv_ctx(&ctx).unwrap_err();
                assert!(error.context().is_some() && !error.is_disconnected());
                assert_eq!(r.recv_ctx(&context::background()), Ok(7));
                s.close();
                let disconnected = Err(RecvCtxError::Disconnected);
                assert_eq!(r.recv_ctx(&context::background()), disconnected);
                let disconnected = Err(SendCtxError::Disconnected(7));
                assert_eq!(s.send_ctx(&context::background(), 7), disconnected);
            },
        ),
        prepared(
            "recv_ctx, cancelled",
            "context::Receiver::recv_ctx",
            Wait,
            || {
                let (ctx, cancel) = context::background().with_cancel();
                let partner = partner(move || cancel.cancel());
                act(move || {
                    partner.begin();
                    let (_s, r) = chan::bounded::<u32>(0);
                    r.recv_ctx(&ctx).unwrap_err();
                })
            },
        ),
        prepared(
            "Semaphore::acquire_ctx",
            "sync::Semaphore::acquire_ctx",
            Wait,
            || {
                let (ctx, cancel) = context::background().with_cancel();
                let partner = partner(move || cancel.cancel());
                act(move || {
                    partner.begin();
                    let semaphore = Semaphore::new(1);
                    drop(semaphore.acquire_ctx(&context::background(), 1).unwrap());
                    let error = semaphore.acquire_ctx(&ctx, 2).unwrap_err();
                    assert_eq!(error, ContextError::Canceled);
                })
            },
        ),
        call(
            "time::sleep, under a context that is done",
            "time::sleep",
            Nothing,
            || {
                // waits: no: the context is done
                ended().enter(|| time::sleep(LONG));
            },
        ),
        prepared("time::sleep, cancelled", "time::sleep", Deadline, || {
            let (ctx, cancel) = context::background().with_cancel();
            let partner = partner(move || cancel.cancel());
            act(move || {
                partner.begin();
                // waits: until the partner cancels
                ctx.enter(|| time::sleep(LONG));
            })
        }),
    ]
}

/// A context that is done.
fn ended() -> Context {
    context::background().with_cancel().0
}

//! CX01, CX02, CX06, CX07, CX09 to CX12, CX14, CX17.

use std::io;
use std::ops::Deref;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use gort::context::{self, Cancel, Context, ContextError, background};
use gort_conformance::support::SOON;
use gort_core::{g, snapshot};

use super::{HOUR, assert_ended, assert_pending};

/// A type of somebody else's that passes on a context.
struct Wrapper {
    inner: Context,
    _more: u32,
}

impl Deref for Wrapper {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.inner
    }
}

fn wrapped(ctx: &Context) -> Wrapper {
    Wrapper {
        inner: ctx.clone(),
        _more: 0,
    }
}

/// How many goroutines this test has.
fn members() -> usize {
    let group = g::current_goroutine().expect("a test's goroutine").group();
    let all = snapshot::goroutines();
    all.iter().filter(|member| member.group == group).count()
}

#[test]
fn cx01_the_roots_are_never_done() {
    for (root, text) in [
        (background(), "context.Background"),
        (context::todo(), "context.TODO"),
    ] {
        assert_pending(&root);
        assert_eq!(root.deadline(), None);
        assert_eq!(format!("{root:?}"), text);
        let waited = root.done().recv_timeout(Duration::from_millis(1));
        assert!(waited.unwrap_err().is_timeout());
    }
}

#[gort::test]
fn cx02_cancel_reaches_children_at_once() {
    let (first, cancel) = background().with_cancel();
    assert_eq!(format!("{first:?}"), "context.Background.WithCancel");
    let wrapper = wrapped(&first);
    let (grandchild, _cancel) = wrapper.with_cancel();
    let all = [&first, &*wrapper, &grandchild];
    for ctx in all {
        assert_pending(ctx);
        assert_eq!(ctx.deadline(), None);
    }
    cancel.cancel();
    for ctx in all {
        assert_ended(ctx, ContextError::Canceled);
    }
}

/// Two cancel at the same time: for each, all has ended when its call returns.
#[test]
fn cx02_cancel_reaches_children_at_once_for_each_who_cancels() {
    const LEAVES: usize = 300;
    for _ in 0..30 {
        let (root, cancel) = background().with_cancel();
        let (middle, cancel_middle) = root.with_cancel();
        let leaves: Vec<(Context, Cancel)> = (0..LEAVES)
            .map(|i| match i % 3 {
                0 => middle.with_cancel(),
                1 => middle.with_value(i).with_timeout(HOUR),
                _ => root.with_cancel(),
            })
            .collect();
        // Half of them have a `done` before, the others get it after.
        for (leaf, _) in leaves.iter().step_by(2) {
            assert_pending(leaf);
        }
        let begin = Barrier::new(3);
        thread::scope(|s| {
            for canceller in [&cancel, &cancel, &cancel_middle] {
                let (leaves, begin) = (&leaves, &begin);
                let is_middle = std::ptr::eq(canceller, &cancel_middle);
                s.spawn(move || {
                    begin.wait();
                    canceller.cancel();
                    for (i, (leaf, _)) in leaves.iter().enumerate() {
                        if i % 3 != 2 || !is_middle {
                            assert_ended(leaf, ContextError::Canceled);
                        }
                    }
                });
            }
        });
    }
}

#[gort::test]
fn cx06_children_need_no_goroutines() {
    let (parent, cancel) = background().with_cancel();
    let wrapper = wrapped(&parent);
    let alone = members();
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(parent.with_cancel());
        kept.push(wrapper.with_timeout(HOUR));
        kept.push(wrapper.with_value("value").with_cancel());
        assert!(wrapper.after_func(|| {}).stop());
        assert!(parent.done().try_recv().is_err());
    }
    assert_eq!(members(), alone);
    cancel.cancel();
    assert_eq!(members(), alone);
    assert!(kept.iter().all(|(ctx, _)| ctx.err().is_some()));
}

#[track_caller]
fn assert_exceeded_soon(ctx: &Context) {
    let start = Instant::now();
    let ended = ctx.done().recv_timeout(SOON).unwrap_err();
    assert!(
        ended.is_disconnected(),
        "{ctx:?} after {:?}",
        start.elapsed()
    );
    assert_ended(ctx, ContextError::DeadlineExceeded);
}

#[gort::test]
fn cx07_deadlines_and_timeouts() {
    const SHORT: Duration = Duration::from_millis(1);
    let root = background();
    let (ctx, _cancel) = root.with_deadline(Instant::now() + SHORT);
    assert!(format!("{ctx:?}").starts_with("context.Background.WithDeadline("));
    assert_exceeded_soon(&ctx);

    let (ctx, _cancel) = root.with_timeout(SHORT);
    assert_exceeded_soon(&wrapped(&ctx));

    // A later deadline below an earlier one, and the other way round.
    let (parent, _cancel) = root.with_timeout(SHORT);
    let (child, _cancel_child) = wrapped(&parent).with_timeout(1000 * HOUR);
    assert_eq!(child.deadline(), parent.deadline());
    assert_exceeded_soon(&child);
    let (parent, _cancel) = root.with_timeout(1000 * HOUR);
    let (child, _cancel_child) = parent.with_timeout(SHORT);
    assert_exceeded_soon(&child);
    assert_pending(&parent);

    // In the past, and now: at once.
    let (ctx, _cancel) = root.with_deadline(Instant::now() - Duration::from_secs(1));
    assert_ended(&ctx, ContextError::DeadlineExceeded);
    let (ctx, _cancel) = root.with_deadline(Instant::now());
    assert_ended(&ctx, ContextError::DeadlineExceeded);
    let (ctx, _cancel) = root.with_timeout(Duration::ZERO);
    assert_ended(&ctx, ContextError::DeadlineExceeded);

    // Not before its time.
    let start = Instant::now();
    let (ctx, _cancel) = root.with_timeout(5 * SHORT);
    assert!(ctx.done().recv().is_err());
    assert!(start.elapsed() >= 5 * SHORT);
}

#[test]
fn cx09_values_by_key_through_layers() {
    /// The same number under different types of keys.
    #[derive(Debug, PartialEq)]
    struct First(Option<u32>);
    #[derive(Debug, PartialEq)]
    struct Second(Option<u32>);

    let values = |ctx: &Context| {
        (
            ctx.value::<First>().map(|value| value.0),
            ctx.value::<Second>().map(|value| value.0),
        )
    };
    assert_eq!(values(&background()), (None, None));
    let one = background().with_value(First(Some(1)));
    assert_eq!(values(&one), (Some(Some(1)), None));
    let two = wrapped(&one).with_value(Second(Some(1)));
    assert_eq!(values(&two), (Some(Some(1)), Some(Some(1))));
    let (three, _cancel) = two.with_timeout(HOUR);
    assert_eq!(values(&three), values(&two));
    let four = three.with_value(First(None));
    assert_eq!(values(&four), (Some(None), Some(Some(1))), "hidden");
    assert_eq!(values(&two), (Some(Some(1)), Some(Some(1))), "not below");

    let text = format!("{:?}", background().with_value(7u16).with_value("text"));
    assert_eq!(text, "context.Background.WithValue(u16).WithValue(&str)");
}

#[gort::test]
fn cx10_a_cancel_from_inside() {
    let (parent, cancel_parent) = background().with_cancel();
    let (child, cancel_child) = parent.with_cancel();
    let inner = gort::go(move || {
        assert!(parent.done().recv().is_err());
        cancel_child.cancel();
    });
    cancel_parent.cancel();
    let ended = child.done().recv_timeout(SOON).unwrap_err();
    assert!(ended.is_disconnected());
    inner.join().unwrap();
}

/// Random layers of values, cancels and timeouts show their values, and any one of them ends what is below.
fn assert_layers_hold(seed: u64, ends_by_time: bool) {
    /// Four types of keys, which hide each other's like.
    #[derive(PartialEq, Debug)]
    struct Layer<const KEY: u64>(u64);
    fn lookup(ctx: &Context) -> [Option<u64>; 4] {
        [
            ctx.value::<Layer<0>>().map(|layer| layer.0),
            ctx.value::<Layer<1>>().map(|layer| layer.0),
            ctx.value::<Layer<2>>().map(|layer| layer.0),
            ctx.value::<Layer<3>>().map(|layer| layer.0),
        ]
    }

    let mut random = seed;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut ctx = background();
    let mut values = [None; 4];
    let mut cancels = Vec::new();
    let mut timed = 0;
    for layer in 0..30 {
        match next(3) {
            0 => {
                let key = next(4);
                ctx = match key {
                    0 => ctx.with_value(Layer::<0>(layer)),
                    1 => ctx.with_value(Layer::<1>(layer)),
                    2 => ctx.with_value(Layer::<2>(layer)),
                    _ => ctx.with_value(Layer::<3>(layer)),
                };
                values[key as usize] = Some(layer);
            }
            1 => {
                let (below, cancel) = ctx.with_cancel();
                ctx = below;
                cancels.push(cancel);
            }
            _ => {
                // Longer than it takes to get to the bottom, or not to be waited for.
                let timeout = if ends_by_time {
                    Duration::from_millis(50)
                } else {
                    HOUR
                };
                let (below, cancel) = ctx.with_timeout(timeout);
                ctx = below;
                cancels.push(cancel);
                timed += 1;
            }
        }
    }
    assert_eq!(lookup(&ctx), values, "seed {seed}");
    if ends_by_time && timed > 0 {
        assert_exceeded_soon(&ctx);
    } else if !cancels.is_empty() {
        if !ends_by_time {
            assert_pending(&ctx);
        }
        cancels[next(cancels.len() as u64) as usize].cancel();
        assert_ended(&ctx, ContextError::Canceled);
    }
    assert_eq!(lookup(&ctx), values, "seed {seed}");
}

#[gort::test]
fn cx11_thirty_random_layers() {
    for seed in 1..=100 {
        assert_layers_hold(seed, false);
    }
    for seed in 1..=10 {
        assert_layers_hold(seed, true);
    }
}

#[test]
fn cx12_children_of_a_context_that_is_being_cancelled() {
    // Before.
    let (parent, cancel) = background().with_cancel_cause();
    cancel.cancel("too late");
    let (child, _cancel) = parent.with_value(1).with_timeout(HOUR);
    assert_ended(&child, ContextError::Canceled);
    assert_eq!(child.cause().unwrap().to_string(), "too late");
    // Meanwhile.
    for round in 0..100 {
        let (parent, cancel) = background().with_cancel_cause();
        let begin = Arc::new(Barrier::new(2));
        let canceller = thread::spawn({
            let begin = Arc::clone(&begin);
            move || {
                begin.wait();
                cancel.cancel("meanwhile");
            }
        });
        begin.wait();
        for _ in 0..round {
            std::hint::spin_loop();
        }
        let (child, _cancel) = parent.with_cancel();
        canceller.join().unwrap();
        assert_ended(&child, ContextError::Canceled);
        assert_eq!(child.cause().unwrap().to_string(), "meanwhile");
    }
}

#[test]
fn cx14_a_deadline_error_says_that_it_is_a_timeout() {
    let error = ContextError::DeadlineExceeded;
    assert!(error.is_timeout());
    assert!(!ContextError::Canceled.is_timeout());
    assert_eq!(error.to_string(), "context deadline exceeded");
    assert_eq!(ContextError::Canceled.to_string(), "context canceled");
    // As an error of I/O it is one of those after which one may try again.
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
}

#[test]
fn cx17_a_context_without_its_parents_cancel() {
    let (parent, cancel) = background().with_value("kept").with_timeout(HOUR);
    let without = parent.without_cancel();
    assert!(format!("{without:?}").ends_with(".WithoutCancel"));
    assert!(parent.deadline().is_some());
    assert_eq!(without.deadline(), None);
    let (below, cancel_below) = without.with_cancel();
    cancel.cancel();
    assert_ended(&parent, ContextError::Canceled);
    assert_pending(&without);
    assert_pending(&below);
    assert!(without.done().same_channel(background().done()), "nil");
    assert_eq!(*below.value::<&str>().unwrap(), "kept");
    cancel_below.cancel();
    assert_ended(&below, ContextError::Canceled);
    assert_pending(&without);
}

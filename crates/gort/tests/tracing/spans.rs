//! Single spans: handles, parents, goroutines, extensions, panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::chan;
use gort::time::{Duration, Instant, sleep};
use gort::tracing::Registry;
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Span, Subscriber, dispatcher};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, SpanData};

use crate::recorder::{Log, Recorder};

fn recording() -> (Dispatch, Log) {
    let log = Log::default();
    let registry = Registry::default().with(Recorder::<'a'>::new(&log));
    (Dispatch::new(registry), log)
}

pub(crate) fn registry(dispatch: &Dispatch) -> &Registry {
    dispatch.downcast_ref().expect("it is at the bottom")
}

fn closed(log: &Log) -> Vec<String> {
    let mut lines = log.take();
    lines.retain(|line| line.starts_with("a closes"));
    lines
}

/// Waits until it is true, for what happens in another goroutine.
#[track_caller]
pub(crate) fn assert_soon(mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_true() {
        assert!(Instant::now() < deadline, "{}", gort::debug::stacks());
        // waits: looks again, until the deadline
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_span_closes_with_its_last_handle_wherever_that_is_dropped() {
    gort::run(|| {
        let (dispatch, log) = recording();
        let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span", n = 1_u64));
        let clone = span.clone();
        drop(span);
        assert_eq!(closed(&log), [""; 0]);
        // No default subscriber here: the span knows its own.
        gort::go(move || drop(clone)).join().unwrap();
        assert_eq!(closed(&log), ["a closes span#1 parent None"]);
        assert!(format!("{:?}", registry(&dispatch)).contains("len: 0"));
    });
}

#[test]
fn a_span_that_is_entered_in_one_goroutine_is_closed_in_another() {
    gort::run(|| {
        let (dispatch, log) = recording();
        let (tx, rx) = chan::bounded(0);
        let enters = {
            let dispatch = dispatch.clone();
            gort::go(move || {
                let span =
                    dispatcher::with_default(&dispatch, || tracing::info_span!("span", n = 1_u64));
                let entered = span.enter();
                tx.send(span.clone()).unwrap();
                gort::yield_now();
                assert_eq!(
                    dispatch.current_span().id(),
                    span.id().as_ref(),
                    "it is the goroutine's while it parks"
                );
                drop(entered);
                assert!(dispatch.current_span().id().is_none());
            })
        };
        let span = rx.recv().unwrap();
        assert!(
            dispatch.current_span().id().is_none(),
            "another goroutine is in no span"
        );
        enters.join().unwrap();
        assert_eq!(closed(&log), [""; 0]);
        drop(span);
        assert_eq!(closed(&log), ["a closes span#1 parent None"]);
    });
}

#[test]
fn a_parent_lives_until_its_last_child_closes() {
    let (dispatch, log) = recording();
    dispatcher::with_default(&dispatch, || {
        let parent = tracing::info_span!("parent", n = 1_u64);
        let child = tracing::info_span!(parent: &parent, "child", n = 2_u64);
        let grandchild = child.in_scope(|| tracing::info_span!("grandchild", n = 3_u64));
        drop(parent);
        drop(child);
        assert_eq!(closed(&log), [""; 0]);
        drop(grandchild);
    });
    assert_eq!(
        closed(&log),
        [
            "a closes grandchild#3 < child#2 < parent#1 parent Some(\"child#2\")",
            "a closes child#2 < parent#1 parent Some(\"parent#1\")",
            "a closes parent#1 parent None",
        ]
    );
}

/// Counts the spans that close.
struct Closes(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Closes {
    fn on_close(&self, _: Id, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Stock calls itself for each ancestor.
#[test]
fn a_long_line_of_ancestors_closes_on_a_small_stack() {
    const CHILDREN: usize = 20_000;
    gort::run(|| {
        let closes = Arc::new(AtomicUsize::new(0));
        let dispatch = Dispatch::new(Registry::default().with(Closes(Arc::clone(&closes))));
        let last = dispatcher::with_default(&dispatch, || {
            let root = tracing::info_span!("root");
            (0..CHILDREN).fold(
                root,
                |parent, _| tracing::info_span!(parent: &parent, "child"),
            )
        });
        let small = gort::Builder::new().stack_size(64 << 10);
        small.go(move || drop(last)).unwrap().join().unwrap();
        assert_eq!(closes.load(Ordering::SeqCst), CHILDREN + 1);
        assert!(format!("{:?}", registry(&dispatch)).contains("len: 0"));
    });
}

#[test]
fn spans_are_left_in_any_order() {
    let (dispatch, _log) = recording();
    dispatcher::with_default(&dispatch, || {
        let (first, second) = (tracing::info_span!("first"), tracing::info_span!("second"));
        let in_first = first.enter();
        let in_second = second.enter();
        drop(in_first);
        assert_eq!(Span::current().id(), second.id());
        let in_second_again = second.enter();
        drop(in_second);
        assert_eq!(Span::current().id(), second.id());
        drop(in_second_again);
        assert!(Span::current().is_none());
    });
}

#[test]
fn two_registries_in_one_goroutine_do_not_mix() {
    let (one, _one_log) = recording();
    let (two, _two_log) = recording();
    let in_one = dispatcher::with_default(&one, || tracing::info_span!("one"));
    let _entered = in_one.enter();
    dispatcher::with_default(&two, || {
        assert!(Span::current().is_none());
        let root = tracing::info_span!("two").entered();
        assert_eq!(Span::current().id(), root.id());
    });
    assert_eq!(one.current_span().id(), in_one.id().as_ref());
}

#[test]
fn what_is_looked_at_stays_while_it_is() {
    let (dispatch, log) = recording();
    let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span", n = 5_u64));
    let id = span.id().unwrap();
    let data = registry(&dispatch).span_data(&id).unwrap();
    drop(span);
    assert_eq!(closed(&log).len(), 1);
    assert_eq!(data.id(), id);
    assert_eq!(data.metadata().name(), "span");
    data.extensions_mut().insert("still there");
    assert_eq!(data.extensions().get(), Some(&"still there"));
    drop(data);
    assert!(registry(&dispatch).span_data(&id).is_none());
}

#[test]
fn ids_are_not_given_again_soon() {
    let (dispatch, _log) = recording();
    dispatcher::with_default(&dispatch, || {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            assert!(seen.insert(tracing::info_span!("span").id().unwrap()));
        }
    });
}

/// Puts something into each span that tells when it is dropped.
struct Keeps(Arc<AtomicUsize>);

struct Kept(Arc<AtomicUsize>);

impl Drop for Kept {
    fn drop(&mut self) {
        // A value's drop may do what a goroutine may.
        gort::yield_now();
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeps {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).unwrap();
        assert!(span.extensions().get::<Kept>().is_none(), "of another span");
        span.extensions_mut().insert(Kept(Arc::clone(&self.0)));
    }
}

#[test]
fn what_layers_keep_in_spans_is_dropped_after_they_close() {
    const SPANS: usize = 1_000;
    gort::run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let registry = Registry::default().with(Keeps(Arc::clone(&dropped)));
        let dispatch = Dispatch::new(registry);
        dispatcher::with_default(&dispatch, || {
            for _ in 0..SPANS {
                drop(tracing::info_span!("span"));
            }
            // A few are left over after the last large batch: the timer has them.
            assert_soon(|| dropped.load(Ordering::SeqCst) == SPANS);
        });
    });
}

#[test]
fn on_a_plain_thread_it_is_dropped_when_the_next_span_opens() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let dispatch = Dispatch::new(Registry::default().with(Keeps(Arc::clone(&dropped))));
    dispatcher::with_default(&dispatch, || {
        drop(tracing::info_span!("first"));
        let _second = tracing::info_span!("second");
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
    drop(dispatch);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

/// Panics at the first close.
struct Panics(AtomicUsize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Panics {
    fn on_close(&self, _: Id, _: Context<'_, S>) {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("a layer panics");
        }
    }
}

#[test]
fn a_layer_that_panics_leaves_no_span_behind() {
    let dispatch = Dispatch::new(Registry::default().with(Panics(AtomicUsize::new(0))));
    let (parent, child) = dispatcher::with_default(&dispatch, || {
        let parent = tracing::info_span!("parent");
        let child = tracing::info_span!(parent: &parent, "child");
        (parent, child)
    });
    drop(parent);
    catch_unwind(AssertUnwindSafe(|| drop(child))).expect_err("the layer panics");
    assert!(format!("{:?}", registry(&dispatch)).contains("len: 0"));
}

#[test]
fn a_stack_that_nobody_made_a_dispatch_of_tells_its_layers() {
    let log = Log::default();
    let stack = Registry::default().with(Recorder::<'a'>::new(&log));
    let (dispatch, _log) = recording();
    let template = dispatcher::with_default(&dispatch, || tracing::info_span!("bare"));
    let metadata = template.metadata().unwrap();
    let values = metadata.fields().value_set(&[]);
    let id = stack.new_span(&Attributes::new_root(metadata, &values));
    assert!(!stack.try_close(stack.clone_span(&id)));
    assert!(stack.try_close(id.clone()), "the answer tells the layers");
    assert_eq!(closed(&log), ["a closes bare#0 parent None"]);
    // It goes with the next call.
    let next = stack.new_span(&Attributes::new_root(metadata, &values));
    assert!(stack.span_data(&id).is_none());
    assert!(stack.span_data(&next).is_some());
}

#[test]
fn ids_of_no_open_span_are_refused() {
    let (dispatch, _log) = recording();
    let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span"));
    let id = span.id().unwrap();
    drop(span);
    for id in [id, Id::from_u64(1 << 40), Id::from_u64(u64::MAX)] {
        let registry = registry(&dispatch);
        assert!(registry.span_data(&id).is_none());
        catch_unwind(AssertUnwindSafe(|| registry.clone_span(&id))).expect_err("no such span");
        catch_unwind(AssertUnwindSafe(|| registry.try_close(id.clone())))
            .expect_err("no such span");
    }
}

#[test]
fn spans_close_once_however_many_goroutines_hold_them() {
    gort::run(|| {
        let (dispatch, log) = recording();
        let rounds = 200;
        for _ in 0..rounds {
            let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span"));
            gort::scope(|scope| {
                for _ in 0..8 {
                    let span = span.clone();
                    scope.go(move || {
                        let child = span.in_scope(|| tracing::info_span!(parent: &span, "child"));
                        drop(span.clone());
                        gort::yield_now();
                        drop(span);
                        drop(child);
                    });
                }
            });
            drop(span);
        }
        assert_eq!(closed(&log).len(), rounds);
        assert!(format!("{:?}", registry(&dispatch)).contains("len: 0"));
    });
}

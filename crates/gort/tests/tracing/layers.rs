//! Layers that do more than look: they log, open spans and change the default subscriber while they are told of
//! one, hold on to what they looked at, and keep values whose drops do the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gort::chan;
use gort::tracing::Registry;
use tracing::span::{Attributes, Id};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Event, Subscriber, dispatcher};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, SpanData};

use crate::spans::{assert_soon, registry};

/// Lines about what a layer was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Logs, sets another default and opens a span whenever one of the spans named `outer` closes.
struct Busy(Told);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Busy {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let name = ctx.span(id).expect("it is new").name();
        self.0.add(format!("opens {name}"));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.add(format!("event {}", event.metadata().target()));
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let name = ctx.span(&id).expect("it is there still").name();
        self.0.add(format!("closes {name}"));
        if name == "outer" {
            tracing::info!(target: "heard", "within on_close");
            dispatcher::with_default(&Dispatch::new(NoSubscriber::new()), || {
                tracing::info!(target: "unheard", "within on_close");
            });
            drop(tracing::info_span!("inner"));
        }
        self.0.add(format!("closed {name}"));
    }
}

fn told_of_busy<R>(registry: R) -> Vec<String>
where
    R: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    let told = Told::default();
    let dispatch = Dispatch::new(registry.with(Busy(told.clone())));
    dispatcher::with_default(&dispatch, || drop(tracing::info_span!("outer")));
    let span = dispatcher::with_default(&dispatch, || tracing::info_span!("outer"));
    // No default: what the layer logs goes nowhere.
    drop(span);
    told.take()
}

#[test]
fn a_layer_logs_and_opens_spans_while_one_closes() {
    let ours = told_of_busy(Registry::default());
    assert_eq!(ours, told_of_busy(tracing_subscriber::registry()));
    assert_eq!(
        ours[..7],
        [
            "opens outer",
            "closes outer",
            "event heard",
            "opens inner",
            "closes inner",
            "closed inner",
            "closed outer",
        ]
    );
}

/// Counts its drops, and opens a span that keeps a plain value at each.
struct Opens {
    dispatch: dispatcher::WeakDispatch,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Opens {
    fn drop(&mut self) {
        if let Some(dispatch) = self.dispatch.upgrade() {
            dispatcher::with_default(&dispatch, || {
                drop(tracing::info_span!("from a drop").entered());
            });
        }
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Keeps an [`Opens`] in each span but those that one opened: they keep a [`Counts`].
#[derive(Clone, Default)]
struct KeepsOpeners {
    openers: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for KeepsOpeners {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).expect("it is new");
        let mut extensions = span.extensions_mut();
        if span.name() == "from a drop" {
            extensions.insert(Counts(Arc::clone(&self.others)));
        } else {
            extensions.insert(Opens {
                dispatch: dispatcher::get_default(Dispatch::downgrade),
                dropped: Arc::clone(&self.openers),
            });
        }
    }
}

/// Opens a span like that one, and not by a macro: while one of those has the layers told, there is no default.
fn open(dispatch: &Dispatch, template: &tracing::Span) -> Id {
    let metadata = template.metadata().expect("nothing turns it off");
    let values = metadata.fields().value_set(&[]);
    dispatcher::with_default(dispatch, || {
        dispatch.new_span(&Attributes::new_root(metadata, &values))
    })
}

fn template() -> tracing::Span {
    dispatcher::with_default(&Dispatch::new(Registry::default()), || {
        tracing::info_span!("template")
    })
}

#[test]
fn what_is_kept_may_open_spans_when_it_is_dropped() {
    const SPANS: usize = 600;
    gort::run(|| {
        let keeps = KeepsOpeners::default();
        let dispatch = Dispatch::new(Registry::default().with(keeps.clone()));
        let template = template();
        for _ in 0..SPANS {
            dispatch.try_close(open(&dispatch, &template));
        }
        assert_soon(|| keeps.openers.load(Ordering::SeqCst) == SPANS);
        assert_soon(|| keeps.others.load(Ordering::SeqCst) == SPANS);
        assert!(format!("{:?}", registry(&dispatch)).contains("len: 0"));
    });
}

#[test]
fn on_a_plain_thread_what_is_kept_may_open_spans_when_it_is_dropped() {
    let keeps = KeepsOpeners::default();
    let dispatch = Dispatch::new(Registry::default().with(keeps.clone()));
    let template = template();
    for opened in 1..20 {
        dispatch.try_close(open(&dispatch, &template));
        assert_eq!(keeps.openers.load(Ordering::SeqCst), opened - 1);
    }
    // This drops the last.
    dispatch.try_close(open(&dispatch, &template));
    assert_eq!(keeps.openers.load(Ordering::SeqCst), 19);
    assert!(keeps.others.load(Ordering::SeqCst) >= 18);
    drop(dispatch);
    assert_eq!(keeps.openers.load(Ordering::SeqCst), 20);
    assert_eq!(
        keeps.others.load(Ordering::SeqCst),
        19,
        "the last found no registry"
    );
}

/// The last to look at a span frees it, wherever that is and whoever closed it.
#[test]
fn what_is_kept_is_dropped_when_the_last_look_ends_after_the_close() {
    gort::run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let dispatch = Dispatch::new(Registry::default());
        let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span"));
        let data = registry(&dispatch).span_data(&span.id().unwrap()).unwrap();
        data.extensions_mut().insert(Counts(Arc::clone(&dropped)));
        drop(span);
        gort::yield_now();
        assert_eq!(dropped.load(Ordering::SeqCst), 0, "it is looked at");
        drop(data);
        assert_soon(|| dropped.load(Ordering::SeqCst) == 1);
    });
}

#[test]
fn what_is_looked_at_is_no_other_span_however_many_open_and_close() {
    let dispatch = Dispatch::new(Registry::default());
    dispatcher::with_default(&dispatch, || {
        let kept = tracing::info_span!("kept");
        let id = kept.id().unwrap();
        let data = registry(&dispatch).span_data(&id).unwrap();
        drop(kept);
        for _ in 0..1_000 {
            let other = tracing::info_span!("other");
            let other = registry(&dispatch).span_data(&other.id().unwrap()).unwrap();
            other.extensions_mut().insert(1_u8);
        }
        assert_eq!((data.id(), data.metadata().name()), (id.clone(), "kept"));
        assert_eq!(data.extensions().get::<u8>(), None);
        // It can be looked at, but is closed: nobody can own it again.
        assert!(registry(&dispatch).span_data(&id).is_some());
        catch_unwind(AssertUnwindSafe(|| dispatch.clone_span(&id))).expect_err("it is closed");
    });
}

#[test]
fn a_look_at_a_span_that_closes_finds_that_one_or_none() {
    gort::run(|| {
        let dispatch = Dispatch::new(Registry::default().with(KeepsIds));
        let (tx, rx) = chan::bounded::<Id>(4);
        gort::scope(|scope| {
            for _ in 0..2 {
                let (dispatch, rx) = (&dispatch, rx.clone());
                scope.go(move || {
                    for id in rx {
                        if let Some(data) = registry(dispatch).span_data(&id) {
                            gort::yield_now();
                            let kept = data.extensions().get::<KeptId>().map(|kept| kept.0);
                            assert_eq!(kept, Some(id.into_u64()));
                        }
                    }
                });
            }
            for _ in 0..2 {
                let (dispatch, tx) = (&dispatch, tx.clone());
                scope.go(move || {
                    for n in 0..2_000 {
                        let span =
                            dispatcher::with_default(dispatch, || tracing::info_span!("span"));
                        tx.send(span.id().unwrap()).unwrap();
                        if n % 3 == 0 {
                            gort::yield_now();
                        }
                    }
                });
            }
            drop((tx, rx));
        });
        assert!(format!("{:?}", registry(&dispatch)).contains("len: 0"));
    });
}

struct KeepsIds;
struct KeptId(u64);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for KeepsIds {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).expect("it is new");
        span.extensions_mut().insert(KeptId(id.into_u64()));
    }
}

#[test]
fn what_is_kept_goes_with_the_registry() {
    gort::run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let dispatch = Dispatch::new(Registry::default());
        // One is open when the registry goes, the others are closed.
        for n in 0..4 {
            let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span"));
            let data = registry(&dispatch).span_data(&span.id().unwrap()).unwrap();
            data.extensions_mut().insert(Counts(Arc::clone(&dropped)));
            if n == 0 {
                // Its handle is given up, and the reference to the registry that is in it is not.
                span.with_subscriber(|(id, dispatch)| dispatch.clone_span(id));
            }
        }
        drop(dispatch);
        assert_soon(|| dropped.load(Ordering::SeqCst) == 4);
    });
}

/// Panics when it is dropped, the first time that happens.
struct Explodes(Arc<AtomicUsize>);

impl Drop for Explodes {
    fn drop(&mut self) {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("the first value that is dropped panics");
        }
    }
}

#[test]
fn a_value_that_panics_when_it_is_dropped_keeps_no_other_back() {
    const SPANS: usize = 20;
    gort::run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let dispatch = Dispatch::new(Registry::default());
        let spans: Vec<_> = (0..SPANS)
            .map(|_| {
                let span = dispatcher::with_default(&dispatch, || tracing::info_span!("span"));
                let data = registry(&dispatch).span_data(&span.id().unwrap()).unwrap();
                data.extensions_mut().insert(Explodes(Arc::clone(&dropped)));
                span
            })
            .collect();
        drop(spans);
        assert_soon(|| dropped.load(Ordering::SeqCst) == SPANS);
    });
}

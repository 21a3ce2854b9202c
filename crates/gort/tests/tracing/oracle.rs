//! The same random program over the stock registry and over ours: layers are told the same, in the same order.
//!
//! The program opens spans (under the current one, under a given one, under none), enters and leaves them in any
//! order, clones and drops handles, records and logs. The stacks differ in layers and filters.
//!
//! Each in a process of its own. Which callsites are asked about each time depends on all subscribers that there
//! are, and a per-layer filter that has been asked about a span that then did not come takes its answer for that
//! about the next one, if nobody asks about that: with the stock registry as with ours.

use gort_test_support::{Random, alone};
use tracing::subscriber::{Interest, with_default};
use tracing::{Dispatch, Level, Metadata, Span, Subscriber};
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn, filter_fn};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::recorder::{Log, Recorder};

/// What both registries are.
trait Base: Subscriber + for<'a> LookupSpan<'a> + Default + Send + Sync + 'static {}
impl Base for tracing_subscriber::Registry {}
impl Base for gort::tracing::Registry {}

fn open(random: &mut Random, spans: &[Span], n: u64) -> Span {
    let parent = (!spans.is_empty()).then(|| spans[random.index(spans.len())].id());
    match (random.below(6), parent) {
        (0, _) => tracing::info_span!(parent: None, "root", n),
        (1, Some(parent)) => tracing::info_span!(parent: parent, "child", n),
        (2, Some(parent)) => tracing::debug_span!(parent: parent, "quiet_child", n),
        (3, _) => tracing::debug_span!("quiet", n),
        (4, _) => tracing::error_span!("loud", n),
        _ => tracing::info_span!("span", n),
    }
}

/// Runs the program of that seed in the current subscriber.
fn program(seed: u64) {
    let mut random = Random::new(seed);
    let mut spans: Vec<Span> = Vec::new();
    let mut entered: Vec<(Dispatch, tracing::span::Id)> = Vec::new();
    for n in 0..300 {
        let at = random.index(spans.len().max(1));
        match random.below(12) {
            0..=2 => spans.push(open(&mut random, &spans, n)),
            3 if !spans.is_empty() => spans.push(spans[at].clone()),
            4 | 5 if !spans.is_empty() => {
                spans[at].with_subscriber(|(id, dispatch)| {
                    dispatch.enter(id);
                    // Entered spans are kept open by a handle, as a guard of `Span::enter` borrows one.
                    entered.push((dispatch.clone(), dispatch.clone_span(id)));
                });
            }
            6 | 7 if !entered.is_empty() => {
                let (dispatch, id) = entered.remove(random.index(entered.len()));
                dispatch.exit(&id);
                dispatch.try_close(id);
            }
            8 | 9 if !spans.is_empty() => drop(spans.swap_remove(at)),
            10 if !spans.is_empty() => {
                spans[at].record("n", n + 1000);
                spans[at].follows_from(Span::current());
            }
            _ => match random.below(4) {
                0 => tracing::debug!("debug"),
                1 if !spans.is_empty() => tracing::info!(parent: &spans[at], "given"),
                2 => tracing::info!("info"),
                _ => tracing::warn!("warn"),
            },
        }
    }
    for (dispatch, id) in entered.drain(..).rev() {
        dispatch.exit(&id);
        dispatch.try_close(id);
    }
}

/// Runs programs of many seeds on both, and compares.
macro_rules! assert_alike {
    ($stack:expr) => {{
        fn log_of<R: Base>(seed: u64, stack: fn(R, &Log) -> Dispatch) -> Vec<String> {
            let log = Log::default();
            let dispatch = stack(R::default(), &log);
            tracing::dispatcher::with_default(&dispatch, || program(seed));
            log.take()
        }
        for seed in 0..60 {
            let expected = log_of::<tracing_subscriber::Registry>(seed, $stack);
            let found = log_of::<gort::tracing::Registry>(seed, $stack);
            assert!(!expected.is_empty(), "seed {seed}: nothing happens");
            let first = expected.iter().zip(&found).position(|(a, b)| a != b);
            if let Some(first) = first {
                panic!(
                    "seed {seed}, line {first}: stock\n  {}\nours\n  {}",
                    expected[first], found[first]
                );
            }
            assert_eq!(expected.len(), found.len(), "seed {seed}");
        }
    }};
}

#[test]
fn one_layer_is_told_the_same() {
    alone("oracle::one_layer_is_told_the_same", || {
        assert_alike!(|registry, log| Dispatch::new(registry.with(Recorder::<'a'>::new(log))));
    });
}

#[test]
fn several_layers_are_told_the_same_in_order() {
    alone("oracle::several_layers_are_told_the_same_in_order", || {
        assert_alike!(|registry, log| {
            let tree = Recorder::<'b'>::new(log).and_then(Recorder::<'c'>::new(log));
            Dispatch::new(
                registry
                    .with(Recorder::<'a'>::new(log))
                    .with(tree)
                    .with(None::<LevelFilter>)
                    .with(Recorder::<'d'>::new(log)),
            )
        });
    });
}

#[test]
fn filtered_layers_are_told_the_same() {
    alone("oracle::filtered_layers_are_told_the_same", || {
        assert_alike!(|registry, log| {
            Dispatch::new(registry.with(Recorder::<'a'>::new(log).with_filter(LevelFilter::INFO)))
        });
    });
}

#[test]
fn layers_with_and_without_filters_are_told_the_same() {
    alone(
        "oracle::layers_with_and_without_filters_are_told_the_same",
        || {
            assert_alike!(|registry, log| {
                Dispatch::new(
                    registry
                        .with(Recorder::<'a'>::new(log))
                        .with(Recorder::<'b'>::new(log).with_filter(LevelFilter::INFO))
                        .with(Recorder::<'c'>::new(log).with_filter(filter_fn(loud)))
                        .with(Recorder::<'d'>::new(log)),
                )
            });
            assert_alike!(|registry, log| {
                Dispatch::new(
                    registry
                        .with(Recorder::<'a'>::new(log).with_filter(LevelFilter::WARN))
                        .with(Recorder::<'b'>::new(log)),
                )
            });
        },
    );
}

#[test]
fn filters_that_look_at_the_current_span_are_told_the_same() {
    alone(
        "oracle::filters_that_look_at_the_current_span_are_told_the_same",
        || {
            assert_alike!(|registry, log| {
                let below_loud = dynamic_filter_fn(|metadata, ctx| {
                    metadata.is_event()
                        || ctx
                            .lookup_current()
                            .is_none_or(|span| span.name() != "loud")
                });
                Dispatch::new(
                    registry
                        .with(Recorder::<'a'>::new(log).with_filter(below_loud))
                        .with(Recorder::<'b'>::new(log).with_filter(Sometimes)),
                )
            });
        },
    );
}

#[test]
fn filters_within_filters_are_told_the_same() {
    alone("oracle::filters_within_filters_are_told_the_same", || {
        assert_alike!(|registry, log| {
            let inner = Recorder::<'a'>::new(log)
                .with_filter(LevelFilter::INFO)
                .and_then(Recorder::<'b'>::new(log));
            let outer = inner.with_filter(filter_fn(loud));
            Dispatch::new(registry.with(outer).with(Recorder::<'c'>::new(log)))
        });
    });
}

#[test]
fn a_filter_for_all_layers_is_told_the_same() {
    alone("oracle::a_filter_for_all_layers_is_told_the_same", || {
        assert_alike!(|registry, log| {
            Dispatch::new(
                registry
                    .with(LevelFilter::INFO)
                    .with(Recorder::<'a'>::new(log))
                    .with(Recorder::<'b'>::new(log).with_filter(LevelFilter::ERROR)),
            )
        });
    });
}

fn loud(metadata: &Metadata<'_>) -> bool {
    !metadata.name().starts_with("quiet")
}

/// A filter that has to be asked each time, also whether it wants an event's fields.
struct Sometimes;

impl<S> Filter<S> for Sometimes {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &tracing::Event<'_>, _: &Context<'_, S>) -> bool {
        *event.metadata().level() != Level::WARN
    }
}

/// Levels and callsites that no layer wants are turned off for good, not asked about each time.
#[test]
fn hints_and_interests_are_those_of_the_stock_registry() {
    alone(
        "oracle::hints_and_interests_are_those_of_the_stock_registry",
        || {
            fn judge<R: Base>(seen: &mut Vec<String>) {
                let log = Log::default();
                let stacks: [(&str, Box<dyn Subscriber>); 6] = [
                    ("bare", Box::new(R::default())),
                    (
                        "layer",
                        Box::new(R::default().with(Recorder::<'a'>::new(&log))),
                    ),
                    (
                        "global, then layer",
                        Box::new(
                            R::default()
                                .with(LevelFilter::INFO)
                                .with(Recorder::<'a'>::new(&log)),
                        ),
                    ),
                    (
                        "filtered",
                        Box::new(
                            R::default()
                                .with(Recorder::<'a'>::new(&log).with_filter(LevelFilter::INFO)),
                        ),
                    ),
                    (
                        "layer, then filtered",
                        Box::new(
                            R::default()
                                .with(Recorder::<'a'>::new(&log))
                                .with(Recorder::<'b'>::new(&log).with_filter(LevelFilter::INFO)),
                        ),
                    ),
                    (
                        "two filtered",
                        Box::new(
                            R::default()
                                .with(Recorder::<'a'>::new(&log).with_filter(LevelFilter::WARN))
                                .with(Recorder::<'b'>::new(&log).with_filter(LevelFilter::INFO)),
                        ),
                    ),
                ];
                let span = with_default(R::default(), || tracing::debug_span!("judged"));
                let debug = span.metadata().expect("nothing turns it off");
                for (name, stack) in &stacks {
                    let interest = stack.register_callsite(debug);
                    let hint = stack.max_level_hint();
                    seen.push(format!("{name}: {interest:?}, {hint:?}"));
                }
            }
            let (mut stock, mut ours) = (Vec::new(), Vec::new());
            judge::<tracing_subscriber::Registry>(&mut stock);
            judge::<gort::tracing::Registry>(&mut ours);
            assert_eq!(stock, ours);
        },
    );
}

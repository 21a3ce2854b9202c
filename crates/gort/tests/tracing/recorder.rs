//! A layer that writes down all it is told, in numbers that the tests give to spans.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Lines of what happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A layer that adds to a log; `TAG` tells layers apart, and what they keep in spans.
pub(crate) struct Recorder<const TAG: char> {
    log: Log,
}

impl<const TAG: char> Recorder<TAG> {
    pub(crate) fn new(log: &Log) -> Self {
        Recorder { log: log.clone() }
    }

    /// The number that this layer has put into the span when it was told of it.
    fn number<'a, S>(span: &SpanRef<'a, S>) -> String
    where
        S: LookupSpan<'a>,
    {
        match span.extensions().get::<Number<TAG>>() {
            Some(number) => format!("{}#{}", span.name(), number.0),
            None => format!("{}#?", span.name()),
        }
    }

    fn tell<S>(&self, what: &str, id: &Id, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(span) = ctx.span(id) else {
            return self.log.add(format!("{TAG} {what} of no span"));
        };
        let scope: Vec<_> = span.scope().map(|span| Self::number(&span)).collect();
        let parent = span.parent().map(|parent| Self::number(&parent));
        self.log.add(format!(
            "{TAG} {what} {} parent {parent:?}",
            scope.join(" < ")
        ));
    }
}

struct Number<const TAG: char>(u64);

impl<const TAG: char> Visit for Number<TAG> {
    fn record_u64(&mut self, _: &Field, value: u64) {
        self.0 = value;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S, const TAG: char> Layer<S> for Recorder<TAG>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let mut number = Number::<TAG>(0);
        attributes.record(&mut number);
        let span = ctx.span(id).expect("it is new");
        span.extensions_mut().insert(number);
        self.tell("opens", id, &ctx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let span = ctx.span(id).expect("it is open");
        if let Some(number) = span.extensions_mut().get_mut::<Number<TAG>>() {
            values.record(number);
        }
        self.tell("records", id, &ctx);
    }

    fn on_follows_from(&self, id: &Id, _: &Id, ctx: Context<'_, S>) {
        self.tell("follows", id, &ctx);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let scope: Vec<_> = ctx
            .event_scope(event)
            .into_iter()
            .flatten()
            .map(|span| Self::number(&span))
            .collect();
        let current = ctx.lookup_current().map(|span| Self::number(&span));
        self.log.add(format!(
            "{TAG} event {} in {} current {current:?}",
            event.metadata().level(),
            scope.join(" < ")
        ));
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        self.tell("enters", id, &ctx);
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        self.tell("leaves", id, &ctx);
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        self.tell("closes", &id, &ctx);
    }
}

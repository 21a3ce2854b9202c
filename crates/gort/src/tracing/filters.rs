//! Per-layer filters: which of them turned a span off.
//!
//! tracing-subscriber keeps a thread-local of the answers of a stack's `Filtered` layers, of which only its
//! own parts may read. What a registry has to do with it is in part done by a stock registry that has no
//! spans: it hands out the ids, sums up interests, says whether any layer wants an event, and has a
//! second copy of what is entered, where layers look for the span above one that was turned off.
//!
//! Layers that find it take it for the one whose spans they close, and would have it clear them, which costs a
//! goroutine one of its 4,096 numbers. They do not get that far, as each close is a call within another that is
//! answered "not closed" (`Registry::close`).
//!
//! What is left are the answers, bit by bit, when a span is opened. A [`Probe`] reads one: it is a `Filtered`
//! layer that was given the id of the one it stands for. Asked whether it would have an event, such a layer
//! first looks whether its bit says no, and does not change the answer if its own filter agrees to all.

use std::any::TypeId;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::{Event, Interest, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterId, Filtered};
use tracing_subscriber::layer::{Context, Filter, Layer, Layered};
use tracing_subscriber::registry::{self, LookupSpan};

type Probing = Filtered<Tell, Agree, Issuer>;

/// Reads one filter's answer.
type Probe = Layered<Probing, Issuer>;

/// The filters of one registry.
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) stock: registry::Registry,
    probes: Vec<(u64, Probe)>,
}

/// A filter that turns nothing off.
#[derive(Debug)]
struct Agree;

/// A layer that tells by a "no" that it was asked.
#[derive(Debug)]
struct Tell;

/// A subscriber that gives its layer's filter a certain id.
#[derive(Debug)]
struct Issuer(FilterId);

impl Filters {
    pub(super) fn new() -> Filters {
        Filters {
            stock: registry::Registry::default(),
            probes: Vec::new(),
        }
    }

    pub(super) fn register(&mut self) -> FilterId {
        let id = self.stock.register_filter();
        let probe = Tell.with_filter(Agree).with_subscriber(Issuer(id));
        self.probes.push((bits(id), probe));
        id
    }

    /// A bit for each filter that turned off the span that is being opened.
    pub(super) fn disabled(&self, span: &Attributes<'_>) -> u64 {
        // Of this the probes hear no more than that it is.
        let event = Event::new(span.metadata(), span.values());
        let disabled = self.probes.iter().map(|(bit, probe)| {
            let was_not_asked = probe.event_enabled(&event);
            if was_not_asked { *bit } else { 0 }
        });
        disabled.fold(0, |all, bit| all | bit)
    }
}

/// The bits of an id; that of a layer within filtered layers has several. Its binary form is all that
/// is public of it.
pub(super) fn bits(id: FilterId) -> u64 {
    struct Bits(u64);
    impl fmt::Write for Bits {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for digit in text.bytes().filter(|byte| matches!(byte, b'0' | b'1')) {
                self.0 = self.0 << 1 | u64::from(digit == b'1');
            }
            Ok(())
        }
    }
    let mut bits = Bits(0);
    write!(bits, "{id:b}").expect("it takes any text");
    bits.0
}

/// Says, once, that there is a filter in a registry that has none.
///
/// A layer put upon a registry combines what it and the registry say of callsites and levels. It does so
/// in one way for the stock registry, which it knows by its type, and in another for any other subscriber,
/// which may itself have an opinion. Both are the same if the subscriber has filters, which the layer asks for
/// when it is put on. Layers further up ask as well, and want to know it of the layers in between: so only
/// the first is told.
#[derive(Debug)]
pub(super) struct FirstLayer {
    filtered: Probing,
    is_told: AtomicBool,
}

impl FirstLayer {
    pub(super) fn new() -> FirstLayer {
        FirstLayer {
            filtered: Filtered::new(Tell, Agree),
            is_told: AtomicBool::new(false),
        }
    }

    /// What to say to somebody who asks for a type that the registry is not.
    ///
    /// # Safety
    ///
    /// That of `Subscriber::downcast_raw`: the pointer is used as one to that type, while `self` is there.
    pub(super) unsafe fn downcast_raw(&self, asked: TypeId) -> Option<*const ()> {
        if self.is_told.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: as the caller; the layer gives pointers into itself, and it is a part of `self`.
        let found = unsafe { Layer::<Issuer>::downcast_raw(&self.filtered, asked) }?;
        self.is_told.store(true, Ordering::Relaxed);
        Some(found)
    }
}

impl<S> Filter<S> for Agree {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }
}

impl<S: Subscriber> Layer<S> for Tell {
    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        false
    }
}

impl<'a> LookupSpan<'a> for Issuer {
    type Data = registry::Data<'a>;

    fn span_data(&'a self, _: &Id) -> Option<Self::Data> {
        None
    }

    fn register_filter(&mut self) -> FilterId {
        self.0
    }
}

/// It is never given a span, nor asked about one.
impl Subscriber for Issuer {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::never()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        unreachable!("nobody has it for a subscriber")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn current_span(&self) -> Current {
        Current::none()
    }
}

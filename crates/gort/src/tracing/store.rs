//! The spans with what layers keep in them: the slab, and extensions out of the stock registry.
//!
//! Layers get an `Extensions`, and only tracing-subscriber's own registry can make one (its issue 1415). So
//! an entry that is asked for extensions gets a span of a stock registry, of which nothing else is used.
//! That registry numbers the threads that open or clear a span in it, for as long as they live, up to
//! 4,096; those that only look are not numbered. So opening and clearing is done for many entries at a time,
//! in a goroutine that ends afterwards and gives its number back. Looking is done where it is asked for.
//!
//! What layers have put into a span is dropped when its entry is renewed: when [`RENEW`] spans of a P have
//! closed, or [`RENEW_AFTER`] later, counted from the end of the last look at it. A plain thread keeps to what
//! stock does: it opens by itself, has a number, and renews when it opens the next span. (It starts no
//! runtime for the sake of a log line.)
//!
//! So a span in which a layer keeps something is opened and closed twice, here and in the stock registry: 2,410
//! instructions (bench/touch, `touch-spans`, by callgrind) beside stock's 1,295, and 1,004 beside 821 if nothing is
//! kept. Of the difference some 770 are renewal (340 of them clearing, with the values' own drops), 150 the
//! look at the stock span, 140 the way to who renews. What would save some of it cannot be had from outside
//! tracing-subscriber: a look that stays with the entry (`registry::Data` is neither `Send` nor `Sync`), emptying
//! extensions without closing their span (`ExtensionsMut` gives values out by type only, and which there are is the
//! layers' secret), opening and clearing in place (a number for each goroutine that does). Batches of 16 to 512 took
//! the same time, and counting in the stacks' heads, with one atomic change less, did too.
//!
//! S1. Nobody looks at the extensions of an entry that is used up: the stock span's last guard is gone
//!     before the entry's last pin. So clearing is done by the one who renews, and never put off to
//!     a guard's drop in another goroutine.
//! S2. The stock registry has a filter registered that nobody uses. Spans may be opened in the midst of
//!     somebody's filtering, and it asserts that filters are known to it then.

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use tracing_core::callsite::{Callsite, DefaultCallsite};
use tracing_core::field::FieldSet;
use tracing_core::metadata::{Kind, Level, Metadata};
use tracing_core::span::{Attributes, Id};
use tracing_core::{Subscriber, identify_callsite};
use tracing_subscriber::filter::FilterId;
use tracing_subscriber::layer::{Identity, Layer, Layered};
use tracing_subscriber::registry::{self, Extensions, ExtensionsMut, LookupSpan, SpanData};

use super::filters;
use super::slab::{self, Renewal, Renewer};
use crate::go;
use crate::sync::Mutex;
use crate::time::{Duration, after_func};

/// So many closed spans make it worth starting a goroutine: that costs each of them a few ns.
const RENEW: u32 = 256;
/// A few closed spans are renewed so much later. Nobody waits for it but values that do something when
/// they are dropped.
const RENEW_AFTER: Duration = Duration::from_millis(10);
/// New extensions are made this many at a time, or half as many as there are.
const MAKE_MIN: u32 = 16;
const MAKE_MAX: u32 = 4096;

/// The stock registry under a layer that does nothing: by such a pair alone can a span be cleared.
type Stock = Layered<Identity, registry::Registry>;
type StockData<'a> = <Stock as LookupSpan<'a>>::Data;

static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
static METADATA: Metadata<'static> = Metadata::new(
    "extensions",
    "gort::tracing",
    Level::TRACE,
    None,
    None,
    None,
    FieldSet::new(&[], identify_callsite!(&CALLSITE)),
    Kind::SPAN,
);

type Entry = slab::Entry<Body>;
type Pin<'a> = slab::Pin<'a, Body, OfStore>;

/// The part of a span that does not change.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) metadata: &'static Metadata<'static>,
    /// The parent's number, of which this span owns a handle; 0 for none.
    pub(super) parent: u64,
    /// The filters that turned it off, a bit for each.
    pub(super) disabled: u64,
}

/// Spans and extensions of one registry.
pub(super) struct Store {
    pub(super) slab: slab::Slab<Body, OfStore>,
    stock: Stock,
    /// Extensions that belong to no entry yet.
    spare: Mutex<Vec<u64>>,
    made: AtomicU32,
}

/// Has its store renew in other goroutines, as long as it is there.
pub(super) struct OfStore(Weak<Store>);

/// What [`Registry`](super::Registry) knows of a span, as layers see it.
///
/// Layers have it inside a [`SpanRef`](registry::SpanRef). While it is there, so is what is in it, also if the
/// span closes meanwhile.
///
/// # Examples
///
/// ```
/// use tracing_subscriber::registry::{LookupSpan, SpanData};
///
/// let dispatch = tracing::Dispatch::new(gort::tracing::Registry::default());
/// tracing::dispatcher::with_default(&dispatch, || {
///     let span = tracing::info_span!("load");
///     let registry = dispatch.downcast_ref::<gort::tracing::Registry>().unwrap();
///     let data = registry.span_data(&span.id().unwrap()).unwrap();
///     assert_eq!(data.metadata().name(), "load");
/// });
/// ```
pub struct Data<'a> {
    store: &'a Store,
    /// Dropped before the pin (S1).
    extensions: OnceCell<StockData<'a>>,
    pin: Pin<'a>,
    parent: Option<Id>,
}

impl Store {
    pub(super) fn new() -> Arc<Store> {
        let mut stock = registry::Registry::default();
        // S2.
        let _ = stock.register_filter();
        Arc::new_cyclic(|store| Store {
            slab: slab::Slab::new(OfStore(Weak::clone(store))),
            stock: Identity::new().with_subscriber(stock),
            spare: Mutex::new(Vec::new()),
            made: AtomicU32::new(0),
        })
    }

    #[inline]
    pub(super) fn data(&self, id: &Id) -> Option<Data<'_>> {
        let pin = self.slab.pin(id.into_u64())?;
        let parent = pin.body().parent;
        Some(Data {
            store: self,
            extensions: OnceCell::new(),
            pin,
            parent: (parent != 0).then(|| Id::from_u64(parent)),
        })
    }

    /// Opens a stock span. Whoever calls this has a number from then on.
    fn make(&self) -> u64 {
        let fields = CALLSITE.metadata().fields();
        let values = fields.value_set(&[]);
        let attributes = Attributes::new_root(&METADATA, &values);
        self.stock.new_span(&attributes).into_u64()
    }

    /// Extensions for an entry that has none. Parks the goroutine while they are made.
    #[cold]
    fn provide(&self, entry: &Entry) -> u64 {
        let spare = self.spare.lock().pop();
        let extensions = spare.unwrap_or_else(|| self.make_many());
        let earlier =
            entry
                .extensions
                .compare_exchange(0, extensions, Ordering::AcqRel, Ordering::Acquire);
        match earlier {
            Ok(_) => extensions,
            Err(earlier) => {
                self.spare.lock().push(extensions);
                earlier
            }
        }
    }

    /// Makes one, and more to spare, in a goroutine of their own.
    fn make_many(&self) -> u64 {
        let count = (self.made.load(Ordering::Relaxed) / 2).clamp(MAKE_MIN, MAKE_MAX);
        let make = || {
            let made: Vec<u64> = (1..count).map(|_| self.make()).collect();
            self.made.fetch_add(count, Ordering::Relaxed);
            self.spare.lock().extend(made);
            self.make()
        };
        if go::try_current().is_none() {
            return make();
        }
        let made = go::scope(|scope| {
            let builder = go::Builder::new().name("gort::tracing");
            // No memory for a goroutine: one alone, under a number that the caller keeps.
            builder.go_scoped(scope, make).ok()?.join().ok()
        });
        made.unwrap_or_else(|| self.make())
    }

    /// Drops what was in an entry that is used up.
    fn clear(&self, entry: &Entry) {
        let cleared = Id::from_u64(entry.extensions.swap(0, Ordering::Relaxed));
        self.stock.try_close(cleared);
        entry.extensions.store(self.make(), Ordering::Relaxed);
    }

    /// Renews what plain threads left. Not while one closes a span: stock clears nothing then.
    #[cold]
    pub(super) fn renew_on_thread(&self) {
        if go::try_current().is_none() {
            self.slab
                .renew_due(Renewer::Thread, |entry| self.clear(entry));
        }
    }

    /// Spans close no faster than they are renewed, also with one P. May yield.
    #[inline]
    pub(super) fn slow_down(&self) {
        #[cold]
        fn stand_back() {
            if go::try_current().is_some() {
                go::yield_now();
            }
        }
        if self.slab.used_up_len() >= RENEW {
            stand_back();
        }
    }
}

impl Renewal for OfStore {
    fn renewer(&self) -> Renewer {
        match go::try_current() {
            Some(_) => Renewer::Goroutine,
            None => Renewer::Thread,
        }
    }

    /// A goroutine starts another, now or later. Plain threads look when they open a span.
    fn used_up(&self, renewer: Renewer, len: u32, is_first: bool) {
        if matches!(renewer, Renewer::Thread) || !is_first && !len.is_multiple_of(RENEW) {
            return;
        }
        let Some(store) = self.0.upgrade() else {
            return;
        };
        if is_first {
            let store = Arc::clone(&store);
            let renew = move || {
                let clear = |entry: &Entry| store.clear(entry);
                store.slab.renew_due(Renewer::Goroutine, clear);
            };
            after_func(RENEW_AFTER, renew).detach();
        }
        if len.is_multiple_of(RENEW) {
            let builder = go::Builder::new().name("gort::tracing");
            // No memory for a goroutine: the timer comes.
            let _ = builder.go(move || store.slab.renew(|entry| store.clear(entry)));
        }
    }
}

impl<'a> Data<'a> {
    fn stock(&self) -> &StockData<'a> {
        self.extensions.get_or_init(|| {
            let entry = self.pin.entry();
            let id = match entry.extensions.load(Ordering::Acquire) {
                0 => self.store.provide(entry),
                made => made,
            };
            let data = self.store.stock.span_data(&Id::from_u64(id));
            data.expect("it is open until the entry is renewed (S1)")
        })
    }
}

impl<'a> SpanData<'a> for Data<'a> {
    fn id(&self) -> Id {
        Id::from_u64(self.pin.number())
    }

    fn metadata(&self) -> &'static Metadata<'static> {
        self.pin.body().metadata
    }

    fn parent(&self) -> Option<&Id> {
        self.parent.as_ref()
    }

    fn extensions(&self) -> Extensions<'_> {
        self.stock().extensions()
    }

    fn extensions_mut(&self) -> ExtensionsMut<'_> {
        // Whoever frees the entry has seen the end of this pin, and so this.
        self.pin.entry().is_extended.store(true, Ordering::Relaxed);
        self.stock().extensions_mut()
    }

    fn is_enabled_for(&self, filter: FilterId) -> bool {
        let disabled = self.pin.body().disabled;
        disabled == 0 || disabled & filters::bits(filter) == 0
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("id", &self.id())
            .field("name", &self.metadata().name())
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slab.fmt(f)
    }
}

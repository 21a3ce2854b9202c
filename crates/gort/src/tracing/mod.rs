//! Feature `tracing`: a span registry for any number of goroutines, in place of tracing-subscriber's.
//!
//! `tracing` itself and the layers of tracing-subscriber work in goroutines as they are: what they keep
//! per thread is the goroutine's. But `tracing_subscriber::Registry` stores spans by thread, with room for 4,096
//! threads at a time, and panics in the next goroutine that opens one. [`Registry`] does not.
//!
//! ```
//! use tracing_subscriber::prelude::*;
//!
//! // What `tracing_subscriber::fmt::init()` sets up, on this registry.
//! gort::tracing::Registry::default()
//!     .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
//!     .init();
//!
//! gort::run(|| {
//!     let workers: Vec<_> = (0..10)
//!         .map(|id| {
//!             gort::go(move || {
//!                 let _worker = tracing::info_span!("worker", id).entered();
//!                 gort::yield_now(); // Parks, may go on on another OS thread: the span stays entered.
//!                 tracing::info!("done"); // INFO worker{id=7}: done
//!             })
//!         })
//!         .collect();
//!     for worker in workers {
//!         worker.join().unwrap();
//!     }
//! });
//! ```
//!
//! Inside: `slab` has the spans, `entered` those a goroutine is in, `store` what layers keep in spans, and
//! `filters` the per-layer filters. Closing is here (`Registry::close`). Of tracing-subscriber only public API is
//! used; where that takes a turn, the file's header says which and why.

mod cell;
mod entered;
mod filters;
mod slab;
mod store;

use std::any::TypeId;
use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;

use scopeguard::ScopeGuard;
use tracing_core::dispatcher::{self, WeakDispatch};
use tracing_core::metadata::LevelFilter;
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Metadata, Subscriber};
use tracing_subscriber::filter::FilterId;
use tracing_subscriber::registry::{self, LookupSpan};

use self::atomic::{AtomicBool, AtomicU64, Ordering};
use self::filters::{Filters, FirstLayer};
use self::slab::{Released, Renewer};
use self::store::{Body, Store};
use crate::sync::{Mutex, atomic, striped};

pub use self::store::Data;

/// A shared store of spans for tracing's layers, which any number of goroutines may use.
///
/// A drop-in for `tracing_subscriber::Registry`: put layers upon it, per-layer filters included. Spans have
/// parents (the current span, or a given one), live until their last handle and their last child are gone,
/// may be entered in one goroutine and closed in another, and left in any order. Layers' `on_close` is called
/// once for each, with its data still there. Ids of open spans differ; ids of closed ones come again
/// after 2³² spans at the earliest.
///
/// A goroutine keeps the spans it is in for itself, while it is parked as well; a new goroutine is in none.
/// An open span takes 64 bytes here, and what layers keep in it; see the page 'What a goroutine costs when it
/// touches X' for numbers.
///
/// Nothing here waits for another goroutine, with one exception: a layer's first use of a span's extensions
/// may park while memory for more of them is made. Closing many spans yields now and then.
///
/// # What differs from the stock registry
///
/// * Values that layers have put into a span's extensions are dropped up to 10 ms after the span closed and the last
///   `SpanRef` of it was dropped, in another goroutine. (On plain threads: when one opens its next span.) `on_close`
///   is not later. A drop that panics does so there.
/// * A plain OS thread, one that is no goroutine, is numbered by tracing-subscriber as with the stock registry:
///   of those that use the extensions of spans only some 4,096 may be alive. For goroutines there is no such
///   bound, nor in thread mode.
/// * A span in which a layer keeps something costs two and a half times the stock registry's time, some 400 ns more;
///   one in which none does costs about the same.
/// * `Subscriber::try_close` of the whole stack answers `false` for the call that closed a span. `tracing`'s `Span`
///   does not look at the answer.
/// * Downcasting a `Dispatch` to `tracing_subscriber::Registry` finds none that has spans.
///
/// # Panics
///
/// Cloning or closing an id of which there is no open span panics, as with the stock registry; a
/// `tracing::Span` never does. There is room for a thousand million open spans, and for 64 per-layer filters.
///
/// # Examples
///
/// Filters per layer, and a layer of one's own that looks at the spans:
///
/// ```
/// use tracing_subscriber::filter::LevelFilter;
/// use tracing_subscriber::layer::{Context, Layer};
/// use tracing_subscriber::prelude::*;
/// use tracing_subscriber::registry::LookupSpan;
///
/// struct Depth;
/// impl<S> Layer<S> for Depth
/// where
///     S: tracing::Subscriber + for<'a> LookupSpan<'a>,
/// {
///     fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
///         let depth = ctx.event_scope(event).map_or(0, |scope| scope.count());
///         assert_eq!(depth, 2);
///     }
/// }
///
/// let subscriber = gort::tracing::Registry::default()
///     .with(Depth)
///     .with(tracing_subscriber::fmt::layer().with_filter(LevelFilter::WARN));
/// tracing::subscriber::with_default(subscriber, || {
///     let _outer = tracing::info_span!("outer").entered();
///     let _inner = tracing::info_span!("inner").entered();
///     tracing::info!("seen by `Depth` alone");
/// });
/// ```
pub struct Registry {
    /// Tells its spans from those of other registries in `entered`.
    number: u64,
    store: Arc<Store>,
    /// None until a per-layer filter asks for its id.
    filters: Option<Box<Filters>>,
    first_layer: FirstLayer,
    /// The whole stack, once it is one.
    dispatch: OnceLock<WeakDispatch>,
    /// Closed spans of which the layers may still be told; see [`Registry::close`].
    late: Mutex<Vec<Id>>,
    has_late: AtomicBool,
}

thread_local! {
    /// Spans that the goroutine is closing.
    static CLOSING: Cell<u32> = const { Cell::new(0) };
}

impl Default for Registry {
    fn default() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Registry {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            store: Store::new(),
            filters: None,
            first_layer: FirstLayer::new(),
            dispatch: OnceLock::new(),
            late: Mutex::new(Vec::new()),
            has_late: AtomicBool::new(false),
        }
    }
}

impl Registry {
    /// Closes a span whose last handle is gone, and those of its ancestors that only it kept open. True if the
    /// layers are to be told by the caller's answer.
    ///
    /// A stack's `try_close` asks the registry first, and if that says "closed" the layers are told, from the
    /// bottom up. The span must be there until the last is, and for that the stock registry has an
    /// understanding with the stack. Ours has not. So it closes the span by a second `try_close` of the whole
    /// stack from within the first: that one comes here again, finds that the span is to be announced, and is
    /// answered "closed". When it returns, all layers know. The first is answered "not closed".
    ///
    /// If there is no way to the whole stack, because nobody made a `Dispatch` of it, the first call is
    /// answered "closed", and the span goes with the next call that opens or closes one.
    fn close(&self, id: Id) -> bool {
        let _depth = Depth::enter();
        let mut last = Some(id);
        let mut is_first = true;
        while let Some(id) = last {
            // A layer may panic. Then the span goes all the same.
            let removal = scopeguard::guard((), |()| {
                if let Some(parent) = self.remove(&id) {
                    self.close(parent);
                }
            });
            self.announce(&id);
            ScopeGuard::into_inner(removal);
            if is_first && !self.store.slab.is_announced(id.into_u64()) {
                self.late.lock().push(id);
                self.has_late.store(true, Ordering::Release);
                return true;
            }
            is_first = false;
            last = self.remove(&id);
        }
        self.store.slow_down();
        false
    }

    /// Has the whole stack close a closing span once more.
    ///
    /// Not from within `get_default`: there the layers could not log, nor set another default.
    fn announce(&self, id: &Id) {
        // Mostly it is the current one, which has no reference count if it is the global one. (Within a
        // dispatch of another subscriber's, there is none.)
        let current = dispatcher::get_default(|current| {
            let registry = current.downcast_ref::<Registry>();
            let is_ours = registry.is_some_and(|registry| ptr::eq(registry, self));
            is_ours.then(|| current.clone())
        });
        let dispatch = current.or_else(|| self.dispatch.get()?.upgrade());
        if let Some(dispatch) = dispatch {
            dispatch.try_close(id.clone());
        }
    }

    /// Takes a closing span away, and its handle of its parent: which the caller closes if it is given.
    fn remove(&self, id: &Id) -> Option<Id> {
        let slab = &self.store.slab;
        let parent = slab.close(id.into_u64()).parent;
        let is_last = parent != 0 && slab.release(parent) == Released::Last;
        is_last.then(|| Id::from_u64(parent))
    }

    /// Takes away the spans of which the layers were told by an answer.
    #[cold]
    fn remove_late(&self) {
        self.has_late.store(false, Ordering::Relaxed);
        let late = mem::take(&mut *self.late.lock());
        for id in late {
            if let Some(parent) = self.remove(&id) {
                self.close(parent);
            }
        }
    }

    /// What is left to do from earlier calls.
    #[inline]
    fn catch_up(&self) {
        if self.has_late.load(Ordering::Acquire) {
            self.remove_late();
        }
    }
}

impl Subscriber for Registry {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // The first. Of another one it is found as the current dispatch.
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match &self.filters {
            Some(filters) => filters.stock.register_callsite(metadata),
            None => Interest::always(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match &self.filters {
            Some(filters) => filters.stock.enabled(metadata),
            None => true,
        }
    }

    /// With filters there are layers, and a hint of ours would be combined with theirs: so it is the least.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filters.as_ref().map(|_| LevelFilter::OFF)
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        match &self.filters {
            Some(filters) => filters.stock.event_enabled(event),
            None => true,
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.catch_up();
        let slab = &self.store.slab;
        if slab.is_due(Renewer::Thread) && !Depth::is_closing() {
            self.store.renew_on_thread();
        }
        let parent = if attributes.is_contextual() {
            // One that is entered and closed all the same is nobody's parent.
            entered::current(self.number).filter(|current| slab.retain(current.into_u64()))
        } else {
            attributes.parent().map(|parent| self.clone_span(parent))
        };
        let filters = self.filters.as_ref();
        Id::from_u64(slab.open(Body {
            metadata: attributes.metadata(),
            parent: parent.map_or(0, |parent| parent.into_u64()),
            disabled: filters.map_or(0, |filters| filters.disabled(attributes)),
        }))
    }

    /// Nothing: fields are the layers'.
    fn record(&self, _: &Id, _: &Record<'_>) {}

    /// Nothing, as above.
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    /// Nothing, as above.
    fn event(&self, _: &Event<'_>) {}

    #[inline]
    fn enter(&self, id: &Id) {
        entered::push(self.number, id);
        if let Some(filters) = &self.filters {
            filters.stock.enter(id);
        }
    }

    #[inline]
    fn exit(&self, id: &Id) {
        entered::pop(self.number, id);
        if let Some(filters) = &self.filters {
            filters.stock.exit(id);
        }
    }

    #[inline]
    fn clone_span(&self, id: &Id) -> Id {
        assert!(
            self.store.slab.retain(id.into_u64()),
            "cloned {id:?}, which is no open span (was a parent given by value, `parent: span`, instead of \
             `parent: &span`?)"
        );
        id.clone()
    }

    fn current_span(&self) -> Current {
        let current = entered::current(self.number).and_then(|id| {
            let metadata = self.store.slab.pin(id.into_u64())?.body().metadata;
            Some(Current::new(id, metadata))
        });
        current.unwrap_or_else(Current::none)
    }

    #[inline]
    fn try_close(&self, id: Id) -> bool {
        self.catch_up();
        match self.store.slab.release(id.into_u64()) {
            Released::Open => false,
            Released::Last => self.close(id),
            Released::Announce => true,
            Released::Gone if thread::panicking() => false,
            Released::Gone => panic!("closed {id:?}, which is no open span"),
        }
    }

    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(ptr::from_ref(self).cast());
        }
        if id == TypeId::of::<registry::Registry>() {
            // For layers that look for the span above one that is turned off for them.
            let filters = self.filters.as_ref()?;
            return Some(ptr::from_ref(&filters.stock).cast());
        }
        // SAFETY: our caller's promise; what is found is a part of `self`.
        unsafe { self.first_layer.downcast_raw(id) }
    }
}

impl<'a> LookupSpan<'a> for Registry {
    type Data = Data<'a>;

    fn span_data(&'a self, id: &Id) -> Option<Data<'a>> {
        self.store.data(id)
    }

    fn register_filter(&mut self) -> FilterId {
        self.filters
            .get_or_insert_with(|| Box::new(Filters::new()))
            .register()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("spans", &self.store)
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

/// Counts the spans that the goroutine is closing, one within the other.
struct Depth;

impl Depth {
    fn enter() -> Depth {
        let _ = CLOSING.try_with(|count| count.set(count.get() + 1));
        Depth
    }

    fn is_closing() -> bool {
        CLOSING.try_with(Cell::get).unwrap_or(1) > 0
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        let _ = CLOSING.try_with(|count| count.set(count.get() - 1));
    }
}

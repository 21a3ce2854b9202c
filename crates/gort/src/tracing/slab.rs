//! Where spans are: entries that are used again, found by a number that is never given twice.
//!
//! An entry has two counts. *Handles* are the span's owners: whoever called `new_span` or `clone_span`,
//! and its children. When the last is gone the span closes. *Pins* are those who look at the entry; being
//! open is one of them. When the last is gone the entry is free. Each count shares a word with the entry's
//! generation, and changes only together with a look at that, so a number that is out of date finds nothing.
//!
//! Free entries are on stacks, one for each P or so (`sync::striped`), and not one for each thread: any
//! goroutine takes from any. A stack's head carries a count of its changes, so that a pop that slept does
//! not take a head that has been away.
//!
//! E1. An entry is free (on a free stack, or being handed out), open, closing, or used up (on a stack of
//!     those whose extensions are still to be dropped; see `store`).
//! E2. The body is written between a pop and `open`, and read under a pin.
//! E3. Only the owner of an entry that is free or used up touches its link.
//!
//! Elsewhere: what closing means to layers (`mod.rs`), extensions (`store`).

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use tracing_core::Metadata;
use tracing_core::span::Id;

use crate::sync::striped::Striped;

/// Entries on the first page; each further page has twice as many.
const FIRST_PAGE: u32 = 64;
/// Room for as many as fit in the lower half of a number.
const PAGES: usize = 25;
/// New entries are taken this many at a time.
const FRESH: u32 = 32;

/// In place of the handles: closing, and the one call that tells the layers is still to come.
const TO_ANNOUNCE: u32 = 1 << 31;
/// In place of the handles: closing, and the layers are told.
const ANNOUNCED: u32 = 1 << 30;

/// The part of a span that does not change.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) metadata: &'static Metadata<'static>,
    /// The parent's number, of which this span owns a handle; 0 for none.
    pub(super) parent: u64,
    /// The filters that turned it off, a bit for each.
    pub(super) disabled: u64,
}

/// One span, on a cache line of its own.
#[repr(align(64))]
pub(super) struct Entry {
    /// Generation above, handles below.
    handles: AtomicU64,
    /// Generation above, pins below.
    pins: AtomicU64,
    body: UnsafeCell<Option<Body>>,
    /// The stock store's number of the extensions; 0 for none yet. It stays with the entry.
    pub(super) extensions: AtomicU64,
    /// The entry below on a stack, plus one.
    next: AtomicU32,
    /// Whether there may be something in the extensions.
    pub(super) is_extended: AtomicBool,
}

// SAFETY: all but the body is atomic. The body is written by the one who owns a free entry and read under
// pins (E2): the release in `open` comes before the acquire in `pin`. A `Body` is plain data.
unsafe impl Sync for Entry {}

/// Why a handle could not be given back quietly.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// There are other handles.
    Open,
    /// It was the last: the caller closes the span.
    Last,
    /// The span is closing, and this is the call that tells the layers.
    Announce,
    /// No such span.
    Gone,
}

/// All entries.
pub(super) struct Slab {
    pages: [OnceLock<Box<[Entry]>>; PAGES],
    /// Entries that were ever handed out.
    made: AtomicU32,
    stripes: Striped<Stripe>,
}

/// The stacks that those who run on one P try first.
#[derive(Default)]
struct Stripe {
    free: Stack,
    used_up: Stack,
    /// About how many are used up.
    used_up_len: AtomicU32,
}

/// A stack of entries: a count of changes above, the first entry plus one below.
#[derive(Default)]
struct Stack(AtomicU64);

/// A look at an entry that keeps it as it is.
pub(super) struct Pin<'a> {
    slab: &'a Slab,
    entry: &'a Entry,
    index: u32,
    generation: u32,
}

const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

const fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// A number is one more than generation and index, so that it is not 0.
fn parse(id: &Id) -> (u32, u32) {
    split(id.into_u64() - 1)
}

impl Default for Entry {
    fn default() -> Self {
        Entry {
            handles: AtomicU64::new(0),
            pins: AtomicU64::new(0),
            body: UnsafeCell::new(None),
            extensions: AtomicU64::new(0),
            next: AtomicU32::new(0),
            is_extended: AtomicBool::new(false),
        }
    }
}

impl Slab {
    pub(super) const fn new() -> Slab {
        Slab {
            pages: [const { OnceLock::new() }; PAGES],
            made: AtomicU32::new(0),
            stripes: Striped::new(),
        }
    }

    /// The entry of that index, if it was ever handed out.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Entry> {
        let (page, offset) = place(index);
        self.pages.get(page)?.get()?.get(offset)
    }

    /// The entry of an index that came from a stack or from `grow`.
    #[inline]
    fn entry(&self, index: u32) -> &Entry {
        self.get(index).expect("its page was made before it")
    }

    /// Opens a span with one handle.
    #[inline]
    pub(super) fn open(&self, body: Body) -> Id {
        let own = self.stripes.own();
        let index = match own.free.pop(self) {
            Some(index) => index,
            None => self.more(own),
        };
        let entry = self.entry(index);
        // SAFETY: the entry is free and ours (E1), so nobody has a pin to read the body with (E2).
        unsafe { *entry.body.get() = Some(body) };
        let (generation, pins) = split(entry.pins.load(Ordering::Relaxed));
        debug_assert_eq!(pins, 0, "a free entry is looked at");
        let one = join(generation, 1);
        entry.handles.store(one, Ordering::Relaxed);
        entry.pins.store(one, Ordering::Release);
        Id::from_u64(join(generation, index) + 1)
    }

    /// An entry when the own stack is empty: from another stack, all of which moves here, or a new one.
    #[cold]
    fn more(&self, own: &Stripe) -> u32 {
        for other in self.stripes.all() {
            if let Some(first) = other.free.take_all() {
                let rest = self.entry(first).next.load(Ordering::Relaxed);
                if let Some(rest) = rest.checked_sub(1) {
                    own.free.push(self, rest, self.last(rest));
                }
                return first;
            }
        }
        let first = self.grow();
        for index in first + 1..first + FRESH {
            own.free.push(self, index, index);
        }
        first
    }

    /// The first of new entries.
    fn grow(&self) -> u32 {
        let first = self.made.fetch_add(FRESH, Ordering::Relaxed);
        // A page holds a multiple of FRESH, so one page has them all.
        let (page, _) = place(first);
        let page_len = FIRST_PAGE << page;
        let page = self.pages.get(page).expect("a thousand million open spans");
        page.get_or_init(|| (0..page_len).map(|_| Entry::default()).collect());
        first
    }

    /// The last entry of a chain.
    fn last(&self, first: u32) -> u32 {
        let mut last = first;
        while let Some(next) = self.entry(last).next.load(Ordering::Relaxed).checked_sub(1) {
            last = next;
        }
        last
    }

    /// A look at the span, if it is there still: open, or closing.
    #[inline]
    pub(super) fn pin(&self, id: &Id) -> Option<Pin<'_>> {
        let (generation, index) = parse(id);
        let entry = self.get(index)?;
        let mut word = entry.pins.load(Ordering::Relaxed);
        loop {
            let (current, pins) = split(word);
            if current != generation || pins == 0 {
                return None;
            }
            // As many goroutines as fit in memory can hold a pin, and few pins each: no overflow.
            // Acquire: the body (E2).
            match entry.pins.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        Some(Pin {
            slab: self,
            entry,
            index,
            generation,
        })
    }

    /// Adds a handle. False if there is no such span, or it is closing.
    #[inline]
    pub(super) fn retain(&self, id: &Id) -> bool {
        let (generation, index) = parse(id);
        let Some(entry) = self.get(index) else {
            return false;
        };
        let mut word = entry.handles.load(Ordering::Relaxed);
        loop {
            let (current, handles) = split(word);
            if current != generation || handles == 0 || handles >= ANNOUNCED {
                return false;
            }
            assert!(handles < ANNOUNCED - 1, "too many handles of one span");
            // As with an `Arc`: who adds a handle has one.
            match entry.handles.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Takes a handle away, or claims the announcement.
    #[inline]
    pub(super) fn release(&self, id: &Id) -> Released {
        let (generation, index) = parse(id);
        let Some(entry) = self.get(index) else {
            return Released::Gone;
        };
        let mut word = entry.handles.load(Ordering::Relaxed);
        loop {
            let (current, handles) = split(word);
            if current != generation {
                return Released::Gone;
            }
            let (handles, released) = match handles {
                0 | ANNOUNCED => return Released::Gone,
                TO_ANNOUNCE => (ANNOUNCED, Released::Announce),
                1 => (TO_ANNOUNCE, Released::Last),
                more => (more - 1, Released::Open),
            };
            // What other owners did with the span comes before its end, as with an `Arc`.
            match entry.handles.compare_exchange_weak(
                word,
                join(generation, handles),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return released,
                Err(now) => word = now,
            }
        }
    }

    /// Whether the announcement of a closing span was claimed.
    pub(super) fn is_announced(&self, id: &Id) -> bool {
        let (generation, index) = parse(id);
        let word = self.entry(index).handles.load(Ordering::Relaxed);
        word == join(generation, ANNOUNCED)
    }

    /// Ends being open; the caller's `release` said [`Released::Last`]. Gives the parent's number.
    pub(super) fn close(&self, id: &Id) -> Option<Id> {
        let (generation, index) = parse(id);
        // Being open is a pin, and it is the caller's from now on.
        let pin = Pin {
            slab: self,
            entry: self.entry(index),
            index,
            generation,
        };
        let parent = pin.body().parent;
        (parent != 0).then(|| Id::from_u64(parent))
    }

    /// How many entries are used up on the caller's stripe, about.
    #[inline]
    pub(super) fn used_up_len(&self) -> u32 {
        self.stripes.own().used_up_len.load(Ordering::Relaxed)
    }

    /// Takes all that are used up, for `f`, which makes their extensions new.
    ///
    /// If `f` panics, the one it was given is lost, and the rest is as before.
    pub(super) fn renew(&self, mut f: impl FnMut(&Entry)) {
        struct Rest<'a> {
            slab: &'a Slab,
            used_up: &'a Stack,
            next: u32,
        }
        impl Drop for Rest<'_> {
            fn drop(&mut self) {
                if let Some(first) = self.next.checked_sub(1) {
                    self.used_up.push(self.slab, first, self.slab.last(first));
                }
            }
        }
        for stripe in self.stripes.all() {
            stripe.used_up_len.store(0, Ordering::Relaxed);
            let first = stripe.used_up.take_all();
            let mut rest = Rest {
                slab: self,
                used_up: &stripe.used_up,
                next: first.map_or(0, |first| first + 1),
            };
            while let Some(index) = rest.next.checked_sub(1) {
                let entry = self.entry(index);
                rest.next = entry.next.load(Ordering::Relaxed);
                f(entry);
                entry.is_extended.store(false, Ordering::Relaxed);
                stripe.free.push(self, index, index);
            }
        }
    }

    /// How many spans there are, for tests and `Debug`; exact if nobody opens or closes one.
    pub(super) fn len(&self) -> usize {
        let made = self.made.load(Ordering::Acquire);
        let entries = (0..made).filter_map(|index| self.get(index));
        entries
            .filter(|entry| split(entry.pins.load(Ordering::Relaxed)).1 != 0)
            .count()
    }
}

/// Page and offset of an index.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let from_first = u64::from(index) + u64::from(FIRST_PAGE);
    let page = from_first.ilog2() - FIRST_PAGE.ilog2();
    let offset = from_first - (u64::from(FIRST_PAGE) << page);
    (page as usize, offset as usize)
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("len", &self.len()).finish()
    }
}

impl Stack {
    /// Puts a chain of entries on top.
    #[inline]
    fn push(&self, slab: &Slab, first: u32, last: u32) {
        let last = &slab.entry(last).next;
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            let (changes, below) = split(head);
            last.store(below, Ordering::Relaxed);
            let changed = join(changes.wrapping_add(1), first + 1);
            // Release: what the entries' owner did to them, the links among it.
            match self
                .0
                .compare_exchange_weak(head, changed, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn pop(&self, slab: &Slab) -> Option<u32> {
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            let (changes, first) = split(head);
            let first = first.checked_sub(1)?;
            // It may have another owner by now (E3), and the link be anything: then the head has changed.
            let below = slab.entry(first).next.load(Ordering::Relaxed);
            match self.0.compare_exchange_weak(
                head,
                join(changes.wrapping_add(1), below),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
    }

    /// The first of a chain of all that was there.
    fn take_all(&self) -> Option<u32> {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            let (changes, first) = split(head);
            let first = first.checked_sub(1)?;
            match self.0.compare_exchange_weak(
                head,
                join(changes.wrapping_add(1), 0),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
    }
}

impl Pin<'_> {
    #[inline]
    pub(super) fn body(&self) -> Body {
        // SAFETY: nobody writes the body of an entry that is pinned (E2), and `pin` acquired what `open`
        // released.
        let body = unsafe { *self.entry.body.get() };
        body.expect("an open span has a body")
    }

    pub(super) fn entry(&self) -> &Entry {
        self.entry
    }

    pub(super) fn id(&self) -> Id {
        Id::from_u64(join(self.generation, self.index) + 1)
    }
}

impl Drop for Pin<'_> {
    /// The last pin frees the entry.
    #[inline]
    fn drop(&mut self) {
        let before = self.entry.pins.fetch_sub(1, Ordering::Release);
        if split(before).1 > 1 {
            return;
        }
        // What was done under other pins comes before the entry is used again.
        fence(Ordering::Acquire);
        // The number is out of date before the entry can be had.
        let next = join(self.generation.wrapping_add(1), 0);
        self.entry.handles.store(next, Ordering::Relaxed);
        self.entry.pins.store(next, Ordering::Relaxed);
        let own = self.slab.stripes.own();
        if self.entry.is_extended.load(Ordering::Relaxed) {
            own.used_up.push(self.slab, self.index, self.index);
            own.used_up_len.fetch_add(1, Ordering::Relaxed);
        } else {
            own.free.push(self.slab, self.index, self.index);
        }
    }
}

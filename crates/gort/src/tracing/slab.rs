//! Where spans are: entries that are used again, found by a number that is never given twice.
//!
//! An entry has two counts. *Handles* are the span's owners: whoever called `new_span` or `clone_span`,
//! and its children. When the last is gone the span closes. *Pins* are those who look at the entry; being
//! open is one of them. When the last is gone the entry can be used again. Each count shares a word with the
//! entry's generation, and changes only together with a look at that, so a number that is out of date finds
//! nothing.
//!
//! | from    | to      | handles                  | pins   | by                                            |
//! |---------|---------|--------------------------|--------|-----------------------------------------------|
//! | free    | open    | 0 → 1                    | 0 → 1  | `open`, which took it from a free stack       |
//! | open    | closing | 1 → to announce          | ≥ 1    | `release` of the last handle, once            |
//! | closing | closing | to announce → announced  | ≥ 1    | `release` by the call that tells the layers   |
//! | closing | closed  | as it was                | one less | `close`, by whose `release` it is closing   |
//! | closed  | free    | 0, next generation       | 1 → 0  | the last pin, if nothing is kept in it        |
//! | closed  | used up | 0, next generation       | 1 → 0  | the last pin, if something may be             |
//! | used up | free    | 0                        | 0      | `renew`                                       |
//!
//! Free entries are on stacks, one for each P or so (`sync::striped`), and not one for each thread: any
//! goroutine takes from any. A stack's head carries a count of its changes, so that a pop that slept does
//! not take a head that has been away.
//!
//! E1. An entry that is free or used up is on one stack, or has one owner, who took it from there.
//! E2. The body is written between a pop and `open`, and read under a pin. With no pin there is no reader.
//! E3. Only the owner of an entry that is free or used up touches its link.
//! E4. Of an entry that is used up either a coming `renew` knows, or [`Renewal::used_up`] was told to see to one.
//!
//! Elsewhere: what closing means to layers (`mod.rs`), extensions, and when they are renewed (`store`).
//! Checked by `testing/model/tests/slab.rs`; loom has pages of two entries, and more.

use std::fmt;
use std::sync::OnceLock;

use super::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use super::cell::UnsafeCell;
use super::striped::Striped;

/// Entries on the first page; each further page has twice as many.
const FIRST_PAGE: u32 = if cfg!(loom) { 2 } else { 64 };
/// Room for as many as fit in the lower half of a number.
const PAGES: usize = if cfg!(loom) { 4 } else { 25 };
/// New entries are taken this many at a time.
const FRESH: u32 = if cfg!(loom) { 2 } else { 32 };

/// What a change adds to the count in a stack's head.
const CHANGE: u32 = if cfg!(gort_fault = "slab_changes") {
    0
} else {
    1
};

/// In place of the handles: closing, and the one call that tells the layers is still to come.
const TO_ANNOUNCE: u32 = 1 << 31;
/// In place of the handles: closing, and the layers are told.
const ANNOUNCED: u32 = 1 << 30;
/// More looks at one span at once are a loop that forgets them.
const PINS_MAX: u32 = 1 << 31;

/// How those who use up entries get them renewed.
pub(super) trait Renewal {
    /// By whom what the caller uses up is to be renewed. The same for all calls of a caller.
    fn renewer(&self) -> Renewer;

    /// Called when entries were used up. `len` are about as many as there are near the caller. With
    /// `is_first`, nobody has promised this renewer's [`Slab::renew_due`] yet: it is for the caller to see to it.
    fn used_up(&self, renewer: Renewer, len: u32, is_first: bool);
}

/// See [`Renewal`].
#[derive(Clone, Copy)]
pub(super) enum Renewer {
    Goroutine,
    Thread,
}

/// One span, on a cache line of its own. `B` is the part of it that does not change.
#[repr(align(64))]
pub(super) struct Entry<B> {
    /// Generation above, handles below.
    handles: AtomicU64,
    /// Generation above, pins below.
    pins: AtomicU64,
    body: UnsafeCell<Option<B>>,
    /// The stock store's number of the extensions; 0 for none yet. It stays with the entry.
    pub(super) extensions: AtomicU64,
    /// The entry below on a stack, plus one.
    next: AtomicU32,
    /// Whether there may be something in the extensions.
    pub(super) is_extended: AtomicBool,
}

// SAFETY: all but the body is atomic. The body is written by the one who owns a free entry and read under
// pins (E2): the release in `open` comes before the acquire in `pin`. A body is plain data.
unsafe impl<B: Copy + Send + Sync> Sync for Entry<B> {}

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
pub(super) struct Slab<B, R> {
    pages: [OnceLock<Box<[Entry<B>]>>; PAGES],
    /// Entries that were ever handed out.
    made: AtomicU32,
    stripes: Striped<Stripe>,
    renewal: R,
    /// For each [`Renewer`], whether its next `renew_due` is promised.
    is_due: [AtomicBool; 2],
}

/// The stacks that those who run on one P try first.
#[derive(Default)]
struct Stripe {
    free: Stack,
    used_up: Stack,
    /// About how many are used up. Changes order who uses an entry up and who renews: see [`Slab::renew`].
    used_up_len: AtomicU32,
}

/// A stack of entries: a count of changes above, the first entry plus one below.
#[derive(Default)]
struct Stack(AtomicU64);

/// A look at an entry that keeps it as it is.
pub(super) struct Pin<'a, B: Copy, R: Renewal> {
    slab: &'a Slab<B, R>,
    entry: &'a Entry<B>,
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
fn parse(number: u64) -> (u32, u32) {
    split(number - 1)
}

impl<B> Default for Entry<B> {
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

impl<B: Copy, R: Renewal> Slab<B, R> {
    pub(super) fn new(renewal: R) -> Slab<B, R> {
        Slab {
            pages: [const { OnceLock::new() }; PAGES],
            made: AtomicU32::new(0),
            stripes: Striped::new(),
            renewal,
            is_due: [AtomicBool::new(false), AtomicBool::new(false)],
        }
    }

    /// The entry of that index, if it was ever handed out.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Entry<B>> {
        let (page, offset) = place(index);
        self.pages.get(page)?.get()?.get(offset)
    }

    /// The entry of an index that came from a stack or from `grow`.
    #[inline]
    fn entry(&self, index: u32) -> &Entry<B> {
        self.get(index).expect("its page was made before it")
    }

    /// Opens a span with one handle. Gives its number, which is not 0.
    #[inline]
    pub(super) fn open(&self, body: B) -> u64 {
        let own = self.stripes.own();
        let index = match own.free.pop(self) {
            Some(index) => index,
            None => self.more(own),
        };
        let entry = self.entry(index);
        // SAFETY: the entry is free and ours (E1), so nobody has a pin to read the body with (E2).
        entry.body.with_mut(|place| unsafe { *place = Some(body) });
        let (generation, pins) = split(entry.pins.load(Ordering::Relaxed));
        debug_assert_eq!(pins, 0, "a free entry is looked at");
        let one = join(generation, 1);
        entry.handles.store(one, Ordering::Relaxed);
        entry.pins.store(one, Ordering::Release);
        join(generation, index) + 1
    }

    /// An entry when the own stack is empty: from another stack, all of which moves here, or a new one.
    #[cold]
    fn more(&self, own: &Stripe) -> u32 {
        for other in self.stripes.all() {
            if let Some(first) = other.free.take_all() {
                let rest = self.entry(first).next.load(Ordering::Relaxed);
                if let Some(rest) = rest.checked_sub(1) {
                    own.free.push(self, rest, self.last(rest).0);
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

    /// The last entry of a chain, and how many it has.
    fn last(&self, first: u32) -> (u32, u32) {
        let (mut last, mut len) = (first, 1);
        while let Some(next) = self.entry(last).next.load(Ordering::Relaxed).checked_sub(1) {
            last = next;
            len += 1;
        }
        (last, len)
    }

    /// A look at the span, if it is there still: open, or closing.
    #[inline]
    pub(super) fn pin(&self, number: u64) -> Option<Pin<'_, B, R>> {
        let (generation, index) = parse(number);
        let entry = self.get(index)?;
        let mut word = entry.pins.load(Ordering::Relaxed);
        loop {
            let (current, pins) = split(word);
            if current != generation || pins == 0 {
                return None;
            }
            // As for the count of an `Arc`: only somebody who forgets looks in a loop comes that far.
            assert!(pins < PINS_MAX, "too many looks at one span");
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
    pub(super) fn retain(&self, number: u64) -> bool {
        let (generation, index) = parse(number);
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
    pub(super) fn release(&self, number: u64) -> Released {
        let (generation, index) = parse(number);
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
    pub(super) fn is_announced(&self, number: u64) -> bool {
        let (generation, index) = parse(number);
        let word = self.entry(index).handles.load(Ordering::Relaxed);
        word == join(generation, ANNOUNCED)
    }

    /// Ends being open; the caller's `release` said [`Released::Last`]. Gives the body.
    pub(super) fn close(&self, number: u64) -> B {
        let (generation, index) = parse(number);
        // Being open is a pin, and it is the caller's from now on.
        let pin = Pin {
            slab: self,
            entry: self.entry(index),
            index,
            generation,
        };
        pin.body()
    }

    /// How many entries are used up on the caller's stripe, about.
    #[inline]
    pub(super) fn used_up_len(&self) -> u32 {
        self.stripes.own().used_up_len.load(Ordering::Relaxed)
    }

    /// Whether a renewer has promised to call `renew_due`.
    #[inline]
    pub(super) fn is_due(&self, renewer: Renewer) -> bool {
        self.is_due[renewer as usize].load(Ordering::Relaxed)
    }

    /// Puts a chain of entries where `renew` finds them, and has somebody see to that (E4).
    fn use_up(&self, first: u32, last: u32, len: u32) {
        let own = self.stripes.own();
        own.used_up.push(self, first, last);
        // AcqRel: see `renew`.
        let before = own.used_up_len.fetch_add(len, Ordering::AcqRel);
        self.promise(before + len);
    }

    fn promise(&self, len: u32) {
        let renewer = self.renewal.renewer();
        let is_due = &self.is_due[renewer as usize];
        let is_first = !is_due.load(Ordering::Relaxed) && !is_due.swap(true, Ordering::Relaxed);
        self.renewal.used_up(renewer, len, is_first);
    }

    /// Keeps a renewer's promise.
    pub(super) fn renew_due(&self, renewer: Renewer, f: impl FnMut(&Entry<B>)) {
        // Before it looks.
        self.is_due[renewer as usize].store(false, Ordering::Relaxed);
        self.renew(f);
    }

    /// Takes all that are used up, for `f`, which makes their extensions new.
    ///
    /// If `f` panics, the one it was given is free like those before, and another renewal is promised for the rest.
    ///
    /// The count is swapped before the stack is looked at, and added to after it was pushed on. So of two who
    /// meet, either the swap reads the addition, and the push is seen here; or the addition reads the swap, and
    /// who made it finds nothing promised and sees to another `renew_due` (E4). A store in place of the swap would
    /// let both miss each other.
    pub(super) fn renew(&self, mut f: impl FnMut(&Entry<B>)) {
        let mut rest = Rest {
            slab: self,
            first: None,
            is_all_done: false,
        };
        for stripe in self.stripes.all() {
            if cfg!(gort_fault = "slab_renew") {
                stripe.used_up_len.store(0, Ordering::Relaxed);
            } else {
                stripe.used_up_len.swap(0, Ordering::AcqRel);
            }
            rest.first = stripe.used_up.take_all();
            while let Some(index) = rest.first {
                let entry = self.entry(index);
                rest.first = entry.next.load(Ordering::Relaxed).checked_sub(1);
                let _freed = Freed {
                    slab: self,
                    free: &stripe.free,
                    index,
                };
                f(entry);
            }
        }
        rest.is_all_done = true;
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

/// An entry that is used up, free afterwards.
struct Freed<'a, B: Copy, R: Renewal> {
    slab: &'a Slab<B, R>,
    free: &'a Stack,
    index: u32,
}

impl<B: Copy, R: Renewal> Drop for Freed<'_, B, R> {
    fn drop(&mut self) {
        let entry = self.slab.entry(self.index);
        entry.is_extended.store(false, Ordering::Relaxed);
        self.free.push(self.slab, self.index, self.index);
    }
}

/// What a renewal has still to do.
struct Rest<'a, B: Copy, R: Renewal> {
    slab: &'a Slab<B, R>,
    /// Of the stripe at hand.
    first: Option<u32>,
    is_all_done: bool,
}

impl<B: Copy, R: Renewal> Drop for Rest<'_, B, R> {
    fn drop(&mut self) {
        if let Some(first) = self.first {
            let (last, len) = self.slab.last(first);
            self.slab.use_up(first, last, len);
        } else if !self.is_all_done {
            // There are other stripes.
            self.slab.promise(1);
        }
    }
}

impl<B: Copy, R: Renewal> fmt::Debug for Slab<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("len", &self.len()).finish()
    }
}

impl Stack {
    /// Puts a chain of entries on top.
    #[inline]
    fn push<B: Copy, R: Renewal>(&self, slab: &Slab<B, R>, first: u32, last: u32) {
        let last = &slab.entry(last).next;
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            let (changes, below) = split(head);
            last.store(below, Ordering::Relaxed);
            let changed = join(changes.wrapping_add(CHANGE), first + 1);
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
    fn pop<B: Copy, R: Renewal>(&self, slab: &Slab<B, R>) -> Option<u32> {
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            let (changes, first) = split(head);
            let first = first.checked_sub(1)?;
            // It may have another owner by now (E3), and the link be anything: then the head has changed.
            let below = slab.entry(first).next.load(Ordering::Relaxed);
            match self.0.compare_exchange_weak(
                head,
                join(changes.wrapping_add(CHANGE), below),
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
                join(changes.wrapping_add(CHANGE), 0),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
    }
}

impl<B: Copy, R: Renewal> Pin<'_, B, R> {
    #[inline]
    pub(super) fn body(&self) -> B {
        // SAFETY: nobody writes the body of an entry that is pinned (E2), and `pin` acquired what `open`
        // released.
        let body = self.entry.body.with(|body| unsafe { *body });
        body.expect("an open span has a body")
    }

    pub(super) fn entry(&self) -> &Entry<B> {
        self.entry
    }

    pub(super) fn number(&self) -> u64 {
        join(self.generation, self.index) + 1
    }
}

impl<B: Copy, R: Renewal> Drop for Pin<'_, B, R> {
    /// The last pin frees the entry, or uses it up.
    #[inline]
    fn drop(&mut self) {
        let before = self.entry.pins.fetch_sub(1, Ordering::Release);
        if split(before).1 > 1 {
            return;
        }
        if !cfg!(gort_fault = "slab_fence") {
            // What was done under other pins comes before the entry is used again.
            fence(Ordering::Acquire);
        }
        // The number is out of date before the entry can be had.
        let next = join(self.generation.wrapping_add(1), 0);
        self.entry.handles.store(next, Ordering::Relaxed);
        self.entry.pins.store(next, Ordering::Relaxed);
        if self.entry.is_extended.load(Ordering::Relaxed) {
            self.slab.use_up(self.index, self.index, 1);
        } else {
            let own = self.slab.stripes.own();
            own.free.push(self.slab, self.index, self.index);
        }
    }
}

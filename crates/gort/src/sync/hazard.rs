//! Protection of what is reached through one shared pointer: a reader's loan, without a shared count.
//!
//! What is shared carries a count of its owners; each place it is linked from is one. A reader that took
//! a share of its own would write to the count, and readers of one hot value would queue for its cache
//! line. So a reader borrows: it writes the pointer to a free *slot* of its P's stripe and looks at the
//! source again. If that is unchanged, the link's share covers the loan. Whoever takes the pointer out
//! of the source *settles*: it looks through the slots, and for each loan adds a share to the count and
//! clears the slot, before it gives up the link's own share. A reader that finds its slot cleared when it
//! is done has a share to give back; else it just clears it. So there is nothing that waits to be
//! collected: the last owner frees, at once, be it a reader or the one that took the link away.
//!
//! (Hazard pointers, but for the settling; the counts that readers are given are those of the crate
//! arc-swap, which has the idea.)
//!
//! H1. A slot is empty or has one reader, which filled it, and which alone may make use of it.
//! H2. A loan is good from the second look until the slot is cleared: the reader wrote the slot before
//!     its second look, the settler changed the source before it looks at the slots, all four in one
//!     order (SeqCst), so either the reader sees the change, or the settler sees the loan.
//! H3. A slot that is cleared for its reader comes with a share: the settler adds it before.
//!
//! A slot may be cleared for one reader, and filled by another with the same pointer, before the first
//! looks again. Then the first takes the second's loan for its own, and the second the first's share.
//! That is as good: shares and loans are not told apart by who has them.
//!
//! **Invariant**: nobody waits for user code. A reader may park in it while it has a loan, for ever: that
//! keeps one value alive, and a slot. The last slots of a stripe are lent only to readers that turn the
//! loan into a share at once, with no user code in between; who finds those taken as well yields.
//!
//! Cost: two locked instructions on a line of the reader's own P, about 10 ns, instead of two on the
//! value's. A settler reads a line per stripe.
//!
//! Checked by `testing/model` (this file under loom), `crates/gort/tests/sync/map.rs`.

use std::marker::PhantomData;
use std::ptr;

use super::atomic::{AtomicPtr, Ordering};
use super::sched;
use super::striped::Striped;

/// A pointer to what has a count of its owners, or to something that needs no protection.
///
/// # Safety
///
/// `retain` and `release` add and take away one owner, atomically; the last `release` frees.
pub(super) unsafe trait Shared: Copy {
    /// The pointer's bits.
    fn to_raw(self) -> *mut ();

    /// The pointer of these bits, which `to_raw` gave.
    fn from_raw(raw: *mut ()) -> Self;

    /// Whether it points to something that may be freed while it is read.
    fn is_counted(self) -> bool;

    /// Adds an owner.
    ///
    /// # Safety
    ///
    /// It is counted, and has an owner or a good loan (H2).
    unsafe fn retain(self);

    /// Takes an owner away, and frees if it was the last; that may run user code.
    ///
    /// # Safety
    ///
    /// It is counted, and the caller is an owner and is none afterwards.
    unsafe fn release(self);
}

/// Slots of a stripe that a reader may keep while it runs user code.
const TO_KEEP: usize = if cfg!(loom) { 1 } else { 6 };
/// And those that it may not.
const TO_PASS: usize = if cfg!(loom) { 1 } else { 2 };

/// One loan: a pointer, or null.
type Slot = AtomicPtr<()>;

/// The slots that those who run on one P try.
struct Stripe([Slot; TO_KEEP + TO_PASS]);

impl Default for Stripe {
    fn default() -> Self {
        Stripe(std::array::from_fn(|_| Slot::new(ptr::null_mut())))
    }
}

/// The slots for one group of sources. What is lent here is of one type and lives as long.
///
/// (One set for the process would do for the counting. But a reader may write a pointer that is freed
/// before its second look, and then the address be used again, lent and settled: so it is given a share
/// of something else, which must be something that it can release.)
pub(super) struct Loans<S: Shared> {
    stripes: Striped<Stripe>,
    lends: PhantomData<fn(S) -> S>,
}

/// loom takes SeqCst accesses for weaker ones; a fence says the same, and costs only there.
#[inline(always)]
fn model_fence() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// A pointer as it was in its source, protected: by a loan, or by a share.
pub(super) struct Held<'a, S: Shared> {
    shared: S,
    /// `None`: we are an owner, if it is counted.
    slot: Option<&'a Slot>,
}

impl<S: Shared> Loans<S> {
    /// No loans.
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Loans {
            stripes: Striped::new(),
            lends: PhantomData,
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Loans {
            stripes: Striped::new(),
            lends: PhantomData,
        }
    }

    /// The pointer in `source`, protected until the guard is dropped. Runs no user code but what frees.
    #[inline]
    pub(super) fn protect<'a>(&'a self, source: &'a AtomicPtr<()>) -> Held<'a, S> {
        loop {
            let raw = source.load(Ordering::Acquire);
            let shared = S::from_raw(raw);
            if !shared.is_counted() {
                return Held { shared, slot: None };
            }
            prefetch(raw);
            let (slot, may_keep) = self.fill_slot(raw);
            model_fence();
            let is_good =
                cfg!(gort_fault = "hazard_recheck") || source.load(Ordering::SeqCst) == raw;
            let mut held = Held {
                shared,
                slot: Some(slot),
            };
            if is_good {
                if !may_keep {
                    held.own();
                }
                return held;
            }
        }
    }

    /// Fills an empty slot. True: it may be kept.
    #[inline]
    fn fill_slot(&self, raw: *mut ()) -> (&Slot, bool) {
        let stripe = self.stripes.own();
        match try_fill(&stripe.0[..TO_KEEP], raw) {
            Some(slot) => (slot, true),
            None => (fill_slot_slow(stripe, raw), false),
        }
    }

    /// Turns all loans of `shared` into shares. Its source has changed: it is not lent from there again.
    ///
    /// # Safety
    ///
    /// It is counted, and the caller has the share of the link that it took away.
    pub(super) unsafe fn settle(&self, shared: S) {
        if cfg!(gort_fault = "hazard_settle") {
            return;
        }
        let raw = shared.to_raw();
        model_fence();
        // H2 holds for the stripes too: they are there before a loan is.
        for slot in self.stripes.all().flat_map(|stripe| &stripe.0) {
            if slot.load(Ordering::SeqCst) != raw {
                continue;
            }
            // H3: the share first.
            // SAFETY: the caller is an owner.
            unsafe { shared.retain() };
            if !clear(slot, raw) {
                // SAFETY: the share just added, for a reader that had finished. The caller's remains.
                unsafe { shared.release() };
            }
        }
    }
}

/// What is read next comes from memory during the locked instruction, which holds up later reads.
#[inline(always)]
fn prefetch(raw: *mut ()) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address does nothing but that; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(raw.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = raw;
}

#[inline]
fn try_fill(slots: &[Slot], raw: *mut ()) -> Option<&Slot> {
    slots.iter().find(|slot| {
        slot.load(Ordering::Relaxed).is_null()
            && slot
                .compare_exchange(ptr::null_mut(), raw, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
    })
}

#[cold]
fn fill_slot_slow(stripe: &Stripe, raw: *mut ()) -> &Slot {
    loop {
        if let Some(slot) = try_fill(&stripe.0[TO_KEEP..], raw) {
            return slot;
        }
        // Those who have them are on their way to give them back, and may wait for our P.
        sched::yield_now();
    }
}

/// Empties the slot, if the loan is still there. Release by a reader: its reads come before. Acquire by
/// a reader that finds it gone is the count's.
#[inline]
fn clear(slot: &Slot, raw: *mut ()) -> bool {
    slot.compare_exchange(raw, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

impl<S: Shared> Held<'_, S> {
    /// What is protected.
    #[inline]
    pub(super) fn shared(&self) -> S {
        self.shared
    }

    /// Turns a loan into a share: for those who keep it for long.
    pub(super) fn own(&mut self) {
        if let Some(slot) = self.slot.take() {
            // SAFETY: we have a loan.
            unsafe { self.shared.retain() };
            if !clear(slot, self.shared.to_raw()) {
                // SAFETY: the share that the loan was turned into by a settler; the other is ours.
                unsafe { self.shared.release() };
            }
        }
    }
}

impl<S: Shared> Drop for Held<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let is_owner = match self.slot {
            // H3: cleared by a settler, so we have a share.
            Some(slot) => !clear(slot, self.shared.to_raw()),
            None => self.shared.is_counted(),
        };
        if is_owner {
            // SAFETY: we are an owner, and go.
            unsafe { self.shared.release() };
        }
    }
}

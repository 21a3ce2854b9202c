//! Several copies of a thing, one for each P or so, made when the first is used.
//!
//! So a map or a pool in a `static` costs a pointer until then, and what it costs afterwards depends on
//! the machine. Copies are two cache lines apart, as processors fetch lines in pairs.
//!
//! Elsewhere: how many, and which one is whose (`stripe`).

use std::marker::PhantomData;
use std::ptr;
use std::slice;

use super::atomic::{AtomicPtr, Ordering};
use super::stripe;

/// The copies.
pub(crate) struct Striped<T> {
    /// The first of [`stripe::count`], or null. Release when they are put here pairs with acquire.
    first: AtomicPtr<Stripe<T>>,
    owns: PhantomData<T>,
}

#[repr(align(128))]
struct Stripe<T>(T);

// SAFETY: the copies are shared by `&Striped` and dropped with it: as a boxed slice of `T`.
unsafe impl<T: Send> Send for Striped<T> {}
// SAFETY: as above; a copy is made by one thread and may be dropped by another.
unsafe impl<T: Send + Sync> Sync for Striped<T> {}

impl<T> Striped<T> {
    /// None yet.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Striped<T> {
        Striped {
            first: AtomicPtr::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Striped<T> {
        Striped {
            first: AtomicPtr::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }

    /// All of them; none if none was used.
    ///
    /// SeqCst, so that who finds none here, after a SeqCst change of something, is before the one who
    /// makes them.
    #[inline]
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> + Clone {
        self.stripes().iter().map(|stripe| &stripe.0)
    }

    #[inline]
    fn stripes(&self) -> &[Stripe<T>] {
        let first = self.first.load(Ordering::SeqCst);
        if first.is_null() {
            return &[];
        }
        // SAFETY: `make` has put it there: a boxed slice of that length, freed when `self` is dropped.
        unsafe { slice::from_raw_parts(first, stripe::count()) }
    }
}

impl<T: Default> Striped<T> {
    /// The copy that the caller should use now. May allocate.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        let stripes = match self.stripes() {
            [] => self.make(),
            made => made,
        };
        &stripes[stripe::current() % stripes.len()].0
    }

    #[cold]
    fn make(&self) -> &[Stripe<T>] {
        let made: Box<[_]> = (0..stripe::count()).map(|_| Stripe(T::default())).collect();
        let made = Box::into_raw(made);
        let is_first = self.first.compare_exchange(
            ptr::null_mut(),
            made.cast(),
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        if is_first.is_err() {
            // SAFETY: it comes from a box, and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
        self.stripes()
    }
}

impl<T> Drop for Striped<T> {
    fn drop(&mut self) {
        let first = self.first.load(Ordering::Relaxed);
        if !first.is_null() {
            let all = ptr::slice_from_raw_parts_mut(first, stripe::count());
            // SAFETY: it comes from a box of that length, and `&mut self` says that nobody uses it.
            drop(unsafe { Box::from_raw(all) });
        }
    }
}

//! An innocent dependency: it keeps counts in thread-locals, and calls back in between.
//!
//! It knows nothing of goroutines and is as safe as Rust gets. A crate of its own, so that nothing is
//! inlined but what is inlined across crates anyway. The compiler may keep the address of a
//! thread-local in a register across the callback, and does.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LAZY: RefCell<Vec<u64>> = RefCell::new(Vec::with_capacity(4));
}

/// What [`bump_around`] saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The count before the first bump.
    pub before: u64,
    /// The count after the second.
    pub after: u64,
    /// Whether the count lay at the same address before and after the callback.
    pub stayed: bool,
}

/// Bumps a thread-local count, calls `callback`, and bumps it again.
pub fn bump_around(callback: &mut dyn FnMut()) -> Seen {
    COUNT.with(|count| {
        let before = count.get();
        count.set(before + 1);
        callback();
        count.set(count.get() + 1);
        Seen {
            before,
            after: count.get(),
            stayed: COUNT.with(|again| std::ptr::eq(count, again)),
        }
    })
}

/// The count as a new look finds it.
pub fn count() -> u64 {
    COUNT.get()
}

/// Pushes to a thread-local vector that is borrowed while `callback` runs; the sum of what is in it.
pub fn push_around(value: u64, callback: &mut dyn FnMut()) -> u64 {
    LAZY.with_borrow_mut(|values| {
        values.push(value);
        callback();
        values.iter().sum()
    })
}

/// Whether the vector is borrowed now.
pub fn is_borrowed() -> bool {
    LAZY.with(|values| values.try_borrow().is_err())
}

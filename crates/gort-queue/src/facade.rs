//! Atomics and cells, from std or from loom.
//!
//! The rest of the crate names only these. `UnsafeCell` has loom's shape, a closure for each
//! access, because loom must see where an access begins and ends to notice two that overlap.
//!
//! Loom's atomics register themselves when they are made, so their constructors are not `const`;
//! [`const_unless_loom!`] declares a constructor that is `const` everywhere else.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence},
};

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence},
};

pub(crate) use std::sync::atomic::Ordering;

/// `std::cell::UnsafeCell` with the interface of loom's.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer to read through; it is for `f` to see that nobody writes meanwhile.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer to write through; it is for `f` to see that it is alone.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Declares functions that are `const`, except under loom.
macro_rules! const_unless_loom {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty $body:block)*) => {
        $(
            #[cfg(not(loom))]
            $(#[$attribute])*
            $visibility const fn $name($($arg: $type),*) -> $result $body

            #[cfg(loom)]
            $(#[$attribute])*
            $visibility fn $name($($arg: $type),*) -> $result $body
        )*
    };
}
pub(crate) use const_unless_loom;

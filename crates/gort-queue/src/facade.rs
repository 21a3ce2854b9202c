//! Atomics, from std or from loom.
//!
//! The rest of the crate names only these.
//!
//! Loom's atomics register themselves when they are made, so their constructors are not `const`;
//! [`const_unless_loom!`] declares a constructor that is `const` everywhere else.

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence},
};

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence},
};

pub(crate) use std::sync::atomic::Ordering;

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

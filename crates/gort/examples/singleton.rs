//! A value that is built once: when it is first wanted, or before all else.
//!
//! ```text
//! cargo run --example singleton
//! ```
//!
//! In Go the lazy one is a `sync.Once`, or a mutex with a double check that is easy to get wrong; the eager one
//! is a variable of the package.
//!
//! Here the lazy one is a `LazyLock`: who comes while it is built parks. The eager one is a `static`, built by
//! the compiler, or a value that main builds before it starts others.

#![forbid(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use gort::sync::LazyLock;

struct Settings {
    name: &'static str,
}

static BUILT: AtomicU32 = AtomicU32::new(0);

static LAZY: LazyLock<Settings> = LazyLock::new(|| {
    BUILT.fetch_add(1, Ordering::Relaxed);
    // Others come meanwhile.
    gort::yield_now();
    Settings { name: "lazy" }
});

static EAGER: Settings = Settings { name: "eager" };

/// How many of a hundred goroutines get the very value that main gets.
fn same(get: fn() -> &'static Settings) -> usize {
    let handles: Vec<_> = (0..100).map(|_| gort::go(get)).collect();
    let settings = handles.into_iter().map(|handle| handle.join());
    let expected = get();
    settings
        .filter(|settings| settings.as_ref().is_ok_and(|&got| ptr::eq(got, expected)))
        .count()
}

#[gort::main]
fn main() {
    println!(
        "built before it is wanted: {}",
        BUILT.load(Ordering::Relaxed)
    );
    let having = same(|| &LAZY);
    println!("{}: {having} of 100 have it", LAZY.name);
    println!("{}: {} of 100 have it", EAGER.name, same(|| &EAGER));
    println!("built: {}", BUILT.load(Ordering::Relaxed));
}

//! Large keys that are stored in a concurrent map and deleted again, and never loaded.
//!
//! ```text
//! cargo run --release --example map_churn [ROUNDS]
//! ```
//!
//! Go 1.15's `sync.Map` keeps every deleted key until a load misses: the program runs out of memory.
//! Go 1.16 cured it.
//!
//! Here a deleted key is dropped soon after; the program counts those that are still there.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

use gort::sync::Map;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// The article's key of 8,000 bytes.
#[derive(PartialEq, Eq, Hash)]
struct Key(Vec<u8>);

impl Key {
    fn new(number: usize) -> Key {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        let mut bytes = vec![0; 8_000];
        bytes[..size_of::<usize>()].copy_from_slice(&number.to_le_bytes());
        Key(bytes)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

#[gort::main]
fn main() {
    let arg = std::env::args().nth(1);
    let rounds = arg.map_or(10_000, |n| n.parse().expect("ROUNDS is a number"));
    let map = Map::new();
    let mut most = 0;
    for round in 0..rounds {
        map.store(Key::new(round), round);
        assert!(map.delete(&Key::new(round)), "it was just stored");
        most = most.max(ALIVE.load(Ordering::Relaxed));
    }
    println!("{} in the map, at most {most} deleted keys kept", map.len());
}

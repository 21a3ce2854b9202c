//! Slots of a program whose thread-locals are as large as a small slot.

#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

mod common;

use std::cell::RefCell;

use common::*;
use gort_arch::stack::{self, Class, Slot};
use gort_arch::tls;

const BYTES: usize = 60_000;
/// What every stack has at least: five eighths of the smallest slot.
const ROOM_MIN: usize = 40 << 10;

thread_local! {
    static LARGE: RefCell<[u8; BYTES]> = const { RefCell::new([7; BYTES]) };
}

fn room(slot: Slot) -> usize {
    (slot.top() as usize).saturating_sub(slot.limit() as usize)
}

#[test]
fn every_slot_has_a_stack_beside_a_large_block() {
    let _one = start();
    assert!(tls::block_bytes() > BYTES);
    let mut refused = 0;
    for class in (0..Class::COUNT).filter_map(Class::from_index) {
        match stack::allocate(class) {
            Ok(slot) => {
                assert!(room(slot) >= ROOM_MIN, "{class:?}: {}", room(slot));
                assert!(slot.limit() < slot.top() && slot.end() - slot.fs() < class.slot_bytes());
                stack::release_batch(&[slot]);
            }
            Err(error) => {
                assert!(error.to_string().contains("thread-locals"), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1, "64 KiB alone are too small");
}

#[test]
fn who_asks_for_a_size_gets_a_class_with_room() {
    let _one = start();
    for asked in [1, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 1 << 30] {
        let class = Class::for_size(asked).unwrap();
        let slot = stack::allocate(class).unwrap();
        let least = asked.next_power_of_two().max(64 << 10) / 8 * 5;
        assert!(room(slot) >= least, "{asked}: {}", room(slot));
        stack::release_batch(&[slot]);
    }
    // No more than is needed.
    let bytes = |asked| Class::for_size(asked).unwrap().slot_bytes();
    assert_eq!(bytes(64 << 10), 128 << 10);
    assert_eq!(bytes(1 << 20), 1 << 20);
}

#[test]
fn blocks_of_neighbours_are_apart() {
    let _one = start();
    let m = M::new();
    let goes: Vec<_> = (1..=32_u8)
        .map(|mark| {
            go(Class::for_size(64 << 10).unwrap(), move || {
                LARGE.with_borrow_mut(|bytes| {
                    assert!(bytes.iter().all(|byte| *byte == 7));
                    bytes.fill(mark);
                });
                park();
                LARGE.with_borrow(|bytes| assert!(bytes.iter().all(|byte| *byte == mark)));
            })
        })
        .collect();
    for go in &goes {
        m.resume(go);
    }
    for go in &goes {
        m.resume(go);
        assert!(go.is_done() && go.take_panic().is_none());
    }
}

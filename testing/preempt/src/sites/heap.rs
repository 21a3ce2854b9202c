//! malloc, realloc and free in many sizes; each block carries a pattern, and most are freed by another
//! goroutine than the one that made them.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use gort_test_support::Random;

use super::Done;
use crate::mark::{Site, during};

const SLOTS: usize = 512;
const HEADER: usize = size_of::<Header>();

/// The first bytes of a block. The rest repeats a byte made from `number`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Header {
    bytes: usize,
    number: u64,
}

/// Blocks that anybody may take and free.
#[derive(Debug)]
pub(crate) struct Exchange {
    slots: [AtomicPtr<u8>; SLOTS],
    made: AtomicU64,
    freed: AtomicU64,
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange {
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS],
            made: AtomicU64::new(0),
            freed: AtomicU64::new(0),
        }
    }
}

impl Exchange {
    /// Makes and frees until enough has happened; gives how many.
    pub(crate) fn work(&self, done: &Done, random: &mut Random) -> u64 {
        let mut operations = 0;
        while !done.is_set() {
            let mut block = Block::make(size(random), random.number());
            if random.below(8) == 0 {
                block.resize(size(random));
            }
            self.made.fetch_add(1, Ordering::Relaxed);
            churn(random);
            let slot = &self.slots[random.below(SLOTS as u64) as usize];
            // Release the bytes of ours, acquire those of the one taken.
            let other = slot.swap(block.into_raw(), Ordering::AcqRel);
            if let Some(other) = NonNull::new(other) {
                // SAFETY: it came from `into_raw`, and the swap made it ours alone.
                unsafe { Block::from_raw(other) }.free();
                self.freed.fetch_add(1, Ordering::Relaxed);
            }
            operations += 1;
        }
        operations
    }

    /// Looks at all blocks that are left.
    ///
    /// # Panics
    ///
    /// If one is damaged or missing.
    pub(crate) fn check(&self) {
        for slot in &self.slots {
            let left = slot.swap(ptr::null_mut(), Ordering::AcqRel);
            if let Some(left) = NonNull::new(left) {
                // SAFETY: it came from `into_raw`, and the swap made it ours alone.
                unsafe { Block::from_raw(left) }.free();
                self.freed.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (made, freed) = (
            self.made.load(Ordering::Relaxed),
            self.freed.load(Ordering::Relaxed),
        );
        assert_eq!(made, freed, "blocks were lost or freed twice");
    }
}

/// Makes some blocks and frees them in another order, with nothing in between: most of the time in here
/// is malloc's.
fn churn(random: &mut Random) {
    let sizes: [usize; 32] = std::array::from_fn(|_| size(random).min(2_000));
    during(Site::Malloc, || {
        let blocks = sizes.map(|bytes| {
            // SAFETY: the layout is not empty, as it has room for the header.
            let memory = unsafe { alloc(layout(bytes)) };
            let memory = NonNull::new(memory).expect("there is memory").cast();
            // SAFETY: there is room for the header, and the block is ours alone.
            unsafe { memory.write(Header { bytes, number: 0 }) };
            memory
        });
        let (even, odd) = (blocks.iter().step_by(2), blocks.iter().skip(1).step_by(2));
        for block in even.chain(odd) {
            // SAFETY: written above, and ours alone.
            let Header { bytes, number } = unsafe { block.read() };
            assert_eq!(number, 0, "a block is damaged");
            // SAFETY: a live block of that layout, not used any more.
            unsafe { dealloc(block.as_ptr().cast(), layout(bytes)) };
        }
    });
}

/// Mostly small, as in real programs; now and then what malloc asks the kernel for.
fn size(random: &mut Random) -> usize {
    let bits = match random.below(64) {
        0 => 18,
        1..8 => 13,
        8..24 => 10,
        _ => 8,
    };
    HEADER + random.below(1 << bits) as usize
}

/// A block of the heap that knows what is in it.
struct Block(NonNull<u8>);

impl Block {
    fn make(bytes: usize, number: u64) -> Block {
        // SAFETY: the layout is not empty, as it has room for the header.
        let memory = during(Site::Malloc, || unsafe { alloc(layout(bytes)) });
        let mut block = Block(NonNull::new(memory).expect("there is memory"));
        block.fill(bytes, number);
        block
    }

    fn fill(&mut self, bytes: usize, number: u64) {
        // SAFETY: the block has `bytes` bytes, aligned for the header, and is ours alone.
        unsafe {
            self.0.cast::<Header>().write(Header { bytes, number });
            let body = self.0.add(HEADER);
            body.write_bytes(pattern(number), bytes - HEADER);
        }
    }

    fn header(&self) -> Header {
        // SAFETY: `fill` has written it, and the block is ours alone.
        unsafe { self.0.cast::<Header>().read() }
    }

    fn resize(&mut self, bytes: usize) {
        let Header { bytes: old, number } = self.header();
        let memory = self.0.as_ptr();
        // SAFETY: a live block of that layout; the new size is neither 0 nor near the end of the address
        // space.
        let moved = during(Site::Malloc, || unsafe {
            realloc(memory, layout(old), bytes)
        });
        self.0 = NonNull::new(moved).expect("there is memory");
        // SAFETY: `realloc` keeps what both sizes have, and the block is ours alone.
        let kept = unsafe {
            std::slice::from_raw_parts(self.0.as_ptr().add(HEADER), old.min(bytes) - HEADER)
        };
        assert_pattern(kept, number);
        self.fill(bytes, number);
    }

    /// Checks and frees it.
    fn free(self) {
        let Header { bytes, number } = self.header();
        // SAFETY: `fill` has written that many bytes, and the block is ours alone.
        let body =
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(HEADER), bytes - HEADER) };
        assert_pattern(body, number);
        // SAFETY: a live block of that layout, not used any more.
        during(Site::Malloc, || unsafe {
            dealloc(self.0.as_ptr(), layout(bytes))
        });
    }

    fn into_raw(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// # Safety
    ///
    /// `memory` came from [`into_raw`](Self::into_raw), and nobody else has it.
    unsafe fn from_raw(memory: NonNull<u8>) -> Block {
        Block(memory)
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, align_of::<Header>()).expect("the sizes are small")
}

fn pattern(number: u64) -> u8 {
    (number >> 32) as u8
}

#[track_caller]
fn assert_pattern(bytes: &[u8], number: u64) {
    let expected = pattern(number);
    assert!(
        bytes.iter().all(|byte| *byte == expected),
        "block {number:#x} of {} bytes is damaged",
        bytes.len()
    );
}

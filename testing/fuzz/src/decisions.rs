//! Bytes, read as decisions.

/// How many bytes a program of a seed has. Steps take some four each.
const PROGRAM_BYTES: usize = 600;

/// The decisions of a program, one after the other.
#[derive(Clone, Debug)]
pub struct Decisions<'a> {
    rest: &'a [u8],
}

impl<'a> Decisions<'a> {
    /// The decisions that `bytes` stand for.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether there are no more.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// A number below `bound`, which is at most 256; 0 when there are no more decisions.
    pub fn below(&mut self, bound: usize) -> usize {
        let Some((&first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        usize::from(first) % bound
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[self.below(items.len())])
    }
}

/// The program of a seed: the bytes of a small generator (xorshift64*).
pub fn program(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    };
    (0..PROGRAM_BYTES).map(|_| next()).collect()
}

//! A small seeded generator (xorshift64*), so that a run can be repeated.

/// The generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed; any will do.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// An index into what is `len` long.
    pub fn index(&mut self, len: usize) -> usize {
        (self.number() % len.max(1) as u64) as usize
    }

    /// A generator of its own for a goroutine.
    pub fn fork(&mut self) -> Random {
        Random::new(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_numbers_again_and_another_gives_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.number())
        };
        assert_eq!(numbers(7), numbers(7));
        // Also of 0, which xorshift would never leave.
        assert_ne!(numbers(0), [0; 4]);
        assert_ne!(numbers(7), numbers(9));
    }

    #[test]
    fn numbers_are_below_their_bound_and_reach_it() {
        let mut random = Random::new(1);
        let mut found = [false; 3];
        for _ in 0..100 {
            found[usize::try_from(random.below(3)).expect("it is below 3")] = true;
        }
        assert_eq!(found, [true; 3]);
        assert_eq!(random.below(0), 0);
        assert_eq!((0..100).map(|_| random.index(3)).max(), Some(2));
        assert_eq!(random.index(0), 0);
    }
}

//! What is kept of pages that were put away: the bytes that are not zero.
//!
//! A record is a header of two words, then a stream of bytes: for each page its address, a bit for each of its words,
//! and the words that are not zero. Each word of these is a byte that says which of its eight are not zero, and
//! those. Most words of a stack are addresses, of six bytes, or small: a goroutine that waits in a channel, with
//! some 90 words in use, takes 600 bytes.
//!
//! Records come from memory of the keeper's own, in units of [`UNIT`] bytes, with a list of free ones for each size.
//! Not from malloc: while pages are kept from everybody nobody may be waited for, and malloc's lock may be held by
//! who waits for the pages. Whoever has put pages back hands the record to [`retire`]; the keeper fetches it from
//! there.

use std::num::NonZeroUsize;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort_arch::hibernate::{PAGE_BYTES, Page};

/// Pages of one goroutine that are put away at most. With more it has gone deep, and is left alone.
pub(super) const PAGES_MAX: usize = 16;

const WORDS: usize = PAGE_BYTES / size_of::<u64>();
const MAP_WORDS: usize = WORDS / 64;

/// Link of the list it is on; length in units, and how many pages.
const HEADER_BYTES: usize = 16;
/// A word without zeros.
const WORD_BYTES_MAX: usize = 1 + size_of::<u64>();
/// Address, map and words of a page without zeros.
const PAGE_BYTES_MAX: usize = (1 + MAP_WORDS + WORDS) * WORD_BYTES_MAX;
const BYTES_MAX: usize = HEADER_BYTES + PAGES_MAX * PAGE_BYTES_MAX;

/// Records are a multiple of this, and aligned to it.
const UNIT: usize = 64;
const UNITS_MAX: usize = BYTES_MAX.div_ceil(UNIT);
/// Memory is asked for in such pieces.
const CHUNK_BYTES: usize = 1 << 20;

/// Records that are used no more: linked by their first words. Writers push; the keeper takes all.
static RETIRED: AtomicUsize = AtomicUsize::new(0);

/// A record that is being written.
pub(super) struct Draft {
    bytes: Box<[u8]>,
    len: usize,
    pages: usize,
}

impl Draft {
    pub(super) fn new() -> Draft {
        Draft {
            bytes: vec![0; BYTES_MAX].into_boxed_slice(),
            len: HEADER_BYTES,
            pages: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = HEADER_BYTES;
        self.pages = 0;
    }

    /// Adds what is not zero of the page at `addr`, from `live` on. Whatever lies below is lost.
    ///
    /// # Safety
    ///
    /// A page of a slot's that nobody writes to meanwhile.
    pub(super) unsafe fn add(&mut self, addr: usize, live: usize) {
        let first = live.saturating_sub(addr) / size_of::<u64>();
        let word = |index: usize| {
            // SAFETY: within the page, which is readable, and which nobody writes to (the caller's word). Volatile,
            // as it may hold anything, initialized or not in the eyes of its owner's language.
            unsafe { (addr as *const u64).add(index).read_volatile() }
        };
        let mut map = [0_u64; MAP_WORDS];
        for index in first..WORDS {
            map[index / 64] |= u64::from(word(index) != 0) << (index % 64);
        }
        if map == [0; MAP_WORDS] {
            return; // It will be so again.
        }
        self.pages += 1;
        self.put(addr as u64);
        map.iter().for_each(|part| self.put(*part));
        each_bit(&map, |index| self.put(word(index)));
    }

    fn put(&mut self, word: u64) {
        let place = self.len;
        self.len += 1;
        let mut mask = 0;
        for (index, byte) in word.to_le_bytes().into_iter().enumerate() {
            if byte != 0 {
                mask |= 1 << index;
                self.bytes[self.len] = byte;
                self.len += 1;
            }
        }
        self.bytes[place] = mask;
    }

    fn units(&self) -> usize {
        self.len.div_ceil(UNIT)
    }
}

/// Calls `f` with the number of each bit that is set.
fn each_bit(map: &[u64; MAP_WORDS], mut f: impl FnMut(usize)) {
    for (part, bits) in map.iter().enumerate() {
        let mut bits = *bits;
        while bits != 0 {
            f(part * 64 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

/// A record, finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record(NonZeroUsize);

impl Record {
    /// Its address: a multiple of 64.
    pub(super) fn address(self) -> NonZeroUsize {
        self.0
    }

    /// # Safety
    ///
    /// From [`address`](Self::address), and not retired.
    pub(super) unsafe fn at(address: NonZeroUsize) -> Record {
        Record(address)
    }

    fn header(self) -> *mut [u64; 2] {
        self.0.get() as *mut [u64; 2]
    }

    /// # Safety
    ///
    /// `units` of memory that is the caller's.
    unsafe fn write_header(self, units: usize, pages: usize) {
        // SAFETY: the caller's word; a header fits into a unit.
        unsafe {
            self.header()
                .write([0, (units as u64) << 32 | pages as u64])
        };
    }

    /// # Safety
    ///
    /// Its header has been written.
    unsafe fn sizes(self) -> (usize, usize) {
        // SAFETY: the caller's word.
        let [_, sizes] = unsafe { self.header().read() };
        ((sizes >> 32) as usize, sizes as u32 as usize)
    }

    /// Bytes it takes.
    pub(super) fn bytes(self) -> usize {
        // SAFETY: a record is finished.
        unsafe { self.sizes() }.0 * UNIT
    }

    fn reader(self) -> Reader {
        Reader {
            at: self.0.get() + HEADER_BYTES,
            // SAFETY: a record is finished.
            pages: unsafe { self.sizes() }.1,
        }
    }

    /// The pages in it: address and contents. `page` is written anew for each.
    ///
    /// Async-signal-safe.
    pub(super) fn each_page<E>(
        self,
        page: &mut Page,
        mut f: impl FnMut(usize, &Page) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = self.reader();
        while let Some((addr, map)) = reader.page() {
            page.fill(0);
            each_bit(&map, |index| {
                let word = reader.word().to_le_bytes();
                page[index * word.len()..][..word.len()].copy_from_slice(&word);
            });
            f(addr, page)?;
        }
        Ok(())
    }

    /// The addresses of its pages.
    pub(super) fn each_address(self, mut f: impl FnMut(usize)) {
        let mut reader = self.reader();
        while let Some((addr, map)) = reader.page() {
            f(addr);
            each_bit(&map, |_| {
                reader.word();
            });
        }
    }
}

/// Reads a record, which says itself where it ends.
struct Reader {
    at: usize,
    pages: usize,
}

impl Reader {
    /// Address and map of the next page, whose words come next.
    fn page(&mut self) -> Option<(usize, [u64; MAP_WORDS])> {
        self.pages = self.pages.checked_sub(1)?;
        Some((self.word() as usize, std::array::from_fn(|_| self.word())))
    }

    fn word(&mut self) -> u64 {
        let mut mask = self.byte();
        let mut bytes = [0; size_of::<u64>()];
        while mask != 0 {
            bytes[mask.trailing_zeros() as usize] = self.byte();
            mask &= mask - 1;
        }
        u64::from_le_bytes(bytes)
    }

    fn byte(&mut self) -> u8 {
        // SAFETY: a finished record is as long as its pages say.
        let byte = unsafe { (self.at as *const u8).read() };
        self.at += 1;
        byte
    }
}

/// Gives up a record whose pages are back. Async-signal-safe.
///
/// # Safety
///
/// It was [`Records::finish`]ed, and this is the last use.
pub(super) unsafe fn retire(record: Record) {
    let mut head = RETIRED.load(Ordering::Relaxed);
    loop {
        // SAFETY: the caller's own now; a header is two words.
        unsafe { record.header().cast::<u64>().write(head as u64) };
        let new = record.0.get();
        // Release: the keeper reads the link, and writes over what others have read.
        match RETIRED.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// The keeper's memory for records.
pub(super) struct Records {
    /// By units: free records, linked by their first words.
    free: Box<[usize]>,
    /// What is left of the last chunk.
    rest: std::ops::Range<usize>,
}

impl Records {
    pub(super) fn new() -> Records {
        Records {
            free: vec![0; UNITS_MAX + 1].into_boxed_slice(),
            rest: 0..0,
        }
    }

    /// Fetches what was retired.
    pub(super) fn collect(&mut self) {
        // Acquire: see `retire`.
        let mut next = RETIRED.swap(0, Ordering::Acquire);
        while let Some(address) = NonZeroUsize::new(next) {
            // SAFETY: retired, so ours alone.
            let record = unsafe { Record::at(address) };
            // SAFETY: retired, with the link in its first word.
            next = unsafe { record.header().read() }[0] as usize;
            self.release(record);
        }
    }

    /// Makes a record of a draft. Takes no lock but the kernel's. `None`: no memory.
    pub(super) fn finish(&mut self, draft: &Draft) -> Option<Record> {
        let units = draft.units();
        let address = self.allocate(units)?;
        let record = Record(address);
        // SAFETY: `allocate` gives that many units, which nobody else uses.
        unsafe {
            ptr::copy_nonoverlapping(draft.bytes.as_ptr(), address.get() as *mut u8, draft.len);
            record.write_header(units, draft.pages);
        }
        Some(record)
    }

    /// Takes back a record that nobody else knows of.
    pub(super) fn release(&mut self, record: Record) {
        let units = record.bytes() / UNIT;
        // SAFETY: nobody else uses it.
        unsafe { record.header().cast::<u64>().write(self.free[units] as u64) };
        self.free[units] = record.0.get();
    }

    fn allocate(&mut self, units: usize) -> Option<NonZeroUsize> {
        if let Some(address) = NonZeroUsize::new(self.free[units]) {
            // SAFETY: it is on our list, with the link in its first word.
            self.free[units] = unsafe { Record(address).header().read() }[0] as usize;
            return Some(address);
        }
        let bytes = units * UNIT;
        if self.rest.len() < bytes {
            self.give_up_rest();
            let start = map(CHUNK_BYTES)?;
            self.rest = start..start + CHUNK_BYTES;
        }
        let address = self.rest.start;
        self.rest.start += bytes;
        NonZeroUsize::new(address)
    }

    /// What is too short for a record that is wanted is enough for another.
    fn give_up_rest(&mut self) {
        let units = (self.rest.len() / UNIT).min(UNITS_MAX);
        if let Some(address) = NonZeroUsize::new(self.rest.start).filter(|_| units != 0) {
            let record = Record(address);
            // SAFETY: the end of our chunk, `units` long.
            unsafe { record.write_header(units, 0) };
            self.release(record);
        }
        self.rest = 0..0;
    }
}

fn map(bytes: usize) -> Option<usize> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping where the kernel likes.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    (start != libc::MAP_FAILED).then_some(start as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(4096))]
    struct Aligned([u64; WORDS]);

    fn contents(record: Record) -> Vec<(usize, Vec<u64>)> {
        let mut found = Vec::new();
        let mut page = [0; PAGE_BYTES];
        let result = record.each_page(&mut page, |addr, page| {
            let words = page.chunks_exact(8);
            let words = words.map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
            found.push((addr, words.collect()));
            Ok::<(), ()>(())
        });
        assert_eq!(result, Ok(()));
        let mut addresses = Vec::new();
        record.each_address(|addr| addresses.push(addr));
        assert!(found.iter().map(|(addr, _)| *addr).eq(addresses));
        found
    }

    #[test]
    fn pages_come_back_as_they_were() {
        let mut records = Records::new();
        let mut draft = Draft::new();
        let mut pages: Vec<Aligned> = Vec::new();
        for seed in 0..PAGES_MAX {
            // Full ones, sparse ones, and each third empty.
            let word = |index: usize| match seed % 3 {
                0 => 0,
                1 => (index % 7 == seed % 7) as u64 * (index as u64 + 1),
                _ => index as u64 + 1,
            };
            pages.push(Aligned(std::array::from_fn(word)));
        }
        for page in &pages {
            let addr = page.0.as_ptr() as usize;
            // SAFETY: a page, which nobody writes to.
            unsafe { draft.add(addr, addr) };
        }
        let record = records.finish(&draft).unwrap();
        let mut expected = Vec::new();
        for page in pages
            .iter()
            .filter(|page| page.0.iter().any(|word| *word != 0))
        {
            expected.push((page.0.as_ptr() as usize, page.0.to_vec()));
        }
        assert_eq!(contents(record), expected);
        assert!(record.bytes() <= UNITS_MAX * UNIT);
    }

    #[test]
    fn what_lies_below_the_live_part_is_not_kept() {
        let mut records = Records::new();
        let mut draft = Draft::new();
        let page = Aligned([7; WORDS]);
        let addr = page.0.as_ptr() as usize;
        // SAFETY: a page, which nobody writes to.
        unsafe { draft.add(addr, addr + PAGE_BYTES - 24) };
        let record = records.finish(&draft).unwrap();
        let mut words = vec![0; WORDS];
        words[WORDS - 3..].fill(7);
        assert_eq!(contents(record), [(addr, words)]);
        assert_eq!(record.bytes(), 64);
    }

    #[test]
    fn memory_is_used_again() {
        let mut records = Records::new();
        let mut draft = Draft::new();
        let page = Aligned([7; WORDS]);
        let addr = page.0.as_ptr() as usize;
        // SAFETY: a page, which nobody writes to.
        unsafe { draft.add(addr, addr) };
        let mut first = records.finish(&draft).unwrap();
        for _ in 0..10_000 {
            records.release(first);
            let second = records.finish(&draft).unwrap();
            assert_eq!(second, first);
            first = second;
        }
        // More than a chunk: what is left of one is not lost, and not given out twice.
        let mut all = std::collections::HashSet::new();
        for _ in 0..1_000 {
            assert!(all.insert(records.finish(&draft).unwrap().address()));
        }
        draft.clear();
        // SAFETY: as above.
        unsafe { draft.add(addr, addr + PAGE_BYTES - 8) };
        for _ in 0..100 {
            assert!(all.insert(records.finish(&draft).unwrap().address()));
        }
    }
}

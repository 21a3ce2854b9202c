//! Where slots come from: an arena per size class, grown in chunks, and a free list.
//!
//! The free list is a stack of indices with a counter against ABA in one word; the links lie in an
//! array beside the slots, never in a slot's own page. It is lock-free because a goroutine can be
//! preempted while it allocates, and the scheduler releases slots where it must not wait for one.
//! Slots that were never used are carved off by moving a mark up to another one, below which guards
//! are in place. Only growing (mapping a chunk, installing guards) takes a lock, and waits for it only in
//! `allocate_batch`, which the scheduler calls as user code.
//!
//! Where spawners have come to need new slots, a thread that has nothing else to do can make the next ones
//! ready (`prepare`): guard, page, free list. It makes no more than they took last time, stops when they
//! stop, and does not begin while slots come back.
//!
//! Chunks grow with the arena, so a limit of the process (RLIMIT_AS, strict overcommit) gives an
//! error when it is reached, not at the start. Nothing is ever unmapped (S3), so a reader may follow
//! any index it ever saw.
//!
//! Elsewhere: caches per P (the scheduler's). Checked by `tests/stacks.rs`.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::guard;
use crate::hibernate;
use crate::stack::{Class, ClassReport, PAGE, Slot, StackError, Why};
use crate::sys::{Ranges, SlowLock};

/// Slots of the first chunk of a class, unless those would be more than [`FIRST_CHUNK_BYTES`].
const FIRST_CHUNK_SLOTS: usize = 64;
const FIRST_CHUNK_BYTES: usize = 64 << 20;
/// Chunks double the arena, so 32 are enough for 2^32 slots; the rest is for pieces that were smaller
/// because the kernel did not give more.
const CHUNKS_MAX: usize = 64;
/// Guards installed at once. At 0.3 µs each, a pause of 10 µs for one spawn in 32.
const GUARD_BATCH: usize = guard::BATCH;
/// New slots made in one call are at most one for so many that exist, as each costs a page at once.
const FRESH_SHARE: usize = 8;
/// And at most this many.
const FRESH_MAX: usize = 32;
/// New slots that `prepare` makes in one call: some 10 µs.
const PREPARED_AT_ONCE: usize = 8;

/// The slots of one class.
struct Arena {
    /// Head of the free list: index + 1 in the low half (0: empty), a counter in the high half that
    /// every change of the head increments. `release` publishes what was written to the slots.
    free: AtomicU64,
    free_count: AtomicUsize,
    /// Slots below this index were handed out at least once.
    carved: AtomicUsize,
    /// Slots below this index have their guard. Written under `GROWTH`, after the guards.
    guarded: AtomicUsize,
    /// Slots that are mapped. Written under `GROWTH`.
    mapped: AtomicUsize,
    /// How many new slots it would be good to have on the free list. Set by who needed some; `prepare` counts
    /// down. A hint.
    wanted: AtomicUsize,
    /// The free list has some that `prepare` made, and nobody has taken any since. A hint.
    has_prepared: AtomicBool,
    /// How many of `chunks` are valid. Written under `GROWTH`, after the chunk.
    chunk_count: AtomicUsize,
    chunks: [Chunk; CHUNKS_MAX],
}

/// One mapping: links, then slots. Written before it is counted, never changed after.
struct Chunk {
    /// Address of slot `first_index`.
    base: AtomicUsize,
    first_index: AtomicUsize,
    len: AtomicUsize,
    /// Address of `len` links: index + 1 of the next free slot, or 0.
    links: AtomicUsize,
    /// Address of `len` words for the slots' users, 0 at first.
    words: AtomicUsize,
    /// Whether the memory of its slots can be put away (`hibernate`).
    is_ready_for_sleep: AtomicBool,
}

static ARENAS: [Arena; Class::COUNT] = [const {
    Arena {
        free: AtomicU64::new(0),
        free_count: AtomicUsize::new(0),
        carved: AtomicUsize::new(0),
        guarded: AtomicUsize::new(0),
        mapped: AtomicUsize::new(0),
        wanted: AtomicUsize::new(0),
        has_prepared: AtomicBool::new(false),
        chunk_count: AtomicUsize::new(0),
        chunks: [const {
            Chunk {
                base: AtomicUsize::new(0),
                first_index: AtomicUsize::new(0),
                len: AtomicUsize::new(0),
                links: AtomicUsize::new(0),
                words: AtomicUsize::new(0),
                is_ready_for_sleep: AtomicBool::new(false),
            }
        }; CHUNKS_MAX],
    }
}; Class::COUNT];

/// Held while a chunk is mapped or guards are installed.
static GROWTH: SlowLock = SlowLock::new();

/// Index of the class that was last in need of new slots.
static GROWING: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn allocate_batch(
    class: Class,
    out: &mut [MaybeUninit<Slot>],
) -> Result<usize, StackError> {
    let arena = &ARENAS[class.index()];
    let warm = arena.pop(class, out);
    if warm > 0 || out.is_empty() {
        // Those that come back are enough, if there are some.
        if warm > 0
            && arena.has_prepared.swap(false, Relaxed)
            && arena.free_count.load(Relaxed) < FRESH_MAX
        {
            arena.want(class, out.len());
        }
        return Ok(warm);
    }
    let share = arena.carved.load(Relaxed) / FRESH_SHARE;
    let wanted = out.len().min(share.clamp(1, FRESH_MAX));
    loop {
        let count = arena.carve(class, &mut out[..wanted]);
        if count > 0 {
            // SAFETY: `carve` wrote that many.
            commit(unsafe { written(&out[..count]) });
            arena.want(class, count);
            return Ok(count);
        }
        arena.grow(class)?;
    }
}

/// Puts a few new slots on a free list if spawners are likely to need them. Waits for nobody.
pub(crate) fn prepare() -> bool {
    let Some(class) = Class::from_index(GROWING.load(Relaxed)) else {
        return false;
    };
    let arena = &ARENAS[class.index()];
    let wanted = arena.wanted.load(Relaxed);
    let count = wanted.min(PREPARED_AT_ONCE);
    let left = wanted - count;
    let is_ours = wanted != 0
        && arena
            .wanted
            .compare_exchange(wanted, left, Relaxed, Relaxed)
            .is_ok();
    if !is_ours {
        return false;
    }
    let mut slots = [MaybeUninit::uninit(); PREPARED_AT_ONCE];
    let mut made = arena.carve(class, &mut slots[..count]);
    if made == 0 && arena.grow_if_mapped(class) {
        made = arena.carve(class, &mut slots[..count]);
    }
    // SAFETY: `carve` wrote that many.
    let slots = unsafe { written(&slots[..made]) };
    commit(slots);
    arena.push(slots);
    arena.has_prepared.store(made != 0, Relaxed);
    made != 0
}

/// # Safety
///
/// Each has been written.
unsafe fn written(slots: &[MaybeUninit<Slot>]) -> &[Slot] {
    // SAFETY: `MaybeUninit` has its value's layout, and the caller says that the values are there.
    unsafe { &*(ptr::from_ref(slots) as *const [Slot]) }
}

/// Has the kernel put in the page of each slot that every goroutine needs, in one call: two thirds of
/// what as many page faults cost. A page that cannot be had now is faulted in when it is touched.
fn commit(slots: &[Slot]) {
    if slots.len() < 2 {
        return;
    }
    let mut pages = Ranges::<FRESH_MAX>::new();
    for slot in slots {
        pages.push(slot.fs() & !(PAGE - 1), PAGE);
    }
    pages.advise(libc::MADV_POPULATE_WRITE);
}

pub(crate) fn release_batch(slots: &[Slot]) {
    // Slots of one class go back with one change of the head; usually all are of one class.
    for run in slots.chunk_by(|a, b| a.class() == b.class()) {
        ARENAS[run[0].class().index()].push(run);
    }
}

/// Async-signal-safe.
pub(crate) fn find(addr: usize) -> Option<Slot> {
    (0..Class::COUNT)
        .filter_map(Class::from_index)
        .find_map(|class| {
            let arena = &ARENAS[class.index()];
            let chunk = arena.chunks().find(|chunk| chunk.contains(addr, class))?;
            let in_chunk = (addr - chunk.base.load(Relaxed)) >> class.log2();
            let index = chunk.first_index.load(Relaxed) + in_chunk;
            (index < arena.carved.load(Relaxed)).then(|| chunk.slot(in_chunk, class))
        })
}

/// The word of a slot, and whether its memory can be put away. Async-signal-safe.
pub(crate) fn word(slot: Slot) -> (&'static AtomicUsize, bool) {
    let class = slot.class();
    let arena = &ARENAS[class.index()];
    let mut chunks = arena.chunks().rev();
    let chunk = chunks
        .find(|chunk| chunk.contains(slot.base(), class))
        .expect("a slot comes from a chunk of its class");
    let in_chunk = (slot.base() - chunk.base.load(Relaxed)) >> class.log2();
    let is_ready = chunk.is_ready_for_sleep.load(Relaxed);
    (chunk.word(in_chunk), is_ready)
}

/// Makes the memory of all slots, those of later chunks too, such that it can be put away; see `hibernate`.
pub(crate) fn make_ready_for_sleep() {
    let _lock = GROWTH.lock();
    for class in (0..Class::COUNT).filter_map(Class::from_index) {
        for chunk in ARENAS[class.index()].chunks() {
            chunk.make_ready_for_sleep(class);
        }
    }
}

/// Calls `f` with every slot that was ever handed out.
pub(crate) fn for_each_carved(mut f: impl FnMut(Slot)) {
    for class in (0..Class::COUNT).filter_map(Class::from_index) {
        let arena = &ARENAS[class.index()];
        for index in 0..arena.carved.load(Acquire) {
            f(arena.slot(index, class));
        }
    }
}

pub(crate) fn report(class: Class) -> ClassReport {
    let arena = &ARENAS[class.index()];
    ClassReport {
        class,
        slots: arena.carved.load(Relaxed),
        free: arena.free_count.load(Relaxed),
        reserved_bytes: arena.mapped.load(Relaxed) * class.slot_bytes(),
    }
}

impl Arena {
    fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.chunks[..self.chunk_count.load(Acquire)].iter()
    }

    /// The chunk that holds slot `index`. The newest chunk has half of all slots, so look there first.
    fn chunk_of(&self, index: usize) -> &Chunk {
        self.chunks()
            .rev()
            .find(|chunk| chunk.first_index.load(Relaxed) <= index)
            .expect("an index comes from a chunk that was counted before")
    }

    fn slot(&self, index: usize, class: Class) -> Slot {
        let chunk = self.chunk_of(index);
        chunk.slot(index - chunk.first_index.load(Relaxed), class)
    }

    fn link(&self, index: usize) -> &AtomicU32 {
        let chunk = self.chunk_of(index);
        chunk.link(index - chunk.first_index.load(Relaxed))
    }

    fn index(&self, slot: Slot) -> usize {
        let class = slot.class();
        let chunk = self
            .chunks()
            .rev()
            .find(|chunk| chunk.contains(slot.base(), class))
            .expect("a slot comes from a chunk of its class");
        chunk.first_index.load(Relaxed) + ((slot.base() - chunk.base.load(Relaxed)) >> class.log2())
    }

    /// Takes up to `out.len()` slots off the free list.
    fn pop(&self, class: Class, out: &mut [MaybeUninit<Slot>]) -> usize {
        let mut head = self.free.load(Acquire);
        loop {
            // The links may change under our feet; whatever they say is a valid index, and if the
            // head still has its counter afterwards, they did not change.
            let mut next = head as u32;
            let mut count = 0;
            while count < out.len() && next != 0 {
                let index = next as usize - 1;
                out[count].write(self.slot(index, class));
                next = self.link(index).load(Relaxed);
                count += 1;
            }
            if count == 0 {
                return 0;
            }
            match self
                .free
                .compare_exchange_weak(head, bump(head, next), AcqRel, Acquire)
            {
                Ok(_) => {
                    self.free_count.fetch_sub(count, Relaxed);
                    return count;
                }
                Err(now) => head = now,
            }
        }
    }

    /// Puts slots on the free list, the first one on top.
    fn push(&self, slots: &[Slot]) {
        let indices = || slots.iter().map(|slot| self.index(*slot));
        for (index, next) in indices().zip(indices().skip(1)) {
            self.link(index).store(next as u32 + 1, Relaxed);
        }
        let (Some(first), Some(last)) = (indices().next(), indices().next_back()) else {
            return;
        };
        // Before the slots can be taken, so that the count never falls below what it counts.
        self.free_count.fetch_add(slots.len(), Relaxed);
        let last = self.link(last);
        let mut head = self.free.load(Relaxed);
        loop {
            last.store(head as u32, Relaxed);
            // Release: whoever pops sees the links, and the block as its goroutine left it (S2).
            match self.free.compare_exchange_weak(
                head,
                bump(head, first as u32 + 1),
                Release,
                Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The next slots that were never used, as far as their guards are in place.
    fn carve(&self, class: Class, out: &mut [MaybeUninit<Slot>]) -> usize {
        let guarded = self.guarded.load(Acquire);
        let end = |carved: usize| guarded.min(carved + out.len());
        let carved = self.carved.fetch_update(AcqRel, Relaxed, |carved| {
            (carved < guarded).then(|| end(carved))
        });
        let Ok(first) = carved else { return 0 };
        let count = end(first) - first;
        for (index, out) in (first..).zip(&mut out[..count]) {
            out.write(self.slot(index, class));
        }
        count
    }

    /// Has `prepare` make `count` slots.
    fn want(&self, class: Class, count: usize) {
        self.wanted.store(count, Relaxed);
        GROWING.store(class.index(), Relaxed);
    }

    /// Makes more slots ready to be carved.
    #[cold]
    fn grow(&self, class: Class) -> Result<(), StackError> {
        let _lock = GROWTH.lock();
        let guarded = self.guarded.load(Relaxed);
        if self.carved.load(Relaxed) < guarded {
            return Ok(()); // somebody else was faster
        }
        if guarded == self.mapped.load(Relaxed) {
            self.map_chunk(class)?;
        }
        self.guard_more(class)
    }

    /// [`grow`](Self::grow), if that neither maps nor waits.
    fn grow_if_mapped(&self, class: Class) -> bool {
        let Some(_lock) = GROWTH.try_lock() else {
            return false;
        };
        self.guarded.load(Relaxed) < self.mapped.load(Relaxed) && self.guard_more(class).is_ok()
    }

    /// Guards the next slots, of those that are mapped. With `GROWTH` held.
    fn guard_more(&self, class: Class) -> Result<(), StackError> {
        let guarded = self.guarded.load(Relaxed);
        let chunk = self.chunk_of(guarded);
        let in_chunk = guarded - chunk.first_index.load(Relaxed);
        let count = GUARD_BATCH.min(chunk.len.load(Relaxed) - in_chunk);
        let first = chunk.slot(in_chunk, class).base();
        let made = guard::install(first, class.slot_bytes(), count, class.guard_bytes())?;
        self.guarded.store(guarded + made, Release);
        Ok(())
    }

    /// Maps the next chunk, as big as all others together, or as much of that as there is.
    fn map_chunk(&self, class: Class) -> Result<(), StackError> {
        let slot_bytes = class.slot_bytes();
        let chunk_count = self.chunk_count.load(Relaxed);
        if chunk_count == CHUNKS_MAX {
            return Err(StackError(Why::TooManyChunks { slot_bytes }));
        }
        let mapped = self.mapped.load(Relaxed);
        // Links are 32 bits wide, and 0 is taken.
        let room = (u32::MAX - 1) as usize - mapped;
        let first_chunk = FIRST_CHUNK_SLOTS.min(FIRST_CHUNK_BYTES / slot_bytes).max(1);
        let mut len = mapped.max(first_chunk).min(room);
        let (start, words, base) = loop {
            if len == 0 {
                return Err(StackError(Why::TooManyChunks { slot_bytes }));
            }
            let words = (len * size_of::<u32>()).next_multiple_of(PAGE);
            let base = words + (len * size_of::<usize>()).next_multiple_of(PAGE);
            match map(base + len * slot_bytes) {
                Ok(start) => break (start, start + words, start + base),
                Err(errno) if len == 1 => {
                    return Err(StackError(Why::NoSpace { slot_bytes, errno }));
                }
                Err(_) => len /= 2,
            }
        };
        let chunk = &self.chunks[chunk_count];
        chunk.base.store(base, Relaxed);
        chunk.first_index.store(mapped, Relaxed);
        chunk.len.store(len, Relaxed);
        chunk.links.store(start, Relaxed);
        chunk.words.store(words, Relaxed);
        chunk.make_ready_for_sleep(class);
        self.chunk_count.store(chunk_count + 1, Release);
        self.mapped.store(mapped + len, Relaxed);
        Ok(())
    }
}

impl Chunk {
    fn contains(&self, addr: usize, class: Class) -> bool {
        addr.wrapping_sub(self.base.load(Relaxed)) < self.len.load(Relaxed) << class.log2()
    }

    fn slot(&self, in_chunk: usize, class: Class) -> Slot {
        Slot::new(self.base.load(Relaxed) + (in_chunk << class.log2()), class)
    }

    fn link(&self, in_chunk: usize) -> &AtomicU32 {
        assert!(in_chunk < self.len.load(Relaxed));
        let links = self.links.load(Relaxed) as *const AtomicU32;
        // SAFETY: `map_chunk` mapped `len` links there, zero at first, never unmapped (S3), and they
        // are only ever used as atomics. `in_chunk` is below `len`.
        unsafe { &*links.add(in_chunk) }
    }

    fn word(&self, in_chunk: usize) -> &'static AtomicUsize {
        assert!(in_chunk < self.len.load(Relaxed));
        let words = self.words.load(Relaxed) as *const AtomicUsize;
        // SAFETY: as of the links, which lie before them.
        unsafe { &*words.add(in_chunk) }
    }

    /// With `GROWTH` held.
    fn make_ready_for_sleep(&self, class: Class) {
        let bytes = self.len.load(Relaxed) << class.log2();
        if !self.is_ready_for_sleep.load(Relaxed)
            && hibernate::register(self.base.load(Relaxed), bytes)
        {
            self.is_ready_for_sleep.store(true, Relaxed);
        }
    }
}

/// A head of the free list with another first element.
fn bump(head: u64, first: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(first)
}

/// Reserves memory that is committed page by page as it is touched.
fn map(bytes: usize) -> Result<usize, i32> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping where the kernel likes; nothing existing is touched.
    let start = unsafe { libc::mmap(core::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // A huge page would make whole slots resident at the first touch. Kernels without huge pages
    // refuse the advice, and need none.
    // SAFETY: the range is the mapping just made.
    unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
    Ok(start as usize)
}

//! Stack slots: one goroutine's stack, closure area and thread-local block in one piece of memory.
//!
//! ```text
//!  base                    limit            top          fs                page end      end
//!   | guard (never mapped) | stack <--------- | surplus,   | TCB, what must  | the rest of |
//!   |                      |  frames, closure | TLS        | be set, colour  | struct pthread
//! ```
//!
//! A slot commits memory page by page as it is touched: that is how the stack grows. A parked
//! goroutine has one page, which holds its frames, its closure, its thread-locals and the part of
//! libc's `struct pthread` that is not zero in a new thread; the rest lies in a page that is only
//! ever read, so it costs nothing.
//!
//! *Colour*: goroutines that run one after the other touch the same offsets of their pages, which
//! fall into the same sets of the caches. So neighbouring slots have everything shifted by another
//! multiple of 64 bytes (measured: a ring over 1,000 slots 38.8 ns a switch without, 9.5 ns with).
//!
//! Invariants:
//! * S1. A slot is in one place: handed out, on its class's free list, or never carved yet.
//! * S2. The thread-local block of a slot that is handed out becomes a new thread's (`tls::renew`) before
//!   anything else is put there. Until then it is untouched, or as its last goroutine left it, or that has
//!   been done before (`tls::clean`). Left as it is, a goroutine that was parked for long ends without
//!   another miss for each line of its block; cleaned where it ended, one that ran on another processor
//!   than its starter's costs the next starter no such miss.
//! * S3. Slots are never unmapped, so a stale address of one can be looked up, and is never another
//!   mapping's.
//! * S4. A slot has a stack of [`ROOM_MIN`] bytes at least beside its guard and its block, however large that
//!   is: classes with less have no slots.
//!
//! Elsewhere: where slots come from (`pool`), what guards them (`guard`), what is written into the
//! block (`tls::block`). Checked by `tests/stacks.rs`.

use core::fmt;
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::guard::{self, GuardKind};
use crate::pool;

/// Bytes of a page. x86-64 has no other; elsewhere no slot is ever made.
pub(crate) const PAGE: usize = 4096;

/// A size class of slots: a power of two from 64 KiB to 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Class(u8);

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = (Self::MAX_LOG2 - Self::MIN_LOG2 + 1) as usize;

    const MIN_LOG2: u32 = 16;
    const MAX_LOG2: u32 = 30;

    /// The class for who asks for `stack_bytes`: slots of that, rounded up to a power of two.
    ///
    /// The guard and the thread-local block are taken from the slot, so that powers of two do not
    /// round up to the next one: of 64 KiB about 50 are stack, of 256 KiB about 218. Where the program's
    /// thread-locals are so large (more than some 10 KB for 64 KiB) that less than five eighths would be
    /// left, the class is the next one that has as much.
    ///
    /// How large they are is known from `tls::init` on: before it, and in thread mode, there is no block.
    ///
    /// # Errors
    ///
    /// For 0 and for more than 1 GiB.
    pub fn for_size(stack_bytes: usize) -> Result<Class, StackError> {
        Class::for_size_beside(stack_bytes, LAYOUT.taken.load(Relaxed))
    }

    /// [`for_size`](Class::for_size) where blocks take up to `block_bytes`.
    fn for_size_beside(stack_bytes: usize, block_bytes: usize) -> Result<Class, StackError> {
        if stack_bytes == 0 {
            return Err(StackError(Why::ZeroSize));
        }
        if stack_bytes > 1 << Self::MAX_LOG2 {
            return Err(StackError(Why::TooBig { stack_bytes }));
        }
        let log2 = stack_bytes
            .next_power_of_two()
            .trailing_zeros()
            .max(Self::MIN_LOG2);
        let asked = log2 - Self::MIN_LOG2;
        let least = room_min(1 << log2);
        (asked as usize..Self::COUNT)
            .filter_map(Class::from_index)
            .find(|class| class.room_beside(block_bytes) >= least)
            .ok_or(StackError(Why::TooBig { stack_bytes }))
    }

    /// Bytes of stack in a slot whose block takes `block_bytes`.
    fn room_beside(self, block_bytes: usize) -> usize {
        (self.slot_bytes() - self.guard_bytes()).saturating_sub(block_bytes)
    }

    /// The class with this [`index`](Class::index), if there is one.
    pub fn from_index(index: usize) -> Option<Class> {
        (index < Self::COUNT).then_some(Class(index as u8))
    }

    /// Bytes of a slot of this class, guard and thread-local block included.
    pub const fn slot_bytes(self) -> usize {
        1 << (Self::MIN_LOG2 + self.0 as u32)
    }

    /// Bytes at the low end of a slot that must never be touched.
    ///
    /// 64 KiB where the slot has the room, because C code without stack probes can jump over a
    /// page: glibc takes up to 64 KiB by `alloca`.
    pub const fn guard_bytes(self) -> usize {
        let eighth = self.slot_bytes() / 8;
        if eighth < 64 << 10 { eighth } else { 64 << 10 }
    }

    /// Position among the classes, from 0 for the smallest.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn log2(self) -> u32 {
        Self::MIN_LOG2 + self.0 as u32
    }
}

/// What of `asked_bytes`, a power of two, is stack at least, whatever a guard and a block take. The guard is
/// an eighth or less, so a block of a quarter is no reason for another class.
const fn room_min(asked_bytes: usize) -> usize {
    asked_bytes / 8 * 5
}

/// Bytes of stack in any slot (S4).
pub const ROOM_MIN: usize = room_min(1 << Class::MIN_LOG2);

/// One slot: a copyable handle, the packed address and class.
///
/// Bits 0 to 3 are the class, the rest is the address of the slot's lowest byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot(NonZeroUsize);

const CLASS_BITS: usize = 0xf;
const _: () = assert!(Class::COUNT <= CLASS_BITS + 1 && CLASS_BITS < PAGE);

impl Slot {
    pub(crate) fn new(base: usize, class: Class) -> Slot {
        debug_assert!(base.is_multiple_of(PAGE));
        Slot(NonZeroUsize::new(base | class.index()).expect("no slot lies at address 0"))
    }

    /// The size class.
    pub fn class(self) -> Class {
        Class((self.0.get() & CLASS_BITS) as u8)
    }

    /// The lowest byte of the slot, where the guard begins.
    pub fn base(self) -> usize {
        self.0.get() & !CLASS_BITS
    }

    /// One past the highest byte of the slot.
    pub fn end(self) -> usize {
        self.base() + self.class().slot_bytes()
    }

    /// The FS base of this slot's thread-local block.
    #[inline]
    pub fn fs(self) -> usize {
        let colours = LAYOUT.colours.load(Relaxed);
        let colour = (self.base() >> self.class().log2()) & (colours - 1);
        self.end() - LAYOUT.above.load(Relaxed) - colour * LAYOUT.colour_bytes.load(Relaxed)
    }

    /// The first byte above the stack, aligned to 16: closure and frames go below it.
    #[inline]
    pub fn top(self) -> *mut u8 {
        (self.fs() - LAYOUT.below.load(Relaxed)) as *mut u8
    }

    /// The lowest byte that the stack may use.
    #[inline]
    pub fn limit(self) -> *mut u8 {
        (self.base() + self.class().guard_bytes()) as *mut u8
    }

    /// Whether `addr` lies in this slot, guard included.
    #[inline]
    pub fn contains(self, addr: usize) -> bool {
        addr.wrapping_sub(self.base()) < self.class().slot_bytes()
    }

    /// The addresses whose touch is a stack overflow.
    pub fn guard(self) -> Range<usize> {
        self.base()..self.limit() as usize
    }

    /// The handle as a word, never 0.
    pub fn to_raw(self) -> usize {
        self.0.get()
    }

    /// The handle back from a word.
    ///
    /// # Safety
    ///
    /// `raw` came from [`to_raw`](Slot::to_raw) in this process.
    pub unsafe fn from_raw(raw: usize) -> Slot {
        // SAFETY: the caller says that `raw` came from `to_raw`, which gives no 0.
        Slot(unsafe { NonZeroUsize::new_unchecked(raw) })
    }
}

/// Where in a slot the thread-local block lies. Set once by `tls::init`, before the first slot.
struct Layout {
    /// Bytes below FS that are the block's: thread-locals and surplus, a multiple of 64.
    below: AtomicUsize,
    /// Bytes from the FS base of colour 0 to the end of the slot; 0 until set.
    above: AtomicUsize,
    /// A power of two.
    colours: AtomicUsize,
    /// A power of two, at least the alignment of FS.
    colour_bytes: AtomicUsize,
    /// Bytes of a slot's high end that are not stack in the colour that shifts most; 0 until set.
    taken: AtomicUsize,
}

static LAYOUT: Layout = Layout {
    below: AtomicUsize::new(0),
    above: AtomicUsize::new(0),
    colours: AtomicUsize::new(1),
    colour_bytes: AtomicUsize::new(64),
    taken: AtomicUsize::new(0),
};

/// Bytes of the page that holds the block which colour may not take from the frames: a goroutine that
/// is parked a few calls deep, with a closure, fits into one page.
const FIRST_PAGE_MIN: usize = 1536;

/// Says how a thread-local block looks: `below` bytes under FS, `cut` bytes above it that are
/// written, `rest` more that stay untouched, and FS aligned to `align`.
///
/// The page boundary falls at `fs + cut` for colour 0.
pub(crate) fn set_block_layout(below: usize, cut: usize, rest: usize, align: usize) {
    assert!(
        align.is_power_of_two() && align <= PAGE,
        "FS alignment {align}"
    );
    let above = cut.next_multiple_of(align) + rest.next_multiple_of(PAGE);
    // As many colours of 64 bytes (or more, if FS is aligned to more), up to 16, as leave
    // `FIRST_PAGE_MIN` for frames in the worst slot.
    let colour_bytes = align.max(64);
    let frames = PAGE - (cut.next_multiple_of(align) + below.next_multiple_of(64)) % PAGE;
    let colours = [16, 8, 4, 2]
        .into_iter()
        .find(|colours| (colours - 1) * colour_bytes + FIRST_PAGE_MIN <= frames)
        .unwrap_or(1);
    let below = below.next_multiple_of(64);
    let taken = above + below + (colours - 1) * colour_bytes;
    LAYOUT.below.store(below, Relaxed);
    LAYOUT.taken.store(taken, Relaxed);
    LAYOUT.colours.store(colours, Relaxed);
    LAYOUT.colour_bytes.store(colour_bytes, Relaxed);
    LAYOUT.above.store(above, Relaxed);
}

/// Bytes below FS that are free for thread-locals of later libraries, if `used` are in use.
pub(crate) fn surplus(used: usize) -> usize {
    LAYOUT.below.load(Relaxed).saturating_sub(used)
}

/// There are no slots after all.
pub(crate) fn clear_block_layout() {
    LAYOUT.above.store(0, Relaxed);
    LAYOUT.taken.store(0, Relaxed);
}

/// Bytes of a slot's high end that are not stack.
pub(crate) fn block_bytes() -> usize {
    LAYOUT.above.load(Relaxed) + LAYOUT.below.load(Relaxed)
}

/// Whether slots can be made: there is a block layout.
pub(crate) fn has_block_layout() -> bool {
    LAYOUT.above.load(Relaxed) != 0
}

/// A slot of `class` whose thread-local block is as a new thread's.
///
/// Calls malloc and the kernel when the slot is used for the first time: call it outside the
/// runtime's locks, where a goroutine may be preempted.
///
/// # Errors
///
/// When the kernel gives no more address space or guards, or the class has no room for a stack (S4); the text
/// says what to do.
pub fn allocate(class: Class) -> Result<Slot, StackError> {
    let mut out = [MaybeUninit::uninit()];
    let count = allocate_batch(class, &mut out)?;
    debug_assert_eq!(count, 1);
    // SAFETY: `allocate_batch` wrote the first `count` elements, and `count` is at least 1 for a
    // slice that is not empty.
    let slot = unsafe { out[0].assume_init() };
    // SAFETY: it was just handed to us.
    unsafe { renew(slot) }?;
    Ok(slot)
}

/// Makes the block of a slot from [`allocate_batch`] a new thread's (S2). If that fails, the slot is
/// given back.
///
/// # Errors
///
/// When the block needs memory from malloc, and there is none.
///
/// # Safety
///
/// As [`tls::renew`](crate::tls::renew); on an error the slot is not the caller's any more.
#[inline]
pub unsafe fn renew(slot: Slot) -> Result<(), StackError> {
    // SAFETY: the caller's contract is the same.
    let renewed = unsafe { crate::tls::renew(slot) };
    renewed.inspect_err(|_| release_batch(&[slot]))
}

/// Fills a prefix of `out` with slots to be kept at hand and returns its length, at least 1 unless
/// `out` is empty. Each needs a [`renew`] before it is used.
///
/// Takes as many warm slots as there are. Only if there are none it makes new ones; not more than an
/// eighth of those in existence, because each of them costs a page.
///
/// # Errors
///
/// As [`allocate`], when not even one could be had.
pub fn allocate_batch(class: Class, out: &mut [MaybeUninit<Slot>]) -> Result<usize, StackError> {
    if !has_block_layout() {
        return Err(StackError(Why::NotReady));
    }
    let block_bytes = LAYOUT.taken.load(Relaxed);
    if class.room_beside(block_bytes) < ROOM_MIN {
        let slot_bytes = class.slot_bytes();
        return Err(StackError(Why::NoRoom {
            slot_bytes,
            block_bytes,
        }));
    }
    crate::tls::check_loaded();
    pool::allocate_batch(class, out)
}

/// Makes a few slots ready that were never used, for spawners to come, if the last ones had to wait for the
/// kernel to make theirs. False: there is no need. Some 10 µs; takes no lock that it would have to wait for, and no
/// malloc.
pub fn prepare() -> bool {
    has_block_layout() && pool::prepare()
}

/// Gives dead slots back. Lock-free; no malloc, no system call.
///
/// The caller vouches for S1, which unsafe code elsewhere builds on: each slot was handed out by
/// `allocate*` and is given back once, nothing runs on its stack or points into it, and whatever ran
/// there has called `tls::run_destructors` as its last.
pub fn release_batch(slots: &[Slot]) {
    pool::release_batch(slots);
}

/// The slot whose guard `addr` lies in, if there is one. Async-signal-safe.
pub fn find_guard(addr: usize) -> Option<Slot> {
    find(addr).filter(|slot| slot.guard().contains(&addr))
}

/// The slot that `addr` lies in, handed out now or before, if there is one. Async-signal-safe.
pub fn find(addr: usize) -> Option<Slot> {
    pool::find(addr)
}

/// What a class of slots holds, for [`StackReport`].
#[derive(Clone, Copy, Debug)]
pub struct ClassReport {
    /// The class.
    pub class: Class,
    /// Slots made so far, in use or free.
    pub slots: usize,
    /// Of these, how many are on the free list.
    pub free: usize,
    /// Address space reserved.
    pub reserved_bytes: usize,
}

/// The state of stack memory, for `gort doctor`.
#[derive(Clone, Debug)]
pub struct StackReport {
    /// What guards are made of; `None` until the first slot.
    pub guard: Option<GuardKind>,
    /// Mappings that guards may take: a quarter of `vm.max_map_count`. Only `mprotect` guards need it.
    pub guards_max: usize,
    /// The classes in use.
    pub classes: Vec<ClassReport>,
}

/// Reads the state of stack memory. Counts that change meanwhile may not fit together.
pub fn report() -> StackReport {
    StackReport {
        guard: guard::kind(),
        guards_max: guard::guards_max(),
        classes: (0..Class::COUNT)
            .filter_map(Class::from_index)
            .map(pool::report)
            .filter(|report| report.reserved_bytes > 0)
            .collect(),
    }
}

/// Why there is no stack. The text says what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackError(pub(crate) Why);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    ZeroSize,
    TooBig {
        stack_bytes: usize,
    },
    NotReady,
    /// The thread-local block leaves too little of a slot.
    NoRoom {
        slot_bytes: usize,
        block_bytes: usize,
    },
    /// `mmap` refused even one slot.
    NoSpace {
        slot_bytes: usize,
        errno: i32,
    },
    /// Many small chunks were all that could be had.
    TooManyChunks {
        slot_bytes: usize,
    },
    /// The next guard would go beyond our share of the mappings.
    GuardBudget {
        guards: usize,
        max_map_count: usize,
    },
    /// The kernel refused a guard.
    GuardRefused {
        errno: i32,
    },
    /// libc's `calloc` for the table of thread-local blocks.
    NoHeap,
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Why::ZeroSize => f.write_str("a stack of 0 bytes cannot run anything"),
            Why::TooBig { stack_bytes } => {
                write!(
                    f,
                    "a stack of {stack_bytes} bytes is too big: at most 1 GiB (1073741824)"
                )
            }
            Why::NotReady => f.write_str(
                "there are no goroutine stacks: the runtime has not started or runs in thread mode",
            ),
            Why::NoRoom {
                slot_bytes,
                block_bytes,
            } => write!(
                f,
                "{slot_bytes} bytes have no room for a stack beside {block_bytes} bytes of \
                 thread-locals: ask for more"
            ),
            Why::NoSpace { slot_bytes, errno } => write!(
                f,
                "no address space for a stack of {slot_bytes} bytes (errno {errno}): the process is at \
                 its limit (`ulimit -v`, RLIMIT_AS), or the system overcommits nothing \
                 (`sysctl vm.overcommit_memory=1` lets it), or has too many mappings \
                 (`sysctl vm.max_map_count`); smaller stacks also help"
            ),
            Why::TooManyChunks { slot_bytes } => write!(
                f,
                "address space for stacks of {slot_bytes} bytes comes only in small pieces: raise \
                 `ulimit -v` (RLIMIT_AS), or `sysctl vm.overcommit_memory=1`"
            ),
            Why::GuardBudget {
                guards,
                max_map_count,
            } => write!(
                f,
                "{guards} stacks have guard pages, a quarter of vm.max_map_count={max_map_count}, and \
                 this kernel has no guards without a mapping (Linux 6.13 has): \
                 `sysctl vm.max_map_count=N` with N four times the goroutines you need"
            ),
            Why::GuardRefused { errno } => write!(
                f,
                "the kernel refused the guard of a stack (mprotect: errno {errno}): probably too many \
                 mappings, see `sysctl vm.max_map_count`"
            ),
            Why::NoHeap => f.write_str("out of memory: malloc has nothing for a goroutine's block"),
        }
    }
}

impl core::error::Error for StackError {}

impl From<StackError> for std::io::Error {
    fn from(error: StackError) -> std::io::Error {
        let kind = match error.0 {
            Why::ZeroSize | Why::TooBig { .. } | Why::NoRoom { .. } => {
                std::io::ErrorKind::InvalidInput
            }
            Why::NotReady => std::io::ErrorKind::Unsupported,
            _ => std::io::ErrorKind::OutOfMemory,
        };
        std::io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_up_to_a_class() {
        let class = |bytes| Class::for_size(bytes).map(Class::slot_bytes);
        assert_eq!(class(1), Ok(64 << 10));
        assert_eq!(class(64 << 10), Ok(64 << 10));
        assert_eq!(class((64 << 10) + 1), Ok(128 << 10));
        assert_eq!(class(256 << 10), Ok(256 << 10));
        assert_eq!(class(1 << 30), Ok(1 << 30));
        assert_eq!(
            Class::for_size(1 << 30).map(Class::index),
            Ok(Class::COUNT - 1)
        );
        assert!(
            Class::for_size(0)
                .unwrap_err()
                .to_string()
                .contains("0 bytes")
        );
        assert!(
            Class::for_size((1 << 30) + 1)
                .unwrap_err()
                .to_string()
                .contains("at most 1 GiB")
        );
        assert!(Class::for_size(usize::MAX).is_err());
    }

    #[test]
    fn ordinary_thread_locals_change_no_class() {
        for block_bytes in [0, 6 << 10, 16 << 10] {
            for asked in (0..Class::COUNT).filter_map(Class::from_index) {
                let class = Class::for_size_beside(asked.slot_bytes(), block_bytes);
                assert_eq!(class, Ok(asked), "{block_bytes}");
            }
        }
    }

    #[test]
    fn large_thread_locals_ask_for_the_next_class_with_room() {
        let bytes = |asked: usize, block_bytes| {
            Class::for_size_beside(asked, block_bytes).map(Class::slot_bytes)
        };
        assert_eq!(bytes(64 << 10, (16 << 10) + 64), Ok(128 << 10));
        assert_eq!(bytes(64 << 10, 66_000), Ok(128 << 10));
        assert_eq!(bytes(256 << 10, 64_000), Ok(256 << 10));
        assert_eq!(bytes(64 << 10, 206_000), Ok(512 << 10));
        assert_eq!(bytes(256 << 10, 206_000), Ok(512 << 10));
        assert_eq!(bytes(256 << 10, 306_000), Ok(1 << 20));
        assert_eq!(bytes(1 << 30, 2 << 20), Ok(1 << 30));
        for asked in (0..Class::COUNT).filter_map(Class::from_index) {
            for block_bytes in (0..2 << 20).step_by(4096 + 64) {
                let class = Class::for_size_beside(asked.slot_bytes(), block_bytes).unwrap();
                assert!(class.room_beside(block_bytes) >= room_min(asked.slot_bytes()));
            }
        }
    }

    #[test]
    fn errors_say_what_to_do_and_have_a_kind() {
        let error = StackError(Why::GuardBudget {
            guards: 16_382,
            max_map_count: 65_530,
        });
        assert!(error.to_string().contains("sysctl vm.max_map_count"));
        assert_eq!(
            std::io::Error::from(error).kind(),
            std::io::ErrorKind::OutOfMemory
        );
        let error = StackError(Why::NoSpace {
            slot_bytes: 65_536,
            errno: 12,
        });
        assert!(error.to_string().contains("RLIMIT_AS"));
        let error = Class::for_size(0).unwrap_err();
        assert_eq!(
            std::io::Error::from(error).kind(),
            std::io::ErrorKind::InvalidInput
        );
    }
}

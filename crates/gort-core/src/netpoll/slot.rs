//! The slots of the poller: who waits for a descriptor, until when, and the memory for that.
//!
//! A slot serves one descriptor after the other; N1 says how late events are kept off the next. Slots
//! are made 64 at a time, found by the index in an event's tag, and never given back to the system:
//! there are as many as descriptors were open at once.
//!
//! Elsewhere: the invariants N1 to N6, which this file is the data to (`netpoll`).
//! Checked by the tests of `netpoll`.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use gort_queue::poll_slot::PollSlot;

use super::{DIRECTIONS, Direction, WAITERS, Wakes};
use crate::clock::NEVER;
use crate::g::{G, GRef};
use crate::lock::Mutex;
use crate::timer::{ReadyList, TimerNode};

/// In `Slot::info`, below the generation: nobody may wait here any more.
pub(super) const CLOSING: u64 = 1;
/// In `Slot::info`: the last event was an error and nothing else.
pub(super) const EVENT_ERROR: u64 = 2;

/// Two cache lines of its own at least: neighbours belong to other connections.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Slot {
    /// The position in `CHUNKS`; never changes.
    index: u32,
    /// The slot below in the list of free ones, while this is one. Guarded by `SLAB`.
    next_free: AtomicU32,
    /// Generation in the upper half, `CLOSING` and `EVENT_ERROR` below. Written by `evict`, `deliver`
    /// and `retire`; read by `check`.
    pub(super) info: AtomicU64,
    pub(super) sides: [Side; 2],
    /// Guards the timers, and stores to the deadlines.
    pub(super) arming: Mutex<Arming>,
}

/// One direction of a slot.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) waiter: PollSlot<G>,
    /// Set by the user, for all calls. Written under `arming`, read by `check` and the timer.
    pub(super) deadline_ns: AtomicU64,
    /// Of the one call that waits, while it waits. Written under `arming`, read by the timer.
    pub(super) call_deadline_ns: AtomicU64,
    pub(super) timer: TimerNode,
}

/// For when each direction's timer was started; `NEVER` if it is stopped.
#[derive(Debug)]
pub(super) struct Arming {
    pub(super) when_ns: [u64; 2],
}

impl Slot {
    fn new(index: u32) -> Slot {
        let side = || Side {
            waiter: PollSlot::new(),
            deadline_ns: AtomicU64::new(NEVER),
            call_deadline_ns: AtomicU64::new(NEVER),
            timer: TimerNode::new(deadline_fired),
        };
        Slot {
            index,
            next_free: AtomicU32::new(NO_SLOT),
            info: AtomicU64::new(0),
            sides: [side(), side()],
            arming: Mutex::new(Arming {
                when_ns: [NEVER; 2],
            }),
        }
    }

    pub(super) fn side(&self, direction: Direction) -> &Side {
        &self.sides[direction as usize]
    }

    /// What epoll shall report for this use of the slot: generation above, index below.
    pub(super) fn tag(&self) -> u64 {
        (self.info.load(Ordering::Relaxed) >> 32) << 32 | u64::from(self.index)
    }

    /// Notes whether an event was a bare error. Says `false`, and changes nothing, if the slot is
    /// no longer the one that `tag` was made for.
    pub(super) fn set_event_error(&self, tag: u64, is_error: bool) -> bool {
        let flag = if is_error { EVENT_ERROR } else { 0 };
        let mut info = self.info.load(Ordering::Acquire);
        loop {
            if info >> 32 != tag >> 32 {
                return false;
            }
            let wanted = info & !EVENT_ERROR | flag;
            if wanted == info {
                return true;
            }
            match self
                .info
                .compare_exchange_weak(info, wanted, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(current) => info = current,
            }
        }
    }

    /// Takes out the G that waits in this direction, without making the direction ready.
    pub(super) fn unblock(&self, direction: Direction) -> Option<GRef> {
        let gp = self.side(direction).waiter.interrupt()?;
        WAITERS.fetch_sub(1, Ordering::Release);
        Some(GRef(gp))
    }

    /// Brings the timers in line with the deadlines, and takes out who waits past one. If both
    /// directions have the same one, the reader's timer serves both, as a deadline is mostly set for
    /// the whole connection.
    ///
    /// One in the past gets no timer, and loses the one that it has, which may be late: so who waits is
    /// woken from here, whichever deadline was changed (N4).
    pub(super) fn rearm(&self, arming: &mut Arming, now: u64) -> Wakes {
        let [read, write] = DIRECTIONS.map(|direction| {
            let due = self.side(direction).due_ns();
            if due <= now { NEVER } else { due }
        });
        let wanted = [read, if write == read { NEVER } else { write }];
        for direction in DIRECTIONS {
            let (armed, wanted) = (
                &mut arming.when_ns[direction as usize],
                wanted[direction as usize],
            );
            if *armed == wanted {
                continue;
            }
            *armed = wanted;
            let timer = &self.side(direction).timer;
            // SAFETY: the node lives in a slot, which neither moves nor goes away (N1); it got its
            // argument when the slot was made; `arming` is locked, so that nobody else
            // starts or stops it.
            unsafe {
                if wanted == NEVER {
                    timer.stop();
                } else {
                    timer.reset(wanted, 0);
                }
            }
        }
        Wakes(DIRECTIONS.map(|direction| self.unblock_if_due(direction, now)))
    }

    /// Takes out the G that waits in this direction, if its deadline has passed.
    fn unblock_if_due(&self, direction: Direction, now: u64) -> Option<GRef> {
        if self.side(direction).is_due(now) {
            self.unblock(direction)
        } else {
            None
        }
    }

    /// Ends this use of the slot.
    fn retire(&self) {
        let mut arming = self.arming.lock();
        for side in &self.sides {
            side.deadline_ns.store(NEVER, Ordering::Release);
            side.call_deadline_ns.store(NEVER, Ordering::Release);
        }
        let wakes = self.rearm(&mut arming, 0);
        drop(arming);
        let waiting = DIRECTIONS.map(|direction| self.unblock(direction));
        // Waiting borrows the `PollDesc` that is being dropped.
        if wakes
            .into_iter()
            .chain(waiting.into_iter().flatten())
            .next()
            .is_some()
        {
            fatal!("netpoll: a goroutine waits on a closed slot");
        }
        for side in &self.sides {
            side.waiter.clear();
        }
        // The next generation begins, with all flags down. Events of this one miss from here on.
        let generation = (self.info.load(Ordering::Relaxed) >> 32) as u32;
        self.info.store(
            u64::from(generation.wrapping_add(1)) << 32,
            Ordering::Release,
        );
    }
}

impl Side {
    fn due_ns(&self) -> u64 {
        let deadline = self.deadline_ns.load(Ordering::Acquire);
        deadline.min(self.call_deadline_ns.load(Ordering::Acquire))
    }

    fn is_due(&self, now: u64) -> bool {
        let due = self.due_ns();
        due != NEVER && due <= now
    }
}

/// The timers' callback: wakes whoever waits past its deadline. It changes nothing else (N4).
///
/// # Safety
///
/// `arg` must point to a [`Slot`].
unsafe fn deadline_fired(arg: *mut (), now_ns: u64, out: &mut ReadyList) {
    // SAFETY: our caller passes what `add_chunk` gave the timer: a slot, which lives for ever (N1).
    let slot = unsafe { &*arg.cast::<Slot>() };
    for direction in DIRECTIONS {
        if let Some(gp) = slot.unblock_if_due(direction, now_ns) {
            out.push(gp);
        }
    }
}

/// Slots are made 64 at a time.
pub(super) const CHUNK_SLOTS: usize = 64;
/// Enough for 16.7 million descriptors. The table takes 2 MiB of address space; its pages come into
/// being as they are used.
const CHUNKS_MAX: usize = 1 << 18;
const NO_SLOT: u32 = u32::MAX;

/// Chunk `i` holds the slots `64 i` to `64 i + 63`. Written once each, under `SLAB`, before
/// any slot of it is handed out; read by whoever has got an index from an event.
static CHUNKS: [AtomicPtr<[Slot; CHUNK_SLOTS]>; CHUNKS_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS_MAX];

static SLAB: Mutex<Slab> = Mutex::new(Slab {
    free: NO_SLOT,
    chunk_count: 0,
});

struct Slab {
    /// The topmost free slot; the others hang below it.
    free: u32,
    chunk_count: u32,
}

/// The slot with this index, which must have come from a tag.
pub(super) fn at(index: u32) -> &'static Slot {
    let index = index as usize;
    let chunk = CHUNKS[index / CHUNK_SLOTS].load(Ordering::Acquire);
    if chunk.is_null() {
        fatal!("netpoll: an event for slot {index}, which was never made");
    }
    // SAFETY: `add_chunk` stored this pointer to a leaked, fully made chunk, with release order.
    unsafe { &(*chunk)[index % CHUNK_SLOTS] }
}

pub(super) fn take() -> io::Result<&'static Slot> {
    loop {
        let mut slab = SLAB.lock();
        if slab.free != NO_SLOT {
            let slot = at(slab.free);
            slab.free = slot.next_free.load(Ordering::Relaxed);
            return Ok(slot);
        }
        let chunk_count = slab.chunk_count;
        drop(slab);
        add_chunk(chunk_count)?;
    }
}

/// Ends a use of `slot`, which may begin another with the next `take`.
pub(super) fn give_back(slot: &'static Slot) {
    slot.retire();
    let mut slab = SLAB.lock();
    slot.next_free.store(slab.free, Ordering::Relaxed);
    slab.free = slot.index;
}

/// Makes chunk number `chunk_index` and frees its slots, unless another thread was faster. The memory
/// is had without holding the lock.
fn add_chunk(chunk_index: u32) -> io::Result<()> {
    if chunk_index as usize >= CHUNKS_MAX {
        return Err(io::Error::other("netpoll: too many descriptors"));
    }
    let first = chunk_index * CHUNK_SLOTS as u32;
    let mut slots = Box::new(std::array::from_fn(|i| Slot::new(first + i as u32)));
    for slot in slots.iter_mut() {
        let arg = ptr::from_mut(slot).cast::<()>();
        for side in &slot.sides {
            // SAFETY: the timer is not running yet; the slot behind `arg` will stay where it is,
            // since the box is either leaked below or dropped before anyone has seen it.
            unsafe { side.timer.set_arg(arg) };
        }
    }
    let mut slab = SLAB.lock();
    if slab.chunk_count != chunk_index {
        drop(slab);
        return Ok(());
    }
    slab.chunk_count += 1;
    let slots = Box::leak(slots);
    for slot in slots.iter().rev() {
        slot.next_free.store(slab.free, Ordering::Relaxed);
        slab.free = slot.index;
    }
    CHUNKS[chunk_index as usize].store(slots, Ordering::Release);
    Ok(())
}

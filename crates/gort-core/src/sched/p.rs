//! P, the right to run goroutines: its queue, its timers, its caches. And what belongs to no P: the
//! global queue and the lists of idle Ps and Ms.
//!
//! Ps are made once and never freed. Lowering GOMAXPROCS marks the highest ones `retired`; whoever
//! holds such a P gives it up at its next scheduling point, and its goroutines go to the global queue.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use gort_arch::stack::{self, Class, Slot};
use gort_queue::list::List;
use gort_queue::local::LocalQueue;

use super::m::{M, factory};
use super::seen::Seen;
use super::yielded::Yielded;
use super::{SCHED, shake, wake, yielded};
use crate::clock;
use crate::g::slab::{self, NoDescriptor};
use crate::g::{G, GRef};
use crate::timer::Timers;

/// Ps there can be: the bound of `GOMAXPROCS`.
pub(crate) const PROCS_MAX: usize = 4096;

/// Warm stack slots a P keeps per class; half of them go back at once when it is full.
pub(crate) const SLOTS_CACHED: usize = 32;
/// Free descriptors a P keeps.
const GS_CACHED: usize = 64;
/// What a P takes at once from the global queue: half a ring (S46).
pub(super) const SHARE_MAX: usize = 128;
/// Goroutine numbers a P takes at once (as Go's).
const IDS_BATCH: u64 = 16;

/// Requests to a running P, seen at its next scheduling point. Bits of `P::attention`.
pub(crate) mod attention {
    /// The running goroutine has used up its slice.
    pub(crate) const YIELD: u32 = 1;
    /// A timer of this P is due.
    pub(crate) const TIMERS: u32 = 2;
    /// GOMAXPROCS was lowered below this P.
    pub(crate) const RETIRE: u32 = 4;
    /// A stopped goroutine has a right to this P (T2 of `stopped`).
    pub(crate) const STOPPED: u32 = 8;
}

/// The right to run goroutines.
#[repr(align(128))]
pub(crate) struct P {
    pub(crate) index: u32,
    pub(crate) run_queue: LocalQueue<G>,
    /// This P's part of the global queue; see the module.
    pub(crate) yielded: Yielded,
    pub(crate) timers: Timers,
    /// Requests; see [`attention`]. Writers: sysmon, `set_procs`. Cleared by the holder.
    pub(crate) attention: AtomicU32,
    /// Goroutines scheduled, a shared time slice counting once. Writer: the holder. Reader: sysmon.
    pub(crate) sched_tick: AtomicU32,
    /// Switches of any kind. Writer: the holder. Readers: thieves that eye `run_next`.
    pub(crate) switches: AtomicU64,
    /// How often it was asked what comes next. Not the same: between two questions there may be two switches, as on
    /// a carrier, and then each question finds the switches odd, or each finds them even. Writer: the holder.
    pub(super) picks: AtomicU64,
    /// What `switches` and `picks` were when this round of `shake` began.
    pub(super) round_switches: AtomicU64,
    pub(super) round_picks: AtomicU64,
    /// The goroutine that runs since this switch is to stop in the signal handler (`preempt`). Writer:
    /// sysmon. Reader: the handler on the holder's thread.
    pub(crate) stop_at: AtomicU64,
    /// The goroutine that runs since this switch is to give way at its next entry into the runtime (`preempt`).
    /// Writer: sysmon. Reader: the holder.
    pub(crate) give_way_at: AtomicU64,
    /// The goroutine that runs since this switch was stopped before (`stopped`). Writer: whoever gave it the
    /// P. Reader: sysmon.
    pub(super) resumed_at: AtomicU64,
    /// Whether that one runs in the background.
    pub(super) in_background: AtomicBool,
    /// The M of a thread that has not come yet, which it is left to (`arrival`). Writers: who leaves it, who takes it.
    /// Reader: sysmon.
    pub(super) left_to: AtomicPtr<M>,
    /// The M that holds it, or null. Writer: that M. Readers: sysmon, dumps.
    pub(crate) m: AtomicPtr<M>,
    /// Goroutines started minus goroutines ended while this P was held: a term of the count.
    pub(crate) live: AtomicI64,
    /// Whether it is on the idle list; under the global lock.
    pub(crate) is_idle: AtomicBool,
    /// Whether it was put away because GOMAXPROCS does not cover it; under the global lock.
    pub(crate) is_parked: AtomicBool,
    pub(crate) own: UnsafeCell<Own>,
    /// What sysmon saw of it at its last look; sysmon's alone.
    pub(crate) seen: UnsafeCell<Seen>,
}

/// What only the holder touches.
pub(crate) struct Own {
    pub(crate) random: u64,
    /// The round of `shake` that `random` belongs to.
    pub(super) random_round: u32,
    /// The next one on the list of idle Ps, or of those that wait for an M; under the global lock.
    next: *mut P,
    /// Whether the M that it waits for is to spin.
    wants_spinning: bool,
    free_gs: List<G>,
    ids: std::ops::Range<u64>,
    slots: [SlotCache; Class::COUNT],
}

#[derive(Clone, Copy)]
struct SlotCache {
    len: usize,
    slots: [MaybeUninit<Slot>; SLOTS_CACHED],
}

impl SlotCache {
    /// Of a full one, the colder half.
    #[cold]
    #[inline(never)]
    fn give_half_back(&mut self) {
        assert_eq!(self.len, SLOTS_CACHED);
        let (cold, warm) = self.slots.split_at_mut(SLOTS_CACHED / 2);
        // SAFETY: a full cache is initialized throughout, and `MaybeUninit` has its value's layout.
        stack::release_batch(unsafe { &*(ptr::from_ref(cold) as *const [Slot]) });
        cold.copy_from_slice(warm);
        self.len = SLOTS_CACHED / 2;
    }
}

// SAFETY: `own` is touched by the M that holds the P only (S2), handed over under the global lock or
// through `next_p` and the M's note; the rest is atomic or has locks of its own.
unsafe impl Sync for P {}
// SAFETY: no field is tied to a thread.
unsafe impl Send for P {}

static ALL: [AtomicPtr<P>; PROCS_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; PROCS_MAX];
/// How many of `ALL` are made. Writer: `add`, under the global lock.
static MADE: AtomicU32 = AtomicU32::new(0);

/// All Ps ever made, retired ones too.
pub(crate) fn all() -> impl Iterator<Item = &'static P> {
    let made = made() as usize;
    // SAFETY: the first `made` entries are set and never freed.
    ALL[..made]
        .iter()
        .map(|pp| unsafe { &*pp.load(Ordering::Acquire) })
}

/// How many Ps were ever made, retired ones too.
pub(crate) fn made() -> u32 {
    MADE.load(Ordering::Acquire)
}

/// The P with this index, if it was ever made.
pub(crate) fn get(index: usize) -> Option<&'static P> {
    // SAFETY: a non-null entry points to a P that is never freed.
    unsafe { ALL.get(index)?.load(Ordering::Acquire).as_ref() }
}

/// Makes the Ps that are missing of `0..count`, for [`add`]. Outside the global lock, as it allocates.
pub(crate) fn make(count: usize) -> Vec<Box<P>> {
    (made() as usize..count)
        .map(|index| Box::new(P::new(index)))
        .collect()
}

/// Adds those of the Ps that nobody else has added meanwhile; the others stay in `made`, for the caller
/// to free without the lock.
pub(crate) fn add(global: &mut Global, made: &mut Vec<Box<P>>) {
    let count = MADE.load(Ordering::Relaxed);
    let known = made.iter().take_while(|pp| pp.index < count).count();
    for pp in made.drain(known..) {
        let pp = Box::leak(pp);
        ALL[pp.index as usize].store(pp, Ordering::Release);
        MADE.store(pp.index + 1, Ordering::Release);
        global.put_idle(pp);
    }
}

/// What the dice of the P with this index begin with.
pub(super) fn seed(index: u64) -> u64 {
    let base = shake::seed().unwrap_or_else(clock::now_ns);
    // SplitMix64, so that neighbouring seeds have nothing in common. Xorshift may not begin with 0.
    let mut mixed = base.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)).max(1)
}

/// See [`P::era`].
const ERA_SWITCHES: u64 = 64;

impl P {
    fn new(index: usize) -> P {
        P {
            index: index as u32,
            run_queue: LocalQueue::new(),
            yielded: Yielded::new(),
            timers: Timers::new(),
            attention: AtomicU32::new(0),
            sched_tick: AtomicU32::new(0),
            switches: AtomicU64::new(0),
            picks: AtomicU64::new(0),
            round_switches: AtomicU64::new(0),
            round_picks: AtomicU64::new(0),
            stop_at: AtomicU64::new(u64::MAX),
            give_way_at: AtomicU64::new(u64::MAX),
            resumed_at: AtomicU64::new(u64::MAX),
            in_background: AtomicBool::new(false),
            left_to: AtomicPtr::new(ptr::null_mut()),
            m: AtomicPtr::new(ptr::null_mut()),
            live: AtomicI64::new(0),
            is_idle: AtomicBool::new(false),
            is_parked: AtomicBool::new(false),
            seen: UnsafeCell::new(Seen::default()),
            own: UnsafeCell::new(Own {
                random: seed(index as u64),
                random_round: 0,
                next: ptr::null_mut(),
                wants_spinning: false,
                free_gs: List::new(),
                ids: 0..0,
                slots: [SlotCache {
                    len: 0,
                    slots: [const { MaybeUninit::uninit() }; SLOTS_CACHED],
                }; Class::COUNT],
            }),
        }
    }

    /// What only the holder touches.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P, and the reference is gone before anything else asks for it.
    #[expect(clippy::mut_from_ref, reason = "the P is the holder's alone (S2)")]
    pub(crate) unsafe fn own(&self) -> &mut Own {
        // SAFETY: as the caller promises.
        unsafe { &mut *self.own.get() }
    }

    pub(crate) fn asks(&self, bits: u32) -> bool {
        self.attention.load(Ordering::Relaxed) & bits != 0
    }

    pub(crate) fn ask(&self, bits: u32) {
        self.attention.fetch_or(bits, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self, bits: u32) {
        if self.asks(bits) {
            self.attention.fetch_and(!bits, Ordering::Relaxed);
        }
    }

    /// Whether the goroutine that runs here is to stop in the signal handler.
    pub(crate) fn is_to_stop(&self) -> bool {
        self.stop_at.load(Ordering::Relaxed) == self.switches.load(Ordering::Relaxed)
    }

    /// Whether the goroutine that runs here is to give way now that it has come to the runtime.
    pub(crate) fn is_to_give_way(&self) -> bool {
        self.give_way_at.load(Ordering::Relaxed) == self.switches.load(Ordering::Relaxed)
    }

    /// Whether the goroutine that runs here is one that was stopped.
    pub(crate) fn has_resumed(&self) -> bool {
        self.resumed_at.load(Ordering::Relaxed) == self.switches.load(Ordering::Relaxed)
    }

    /// Whether it is such a one, and others come before it (T1 of `stopped`).
    pub(crate) fn is_in_background(&self) -> bool {
        self.has_resumed() && self.in_background.load(Ordering::Relaxed)
    }

    /// Whether GOMAXPROCS has been lowered below it.
    pub(crate) fn is_retired(&self) -> bool {
        self.index >= SCHED.procs.load(Ordering::Relaxed)
    }

    /// Whether goroutines wait for it. For any thread.
    pub(crate) fn has_work(&self) -> bool {
        !self.run_queue.is_empty() || !self.yielded.is_empty()
    }

    /// Whether goroutines wait for it that others may take at any time: not its `run_next`. For any thread.
    pub(crate) fn has_work_for_all(&self) -> bool {
        self.run_queue.has_ring_work() || !self.yielded.is_empty()
    }

    /// Whether it waits for a thread to come (`arrival`).
    pub(crate) fn is_left(&self) -> bool {
        !self.left_to.load(Ordering::Relaxed).is_null()
    }

    /// Puts a runnable goroutine at the end of the ring; a full ring spills into the global queue. True
    /// if it did.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P; `gp` is Runnable and on no queue (G1).
    pub(crate) unsafe fn push(&self, gp: GRef) -> bool {
        // SAFETY: the holder is the queue's owner; the rest is the caller's promise.
        unsafe { !self.run_queue.push(gp.0) && self.push_or_spill(gp) }
    }

    /// # Safety
    ///
    /// As `push`.
    #[cold]
    #[inline(never)]
    unsafe fn push_or_spill(&self, gp: GRef) -> bool {
        let mut list = List::new();
        // SAFETY: as in `push`; what comes out of the ring is on no queue.
        let spilled = unsafe { self.run_queue.push_or_spill(gp.0, |gp| list.push_back(gp)) };
        if spilled {
            push_global(list);
        }
        spilled
    }

    /// A random number for picking victims; not for anything that must be unpredictable.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P.
    pub(crate) unsafe fn random(&self) -> u32 {
        // SAFETY: as the caller promises.
        let own = unsafe { self.own() };
        own.random ^= own.random << 13;
        own.random ^= own.random >> 7;
        own.random ^= own.random << 17;
        (own.random >> 32) as u32
    }

    /// Counts a question what comes next; gives the number of this one.
    #[inline(always)]
    pub(super) fn count_pick(&self) -> u64 {
        let picks = self.picks.load(Ordering::Relaxed).wrapping_add(1);
        self.picks.store(picks, Ordering::Relaxed);
        picks.wrapping_sub(self.round_picks.load(Ordering::Relaxed))
    }

    /// Counts a switch: another goroutine goes on with this P. For the holder.
    #[inline(always)]
    pub(super) fn count_switch(&self) {
        let switches = self.switches.load(Ordering::Relaxed);
        self.switches
            .store(switches.wrapping_add(1), Ordering::Relaxed);
    }

    /// A clock of switches, one step in [`ERA_SWITCHES`], which begins anew after 256 steps. For the holder.
    #[inline(always)]
    pub(crate) fn era(&self) -> u8 {
        (self.switches.load(Ordering::Relaxed) / ERA_SWITCHES) as u8
    }

    /// How many switches there were: for what is done at every so many.
    #[inline(always)]
    pub(crate) fn turns(&self) -> u64 {
        let switches = self.switches.load(Ordering::Relaxed);
        switches.wrapping_sub(self.round_switches.load(Ordering::Relaxed))
    }

    /// A number for a new goroutine.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P.
    pub(crate) unsafe fn next_id(&self) -> u64 {
        // SAFETY: as the caller promises.
        let own = unsafe { self.own() };
        if own.ids.is_empty() {
            let first = SCHED.next_id.fetch_add(IDS_BATCH, Ordering::Relaxed);
            own.ids = first..first + IDS_BATCH;
        }
        own.ids.next().expect("refilled above")
    }

    /// A free descriptor. Its user calls `slab::renew`, outside.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P.
    pub(crate) unsafe fn take_g(&self) -> Result<GRef, NoDescriptor> {
        // SAFETY: as the caller promises.
        let own = unsafe { self.own() };
        if own.free_gs.is_empty() {
            slab::allocate_many(&mut own.free_gs, GS_CACHED / 2)?;
        }
        Ok(GRef(
            own.free_gs
                .pop_front()
                .expect("allocate_many gives at least one"),
        ))
    }

    /// Takes back a descriptor nobody uses (G5).
    ///
    /// # Safety
    ///
    /// The caller's M holds this P.
    pub(crate) unsafe fn give_g(&self, gp: GRef) {
        slab::retire(gp);
        // SAFETY: as the caller promises.
        let own = unsafe { self.own() };
        // SAFETY: a dead G is on no list.
        unsafe { own.free_gs.push_front(gp.0) };
        if own.free_gs.len() > GS_CACHED {
            slab::free_many(own.free_gs.split_off_front(GS_CACHED / 2));
        }
    }

    /// A stack slot from the cache, the warmest. It needs a `stack::renew`.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P.
    pub(crate) unsafe fn take_slot(&self, class: Class) -> Option<Slot> {
        // SAFETY: as the caller promises.
        let cache = unsafe { &mut self.own().slots[class.index()] };
        cache.len = cache.len.checked_sub(1)?;
        // SAFETY: the entries below `len` as it was are initialized.
        Some(unsafe { cache.slots[cache.len].assume_init() })
    }

    /// Sees to it that there is room for a slot of this class.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P.
    #[inline]
    pub(crate) unsafe fn make_room_for_slot(&self, class: Class) {
        // SAFETY: as the caller promises.
        let cache = unsafe { &mut self.own().slots[class.index()] };
        if cache.len == SLOTS_CACHED {
            cache.give_half_back();
        }
    }

    /// Takes a slot that is idle: its goroutine has left it for good, or none has come. Allocates and frees nothing.
    ///
    /// # Panics
    ///
    /// If there is no room: [`make_room_for_slot`](Self::make_room_for_slot) comes first.
    ///
    /// # Safety
    ///
    /// The caller's M holds this P, and nobody stands on the slot's stack or block.
    #[inline]
    pub(crate) unsafe fn give_slot(&self, slot: Slot) {
        // SAFETY: as the caller promises.
        let cache = unsafe { &mut self.own().slots[slot.class().index()] };
        cache.slots[cache.len].write(slot);
        cache.len += 1;
    }
}

/// Under the global lock: the global queue, the idle lists.
pub(crate) struct Global {
    pub(crate) queue: List<G>,
    /// See the module `stopped`.
    pub(super) stopped: List<G>,
    idle_ps: *mut P,
    pub(crate) idle_ms: *mut M,
    /// Ms whose threads have ended (M3).
    pub(crate) dead_ms: *mut M,
    /// Ps that wait for an M to be made, and how many.
    wanting_ps: *mut P,
    pub(crate) ms_wanted: u32,
    /// Ms alive, and how many ever.
    pub(crate) ms_alive: u32,
    pub(crate) ms_made: u64,
    /// Ms on the idle list.
    pub(crate) ms_idle: u32,
    /// Ms whose thread was made and has not looked at these lists yet.
    pub(crate) ms_coming: u32,
    /// How often a P was taken off the idle list, or put away. Reader: `deadlock`.
    pub(crate) ps_taken: u64,
}

// SAFETY: the raw pointers are to Ps and Ms, which are never freed while on these lists; all access
// is under the lock.
unsafe impl Send for Global {}

impl Global {
    pub(crate) const fn new() -> Global {
        Global {
            queue: List::new(),
            stopped: List::new(),
            idle_ps: ptr::null_mut(),
            idle_ms: ptr::null_mut(),
            dead_ms: ptr::null_mut(),
            wanting_ps: ptr::null_mut(),
            ms_wanted: 0,
            ms_alive: 0,
            ms_made: 0,
            ms_idle: 0,
            ms_coming: 0,
            ps_taken: 0,
        }
    }

    /// An idle P that is not retired.
    pub(crate) fn take_idle(&mut self) -> Option<&'static P> {
        // SAFETY: a P on the idle list is nobody else's (S2), and never freed.
        let pp = unsafe { self.idle_ps.as_ref() }?;
        // SAFETY: as above.
        self.idle_ps = unsafe { pp.own() }.next;
        self.count_taken(pp);
        Some(pp)
    }

    /// This P, if it is idle.
    pub(crate) fn take_idle_if(&mut self, wanted: &'static P) -> bool {
        if !wanted.is_idle.load(Ordering::Relaxed) {
            return false;
        }
        let mut link = &raw mut self.idle_ps;
        loop {
            // SAFETY: `link` is the list's head or the link of a P on it; the lock is ours.
            let at = unsafe { *link };
            // SAFETY: as above; `is_idle` says that `wanted` is on the list, so the end is not reached.
            let own = unsafe { (*at).own() };
            if ptr::eq(at, wanted) {
                // SAFETY: as above.
                unsafe { *link = own.next };
                break;
            }
            link = &raw mut own.next;
        }
        self.count_taken(wanted);
        true
    }

    /// Counts out a P that has left the idle list.
    fn count_taken(&mut self, pp: &'static P) {
        pp.is_idle.store(false, Ordering::Relaxed);
        SCHED.idle.dec_idle();
        self.ps_taken += 1;
        wake::stir_sysmon();
    }

    /// Puts a P that nobody holds on the idle list; a retired one goes nowhere.
    pub(crate) fn put_idle(&mut self, pp: &'static P) {
        pp.m.store(ptr::null_mut(), Ordering::Relaxed);
        if pp.is_retired() {
            self.retire(pp);
            return;
        }
        if pp.has_work() {
            fatal!("S5: P {} is to be idle and has work", pp.index);
        }
        // SAFETY: the caller gives it up, under the lock.
        unsafe { pp.own() }.next = self.idle_ps;
        self.idle_ps = ptr::from_ref(pp).cast_mut();
        pp.is_idle.store(true, Ordering::Relaxed);
        SCHED.idle.inc_idle();
    }

    /// Takes back a P that GOMAXPROCS covers again: one that nobody holds becomes idle.
    pub(crate) fn revive(&mut self, pp: &'static P) {
        pp.clear(attention::RETIRE);
        if pp.is_parked.swap(false, Ordering::Relaxed) {
            self.put_idle(pp);
        }
    }

    /// Empties a P that GOMAXPROCS no longer covers, and puts it away. (`put_idle` asks whether that is
    /// so, under the lock.)
    fn retire(&mut self, pp: &'static P) {
        pp.is_parked.store(true, Ordering::Relaxed);
        // It may have been the last at work.
        self.ps_taken += 1;
        wake::stir_sysmon();
        // SAFETY: the caller gives it up, under the lock: its queue's owner is us.
        unsafe {
            pp.run_queue.drain(|gp| self.queue.push_back(gp));
            pp.yielded.drain(|gp| self.queue.push_back(gp));
        }
        SCHED.global_len.store(self.queue.len(), Ordering::Relaxed);
        if !pp.timers.is_empty() {
            factory::request();
        }
    }

    /// Whether a runnable goroutine has an M of its own that waits for a P.
    pub(crate) fn has_with_own_m(&self) -> bool {
        !self.stopped.is_empty() || self.queue.iter().any(|gp| GRef(gp).has_own_m_waiting())
    }

    /// A runnable goroutine that has an M of its own, which waits for a P.
    pub(crate) fn take_with_own_m(&mut self) -> Option<GRef> {
        match self
            .queue
            .iter()
            .position(|gp| GRef(gp).has_own_m_waiting())
        {
            Some(index) => self.take_at(index),
            None => self.take_stopped(),
        }
    }

    /// Whether nobody holds a P, nor is about to.
    pub(crate) fn all_idle(&self) -> bool {
        all().all(|pp| pp.is_idle.load(Ordering::Relaxed) || pp.is_parked.load(Ordering::Relaxed))
    }

    /// Sorts the idle Ps anew (GOMAXPROCS changes): `put_idle` empties what is not covered any more.
    pub(crate) fn sort_idle(&mut self) {
        let mut taken: *mut P = ptr::null_mut();
        while let Some(pp) = self.take_idle() {
            // SAFETY: just taken off the idle list, so nobody else's; the lock is ours.
            unsafe { pp.own() }.next = taken;
            taken = ptr::from_ref(pp).cast_mut();
        }
        // SAFETY: a P taken above, or the end; never freed.
        while let Some(pp) = unsafe { taken.as_ref() } {
            // SAFETY: as above.
            taken = unsafe { pp.own() }.next;
            self.put_idle(pp);
        }
    }

    /// Leaves a P that nobody holds to the next M that comes.
    pub(crate) fn want_m(&mut self, pp: &'static P, spinning: bool) {
        // SAFETY: the caller gives it up, under the lock.
        let own = unsafe { pp.own() };
        own.next = self.wanting_ps;
        own.wants_spinning = spinning;
        self.wanting_ps = ptr::from_ref(pp).cast_mut();
        self.ms_wanted += 1;
    }

    /// A P that waits for an M, and whether that is to spin.
    pub(crate) fn take_wanting(&mut self) -> Option<(&'static P, bool)> {
        // SAFETY: a P on this list is nobody else's, and never freed.
        let pp = unsafe { self.wanting_ps.as_ref() }?;
        // SAFETY: as above.
        let own = unsafe { pp.own() };
        self.wanting_ps = own.next;
        self.ms_wanted -= 1;
        Some((pp, own.wants_spinning))
    }

    /// The goroutine that has `index` others before it in the queue.
    pub(crate) fn take_at(&mut self, index: usize) -> Option<GRef> {
        let mut before = self.queue.split_off_front(index);
        let taken = self.queue.pop_front();
        before.append(std::mem::take(&mut self.queue));
        self.queue = before;
        self.publish_taken(taken.iter().len());
        taken.map(from_queue)
    }

    /// Up to `count` goroutines from the head of the queue.
    pub(crate) fn take(&mut self, count: usize) -> List<G> {
        let list = self.queue.split_off_front(count.min(self.queue.len()));
        self.publish_taken(list.len());
        list
    }

    /// Shows the queue's length after `count` have been taken.
    fn publish_taken(&mut self, count: usize) {
        let taken = SCHED.global_taken.load(Ordering::Relaxed);
        let taken = taken.wrapping_add(count as u64);
        SCHED.global_taken.store(taken, Ordering::Relaxed);
        SCHED.global_len.store(self.queue.len(), Ordering::Relaxed);
    }
}

/// Appends goroutines to the global queue. Waking somebody for them is the caller's.
pub(crate) fn push_global(list: List<G>) {
    let mut global = SCHED.global.lock();
    global.queue.append(list);
    SCHED
        .global_len
        .store(global.queue.len(), Ordering::Relaxed);
}

/// Appends one goroutine to the global queue.
pub(crate) fn push_global_one(gp: GRef) {
    let mut global = SCHED.global.lock();
    // SAFETY: the caller's goroutine is Runnable and on no queue (G1).
    unsafe { global.queue.push_back(gp.0) };
    SCHED
        .global_len
        .store(global.queue.len(), Ordering::Relaxed);
}

/// A turn of the global queue: one goroutine from a head of it.
///
/// # Safety
///
/// The caller's M holds `pp`.
pub(crate) unsafe fn take_turn(pp: &P) -> Option<GRef> {
    // SAFETY: as the caller promises.
    let part = unsafe { yielded::choose(pp) };
    if let Some(part) = part.filter(|part| part.is_due())
        && let Some(gp) = part.take_one()
    {
        return Some(gp);
    }
    // SAFETY: as the caller promises.
    unsafe { take_shared(pp, 1) }.or_else(|| part?.take_one())
}

/// The P's share of the global queue, when its own is empty: one goroutine to run now, the others for its ring
/// (S46: of what all share a fair share, at most half a ring). Its own part comes first if it is due.
///
/// `None` says that its own part is empty (S5): only the holder adds to that, so what it does not find has been taken.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[inline]
pub(crate) unsafe fn take_share(pp: &P) -> Option<GRef> {
    let is_due = !pp.yielded.is_empty() && pp.yielded.is_due();
    // SAFETY: as the caller promises.
    unsafe {
        if !is_due && let Some(gp) = take_shared(pp, usize::MAX) {
            return Some(gp);
        }
        if let Some(gp) = yielded::take_own(pp) {
            return Some(gp);
        }
        if is_due {
            take_shared(pp, usize::MAX)
        } else {
            None
        }
    }
}

/// Of what all Ps share: one goroutine, up to `count_max - 1` more for the ring.
///
/// # Safety
///
/// The caller's M holds `pp`.
unsafe fn take_shared(pp: &P, count_max: usize) -> Option<GRef> {
    if SCHED.global_len.load(Ordering::Relaxed) == 0 {
        return None;
    }
    if shake::migrates() {
        return shake::take_global(pp);
    }
    let mut list = {
        let mut global = SCHED.global.lock();
        let procs = SCHED.procs.load(Ordering::Relaxed).max(1) as usize;
        let share = global.queue.len() / procs + 1;
        global.take(share.min(count_max).min(SHARE_MAX))
    };
    let first = list.pop_front()?;
    if list.is_empty() {
        return Some(GRef(first));
    }
    while let Some(gp) = list.pop_front() {
        // SAFETY: the caller holds the P; the goroutine was just taken off the global queue.
        unsafe { pp.push(GRef(gp)) };
    }
    // While they were in neither queue, an M that was looking for the last time may have missed them.
    wake::submitted();
    Some(GRef(first))
}

/// Gives the timers of Ps that were put away to the first P, which may need memory for them: without a
/// lock, by a thread that holds no P. Until then the poller's sleeper sees them where they are, and sysmon if a P is
/// idle; while all are busy, what is due there is late.
pub(crate) fn move_timers_of_retired() {
    let first = get(0).filter(|_| made() > 1);
    let Some(first) = first else {
        return;
    };
    for pp in all().skip(1) {
        if pp.is_parked.load(Ordering::Relaxed) && !pp.timers.is_empty() {
            pp.timers.move_to(&first.timers);
            first.ask(attention::TIMERS);
            wake::poller_earlier(first.timers.first_ns());
        }
    }
}

/// How many goroutines there are; the runtime's own and plain threads do not count.
pub fn num_goroutine() -> usize {
    let outside = SCHED.live_outside.load(Ordering::Relaxed);
    let inside: i64 = all().map(|pp| pp.live.load(Ordering::Relaxed)).sum();
    // A sum of terms read one after the other can be off while goroutines move; never less than none.
    usize::try_from(outside + inside).unwrap_or(0)
}

/// A goroutine that must be non-null, from a queue.
pub(crate) fn from_queue(gp: NonNull<G>) -> GRef {
    GRef(gp)
}

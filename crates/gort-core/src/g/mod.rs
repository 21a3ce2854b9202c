//! A goroutine's descriptor, its memory, and who is the current one.
//!
//! A `G` stands for whatever can wait: a goroutine on its own stack, a goroutine bound to an OS
//! thread of its own, a future that is polled like a goroutine and has a stack only meanwhile
//! (`sched::stackless`), or a plain OS thread that uses gort's primitives (its park is a futex wait on
//! the status word). Everything above knows only [`GRef`].
//!
//! The descriptor lives in a slab of its own, 128 bytes, never on the stack's page: queues, `ready`
//! and dumps must not touch a parked stack. The memory is never given back, so a stale `GRef` is
//! never dangling; stale wake-ups lose by the claim's round number.
//!
//! The status table and G1..G3 are in `gort_queue::status`. Further:
//!
//! G4. The plain cells of a G are written by its owner only: the spawner until the first queueing,
//!     then the M that runs it, then (Dead) the context that took over its M.
//! G5. A G goes back to the free list when both have happened: its goroutine has left its stack for
//!     good, and its join handle is gone (see `sched::join`).
//! G6. The wait room of a G is for who is that G, for one wait at a time: from when something is written
//!     there until the wait is over and has been read from it, nothing runs that might begin another. Others reach
//!     it under the lock of what is waited for, or having won the wait.
//!
//! Elsewhere: the closure's frame (`sched::entry`), result and joiner (`sched::join`), stopping and
//! waking (`sched::park`).

pub(crate) mod slab;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use gort_arch::context;
use gort_queue::claim::Claim;
use gort_queue::list::Linked;
use gort_queue::status::{State, Status};

use crate::thread_state;
use crate::wait_reason::WaitReason;

/// What a G stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A goroutine on a stack of ours.
    Stackful = 0,
    /// A goroutine with an OS thread of its own (thread mode, or `Builder::own_thread`).
    Bound = 1,
    /// A plain OS thread that waits on gort's primitives.
    Thread = 2,
    /// An async goroutine that is not being polled. While it is, it is of its carrier's kind.
    Stackless = 3,
}

/// A [`Kind`] that its owner writes while others may be reading.
pub(crate) struct KindCell(AtomicU8);

impl KindCell {
    #[inline]
    pub(crate) fn get(&self) -> Kind {
        match self.0.load(Ordering::Relaxed) {
            0 => Kind::Stackful,
            1 => Kind::Bound,
            2 => Kind::Thread,
            _ => Kind::Stackless,
        }
    }

    #[inline]
    pub(crate) fn set(&self, kind: Kind) {
        self.0.store(kind as u8, Ordering::Relaxed);
    }
}

/// Bits of `G::flags`.
pub(crate) mod flags {
    /// One of the runtime's own goroutines: not counted, not listed.
    pub(crate) const SYSTEM: u8 = 1;
    /// Locked to its M by `lock_os_thread`: only that M may run it.
    pub(crate) const LOCKED: u8 = 2;
    /// The goroutine has been taken from the slab and not yet given back.
    pub(crate) const IN_USE: u8 = 4;
    /// A plain thread that does nothing but wait for a main goroutine.
    pub(crate) const IN_RUN: u8 = 8;
    /// Its closure has ended, and its thread-locals are being destroyed.
    pub(crate) const ENDING: u8 = 16;
    /// Its thread's signal mask or alternate stack is not what Ms have: see `sched::syscall`.
    pub(crate) const OWN_SIGNALS: u8 = 32;
    /// It waits for a P in the signal handler of its M: only that M may run it on.
    pub(crate) const PREEMPTED: u8 = 64;
    /// Others may use what lies on its stack, in system calls too: see [`lend`](super::lend).
    pub(crate) const LENDS: u8 = 128;
}

/// A label: key and value.
pub type Label = (Box<str>, Box<str>);

/// Rarely used facts about a goroutine, boxed so that the descriptor stays at 128 bytes.
#[derive(Default, Debug)]
pub struct Cold {
    /// The name given by the builder. Shared, so that a copy under the lock allocates nothing.
    pub name: Option<Arc<str>>,
    /// Labels as key and value; shared with those that inherited them.
    pub labels: Option<Arc<[Label]>>,
    /// The group it belongs to (tests); 0 is the process's.
    pub group: u32,
    /// Nesting of `lock_os_thread`.
    pub(crate) lock_depth: u32,
    /// The timer of its timed waits, kept for the goroutine's life.
    /// A `TimerNode`, of a layer above.
    pub(crate) timer: Option<Box<dyn Any + Send>>,
    /// See [`attach`].
    attached: Option<Arc<dyn Any + Send + Sync>>,
}

/// Bytes of a result that fit into the descriptor; larger ones are boxed at the end.
pub(crate) const RESULT_INLINE_BYTES: usize = 24;

/// A goroutine's descriptor. See the module's header.
#[repr(C, align(128))]
pub struct G {
    pub(crate) status: Status,
    /// Writer: the owner (G4). Readers: dumps.
    pub(crate) kind: KindCell,
    /// Writer: the goroutine, before it parks. Readers: dumps.
    pub(crate) reason: AtomicU8,
    /// Writer: the owner (G4). Readers: dumps and counters.
    pub(crate) flags: AtomicU8,
    /// The era of its P ([`P::era`](crate::sched::p::P::era)) when it last went on, or was made. Writers: its M; the
    /// spawner. Reader: who guesses whether its stack is in the caches.
    pub(crate) ran_in: AtomicU8,
    pub(crate) claim: Claim,
    /// The stack pointer of a stopped stackful goroutine. Writers: the owner (G4), in the switch.
    /// Readers: also those who only guess that they will run it next. Of kinds without a stack of ours: the
    /// number of who created it (see [`GRef::created_by`]).
    pub(crate) sp: AtomicUsize,
    /// The FS base of its block; 0 for G kinds without one. Writers and readers as of `sp`.
    pub(crate) fs: AtomicUsize,
    /// Its stack slot, raw; 0 for kinds without one.
    pub(crate) slot: Cell<usize>,
    /// The M it runs on, or is bound or locked to. Opaque here; `sched::m` knows the type.
    pub(crate) m: AtomicPtr<()>,
    /// Link of the one queue or free list it is on (G1).
    pub(crate) next: Cell<*mut G>,
    /// Writer: the spawner. Readers: dumps, `id`.
    pub(crate) id: AtomicU64,
    pub(crate) created_at: AtomicPtr<Location<'static>>,
    pub(crate) parked_at: AtomicPtr<Location<'static>>,
    /// Joiner and end; see `join`.
    pub(crate) join: AtomicUsize,
    /// Round of the joiner's claim, valid while `join` names a joiner.
    pub(crate) join_round: AtomicU32,
    /// Coarse time of the last park, in units of `snapshot::COARSE_NS`.
    pub(crate) parked_coarse: AtomicU32,
    /// Rarely used facts, made on demand and kept; see `slab`.
    pub(crate) cold: AtomicPtr<Cold>,
    pub(crate) result: UnsafeCell<MaybeUninit<[u64; RESULT_INLINE_BYTES / 8]>>,
}

const _: () = assert!(size_of::<G>() == 128);

// SAFETY: the atomics are shared; the cells are written by one owner at a time (G4), handed over by
// the release/acquire pairs of the status word and the queues.
unsafe impl Sync for G {}
// SAFETY: as above; no field is tied to a thread.
unsafe impl Send for G {}

// SAFETY: `next` is written by nothing but the list that holds the G (G1).
unsafe impl Linked for G {
    unsafe fn next(this: NonNull<Self>) -> *mut Self {
        // SAFETY: G memory is never freed; the list owns the link.
        unsafe { this.as_ref() }.next.get()
    }
    unsafe fn set_next(this: NonNull<Self>, next: *mut Self) {
        // SAFETY: as in `next`.
        unsafe { this.as_ref() }.next.set(next);
    }

    /// Descriptors that were made one after the other lie side by side, and are often queued in that order.
    #[inline(always)]
    fn walks(before: NonNull<Self>, item: NonNull<Self>) {
        /// Steps that a fetch takes, roughly.
        const AHEAD: usize = 8;
        let (before, item) = (before.addr().get(), item.addr().get());
        G::prefetch(item.wrapping_add(item.wrapping_sub(before).wrapping_mul(AHEAD)));
    }
}

/// A cache line beside each descriptor, for the node by which its goroutine or thread waits in a queue (G6).
///
/// Not on the stack, for the same reason as the descriptor: who wakes a crowd goes from one node to the next.
/// Not in the descriptor, for most that wait are not in a queue of this kind; a room that is never used is
/// not in memory.
#[repr(C, align(64))]
pub struct WaitRoom(UnsafeCell<MaybeUninit<[u8; 64]>>);

impl fmt::Debug for WaitRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("WaitRoom { .. }")
    }
}

impl G {
    /// A descriptor nobody uses.
    pub(crate) fn unused() -> G {
        G {
            status: Status::new(State::Idle),
            kind: KindCell(AtomicU8::new(Kind::Stackful as u8)),
            reason: AtomicU8::new(0),
            flags: AtomicU8::new(0),
            ran_in: AtomicU8::new(0),
            claim: Claim::new(),
            sp: AtomicUsize::new(0),
            fs: AtomicUsize::new(0),
            slot: Cell::new(0),
            m: AtomicPtr::new(ptr::null_mut()),
            next: Cell::new(ptr::null_mut()),
            id: AtomicU64::new(0),
            created_at: AtomicPtr::new(ptr::null_mut()),
            parked_at: AtomicPtr::new(ptr::null_mut()),
            join: AtomicUsize::new(0),
            join_round: AtomicU32::new(0),
            parked_coarse: AtomicU32::new(0),
            cold: AtomicPtr::new(ptr::null_mut()),
            result: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Has the processor fetch the descriptor at an address, if there is one. A hint that does nothing else.
    #[inline(always)]
    pub(crate) fn prefetch(address: usize) {
        context::prefetch_line(address);
        context::prefetch_line(address.wrapping_add(size_of::<G>() / 2));
    }

    pub(crate) fn has_flag(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Owner only (G4).
    pub(crate) fn set_flag(&self, flag: u8, on: bool) {
        let old = self.flags.load(Ordering::Relaxed);
        self.flags
            .store(if on { old | flag } else { old & !flag }, Ordering::Relaxed);
    }

    /// Cannot just be switched to: it wants an M chosen for it, or a stack.
    #[inline]
    pub(crate) fn wants_system_stack(&self) -> bool {
        self.kind.get() != Kind::Stackful || self.has_flag(flags::LOCKED | flags::PREEMPTED)
    }

    /// Needs an M chosen for it: bound to a thread, locked to one, or stopped on one.
    #[inline]
    pub(crate) fn wants_own_m(&self) -> bool {
        self.kind.get() == Kind::Bound || self.has_flag(flags::LOCKED | flags::PREEMPTED)
    }
}

impl fmt::Debug for G {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("G")
            .field("id", &self.id.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// A goroutine or waiting thread, by reference. Copyable; never dangling.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct GRef(pub(crate) NonNull<G>);

// SAFETY: `G` is Sync and never freed.
unsafe impl Send for GRef {}
// SAFETY: as above.
unsafe impl Sync for GRef {}

impl GRef {
    #[inline]
    pub(crate) fn get(self) -> &'static G {
        // SAFETY: G memory is never freed (see the header), and all shared fields are atomics or
        // guarded by G4.
        unsafe { self.0.as_ref() }
    }

    /// The number shown in dumps; 0 for plain threads and the runtime's own goroutines.
    pub fn id(self) -> u64 {
        self.get().id.load(Ordering::Relaxed)
    }

    /// The word that decides who of several wakers wins.
    #[inline]
    pub fn claim(self) -> &'static Claim {
        &self.get().claim
    }

    /// Room for the node of one wait (G6). Never freed.
    #[inline]
    pub fn wait_room(self) -> NonNull<WaitRoom> {
        slab::room_of(self.0)
    }

    /// Whether it is a goroutine (and not a plain thread).
    pub fn is_goroutine(self) -> bool {
        self.get().kind.get() != Kind::Thread
    }

    /// The address, for words that hold a tagged pointer. Aligned to 128.
    pub fn as_ptr(self) -> *mut G {
        self.0.as_ptr()
    }

    /// The reference at an address made by [`as_ptr`](Self::as_ptr).
    ///
    /// # Safety
    ///
    /// `address` came from `as_ptr`.
    pub unsafe fn from_ptr(address: *mut G) -> GRef {
        // SAFETY: as the caller promises; `as_ptr` never gives null.
        GRef(unsafe { NonNull::new_unchecked(address) })
    }

    /// The name of goroutine `id`, if the builder gave one and the descriptor is still its.
    pub fn name(self, id: u64) -> Option<String> {
        let name = self.cold_of(id, |cold| cold.name.clone()).flatten()?;
        Some(name.as_ref().to_owned())
    }

    /// The labels of goroutine `id`; none if the descriptor is not its any more.
    pub fn labels(self, id: u64) -> Vec<(String, String)> {
        let labels = self.cold_of(id, |cold| cold.labels.clone()).flatten();
        let labels = labels.iter().flat_map(|labels| labels.iter());
        labels
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    /// Reads the cold facts of goroutine `id`.
    fn cold_of<R>(self, id: u64, f: impl FnOnce(&Cold) -> R) -> Option<R> {
        // Asked under the lock: the number is taken back before the next user cleans the facts there.
        slab::with_cold(self, |cold| (self.id() == id).then(|| f(cold))).flatten()
    }

    /// Its group (tests); 0 is the process's.
    pub fn group(self) -> u32 {
        slab::with_cold(self, |cold| cold.group).unwrap_or(0)
    }

    /// Where it was started.
    pub fn created_at(self) -> Option<&'static Location<'static>> {
        let location = self.get().created_at.load(Ordering::Relaxed);
        // SAFETY: only `&'static Location`s are stored.
        unsafe { location.as_ref() }
    }

    /// The number of the goroutine that started it, if one with a number did.
    ///
    /// It lies in the block of a goroutine that has one, and in place of the stack pointer of others. Both are
    /// handed on: of a goroutine that has just ended, or is just lent a stack, it may be wrong.
    pub fn created_by(self) -> Option<u64> {
        Some(self.creator()).filter(|&id| id != 0)
    }

    /// As [`created_by`](Self::created_by); 0 for none.
    pub(crate) fn creator(self) -> u64 {
        let g = self.get();
        match g.kind.get() {
            Kind::Thread => 0,
            Kind::Bound | Kind::Stackless => g.sp.load(Ordering::Relaxed) as u64,
            Kind::Stackful => match g.fs.load(Ordering::Relaxed) {
                0 => 0,
                // SAFETY: what is stored there, if not 0, is the FS base of a slot's block.
                fs => unsafe { thread_state::created_by(fs) },
            },
        }
    }

    /// Where its creator's number lies, if that is on its stack.
    pub(crate) fn creator_place(self) -> Option<usize> {
        let g = self.get();
        let fs = g.fs.load(Ordering::Relaxed);
        let is_there = g.kind.get() == Kind::Stackful && fs != 0;
        is_there.then(|| thread_state::created_by_place(fs))
    }

    /// Where and by whom it was started.
    pub fn creation(self) -> Option<Creation> {
        let at = self.created_at()?;
        let by = self.created_by();
        Some(Creation { at, by })
    }

    pub(crate) fn reason(self) -> WaitReason {
        WaitReason::from_code(self.get().reason.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for GRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GRef({})", self.id())
    }
}

/// Where and by whom a goroutine was started, as reports say it: as Go's, but with the place instead of the
/// creator's function, which is at that place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Creation {
    /// The place.
    pub at: &'static Location<'static>,
    /// The number of the goroutine that did, if one did.
    pub by: Option<u64>,
}

impl fmt::Display for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "created at {}", self.at)?;
        match self.by {
            Some(id) => write!(f, " in goroutine {id}"),
            None => Ok(()),
        }
    }
}

/// The current goroutine, or this plain thread's descriptor, made on first use.
///
/// Ends the process on a system stack: nothing there may wait.
#[inline]
pub fn current() -> GRef {
    match thread_state::current() {
        Some(gp) => GRef(gp.cast()),
        None => describe_thread(),
    }
}

/// Makes what [`current`] would make on first use, and no later call does: a plain thread's descriptor is
/// allocated, which nobody may do who holds a lock of the runtime. For a caller that is about to take one.
#[inline]
pub fn ensure_current() {
    let _ = current();
}

/// [`ensure_current`] for a caller that holds a lock already, whose guard this is, and has done nothing with it:
/// the guard comes back if there is nothing to make; otherwise it is dropped first, and the caller locks again.
#[inline]
#[must_use = "the guard"]
pub fn ensure_current_unlocked<L>(locked: L) -> Option<L> {
    if running_here().is_some() {
        return Some(locked);
    }
    drop(locked);
    ensure_current();
    None
}

/// The current goroutine; `None` on a plain thread.
#[inline]
pub fn current_goroutine() -> Option<GRef> {
    running_here().filter(|gp| gp.is_goroutine())
}

/// The current goroutine's stack is lent until this is dropped, on the same goroutine.
#[derive(Debug)]
pub(crate) struct Lends(Option<GRef>);

/// Says that others get to use what lies on the current goroutine's stack: it does not hibernate meanwhile. They
/// would not notice, but for one thing: a system call that is handed an address there fails.
pub(crate) fn lend() -> Lends {
    let gp = current_goroutine().filter(|gp| !gp.get().has_flag(flags::LENDS));
    if let Some(gp) = gp {
        gp.get().set_flag(flags::LENDS, true);
    }
    Lends(gp)
}

impl Drop for Lends {
    fn drop(&mut self) {
        if let Some(gp) = self.0 {
            gp.get().set_flag(flags::LENDS, false);
        }
    }
}

/// The number of the current goroutine; 0 on a plain thread.
#[inline]
pub fn current_id() -> u64 {
    running_here().map_or(0, GRef::id)
}

/// What [`attach`] has put to the current goroutine, or plain thread.
pub fn attached() -> Option<Arc<dyn Any + Send + Sync>> {
    // SAFETY: of the caller itself, which changes nothing while it has the reference.
    unsafe { slab::own_cold(current()) }?.attached.clone()
}

/// Keeps a value of a layer above with the current goroutine, or plain thread, in place of the one before.
/// It goes when the next one gets the descriptor, or earlier.
pub fn attach(value: Arc<dyn Any + Send + Sync>) {
    let old = slab::with_cold_mut(current(), |cold| cold.attached.replace(value));
    // Not under the lock.
    drop(old);
}

/// The G of the code that calls, if it has one: none on a system stack.
#[inline]
pub(crate) fn running_here() -> Option<GRef> {
    thread_state::current().map(|gp| GRef(gp.cast()))
}

/// Gives a plain thread its G.
#[cold]
fn describe_thread() -> GRef {
    if thread_state::self_m() != 0 {
        fatal!("a wait on a system stack: the scheduler itself may not park");
    }
    /// Gives the descriptor back when the thread ends.
    struct Owned(Cell<Option<GRef>>);
    impl Drop for Owned {
        fn drop(&mut self) {
            if let Some(gp) = self.0.take() {
                thread_state::set_current(None);
                gp.get().status.transition(State::Running, State::Dead);
                slab::free(gp);
            }
        }
    }
    thread_local! {
        static OWNED: Owned = const { Owned(Cell::new(None)) };
    }
    let gp = match slab::allocate() {
        Ok(gp) => gp,
        Err(error) => fatal!("a thread cannot wait: {error}"),
    };
    gp.get().kind.set(Kind::Thread);
    gp.get().status.transition(State::Idle, State::Runnable);
    gp.get().status.transition(State::Runnable, State::Running);
    thread_state::set_current(Some(gp.0.cast()));
    // In a thread-local's destructor that runs after ours the descriptor stays for good: 128 bytes
    // for a thread that is about to end.
    let _ = OWNED.try_with(|owned| owned.0.set(Some(gp)));
    gp
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees whether there is a descriptor when the lock goes.
    struct Guard<'a>(&'a Cell<bool>);

    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.set(running_here().is_some());
        }
    }

    #[test]
    fn a_threads_descriptor_is_made_after_its_lock_is_free() {
        std::thread::spawn(|| {
            let was_made = Cell::new(true);
            assert!(ensure_current_unlocked(Guard(&was_made)).is_none());
            assert!(!was_made.get());
            assert!(running_here().is_some());
            // From then on the lock stays.
            let guard = ensure_current_unlocked(Guard(&was_made));
            assert!(!was_made.get());
            drop(guard);
            assert!(was_made.get());
        })
        .join()
        .unwrap();
    }
}

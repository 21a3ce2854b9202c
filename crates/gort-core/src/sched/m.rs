//! M, a thread that runs goroutines: its loop on the system stack, its sleep, and where Ms come from.
//!
//! Ms are made by one thread without a P, on request; their number is bounded by need. One spare is always
//! kept idle, so that giving up a P never has to wait for `pthread_create`. A thread ends only if a
//! goroutine ends that is still locked to it: it may have changed what the kernel keeps for the thread
//! (a namespace, its priority), and nobody else shall have that. As no thread is made by such a one,
//! it is not inherited either.
//!
//! M1. `note` is 0 while an M runs; a sleeper waits for 1 and sets it back to 0. Whoever sets it to 1
//!     has taken the M off the idle list, or is the one that owes a P to a locked M; so there is one
//!     wake-up for each sleep.
//! M2. `next_p` is written before the note is set and read after it was seen.
//! M3. An M's memory is never freed, so that whoever has seen one may look at it; the next thread uses it
//!     again. All are on one list that only grows.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use gort_arch::context;
use gort_arch::stack::Slot;
use gort_arch::tls::{self, ThreadTls};
use gort_queue::gate::Gate;
use gort_queue::status::State;

use super::arrival::{Arrival, Found};
use super::p::{self, Global, P};
use super::seen::Still;
use super::stuck::Watched;
use super::switch::{self, Action};
use super::syscall::SignalOnWay;
use super::{SCHED, carriers, find_work, wake};
use crate::fork;
use crate::g::{G, GRef, Kind};
use crate::lock::MutexGuard;
use crate::os::signal::{self, ThreadSignals};
use crate::os::{futex, thread};
use crate::thread_state;

/// What an M asks of the kernel's scheduler: it is often woken to run what waited for a P, beside threads
/// that compute. (Measured beside 4 such on one P: the median lateness of a 1 ms tick 820 -> 140 µs.)
const SLICE_NS: u64 = 300_000;

/// Stack of an M. No user code runs on it; epoll's event buffer and the unwinder fit well.
const SYSTEM_STACK_BYTES: usize = 256 << 10;

/// Threads there can be: Go's number. Written by tests only.
static MS_MAX: AtomicU32 = AtomicU32::new(10_000);
/// How many of them goroutines with a thread of their own leave to the others.
const MS_RESERVED: u32 = 100;

/// All Ms (M3), the newest first. Writer: `M::new`.
static MADE: AtomicPtr<M> = AtomicPtr::new(ptr::null_mut());

/// A thread that runs goroutines.
#[repr(C)]
pub(crate) struct M {
    /// First, for `crate::inside`, which knows no more of an M.
    pub(crate) gate: Gate,
    pub(crate) id: u64,
    /// Malloc words, tid, FS base; the M's own thread only.
    pub(crate) tls: UnsafeCell<ThreadTls>,
    /// The stopped system context while a goroutine runs.
    pub(crate) sp: UnsafeCell<usize>,
    /// FS base of the thread; 0 for an M that switches no stacks.
    pub(crate) fs: Cell<usize>,
    /// The P it holds, or held until it was taken (then it finds out at its next entry). Writer: the M's
    /// own thread. Readers elsewhere: sysmon.
    pub(crate) p: HeldP,
    /// M2.
    pub(crate) next_p: Cell<Option<&'static P>>,
    /// The goroutine it runs. Writer: the M's own thread. Readers elsewhere: sysmon.
    pub(crate) current: CurrentG,
    /// The goroutine that was just left, and what is to be done for it; see `switch`.
    pub(crate) left: Cell<Option<GRef>>,
    pub(crate) action: Cell<Action>,
    /// The thread-local block that the next pick fetches, or 0 (`fetch`).
    pub(super) block_soon: Cell<usize>,
    /// A goroutine taken from a queue that only the system stack can see off (it wants another M).
    pub(crate) next_g: Cell<Option<GRef>>,
    /// When it last took work from another P; 0 for never.
    pub(crate) stole_ns: Cell<u64>,
    pub(super) watched: Cell<Watched>,
    /// Whether it is counted as spinning.
    pub(crate) spinning: Cell<bool>,
    /// The goroutine that only it may run (S4).
    pub(crate) locked_g: Cell<Option<GRef>>,
    /// Whether `locked_g` has ended, and the thread is to end too.
    pub(crate) is_ending: Cell<bool>,
    /// M1.
    note: AtomicU32,
    next_idle: Cell<*mut M>,
    /// The M made before it. Written before it is on the list [`MADE`].
    next_made: Cell<*mut M>,
    /// The kernel's number of its thread; 0 before that has begun, and after it has ended.
    pub(crate) tid: AtomicU32,
    /// It has stopped for good, as the process is ending (`halt`).
    pub(crate) has_halted: AtomicBool,
    /// What it had when it began, and each goroutine finds. Writer: the M. Not for bound ones.
    pub(crate) signals: Cell<ThreadSignals>,
    /// The thread's own stack, for an M whose goroutine runs on it.
    pub(crate) stack: Cell<Option<thread::Stack>>,
    /// How often it found that its P was taken. Writer: the M's own thread.
    pub(crate) losses: AtomicU32,
    /// Whether its thread has come to wait for a P.
    arrival: Arrival,
    /// A signal on its way to it: see `syscall::send_signal`.
    pub(crate) signal: SignalOnWay,
    /// When a goroutine of its came to the runtime and found a record of a stall. Writer: the M's own thread.
    pub(crate) came_back_ns: AtomicU64,
    /// The record of a stall that its goroutine is to complete, or 0: see `stall::record`.
    pub(crate) stall: AtomicU32,
    /// What sysmon knows of it after it took its P; sysmon's alone.
    pub(crate) watch: UnsafeCell<Watch>,
}

/// An M that lost its P, on sysmon's list.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) next: *const M,
    pub(crate) is_listed: bool,
    /// Its CPU clock at the last look, and when that was.
    pub(crate) cpu_ns: u64,
    pub(crate) looked_ns: u64,
    /// Since when its goroutine has not come to the runtime.
    pub(crate) still: Still,
}

/// The P an M holds, if any.
#[derive(Debug)]
pub(crate) struct HeldP(AtomicPtr<P>);

impl HeldP {
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static P> {
        // SAFETY: null or a P, which is never freed.
        unsafe { self.0.load(Ordering::Relaxed).as_ref() }
    }

    #[inline]
    pub(crate) fn set(&self, pp: Option<&'static P>) {
        let pp = pp.map_or(ptr::null_mut(), |pp| ptr::from_ref(pp).cast_mut());
        self.0.store(pp, Ordering::Relaxed);
    }
}

/// The goroutine an M runs, if any.
#[derive(Debug)]
pub(crate) struct CurrentG(AtomicPtr<G>);

impl CurrentG {
    #[inline]
    pub(crate) fn get(&self) -> Option<GRef> {
        ptr::NonNull::new(self.0.load(Ordering::Relaxed)).map(GRef)
    }

    #[inline]
    pub(crate) fn set(&self, gp: Option<GRef>) {
        self.0
            .store(gp.map_or(ptr::null_mut(), GRef::as_ptr), Ordering::Relaxed);
    }
}

// SAFETY: the cells belong to the M's own thread, but for `next_p` (M2), `next_idle` (global lock) and `next_made`,
// which does not change once others know the M.
unsafe impl Sync for M {}
// SAFETY: an M is made by one thread and used by another from its first moment on.
unsafe impl Send for M {}

impl fmt::Debug for M {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("M")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Global {
    /// An M whose thread has ended, for another thread (M3).
    fn take_dead(&mut self) -> Option<&'static M> {
        // SAFETY: an M on the list of the dead is never freed (M3), and nobody's.
        let mp = unsafe { self.dead_ms.as_ref() }?;
        self.dead_ms = mp.next_idle.replace(ptr::null_mut());
        Some(mp)
    }
}

impl M {
    /// One without a thread.
    #[cfg(test)]
    pub(crate) fn for_tests() -> &'static M {
        M::new(0)
    }

    /// An M for a thread that is about to be made; never freed while on any list. Outside the global
    /// lock, as it allocates.
    fn new(id: u64) -> &'static M {
        let mp = Box::leak(Box::new(M {
            gate: Gate::new(),
            id,
            tls: UnsafeCell::new(ThreadTls::default()),
            sp: UnsafeCell::new(0),
            fs: Cell::new(0),
            p: HeldP(AtomicPtr::new(ptr::null_mut())),
            next_p: Cell::new(None),
            current: CurrentG(AtomicPtr::new(ptr::null_mut())),
            left: Cell::new(None),
            action: Cell::new(Action::None),
            block_soon: Cell::new(0),
            next_g: Cell::new(None),
            stole_ns: Cell::new(0),
            watched: Cell::new(Watched::default()),
            spinning: Cell::new(false),
            locked_g: Cell::new(None),
            is_ending: Cell::new(false),
            note: AtomicU32::new(0),
            next_idle: Cell::new(ptr::null_mut()),
            next_made: Cell::new(ptr::null_mut()),
            tid: AtomicU32::new(0),
            has_halted: AtomicBool::new(false),
            signals: Cell::new(ThreadSignals::default()),
            stack: Cell::new(None),
            losses: AtomicU32::new(0),
            arrival: Arrival::here(),
            signal: SignalOnWay::new(),
            came_back_ns: AtomicU64::new(0),
            stall: AtomicU32::new(0),
            watch: UnsafeCell::new(Watch {
                next: ptr::null(),
                is_listed: false,
                cpu_ns: 0,
                looked_ns: 0,
                still: Still::since(0),
            }),
        }));
        let mut newest = MADE.load(Ordering::Relaxed);
        loop {
            mp.next_made.set(newest);
            // Release: who finds it there reads it.
            match MADE.compare_exchange_weak(newest, mp, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return mp,
                Err(other) => newest = other,
            }
        }
    }

    /// Counts an M that is about to be made; gives its number.
    fn count(global: &mut Global) -> u64 {
        global.ms_made += 1;
        global.ms_alive += 1;
        if global.ms_alive > MS_MAX.load(Ordering::Relaxed) {
            thread_exhaustion();
        }
        global.ms_made
    }

    /// The M that runs `gp`.
    ///
    /// # Safety
    ///
    /// `gp` is the current goroutine, or bound or locked to its M.
    #[inline]
    pub(crate) unsafe fn of(gp: GRef) -> &'static M {
        // SAFETY: `m` is set when a goroutine starts to run, and its M lives as long as it does.
        unsafe { &*gp.get().m.load(Ordering::Relaxed).cast::<M>() }
    }

    /// The P held by this M.
    #[inline]
    pub(crate) fn held(&self) -> &'static P {
        match self.p.get() {
            Some(pp) => pp,
            None => {
                fork::check("a goroutine stopped");
                fatal!("S1: M {} runs scheduler code without a P", self.id)
            }
        }
    }

    /// Takes hold of a P that was handed to this M.
    pub(crate) fn acquire(&self, pp: &'static P) {
        if self.p.get().is_some() {
            fatal!("S2: M {} is given a second P", self.id);
        }
        // Release: sysmon looks into this M through the pointer.
        let before = pp.m.swap(ptr::from_ref(self).cast_mut(), Ordering::Release);
        if !before.is_null() {
            fatal!("S2: P {} has two holders", pp.index);
        }
        self.p.set(Some(pp));
    }

    /// The M's own thread has found out that its P was taken.
    pub(crate) fn lose(&self) {
        self.p.set(None);
        // The only writer.
        let losses = self.losses.load(Ordering::Relaxed);
        self.losses.store(losses.wrapping_add(1), Ordering::Relaxed);
    }

    /// Gives up the P; the caller puts it somewhere (S2).
    pub(crate) fn release(&self) -> &'static P {
        let pp = self.held();
        self.p.set(None);
        pp.m.store(ptr::null_mut(), Ordering::Relaxed);
        pp
    }

    /// Wakes this M, which sleeps or is about to (M1).
    pub(crate) fn wake(&self) {
        self.note.store(1, Ordering::Release);
        futex::wake(&raw const self.note, 1);
    }

    /// Sleeps until [`wake`](Self::wake).
    pub(crate) fn sleep(&self) {
        while self.note.load(Ordering::Acquire) == 0 {
            fork::check("a goroutine stopped");
            futex::wait(&self.note, 0, u64::MAX);
        }
        self.note.store(0, Ordering::Relaxed);
    }

    /// Hands a P to this M, which sleeps for it (a locked or bound goroutine is to run there).
    pub(crate) fn give(&self, pp: &'static P) {
        self.next_p.set(Some(pp));
        self.wake();
    }
}

#[cold]
fn thread_exhaustion() -> ! {
    crate::fatal::write_line(format_args!(
        "runtime: program exceeds {}-thread limit",
        MS_MAX.load(Ordering::Relaxed)
    ));
    crate::fatal::exit_with(format_args!("thread exhaustion"))
}

/// Calls `f` with each M, also those whose threads have ended or not begun.
pub(crate) fn each(mut f: impl FnMut(&'static M)) {
    // SAFETY: null or an M, which is never freed (M3).
    let mut next = unsafe { MADE.load(Ordering::Acquire).as_ref() };
    while let Some(mp) = next {
        f(mp);
        // SAFETY: as above. Each was on the list before the one that points to it.
        next = unsafe { mp.next_made.get().as_ref() };
    }
}

/// The M on whose system stack the caller stands, or which runs the current goroutine; `None` on a
/// plain thread. On a goroutine the answer holds for as long as the caller is inside (I2).
#[inline]
pub(crate) fn current() -> Option<&'static M> {
    // SAFETY: the word is 0 or an M, which is never freed.
    let running = unsafe { (thread_state::running_m() as *const M).as_ref() };
    if running.is_some() {
        return running;
    }
    if thread_state::current().is_some() {
        return None;
    }
    // SAFETY: as above.
    unsafe { (thread_state::self_m() as *const M).as_ref() }
}

/// The P of the current M, if there is one. As [`current`].
#[inline]
pub(crate) fn current_p() -> Option<&'static P> {
    current().and_then(|mp| mp.p.get())
}

/// The stack slot of the current goroutine, and the thread-local side of the M it runs on: what libc's
/// functions are answered from that must meet the thread (`gort_arch::tls`).
///
/// Async-signal-safe.
pub(crate) fn current_slot() -> Option<(Slot, *mut ThreadTls)> {
    let gp = crate::g::running_here().filter(|gp| gp.get().kind.get() == Kind::Stackful)?;
    // SAFETY: a stackful goroutine has its slot until it has left it for good.
    let slot = unsafe { Slot::from_raw(gp.get().slot.get()) };
    // SAFETY: the current goroutine runs, so its M is set.
    Some((slot, unsafe { M::of(gp) }.tls.get()))
}

/// Puts an M to work with a P: an idle one if there is one; else one that waits for a P with its
/// goroutine; else one that has yet to be made.
///
/// The second matters: to make a thread takes locks that a goroutine may hold, and that goroutine
/// may have been stopped by a signal and stand in the queue itself.
pub(crate) fn start(pp: &'static P, spinning: bool) {
    let mut global = SCHED.global.lock();
    if let Some(mp) = take_idle(&mut global) {
        let is_last = global.ms_idle == 0;
        drop(global);
        mp.spinning.set(spinning);
        mp.give(pp);
        if is_last {
            factory::request();
        }
        return;
    }
    if let Some(gp) = global.take_with_own_m() {
        drop(global);
        // SAFETY: bound, locked or stopped in place: its M is set and waits for a P.
        unsafe { M::of(gp) }.give(pp);
        factory::request();
        if spinning && SCHED.idle.stop_spinning_found_work() {
            wake::submitted();
        }
        return;
    }
    global.want_m(pp, spinning);
    drop(global);
    factory::request();
}

/// Whether a P that is taken now would have an M at once; if not, one is asked for.
pub(crate) fn has_spare() -> bool {
    let global = SCHED.global.lock();
    let has = global.ms_idle != 0 || global.has_with_own_m();
    drop(global);
    if !has {
        factory::request();
    }
    has
}

/// Sleeps until another M gives this one a P. The M holds none and is not spinning.
pub(crate) fn stop(mp: &'static M) {
    stop_with(SCHED.global.lock(), mp);
}

fn stop_with(mut global: MutexGuard<'_, Global>, mp: &'static M) {
    if let Some((pp, spinning)) = global.take_wanting() {
        drop(global);
        mp.spinning.set(spinning);
        return mp.acquire(pp);
    }
    put_idle(&mut global, mp);
    drop(global);
    mp.sleep();
    take_next_p(mp);
}

fn take_idle(global: &mut Global) -> Option<&'static M> {
    // SAFETY: an M on the idle list is never freed.
    let mp = unsafe { global.idle_ms.as_ref() }?;
    global.idle_ms = mp.next_idle.get();
    global.ms_idle -= 1;
    Some(mp)
}

fn put_idle(global: &mut MutexGuard<'_, Global>, mp: &'static M) {
    mp.next_idle.set(global.idle_ms);
    global.idle_ms = ptr::from_ref(mp).cast_mut();
    global.ms_idle += 1;
}

/// Takes the P that came with the wake-up (M2).
pub(crate) fn take_next_p(mp: &'static M) {
    match mp.next_p.take() {
        Some(pp) => mp.acquire(pp),
        None => fatal!("M2: M {} was woken without a P", mp.id),
    }
}

/// An M's life: find a goroutine, run it, and whatever it hands over to, until the system stack is
/// asked for again.
///
/// `extern "C"`, so that a panic, which can only be a broken invariant, ends the process: an M that
/// unwound and ended would take its P and whoever waits for it along.
extern "C" fn run(mp: &'static M) {
    thread::begin_own();
    let alternate = signal::alternate_stack();
    mp.signals.set(ThreadSignals::now());
    mp.tid.store(thread::tid(), Ordering::Relaxed);
    thread::set_slice(SLICE_NS);
    // SAFETY: on the M's own thread, once, with FS its own.
    unsafe { *mp.tls.get() = ThreadTls::capture() };
    // SAFETY: as above; only this thread touches it.
    mp.fs.set(unsafe { &*mp.tls.get() }.fs());
    // From here on this is a system stack. What came before calls the allocator.
    thread_state::set_self_m(ptr::from_ref(mp) as usize);
    let mut global = SCHED.global.lock();
    global.ms_coming -= 1;
    stop_with(global, mp);
    loop {
        let mut gp = find_work::find(mp);
        if gp.get().kind.get() == Kind::Stackless {
            match carriers::take_for(gp) {
                Some(carrier) => gp = carrier,
                None => continue,
            }
        }
        if gp.wants_own_m() && mp.locked_g.get() != Some(gp) {
            give_to_own_m(mp, gp);
            continue;
        }
        // SAFETY: `find` made `gp` ours; we stand on the system stack and hold a P.
        unsafe { execute(mp, gp) };
        // Again and again: one that unlocks may go on to another, which locks this M in its turn.
        while let Some(gp) = mp.locked_g.get() {
            if mp.is_ending.get() {
                end(mp);
                drop(alternate);
                return thread::end_own();
            }
            stop_locked(mp, gp);
        }
        if mp.p.get().is_none() {
            // It came back from a blocking call and found no P.
            stop(mp);
        }
    }
}

impl GRef {
    /// See `G::wants_own_m`.
    pub(crate) fn wants_own_m(self) -> bool {
        self.get().wants_own_m()
    }
}

impl GRef {
    /// Whether it has an M of its own that waits for a P, if it is Runnable.
    pub(super) fn has_own_m_waiting(self) -> bool {
        // SAFETY: bound or locked: its M is set.
        self.wants_own_m() && unsafe { &M::of(self).arrival }.is_here()
    }
}

/// A goroutine that only its own M may run has come up: that M gets our P, we sleep.
fn give_to_own_m(mp: &'static M, gp: GRef) {
    wake::found_work(mp);
    let pp = mp.release();
    // SAFETY: bound or locked: its M is set, and lives as long as it does.
    let own = unsafe { M::of(gp) };
    pp.left_to
        .store(ptr::from_ref(own).cast_mut(), Ordering::Release);
    if !own.arrival.leave(pp) {
        pp.left_to.store(ptr::null_mut(), Ordering::Relaxed);
        own.give(pp);
    }
    stop(mp);
}

/// The thread of a new bound goroutine waits for its first P. It holds one when this returns.
pub(super) fn arrive(mp: &'static M, gp: GRef) {
    match mp.arrival.arrive() {
        Found::P(pp) => {
            pp.left_to.store(ptr::null_mut(), Ordering::Relaxed);
            return mp.acquire(pp);
        }
        Found::PassedOver => {
            p::push_global_one(gp);
            wake::submitted();
        }
        Found::Nothing => {}
    }
    mp.sleep();
    take_next_p(mp);
}

/// Takes a P that was left to a thread, which has not come, and hands it on. For sysmon.
pub(crate) fn take_back_left(pp: &'static P) -> bool {
    // SAFETY: null or an M, which is never freed (M3).
    let Some(mp) = (unsafe { pp.left_to.load(Ordering::Acquire).as_ref() }) else {
        return false;
    };
    if !has_spare() || !mp.arrival.take_back(pp) {
        return false;
    }
    pp.left_to.store(ptr::null_mut(), Ordering::Relaxed);
    wake::hand_off(pp);
    true
}

/// This M's locked goroutine has stopped: without a P until another M sends us one to run it with.
/// Returns when the M is not locked to `gp` any more.
fn stop_locked(mp: &'static M, gp: GRef) {
    loop {
        if mp.p.get().is_some() {
            let pp = mp.release();
            wake::hand_off(pp);
        }
        mp.sleep();
        take_next_p(mp);
        // SAFETY: whoever dequeued `gp` gave us its P instead of running it: it is ours (S4).
        unsafe { execute(mp, gp) };
        if mp.locked_g.get() != Some(gp) || mp.is_ending.get() {
            return;
        }
    }
}

/// The last thing that an M's thread does for the scheduler: its locked goroutine has ended.
fn end(mp: &'static M) {
    wake::hand_off(mp.release());
    thread_state::set_self_m(0);
    mp.locked_g.set(None);
    mp.is_ending.set(false);
    mp.tid.store(0, Ordering::Relaxed);
    let mut global = SCHED.global.lock();
    global.ms_alive -= 1;
    // From here on another thread may have it (M3).
    mp.next_idle.set(global.dead_ms);
    global.dead_ms = ptr::from_ref(mp).cast_mut();
}

/// Switches to `gp` and comes back when something asks for the system stack.
///
/// # Safety
///
/// On the M's system stack, with a P; `gp` is Runnable, on no queue, and this M may run it.
unsafe fn execute(mp: &'static M, gp: GRef) {
    wake::found_work(mp);
    let g = gp.get();
    switch::begin(mp, gp);
    let fs = switch::block_of(mp, gp);
    // SAFETY: the block is idle (G2) and FS is the M's own.
    unsafe { tls::enter(&mut *mp.tls.get(), fs) };
    // SAFETY: `sp` was saved by a switch, or prepared, and the stack is ours alone (G2). The system
    // context is resumed by nobody else: only this M's goroutines switch to `mp.sp`.
    unsafe { context::switch(mp.sp.get(), g.sp.load(Ordering::Relaxed), fs, 0) };
    let left = mp
        .left
        .get()
        .expect("a switch to the system stack says whom it left");
    // SAFETY: FS is the M's own again; the block of the goroutine that was left is still idle.
    unsafe { tls::leave(&mut *mp.tls.get(), switch::block_of(mp, left)) };
    mp.current.set(None);
    // SAFETY: the goroutine has left its stack: we are on the system stack.
    unsafe { switch::finish(mp) };
}

/// The M of a goroutine that is bound to its own thread (thread mode, `own_thread`).
///
/// # Errors
///
/// There are as many threads as there may be.
pub(crate) fn make_bound() -> io::Result<&'static M> {
    let mut global = SCHED.global.lock();
    // Some are left for the Ms that a running program needs.
    let limit = MS_MAX.load(Ordering::Relaxed).saturating_sub(MS_RESERVED);
    if global.ms_alive >= limit {
        drop(global);
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("no thread for a goroutine: there are {limit} already"),
        ));
    }
    let id = M::count(&mut global);
    let reused = global.take_dead();
    drop(global);
    let mp = reused.unwrap_or_else(|| M::new(id));
    mp.arrival.expect_thread();
    Ok(mp)
}

/// The thread that `gp` is on or is bound to, if it is on one. It may have gone on meanwhile.
pub(crate) fn tid_of(gp: GRef) -> Option<u32> {
    // SAFETY: null, or an M, which is never freed.
    let mp = unsafe { gp.get().m.load(Ordering::Relaxed).cast::<M>().as_ref() }?;
    let tid = mp.tid.load(Ordering::Relaxed);
    (tid != 0 && !matches!(gp.get().status.load(), State::Dead | State::Idle)).then_some(tid)
}

/// Gives back the M of a bound goroutine's thread that is about to end, as it was when new. It is kept for
/// another: sysmon may be looking at it.
///
/// # Safety
///
/// `mp` came from [`make_bound`], holds no P, is on no list and used by nobody any more.
pub(crate) unsafe fn free_bound(mp: &'static M) {
    mp.current.set(None);
    mp.tid.store(0, Ordering::Relaxed);
    mp.arrival.reset();
    let mut global = SCHED.global.lock();
    global.ms_alive -= 1;
    mp.next_idle.set(global.dead_ms);
    global.dead_ms = ptr::from_ref(mp).cast_mut();
}

/// Changes the state of a G whose owner we are; a wrong state is a broken invariant.
#[inline]
pub(crate) fn transition(gp: GRef, from: State, to: State) {
    if let Err(actual) = gp.get().status.try_transition(from, to) {
        bad_transition(gp, from, to, actual)
    }
}

#[cold]
fn bad_transition(gp: GRef, from: State, to: State, actual: State) -> ! {
    fatal!(
        "goroutine {} is {actual:?}, not {from:?}, on its way to {to:?}",
        gp.id()
    )
}

/// The thread that makes threads: without a P, so that `pthread_create` may take what locks it likes.
/// What else needs memory for the scheduler's sake is done here too.
pub(crate) mod factory {
    use super::*;

    /// Requests not yet seen to.
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    /// Writer: `start`.
    static STARTED: AtomicBool = AtomicBool::new(false);

    /// Starts the thread, and with it the first spare M, unless it runs. One caller at a time.
    pub(crate) fn start() -> std::io::Result<()> {
        if STARTED.load(Ordering::Relaxed) {
            return Ok(());
        }
        thread::builder("gort-factory".into(), 128 << 10).spawn(serve)?;
        STARTED.store(true, Ordering::Relaxed);
        request();
        Ok(())
    }

    /// Asks for a look at whether Ms are wanted, or timers are to be moved. Neither allocates nor locks.
    pub(crate) fn request() {
        REQUESTS.fetch_add(1, Ordering::Release);
        futex::wake(&raw const REQUESTS, 1);
    }

    fn serve() {
        thread::begin_own();
        loop {
            let seen = REQUESTS.load(Ordering::Acquire);
            // First: a thread may be long in coming.
            p::move_timers_of_retired();
            while let Some(mp) = next_to_make() {
                make_thread(mp);
            }
            futex::wait(&REQUESTS, seen, u64::MAX);
        }
    }

    /// An M to be made, if one is wanted or there is no spare one.
    fn next_to_make() -> Option<&'static M> {
        let mut global = SCHED.global.lock();
        // An M that was on its way to sleep when it was wanted may have arrived.
        while global.ms_wanted != 0
            && let Some(mp) = take_idle(&mut global)
        {
            let (pp, spinning) = global.take_wanting().expect("not empty");
            mp.spinning.set(spinning);
            mp.give(pp);
        }
        // Those just made see to what is wanted as soon as they run.
        if global.ms_wanted + u32::from(global.ms_idle == 0) <= global.ms_coming {
            return None;
        }
        global.ms_coming += 1;
        let id = M::count(&mut global);
        if let Some(mp) = global.take_dead() {
            return Some(mp);
        }
        drop(global);
        Some(M::new(id))
    }

    fn make_thread(mp: &'static M) {
        let mut pause_ms = 1;
        loop {
            let name = format!("gort-m{}", mp.id);
            let made = thread::builder(name, SYSTEM_STACK_BYTES).spawn(move || run(mp));
            match made {
                Ok(_) => return,
                Err(error) if pause_ms < 1_000 => {
                    // The limit may be passing: threads of others end. P's that wait here are not lost.
                    let _ = error;
                    std::thread::sleep(std::time::Duration::from_millis(pause_ms));
                    pause_ms *= 2;
                }
                Err(error) => {
                    crate::fatal::write_line(format_args!(
                        "runtime: cannot make a thread: {error} (see RLIMIT_NPROC and the cgroup's pids.max)"
                    ));
                    crate::fatal::exit_with(format_args!("thread exhaustion"))
                }
            }
        }
    }
}

/// For tests: sets how many threads there can be. Go's `debug.SetMaxThreads`.
pub(crate) fn set_max(count: u32) {
    MS_MAX.store(count, Ordering::Relaxed);
}

/// Used by tests and `metrics`: how many Ms there are.
pub(crate) fn count() -> u32 {
    SCHED.global.lock().ms_alive
}

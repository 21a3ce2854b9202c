//! A goroutine from `newproc` to `goexit`.
//!
//! [`spawn`] takes a stack slot and a descriptor, writes the closure to the top of the stack, and
//! queues the goroutine. Its first switch enters [`entry`] on the new stack. When the closure has
//! ended (returned, panicked or called [`goexit`]: `run` is the only `catch_unwind` on the path) the
//! goroutine runs its thread-local destructors, publishes its result, and leaves its stack for good.
//! The order at the end: closure dropped; a result nobody asks for dropped; thread-local destructors
//! (they may park); key destructors and libc's own frees; then `join` and `scope` see the end.
//!
//! A goroutine bound to a thread of its own takes the same way but for the stack: `bound`.

mod bound;

use std::any::Any;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::{fmt, io, mem};

use gort_arch::stack::{self, Class, Slot, StackError};
use gort_arch::{context, tls};
use gort_queue::status::State;

use super::join::{self, JoinHandle, Outcome};
use super::m::{self, M};
use super::p::SLOTS_CACHED;
use super::scope::ScopeData;
use super::{SCHED, park, switch, syscall, wake};
use crate::fork;
use crate::g::{self, GRef, Kind, Label, flags, slab};
use crate::inside;
use crate::settings;
use crate::thread_state;

/// Closures up to this size, with the header and what their alignment costs, lie on the goroutine's
/// own stack; larger ones are boxed, so that the stack that was asked for is there for frames, and its
/// first page for a parked goroutine's.
const CLOSURE_INLINE_BYTES: usize = 1024;

/// What a goroutine is started with, beside its closure.
#[derive(Debug)]
pub struct SpawnOptions {
    /// Bytes of stack; `None` is the configured default.
    pub stack_bytes: Option<usize>,
    /// Its name, for dumps.
    pub name: Option<String>,
    /// Labels to add to the inherited ones.
    pub labels: Vec<(String, String)>,
    /// An OS thread of its own for its whole life.
    pub own_thread: bool,
    /// Its group; `None` inherits the creator's.
    pub group: Option<u32>,
    /// One of the runtime's own: not counted, not listed.
    pub system: bool,
    /// Where it was started.
    pub location: &'static Location<'static>,
}

impl SpawnOptions {
    /// The defaults, started at the caller's place.
    #[track_caller]
    #[inline]
    pub fn new() -> SpawnOptions {
        SpawnOptions {
            stack_bytes: None,
            name: None,
            labels: Vec::new(),
            own_thread: false,
            group: None,
            system: false,
            location: Location::caller(),
        }
    }
}

impl Default for SpawnOptions {
    #[track_caller]
    fn default() -> Self {
        SpawnOptions::new()
    }
}

/// What lies at the top of a new goroutine's stack.
#[repr(C)]
struct Start<F> {
    header: Header,
    f: F,
}

/// Drops a stored outcome, and tells the scope of a panic.
pub(super) type DropResult = unsafe fn(gp: GRef, scope: Option<NonNull<ScopeData>>);

/// The part of [`Start`] that does not depend on the closure.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    /// Runs the closure behind the header and stores the outcome.
    run: unsafe fn(start: *mut Header, gp: GRef),
    /// Drops the stored outcome.
    drop_result: DropResult,
    /// The scope that waits for the goroutine.
    scope: Option<NonNull<ScopeData>>,
}

/// Starts a goroutine.
///
/// # Errors
///
/// No stack can be had, or the size asked for is none, or the runtime has been shut down; the text says
/// what to do.
#[inline]
pub fn spawn<F, T>(f: F, options: SpawnOptions) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: everything the closure and its result hold is 'static.
    unsafe { spawn_unchecked(f, options, None) }
}

/// Starts a goroutine whose closure may borrow.
///
/// # Errors
///
/// As [`spawn`].
///
/// # Safety
///
/// What the closure and its result borrow outlives the goroutine; a `scope` outlives its use in
/// `ScopeData::ended`.
#[inline]
pub unsafe fn spawn_unchecked<F, T>(
    f: F,
    options: SpawnOptions,
    scope: Option<NonNull<ScopeData>>,
) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if !settings::is_open() {
        check_closed(options.system)?;
    }
    if options.own_thread || !settings::has_own_tls() {
        // SAFETY: as the caller promises.
        return unsafe { bound::spawn_bound(f, options, scope) };
    }
    if lies_on_stack::<F>() {
        // SAFETY: as the caller promises; the closure is small.
        unsafe { spawn_stackful(f, options, scope) }
    } else {
        let f = Box::new(f);
        // SAFETY: as the caller promises; a box is small.
        unsafe { spawn_stackful(f, options, scope) }
    }
}

/// Says whether a goroutine can be started although not every one can.
#[cold]
pub(super) fn check_closed(system: bool) -> io::Result<()> {
    if !settings::is_started() {
        fork::check("a goroutine was started");
        fatal!("a goroutine was started before the runtime");
    }
    if system {
        return Ok(());
    }
    Err(io::Error::other("the runtime has been shut down"))
}

/// Whether a closure is small enough to be written to the top of the goroutine's stack. An empty one
/// may be too large as well: its alignment is the least size of its `Start`.
const fn lies_on_stack<F>() -> bool {
    size_of::<Start<F>>() <= CLOSURE_INLINE_BYTES
}

/// # Safety
///
/// As [`spawn_unchecked`]; and the closure [`lies_on_stack`].
unsafe fn spawn_stackful<F, T>(
    f: F,
    options: SpawnOptions,
    scope: Option<NonNull<ScopeData>>,
) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let class = match options.stack_bytes {
        None => settings::default_class(),
        Some(bytes) => Class::for_size(bytes)?,
    };
    tls::check_loaded();
    let Taken { slot, descriptor } = take_cached(class, options.system);
    // Outside, all of it: it allocates, and touches pages.
    let slot = match slot {
        Some(slot) => Ok(slot),
        None => take_slots(class, descriptor.is_some()),
    };
    // SAFETY: it was just handed to us, and nothing has run there since.
    let slot = slot.and_then(|slot| unsafe { stack::renew(slot) }.map(|()| slot));
    let slot = match slot {
        Ok(slot) => slot,
        Err(error) => {
            if let Some((gp, _)) = descriptor {
                join::free(gp);
            }
            return Err(error.into());
        }
    };
    let (gp, id) = match descriptor {
        Some((gp, id)) => {
            slab::renew(gp);
            (gp, id)
        }
        None => {
            let gp = slab::allocate().inspect_err(|_| stack::release_batch(&[slot]))?;
            (gp, id_from(options.system))
        }
    };
    let created_by = describe(gp, Kind::Stackful, &options, id);
    // SAFETY: the slot is ours and idle, its top has room for a `Start` of at most 1 KiB and its
    // alignment, which is no more than its size (each slot has `stack::ROOM_MIN` bytes of stack, 40 KiB),
    // and the place is aligned for it.
    let sp = unsafe {
        let align = align_of::<Start<F>>().max(16);
        let place = (slot.top() as usize - size_of::<Start<F>>()) & !(align - 1);
        let start = place as *mut Start<F>;
        start.write(Start {
            header: Header {
                run: run::<F, T>,
                drop_result: drop_result::<T>,
                scope,
            },
            f,
        });
        thread_state::begin_block(slot.fs(), gp.0.cast(), created_by);
        context::prepare(place as *mut u8, entry, place)
    };
    let g = gp.get();
    g.sp.store(sp, Ordering::Relaxed);
    g.fs.store(slot.fs(), Ordering::Relaxed);
    g.slot.set(slot.to_raw());
    announce(gp, &options);
    // SAFETY: the closure returns `T`; this is the only handle.
    Ok(unsafe { JoinHandle::new(gp) })
}

/// What a spawner gets from its P.
struct Taken {
    slot: Option<Slot>,
    /// A descriptor, not renewed yet, and a number.
    descriptor: Option<(GRef, u64)>,
}

/// Takes from the P, if there is one, what it has at hand.
#[inline]
fn take_cached(class: Class, system: bool) -> Taken {
    let _inside = inside::enter();
    let Some(pp) = m::current_p() else {
        return Taken {
            slot: None,
            descriptor: None,
        };
    };
    // SAFETY: our M holds `pp`, and keeps it while we are inside.
    unsafe {
        let id = if system { 0 } else { pp.next_id() };
        Taken {
            slot: pp.take_slot(class),
            descriptor: pp.take_g().ok().map(|gp| {
                // Its stack is about to be written.
                gp.get().ran_in.store(pp.era(), Ordering::Relaxed);
                (gp, id)
            }),
        }
    }
}

/// A slot that is not renewed yet; on a P, others with it, which the P keeps for the next spawns.
#[cold]
fn take_slots(class: Class, for_p: bool) -> Result<Slot, StackError> {
    let mut slots = [MaybeUninit::uninit(); SLOTS_CACHED];
    let wanted = if for_p { SLOTS_CACHED } else { 1 };
    let count = stack::allocate_batch(class, &mut slots[..wanted])?;
    // SAFETY: that many were written.
    let slot = |index: usize| unsafe { slots[index].assume_init() };
    let _inside = inside::enter();
    let pp = m::current_p();
    // The first is the warmest, or the lowest: the next to take.
    for index in (1..count).rev() {
        match pp {
            // Not the P that had none, perhaps, but another, which has many.
            // SAFETY: our M holds the P; the slot was just handed to us.
            Some(pp) => unsafe {
                pp.make_room_for_slot(class);
                pp.give_slot(slot(index));
            },
            None => stack::release_batch(&[slot(index)]),
        }
    }
    Ok(slot(0))
}

/// A number for a new goroutine, not from a P; the runtime's own have none.
pub(super) fn id_from(system: bool) -> u64 {
    if system {
        0
    } else {
        SCHED.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// Writes what dumps show. Gives the number of the creator, for the block of one that has a stack of ours.
#[inline]
pub(super) fn describe(gp: GRef, kind: Kind, options: &SpawnOptions, id: u64) -> u64 {
    let g = gp.get();
    g.kind.set(kind);
    g.id.store(id, Ordering::Relaxed);
    g.created_at.store(
        ptr::from_ref(options.location).cast_mut(),
        Ordering::Relaxed,
    );
    let creator = g::current_goroutine();
    let inherits = creator.is_some_and(|c| !c.get().cold.load(Ordering::Relaxed).is_null());
    if options.name.is_some() || !options.labels.is_empty() || options.group.is_some() || inherits {
        describe_cold(gp, creator, options);
    }
    let created_by = creator.map_or(0, GRef::id);
    if kind != Kind::Stackful {
        g.sp.store(created_by as usize, Ordering::Relaxed);
    }
    created_by
}

#[cold]
fn describe_cold(gp: GRef, creator: Option<GRef>, options: &SpawnOptions) {
    // Without the lock, as it allocates.
    // SAFETY: the creator is the current goroutine, which changes nothing meanwhile.
    let inherited = creator
        .and_then(|creator| unsafe { slab::own_cold(creator) })
        .map(|cold| (cold.labels.clone(), cold.group));
    let (inherited, group) = inherited.unwrap_or_default();
    let labels = match options.labels.is_empty() {
        true => inherited,
        false => Some(merge_labels(inherited.as_deref(), options)),
    };
    let group = options.group.unwrap_or(group);
    let name = options.name.as_deref().map(Into::into);
    if name.is_none() && labels.is_none() && group == 0 {
        return;
    }
    let old = slab::with_cold_mut(gp, |cold| {
        cold.group = group;
        (
            mem::replace(&mut cold.name, name),
            mem::replace(&mut cold.labels, labels),
        )
    });
    // Not under the lock.
    drop(old);
}

/// The labels given now, and those inherited that they do not replace.
fn merge_labels(inherited: Option<&[Label]>, options: &SpawnOptions) -> Arc<[Label]> {
    let mut labels = inherited.unwrap_or_default().to_vec();
    for (key, value) in &options.labels {
        labels.retain(|(known, _)| **known != **key);
        labels.push((key.as_str().into(), value.as_str().into()));
    }
    labels.into()
}

/// The goroutine comes into being: counted, listed, queued.
#[inline]
pub(super) fn announce(gp: GRef, options: &SpawnOptions) {
    let inside = inside::enter();
    let g = gp.get();
    g.flags.store(
        flags::IN_USE | if options.system { flags::SYSTEM } else { 0 },
        Ordering::Relaxed,
    );
    if !options.system {
        count(1);
    }
    m::transition(gp, State::Idle, State::Runnable);
    let spilled = park::enqueue(gp);
    drop(inside);
    if spilled {
        // The spawner is a whole ring ahead of the goroutines it has started. Let them run: they end,
        // most often, and the next ones get their warm stacks instead of fresh pages (measured: a
        // sixth of the time for a million that do little).
        park::yield_now();
    }
}

/// Counts goroutines that came or went. Inside.
fn count(change: i64) {
    match m::current_p() {
        // The holder is the only writer.
        Some(pp) => pp
            .live
            .store(pp.live.load(Ordering::Relaxed) + change, Ordering::Relaxed),
        None => {
            SCHED.live_outside.fetch_add(change, Ordering::Relaxed);
        }
    }
}

/// The first frame on a goroutine's stack.
unsafe extern "C" fn entry(start: usize, _arg: usize) -> ! {
    let gp = match g::running_here() {
        Some(gp) => gp,
        None => fatal!("a goroutine without a descriptor"),
    };
    // SAFETY: we have just been switched to, so our M is set and whoever it left has left its stack.
    unsafe { switch::finish(M::of(gp)) };
    // The section of whoever switched here ends (I1 of `inside`).
    inside::leave_raw();
    let start = start as *mut Header;
    // SAFETY: the spawner wrote the header, and `run` is made for what lies behind it. Called once.
    let header = unsafe {
        let header = *start;
        (header.run)(start, gp);
        header
    };
    end(gp, header)
}

/// Runs the closure and stores its outcome.
///
/// # Safety
///
/// `start` is a `Start<F>` whose closure returns `T` and has not run; `gp` is the current goroutine.
unsafe fn run<F: FnOnce() -> T, T>(start: *mut Header, gp: GRef) {
    // SAFETY: as the caller promises; the closure is moved out, once.
    let f = unsafe { ptr::read(&raw const (*start.cast::<Start<F>>()).f) };
    // SAFETY: the outcome is stored once, by the goroutine itself.
    unsafe { join::store(gp, contain(f)) };
}

/// Runs `f` and says how it ended.
pub(super) fn contain<F: FnOnce() -> T, T>(f: F) -> Outcome<T> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Outcome::Returned(value),
        Err(payload) if payload.is::<Goexit>() => Outcome::Exited,
        Err(payload) => {
            if settings::panics_abort() {
                die_of_panic();
            }
            Outcome::Panicked(payload)
        }
    }
}

/// What ends the process with a report; a layer above knows. Writer: `set_die_of_panic`.
static DIE_OF_PANIC: OnceLock<fn() -> !> = OnceLock::new();

/// Says how to end the process when a panic leaves a goroutine and that is the policy.
pub(crate) fn set_die_of_panic(die: fn() -> !) {
    // The first stays: there is one.
    let _ = DIE_OF_PANIC.set(die);
}

/// The panic hook has printed the message; Go's rule is a dump and status 2.
#[cold]
fn die_of_panic() -> ! {
    if let Some(die) = DIE_OF_PANIC.get() {
        die();
    }
    // SAFETY: `_exit` takes any status; destructors are not wanted.
    unsafe { libc::_exit(2) }
}

/// Drops a result nobody asks for.
///
/// # Safety
///
/// The outcome was stored with this `T`, and is the caller's to drop (J2).
pub(super) unsafe fn drop_result<T>(gp: GRef, scope: Option<NonNull<ScopeData>>) {
    // SAFETY: as the caller promises.
    let outcome = unsafe { join::take::<T>(gp) };
    if let (Outcome::Panicked(_), Some(scope)) = (&outcome, scope) {
        // SAFETY: the scope waits for this goroutine's end.
        unsafe { scope.as_ref() }.note_panic();
    }
    drop_contained(outcome);
}

/// Drops what nobody will have. As with std's threads a panic of that has nowhere to go; the hook has reported it.
pub(super) fn drop_contained<T>(value: T) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(payload);
    }
}

/// The end of a stackful goroutine, after its closure.
fn end(gp: GRef, header: Header) -> ! {
    let dropped = join::is_released(gp);
    if dropped {
        // SAFETY: RELEASED was seen, so the handle does not take the result (J2).
        unsafe { (header.drop_result)(gp, header.scope) };
    }
    // A thread-local may own the alternate stack, as with a thread's end.
    syscall::restore_signals(gp);
    run_destructors(gp);
    if publish_end(gp, header.drop_result, header.scope, dropped) {
        // What that code has set up again goes too.
        run_destructors(gp);
    }
    syscall::restore_signals(gp);
    if let Some(scope) = header.scope {
        // SAFETY: the scope waits for this call.
        unsafe { ScopeData::ended(scope) };
    }
    inside::enter_raw();
    syscall::end_locked(gp);
    // SAFETY: the current goroutine is stackful and runs on its M with a P; nothing on its stack is
    // needed any more.
    unsafe { switch::leave_for_good(M::of(gp), gp) }
}

/// Runs the destructors of a stackful goroutine's thread-locals.
fn run_destructors(gp: GRef) {
    // Inside: a handler of the user's that changes the signal mask sets other flags of the same word.
    let set_ending = |on| {
        let _inside = inside::enter();
        gp.get().set_flag(flags::ENDING, on);
    };
    set_ending(true);
    // SAFETY: on the goroutine, at its end, FS its own.
    unsafe { tls::run_destructors() };
    set_ending(false);
}

/// Counts the goroutine out and shows its result to the handle. True if user code ran meanwhile.
pub(super) fn publish_end(
    gp: GRef,
    drop_result: DropResult,
    scope: Option<NonNull<ScopeData>>,
    dropped: bool,
) -> bool {
    if !gp.get().has_flag(flags::SYSTEM) {
        let _inside = inside::enter();
        count(-1);
    }
    let (released, woke_task) = join::finish(gp);
    let drops_late = released && !dropped;
    if drops_late {
        // SAFETY: RELEASED was there when DONE was set: the result is ours (J2).
        unsafe { drop_result(gp, scope) };
    }
    drops_late || woke_task
}

/// The payload of a [`goexit`].
struct Goexit;

impl fmt::Debug for Goexit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("goexit")
    }
}

/// Whether a panic's payload is that of a [`goexit`], for those who catch unwinds themselves.
pub fn exiting(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Goexit>()
}

/// Ends the current goroutine: unwinds its stack, running destructors; no panic message.
///
/// # Panics
///
/// Outside a goroutine.
#[track_caller]
pub fn goexit() -> ! {
    let Some(gp) = g::current_goroutine() else {
        panic!("goexit outside a goroutine: a plain thread ends by returning");
    };
    if cfg!(panic = "abort") {
        crate::fatal::exit_with(format_args!(
            "goexit needs unwinding, and this program was built with panic = \"abort\""
        ));
    }
    if gp.get().has_flag(flags::ENDING) {
        // An unwind there is the end of the process, in std's words, which do not say why.
        crate::fatal::exit_with(format_args!(
            "goexit in a thread-local's destructor: the goroutine is ending already"
        ));
    }
    if std::thread::panicking() {
        // A second unwind in a destructor would abort the process without a word of why.
        crate::fatal::exit_with(format_args!(
            "goexit in a destructor that runs because of a panic: it cannot replace the panic"
        ));
    }
    panic::resume_unwind(Box::new(Goexit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_lies_on_the_stack_only_if_its_alignment_lets_it() {
        #[repr(align(1048576))]
        struct Aligned;

        assert!(lies_on_stack::<()>());
        assert!(lies_on_stack::<[u8; 900]>());
        assert!(!lies_on_stack::<[u8; 1024]>());
        assert_eq!(size_of::<Aligned>(), 0);
        assert!(!lies_on_stack::<Aligned>());
    }
}

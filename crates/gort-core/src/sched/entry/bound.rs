//! Goroutines bound to an OS thread of their own: all of them in thread mode, some elsewhere
//! (`Builder::own_thread`).
//!
//! The thread is made at once, waits for the goroutine's first turn, and ends with it. The end is a
//! destructor of a pthread key that asks to be called again until the last round, so that it comes after
//! everybody else's, whatever libc runs thread-locals how.

use std::ffi::c_void;

use super::*;
use crate::os::signal::{self, AlternateStack};
use crate::os::thread;

/// What the thread of a bound goroutine leaves to its last destructor.
struct BoundEnd {
    gp: GRef,
    mp: &'static M,
    header: Header,
    /// Signal handlers run on it, also in the thread's destructors.
    alternate: Option<AlternateStack>,
    /// Rounds of key destructors so far.
    rounds: u32,
    dropped: bool,
}

/// POSIX's least number of rounds in which keys' destructors are called. ThreadSanitizer ends its own
/// idea of the thread early in the last one.
const DESTRUCTOR_ROUNDS: u32 = if cfg!(gort_tsan) { 3 } else { 4 };

/// # Safety
///
/// As [`spawn_unchecked`].
pub(super) unsafe fn spawn_bound<F, T>(
    f: F,
    options: SpawnOptions,
    scope: Option<NonNull<ScopeData>>,
) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let bytes = match options.stack_bytes {
        None => settings::default_class().slot_bytes(),
        Some(bytes) => Class::for_size(bytes)?.slot_bytes(),
    };
    if !thread::has_room_for(bytes.saturating_add(tls::bytes_in_thread_stack())) {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "no thread for a goroutine: no room for its stack of {} KiB (see RLIMIT_AS)",
                bytes >> 10
            ),
        ));
    }
    let mp = m::make_bound()?;
    // SAFETY: nobody else has seen the M.
    let gp = slab::allocate().inspect_err(|_| unsafe { m::free_bound(mp) })?;
    describe(gp, Kind::Bound, &options, id_from(options.system));
    gp.get()
        .m
        .store(ptr::from_ref(mp).cast_mut().cast(), Ordering::Relaxed);
    let thread_name = options
        .name
        .clone()
        .unwrap_or_else(|| format!("gort-g{}", gp.id()));
    let start = Box::new(Start {
        header: Header {
            run: run::<F, T>,
            drop_result: drop_result::<T>,
            scope,
        },
        f,
    });
    let start = SendPtr(Box::into_raw(start).cast::<Header>());
    let thread_name = thread_name.replace('\0', "?");
    let spawned = thread::builder(thread_name, bytes + thread::STACK_GUARD_BYTES);
    let spawned = spawned.spawn(move || {
        let start = start;
        // SAFETY: the spawner's box, used once, on the goroutine's own thread.
        unsafe { bound_main::<F>(start.0, gp, mp, bytes) }
    });
    if let Err(error) = spawned {
        // SAFETY: nobody else has seen the M.
        unsafe { m::free_bound(mp) };
        slab::free(gp);
        // Last: the closure's drop may unwind.
        // SAFETY: the thread was not made, so the box is still ours.
        drop(unsafe { Box::from_raw(start.0.cast::<Start<F>>()) });
        return Err(io::Error::new(
            error.kind(),
            format!(
                "no thread for a goroutine: {error} (see RLIMIT_NPROC and the cgroup's pids.max)"
            ),
        ));
    }
    announce(gp, &options);
    // SAFETY: the closure returns `T`; this is the only handle.
    Ok(unsafe { JoinHandle::new(gp) })
}

/// A pointer that goes to the one thread that uses it.
#[derive(Clone, Copy)]
struct SendPtr(*mut Header);
// SAFETY: the closure behind it is Send (`spawn_unchecked`'s bound), and only one thread uses it.
unsafe impl Send for SendPtr {}

/// The thread of a bound goroutine that asked for `bytes` of stack.
///
/// # Safety
///
/// `start` is a boxed `Start<F>` that nobody else uses.
unsafe fn bound_main<F>(start: *mut Header, gp: GRef, mp: &'static M, bytes: usize) {
    thread_state::set_current(Some(gp.0.cast()));
    thread::begin_own();
    let alternate = signal::alternate_stack();
    let stack = thread::guard_stack(bytes);
    // A new M begins inside. What came before calls the allocator.
    thread_state::set_running_m(ptr::from_ref(mp) as usize);
    mp.tid.store(thread::tid(), Ordering::Relaxed);
    mp.stack.set(stack);
    m::arrive(mp, gp);
    switch::begin(mp, gp);
    inside::leave_raw();
    // SAFETY: as the caller promises. `run` moves the closure out of the box.
    let header = unsafe {
        let header = *start;
        (header.run)(start, gp);
        drop(Box::from_raw(
            start.cast::<Start<std::mem::ManuallyDrop<F>>>(),
        ));
        header
    };
    let dropped = join::is_released(gp);
    if dropped {
        // SAFETY: RELEASED was seen (J2).
        unsafe { (header.drop_result)(gp, header.scope) };
    }
    gp.get().set_flag(flags::ENDING, true);
    let end = Box::new(BoundEnd {
        gp,
        mp,
        header,
        alternate,
        rounds: 0,
        dropped,
    });
    let end = Box::into_raw(end);
    set_end(end.cast());
    // The last to be registered is the first to be destroyed; where it cannot be, std's destructors
    // have begun, and do without.
    let _ = RENEWAL.try_with(|renewal| renewal.0.set(end));
}

/// std ends a thread's signal handling before the destructors of its thread-locals. Those are still
/// the goroutine's: as the first of them this sets its alternate stack again.
struct Renewal(Cell<*mut BoundEnd>);

impl Drop for Renewal {
    fn drop(&mut self) {
        // SAFETY: null, or the box of this thread's end: alive until the last round of key
        // destructors, which come after this one.
        if let Some(end) = unsafe { self.0.get().as_mut() }
            && let Some(alternate) = &mut end.alternate
        {
            alternate.renew();
        }
    }
}

thread_local! {
    static RENEWAL: Renewal = const { Renewal(Cell::new(ptr::null_mut())) };
}

/// Has [`bound_end`] called with `value` in the next round of this thread's key destructors.
fn set_end(value: *mut c_void) {
    // SAFETY: the key exists; its destructor takes the box.
    let error = unsafe { libc::pthread_setspecific(end_key(), value) };
    if error != 0 {
        fatal!("a goroutine with a thread of its own cannot end: error {error}");
    }
}

/// The key whose destructor ends bound goroutines.
fn end_key() -> libc::pthread_key_t {
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: writes one key; the destructor fits the values set with it.
        let error = unsafe { libc::pthread_key_create(&raw mut key, Some(bound_end)) };
        if error != 0 {
            fatal!("no pthread key for goroutines with a thread of their own: error {error}");
        }
        key
    })
}

/// Called by libc at the thread's end, after `thread_local!` destructors where it runs those first,
/// among them where it does not: so it waits for the last round.
unsafe extern "C" fn bound_end(value: *mut c_void) {
    // SAFETY: `bound_main` leaked the box for us; set anew for each further round.
    let end = unsafe { &mut *value.cast::<BoundEnd>() };
    end.rounds += 1;
    if end.rounds < DESTRUCTOR_ROUNDS {
        return set_end(value);
    }
    // SAFETY: the last round: the box is ours.
    let end = unsafe { Box::from_raw(value.cast::<BoundEnd>()) };
    let BoundEnd {
        gp,
        mp,
        header,
        alternate,
        dropped,
        ..
    } = *end;
    fork::check("a goroutine ended");
    gp.get().set_flag(flags::ENDING, false);
    publish_end(gp, header.drop_result, header.scope, dropped);
    if let Some(scope) = header.scope {
        // SAFETY: the scope waits for this call.
        unsafe { ScopeData::ended(scope) };
    }
    inside::enter_raw();
    m::transition(gp, State::Running, State::Dead);
    let pp = mp.release();
    let stack = mp.stack.take();
    thread_state::set_current(None);
    // The M stays inside, as a new one is.
    thread_state::set_running_m(0);
    if join::left(gp) {
        slab::free(gp);
    }
    // SAFETY: the goroutine is dead and on no list; nobody else names the M.
    unsafe { m::free_bound(mp) };
    if let Some(stack) = stack {
        // SAFETY: at the end of this thread, which needs little more of its stack.
        unsafe { stack.unguard() };
    }
    wake::hand_off(pp);
    drop(alternate);
    thread::end_own();
}

//! A goroutine's result, and who waits for it.
//!
//! The word `G::join`:
//!
//! | bits     | set by                     | meaning                                          |
//! |----------|----------------------------|--------------------------------------------------|
//! | DONE     | the goroutine, at its end  | the result lies in the G (or was dropped)        |
//! | LEFT     | the context after it       | it has left its stack for good                   |
//! | RELEASED | the handle                 | nobody will ask for the result                   |
//! | ASYNC    | the handle                 | the address is an `AsyncJoiner`, else a `GRef`   |
//! | address  | the handle                 | who is to be woken at DONE                       |
//!
//! J1. DONE comes after the thread-local destructors have run: who sees it sees all effects.
//! J2. The result is dropped or taken once: by the goroutine if it sees RELEASED when it sets DONE,
//!     else by the handle.
//! J3. The address is there only while the handle waits; the goroutine takes it with the same
//!     operation that sets DONE, so it is used by one side only.
//! J4. Whoever comes second of LEFT and RELEASED frees the G (G5).

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::entry;
use super::m;
use super::park::{self, Woken};
use crate::clock::NEVER;
use crate::g::{self, GRef, RESULT_INLINE_BYTES, slab};
use crate::inside;
use crate::wait_reason::WaitReason;

const DONE: usize = 1;
const LEFT: usize = 2;
const RELEASED: usize = 4;
const ASYNC: usize = 8;
const FLAGS: usize = DONE | LEFT | RELEASED | ASYNC;

/// The code with which the end of a goroutine claims its joiner.
const JOINED: u32 = 1;

/// How a goroutine ended.
pub enum Outcome<T> {
    /// It returned.
    Returned(T),
    /// It panicked; the payload.
    Panicked(Box<dyn Any + Send>),
    /// It called `goexit`.
    Exited,
}

impl<T> fmt::Debug for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Returned(_) => "Returned",
            Outcome::Panicked(_) => "Panicked",
            Outcome::Exited => "Exited",
        })
    }
}

fn is_inline<T>() -> bool {
    size_of::<Outcome<T>>() <= RESULT_INLINE_BYTES && align_of::<Outcome<T>>() <= align_of::<u64>()
}

/// Puts the outcome where the handle will look.
///
/// # Safety
///
/// `gp` is the caller's own, its result is empty.
pub(super) unsafe fn store<T>(gp: GRef, outcome: Outcome<T>) {
    let place = gp.get().result.get();
    if is_inline::<T>() {
        // SAFETY: it fits (above), and before DONE the place is the goroutine's alone (J2).
        unsafe { place.cast::<Outcome<T>>().write(outcome) };
    } else {
        // SAFETY: a pointer fits; as above.
        unsafe {
            place
                .cast::<*mut Outcome<T>>()
                .write(Box::into_raw(Box::new(outcome)))
        };
    }
}

/// Takes the outcome that [`store`] has put there.
///
/// # Safety
///
/// It was stored with the same `T`, and this is the one who takes it (J2).
pub(super) unsafe fn take<T>(gp: GRef) -> Outcome<T> {
    let place = gp.get().result.get();
    if is_inline::<T>() {
        // SAFETY: as the caller promises.
        unsafe { place.cast::<Outcome<T>>().read() }
    } else {
        // SAFETY: as the caller promises; the pointer came from `Box::into_raw`.
        *unsafe { Box::from_raw(place.cast::<*mut Outcome<T>>().read()) }
    }
}

/// Whether the handle is gone already (then the result can be dropped before the thread-locals).
pub(super) fn is_released(gp: GRef) -> bool {
    gp.get().join.load(Ordering::Acquire) & RELEASED != 0
}

/// The goroutine's end: sets DONE and wakes the joiner. The first answer is whether the handle is gone,
/// and the result (if still there) is the goroutine's to drop; the second, whether a task's waker ran,
/// which is user code.
pub(super) fn finish(gp: GRef) -> (bool, bool) {
    let word = &gp.get().join;
    let mut old = word.load(Ordering::Acquire);
    while let Err(now) = word.compare_exchange_weak(
        old,
        old & RELEASED | DONE,
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {
        old = now;
    }
    let address = old & !FLAGS;
    if address != 0 {
        if old & ASYNC != 0 {
            // SAFETY: the handle published a leaked `AsyncJoiner`, and we took it off (J3).
            let joiner = unsafe { Box::from_raw(address as *mut AsyncJoiner) };
            // It is somebody else's code, and this goroutine has ended: what it panics with has been
            // reported by the hook and has nowhere to go.
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| joiner.waker.wake())) {
                std::mem::forget(payload);
            }
        } else {
            // The joiner wrote its round before it published itself.
            let round =
                gort_queue::claim::Round::from_raw(gp.get().join_round.load(Ordering::Relaxed));
            // SAFETY: the handle published a G; Gs are never freed.
            let joiner = unsafe { GRef::from_ptr(address as *mut _) };
            if joiner.claim().try_claim(round, JOINED) {
                park::ready(joiner);
            }
        }
    }
    (old & RELEASED != 0, old & ASYNC != 0)
}

/// Who is parked for the end of `gp`, if that is a goroutine or thread. For reports.
pub(crate) fn joiner_of(gp: GRef) -> Option<GRef> {
    let word = gp.get().join.load(Ordering::Acquire);
    let address = word & !FLAGS;
    // SAFETY: without ASYNC the address is a G's, which is never freed (J3).
    (address != 0 && word & ASYNC == 0).then(|| unsafe { GRef::from_ptr(address as *mut _) })
}

/// The goroutine has left its stack. True if the descriptor is the caller's to free (J4).
pub(super) fn left(gp: GRef) -> bool {
    gp.get().join.fetch_or(LEFT, Ordering::AcqRel) & RELEASED != 0
}

/// A waker in a box whose address leaves room for the flags.
#[repr(align(128))]
struct AsyncJoiner {
    waker: Waker,
}

/// Waits for a goroutine and takes its result. Dropping it detaches the goroutine.
pub struct JoinHandle<T> {
    /// `None` once it was polled to its end.
    gp: Option<GRef>,
    result: PhantomData<T>,
}

// SAFETY: the handle gives out the result, which needs `T: Send`; all else is atomic.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: `&JoinHandle` gives no access to the result.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

// The result is moved out, never pinned.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// `gp` was spawned with a closure that returns `T`, and this is its only handle.
    pub(super) unsafe fn new(gp: GRef) -> Self {
        JoinHandle {
            gp: Some(gp),
            result: PhantomData,
        }
    }

    /// The goroutine.
    ///
    /// # Panics
    ///
    /// As a future the handle has given its result already.
    #[track_caller]
    pub fn goroutine(&self) -> GRef {
        self.gp
            .expect("this join handle was awaited already, and gave its result")
    }

    /// Whether it has ended (its result is there, or was given out).
    pub fn is_finished(&self) -> bool {
        self.gp
            .is_none_or(|gp| gp.get().join.load(Ordering::Acquire) & DONE != 0)
    }

    /// Parks until the goroutine has ended. Panics as [`goroutine`](Self::goroutine).
    #[track_caller]
    pub fn join(self) -> Outcome<T> {
        match self.join_until(NEVER) {
            Ok(outcome) => outcome,
            Err(_) => unreachable!("there is no deadline"),
        }
    }

    /// Parks until the goroutine has ended, or until `deadline_ns`: then the handle comes back. Panics
    /// as [`goroutine`](Self::goroutine).
    #[track_caller]
    pub fn join_until(mut self, deadline_ns: u64) -> Result<Outcome<T>, JoinHandle<T>> {
        let gp = self.goroutine();
        if self.wait_until(gp, deadline_ns) {
            // SAFETY: DONE was seen, and the handle is `gp`'s.
            Ok(unsafe { self.take_result(gp) })
        } else {
            Err(self)
        }
    }

    /// True once DONE is set, false at the deadline.
    #[track_caller]
    fn wait_until(&self, gp: GRef, deadline_ns: u64) -> bool {
        let word = &gp.get().join;
        take_async_joiner(gp);
        loop {
            let old = word.load(Ordering::Acquire);
            if old & DONE != 0 {
                return true;
            }
            let joiner = g::current();
            if joiner == gp {
                panic!("a goroutine cannot join itself: it would wait for ever");
            }
            let round = joiner.claim().open();
            gp.get().join_round.store(round.to_raw(), Ordering::Relaxed);
            let published = old | joiner.as_ptr() as usize;
            if word
                .compare_exchange(old, published, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                continue;
            }
            if park::park_until(WaitReason::Join, round, deadline_ns) == Woken::Ready {
                return true;
            }
            // Take our address back; if the goroutine took it first, it has ended.
            return word
                .compare_exchange(published, old, Ordering::AcqRel, Ordering::Acquire)
                .is_err();
        }
    }

    /// For `Future`: the outcome, or the waker is registered. Panics as
    /// [`goroutine`](Self::goroutine).
    pub fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        let gp = self.goroutine();
        let word = &gp.get().join;
        take_async_joiner(gp);
        let old = word.load(Ordering::Acquire);
        if old & DONE == 0 {
            let joiner = Box::into_raw(Box::new(AsyncJoiner {
                waker: cx.waker().clone(),
            }));
            let published = old | ASYNC | joiner as usize;
            match word.compare_exchange(old, published, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Poll::Pending,
                // SAFETY: not published, so still ours.
                Err(_) => drop(unsafe { Box::from_raw(joiner) }),
            }
            // Only DONE can have come: there is no other handle, and LEFT follows DONE.
        }
        // SAFETY: DONE is set, and the handle is `gp`'s.
        Poll::Ready(unsafe { self.take_result(gp) })
    }

    /// Takes the result and leaves a handle that has nothing to release.
    ///
    /// # Safety
    ///
    /// DONE was seen in the word of `gp`, which is this handle's.
    unsafe fn take_result(&mut self, gp: GRef) -> Outcome<T> {
        self.gp = None;
        // SAFETY: as the caller promises; it is taken once, as the handle forgets whose it was.
        let outcome = unsafe { take::<T>(gp) };
        release(gp);
        outcome
    }

    /// Gives the handle up. The outcome, if the goroutine has ended: then nobody else drops it.
    pub(super) fn detach(mut self) -> Option<Outcome<T>> {
        self.let_go()
    }

    fn let_go(&mut self) -> Option<Outcome<T>> {
        let gp = self.gp?;
        take_async_joiner(gp);
        let word = &gp.get().join;
        let mut old = word.load(Ordering::Acquire);
        while old & DONE == 0 {
            match word.compare_exchange_weak(
                old,
                old | RELEASED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    // The goroutine drops its result (J2) and frees itself (J4).
                    self.gp = None;
                    return None;
                }
                Err(now) => old = now,
            }
        }
        // SAFETY: DONE was seen, and RELEASED is not set: the result is ours (J2).
        Some(unsafe { self.take_result(gp) })
    }
}

/// Takes a registered waker back. For the handle.
fn take_async_joiner(gp: GRef) {
    let word = &gp.get().join;
    let old = word.load(Ordering::Acquire);
    if old & ASYNC != 0
        && word
            .compare_exchange(
                old,
                old & FLAGS & !ASYNC,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    {
        // SAFETY: the handle published it and took it off (J3).
        drop(unsafe { Box::from_raw((old & !FLAGS) as *mut AsyncJoiner) });
    }
}

fn release(gp: GRef) {
    if gp.get().join.fetch_or(RELEASED, Ordering::AcqRel) & LEFT != 0 {
        free(gp);
    }
}

/// Gives a descriptor back from wherever its last user stands.
pub(super) fn free(gp: GRef) {
    let _inside = inside::enter();
    match m::current_p() {
        // SAFETY: our M holds the P.
        Some(pp) => unsafe { pp.give_g(gp) },
        None => slab::free(gp),
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // A panic of the result's drop has nowhere to go, whether the goroutine has ended yet or not.
        if let Some(outcome) = self.let_go() {
            entry::drop_contained(outcome);
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("goroutine", &self.gp.map(GRef::id))
            .finish_non_exhaustive()
    }
}

//! Async goroutines: a future as a goroutine, which has a stack only while it is polled.
//!
//! Such a goroutine has a descriptor and a task in the heap: the future with a word of [`WakeWord`] and the
//! count of its wakers. It stands in the same queues as others. When its turn comes, a goroutine of the
//! runtime's own, its carrier, lends it stack, block and M for one poll ([`lend`]), and takes them back
//! ([`take_back`]). So within a poll it *is* a stackful goroutine (in thread mode: a bound one), to itself and to
//! everybody: it may park, block, lose its P, be stopped by a signal, be looked at, and no case of those is
//! new. What its code does in thread-locals it does in its carrier's, as with any executor: the next
//! poll may find others.
//!
//! Rejected: polls on the system stack of an M. Nothing there may wait, allocate or be preempted, so that each
//! of these would have needed a case of its own for futures, all for saving two switches; those are
//! saved otherwise (`carriers`).
//!
//! | from     | to       | by                                  | then                                       |
//! |----------|----------|-------------------------------------|--------------------------------------------|
//! | Idle     | Runnable | `spawn_async`                       | it is on a run queue                       |
//! | Runnable | Running  | `lend`                              | the carrier, Waiting, is without its stack |
//! | Running  | (any)    | as any goroutine, within the poll   | stack and block stay with it               |
//! | Running  | Waiting  | `take_back`, the future is pending  | the first call of a waker readies it       |
//! | Running  | Runnable | `take_back`, it was called already  | it is at the end of the P's ring           |
//! | Running  | Dead     | `take_back`, the future has ended   | the descriptor goes back (J4)              |
//!
//! A1. Its kind is `Stackless` exactly while it has no stack. It changes only while the goroutine is
//!     Runnable and in the hands of its carrier, or Running on it.
//! A2. The carrier is Waiting from `lend` to `take_back`, and nobody readies it meanwhile: it is on no list. Nor
//!     does anybody trace it, not even who took it for the goroutine that had its descriptor before.
//! A3. The future is touched by the goroutine's polls only, and dropped by the last of them.
//! A4. Each park of a pending future has one `ready` (W1 of the word), parks within a poll have theirs: the
//!     word is then not PARKED, so a waker readies nobody.
//! A5. The task's memory is freed by the last of the goroutine's end and its wakers. A waker touches the
//!     descriptor only if the word was PARKED: then the goroutine is there.
//!
//! The result, its handle and who waits for it are those of any goroutine (`join`). Until the end the
//! descriptor's place for the result holds the task.

use std::cell::UnsafeCell;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gort_queue::status::{Readied, State};
use gort_queue::wake_word::WakeWord;

use super::entry::{self, DropResult, SpawnOptions};
use super::join::{self, JoinHandle, Outcome};
use super::m::{self, M};
use super::{carriers, park, shake, switch, syscall, wake};
use crate::clock;
use crate::g::{GRef, Kind, RESULT_INLINE_BYTES, flags, slab};
use crate::inside;
use crate::settings;
use crate::thread_state;
use crate::wait_reason::WaitReason;

/// Polls that did not only return, but parked their goroutine with the stack of its carrier.
static BLOCKED_POLLS: AtomicU64 = AtomicU64::new(0);

/// How many polls have parked so far.
pub fn blocked_polls() -> u64 {
    BLOCKED_POLLS.load(Ordering::Relaxed)
}

/// A future and what its wakers need.
struct Task<F> {
    word: WakeWord,
    gp: GRef,
    /// A3.
    future: UnsafeCell<ManuallyDrop<F>>,
}

// SAFETY: through a shared task wakers use the word and the descriptor, which are Sync; the future is one
// goroutine's at a time (A3), which needs `F: Send`.
unsafe impl<F: Send> Sync for Task<F> {}
// SAFETY: as above. Whoever frees the memory drops no future (A3).
unsafe impl<F: Send> Send for Task<F> {}

impl<F> Task<F> {
    fn call(&self) {
        if self.word.call() {
            park::ready(self.gp);
        }
    }
}

impl<F: Send + 'static> Wake for Task<F> {
    fn wake(self: Arc<Self>) {
        self.call();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call();
    }
}

/// A task without its type, in the descriptor's place for the result.
#[derive(Clone, Copy)]
struct Stored {
    /// From `Arc::into_raw`; the goroutine's own count.
    task: *const (),
    poll: unsafe fn(task: *const (), gp: GRef) -> Polled,
    drop_result: DropResult,
}

const _: () = assert!(size_of::<Stored>() <= RESULT_INLINE_BYTES);

/// What a poll has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Polled {
    /// Pending, and the first call of a waker readies the goroutine.
    Parks,
    /// Pending, and called meanwhile.
    Called,
    /// The outcome is stored, future and task are gone.
    Ended,
}

/// Starts an async goroutine.
///
/// # Errors
///
/// No descriptor can be had, or, for the first ones, no stack to poll on; or the runtime has been shut down.
pub fn spawn_async<F>(future: F, options: SpawnOptions) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if !settings::is_open() {
        entry::check_closed(options.system)?;
    }
    carriers::stand_by()?;
    let (gp, id) = match take_descriptor(options.system) {
        Some((gp, id)) => {
            slab::renew(gp);
            (gp, id)
        }
        None => (slab::allocate()?, entry::id_from(options.system)),
    };
    entry::describe(gp, Kind::Stackless, &options, id);
    let task = Arc::new(Task {
        word: WakeWord::new(),
        gp,
        future: UnsafeCell::new(ManuallyDrop::new(future)),
    });
    let stored = Stored {
        task: Arc::into_raw(task).cast(),
        poll: poll::<F>,
        drop_result: entry::drop_result::<F::Output>,
    };
    // SAFETY: it fits (above), and the place is ours until the goroutine is announced (G4).
    unsafe { gp.get().result.get().cast::<Stored>().write(stored) };
    entry::announce(gp, &options);
    // SAFETY: `poll` stores an outcome of this type; this is the only handle.
    Ok(unsafe { JoinHandle::new(gp) })
}

/// A descriptor, not renewed yet, and a number, from the P if there is one.
fn take_descriptor(system: bool) -> Option<(GRef, u64)> {
    let _inside = inside::enter();
    let pp = m::current_p()?;
    // SAFETY: our M holds `pp`, and keeps it while we are inside.
    unsafe { Some((pp.take_g().ok()?, if system { 0 } else { pp.next_id() })) }
}

/// Polls a task once; on the goroutine, outside.
///
/// # Safety
///
/// `task` is that of `gp`, of this type, and has not ended; `gp` is the current goroutine.
unsafe fn poll<F>(task: *const (), gp: GRef) -> Polled
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = task.cast::<Task<F>>();
    // SAFETY: the goroutine's own count keeps it, which is given up at the end of this function.
    let owned = ManuallyDrop::new(unsafe { Arc::from_raw(task) });
    // SAFETY: a second owner of that count, which is not dropped either: a waker on loan.
    let waker = ManuallyDrop::new(Waker::from(unsafe { Arc::from_raw(task) }));
    owned.word.begin();
    let polled = entry::contain(|| {
        // SAFETY: ours alone (A3). It never moves: it lies in the heap until `drop_future`.
        let future = unsafe { Pin::new_unchecked(&mut **owned.future.get()) };
        future.poll(&mut Context::from_waker(&waker))
    });
    let outcome = match polled {
        Outcome::Returned(Poll::Pending) if owned.word.stop() => return Polled::Parks,
        Outcome::Returned(Poll::Pending) => return Polled::Called,
        Outcome::Returned(Poll::Ready(value)) => Ok(value),
        Outcome::Panicked(payload) => Err(Some(payload)),
        Outcome::Exited => Err(None),
    };
    // SAFETY: the last poll is over, nobody touches the future any more (A3).
    let dropped = entry::contain(|| unsafe { ManuallyDrop::drop(&mut *owned.future.get()) });
    let outcome = match (outcome, dropped) {
        (Ok(value), Outcome::Returned(())) => Outcome::Returned(value),
        // As with a closure whose captures' drops panic: there is no result.
        (Ok(value), failed) => {
            entry::drop_contained(value);
            match failed {
                Outcome::Panicked(payload) => Outcome::Panicked(payload),
                _ => Outcome::Exited,
            }
        }
        (Err(None), Outcome::Panicked(payload)) => Outcome::Panicked(payload),
        (Err(None), _) => Outcome::Exited,
        (Err(Some(payload)), dropped) => {
            // The hook has reported the second one, which has nowhere to go.
            std::mem::forget(dropped);
            Outcome::Panicked(payload)
        }
    };
    // SAFETY: the goroutine itself, once; what was stored there is this task, which we know.
    unsafe { join::store(gp, outcome) };
    drop(ManuallyDrop::into_inner(owned));
    Polled::Ended
}

/// Runs one poll of `gp` on the stack of its carrier, who is the caller.
///
/// `gp` is stackless, Runnable, on no queue, and the caller's. Outside.
pub(super) fn run_one_poll(carrier: GRef, gp: GRef) {
    // SAFETY: it was written before the goroutine was queued, and stays until it has ended.
    let stored = unsafe { gp.get().result.get().cast::<Stored>().read() };
    lend(carrier, gp);
    // SAFETY: the task is that of `gp`, which is the current goroutine now and has not ended.
    let polled = unsafe { (stored.poll)(stored.task, gp) };
    let g = gp.get();
    if g.reason.load(Ordering::Relaxed) != WaitReason::None as u8 {
        BLOCKED_POLLS.fetch_add(1, Ordering::Relaxed);
    }
    if polled == Polled::Ended {
        let dropped = join::is_released(gp);
        if dropped {
            // SAFETY: RELEASED was seen, so the handle does not take the result (J2).
            unsafe { (stored.drop_result)(gp, None) };
        }
        entry::publish_end(gp, stored.drop_result, None, dropped);
    }
    // After the last code of others: the result's drop, and a joiner's waker.
    if g.has_flag(flags::LOCKED | flags::OWN_SIGNALS) {
        free_thread(gp);
    }
    take_back(carrier, gp, polled);
}

/// A poll that leaves its thread locked (by a guard that was forgotten), or with other signals than it found,
/// would leave them to its carrier's next one: the goroutine gives them up.
#[cold]
fn free_thread(gp: GRef) {
    syscall::restore_signals(gp);
    while syscall::os_thread_locks() != 0 {
        syscall::unlock_os_thread();
    }
}

/// From here on the caller runs as `gp`, on the stack of `carrier`, which it was until now.
fn lend(carrier: GRef, gp: GRef) {
    let _inside = inside::enter();
    let (c, g) = (carrier.get(), gp.get());
    // SAFETY: the carrier is the current goroutine: its M is set.
    let mp = unsafe { M::of(carrier) };
    let fs = c.fs.load(Ordering::Relaxed);
    if c.kind.get() == Kind::Stackful {
        // SAFETY: the block of the caller.
        unsafe { thread_state::set_created_by(fs, gp.creator()) };
    }
    g.fs.store(fs, Ordering::Relaxed);
    g.slot.set(c.slot.get());
    g.kind.set(c.kind.get());
    g.reason.store(WaitReason::None as u8, Ordering::Relaxed);
    if !c.status.stop_thread() {
        fatal!("A2: a carrier was readied while it carried");
    }
    thread_state::set_current(Some(gp.0.cast()));
    switch::begin(mp, gp);
}

/// Undoes [`lend`], perhaps on another M, and does for `gp` what its poll has come to.
fn take_back(carrier: GRef, gp: GRef, polled: Polled) {
    let _inside = inside::enter();
    let g = gp.get();
    // SAFETY: `gp` is the current goroutine: its M is set.
    let mp = unsafe { M::of(gp) };
    if carrier.get().status.ready_thread() != Readied::Enqueue {
        fatal!("A2: a carrier was running while another goroutine had its stack");
    }
    thread_state::set_current(Some(carrier.0.cast()));
    switch::go_on(mp, carrier);
    g.reason.store(WaitReason::Await as u8, Ordering::Relaxed);
    g.parked_at.store(ptr::null_mut(), Ordering::Relaxed);
    g.parked_coarse
        .store(clock::coarse_now(), Ordering::Relaxed);
    // In place of the stack pointer, which it has no more.
    g.sp.store(gp.creator() as usize, Ordering::Relaxed);
    g.fs.store(0, Ordering::Relaxed);
    g.slot.set(0);
    g.kind.set(Kind::Stackless);
    match polled {
        Polled::Parks => {
            if !g.status.stop() {
                // A waker came since the word was PARKED, and left the queueing to us.
                push(mp, gp);
            }
        }
        Polled::Called => {
            m::transition(gp, State::Running, State::Runnable);
            push(mp, gp);
        }
        Polled::Ended => {
            m::transition(gp, State::Running, State::Dead);
            if join::left(gp) {
                // SAFETY: our M holds the P; the handle is gone too (G5).
                unsafe { mp.held().give_g(gp) };
            }
        }
    }
}

/// Queues `gp` at the end of the line. Inside.
pub(super) fn push(mp: &'static M, gp: GRef) {
    let pp = mp.held();
    // SAFETY: our M holds `pp`; `gp` is Runnable, and nobody else has it.
    unsafe {
        if shake::is_on() {
            shake::enqueue(pp, gp);
        } else {
            pp.push(gp);
            wake::submitted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g;
    use crate::runtime;

    /// A2: else its carrier would find it traced when it takes its stack back.
    #[test]
    fn who_has_lent_its_stack_cannot_be_traced() {
        runtime::ensure_started();
        if !settings::has_own_tls() {
            return; // No stack there tells whose it was.
        }
        let look = std::future::poll_fn(|_| {
            let me = g::current();
            let (mut carriers, mut traced) = (0, 0);
            slab::each(|gp| {
                if gp != me && gp.get().slot.get() == me.get().slot.get() {
                    carriers += 1;
                    traced += u32::from(gp.get().status.try_trace());
                }
            });
            Poll::Ready((carriers, traced))
        });
        let handle = spawn_async(look, SpawnOptions::new()).unwrap();
        let Outcome::Returned(found) = handle.join() else {
            panic!("it ended otherwise");
        };
        assert_eq!(found, (1, 0));
    }
}

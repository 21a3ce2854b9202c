//! Who waits on a channel, and what is left to do for them once the lock is gone.
//!
//! A [`Waiter`] is one place in one queue of one channel. That of a send or receive lies in the room
//! that each goroutine's or thread's descriptor has for it ([`GRef::wait_room`]): who wakes many finds them
//! close together, and not each in the page of another stack. A select has one for each arm, on its stack; a
//! future has it inside itself, pinned. The value passes
//! through it: a sender's slot holds the value until a receiver takes it, a receiver's is where a
//! sender puts it. Behind a waiter is a [`Party`]: a `G` (which a plain thread has too), or the task
//! that polls a future.
//!
//! W1. A waiter's memory stays valid and in place from the moment it is queued until its owner has
//!     seen, under the channel's lock, that it is on no queue, or has been readied. A `G` sleeps
//!     that long. A future is pinned: its memory lives until its drop, which takes it off the queue;
//!     a forgotten future is never dropped, so its memory is never used again.
//! W2. Everything in a waiter is read and written under the lock of its channel, except by an owner
//!     that has been readied: the one who took it off the queue has then let go of it.
//! W3. A waiter that shares its party with other waiters, or with a timeout, is `contested`: who
//!     takes it off a queue must win its party's claim before touching anything else of it. A waiter
//!     that lost is simply off the queue.
//! W4. Whoever wins a claim, or takes an uncontested waiter off its queue, sets the outcome and then
//!     wakes the party, once.
//! W5. From when its waiter is queued until it parks, a `G` runs no code of others. A waker may park for
//!     something else: W4's wake-up would end that, and the waiter it had there would be left behind. And the
//!     room is in use until its owner has read the outcome (G6 of `gort_core::g`).
//!
//! Elsewhere: which waiter meets which (`state`), the claim word itself (`gort_queue::claim`).

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::task::Waker;

use gort_core::g::{GRef, WaitRoom};
use gort_core::lock::Mutex;
use gort_core::runtime;
use gort_core::sched;
use gort_core::timer::ReadyList;
use gort_queue::claim::{Claim, Round};
use gort_queue::wait_list::{Node, WaitList};

use super::buffer::Memory;

/// What a waiter's party wants of the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// To send or receive a value, through the slot.
    Value,
    /// To send a value that does not exist yet: a select's send arm, whose value is made only when
    /// it has won.
    Promise,
    /// To learn that the operation would not block, and no more.
    Watch,
}

/// What became of a waiter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Nothing yet: it is on its queue.
    Waiting,
    /// The value went through the slot, or for a watcher: the operation would not block.
    Done,
    /// The channel was closed; a sender still has its value.
    Closed,
    /// Begin again: the sender one was held for went away without a value.
    Retry,
    /// A promise may be kept: there is a place in the buffer for it.
    Place,
    /// A promise may be kept: the receiver with this ticket waits for it.
    Peer(Ticket),
    /// A receiver is kept for a promise, on the list `held`.
    Held(Ticket),
    /// A future has a place in the buffer for its value, which it puts there when it is polled, or a
    /// receiver takes first. It is on the list `granted`.
    Granted,
}

/// Names a held receiver for as long as its channel lives.
///
/// Packed, so that a waiter is one cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(4))]
pub(super) struct Ticket(pub(super) u64);

/// Who is woken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Party {
    G(GRef),
    Task(NonNull<Task>),
}

/// The task behind a future: one for all its waiters.
pub(super) struct Task {
    /// Decides between the arms of an async select.
    claim: Claim,
    /// The waker of the latest poll. Locked after a channel's lock, if both.
    waker: Mutex<Option<Waker>>,
}

impl Task {
    pub(super) fn new() -> Self {
        Self {
            claim: Claim::new(),
            waker: Mutex::new(None),
        }
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Has `waker` woken next. Wakers are the user's code: cloned before the lock, dropped after it.
    pub(super) fn set_waker(&self, waker: &Waker) {
        if let Some(old) = &*self.waker.lock()
            && old.will_wake(waker)
        {
            return;
        }
        let mut waker = Some(waker.clone());
        std::mem::swap(&mut *self.waker.lock(), &mut waker);
        drop(waker);
    }

    fn take_waker(&self) -> Option<Waker> {
        self.waker.lock().take()
    }
}

/// A FIFO of waiters, from which any can leave in O(1).
pub(super) type Queue = WaitList<Waiter>;

/// A waiter with its links, where others find it (W1).
pub(super) type WaiterRef = NonNull<Node<Waiter>>;

/// A place in a queue. See the module's page.
pub(super) struct Waiter {
    party: Party,
    /// If contested (W3).
    contest: Option<Contest>,
    role: Role,
    outcome: Cell<Outcome>,
    /// Where the value is or goes. Nothing, for a promise or a watcher.
    slot: *mut (),
}

/// How a party is won that has other waiters as well, or a timeout.
#[derive(Clone, Copy)]
struct Contest {
    /// The round of the party's claim.
    round: Round,
    /// What the claim is won with.
    code: NonZeroU32,
}

const _: () = assert!(size_of::<Node<Waiter>>() <= size_of::<WaitRoom>());
const _: () = assert!(align_of::<Node<Waiter>>() <= align_of::<WaitRoom>());

impl Waiter {
    /// A waiter for `party`, whose claim it is won by if there is a round (W3): with `code`, not 0.
    #[inline]
    pub(super) fn new(
        party: Party,
        round: Option<Round>,
        code: u32,
        role: Role,
        slot: *mut (),
    ) -> Node<Self> {
        let contest = round.map(|round| Contest {
            round,
            code: NonZeroU32::new(code).expect("0 wins no claim"),
        });
        Node::new(Self {
            party,
            contest,
            role,
            outcome: Cell::new(Outcome::Waiting),
            slot,
        })
    }

    /// The waiter of a send or receive, in the room of `gp`.
    ///
    /// # Safety
    ///
    /// `gp` is the current goroutine or thread, and waits for nothing yet: the waiter in its room, if there was one, is
    /// on no queue, and its outcome is not wanted any more (G6 of `gort_core::g`).
    #[inline]
    pub(super) unsafe fn in_room(gp: GRef, round: Option<Round>, slot: *mut ()) -> WaiterRef {
        let room = gp.wait_room().cast::<Node<Self>>();
        // SAFETY: the room is large enough and aligned (above), and ours until the wait is over (the caller's word).
        unsafe { room.write(Self::new(Party::G(gp), round, 1, Role::Value, slot)) };
        room
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn slot(&self) -> *mut () {
        self.slot
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    pub(super) fn set_outcome(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }

    pub(super) fn is_task(&self) -> bool {
        matches!(self.party, Party::Task(_))
    }

    /// Whether others may wake the party too (W3).
    pub(super) fn is_contested(&self) -> bool {
        self.contest.is_some()
    }

    /// Whether this is the only waiter of a future.
    pub(super) fn is_future(&self) -> bool {
        self.is_task() && !self.is_contested()
    }

    fn claim(&self) -> &Claim {
        match &self.party {
            Party::G(gp) => gp.claim(),
            // SAFETY: the task lies in the same future as this waiter, which is alive (W1).
            Party::Task(task) => unsafe { task.as_ref() }.claim(),
        }
    }

    /// Whether the party still waits on this one; it may stop at any moment if contested.
    pub(super) fn is_live(&self) -> bool {
        self.contest
            .is_none_or(|contest| self.claim().is_open(contest.round))
    }

    /// Wins the party, if nobody else has (W3).
    pub(super) fn win(&self) -> bool {
        self.contest.is_none_or(|Contest { round, code }| {
            self.claim().try_claim(round, code.get()) || cfg!(gort_fault = "chan_win")
        })
    }
}

/// Wakes a task. Its waker is somebody else's code, and may panic: the hook has reported it then, and it
/// must not unwind us. We may be queued with a waiter on this stack (W1), and there may be others to wake.
fn wake_task(waker: Waker) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Its drop might panic as well.
        std::mem::forget(payload);
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("party", &self.party)
            .field("role", &self.role)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// How many goroutines are woken after one hold of the lock. Also the bound of that hold.
const GOROUTINES_AT_ONCE: usize = 64;

/// What was decided under a channel's lock and is done after it.
#[must_use = "waiters sleep for ever unless this is acted on"]
pub(super) struct After {
    /// Nearly always the only one to wake.
    gp: Option<GRef>,
    /// Further `G`s, each by its waiter, which nobody else touches any more (W4).
    more: Queue,
    wakers: [Option<Waker>; 2],
    memory: Option<Memory>,
}

impl After {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            gp: None,
            more: Queue::new(),
            wakers: [const { None }; 2],
            memory: None,
        }
    }

    /// Sets the outcome of a waiter, and has its party woken.
    ///
    /// # Safety
    ///
    /// The channel's lock is held. `waiter` was won (W3), and is on no queue; or it is granted: then
    /// it has been woken before, and its task may be woken again.
    pub(super) unsafe fn finish(&mut self, waiter: WaiterRef, outcome: Outcome) {
        // SAFETY: not readied yet, so still in place (W1), and ours (W4).
        unsafe { waiter.as_ref() }.data.set_outcome(outcome);
        // SAFETY: the caller's word.
        unsafe { self.wake(waiter) };
    }

    /// Has the party of `waiter` woken.
    ///
    /// # Safety
    ///
    /// As for [`finish`](Self::finish).
    pub(super) unsafe fn wake(&mut self, waiter: WaiterRef) {
        // SAFETY: as in `finish`.
        match unsafe { waiter.as_ref() }.data.party {
            Party::G(gp) if self.gp.is_none() => self.gp = Some(gp),
            // SAFETY: on no queue (the caller's word), and its `G` sleeps until `act` (W1).
            Party::G(_) => unsafe { self.more.push_back(waiter) },
            Party::Task(task) => {
                // SAFETY: the task lies in the waiter's future, which cannot go while we hold the
                // lock (W1). The waker is taken now, for after it the future may be gone.
                if let Some(waker) = unsafe { task.as_ref() }.take_waker() {
                    let slot = self.wakers.iter_mut().find(|slot| slot.is_none());
                    *slot.expect("callers wake at most two tasks under one lock") = Some(waker);
                }
            }
        }
    }

    /// Whether two more tasks might be too many.
    pub(super) fn is_full(&self) -> bool {
        self.wakers.iter().any(Option::is_some)
    }

    /// Whether it should be acted on before more is added: it is full, or the first of many goroutines
    /// would be out of the caches again by the time they are readied.
    pub(super) fn is_plenty(&self) -> bool {
        self.is_full() || self.more.len() >= GOROUTINES_AT_ONCE
    }

    /// Has memory freed.
    pub(super) fn free(&mut self, memory: Memory) {
        debug_assert!(
            self.memory.is_none(),
            "one operation empties at most one block"
        );
        self.memory = Some(memory);
    }

    /// Does it all, once, and never unwinds. No lock may be held. What is to be freed goes with the drop.
    ///
    /// Not by value: to move something so large, written word by word just now, is dearer than what is done here.
    #[inline]
    pub(super) fn act(&mut self) {
        self.ready_all();
        for waker in &mut self.wakers {
            if let Some(waker) = waker.take() {
                wake_task(waker);
            }
        }
    }

    /// The same for a `G` that has a waiter queued, and parks next (W5), or is not to be kept: others call the
    /// wakers.
    #[inline]
    pub(super) fn act_queued(&mut self) {
        self.ready_all();
        for waker in &mut self.wakers {
            if let Some(waker) = waker.take() {
                runtime::ensure_started();
                sched::callbacks::wake(waker);
            }
        }
    }

    /// The same where nothing may be run: on a system stack. Nothing but `G`s may be in it.
    pub(super) fn push_to(mut self, out: &mut ReadyList) {
        assert!(self.wakers.iter().all(Option::is_none) && self.memory.is_none());
        if let Some(gp) = self.gp {
            out.push(gp);
        }
        while let Some(waiter) = self.more.pop_front() {
            // SAFETY: its `G` sleeps until it is readied (W1).
            if let Party::G(gp) = unsafe { waiter.as_ref() }.data.party {
                out.push(gp);
            }
        }
    }

    #[inline]
    fn ready_all(&mut self) {
        if let Some(gp) = self.gp.take() {
            sched::ready(gp);
        }
        if !self.more.is_empty() {
            self.ready_more();
        }
    }

    #[cold]
    fn ready_more(&mut self) {
        while let Some(waiter) = self.more.pop_front() {
            // SAFETY: its `G` sleeps until the next line (W1).
            if let Party::G(gp) = unsafe { waiter.as_ref() }.data.party {
                sched::ready(gp);
            }
        }
    }
}

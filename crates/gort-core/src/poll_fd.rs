//! A descriptor that many goroutines use at once, and that any of them may close.
//!
//! [`PollFd`] owns the descriptor and its registration with `netpoll`. Operations take a
//! [`Reference`], or for one direction the [`Locked`] guard; only these give the descriptor out. A
//! close wakes whoever waits, refuses all who come later, and waits until the last guard is gone: then,
//! and not before, the number goes back to the kernel. So no operation can hit a number that has
//! been given to somebody else, and a listener's port is free when `close` returns.
//!
//! The locks exist because one call may need several system calls (a long write), and calls
//! must not be mixed; Go's `fdMutex` has the same purpose. Here the waiters of a direction stand in a
//! FIFO of nodes on their own stacks and get the lock handed over in that order. There may be any
//! number of them (in Go the 2^20th panics).
//!
//! The state word holds, from the lowest bit: closed, exposed, read-locked, write-locked, readers
//! wait, writers wait; and from bit 8 the number of guards.
//!
//! **Invariants**
//!
//! F1. The descriptor is open, and registered, while the state is not closed or guards exist. The step
//!     to "closed, no guards" happens once, and who makes it destroys the descriptor.
//! F2. A locked bit belongs to one `Locked` guard or is on its way to the waiter it was handed to,
//!     together with the guard's count.
//! F3. The "wait" bits are written under `queue`, and so is the lock bit while they are set: an unlock
//!     that finds its wait bit set goes through `queue`. A wait bit is set while nodes are listed.
//! F4. Once closed, nobody joins a list, and the closer wakes all who are on one.
//! F5. An exposed descriptor ([`PollFd::expose`] has lent it for as long as the `PollFd` is borrowed) keeps
//!     its number open until the drop: closing puts a socket that is connected to nothing in its
//!     place, which lets go of the real one just as well.
//!
//! Elsewhere: retrying system calls, errors and timeouts (`gort::fd`).
//! Checked by the tests in `poll_fd/tests.rs` and those of `gort::net`; the fault `poll_recheck` (no
//! look between the registration and the park) must make the former fail.

use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, ptr};

use gort_queue::claim::Round;
use gort_queue::wait_list::{Node, WaitList};

use crate::cancel::{Cancellation, Wait};
use crate::clock::NEVER;
use crate::g::{self, GRef};
use crate::lock::Mutex;
use crate::netpoll::{Direction, PollDesc, PollError, Registered};
use crate::os::socket;
use crate::sched::{self, Woken};
use crate::wait_reason::WaitReason;

const CLOSED: u64 = 1 << 0;
const EXPOSED: u64 = 1 << 1;
const GUARD: u64 = 1 << 8;

/// The direction's lock is taken.
const fn locked(direction: Direction) -> u64 {
    match direction {
        Direction::Read => 1 << 2,
        Direction::Write => 1 << 3,
    }
}

/// Somebody stands in line for the direction's lock.
const fn waited(direction: Direction) -> u64 {
    match direction {
        Direction::Read => 1 << 4,
        Direction::Write => 1 << 5,
    }
}

/// What a waiter's claim was won with: it has the lock.
const HANDED_OVER: u32 = 1;
/// What a waiter's claim was won with: there is no lock to have any more.
const EVICTED: u32 = 2;

/// A non-blocking descriptor, registered with the poller. See the module's header.
pub struct PollFd {
    /// Flags and the number of guards; see the header.
    state: AtomicU64,
    fd: RawFd,
    desc: PollDesc,
    queue: Mutex<Queue>,
}

/// A descriptor that could not be registered.
#[derive(Debug)]
pub struct Refused {
    /// The descriptor, untouched.
    pub fd: OwnedFd,
    /// Why.
    pub error: io::Error,
}

/// Closes the descriptor.
impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        refused.error
    }
}

struct Queue {
    /// Who stands in line, by direction.
    lines: [WaitList<Waiter>; 2],
    /// Who waits in `close` for the last guard to go.
    closer: Option<GRef>,
}

/// One wait for a direction's lock.
#[derive(Clone, Copy)]
struct Waiter {
    gp: GRef,
    round: Round,
}

/// The right to use the descriptor.
#[derive(Debug)]
pub struct Reference<'a> {
    fd: &'a PollFd,
}

/// The right to use the descriptor, and the only one to use it in this direction.
#[derive(Debug)]
pub struct Locked<'a> {
    fd: &'a PollFd,
    direction: Direction,
}

impl PollFd {
    /// Takes over `fd`, and registers it. It should be non-blocking, unless its users see to it that they
    /// call nothing that would block.
    ///
    /// # Errors
    ///
    /// Those of [`PollDesc::open`]; `fd` comes back with them.
    pub fn new(fd: OwnedFd) -> Result<PollFd, Refused> {
        let desc = match PollDesc::open(fd.as_fd()) {
            Ok(desc) => desc,
            Err(error) => return Err(Refused { fd, error }),
        };
        Ok(PollFd {
            state: AtomicU64::new(0),
            fd: fd.into_raw_fd(),
            desc,
            queue: Mutex::new(Queue {
                lines: [WaitList::new(), WaitList::new()],
                closer: None,
            }),
        })
    }

    /// The right to call something that needs no order, such as a socket option.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`].
    #[inline]
    pub fn reference(&self) -> Result<Reference<'_>, PollError> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Err(PollError::Closed);
            }
            match self.replace_state(state, state + GUARD) {
                Ok(()) => return Ok(Reference { fd: self }),
                Err(current) => state = current,
            }
        }
    }

    /// Locks one direction; parks while another has it, at most until `deadline_ns`. Those who wait get
    /// the lock in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`], [`PollError::DeadlineExceeded`].
    #[track_caller]
    #[inline]
    pub fn lock(&self, direction: Direction, deadline_ns: u64) -> Result<Locked<'_>, PollError> {
        self.lock_under(direction, deadline_ns, None)
    }

    /// Locks one direction if nobody has it.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`].
    #[inline]
    pub fn try_lock(&self, direction: Direction) -> Result<Option<Locked<'_>>, PollError> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Err(PollError::Closed);
            }
            if state & locked(direction) != 0 {
                return Ok(None);
            }
            match self.replace_state(state, (state | locked(direction)) + GUARD) {
                Ok(()) => {
                    return Ok(Some(Locked {
                        fd: self,
                        direction,
                    }));
                }
                Err(current) => state = current,
            }
        }
    }

    /// As [`lock`](Self::lock); the wait also ends when what it is part of is called off.
    ///
    /// # Errors
    ///
    /// Also [`PollError::Canceled`].
    #[track_caller]
    #[inline]
    pub fn lock_under(
        &self,
        direction: Direction,
        deadline_ns: u64,
        cancellation: Option<&Cancellation>,
    ) -> Result<Locked<'_>, PollError> {
        match self.try_lock(direction)? {
            Some(turn) => Ok(turn),
            None => self.lock_slow(direction, deadline_ns, cancellation),
        }
    }

    #[cold]
    #[track_caller]
    fn lock_slow(
        &self,
        direction: Direction,
        deadline_ns: u64,
        cancellation: Option<&Cancellation>,
    ) -> Result<Locked<'_>, PollError> {
        let gp = g::current();
        let round = gp.claim().open();
        let node = pin!(Node::new(Waiter { gp, round }));
        let node = ptr::NonNull::from(node.as_ref().get_ref());
        {
            let mut queue = self.queue.lock();
            let mut state = self.state.load(Ordering::Relaxed);
            loop {
                if state & CLOSED != 0 {
                    return Err(PollError::Closed);
                }
                let is_free = state & locked(direction) == 0;
                let wanted = if is_free {
                    (state | locked(direction)) + GUARD
                } else {
                    state | waited(direction)
                };
                match self.replace_state(state, wanted) {
                    Ok(()) if is_free => {
                        return Ok(Locked {
                            fd: self,
                            direction,
                        });
                    }
                    Ok(()) => break,
                    Err(current) => state = current,
                }
            }
            // SAFETY: the node is pinned on this stack and leaves the list before we do: whoever
            // claims our round has popped it, and if nobody does, we remove it below.
            unsafe { queue.lines[direction as usize].push_back(node) };
        }
        let woken = match cancellation {
            None => sched::park_until(WaitReason::IoWait, round, deadline_ns),
            Some(cancellation) => cancellation.park_until(WaitReason::IoWait, round, deadline_ns),
        };
        if woken == Woken::TimedOut {
            let mut queue = self.queue.lock();
            let line = &mut queue.lines[direction as usize];
            // SAFETY: the node is alive; it is on this list, or an unlock has popped it, seen that
            // it lost, and forgotten it, all under the lock.
            unsafe { line.remove(node) };
            if line.is_empty() {
                self.state.fetch_and(!waited(direction), Ordering::Relaxed);
            }
            drop(queue);
            not_canceled(cancellation)?;
            return Err(PollError::DeadlineExceeded);
        }
        match gp.claim().winner() {
            // F2: the lock and the guard's count have come with the claim.
            HANDED_OVER => Ok(Locked {
                fd: self,
                direction,
            }),
            _ => Err(PollError::Closed),
        }
    }

    /// Closes the descriptor: whoever waits for it gets [`PollError::Closed`], and so does whoever comes later.
    /// Returns when nobody uses it any more and the kernel has it back. False if it was closed before.
    #[track_caller]
    pub fn close(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return false;
            }
            // Our own guard keeps the end from happening before we can wait for it.
            match self.replace_state(state, (state | CLOSED) + GUARD) {
                Ok(()) => break,
                Err(current) => state = current,
            }
        }
        let mine = Reference { fd: self };
        self.desc.evict().into_iter().for_each(sched::ready);
        for direction in [Direction::Read, Direction::Write] {
            while let Some(gp) = self.pop_waiter(direction, EVICTED) {
                sched::ready(gp);
            }
        }
        let gp = g::current();
        self.queue.lock().closer = Some(gp);
        drop(mine);
        // Whoever destroys the descriptor takes us out, once; if it was `drop` above, we find the
        // `ready` that it gave us.
        sched::park(WaitReason::IoWait);
        true
    }

    /// Takes the first in line whose wait can still be ended, ends it with `code`, and returns whom
    /// to ready.
    fn pop_waiter(&self, direction: Direction, code: u32) -> Option<GRef> {
        let mut queue = self.queue.lock();
        Self::pop_waiter_locked(&mut queue, direction, code)
    }

    fn pop_waiter_locked(queue: &mut Queue, direction: Direction, code: u32) -> Option<GRef> {
        let line = &mut queue.lines[direction as usize];
        while let Some(node) = line.pop_front() {
            // SAFETY: a node on the list is alive: its owner takes it off, under this lock, before
            // it goes. Once the claim is won its owner may go, so it is read before.
            let Waiter { gp, round } = unsafe { node.as_ref() }.data;
            if gp.claim().try_claim(round, code) {
                return Some(gp);
            }
        }
        None
    }

    /// Whether [`PollFd::close`] has been called.
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The number of the descriptor; `None` once it is closed. Good for showing: it may be closed, and
    /// mean something else, a moment later.
    pub fn raw(&self) -> Option<RawFd> {
        (!self.is_closed()).then_some(self.fd)
    }

    /// Lends the descriptor for as long as `self` is borrowed, close or no close (F5).
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`] if it is closed and was never lent before.
    pub fn expose(&self) -> Result<BorrowedFd<'_>, PollError> {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & EXPOSED == 0 {
            if state & CLOSED != 0 {
                return Err(PollError::Closed);
            }
            match self.replace_state(state, state | EXPOSED) {
                Ok(()) => break,
                Err(current) => state = current,
            }
        }
        // SAFETY: an exposed number stays open until `self` is dropped (F5).
        Ok(unsafe { BorrowedFd::borrow_raw(self.fd) })
    }

    /// Sets the deadline of one direction, or (`None`) of both; see [`PollDesc::set_deadline`].
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`].
    pub fn set_deadline(
        &self,
        which: Option<Direction>,
        deadline_ns: u64,
    ) -> Result<(), PollError> {
        let _reference = self.reference()?;
        self.desc
            .set_deadline(which, deadline_ns)
            .into_iter()
            .for_each(sched::ready);
        Ok(())
    }

    /// Gives the descriptor back, no longer registered.
    ///
    /// # Errors
    ///
    /// [`PollError::Closed`].
    pub fn into_owned(self) -> Result<OwnedFd, PollError> {
        if self.is_closed() {
            return Err(PollError::Closed);
        }
        // SAFETY: not closed, so the number is open and ours (F1); nobody has a guard, as `self` is
        // not borrowed.
        let fd = unsafe { OwnedFd::from_raw_fd(self.fd) };
        self.desc.deregister(fd.as_fd());
        let mut rest = ManuallyDrop::new(self);
        // SAFETY: `rest` is not used any more. All that needs a drop is the registration and the
        // (empty) queue; our own drop would close the descriptor.
        unsafe { ptr::drop_in_place(&raw mut rest.desc) };
        Ok(fd)
    }

    /// Acquire and release on every change: a guard's use of the descriptor lies between the step
    /// that made it and the step that gives it up, and the destroyer comes after all of those.
    fn replace_state(&self, current: u64, new: u64) -> Result<(), u64> {
        self.state
            .compare_exchange_weak(current, new, Ordering::AcqRel, Ordering::Relaxed)
            .map(drop)
    }

    /// Gives up a guard that holds no lock.
    fn release(&self) {
        self.released(self.state.fetch_sub(GUARD, Ordering::AcqRel) - GUARD);
    }

    /// Gives up a direction's lock, with its guard, or hands both to the next in line.
    #[inline]
    fn unlock(&self, direction: Direction) {
        let mut state = self.state.load(Ordering::Relaxed);
        // Once closed there is nothing to hand over: the closer sees to those in line.
        while state & waited(direction) == 0 || state & CLOSED != 0 {
            let wanted = (state & !locked(direction)) - GUARD;
            match self.replace_state(state, wanted) {
                Ok(()) => return self.released(wanted),
                Err(current) => state = current,
            }
        }
        self.unlock_slow(direction);
    }

    #[cold]
    fn unlock_slow(&self, direction: Direction) {
        let mut queue = self.queue.lock();
        let next = Self::pop_waiter_locked(&mut queue, direction, HANDED_OVER);
        let is_last = queue.lines[direction as usize].is_empty();
        let mut state = self.state.load(Ordering::Relaxed);
        let state = loop {
            let mut wanted = state;
            if is_last {
                wanted &= !waited(direction);
            }
            if next.is_none() {
                wanted = (wanted & !locked(direction)) - GUARD;
            }
            match self.replace_state(state, wanted) {
                Ok(()) => break wanted,
                Err(current) => state = current,
            }
        };
        drop(queue);
        match next {
            Some(gp) => sched::ready(gp),
            None => self.released(state),
        }
    }

    /// After a guard was given up, which left `state`: ends the descriptor if it was the last (F1).
    #[inline]
    fn released(&self, state: u64) {
        if is_over(state) {
            self.destroy(state);
        }
    }

    #[cold]
    fn destroy(&self, state: u64) {
        // SAFETY: the number is open (F1), and nobody but us closes it, here, once.
        let fd = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(self.fd) });
        self.desc.deregister(fd.as_fd());
        if state & EXPOSED == 0 {
            drop(ManuallyDrop::into_inner(fd));
        } else if let Ok(placeholder) = socket::placeholder() {
            // If there is no descriptor for a placeholder, the socket stays until our drop. To shut it down
            // would reach the duplicates of whoever it was lent to.
            let _ = socket::replace(fd.as_fd(), placeholder.as_fd());
        }
        let closer = self.queue.lock().closer.take();
        sched::ready(closer.expect("the closer has named itself before it let go of its guard"));
    }
}

/// Whether `state` is that of a closed descriptor that nobody uses.
fn is_over(state: u64) -> bool {
    state & CLOSED != 0 && state < GUARD
}

impl Drop for PollFd {
    fn drop(&mut self) {
        let state = *self.state.get_mut();
        let is_over = is_over(state);
        if is_over && state & EXPOSED == 0 {
            return;
        }
        // SAFETY: the number is open, because either the descriptor was not destroyed (F1), or it was
        // exposed (F5); and `self` is not borrowed any more.
        let fd = unsafe { OwnedFd::from_raw_fd(self.fd) };
        if !is_over {
            self.desc.deregister(fd.as_fd());
        }
    }
}

impl fmt::Debug for PollFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollFd")
            .field("fd", &self.raw())
            .finish_non_exhaustive()
    }
}

impl AsFd for Reference<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: we are a guard (F1).
        unsafe { BorrowedFd::borrow_raw(self.fd.fd) }
    }
}

impl Drop for Reference<'_> {
    fn drop(&mut self) {
        self.fd.release();
    }
}

impl Locked<'_> {
    /// Before a try: says whether it is allowed; see [`PollDesc::prepare`].
    ///
    /// # Errors
    ///
    /// A [`PollError`]: closed, or past the deadline.
    #[inline]
    pub fn prepare(&self) -> Result<(), PollError> {
        self.fd.desc.prepare(self.direction)
    }

    /// After a try that would have blocked: parks until there is news since the last `prepare` or
    /// `wait`, or until `call_deadline_ns`. News mean that another try is worth while, no more.
    ///
    /// # Errors
    ///
    /// A [`PollError`]: closed, or past one of the deadlines.
    #[track_caller]
    pub fn wait(&self, call_deadline_ns: u64) -> Result<(), PollError> {
        self.wait_under(call_deadline_ns, None)
    }

    /// As [`wait`](Self::wait); also ends when what it is part of is called off.
    ///
    /// # Errors
    ///
    /// Also [`PollError::Canceled`].
    #[track_caller]
    pub fn wait_under(
        &self,
        call_deadline_ns: u64,
        cancellation: Option<&Cancellation>,
    ) -> Result<(), PollError> {
        if call_deadline_ns == NEVER {
            return self.wait_armed(NEVER, cancellation);
        }
        let set = |deadline_ns| {
            let wakes = self.fd.desc.set_call_deadline(self.direction, deadline_ns);
            wakes.into_iter().for_each(sched::ready);
        };
        set(call_deadline_ns);
        let result = self.wait_armed(call_deadline_ns, cancellation);
        set(NEVER);
        result
    }

    #[track_caller]
    fn wait_armed(
        &self,
        call_deadline_ns: u64,
        cancellation: Option<&Cancellation>,
    ) -> Result<(), PollError> {
        let node = pin!(Node::new(Wait::Poll(self.fd.desc.wait(self.direction))));
        let _listed = match cancellation {
            None => None,
            // SAFETY: a local after the node, so it is dropped before that.
            Some(cancellation) => match unsafe { cancellation.list(node.as_ref()) } {
                None => return Err(PollError::Canceled),
                listed => listed,
            },
        };
        let (desc, direction) = (&self.fd.desc, self.direction);
        let check = || {
            not_canceled(cancellation)?;
            desc.check(direction, call_deadline_ns)
        };
        let gp = g::current();
        match desc.register(direction, gp) {
            Registered::Ready => return Ok(()),
            Registered::Waiting => {}
        }
        // Not before `register`: what happens from there on wakes us.
        if !cfg!(gort_fault = "poll_recheck")
            && let Err(error) = check()
        {
            if !desc.withdraw(direction, gp) {
                // Somebody has us and will ready us: that must be used up.
                sched::park(WaitReason::IoWait);
            }
            return Err(error);
        }
        sched::park(WaitReason::IoWait);
        // Woken by news, by a close, by a deadline, or by a cancel; and if a deadline has been moved
        // meanwhile, the next try will say so, and there is another round.
        check()
    }
}

/// Whether what a call is part of goes on.
fn not_canceled(cancellation: Option<&Cancellation>) -> Result<(), PollError> {
    match cancellation {
        Some(cancellation) if cancellation.is_canceled() => Err(PollError::Canceled),
        _ => Ok(()),
    }
}

impl AsFd for Locked<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: we are a guard (F1).
        unsafe { BorrowedFd::borrow_raw(self.fd.fd) }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.fd.unlock(self.direction);
    }
}

#[cfg(test)]
mod tests;

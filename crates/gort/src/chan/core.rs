//! What a channel's lock protects, and the part of its rules that does not touch values: who waits,
//! who is won, who is told.
//!
//! The invariants are `state`'s (S1 to S4), those of waiters are `waiter`'s (W1 to W4).

use gort_core::sched;
use gort_queue::wait_list::Node;

use super::buffer::{Buffer, Memory};
use super::waiter::{After, Outcome, Queue, Role, Ticket, Waiter, WaiterRef};

/// What the lock protects.
pub(super) struct Core {
    pub(super) buffer: Buffer,
    /// How many values may be in the buffer for one more to go in (S3).
    pub(super) limit: usize,
    pub(super) receivers: Queue,
    pub(super) senders: Queue,
    /// Values given back, oldest first: a chain of `Returned<T>`.
    pub(super) returned: *mut (),
    /// The last of them, if there is one, and how many there are.
    pub(super) returned_last: *mut (),
    pub(super) returned_len: usize,
    pub(super) closed: bool,
    /// How many waiters on the two queues are watchers.
    watchers: u32,
    /// How many on `receivers` are tasks.
    task_receivers: u32,
    /// Futures with a place in the buffer for their value.
    pub(super) granted: Queue,
    /// Receivers kept for a promise.
    held: Queue,
    next_ticket: u64,
}

// SAFETY: a core owns values of the channel's type (see `Buffer`) and points to waiters, which may be
// used from any thread under the lock (W1, W2).
unsafe impl Send for Core {}

/// What came of an attempt to send a value that does not exist yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Promised {
    Place,
    Peer(Ticket),
    Full,
    Closed,
}

impl Core {
    pub(super) const fn new(buffer: Buffer, capacity: usize) -> Self {
        Self {
            buffer,
            limit: capacity,
            receivers: Queue::new(),
            senders: Queue::new(),
            returned: std::ptr::null_mut(),
            returned_last: std::ptr::null_mut(),
            returned_len: 0,
            closed: false,
            watchers: 0,
            task_receivers: 0,
            granted: Queue::new(),
            held: Queue::new(),
            next_ticket: 0,
        }
    }

    /// Whether a receiver might not have to wait: not exact if a sender is queued, who may just have
    /// been won elsewhere.
    #[inline]
    pub(super) fn may_receive(&self) -> bool {
        self.buffer.len() > 0
            || self.closed
            || !self.senders.is_empty()
            || !self.returned.is_null()
            || !self.granted.is_empty()
    }

    /// Whether a sender might not have to wait, likewise.
    #[inline]
    pub(super) fn may_send(&self) -> bool {
        self.buffer.len() < self.limit || self.closed || !self.receivers.is_empty()
    }

    /// Whether a receiver would not wait. Timed channels ask the clock as well.
    pub(super) fn can_receive(&self) -> bool {
        self.buffer.len() > 0
            || self.closed
            || !self.returned.is_null()
            || !self.granted.is_empty()
            || has_live(&self.senders)
    }

    /// Whether a sender would not wait.
    pub(super) fn can_send(&self) -> bool {
        self.buffer.len() < self.limit || self.closed || has_live(&self.receivers)
    }

    /// Promises to send a value, if that needs no waiting. The promise is kept with
    /// `Chan::offer` after [`redeem_place`](Self::redeem_place), or with [`pop_held`](Self::pop_held).
    pub(super) fn promise(&mut self) -> Promised {
        if self.closed {
            return Promised::Closed;
        }
        if let Some(receiver) = self.pop_receiver() {
            let ticket = self.hold(receiver);
            return Promised::Peer(ticket);
        }
        if self.buffer.len() < self.limit {
            self.limit -= 1;
            return Promised::Place;
        }
        Promised::Full
    }

    /// Ends the promise of a place, in order to use it or to free it.
    pub(super) fn redeem_place(&mut self) {
        if !self.closed {
            self.limit += 1;
        }
    }

    /// Gives a receiver to the promise it found: it waits for the value, on `held`.
    ///
    /// # Safety
    ///
    /// `promise` was won on this channel and is on no queue. `receiver` is valid as W1 demands, is
    /// uncontested, on no queue, and has room for a value.
    pub(super) unsafe fn pair(
        &mut self,
        promise: WaiterRef,
        receiver: WaiterRef,
        after: &mut After,
    ) {
        let ticket = self.hold(receiver);
        // SAFETY: the caller's word.
        unsafe { after.finish(promise, Outcome::Peer(ticket)) };
    }

    /// Tells a task's promise to send, with no receiver kept for it: the value goes to who receives then.
    ///
    /// # Safety
    ///
    /// `promise` was won on this channel and is on no queue.
    pub(super) unsafe fn ask_for(&mut self, promise: WaiterRef, after: &mut After) {
        let ticket = self.ticket();
        // SAFETY: the caller's word.
        unsafe { after.finish(promise, Outcome::Peer(ticket)) };
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// Keeps a receiver, which is ours, for a promise.
    fn hold(&mut self, receiver: WaiterRef) -> Ticket {
        let ticket = self.ticket();
        // SAFETY: `receiver` is ours, on no queue, and stays in place: it is not readied before it
        // has left `held`, and a future's drop takes it off (W1).
        unsafe {
            receiver.as_ref().data.set_outcome(Outcome::Held(ticket));
            self.held.push_back(receiver);
        }
        ticket
    }

    /// The held receiver with this ticket; none if it was a future that has gone away, or nobody was kept.
    pub(super) fn pop_held(&mut self, ticket: Ticket) -> Option<WaiterRef> {
        // SAFETY: waiters on a queue are in place (W1), and we have the lock (W2).
        let held = unsafe {
            self.held
                .iter()
                .find(|waiter| waiter.as_ref().data.outcome() == Outcome::Held(ticket))
        }?;
        // SAFETY: on this queue.
        unsafe { self.held.remove(held) };
        Some(held)
    }

    /// Queues a receiver, and tells those who watch for one.
    ///
    /// # Safety
    ///
    /// `waiter` is valid as W1 demands and on no queue. Unless it is a watcher there is nothing to
    /// receive (S1).
    pub(super) unsafe fn queue_receiver(&mut self, waiter: WaiterRef, after: &mut After) {
        // SAFETY: the caller's word.
        unsafe { self.receivers.push_back(waiter) };
        // SAFETY: as above.
        let data = unsafe { &waiter.as_ref().data };
        self.task_receivers += u32::from(data.is_task());
        if data.role() == Role::Watch {
            self.watchers += 1;
        } else {
            self.tell_senders(after);
        }
    }

    /// Queues a sender, and tells those who watch for one.
    ///
    /// # Safety
    ///
    /// `waiter` is valid as W1 demands and on no queue. Unless it is a watcher there is no room (S2).
    pub(super) unsafe fn queue_sender(&mut self, waiter: WaiterRef, after: &mut After) {
        // SAFETY: the caller's word.
        unsafe { self.senders.push_back(waiter) };
        // SAFETY: as above.
        if unsafe { waiter.as_ref() }.data.role() == Role::Watch {
            self.watchers += 1;
        } else {
            self.tell_receivers(after);
        }
    }

    /// Takes a receiver off whatever queue it is on; says whether it was on one.
    ///
    /// # Safety
    ///
    /// `waiter` is a receiver of this channel, or was never queued.
    pub(super) unsafe fn remove_receiver(&mut self, waiter: WaiterRef) -> bool {
        // SAFETY: the owner asks, so the waiter is in place; it is on the queue that its outcome names.
        unsafe {
            let data = &waiter.as_ref().data;
            if matches!(data.outcome(), Outcome::Held(_)) {
                return self.held.remove(waiter);
            }
            let was_queued = self.receivers.remove(waiter);
            if was_queued {
                self.watchers -= u32::from(data.role() == Role::Watch);
                self.task_receivers -= u32::from(data.is_task());
            }
            was_queued
        }
    }

    /// Takes a sender off whatever queue it is on; says whether it was on one.
    ///
    /// # Safety
    ///
    /// `waiter` is a sender of this channel, or was never queued.
    pub(super) unsafe fn remove_sender(&mut self, waiter: WaiterRef) -> bool {
        // SAFETY: as in `remove_receiver`.
        unsafe {
            let is_watcher = waiter.as_ref().data.role() == Role::Watch;
            let was_queued = match waiter.as_ref().data.outcome() {
                Outcome::Granted => self.granted.remove(waiter),
                _ => self.senders.remove(waiter),
            };
            self.watchers -= u32::from(is_watcher && was_queued);
            was_queued
        }
    }

    /// Gives the buffer memory; what it does not need is freed after the lock.
    ///
    /// # Safety
    ///
    /// `memory` comes from `Chan::new_block` for the channel's type.
    pub(super) unsafe fn install(&mut self, memory: Memory, after: &mut After) {
        // A closed channel's buffer may have been discarded: memory would never leave it (S4).
        let surplus = if self.closed {
            Some(memory)
        } else {
            // SAFETY: the caller's word; only unbounded channels ask for memory.
            unsafe { self.buffer.install(memory) }
        };
        if let Some(surplus) = surplus {
            after.free(surplus);
        }
    }

    /// Whether anybody is queued to receive, or to watch for something to receive.
    pub(super) fn has_receiver(&self) -> bool {
        !self.receivers.is_empty()
    }

    /// Whether one of them is a task.
    pub(super) fn has_task_receiver(&self) -> bool {
        self.task_receivers != 0
    }

    /// Wins the receiver that has waited longest.
    #[inline]
    pub(super) fn pop_receiver(&mut self) -> Option<WaiterRef> {
        Self::pop_live(&mut self.receivers, self.watchers, &mut self.task_receivers)
    }

    /// Wins the sender that has waited longest.
    #[inline]
    pub(super) fn pop_sender(&mut self) -> Option<WaiterRef> {
        Self::pop_live(&mut self.senders, self.watchers, &mut 0)
    }

    /// `tasks` is how many tasks there are on the queue; 0 if nobody counts them.
    #[inline]
    fn pop_live(queue: &mut Queue, watchers: u32, tasks: &mut u32) -> Option<WaiterRef> {
        loop {
            let waiter = if watchers == 0 {
                queue.pop_front()?
            } else {
                Self::pop_beside_watchers(queue)?
            };
            // SAFETY: waiters on a queue are in place, and stay so until they are readied or their
            // owner has been here (W1); we have the lock (W2).
            let data = unsafe { &waiter.as_ref().data };
            if *tasks != 0 {
                *tasks -= u32::from(data.is_task());
            }
            if data.win() {
                return Some(waiter);
            }
        }
    }

    #[cold]
    fn pop_beside_watchers(queue: &mut Queue) -> Option<WaiterRef> {
        // SAFETY: waiters on a queue are in place, and we have the lock (W1, W2).
        let waiter = queue
            .iter()
            .find(|waiter| unsafe { waiter.as_ref() }.data.role() != Role::Watch)?;
        // SAFETY: on this queue.
        unsafe { queue.remove(waiter) };
        Some(waiter)
    }

    /// Tells those who watch for something to receive.
    #[inline]
    pub(super) fn tell_receivers(&mut self, after: &mut After) {
        if self.watchers > 0 {
            let counts = (&mut self.watchers, &mut self.task_receivers);
            Self::tell_watchers(&mut self.receivers, counts, after);
        }
    }

    /// Tells those who watch for room, or a receiver.
    #[inline]
    pub(super) fn tell_senders(&mut self, after: &mut After) {
        if self.watchers > 0 {
            let counts = (&mut self.watchers, &mut 0);
            Self::tell_watchers(&mut self.senders, counts, after);
        }
    }

    /// Wakes the watchers of one queue, which otherwise stays as it is. The counts are of its watchers, those of the
    /// other among them, and of its tasks.
    #[cold]
    fn tell_watchers(queue: &mut Queue, counts: (&mut u32, &mut u32), after: &mut After) {
        let (watchers, tasks) = counts;
        // Hardly anybody else is on this queue, unless the channel was closed: what is told makes the operation
        // possible. So one way through all of it, which ends where it began.
        for _ in 0..queue.len() {
            let Some(waiter) = queue.pop_front() else {
                break;
            };
            // SAFETY: waiters on a queue are in place, and we have the lock (W1, W2).
            let data = unsafe { &waiter.as_ref().data };
            if data.role() != Role::Watch {
                // SAFETY: in place, and on no queue.
                unsafe { queue.push_back(waiter) };
                continue;
            }
            *watchers -= 1;
            if *tasks != 0 {
                *tasks -= u32::from(data.is_task());
            }
            if data.win() {
                // SAFETY: won, and off its queue.
                unsafe { after.finish(waiter, Outcome::Done) };
            }
        }
    }

    /// Wakes all who wait on a channel that was closed; false if there is more to do.
    pub(super) fn dismiss(&mut self, ahead: &mut Ahead, after: &mut After) -> bool {
        self.tell_receivers(after);
        self.tell_senders(after);
        while let Some(waiter) = self
            .pop_receiver()
            .or_else(|| self.pop_sender())
            .or_else(|| self.granted.pop_front())
        {
            ahead.came_to(waiter);
            // SAFETY: won, or granted; and off its queue.
            unsafe { after.finish(waiter, Outcome::Closed) };
            if after.is_plenty() {
                return false;
            }
        }
        true
    }
}

/// Fetches into the caches what a walk along a long queue is likely to come to.
///
/// The next waiter's address is known only once this one's memory is there, so a walk waits for one miss after the
/// other. But wait rooms that were made one after the other lie side by side, and so do the stacks on which selects
/// have their waiters; and they often wait in that order. Then the distance of two waiters says where a later one
/// is. A wrong guess costs nothing but the fetch.
pub(super) struct Ahead {
    /// The latest waiters, in a ring.
    latest: [usize; Ahead::DISTANCE],
    count: usize,
}

impl Ahead {
    /// As many as stacks have colours, so that the distance repeats exactly there too.
    const DISTANCE: usize = 16;

    pub(super) const fn new() -> Self {
        Self {
            latest: [0; Ahead::DISTANCE],
            count: 0,
        }
    }

    fn came_to(&mut self, waiter: WaiterRef) {
        let address = waiter.addr().get();
        let place = &mut self.latest[self.count % Self::DISTANCE];
        let before = std::mem::replace(place, address);
        self.count += 1;
        if self.count > Self::DISTANCE {
            let guess = address.wrapping_add(address.wrapping_sub(before));
            sched::prefetch_line(guess);
            sched::prefetch_line(guess.wrapping_add(size_of::<Node<Waiter>>() - 1));
        }
    }
}

fn has_live(queue: &Queue) -> bool {
    queue.iter().any(|waiter| {
        // SAFETY: waiters on a queue are in place, and the caller has the lock (W1, W2).
        let it = unsafe { &waiter.as_ref().data };
        it.role() != Role::Watch && it.is_live()
    })
}

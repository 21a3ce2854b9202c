//! The network poller: one epoll instance for the process, and who waits for what on it.
//!
//! A descriptor is registered once, edge-triggered and for both directions, for as long as it is
//! open. It gets a slot here; the slot holds, for each direction, one [`PollSlot`] word (nobody,
//! ready, or the one G that waits), a deadline, and a timer for it. Whoever wants to wait publishes
//! its G in the word ([`PollDesc::register`]), looks once more whether it should wait at all
//! ([`PollDesc::check`]), and parks; whoever brings news takes the G out and makes it runnable. This
//! module neither parks nor readies: it hands the Gs to its caller (in a [`ReadyList`] or in
//! [`Wakes`]), which is why it can sit below the scheduler, and why [`poll`] may run on a system
//! stack.
//!
//! A wake-up is a hint, never a promise: it says "look at the errors, and try again". All protocols
//! below may wake too often; they never wake too seldom.
//!
//! **Invariants**
//!
//! N1. Slots are never freed and never move, so a late event or timer touches valid memory. Each use
//!     of a slot has a generation; it is part of the 64 bits that epoll reports, and of `info`. A
//!     report with another generation is dropped. (A report that passes that check while the slot
//!     changes hands leaves a false "ready" at worst, which is a hint; the error flag is set by a
//!     compare-and-swap that includes the generation.)
//! N2. At most one G waits per direction of a slot: `poll_fd` takes a lock per direction first.
//! N3. Publish, then check; change, then wake. A waiter publishes its G and then reads `info`, the
//!     deadline and the clock. Whoever closes the slot or moves a deadline into the past writes that
//!     first and then looks for a G to wake. Between the two steps both sides make a SeqCst fence
//!     (in `PollSlot::register` and `interrupt`), so one of them sees the other. A timer that fires
//!     changes nothing but the clock, which stands for the write: it was read, and past the deadline,
//!     before the fence.
//! N4. Whether a deadline has passed is a function of the deadline and the clock, not a flag. A timer
//!     only says "look at the clock". A timer for a deadline that has been moved since is therefore
//!     harmless and needs no sequence number (Go's `rseq` and `wseq`): it finds the new deadline in
//!     the future and wakes nobody, and a G that was woken for the old one looks, and waits again.
//!     But a timer that is late has still to say it, so nobody stops one without looking at the clock
//!     in its place: who changes a deadline wakes whoever waits past any of the slot's (`Slot::rearm`).
//! N5. Who takes a G out of a word owes it exactly one `ready`. A waiter that finds that it should
//!     not wait takes its own G back; if that fails, another has it, and the waiter parks for the
//!     `ready` that is on its way.
//! N6. Locks: a slot's `arming` comes before the timers' locks; the timers' callback takes none of
//!     ours. `SLAB` is taken alone. `poll` takes no lock, and never allocates.
//!
//! Elsewhere: who polls and when (`sched`), waiting and closing (`poll_fd`), the calls (`os::epoll`).
//! Checked by the tests at the end and those of `gort::net`; the word itself by loom in `gort-queue`.

mod slot;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::clock::{self, NEVER};
use crate::fork;
use crate::g::GRef;
use crate::lock::Mutex;
use crate::os::{epoll, futex};
use crate::timer::ReadyList;

use slot::{CLOSING, EVENT_ERROR, Slot};

/// How many events one [`poll`] takes at most; 128, as Go's netpoll.
pub const EVENTS_MAX: usize = 128;

/// A half of a descriptor: reading (and accepting), or writing (and connecting).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Reading, accepting.
    Read = 0,
    /// Writing, connecting.
    Write = 1,
}

const DIRECTIONS: [Direction; 2] = [Direction::Read, Direction::Write];

/// Why one must not, or no longer, wait for a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollError {
    /// It has been closed.
    Closed,
    /// The deadline of this direction, or of this call, has passed.
    DeadlineExceeded,
    /// What the call is part of has been called off.
    Canceled,
    /// Epoll reported nothing but an error: this descriptor cannot be waited for.
    NotPollable,
}

/// The Gs that some act on a descriptor has freed; the caller must ready each, holding no lock.
#[must_use = "these goroutines wait for their `ready`"]
#[derive(Debug)]
pub struct Wakes([Option<GRef>; 2]);

impl IntoIterator for Wakes {
    type Item = GRef;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<GRef>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// A wait for one direction of a descriptor. See [`PollDesc::wait`].
///
/// Slots are never freed, so it may be used after the wait: then it wakes somebody for nothing, at worst.
#[derive(Clone, Copy, Debug)]
pub struct PollWait {
    slot: &'static Slot,
    direction: Direction,
}

impl PollWait {
    /// Takes out the G that waits, which the caller must ready. It finds out by itself why it was woken.
    #[must_use = "this goroutine waits for its `ready`"]
    pub fn interrupt(self) -> Option<GRef> {
        self.slot.unblock(self.direction)
    }
}

/// What [`PollDesc::register`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Registered {
    /// Nothing: the G is now published, and will get one `ready` unless it is withdrawn.
    Waiting,
    /// The direction became ready before, and that has been taken note of: try again.
    Ready,
}

/// The registration of one open descriptor with the poller.
///
/// It does not own the descriptor. [`PollDesc::deregister`] comes before the close; dropping
/// gives the slot back.
#[derive(Debug)]
pub struct PollDesc {
    slot: &'static Slot,
}

impl PollDesc {
    /// Registers `fd`, for both directions. The first call of all makes the epoll instance.
    ///
    /// # Errors
    ///
    /// Those of `epoll_create1`, `eventfd` and `epoll_ctl`; `PermissionDenied` means that this kind
    /// of file cannot be waited for.
    pub fn open(fd: BorrowedFd<'_>) -> io::Result<PollDesc> {
        let poller = start()?;
        let slot = slot::take()?;
        let desc = PollDesc { slot };
        let interest = epoll::IN | epoll::OUT | epoll::RDHUP | epoll::EDGE_TRIGGERED;
        epoll::add(poller.epoll, fd, interest, slot.tag())?;
        Ok(desc)
    }

    /// Says whether an operation in this direction may be tried, and forgets stale readiness: what
    /// comes from here on is news. (Go's `pollReset`.)
    pub fn prepare(&self, direction: Direction) -> Result<(), PollError> {
        self.check(direction, NEVER)?;
        self.slot.side(direction).waiter.clear();
        Ok(())
    }

    /// Says whether one may wait in this direction: the descriptor is open, and neither its deadline
    /// nor `call_deadline_ns` has passed.
    pub fn check(&self, direction: Direction, call_deadline_ns: u64) -> Result<(), PollError> {
        let flags = self.slot.info.load(Ordering::Acquire);
        if flags & CLOSING != 0 {
            return Err(PollError::Closed);
        }
        let deadline = self
            .slot
            .side(direction)
            .deadline_ns
            .load(Ordering::Acquire);
        let deadline = deadline.min(call_deadline_ns);
        if deadline != NEVER && deadline <= clock::now_ns() {
            return Err(PollError::DeadlineExceeded);
        }
        // As in Go, only readers hear of it: a writer gets a better error from its next write.
        if direction == Direction::Read && flags & EVENT_ERROR != 0 {
            return Err(PollError::NotPollable);
        }
        Ok(())
    }

    /// Publishes `gp` as the one that waits in this direction, unless it is ready now.
    ///
    /// After [`Registered::Waiting`] the caller calls [`PollDesc::check`] (N3), and then either parks
    /// or takes itself back with [`PollDesc::withdraw`].
    pub fn register(&self, direction: Direction, gp: GRef) -> Registered {
        // Counted before it is published, since whoever takes it out counts down.
        WAITERS.fetch_add(1, Ordering::Relaxed);
        match self.slot.side(direction).waiter.register(gp.0) {
            Ok(false) => Registered::Waiting,
            Ok(true) => {
                WAITERS.fetch_sub(1, Ordering::Relaxed);
                Registered::Ready
            }
            Err(busy) => fatal!("netpoll: {busy}"),
        }
    }

    /// Takes the caller's own G back out. If it says `false`, somebody else has it and will ready it:
    /// the caller must park (N5).
    #[must_use]
    pub fn withdraw(&self, direction: Direction, gp: GRef) -> bool {
        let mine = self.slot.side(direction).waiter.unregister(gp.0);
        if mine {
            WAITERS.fetch_sub(1, Ordering::Relaxed);
        }
        mine
    }

    /// Sets the deadline of one direction, or (`None`) of both. `NEVER` clears it. One that has
    /// already passed takes effect at once.
    pub fn set_deadline(&self, which: Option<Direction>, deadline_ns: u64) -> Wakes {
        let mut arming = self.slot.arming.lock();
        for direction in DIRECTIONS {
            if which.is_none_or(|which| which == direction) {
                self.slot
                    .side(direction)
                    .deadline_ns
                    .store(deadline_ns, Ordering::Release);
            }
        }
        self.slot.rearm(&mut arming, clock::now_ns())
    }

    /// Arms the direction's timer for the wait of one call as well, or (`NEVER`) for the deadline
    /// alone again. Only for the G that holds the direction's lock.
    pub fn set_call_deadline(&self, direction: Direction, deadline_ns: u64) -> Wakes {
        let mut arming = self.slot.arming.lock();
        self.slot
            .side(direction)
            .call_deadline_ns
            .store(deadline_ns, Ordering::Release);
        self.slot.rearm(&mut arming, clock::now_ns())
    }

    /// The wait of whoever has the lock of this direction, to be ended from elsewhere.
    pub fn wait(&self, direction: Direction) -> PollWait {
        PollWait {
            slot: self.slot,
            direction,
        }
    }

    /// Declares the descriptor closed: whoever waits is woken, and nobody will wait any more.
    pub fn evict(&self) -> Wakes {
        self.slot.info.fetch_or(CLOSING, Ordering::AcqRel);
        Wakes(DIRECTIONS.map(|direction| self.slot.unblock(direction)))
    }

    /// Takes `fd` out of the epoll instance. Called once, before `fd` is closed: closing alone would
    /// not do if a duplicate of it lives on.
    ///
    /// Not in the child of a `fork`: it shares the instance, where its descriptor and its parent's are one
    /// registration, which is the parent's.
    pub fn deregister(&self, fd: BorrowedFd<'_>) {
        if fork::is_forked() {
            return;
        }
        let poller = poller().expect("a descriptor exists, so the poller has been started");
        // It fails only if somebody has closed the number behind our back; then it is out.
        let _ = epoll::delete(poller.epoll, fd);
    }
}

impl Drop for PollDesc {
    fn drop(&mut self) {
        slot::give_back(self.slot);
    }
}

/// Whether the epoll instance exists, that is, whether somebody must poll.
pub fn is_started() -> bool {
    poller().is_some()
}

/// How many Gs wait for a descriptor at this moment.
pub fn waiters() -> u32 {
    WAITERS.load(Ordering::Acquire)
}

/// Asks the kernel once what has happened, and appends to `out` the Gs that have become runnable by
/// it; returns how many. Waits for `delay_ns` at most (0: not at all; negative: for ever), or until
/// [`interrupt`]. May return 0 early.
///
/// While there is no epoll instance it waits all the same: the scheduler's last thread to go idle
/// sleeps here, whether the program uses the network or not.
///
/// Never parks, allocates or takes a lock; callable from a system stack.
pub fn poll(delay_ns: i64, out: &mut ReadyList) -> usize {
    let timeout_ns = u64::try_from(delay_ns).ok();
    let Some(poller) = poller() else {
        if delay_ns != 0 {
            sleep(timeout_ns);
        }
        return 0;
    };
    if delay_ns != 0 {
        // Left by an `interrupt` that found no epoll instance yet; see there.
        fence(Ordering::SeqCst);
        if INTERRUPTED.load(Ordering::SeqCst) != 0 {
            answer_interrupt(poller);
            return 0;
        }
    }
    let mut buffer = [MaybeUninit::uninit(); EVENTS_MAX];
    let events = loop {
        match epoll::wait(poller.epoll, &mut buffer, timeout_ns) {
            Ok(events) => break events,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                // The time left is the caller's to compute.
                if timeout_ns.is_some() {
                    return 0;
                }
            }
            Err(error) => fatal!("netpoll: epoll_wait failed: {error}"),
        }
    };
    let mut count = 0;
    for event in events {
        if event.data() != INTERRUPT {
            count += deliver(event, out);
        } else if delay_ns != 0 {
            // Only a poll that waits answers an interrupt: one that merely looks may run beside it,
            // and must leave the counter raised for the sleeper.
            answer_interrupt(poller);
        }
    }
    if count != 0 {
        WAITERS.fetch_sub(count as u32, Ordering::Release);
    }
    count
}

/// Makes a waiting [`poll`] return, or the next one that would wait. Costs one atomic operation if
/// that has been asked for already. Callable from anywhere.
pub fn interrupt() {
    // Pairs with the swap in `answer_interrupt`: either that poll sees what our caller has written
    // before, or we find the flag down and do the work.
    fence(Ordering::SeqCst);
    if INTERRUPTED
        .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
        .is_err()
    {
        return;
    }
    // Pairs with the fence in `poll`: if we do not see the epoll instance, a poll that does sees our
    // flag before it waits there.
    fence(Ordering::SeqCst);
    match poller() {
        Some(poller) => epoll::counter_raise(poller.counter),
        None => futex::wake(&raw const INTERRUPTED, 1),
    }
}

/// A poll that was interrupted takes note of it.
///
/// The counter first: an `interrupt` that comes between the two finds the flag set and does nothing,
/// which is right, as this poll is about to return.
fn answer_interrupt(poller: Poller) {
    epoll::counter_clear(poller.counter);
    INTERRUPTED.swap(0, Ordering::SeqCst);
}

/// Waits for an `interrupt` while there is no epoll instance; making one interrupts, too.
#[cold]
fn sleep(timeout_ns: Option<u64>) {
    let until = timeout_ns.map_or(NEVER, |ns| clock::now_ns().saturating_add(ns));
    while INTERRUPTED.load(Ordering::SeqCst) == 0 {
        if futex::wait(&INTERRUPTED, 0, until) == futex::Waited::TimedOut {
            return;
        }
    }
    INTERRUPTED.swap(0, Ordering::SeqCst);
}

/// Hands one event to the slot it is for; returns how many Gs that has made runnable.
fn deliver(event: &epoll::Event, out: &mut ReadyList) -> usize {
    let tag = event.data();
    let slot = slot::at(tag as u32);
    let events = event.events();
    if !slot.set_event_error(tag, events == epoll::ERR) {
        return 0;
    }
    let mut count = 0;
    let reads = epoll::IN | epoll::RDHUP | epoll::HUP | epoll::ERR;
    let writes = epoll::OUT | epoll::HUP | epoll::ERR;
    for (direction, mask) in [(Direction::Read, reads), (Direction::Write, writes)] {
        if events & mask != 0
            && let Some(gp) = slot.side(direction).waiter.notify()
        {
            out.push(GRef(gp));
            count += 1;
        }
    }
    count
}

/// What is never closed.
#[derive(Clone, Copy)]
struct Poller {
    epoll: BorrowedFd<'static>,
    /// Readable while an interrupt is pending.
    counter: BorrowedFd<'static>,
}

/// The numbers of the two, the epoll instance's in the upper half; NONE until there are. Written once,
/// by `start` (release), and read by all (acquire): who finds the instance finds it with its counter in.
static POLLER: AtomicU64 = AtomicU64::new(NONE);
const NONE: u64 = u64::MAX;
static STARTING: Mutex<()> = Mutex::new(());

/// 1 while an interrupt is pending. Written by `interrupt` and by the `poll` that answers it.
static INTERRUPTED: AtomicU32 = AtomicU32::new(0);

/// How many Gs are published in some slot. Up: `register`; down: whoever took the G out.
static WAITERS: AtomicU32 = AtomicU32::new(0);

/// What epoll reports for the counter. No slot has this tag: its index would be `u32::MAX`.
const INTERRUPT: u64 = u64::MAX;

/// The epoll instance, once there is one.
#[inline]
fn poller() -> Option<Poller> {
    let numbers = POLLER.load(Ordering::Acquire);
    if numbers == NONE {
        return None;
    }
    // SAFETY: the descriptor has to be open as long as it is borrowed: `start` has given it away for good.
    let borrow = |number: u64| unsafe { BorrowedFd::borrow_raw(number as u32 as RawFd) };
    Some(Poller {
        epoll: borrow(numbers >> 32),
        counter: borrow(numbers),
    })
}

fn start() -> io::Result<Poller> {
    if let Some(poller) = poller() {
        return Ok(poller);
    }
    // One at a time. It may fail, now, and succeed later.
    let _starting = STARTING.lock();
    if poller().is_none() {
        let (epoll, counter) = (epoll::create()?, epoll::counter_create()?);
        epoll::add(epoll.as_fd(), counter.as_fd(), epoll::IN, INTERRUPT)?;
        let half = |fd: OwnedFd| u64::from(fd.into_raw_fd() as u32);
        POLLER.store(half(epoll) << 32 | half(counter), Ordering::Release);
        // Whoever waits in `sleep` shall go over to the epoll instance. If the flag is up already, its
        // setter has woken that sleeper, or raises the counter.
        if INTERRUPTED.swap(1, Ordering::SeqCst) == 0 {
            futex::wake(&raw const INTERRUPTED, 1);
            if let Some(poller) = poller() {
                epoll::counter_raise(poller.counter);
            }
        }
    }
    Ok(poller().expect("it has just been set"))
}

#[cfg(test)]
mod tests {
    use super::slot::CHUNK_SLOTS;
    use super::*;
    use crate::{g, runtime, sched};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::ptr;
    use std::time::{Duration, Instant};

    #[track_caller]
    fn until(is_true: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_true() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "never came about"
            );
            sched::yield_now();
        }
    }

    #[test]
    fn a_late_event_misses_the_next_use_of_a_slot() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let desc = PollDesc::open(stream.as_fd()).unwrap();
        let (slot, tag) = (desc.slot, desc.slot.tag());
        assert!(slot.set_event_error(tag, false));
        desc.deregister(stream.as_fd());
        drop(desc);
        assert_ne!(slot.tag(), tag);
        assert_eq!(slot.tag() as u32, tag as u32);
        assert!(!slot.set_event_error(tag, true));
    }

    #[test]
    fn the_tag_leads_to_the_slot() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let descs: Vec<_> = (0..3 * CHUNK_SLOTS)
            .map(|_| {
                let fd = stream.as_fd().try_clone_to_owned().unwrap();
                (PollDesc::open(fd.as_fd()).unwrap(), fd)
            })
            .collect();
        for (desc, fd) in &descs {
            assert!(ptr::eq(slot::at(desc.slot.tag() as u32), desc.slot));
            assert_ne!(desc.slot.tag(), INTERRUPT);
            desc.deregister(fd.as_fd());
        }
    }

    #[test]
    fn s154_a_bare_error_is_told_to_readers_only() {
        runtime::ensure_started();
        let (reader, mut writer) = io::pipe().unwrap();
        crate::os::socket::set_nonblocking(writer.as_fd(), true).unwrap();
        while writer.write(&[0; 4096]).is_ok() {}
        let desc = PollDesc::open(writer.as_fd()).unwrap();
        assert_eq!(desc.check(Direction::Read, NEVER), Ok(()));
        // A full pipe that nobody can read any more: an error, and no room.
        drop(reader);
        until(|| desc.check(Direction::Read, NEVER) == Err(PollError::NotPollable));
        assert_eq!(desc.check(Direction::Write, NEVER), Ok(()));
        desc.deregister(writer.as_fd());
    }

    #[test]
    fn errors_are_found_before_the_wait_and_closed_comes_first() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let desc = PollDesc::open(stream.as_fd()).unwrap();
        let past = clock::now_ns();
        assert_eq!(
            desc.check(Direction::Read, past),
            Err(PollError::DeadlineExceeded)
        );
        desc.set_deadline(Some(Direction::Write), past)
            .into_iter()
            .for_each(sched::ready);
        assert_eq!(
            desc.prepare(Direction::Write),
            Err(PollError::DeadlineExceeded)
        );
        assert_eq!(desc.prepare(Direction::Read), Ok(()));
        desc.set_deadline(None, NEVER)
            .into_iter()
            .for_each(sched::ready);
        assert_eq!(desc.prepare(Direction::Write), Ok(()));
        desc.set_deadline(None, past)
            .into_iter()
            .for_each(sched::ready);
        assert_eq!(desc.evict().into_iter().count(), 0);
        for direction in DIRECTIONS {
            assert_eq!(desc.prepare(direction), Err(PollError::Closed));
        }
        desc.deregister(stream.as_fd());
    }

    #[test]
    fn a_past_deadline_and_a_close_hand_out_who_waits() {
        runtime::ensure_started();
        let (stream, _peer) = UnixStream::pair().unwrap();
        let desc = PollDesc::open(stream.as_fd()).unwrap();
        let gp = g::current();
        assert_eq!(desc.register(Direction::Read, gp), Registered::Waiting);
        assert!(waiters() >= 1);
        let wakes = desc.set_deadline(Some(Direction::Write), clock::now_ns());
        assert_eq!(wakes.into_iter().count(), 0, "the other direction's");
        let wakes: Vec<_> = desc
            .set_deadline(None, clock::now_ns())
            .into_iter()
            .collect();
        assert_eq!(wakes, [gp]);
        assert!(!desc.withdraw(Direction::Read, gp), "taken out already");

        assert_eq!(desc.register(Direction::Read, gp), Registered::Waiting);
        let wakes: Vec<_> = desc.evict().into_iter().collect();
        assert_eq!(wakes, [gp]);
        assert_eq!(desc.register(Direction::Read, gp), Registered::Waiting);
        assert!(desc.withdraw(Direction::Read, gp));
        desc.deregister(stream.as_fd());
    }

    #[test]
    fn equal_deadlines_need_one_timer() {
        runtime::ensure_started();
        let (stream, _peer) = UnixStream::pair().unwrap();
        let desc = PollDesc::open(stream.as_fd()).unwrap();
        let far = clock::now_ns() + 3_600_000_000_000;
        let armed = |desc: &PollDesc| desc.slot.arming.lock().when_ns;
        let set = |which, when| {
            desc.set_deadline(which, when)
                .into_iter()
                .for_each(sched::ready)
        };
        let set_for_call = |when| {
            desc.set_call_deadline(Direction::Write, when)
                .into_iter()
                .for_each(sched::ready)
        };
        set(None, far);
        assert_eq!(armed(&desc), [far, NEVER]);
        set(Some(Direction::Read), far + 1);
        assert_eq!(armed(&desc), [far + 1, far]);
        set_for_call(far - 1);
        assert_eq!(armed(&desc), [far + 1, far - 1]);
        set_for_call(NEVER);
        set(Some(Direction::Read), NEVER);
        assert_eq!(armed(&desc), [NEVER, far]);
        set(None, NEVER);
        assert_eq!(armed(&desc), [NEVER, NEVER]);
        assert!(desc.slot.sides.iter().all(|side| !side.timer.is_armed()));
        desc.deregister(stream.as_fd());
    }

    #[test]
    fn news_that_come_before_the_wait_are_kept_until_it() {
        runtime::ensure_started();
        let (stream, mut peer) = UnixStream::pair().unwrap();
        let desc = PollDesc::open(stream.as_fd()).unwrap();
        desc.prepare(Direction::Read).unwrap();
        peer.write_all(b"x").unwrap();
        let gp = g::current();
        until(|| match desc.register(Direction::Read, gp) {
            Registered::Ready => true,
            Registered::Waiting => {
                if !desc.withdraw(Direction::Read, gp) {
                    sched::park(crate::wait_reason::WaitReason::IoWait);
                    return true;
                }
                false
            }
        });
        (&stream).read_exact(&mut [0]).unwrap();
        desc.deregister(stream.as_fd());
    }
}

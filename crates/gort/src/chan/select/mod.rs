//! Waiting for whichever of several channel operations can go on first.
//!
//! A select locks all its channels, in the order of their addresses, so it sees all of them at one
//! moment. If some arms are ready it takes one of those, each with the same chance (or the first, if
//! biased). If none is, it queues a waiter in every channel, lets go of the locks, and sleeps. The
//! waiters share one claim: whoever wins it decides the arm, the others lose. Awake again, the
//! select takes its losing waiters off their queues, each in O(1).
//!
//! Two selects that meet need nothing more: the one that arrives holds the locks and has queued
//! nothing, so it only has to win the one that waits.
//!
//! A send arm has no value while it waits: it wins a promise (see `state`), and then the value is
//! made. A receiver that meets such an arm waits until that is done.
//!
//! Before all that it looks at each channel without its lock (`Chan::hint`). Of those that seem ready
//! it tries one at random, under that one lock: performing a ready operation takes no more than
//! that, only to wait, or to say that none is ready, all have to be seen at one moment.
//!
//! X1. `Arm::core` points to the core of the arm's channel while its lock is held.
//!
//! Elsewhere: what `select!` expands to (`arms`, `select_macro`), the same for a set made at run
//! time (`set`, `selected`) and in a future (`future`).
//! Checked as `state` is.

pub(super) mod arms;
mod future;
mod selected;
mod set;

pub use future::SelectFuture;
pub use selected::SelectedOperation;
pub use set::Select;

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use gort_core::g;
use gort_core::sched::Woken;
use gort_core::wait_reason::WaitReason;
use gort_queue::claim::Round;
use gort_queue::wait_list::Node;

use super::core::{Core, Promised};
use super::state::{Chan, Locked, Taken};
use super::waiter::{After, Outcome, Party, Role, Waiter, WaiterRef};
use super::{Wait, spin, timed, wait_for_nothing};

/// One operation of a select, whatever the type of its values.
pub struct Arm<'a> {
    /// None: the nil channel.
    chan: Option<&'a Chan>,
    is_send: bool,
    /// Room for the received value.
    slot: *mut (),
    /// Where the arms of a macro are told what they have got.
    won: Option<&'a mut Option<Won>>,
    /// The lock, in the first arm of each channel.
    guard: Option<Locked<'a>>,
    core: *mut Core,
}

/// Room for the waiter of each arm. Used through raw pointers only, for while a waiter is queued
/// others look at it.
pub(super) type Waiters = [MaybeUninit<Node<Waiter>>];

/// What the arm that was selected has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Won {
    /// A value, in its slot.
    Value,
    /// Nothing: the channel is empty and closed.
    Disconnected,
    /// A place or a receiver for a value, or a closed channel.
    Promised(Promised),
    /// What it watched for.
    Ready,
}

/// Whether a select performs an operation, or only says which could be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Intent {
    Act,
    Watch,
}

/// What came of looking at all arms.
enum Tried {
    Won(usize, Won),
    /// A receive arm has won a sender that has yet to make its value.
    Promise(usize, WaiterRef),
    Nothing,
}

impl<'a> Arm<'a> {
    pub(super) fn recv(chan: Option<&'a Chan>, slot: *mut ()) -> Self {
        Self {
            chan,
            is_send: false,
            slot,
            won: None,
            guard: None,
            core: ptr::null_mut(),
        }
    }

    pub(super) fn send(chan: Option<&'a Chan>) -> Self {
        Self {
            is_send: true,
            ..Self::recv(chan, ptr::null_mut())
        }
    }

    /// Whether the operation might not have to wait, seen without the lock. A false is exact.
    #[inline]
    fn may_be_ready(&self) -> bool {
        match self.chan {
            None => false,
            Some(chan) if self.is_send => chan.may_send(),
            Some(chan) => chan.may_receive(),
        }
    }

    fn address(&self) -> *const Chan {
        self.chan.map_or(ptr::null(), ptr::from_ref)
    }

    /// Whether the operation would not wait.
    ///
    /// # Safety
    ///
    /// The locks are held (X1).
    unsafe fn is_ready(&self) -> bool {
        let Some(chan) = self.chan else {
            return false;
        };
        // SAFETY: the lock is held, and nobody else of us uses the core now.
        let core = unsafe { &*self.core };
        if self.is_send {
            core.can_send()
        } else {
            core.can_receive() || (chan.timed.is_some() && timed::may_be_due(chan))
        }
    }

    /// Performs the operation, if nobody waits on the other side and it need not wait.
    ///
    /// # Safety
    ///
    /// `slot` has room for a value. The channel is not locked.
    #[inline]
    unsafe fn act_fast(&self) -> Option<Won> {
        let chan = self.chan?;
        if self.is_send {
            return chan
                .promise_fast()
                .then_some(Won::Promised(Promised::Place));
        }
        // SAFETY: room for a value (the caller's word).
        unsafe { (chan.ops.pop_fast)(chan, self.slot) }.then_some(Won::Value)
    }

    /// Performs the operation, if it need not wait.
    ///
    /// # Safety
    ///
    /// The locks are held (X1), and `slot` has room for a value.
    unsafe fn act(&self, index: usize, after: &mut After) -> Tried {
        let Some(chan) = self.chan else {
            return Tried::Nothing;
        };
        // SAFETY: as in `is_ready`.
        let core = unsafe { &mut *self.core };
        if self.is_send {
            return match core.promise() {
                Promised::Full => Tried::Nothing,
                promised => Tried::Won(index, Won::Promised(promised)),
            };
        }
        // SAFETY: the channel's own core, and room for its value (the caller's word).
        match unsafe { (chan.ops.take)(chan, core, self.slot, after) } {
            Taken::Value => Tried::Won(index, Won::Value),
            Taken::Closed => Tried::Won(index, Won::Disconnected),
            Taken::Promise(promise) => Tried::Promise(index, promise),
            Taken::Empty => Tried::Nothing,
        }
    }
}

/// The order in which to lock the channels of a set of arms, found when it is first needed.
pub(super) struct Order<'o> {
    indices: &'o mut [u32],
    is_sorted: bool,
}

impl<'o> Order<'o> {
    /// For as many arms as `indices` has room for.
    pub(super) fn unsorted(indices: &'o mut [u32]) -> Self {
        Self {
            indices,
            is_sorted: false,
        }
    }

    /// As `sort` has left it.
    pub(super) fn already_sorted(indices: &'o mut [u32]) -> Self {
        Self {
            indices,
            is_sorted: true,
        }
    }

    fn sorted(&mut self, arms: &[Arm<'_>]) -> &[u32] {
        if !std::mem::replace(&mut self.is_sorted, true) {
            sort(arms, self.indices);
        }
        self.indices
    }
}

/// The order in which to lock: by address, so that selects cannot wait for each other in a circle.
pub(super) fn sort(arms: &[Arm<'_>], order: &mut [u32]) {
    for (position, index) in order.iter_mut().enumerate() {
        *index = u32::try_from(position).expect("fewer arms than that");
    }
    let address = |index: u32| arms[index as usize].address();
    if order.len() > 16 {
        order.sort_unstable_by_key(|&index| address(index));
        return;
    }
    for sorted in 1..order.len() {
        let mut at = sorted;
        while at > 0 && address(order[at - 1]) > address(order[at]) {
            order.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Selects an arm, waiting as told; none if the time is up. Each arm's slot has room for a value.
///
/// # Safety
///
/// `order` has room for as many as there are arms, or is from `sort`; `waiters` has room for as many as there are arms. The slots of receive
/// arms have room for a value of their channel; only the selected one is written.
#[track_caller]
pub(super) unsafe fn run(
    arms: &mut [Arm<'_>],
    order: &mut Order<'_>,
    waiters: &mut Waiters,
    wait: Wait,
    intent: Intent,
    is_biased: bool,
) -> Option<(usize, Won)> {
    let waiters = waiters.as_mut_ptr().cast::<Node<Waiter>>();
    let mut is_first_look = intent == Intent::Act;
    let mut has_spun = false;
    loop {
        let mut after = After::new();
        let mut tried = Tried::Nothing;
        if std::mem::take(&mut is_first_look) {
            match seemingly_ready(arms, is_biased) {
                Some(index) => {
                    // SAFETY: slots have room (the caller's word).
                    if let Some(won) = unsafe { arms[index].act_fast() } {
                        rearm(arms);
                        return Some((index, won));
                    }
                    // A plain thread's descriptor is made outside the locks, here and below.
                    g::ensure_current();
                    // SAFETY: as above.
                    tried = unsafe { try_one(arms, index, &mut after) };
                }
                // One channel needs no second look: what is not possible there is not possible.
                None if arms.len() == 1 && wait == Wait::Never => return None,
                None => {}
            }
        }
        if let Tried::Nothing = tried {
            if arms.iter().all(|arm| arm.chan.is_none()) {
                wait_for_nothing(wait_reason(arms), wait);
                return None;
            }
            g::ensure_current();
            lock(arms, order.sorted(arms));
            // SAFETY: locked; slots have room (the caller's word).
            tried = unsafe { try_arms(arms, intent, is_biased, &mut after) };
        }
        match tried {
            Tried::Won(index, won) => {
                unlock(arms);
                after.act();
                rearm(arms);
                return Some((index, won));
            }
            // SAFETY: won, so ours and in place (W1, W4).
            Tried::Promise(index, promise) if unsafe { promise.as_ref() }.data.is_task() => {
                // SAFETY: locked; won just now, and on no queue.
                unsafe { ask_for(&arms[index], promise, &mut after) };
                unlock(arms);
                // A waker that waits does not make us wait for longer.
                after.act_queued();
                continue;
            }
            Tried::Promise(index, promise) => {
                let party = Party::G(g::current());
                // SAFETY: locked; won just now; the waiter stays in place while we park (W1).
                let waiter =
                    unsafe { pair(&arms[index], promise, waiters.add(index), party, &mut after) };
                unlock(arms);
                after.act_queued();
                // A goroutine's promise is kept or broken soon; the deadline does not end the wait for it.
                Wait::FOREVER.park(wait_reason(arms), None);
                // SAFETY: we have been readied, so the waiter is ours again (W2).
                match unsafe { waiter.as_ref() }.data.outcome() {
                    Outcome::Done => {
                        rearm(arms);
                        return Some((index, Won::Value));
                    }
                    Outcome::Retry => continue,
                    outcome => unreachable!("a held receiver was woken with {outcome:?}"),
                }
            }
            Tried::Nothing if wait.is_over() => {
                unlock(arms);
                after.act();
                rearm(arms);
                return None;
            }
            Tried::Nothing => {}
        }

        let gp = g::current();
        if !std::mem::replace(&mut has_spun, true) && !gp.is_goroutine() {
            unlock(arms);
            after.act();
            spin(gp, || arms.iter().any(Arm::may_be_ready));
            continue;
        }
        let round = gp.claim().open();
        // SAFETY: locked, nothing is ready; there is room for all waiters, and they stay in place: we
        // park, and take off their queues those that nobody else has taken off (W1).
        unsafe {
            queue(
                arms,
                waiters,
                Party::G(gp),
                round,
                intent,
                is_biased,
                &mut after,
            )
        };
        unlock(arms);
        after.act_queued();
        rearm(arms);
        let woken = wait.park(wait_reason(arms), Some(round));
        let winner = (woken == Woken::Ready).then(|| gp.claim().winner() as usize - 1);
        // SAFETY: queued above.
        unsafe { unqueue(arms, order.sorted(arms), waiters, winner) };
        let Some(index) = winner else {
            rearm(arms);
            return None;
        };
        // SAFETY: we have been readied by who won this waiter, so it is ours again (W2).
        let waiter = unsafe { &*waiters.add(index) };
        if let Some(won) = won(waiter.data.role(), waiter.data.outcome()) {
            rearm(arms);
            return Some((index, won));
        }
    }
}

/// What a waiter that was won has got; none if it has to begin again.
fn won(role: Role, outcome: Outcome) -> Option<Won> {
    Some(match (role, outcome) {
        (Role::Watch, _) => Won::Ready,
        (Role::Value, Outcome::Done) => Won::Value,
        (Role::Value, Outcome::Closed) => Won::Disconnected,
        (Role::Value, Outcome::Retry) => return None,
        (Role::Promise, Outcome::Place) => Won::Promised(Promised::Place),
        (Role::Promise, Outcome::Peer(ticket)) => Won::Promised(Promised::Peer(ticket)),
        (Role::Promise, Outcome::Closed) => Won::Promised(Promised::Closed),
        (role, outcome) => unreachable!("a select's {role:?} was woken with {outcome:?}"),
    })
}

/// What to call the wait: an only arm waits as the plain operation does.
fn wait_reason(arms: &[Arm<'_>]) -> WaitReason {
    match arms {
        [] => WaitReason::SelectNoCases,
        [arm] => match (arm.is_send, arm.chan.is_some()) {
            (false, true) => WaitReason::ChanReceive,
            (true, true) => WaitReason::ChanSend,
            (false, false) => WaitReason::ChanReceiveNil,
            (true, false) => WaitReason::ChanSendNil,
        },
        _ => WaitReason::Select,
    }
}

/// Arms the timers of the timed channels on which somebody waits.
#[inline]
fn rearm(arms: &[Arm<'_>]) {
    arms.iter()
        .filter_map(|arm| arm.chan)
        .for_each(timed::rearm);
}

/// Locks every channel, once.
fn lock(arms: &mut [Arm<'_>], order: &[u32]) {
    let mut locked = (ptr::null(), ptr::null_mut());
    for &index in order {
        let arm = &mut arms[index as usize];
        let Some(chan) = arm.chan else {
            continue;
        };
        if locked.0 != ptr::from_ref(chan) {
            let guard = arm.guard.insert(chan.lock());
            locked = (ptr::from_ref(chan), &raw mut **guard);
        }
        arm.core = locked.1;
    }
}

fn unlock(arms: &mut [Arm<'_>]) {
    for arm in arms {
        arm.guard = None;
    }
}

/// An arm that seems ready, at random; if biased only the first, for others may be ready before the
/// rest.
#[inline]
fn seemingly_ready(arms: &[Arm<'_>], is_biased: bool) -> Option<usize> {
    if is_biased {
        return arms.first()?.may_be_ready().then_some(0);
    }
    let ready = || (0..arms.len()).filter(|&index| arms[index].may_be_ready());
    let mut candidates = ready();
    let index = candidates.next()?;
    match candidates.count() {
        0 => Some(index),
        others => Some(ready().nth(random_below(others + 1)).unwrap_or(index)),
    }
}

/// Tries one arm, under its lock alone, which stays held unless nothing came of it.
///
/// # Safety
///
/// The slot has room for a value.
unsafe fn try_one(arms: &mut [Arm<'_>], index: usize, after: &mut After) -> Tried {
    let arm = &mut arms[index];
    let Some(chan) = arm.chan else {
        return Tried::Nothing;
    };
    let guard = arm.guard.insert(chan.lock());
    arm.core = &raw mut **guard;
    // SAFETY: locked (X1); the slot has room (the caller's word).
    let tried = unsafe { arm.act(index, after) };
    if let Tried::Nothing = tried {
        arm.guard = None;
    }
    tried
}

/// Looks at all arms, and performs the operation of one that is ready.
///
/// # Safety
///
/// All channels are locked (X1); slots have room.
unsafe fn try_arms(arms: &[Arm<'_>], intent: Intent, is_biased: bool, after: &mut After) -> Tried {
    // SAFETY: locked (the caller's word).
    let ready = || (0..arms.len()).filter(|&index| unsafe { arms[index].is_ready() });
    loop {
        let mut candidates = ready();
        let Some(mut index) = candidates.next() else {
            return Tried::Nothing;
        };
        if !is_biased {
            let others = candidates.count();
            if others > 0 {
                let skip = random_below(others + 1);
                index = ready().nth(skip).unwrap_or(index);
            }
        }
        if intent == Intent::Watch {
            return Tried::Won(index, Won::Ready);
        }
        // SAFETY: locked, and room in the slot (the caller's word).
        match unsafe { arms[index].act(index, after) } {
            // The waiter that made it ready was won elsewhere meanwhile, and is off its queue now.
            Tried::Nothing => {}
            tried => return tried,
        }
    }
}

/// Has the receive arm wait for the promise that it has won.
///
/// # Safety
///
/// The arm's channel is locked, where `promise` was won. `waiter` has room for a waiter, which stays
/// in place as W1 demands.
unsafe fn pair(
    arm: &Arm<'_>,
    promise: WaiterRef,
    waiter: *mut Node<Waiter>,
    party: Party,
    after: &mut After,
) -> WaiterRef {
    // SAFETY: the caller's word; nobody else is told of the waiter before `pair`, and it alone can
    // wake its party, so it is uncontested.
    unsafe {
        waiter.write(Waiter::new(party, None, 1, Role::Value, arm.slot));
        let waiter = NonNull::new_unchecked(waiter);
        (*arm.core).pair(promise, waiter, after);
        waiter
    }
}

/// Tells the task's promise that the receive arm has won to send, whoever receives then.
///
/// # Safety
///
/// The arm's channel is locked, where `promise` was won.
unsafe fn ask_for(arm: &Arm<'_>, promise: WaiterRef, after: &mut After) {
    // SAFETY: the caller's word.
    unsafe { (*arm.core).ask_for(promise, after) };
}

/// Queues a waiter for every arm.
///
/// # Safety
///
/// All channels are locked (X1) and none is ready. `waiters` has room for a waiter per arm; they stay
/// in place as W1 demands.
unsafe fn queue(
    arms: &[Arm<'_>],
    waiters: *mut Node<Waiter>,
    party: Party,
    round: Round,
    intent: Intent,
    is_biased: bool,
    after: &mut After,
) {
    // Of several arms on one channel the first in its queue wins: let it be any of them.
    let first = if is_biased {
        0
    } else {
        random_below(arms.len())
    };
    for index in (first..arms.len()).chain(0..first) {
        let arm = &arms[index];
        if arm.chan.is_none() {
            continue;
        }
        let role = match (intent, arm.is_send) {
            (Intent::Watch, _) => Role::Watch,
            (Intent::Act, true) => Role::Promise,
            (Intent::Act, false) => Role::Value,
        };
        let code = u32::try_from(index + 1).expect("fewer arms than that");
        // SAFETY: room for this waiter, and the lock is held (the caller's word).
        unsafe {
            let waiter = waiters.add(index);
            waiter.write(Waiter::new(party, Some(round), code, role, arm.slot));
            let waiter = NonNull::new_unchecked(waiter);
            if arm.is_send {
                (*arm.core).queue_sender(waiter, after);
            } else {
                (*arm.core).queue_receiver(waiter, after);
            }
        }
    }
}

/// Takes the waiters off their queues, except the winner, which is off already.
///
/// # Safety
///
/// `queue` has queued them, and `order` is from `sort`. No lock is held.
unsafe fn unqueue(
    arms: &[Arm<'_>],
    order: &[u32],
    waiters: *mut Node<Waiter>,
    winner: Option<usize>,
) {
    let mut locked: Option<(&Chan, Locked<'_>)> = None;
    for &index in order {
        let index = index as usize;
        let arm = &arms[index];
        let Some(chan) = arm.chan else {
            continue;
        };
        if winner == Some(index) {
            continue;
        }
        let core = match &mut locked {
            Some((same, core)) if ptr::eq(*same, chan) => core,
            other => {
                *other = None;
                &mut other.insert((chan, chan.lock())).1
            }
        };
        // SAFETY: a waiter of this channel, for the direction of its arm.
        unsafe {
            let waiter = NonNull::new_unchecked(waiters.add(index));
            if arm.is_send {
                core.remove_sender(waiter);
            } else {
                core.remove_receiver(waiter);
            }
        }
    }
}

/// Ends a promise that will not be kept: the place, or the receiver, is for others.
pub(super) fn break_promise(chan: &Chan, promised: Promised) {
    let mut after = After::new();
    let mut core = chan.lock();
    match promised {
        Promised::Place => {
            core.redeem_place();
            // SAFETY: the channel's own core.
            unsafe { (chan.ops.refill)(chan, &mut core, &mut after) };
        }
        Promised::Peer(ticket) => {
            if let Some(receiver) = core.pop_held(ticket)
                && !cfg!(gort_fault = "chan_retry")
            {
                // SAFETY: held receivers were won; off the queue.
                unsafe { after.finish(receiver, Outcome::Retry) };
            }
        }
        Promised::Full | Promised::Closed => {}
    }
    drop(core);
    after.act();
}

/// A random number below `bound`, not 0. Marsaglia's xorshift; good enough to be fair.
fn random_below(bound: usize) -> usize {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    let mut x = STATE.get();
    if x == 0 {
        x = seed();
    }
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    STATE.set(x);
    // The high bits of the product are even enough for any number of arms.
    ((u128::from(x) * bound as u128) >> 64) as usize
}

/// A seed for one goroutine or thread, not 0.
#[cold]
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(g::current_id()) | 1
}

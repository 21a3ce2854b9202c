//! A select in async code.
//!
//! While it waits, its waiters lie in a box of their own, which the future frees: the `Select` is only
//! borrowed, so if the future is forgotten it may be changed or dropped while the waiters are still
//! queued. A forgotten box is never freed.

use std::fmt;
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use gort_queue::claim::Round;
use gort_queue::wait_list::Node;

use super::super::core::Promised;
use super::super::waiter::{After, Outcome, Party, Task, Waiter};
use super::selected::{SelectedOperation, Storage};
use super::set::Select;
use super::{
    Arm, Intent, Tried, Won, break_promise, lock, pair, queue, rearm, sort, try_arms, unlock,
    unqueue, won,
};

/// Selects an operation; made by [`Select::select_async`].
///
/// # Examples
///
/// ```
/// use gort::chan::{self, Select};
///
/// let (tx, rx) = chan::bounded(1);
/// let mut select = Select::new();
/// let receive = select.recv(&rx);
/// tx.send("ready").unwrap();
/// let selected = gort::block_on(select.select_async());
/// assert_eq!(selected.index(), receive);
/// assert_eq!(selected.recv(&rx), Ok("ready"));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct SelectFuture<'s, 'a> {
    select: &'s mut Select<'a>,
    waiting: Option<Waiting<'a>>,
    is_ready: bool,
}

/// A select that waits. The boxes are used through pointers only, for while a waiter is queued others
/// look at them.
struct Waiting<'a> {
    arms: Vec<Arm<'a>>,
    order: Vec<u32>,
    waiters: NonNull<Node<Waiter>>,
    shared: NonNull<Shared>,
    stage: Stage,
}

/// What peers look at, besides the waiters.
struct Shared {
    task: Task,
    storage: Option<Storage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Idle,
    /// Every arm has a waiter; they share this round.
    Queued(Round),
    /// This arm alone waits, for a promise to be kept.
    Paired(usize),
}

// SAFETY: as for `Select`, and for the futures of one channel: the waiters are used under the locks of
// their channels by whoever finds them. A value in the storage is nobody's to look at but the
// handle's owner's.
unsafe impl Send for SelectFuture<'_, '_> {}
// SAFETY: a shared reference gives access to nothing but `Debug`.
unsafe impl Sync for SelectFuture<'_, '_> {}

/// The code with which a future that is dropped wins its own claim.
const DROPPED: u32 = u32::MAX - 1;

impl<'s, 'a> SelectFuture<'s, 'a> {
    pub(super) fn new(select: &'s mut Select<'a>) -> Self {
        Self {
            select,
            waiting: None,
            is_ready: false,
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(select: &mut Select<'a>) -> Self {
        let mut arms = select.arms();
        let mut order = vec![0; arms.len()];
        sort(&arms, &mut order);
        let shared = NonNull::from(Box::leak(Box::new(Shared {
            task: Task::new(),
            storage: Some(select.storage()),
        })));
        // SAFETY: just made, and known to nobody else.
        let storage = unsafe { &mut *shared.as_ptr() }.storage.as_mut();
        let slot = storage.expect("put there just now").slot();
        for arm in &mut arms {
            arm.slot = slot;
        }
        let waiters = Box::<[Node<Waiter>]>::new_uninit_slice(arms.len());
        Self {
            arms,
            order,
            waiters: NonNull::from(Box::leak(waiters)).cast(),
            shared,
            stage: Stage::Idle,
        }
    }

    fn task(&self) -> &Task {
        // SAFETY: the box lives as long as we do, and its task is only shared.
        unsafe { &(*self.shared.as_ptr()).task }
    }

    /// Looks at the arms once more, or at what became of the waiters.
    fn poll(&mut self, is_biased: bool, context: &Context<'_>) -> Poll<(usize, Won)> {
        // Before the look, so that whoever finishes a waiter after it finds this waker.
        self.task().set_waker(context.waker());
        loop {
            match self.stage {
                Stage::Idle => {}
                Stage::Queued(round) => {
                    if self.task().claim().is_open(round) {
                        return Poll::Pending;
                    }
                    let index = self.task().claim().winner() as usize - 1;
                    // SAFETY: queued. The winner may be held, on its channel's list; it stays there.
                    unsafe {
                        unqueue(&self.arms, &self.order, self.waiters.as_ptr(), Some(index));
                    }
                    self.stage = Stage::Paired(index);
                    continue;
                }
                Stage::Paired(index) => {
                    // SAFETY: written when it was queued or paired, which this stage follows.
                    let waiter = unsafe { self.waiters.add(index).as_ref() };
                    // Whoever won the claim set the outcome under the lock, and still holds it if we
                    // are early.
                    let chan = self.arms[index].chan.expect("nil channels win nothing");
                    let core = chan.lock();
                    let outcome = waiter.data.outcome();
                    drop(core);
                    if let Outcome::Held(_) = outcome {
                        return Poll::Pending;
                    }
                    self.stage = Stage::Idle;
                    if let Some(won) = won(waiter.data.role(), outcome) {
                        rearm(&self.arms);
                        return Poll::Ready((index, won));
                    }
                }
            }

            let mut after = After::new();
            lock(&mut self.arms, &self.order);
            // SAFETY: locked; the slots have room.
            let tried = unsafe { try_arms(&self.arms, Intent::Act, is_biased, &mut after) };
            let party = Party::Task(NonNull::from(self.task()));
            match tried {
                Tried::Won(..) => {}
                Tried::Promise(index, promise) => {
                    // SAFETY: locked; won just now; the waiters' box outlives their being queued (W1):
                    // our drop takes them off, and a forgotten box is never freed.
                    unsafe {
                        let waiter = self.waiters.as_ptr().add(index);
                        pair(&self.arms[index], promise, waiter, party, &mut after);
                    }
                    self.stage = Stage::Paired(index);
                }
                Tried::Nothing => {
                    let round = self.task().claim().open();
                    // SAFETY: locked, nothing is ready; as above.
                    unsafe {
                        let waiters = self.waiters.as_ptr();
                        queue(
                            &self.arms,
                            waiters,
                            party,
                            round,
                            Intent::Act,
                            is_biased,
                            &mut after,
                        );
                    }
                    self.stage = Stage::Queued(round);
                }
            }
            unlock(&mut self.arms);
            after.act();
            rearm(&self.arms);
            return match tried {
                Tried::Won(index, won) => Poll::Ready((index, won)),
                _ => Poll::Pending,
            };
        }
    }

    /// Takes the waiters off their queues, and gives back what they have got.
    fn cancel(&mut self) {
        let index = match self.stage {
            Stage::Idle => return,
            Stage::Queued(round) => {
                let is_ours = self.task().claim().try_claim(round, DROPPED);
                let winner = (!is_ours).then(|| self.task().claim().winner() as usize - 1);
                // SAFETY: queued, and `order` is from `sort`.
                unsafe { unqueue(&self.arms, &self.order, self.waiters.as_ptr(), winner) };
                match winner {
                    None => return,
                    Some(winner) => winner,
                }
            }
            Stage::Paired(index) => index,
        };
        let arm = &self.arms[index];
        let chan = arm.chan.expect("nil channels win nothing");
        let mut core = chan.lock();
        // SAFETY: written when it was queued or paired. If it is held, it is taken off that list.
        let (role, outcome) = unsafe {
            let waiter = self.waiters.add(index);
            if !arm.is_send {
                core.remove_receiver(waiter);
            }
            (waiter.as_ref().data.role(), waiter.as_ref().data.outcome())
        };
        drop(core);
        if let Outcome::Held(_) = outcome {
            rearm(&self.arms);
            return;
        }
        match won(role, outcome) {
            // SAFETY: a value of the channel's type is in the slot, and nobody has taken it.
            Some(Won::Value) => unsafe { (chan.ops.give_back)(chan, arm.slot) },
            Some(Won::Promised(promised)) if promised != Promised::Closed => {
                break_promise(chan, promised);
            }
            _ => {}
        }
        rearm(&self.arms);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.cancel();
        let waiters = NonNull::slice_from_raw_parts(
            self.waiters.cast::<MaybeUninit<Node<Waiter>>>(),
            self.arms.len(),
        );
        // SAFETY: leaked in `new`; no waiter is queued any more, so nobody else knows them.
        unsafe {
            drop(Box::from_raw(waiters.as_ptr()));
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}

impl<'a> Future for SelectFuture<'_, 'a> {
    type Output = SelectedOperation<'a>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(!this.is_ready, "`SelectFuture` polled after completion");
        let is_biased = this.select.is_biased();
        let waiting = match &mut this.waiting {
            Some(waiting) => waiting,
            none => none.insert(Waiting::new(this.select)),
        };
        match waiting.poll(is_biased, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((index, won)) => {
                this.is_ready = true;
                // SAFETY: no waiter is queued any more, so only we know the box.
                let storage = unsafe { &mut *waiting.shared.as_ptr() }.storage.take();
                let storage = storage.expect("there until the future is ready");
                this.waiting = None;
                Poll::Ready(this.select.selected(index, won, storage))
            }
        }
    }
}

impl fmt::Debug for SelectFuture<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectFuture { .. }")
    }
}

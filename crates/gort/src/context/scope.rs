//! The part of a context that ends: by a cancel, a deadline, or with its parent.
//!
//! Ending a scope ends all below it, in one walk through the tree that needs no recursion and no
//! memory: it goes down to the first child, and a node without children leaves its parent's list and
//! is done with. Several may walk one tree at a time; each does for every node what is not yet done, so
//! when any of them has returned all below its root has ended. (Go holds the parent's lock
//! meanwhile. Here users' wakers are called on the way, and nobody's lock is held then.)
//!
//! | state    | to be seen from outside                                                      |
//! |----------|------------------------------------------------------------------------------|
//! | LIVE     | no error; `done` open                                                        |
//! | ENDING   | error and cause are settled for good; whoever looks at them closes `done`    |
//! | SETTLED  | `done` is closed                                                             |
//! | FINISHED | so are those of all below; it has no children and is on no list              |
//!
//! S1. LIVE is left once, under the scope's lock, together with `Tree::cause`.
//! S2. A child is on its parent's list from `join_parent` until `leave_parent`, which both take the
//!     parent's lock. None is added once the parent is not LIVE: it begins ENDING instead.
//! S3. **Error and `done` agree.** `done` may not exist yet. That it does (HAS_DONE) and that the scope
//!     has ended are bits of one word: so who ends the scope sees that there is `done`, or who makes it
//!     sees the end, and closes it. Nobody waits for them: who is told of an error, or given `done`
//!     after the end, has closed `done` himself before that, if need be.
//! S4. A node with `Tail::Func` is kept by its parent's list, as nobody else need have it. That is no
//!     leak: a scope ends at the latest when its last handle goes, and lets go of them.
//! S5. `done` is written once, under the scope's lock, before HAS_DONE is set; who reads it has seen
//!     HAS_DONE.
//!
//! Under the lock there is no allocation, no drop, no wake-up.
//!
//! Checked by the tests of `context`, `crates/gort/tests/context` and the CX cases.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use gort_core::cancel::Cancellation;
use gort_core::lock::Mutex;
use gort_queue::wait_list::{self, WaitList};

use super::alarm::Alarm;
use super::error::{Cause, ContextError};
use super::func::FuncCell;
use super::node::{Kind, Node, NodeRef};
use crate::chan::Receiver;
use crate::chan::signal::Signal;

/// What a node that can end has.
pub(super) struct Scope {
    /// Error in the lower bits, how far its end has come, and whether there is `done`. Changed by
    /// `fetch_or` alone, with Release: who sees a bit by an acquire sees `done` as well, if its bit came
    /// before (S5).
    state: AtomicU8,
    tree: Mutex<Tree>,
    /// The place in the parent's list. Guarded by the parent's lock (S2).
    link: wait_list::Node<Child>,
    /// Who waits under this scope (`current`).
    pub(super) cancellation: Cancellation,
    /// Made when somebody asks for it (S3, S5).
    done: UnsafeCell<Option<Signal>>,
    /// How many `Cancel`s there are.
    pub(super) handles: AtomicUsize,
    pub(super) tail: Tail,
}

/// What the end of a scope has to see to.
pub(super) enum Tail {
    Nothing,
    /// The timer of its own deadline.
    Alarm(Box<Alarm>),
    /// A function to run.
    Func(FuncCell),
}

struct Tree {
    children: WaitList<Child>,
    /// S1. None: the error says it all.
    cause: Option<Cause>,
}

/// A node, as its parent's list knows it.
#[derive(Clone, Copy)]
struct Child(NonNull<Node>);

// SAFETY: the address is used under the lock of the list, where the node is in place, and then only to
// retain it; nodes may be used on any thread.
unsafe impl Send for Child {}

/// Why a scope ends.
#[derive(Clone)]
pub(super) struct Verdict {
    pub(super) error: ContextError,
    pub(super) cause: Option<Cause>,
}

const LIVE: u8 = 0;
const CANCELED: u8 = 1;
const DEADLINE_EXCEEDED: u8 = 2;
const ERROR: u8 = 3;
const SETTLED: u8 = 4;
const FINISHED: u8 = 8;
const HAS_DONE: u8 = 16;

impl Verdict {
    pub(super) fn canceled() -> Verdict {
        Verdict {
            error: ContextError::Canceled,
            cause: None,
        }
    }
}

impl Scope {
    /// For the node that will be at `node`.
    pub(super) fn new(node: NonNull<Node>, tail: Tail) -> Scope {
        Scope {
            state: AtomicU8::new(LIVE),
            tree: Mutex::new(Tree {
                children: WaitList::new(),
                cause: None,
            }),
            link: wait_list::Node::new(Child(node)),
            cancellation: Cancellation::new(),
            done: UnsafeCell::new(None),
            handles: AtomicUsize::new(1),
            tail,
        }
    }

    /// The error, once the scope has ended.
    pub(super) fn error(&self) -> Option<ContextError> {
        let state = self.state.load(Ordering::Acquire);
        let error = error_of(state)?;
        self.settle(state);
        Some(error)
    }

    /// Error and cause, once the scope has ended.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let error = self.error()?;
        let cause = self.tree.lock().cause.clone();
        Some(Verdict { error, cause })
    }

    /// Closed by the end.
    pub(super) fn done(&self) -> &Receiver<()> {
        let mut state = self.state.load(Ordering::Acquire);
        if state & HAS_DONE == 0 {
            state = self.make_done();
        }
        let done = self.done_if(state).expect("S5: it is there by now");
        // S3. Who has ended the scope may not have come to close it yet.
        if !is_live(state) {
            done.close();
        }
        done.receiver()
    }

    /// Returns the state with HAS_DONE, and with the end if that came before (S3).
    #[cold]
    fn make_done(&self) -> u8 {
        let mut new = Some(Signal::new());
        {
            let _tree = self.tree.lock();
            if self.state.load(Ordering::Relaxed) & HAS_DONE == 0 {
                // SAFETY: nobody may look or write meanwhile: they look once HAS_DONE is set, and
                // write under the lock, which we have (S5).
                unsafe { *self.done.get() = new.take() };
                self.state.fetch_or(HAS_DONE, Ordering::Release);
            }
        }
        // Without the lock, if somebody else was first.
        drop(new);
        self.state.load(Ordering::Acquire)
    }

    /// `done`, if there is one by `state`, which the caller has seen by an acquire.
    fn done_if(&self, state: u8) -> Option<&Signal> {
        if state & HAS_DONE == 0 {
            return None;
        }
        // SAFETY: it was written before the bit, which the caller's acquire has seen, and never is again
        // (S5).
        unsafe { &*self.done.get() }.as_ref()
    }

    /// ENDING to SETTLED; anybody may do it, who has seen `state`.
    fn settle(&self, state: u8) {
        if state & SETTLED != 0 {
            return;
        }
        // S3.
        if let Some(done) = self.done_if(state) {
            done.close();
        }
        self.state.fetch_or(SETTLED, Ordering::Release);
    }

    /// LIVE to SETTLED, with all that belongs to it. Does nothing more than to make sure of SETTLED if
    /// the end has begun already.
    fn begin_end(&self, verdict: Verdict) {
        let is_first = {
            let mut tree = self.tree.lock();
            let is_first = is_live(self.state.load(Ordering::Relaxed));
            if is_first {
                // Nothing is dropped: there was no cause before.
                tree.cause = verdict.cause;
                let code = match verdict.error {
                    ContextError::Canceled => CANCELED,
                    ContextError::DeadlineExceeded => DEADLINE_EXCEEDED,
                };
                self.state.fetch_or(code, Ordering::Release);
            }
            is_first
        };
        self.settle(self.state.load(Ordering::Acquire));
        if is_first {
            // They ask for the error next, which is there.
            self.cancellation.cancel();
            match &self.tail {
                Tail::Nothing => {}
                Tail::Alarm(alarm) => alarm.stop(),
                Tail::Func(func) => func.start(),
            }
        }
    }

    /// The first child that is not about to be freed.
    fn first_child(&self) -> Option<NodeRef> {
        let mut tree = self.tree.lock();
        while let Some(link) = tree.children.front() {
            // SAFETY: a node on the list takes itself off, under the lock that we have, before it is
            // freed (N1, S2).
            match unsafe { NodeRef::try_retain(link.as_ref().data.0) } {
                Some(child) => return Some(child),
                // It is about to find that it has been taken off.
                None => tree.children.pop_front(),
            };
        }
        None
    }

    /// How many children it has.
    #[cfg(test)]
    pub(super) fn child_count(&self) -> usize {
        self.tree.lock().children.len()
    }
}

fn is_live(state: u8) -> bool {
    state & ERROR == LIVE
}

fn error_of(state: u8) -> Option<ContextError> {
    match state & ERROR {
        LIVE => None,
        CANCELED => Some(ContextError::Canceled),
        _ => Some(ContextError::DeadlineExceeded),
    }
}

impl Node {
    /// Its part that ends.
    ///
    /// # Panics
    ///
    /// If it has none: callers come from `nearest` or `above`, or have made the node.
    pub(super) fn scope(&self) -> &Scope {
        match &self.kind {
            Kind::Scope(scope) => scope,
            _ => unreachable!("a node that cannot end was asked for its end"),
        }
    }

    /// Takes a new node's place in its parent's list; or, if the parent has ended, ends it as well.
    pub(super) fn join_parent(&self) {
        let Some(above) = self.above() else { return };
        let scope = self.scope();
        // S4. Before the lock, since it may be needed the moment the node is listed.
        let kept = matches!(scope.tail, Tail::Func(_)).then(|| NodeRef::of(self));
        let is_live = {
            let mut tree = above.scope().tree.lock();
            let is_live = is_live(above.scope().state.load(Ordering::Relaxed));
            if is_live {
                // SAFETY: a new node is on no list. It stays in place until it is freed, before which
                // it takes itself off (N1).
                unsafe { tree.children.push_back(NonNull::from(&scope.link)) };
            }
            is_live
        };
        if is_live {
            // The list's (S4).
            kept.map(NodeRef::into_raw);
            return;
        }
        let verdict = above.scope().verdict();
        scope.begin_end(verdict.expect("S1: an ancestor that is not LIVE has a verdict"));
        // It has no children, and was never listed.
        scope.state.fetch_or(FINISHED, Ordering::Release);
    }

    /// Leaves the parent's list, if it is on it.
    pub(super) fn leave_parent(&self) {
        let (Kind::Scope(scope), Some(above)) = (&self.kind, self.above()) else {
            return;
        };
        let was_listed = {
            let mut tree = above.scope().tree.lock();
            // SAFETY: on this list or on none, ever (S2).
            unsafe { tree.children.remove(NonNull::from(&scope.link)) }
        };
        if was_listed && matches!(scope.tail, Tail::Func(_)) {
            // SAFETY: the list's reference (S4), given back by whoever took the node off. The caller
            // has another.
            drop(unsafe { NodeRef::from_raw(NonNull::from(self)) });
        }
    }
}

impl NodeRef {
    /// Ends the scope with everything below it. If that is on its way already, for whatever reason, then
    /// so it is; but it is over when this returns.
    pub(super) fn end(&self, verdict: Verdict) {
        if self.scope().state.load(Ordering::Acquire) & FINISHED != 0 {
            return;
        }
        self.scope().begin_end(verdict);
        let mut at = self.clone();
        loop {
            if let Some(child) = at.scope().first_child() {
                // The parent's own, which may be another than ours if it had ended before.
                let verdict = at.scope().verdict();
                let verdict = verdict.expect("the walk enters a scope after its end has begun");
                child.scope().begin_end(verdict);
                at = child;
                continue;
            }
            at.leave_parent();
            at.scope().state.fetch_or(FINISHED, Ordering::Release);
            if std::ptr::eq(&*at, &**self) {
                return;
            }
            let above = at.above().expect("the walk came from there");
            at = NodeRef::of(above);
        }
    }
}

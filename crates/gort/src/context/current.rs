//! The current context of a goroutine (or plain thread): the one whose end also ends what it waits for.
//!
//! It is a thread-local, which here is goroutine-local: a null word for all who have not entered a
//! context that can end. Who may wait asks [`check`], and waits under the `Cancellation` of [`current`]
//! (`gort_core::cancel` has the argument that no cancel is missed).
//!
//! U1. The word names the scope of a context that an `enter` further up on this stack borrows: it is set
//!     when that begins and set back when it ends, by return or unwinding. So the scope is alive for
//!     whoever reads the word, until he returns.
//!
//! A new goroutine starts without one (`Builder::context` enters one in it): a goroutine may outlive what its
//! creator does, and is not to be stopped because that has ended.

use std::cell::Cell;
use std::io;
use std::ptr::NonNull;

use gort_core::cancel::Cancellation;
use gort_core::g;
use gort_core::sched::{self, Woken};
use gort_core::wait_reason::WaitReason;

use super::error::ContextError;
use super::node::{Node, NodeRef};
use super::{Context, Repr};

thread_local! {
    /// U1.
    static CURRENT: Cell<Option<NonNull<Node>>> = const { Cell::new(None) };
}

/// What ends the waits of the current goroutine, if anything.
#[derive(Debug)]
pub(crate) struct Current(Option<NodeRef>);

/// What ends the waits of the current goroutine: for whoever is about to park, as it is counted.
#[inline]
pub(crate) fn current() -> Current {
    // SAFETY: alive until we return (U1), and then by the reference.
    let retain = |node: NonNull<Node>| NodeRef::of(unsafe { node.as_ref() });
    Current(CURRENT.get().map(retain))
}

/// Whether there is a current context that can end, or has.
#[inline]
pub(crate) fn is_some() -> bool {
    CURRENT.get().is_some()
}

/// Says whether the current context goes on.
///
/// # Errors
///
/// It has ended.
#[inline]
pub(crate) fn check() -> Result<(), ContextError> {
    let Some(node) = CURRENT.get() else {
        return Ok(());
    };
    // SAFETY: alive until we return (U1).
    match unsafe { node.as_ref() }.scope().error() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// The error of a call whose wait was called off: it was under the current context, which says why.
pub(crate) fn ended() -> io::Error {
    let error = check().err().unwrap_or(ContextError::Canceled);
    error.into()
}

impl Current {
    /// What to wait under.
    #[inline]
    pub(crate) fn cancellation(&self) -> Option<&Cancellation> {
        self.0.as_ref().map(|node| &node.scope().cancellation)
    }

    /// As a context, for a goroutine that helps with a call of this one.
    pub(crate) fn to_context(&self) -> Context {
        match &self.0 {
            Some(node) => Context(Repr::Node(node.clone())),
            None => Context::BACKGROUND,
        }
    }

    /// Sleeps until `deadline_ns`, or until the current context has ended.
    #[track_caller]
    pub(crate) fn sleep_until(&self, deadline_ns: u64) {
        let Some(cancellation) = self.cancellation() else {
            return sched::sleep_until(deadline_ns);
        };
        let round = g::current().claim().open();
        let woken = cancellation.park_until(WaitReason::Sleep, round, deadline_ns);
        debug_assert_eq!(woken, Woken::TimedOut, "nobody else knows the round");
    }
}

impl Context {
    /// Runs `f` with this as the current context of the goroutine (or plain thread).
    ///
    /// Meanwhile its calls of [`net`](crate::net), of pipes and standard input in [`io`](crate::io) and of
    /// [`process`](crate::process) that wait, and those that begin, fail once this context is done: with an
    /// [`io::Error`] that carries the [`ContextError`], of kind `TimedOut` for a deadline
    /// and `Other` for a cancel. [`time::sleep`](crate::time::sleep) returns early. The system's resolver
    /// cannot be stopped: it goes on without the caller. Locks, wait groups, `join` and channels do not
    /// obey it; channels and semaphores have forms that take a context
    /// ([`recv_ctx`](crate::chan::Receiver::recv_ctx)).
    ///
    /// It replaces what was current before, which comes back when `f` returns or unwinds. To have both,
    /// make one context from the other. [`background`](super::background) switches it off. Goroutines that
    /// `f` starts begin without a current context, as they may go on after it; see
    /// [`Builder::context`](crate::Builder::context).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    ///
    /// let listener = gort::net::TcpListener::bind("127.0.0.1:0")?;
    /// let (ctx, _cancel) = context::background().with_timeout(Duration::from_millis(5));
    /// let error = ctx.enter(|| listener.accept()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// let inner = error.get_ref().unwrap().downcast_ref();
    /// assert_eq!(inner, Some(&ContextError::DeadlineExceeded));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Sets the word back.
        struct Before(Option<NonNull<Node>>);

        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }

        // U1: `self` is borrowed until `f` has returned, and keeps the scope.
        let _before = Before(CURRENT.replace(self.nearest().map(NonNull::from)));
        f()
    }
}

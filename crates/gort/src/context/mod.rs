//! Contexts: how a goroutine is told to stop, by what time, and for whom it works. Go's `context`.
//!
//! A context is made from another, and ends at the latest with it: [`background`] is the root, which
//! never ends; [`Context::with_cancel`] gives one that can be cancelled, [`Context::with_deadline`] and
//! [`Context::with_timeout`] one that ends by itself, [`Context::with_value`] one that carries a value.
//! Hand it down as the first argument of whatever may take long.
//!
//! A context that is done stops nothing by itself, and nothing ever unwinds because of one: code asks
//! [`err`](Context::err), or waits for [`done`](Context::done) as an arm of a
//! [`select!`](crate::chan::select), or in [`recv_ctx`](chan::Receiver::recv_ctx) and its like. Code that
//! knows nothing of contexts obeys one that it was called in, where it reads, writes or sleeps:
//! [`Context::enter`].
//!
//! ```
//! use gort::chan::{self, select};
//! use gort::context::{self, Context, ContextError};
//! use std::time::Duration;
//!
//! fn first_of(ctx: &Context, answers: &chan::Receiver<i32>) -> Result<i32, ContextError> {
//!     select! {
//!         recv(answers) -> answer => Ok(answer.unwrap()),
//!         recv(ctx.done()) -> _ => Err(ctx.err().unwrap()),
//!     }
//! }
//!
//! let (_tx, rx) = chan::unbounded();
//! let (ctx, _cancel) = context::background().with_timeout(Duration::from_millis(5));
//! assert_eq!(first_of(&ctx, &rx), Err(ContextError::DeadlineExceeded));
//! ```
//!
//! Everything here works from goroutines, plain OS threads and futures alike, and never blocks.
//!
//! # What it costs
//!
//! A context that can be cancelled is one allocation, one with a timer of its own two, and the channel
//! of [`done`](Context::done) is made when somebody first asks for it. A deadline later than the parent's
//! needs no timer. A timer is gone as soon as its context is done, and a child that is done or dropped
//! leaves nothing in its parent. Cancelling visits every context below once, without recursion.
//!
//! Inside, from the ground up: `node` is the tree, `scope` the part of a node that ends, with the
//! protocol of ending; `alarm` the timer of a deadline, `func` a function that waits for the end;
//! `cancel` the handles; `current` the context that I/O obeys, `channels` operations that take one;
//! `unstoppable` calls that go on alone when their caller's context is done.

#![deny(unsafe_code)]

#[expect(
    unsafe_code,
    reason = "a timer is armed by its address, and firing may not allocate what would hide that"
)]
mod alarm;
mod cancel;
mod channels;
#[expect(
    unsafe_code,
    reason = "the current context costs nothing where there is none, and no count where there is"
)]
pub(crate) mod current;
mod error;
mod func;
#[expect(
    unsafe_code,
    reason = "a count that can be asked without holding a part of it"
)]
mod node;
#[expect(unsafe_code, reason = "children lie in their parent's list themselves")]
mod scope;
#[cfg(test)]
mod tests;
pub(crate) mod unstoppable;

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort_core::cancel::Cancellation;
use gort_core::clock::{self, NEVER};
use gort_core::runtime;

pub use cancel::{Cancel, CancelCause};
pub use channels::{RecvCtxError, SendCtxError};
pub use error::{Cause, ContextError};
pub use func::StopFunc;

use crate::chan::{self, Receiver};
use alarm::Alarm;
use func::FuncCell;
use node::{Kind, Node, NodeRef};
use scope::{Scope, Tail};

/// A deadline, a signal to stop, and values, for everything done on somebody's behalf.
///
/// Clones are the same context. Contexts are made from others; see the [module's page](self).
///
/// `{:?}` shows how it was made, as Go's `String`: `context.Background.WithCancel`.
///
/// # Examples
///
/// ```
/// use gort::context::{self, Context};
///
/// /// Long work asks now and then whether it is still wanted.
/// fn count(ctx: &Context) -> u64 {
///     (0..).find(|_| ctx.err().is_some()).unwrap()
/// }
///
/// gort::run(|| {
///     let (ctx, cancel) = context::background().with_cancel();
///     let counting = gort::go({
///         let ctx = ctx.clone();
///         move || count(&ctx)
///     });
///     cancel.cancel();
///     counting.join().unwrap();
/// });
/// ```
#[derive(Clone)]
#[doc(alias = "context.Context")]
pub struct Context(Repr);

#[derive(Clone)]
enum Repr {
    Background,
    Todo,
    Node(NodeRef),
}

/// The root of all contexts: never done, without a deadline, without values.
///
/// # Examples
///
/// ```
/// let ctx = gort::context::background();
/// assert_eq!(ctx.err(), None);
/// assert_eq!(format!("{ctx:?}"), "context.Background");
/// ```
#[doc(alias = "context.Background")]
pub const fn background() -> Context {
    Context::BACKGROUND
}

/// As [`background`], for places that do not know yet which context to use.
///
/// # Examples
///
/// ```
/// use gort::context::{self, Context};
///
/// fn fetch(ctx: &Context) -> Option<u32> {
///     ctx.err().is_none().then_some(1)
/// }
///
/// // Here a caller's context should come in, one day.
/// assert_eq!(fetch(&context::todo()), Some(1));
/// ```
#[doc(alias = "context.TODO")]
pub const fn todo() -> Context {
    Context(Repr::Todo)
}

impl Context {
    const BACKGROUND: Context = Context(Repr::Background);

    /// A context that is done when it is cancelled, or with this one.
    ///
    /// # Examples
    ///
    /// ```
    /// let (parent, cancel) = gort::context::background().with_cancel();
    /// let (child, _cancel_child) = parent.with_cancel();
    /// cancel.cancel();
    /// assert!(child.err().is_some());
    /// ```
    #[doc(alias = "WithCancel")]
    pub fn with_cancel(&self) -> (Context, Cancel) {
        self.with_scope(self.deadline_ns(), None)
    }

    /// As [`with_cancel`](Self::with_cancel); whoever cancels says why. See
    /// [`CancelCause::cancel`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (ctx, cancel) = gort::context::background().with_cancel_cause();
    /// cancel.cancel("out of stock");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "out of stock");
    /// ```
    #[doc(alias = "WithCancelCause")]
    pub fn with_cancel_cause(&self) -> (Context, CancelCause) {
        let (ctx, cancel) = self.with_cancel();
        (ctx, CancelCause(cancel))
    }

    /// A context that is done at `deadline`, when it is cancelled, or with this one.
    ///
    /// A deadline in the past makes one that is done already. If this context has an earlier one,
    /// that counts.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use gort::context;
    ///
    /// let late = Instant::now() + Duration::from_secs(3600);
    /// let early = Instant::now() + Duration::from_secs(60);
    /// let (parent, _cancel) = context::background().with_deadline(early);
    /// let (child, _cancel) = parent.with_deadline(late);
    /// assert_eq!(child.deadline(), parent.deadline());
    /// ```
    #[doc(alias = "WithDeadline")]
    pub fn with_deadline(&self, deadline: Instant) -> (Context, Cancel) {
        self.with_due(clock::from_instant(deadline), None)
    }

    /// As [`with_deadline`](Self::with_deadline); `cause` is what [`cause`](Self::cause) gives if it is
    /// the deadline that ends the context. A cancel ends it without a cause.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let closing = Instant::now() + Duration::from_millis(1);
    /// let (ctx, _cancel) =
    ///     gort::context::background().with_deadline_cause(closing, "the kitchen has closed");
    /// assert!(ctx.done().recv().is_err());
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the kitchen has closed");
    /// ```
    #[doc(alias = "WithDeadlineCause")]
    pub fn with_deadline_cause(
        &self,
        deadline: Instant,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Context, Cancel) {
        self.with_due(
            clock::from_instant(deadline),
            Some(Cause::from(cause.into())),
        )
    }

    /// A context that is done after `timeout`, when it is cancelled, or with this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = context::background().with_timeout(Duration::from_millis(1));
    /// assert!(ctx.done().recv().is_err());
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// ```
    #[doc(alias = "WithTimeout")]
    pub fn with_timeout(&self, timeout: Duration) -> (Context, Cancel) {
        self.with_due(clock::deadline_after(timeout), None)
    }

    /// As [`with_timeout`](Self::with_timeout), with a cause as
    /// [`with_deadline_cause`](Self::with_deadline_cause).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::context::{self, ContextError};
    ///
    /// let (ctx, _cancel) =
    ///     context::background().with_timeout_cause(Duration::ZERO, "the kitchen has closed");
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the kitchen has closed");
    /// ```
    #[doc(alias = "WithTimeoutCause")]
    pub fn with_timeout_cause(
        &self,
        timeout: Duration,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> (Context, Cancel) {
        self.with_due(
            clock::deadline_after(timeout),
            Some(Cause::from(cause.into())),
        )
    }

    fn with_due(&self, due_ns: u64, cause: Option<Cause>) -> (Context, Cancel) {
        // Go's rule: the earlier deadline of the parent is that of the child, without a timer.
        if due_ns >= self.deadline_ns() {
            return self.with_cancel();
        }
        self.with_scope(due_ns, Some(cause))
    }

    /// A scope below this context. `alarm`: it ends by its own deadline, with that cause.
    fn with_scope(&self, deadline_ns: u64, alarm: Option<Option<Cause>>) -> (Context, Cancel) {
        let node = NodeRef::new(self.clone(), deadline_ns, |node| {
            let tail = match alarm {
                None => Tail::Nothing,
                Some(cause) => Tail::Alarm(Alarm::new(node, cause)),
            };
            Kind::Scope(Scope::new(node, tail))
        });
        node.join_parent();
        if let Tail::Alarm(alarm) = &node.scope().tail {
            if clock::now_ns() >= deadline_ns {
                node.end(alarm.verdict());
            } else {
                runtime::ensure_started();
                alarm.arm(&node, deadline_ns);
                // Whoever has ended it before stopped the alarm before it was armed.
                if node.scope().error().is_some() {
                    alarm.stop();
                }
            }
        }
        (Context(Repr::Node(node.clone())), Cancel::first_of(node))
    }

    /// A context that carries `value`, which [`value`](Self::value) finds by its type. It hides one of
    /// the same type in this context.
    ///
    /// Use it for what belongs to a request and crosses libraries, not for arguments. Give each
    /// purpose a type of its own, so that nobody else's value can be taken for it.
    ///
    /// # Examples
    ///
    /// ```
    /// struct RequestId(u64);
    ///
    /// let ctx = gort::context::background().with_value(RequestId(7));
    /// assert_eq!(ctx.value::<RequestId>().unwrap().0, 7);
    /// assert!(ctx.value::<u64>().is_none());
    /// ```
    #[doc(alias = "WithValue")]
    pub fn with_value<T: Any + Send + Sync>(&self, value: T) -> Context {
        let value = Kind::Value {
            value: Arc::new(value),
            type_name: type_name::<T>(),
        };
        let node = NodeRef::new(self.clone(), self.deadline_ns(), |_| value);
        Context(Repr::Node(node))
    }

    /// The value of type `T` that this context, or the nearest of those it was made from, carries.
    ///
    /// Goes up the whole chain if need be; keep what you look up if you need it often.
    ///
    /// # Examples
    ///
    /// ```
    /// struct User(&'static str);
    ///
    /// let ctx = gort::context::background().with_value(User("ann"));
    /// let (below, _cancel) = ctx.with_value(7_u32).with_cancel();
    /// assert_eq!(below.value::<User>().unwrap().0, "ann");
    /// ```
    #[doc(alias = "Value")]
    pub fn value<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.chain().find_map(Node::own_value)
    }

    /// A context with the values of this one that does not end with it, and has no deadline: for what has
    /// to be done even so.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ctx, cancel) = gort::context::background().with_value("bob").with_cancel();
    /// let rollback = ctx.without_cancel();
    /// cancel.cancel();
    /// assert_eq!(rollback.err(), None);
    /// assert_eq!(*rollback.value::<&str>().unwrap(), "bob");
    /// ```
    #[doc(alias = "WithoutCancel")]
    pub fn without_cancel(&self) -> Context {
        let node = NodeRef::new(self.clone(), NEVER, |_| Kind::WithoutCancel);
        Context(Repr::Node(node))
    }

    /// Runs `f` in a new goroutine once this context is done; at once if it is. Go's `context.AfterFunc`.
    ///
    /// The handle that comes back can stop it before that. Dropping the handle does not: then `f`
    /// runs in any case, or is dropped with the context if that is never done.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ctx, cancel) = gort::context::background().with_cancel();
    /// let (tx, rx) = gort::chan::bounded(1);
    /// let stop = ctx.after_func(move || tx.send("done").unwrap());
    /// cancel.cancel();
    /// assert_eq!(rx.recv(), Ok("done"));
    /// assert!(!stop.stop());
    /// ```
    #[doc(alias = "AfterFunc")]
    #[doc(alias = "context.AfterFunc")]
    #[track_caller]
    pub fn after_func(&self, f: impl FnOnce() + Send + 'static) -> StopFunc {
        let func = FuncCell::new(f);
        let node = NodeRef::new(self.clone(), self.deadline_ns(), |node| {
            Kind::Scope(Scope::new(node, Tail::Func(func)))
        });
        node.join_parent();
        StopFunc { node }
    }

    /// A channel that is closed when this context is done: `recv` on it waits for that, and is an arm
    /// of a [`select!`](crate::chan::select). Nothing is ever sent on it, and closing it by hand does
    /// nothing.
    ///
    /// Of a context that is never done it is the [nil channel](crate::chan::never).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, select};
    ///
    /// gort::run(|| {
    ///     let (ctx, cancel) = gort::context::background().with_cancel();
    ///     let (_tx, orders) = chan::unbounded::<u32>();
    ///     let clerk = gort::go(move || {
    ///         select! {
    ///             recv(orders) -> _ => "an order",
    ///             recv(ctx.done()) -> _ => "the end of the day",
    ///         }
    ///     });
    ///     cancel.cancel();
    ///     assert_eq!(clerk.join().unwrap(), "the end of the day");
    /// });
    /// ```
    #[doc(alias = "Done")]
    pub fn done(&self) -> &Receiver<()> {
        static NEVER_DONE: Receiver<()> = chan::never();
        match self.nearest() {
            Some(node) => node.scope().done(),
            None => &NEVER_DONE,
        }
    }

    /// Why this context is done; `None` while it is not. Once there is an answer it stays, and
    /// [`done`](Self::done) is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    ///
    /// let (ctx, cancel) = context::background().with_cancel();
    /// assert_eq!(ctx.err(), None);
    /// drop(cancel);
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// ```
    #[doc(alias = "Err")]
    pub fn err(&self) -> Option<ContextError> {
        self.nearest()?.scope().error()
    }

    /// The cause that was given for this context's end, by the first that ended it or one it was made from.
    /// If none was given, it is what [`err`](Self::err) says; `None` while it is not done.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ctx, cancel) = gort::context::background().with_cancel_cause();
    /// let (below, _cancel) = ctx.with_cancel();
    /// cancel.cancel("no more flour");
    /// assert_eq!(below.err().unwrap().to_string(), "context canceled");
    /// assert_eq!(below.cause().unwrap().to_string(), "no more flour");
    /// ```
    #[doc(alias = "Cause")]
    pub fn cause(&self) -> Option<Cause> {
        let verdict = self.nearest()?.scope().verdict()?;
        Some(verdict.cause.unwrap_or_else(|| Arc::new(verdict.error)))
    }

    /// When this context will be done by itself, if ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use gort::context;
    ///
    /// assert_eq!(context::background().deadline(), None);
    /// let (ctx, _cancel) = context::background().with_timeout(Duration::from_secs(60));
    /// let left = ctx.deadline().unwrap() - Instant::now();
    /// assert!(left <= Duration::from_secs(60));
    /// ```
    #[doc(alias = "Deadline")]
    pub fn deadline(&self) -> Option<Instant> {
        match self.deadline_ns() {
            NEVER => None,
            deadline_ns => Some(clock::to_instant(deadline_ns)),
        }
    }

    fn deadline_ns(&self) -> u64 {
        self.as_node().map_or(NEVER, |node| node.deadline_ns)
    }

    fn as_node(&self) -> Option<&Node> {
        match &self.0 {
            Repr::Node(node) => Some(node),
            _ => None,
        }
    }

    fn into_node(self) -> Option<NodeRef> {
        match self.0 {
            Repr::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The nearest of this context and its ancestors that can end.
    fn nearest(&self) -> Option<&Node> {
        self.as_node()?.nearest()
    }

    /// What ends waits together with this context; none if it never ends.
    pub(crate) fn cancellation(&self) -> Option<&Cancellation> {
        Some(&self.nearest()?.scope().cancellation)
    }

    /// The nodes from this context up.
    fn chain(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.as_node(), |node| node.parent().as_node())
    }
}

// A panic leaves no context half changed: no code of the user's runs in the middle of a change.
impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<&Node> = self.chain().collect();
        let root = nodes.last().map_or(self, |node| node.parent());
        f.write_str(match root.0 {
            Repr::Todo => "context.TODO",
            _ => "context.Background",
        })?;
        for node in nodes.into_iter().rev() {
            match &node.kind {
                Kind::Value { type_name, .. } => write!(f, ".WithValue({type_name})")?,
                Kind::WithoutCancel => f.write_str(".WithoutCancel")?,
                Kind::Scope(scope) => match scope.tail {
                    Tail::Alarm(_) => write_deadline(f, node.deadline_ns)?,
                    Tail::Nothing | Tail::Func(_) => f.write_str(".WithCancel")?,
                },
            }
        }
        Ok(())
    }
}

/// A point of the runtime's clock has no text of its own: how far off it is says more.
fn write_deadline(f: &mut fmt::Formatter<'_>, deadline_ns: u64) -> fmt::Result {
    let now = clock::now_ns();
    let apart = Duration::from_nanos(deadline_ns.abs_diff(now));
    if deadline_ns > now {
        write!(f, ".WithDeadline(in {apart:?})")
    } else {
        write!(f, ".WithDeadline({apart:?} ago)")
    }
}

//! [`Cancel`] and [`CancelCause`]: the handles that end a context.

use std::error::Error;
use std::fmt;
use std::sync::atomic::Ordering;

use super::error::{Cause, ContextError};
use super::node::NodeRef;
use super::scope::Verdict;

/// Cancels a context, and all that were made from it. Go's `context.CancelFunc`.
///
/// When the last clone is dropped the context is cancelled as well: keep it for as long as the work
/// may go on. (`let (ctx, _) = …` drops it at once, `let (ctx, _cancel) = …` at the end of the
/// scope, like Go's `defer cancel()`.)
///
/// # Examples
///
/// ```
/// use gort::context::{self, ContextError};
///
/// let (ctx, cancel) = context::background().with_cancel();
/// let worker = gort::go({
///     let ctx = ctx.clone();
///     move || ctx.done().recv().is_err()
/// });
/// cancel.cancel();
/// assert!(worker.join().unwrap());
/// assert_eq!(ctx.err(), Some(ContextError::Canceled));
/// ```
#[doc(alias = "CancelFunc")]
#[must_use = "dropping it cancels the context"]
pub struct Cancel {
    node: NodeRef,
}

impl Cancel {
    /// The first handle of a new scope.
    pub(super) fn first_of(node: NodeRef) -> Cancel {
        Cancel { node }
    }

    /// Cancels the context. Does nothing if it is done already.
    ///
    /// Never blocks. When it returns, the context and all that were made from it are done: whoever looks
    /// sees the error, and finds the `done` channel closed.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ctx, cancel) = gort::context::background().with_cancel();
    /// let (below, _cancel) = ctx.with_cancel();
    /// cancel.cancel();
    /// assert!(ctx.err().is_some() && below.err().is_some());
    /// cancel.cancel(); // does nothing more
    /// ```
    pub fn cancel(&self) {
        self.node.end(Verdict::canceled());
    }
}

impl Clone for Cancel {
    fn clone(&self) -> Cancel {
        // It cannot overflow: each has a reference to the node, which are counted as well.
        self.node.scope().handles.fetch_add(1, Ordering::Relaxed);
        Cancel {
            node: self.node.clone(),
        }
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if self.node.scope().handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.cancel();
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").finish_non_exhaustive()
    }
}

/// Cancels a context, and says why. Go's `context.CancelCauseFunc`.
///
/// As [`Cancel`]: when the last clone is dropped the context is cancelled, without a cause.
///
/// # Examples
///
/// ```
/// let (ctx, cancel) = gort::context::background().with_cancel_cause();
/// let other = cancel.clone();
/// other.cancel("first");
/// cancel.cancel("second");
/// assert_eq!(ctx.cause().unwrap().to_string(), "first");
/// ```
#[doc(alias = "CancelCauseFunc")]
#[derive(Clone, Debug)]
#[must_use = "dropping it cancels the context"]
pub struct CancelCause(pub(super) Cancel);

impl CancelCause {
    /// Cancels the context with `cause`, which [`Context::cause`](super::Context::cause) then gives. Does
    /// nothing if it is done already: the first cause stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context::{self, ContextError};
    ///
    /// let (ctx, cancel) = context::background().with_cancel_cause();
    /// cancel.cancel("the user closed the window");
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the user closed the window");
    /// ```
    pub fn cancel(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) {
        self.0.node.end(Verdict {
            error: ContextError::Canceled,
            cause: Some(Cause::from(cause.into())),
        });
    }
}

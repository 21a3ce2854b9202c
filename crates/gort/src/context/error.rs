//! Why a context is done.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a context is done: what [`Context::err`](super::Context::err) says. The texts are Go's.
///
/// As an [`io::Error`] it has the kind `TimedOut` or `Other`, and is inside:
///
/// ```
/// use gort::context::ContextError;
/// use std::io;
///
/// let error = io::Error::from(ContextError::Canceled);
/// let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ContextError>());
/// assert_eq!(inner, Some(&ContextError::Canceled));
/// assert_eq!(error.to_string(), "context canceled");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ContextError {
    /// Somebody cancelled it, or one that it was made from.
    Canceled,
    /// Its deadline has passed.
    DeadlineExceeded,
}

/// What somebody gave as the reason of a cancel: see [`Context::cause`](super::Context::cause).
///
/// # Examples
///
/// ```
/// use gort::context::{self, Cause};
///
/// let (ctx, cancel) = context::background().with_cancel_cause();
/// cancel.cancel(std::io::Error::other("disk full"));
/// let cause: Cause = ctx.cause().unwrap();
/// assert!(cause.is::<std::io::Error>());
/// ```
pub type Cause = Arc<dyn Error + Send + Sync>;

impl ContextError {
    /// Whether time was up, rather than that somebody cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gort::context;
    ///
    /// let (ctx, _cancel) = context::background().with_timeout(Duration::ZERO);
    /// assert!(ctx.err().unwrap().is_timeout());
    /// ```
    #[doc(alias = "Timeout")]
    pub fn is_timeout(self) -> bool {
        self == ContextError::DeadlineExceeded
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContextError::Canceled => "context canceled",
            ContextError::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl Error for ContextError {}

impl From<ContextError> for io::Error {
    fn from(error: ContextError) -> io::Error {
        let kind = match error {
            ContextError::Canceled => io::ErrorKind::Other,
            ContextError::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

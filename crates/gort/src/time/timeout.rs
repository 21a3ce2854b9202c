//! [`timeout`]: a deadline for a future.
#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::future::{self, Future, IntoFuture};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{channel, due_after};

/// The error of [`timeout`]: the time was up first.
///
/// # Examples
///
/// ```
/// use gort::time::{Duration, Elapsed, timeout};
///
/// async fn answer() -> Result<u32, Elapsed> {
///     timeout(Duration::from_millis(1), std::future::pending()).await
/// }
///
/// assert!(gort::block_on(answer()).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl error::Error for Elapsed {}

/// Awaits `future` for at most `duration`, counted from this call.
///
/// For futures only: a goroutine cannot be interrupted from outside. Give it a channel to select on,
/// or a deadline where the operation takes one.
///
/// # Errors
///
/// [`Elapsed`] if the time is up first; the future is then dropped. If both are ready at once the
/// future's value wins.
///
/// # Examples
///
/// ```
/// use gort::time::{Duration, timeout};
///
/// let never = std::future::pending::<()>();
/// assert!(gort::block_on(timeout(Duration::from_millis(1), never)).is_err());
/// assert_eq!(gort::block_on(timeout(Duration::from_secs(60), async { 7 })), Ok(7));
/// ```
pub fn timeout<F: IntoFuture>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let due_ns = due_after(duration);
    async move {
        let mut future = pin!(future.into_future());
        let deadline = channel(due_ns, None);
        let mut elapsed = pin!(deadline.recv_async());
        future::poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            elapsed.as_mut().poll(cx).map(|_| Err(Elapsed(())))
        })
        .await
    }
}

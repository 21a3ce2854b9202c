//! Go's channels and `select`, with the API of `crossbeam-channel`.
//!
//! A channel is a queue of values with any number of [`Sender`]s and [`Receiver`]s. [`bounded`] makes
//! one with room for so many values; with room for none, each send waits for its receive.
//! [`unbounded`] makes one where sending never waits. [`after`], [`at`] and [`tick`] make receivers
//! that the clock fills, [`never()`] and [`nil`] the ends of a channel on which every operation waits
//! for ever. [`select!`] waits for whichever of several operations can go on first.
//!
//! Every operation works in a goroutine, which it parks; on a plain OS thread, which it blocks; and in
//! its async form in a future. One channel can join all three.
//!
//! A channel is closed when all its senders are dropped, or all its receivers, or by
//! [`Sender::close`]:
//!
//! | operation | nil | closed | open |
//! |---|---|---|---|
//! | `close()` | `false` | `false` | `true` |
//! | `recv()` | waits for ever | drains, then `Err(RecvError)` | waits or succeeds |
//! | `send(v)` | waits for ever | `Err(SendError(v))` | waits or succeeds |
//! | `try_recv()` | `Err(Empty)` | drains, then `Err(Disconnected)` | succeeds or `Err(Empty)` |
//! | `try_send(v)` | `Err(Full(v))` | `Err(Disconnected(v))` | succeeds or `Err(Full(v))` |
//!
//! # Examples
//!
//! ```
//! use gort::chan::{self, select};
//! use std::time::Duration;
//!
//! let (s, r) = chan::unbounded();
//! std::thread::spawn(move || s.send("hello"));
//! select! {
//!     recv(r) -> message => assert_eq!(message, Ok("hello")),
//!     recv(chan::after(Duration::from_secs(10))) -> _ => panic!("nothing came"),
//! }
//! ```
//!
//! Inside, from the ground up: `buffer` holds the values, `waiter` those who wait; `core` and `state`
//! are the channel and its rules, `timed` a variant of it; `wait` is how long and how to wait; `sender`, `receiver`,
//! `future` and `stream` wait on one channel, `select` on many. `testing/model` runs `state`, `core`, `waiter`,
//! `buffer`, `wait`, the two ends and `select` under loom.

mod buffer;
mod core;
mod error;
mod future;
mod receiver;
mod select;
mod select_macro;
mod sender;
pub(crate) mod signal;
mod state;
#[cfg(feature = "futures")]
mod stream;
pub(crate) mod timed;
mod wait;
mod waiter;
pub(crate) mod watched;

use std::time::{Duration, Instant};

// For the files that loom checks with its own.
use std::sync::atomic;

use gort_core::clock;

use state::Chan;
use wait::{Wait, spin, wait_for_nothing};

pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use future::{RecvFuture, SendFuture};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use select::{Select, SelectFuture, SelectedOperation};
pub use sender::Sender;
#[cfg(feature = "futures")]
pub use stream::{RecvStream, SendSink};

pub use crate::{select, select_biased};

/// What the expansion of `select!` uses. Not for anybody else.
#[doc(hidden)]
pub mod internal {
    pub use super::select::arms::{
        Promise, RecvArm, SendArm, recv, select, select_timeout, send, try_select,
    };
    pub use crate::__gort_select as select_internal;
}

// The macro behind `select!`, under the name by which crossbeam-channel's own tests call theirs.
#[doc(hidden)]
pub use crate::__gort_select as crossbeam_channel_internal;

/// Makes a channel with room for `capacity` values: Go's `make(chan T, capacity)`.
///
/// With capacity 0 a send waits until a receiver takes the value. The memory is allocated here, once.
///
/// # Panics
///
/// "makechan: size out of range", if so many values cannot exist in memory.
///
/// # Examples
///
/// ```
/// let (s, r) = gort::chan::bounded(2);
/// s.send(1).unwrap();
/// s.send(2).unwrap();
/// assert!(s.is_full());
/// assert_eq!(r.recv(), Ok(1));
/// ```
#[doc(alias = "make")]
#[doc(alias = "makechan")]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(Chan::new::<T>(Some(capacity)))
}

/// Makes a channel with room for any number of values.
///
/// # Examples
///
/// ```
/// let (s, r) = gort::chan::unbounded();
/// for i in 0..1000 {
///     s.send(i).unwrap();
/// }
/// drop(s);
/// assert_eq!(r.iter().count(), 1000);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(Chan::new::<T>(None))
}

fn ends<T>(chan: std::ptr::NonNull<Chan>) -> (Sender<T>, Receiver<T>) {
    // SAFETY: a new channel of `T`s, made with one sender and one receiver.
    unsafe { (Sender::new(Some(chan)), Receiver::new(Some(chan))) }
}

/// The receiving end of the nil channel: it never has a value, and is never closed.
///
/// Use it for an arm of [`select!`] that is not wanted just now.
///
/// # Examples
///
/// ```
/// use gort::chan::{after, never, select};
/// use std::time::Duration;
///
/// let timeout: Option<Duration> = None;
/// let (s, r) = gort::chan::unbounded();
/// s.send(1).unwrap();
/// select! {
///     recv(r) -> value => assert_eq!(value, Ok(1)),
///     recv(timeout.map_or_else(never, after)) -> _ => panic!("timed out"),
/// }
/// ```
#[doc(alias = "nil")]
pub const fn never<T>() -> Receiver<T> {
    // SAFETY: no channel, so no receiver of it.
    unsafe { Receiver::new(None) }
}

/// Both ends of the nil channel, on which every operation waits for ever.
///
/// `try_send` and `try_recv` report `Full` and `Empty`; `close`, and dropping an end, do nothing.
///
/// # Examples
///
/// ```
/// use gort::chan::{TryRecvError, TrySendError};
///
/// let (s, r) = gort::chan::nil();
/// assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
/// assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
/// assert!(!s.close());
/// ```
pub const fn nil<T>() -> (Sender<T>, Receiver<T>) {
    // SAFETY: no channel, so no sender of it.
    (unsafe { Sender::new(None) }, never())
}

/// A receiver of one value, the time at which it is due: `duration` from now.
///
/// The value is there when the time has come, whoever looks (`len` is 1 then); the channel is never
/// closed. Dropping the receiver frees everything at once.
///
/// # Examples
///
/// ```
/// use gort::chan::{after, select, unbounded};
/// use std::time::Duration;
///
/// let (_s, r) = unbounded::<i32>();
/// select! {
///     recv(r) -> _ => panic!(),
///     recv(after(Duration::from_millis(2))) -> _ => println!("timed out"),
/// }
/// ```
#[doc(alias = "time.After")]
pub fn after(duration: Duration) -> Receiver<Instant> {
    match clock::deadline_after(duration) {
        u64::MAX => never(),
        due_ns => timed::channel(clock::to_instant(due_ns), due_ns, None, false),
    }
}

/// A receiver of one value, `when`, which is there from that time on. As [`after`].
///
/// # Examples
///
/// ```
/// use gort::chan::at;
/// use std::time::{Duration, Instant};
///
/// let when = Instant::now() + Duration::from_millis(2);
/// assert_eq!(at(when).recv(), Ok(when));
/// ```
pub fn at(when: Instant) -> Receiver<Instant> {
    match clock::from_instant(when) {
        u64::MAX => never(),
        due_ns => timed::channel(when, due_ns, None, false),
    }
}

/// A receiver of a value every `period`: the times at which they were due.
///
/// At most one value is kept. A receiver that is late for one gets the next a whole period after
/// it has come. The channel is never closed.
///
/// # Examples
///
/// ```
/// use gort::chan::tick;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let ticker = tick(Duration::from_millis(2));
/// for _ in 0..3 {
///     ticker.recv().unwrap();
/// }
/// assert!(start.elapsed() >= Duration::from_millis(6));
/// ```
#[doc(alias = "time.Tick")]
pub fn tick(period: Duration) -> Receiver<Instant> {
    match clock::deadline_after(period) {
        u64::MAX => never(),
        due_ns => {
            let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
            timed::channel(clock::to_instant(due_ns), due_ns, Some(period_ns), false)
        }
    }
}

//! Signals of the system as values in channels, and as the end of contexts: Go's `os/signal`.
//!
//! [`notify`] subscribes to signals: what was done with them by default, ending the process in most cases, is
//! not done any more, and each comes as a value. When the receiver is dropped, everything is as before.
//!
//! | of these        | a subscription                                                              |
//! |-----------------|-----------------------------------------------------------------------------|
//! | KILL, STOP      | is a panic: the kernel lets nobody catch them                               |
//! | SEGV, BUS, FPE, ILL, TRAP | is a panic: the instruction that failed cannot go on; gort reports stack overflows, and leaves the rest to handlers that were there |
//! | URG             | is a panic: the runtime preempts goroutines by it                           |
//! | QUIT            | takes it from the runtime, which would dump the goroutines; until it ends   |
//! | PIPE            | tells of writes that nobody reads any more. Rust has it ignored; the writes fail either way |
//! | PROF and others that libraries handle | gets them beside the library: a handler that was there is called |
//!
//! *What is not lost, and what is.* A subscription holds [`BUFFER`] signals that have not been received; more are
//! dropped, as nobody may have to wait for a receiver. Signals of one kind that come close together are one, in
//! the kernel and here. Those that come at once are told in the order of their numbers.
//!
//! While there is a subscription the runtime does not take the program for deadlocked: a signal may always
//! come. A signal interrupts no call: those that wait in the kernel go on (`SA_RESTART`), but for the few that
//! never do, see signal(7).
//!
//! A signal that comes at the very moment at which the last subscription to it ends takes effect as before, or none.
//!
//! A child gets what [`ignore`] says, and for a signal that is subscribed to the default. Between `fork` and `exec`
//! a child does with signals what was done before the subscriptions.
//!
//! # Examples
//!
//! ```no_run
//! use gort::chan::select;
//! use gort::signal::{self, Signal};
//!
//! # let (_tx, work) = gort::chan::unbounded::<u32>();
//! let stop = signal::notify(&[Signal::SIGINT, Signal::SIGTERM]);
//! loop {
//!     select! {
//!         recv(stop) -> signal => {
//!             println!("{}: going down", signal.unwrap());
//!             break;
//!         }
//!         recv(work) -> item => println!("{item:?}"),
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod kind;
mod registry;

use std::error::Error;
use std::fmt;

use crate::chan::Receiver;
use crate::context::{Cancel, CancelCause, Context};
use registry::Id;

pub use kind::Signal;
pub use registry::BUFFER;

/// Subscribes to `signals`: each that comes to the process from now on is sent to the receiver. None given
/// means all, but for those that cannot be had, as in Go; that is seldom what one wants.
///
/// Nobody ever waits for the receiver: when [`BUFFER`] signals are in the channel, more are dropped. Each
/// subscription gets its own. When its last receiver is dropped, when that is closed, or by [`stop`], the
/// subscription ends, and with the last one for a signal what was done with it before is done again.
///
/// # Panics
///
/// For signals that cannot be had: the table in the [module](self) says which. If there is no descriptor or
/// no stack for the runtime's goroutine that tells.
///
/// # Examples
///
/// ```
/// use gort::signal::{self, Signal};
///
/// let signals = signal::notify(&[Signal::SIGUSR1]);
/// // By somebody else, normally.
/// std::process::Command::new("kill").args(["-USR1", &std::process::id().to_string()]).status()?;
/// assert_eq!(signals.recv(), Ok(Signal::SIGUSR1));
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "signal.Notify")]
#[track_caller]
pub fn notify(signals: &[Signal]) -> Receiver<Signal> {
    registry::subscribe_channel(&set_of(signals))
}

/// Ends the subscription of `receiver`, as dropping it does. When this returns, nothing more is sent to
/// it; its channel is closed, and what it holds can still be received.
///
/// A receiver of something else than [`notify`]'s is left alone.
///
/// # Examples
///
/// ```
/// use gort::signal::{self, Signal};
///
/// let signals = signal::notify(&[Signal::SIGUSR2]);
/// signal::stop(&signals);
/// assert!(signals.recv().is_err());
/// ```
#[doc(alias = "signal.Stop")]
pub fn stop(receiver: &Receiver<Signal>) {
    if let Some(channel) = receiver.id() {
        registry::unsubscribe(Id::Channel(channel));
    }
}

/// A context that is cancelled when one of `signals` comes, or with `parent`. None given means all, as for
/// [`notify`].
///
/// The signal is the context's [`cause`](Context::cause): a [`Received`]. What was done with the signals before is
/// done again once the [`Stop`] is dropped, which cancels the context as well: keep it for as long as the
/// program may run, and drop it to have a second Control-C end a program that takes its time.
///
/// # Panics
///
/// As [`notify`].
///
/// # Examples
///
/// ```
/// use gort::context;
/// use gort::signal::{self, Signal};
///
/// let (ctx, _stop) = signal::context(&context::background(), &[Signal::SIGALRM, Signal::SIGTERM]);
/// // By somebody else, normally.
/// std::process::Command::new("kill").args(["-ALRM", &std::process::id().to_string()]).status()?;
/// assert!(ctx.done().recv().is_err());
/// assert_eq!(ctx.cause().unwrap().to_string(), "alarm clock signal received");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "signal.NotifyContext")]
#[track_caller]
pub fn context(parent: &Context, signals: &[Signal]) -> (Context, Stop) {
    let signals = set_of(signals);
    let (told, cause) = parent.with_cancel_cause();
    let (ctx, cancel) = told.with_cancel();
    let id = registry::subscribe_context(&signals, cause.clone());
    let stop = Stop {
        id,
        cancel,
        _cause: cause,
    };
    (ctx, stop)
}

/// Ends the subscription of a [`context`](context()) when it is dropped, and cancels that.
///
/// # Examples
///
/// ```
/// use gort::context::{self, ContextError};
/// use gort::signal::{self, Signal};
///
/// let (ctx, stop) = signal::context(&context::background(), &[Signal::SIGTERM]);
/// stop.stop();
/// assert_eq!(ctx.err(), Some(ContextError::Canceled));
/// assert_eq!(ctx.cause().unwrap().to_string(), "context canceled");
/// ```
#[must_use = "dropping it ends the subscription and cancels the context"]
pub struct Stop {
    id: Id,
    cancel: Cancel,
    /// Kept: the registry's is dropped by `reset`, and the last one's drop cancels.
    _cause: CancelCause,
}

impl Stop {
    /// Drops it.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context;
    /// use gort::signal::{self, Signal};
    ///
    /// let (ctx, stop) = signal::context(&context::background(), &[Signal::SIGHUP]);
    /// assert!(ctx.err().is_none());
    /// stop.stop(); // from now on a hang-up ends the process again
    /// assert!(ctx.err().is_some());
    /// ```
    pub fn stop(self) {}
}

impl Drop for Stop {
    fn drop(&mut self) {
        registry::unsubscribe(self.id);
        self.cancel.cancel();
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

/// Why a [`context`](context()) was cancelled: the signal has come.
///
/// # Examples
///
/// ```
/// use gort::context;
/// use gort::signal::{self, Received, Signal};
///
/// let (ctx, _stop) = signal::context(&context::background(), &[Signal::SIGWINCH]);
/// std::process::Command::new("kill").args(["-WINCH", &std::process::id().to_string()]).status()?;
/// assert!(ctx.done().recv().is_err());
/// let cause = ctx.cause().unwrap();
/// assert_eq!(cause.downcast_ref::<Received>().unwrap().0, Signal::SIGWINCH);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received(pub Signal);

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signal received", self.0)
    }
}

impl Error for Received {}

/// Has the process ignore `signals`; none given means all, but for those that cannot be had. Subscriptions to
/// them end, for those signals.
///
/// # Panics
///
/// As [`notify`].
///
/// # Examples
///
/// ```
/// use gort::signal::{self, Signal};
///
/// signal::ignore(&[Signal::SIGUSR1]);
/// assert!(signal::ignored(Signal::SIGUSR1));
/// signal::reset(&[Signal::SIGUSR1]);
/// assert!(!signal::ignored(Signal::SIGUSR1));
/// ```
#[doc(alias = "signal.Ignore")]
#[track_caller]
pub fn ignore(signals: &[Signal]) {
    registry::ignore(&set_of(signals));
}

/// Whether the process ignores `signal`, by [`ignore`] or by whoever started it.
///
/// # Examples
///
/// ```
/// use gort::signal::{self, Signal};
///
/// // Rust begins so.
/// assert!(signal::ignored(Signal::SIGPIPE));
/// ```
#[doc(alias = "signal.Ignored")]
pub fn ignored(signal: Signal) -> bool {
    registry::is_ignored(signal)
}

/// Undoes [`notify`] and [`ignore`] for `signals`, and for all if none is given: what was done with them before is
/// done again.
///
/// # Examples
///
/// ```
/// use gort::signal::{self, Signal};
///
/// let signals = signal::notify(&[Signal::SIGUSR1]);
/// signal::reset(&[Signal::SIGUSR1]);
/// assert!(signals.recv().is_err()); // the subscription has ended
/// ```
#[doc(alias = "signal.Reset")]
pub fn reset(signals: &[Signal]) {
    if signals.is_empty() {
        registry::reset(&all());
    } else {
        registry::reset(signals);
    }
}

/// All that can be had.
fn all() -> Vec<Signal> {
    Signal::all()
        .filter(|signal| signal.refusal().is_none())
        .collect()
}

#[track_caller]
fn set_of(signals: &[Signal]) -> Vec<Signal> {
    if signals.is_empty() {
        return all();
    }
    for &signal in signals {
        if let Some(refusal) = signal.refusal() {
            panic!("{signal:?} cannot be had: {refusal}");
        }
    }
    signals.to_vec()
}

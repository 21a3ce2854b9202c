//! [`Timer`]: one event in the future, that can be stopped and set anew.
//!
//! A timer either fills a channel (`chan::timed` does all of that) or runs a function ([`FuncTimer`]).
#![forbid(unsafe_code)]

use std::fmt;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use super::func_timer::FuncTimer;
use super::{channel, due_after};
use crate::chan::{self, Receiver, timed};

/// One event in the future. Go's `time.Timer`.
///
/// # Examples
///
/// ```
/// use gort::time::{Duration, Timer};
///
/// let timer = Timer::new(Duration::from_secs(3600));
/// assert!(timer.stop());
/// assert!(!timer.reset(Duration::from_millis(1)));
/// timer.chan().recv().unwrap();
/// ```
#[doc(alias = "time.Timer")]
#[must_use = "a timer that is dropped does not fire"]
pub struct Timer {
    /// A nil one for the timer of a function.
    receiver: Receiver<Instant>,
    func: Option<FuncTimer>,
}

// `f` runs in goroutines of its own; a panic there reaches nobody through the timer.
impl UnwindSafe for Timer {}
impl RefUnwindSafe for Timer {}

/// Runs `f` in a new goroutine once `duration` has passed. Go's `time.AfterFunc`.
///
/// The timer that comes back can stop it, or set it anew: then `f` runs again, even while an earlier
/// run goes on, which is why it is `Fn` and `Sync`. Dropping the timer stops it;
/// [`detach`](Timer::detach) lets it go on.
///
/// Of the timer's channel nothing ever comes.
///
/// # Examples
///
/// ```
/// use gort::time::{Duration, after_func};
///
/// let (tx, rx) = gort::chan::bounded(1);
/// let timer = after_func(Duration::from_millis(1), move || tx.send("late").unwrap());
/// assert_eq!(rx.recv(), Ok("late"));
/// assert!(!timer.stop());
/// ```
#[doc(alias = "AfterFunc")]
#[doc(alias = "time.AfterFunc")]
#[track_caller]
pub fn after_func(duration: Duration, f: impl Fn() + Send + Sync + 'static) -> Timer {
    let func = FuncTimer::new(Box::new(f));
    func.reset(due_after(duration));
    Timer {
        receiver: chan::never(),
        func: Some(func),
    }
}

impl Timer {
    /// A timer whose channel will hold the moment `duration` from now, once that has come.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, Instant, Timer};
    ///
    /// let start = Instant::now();
    /// let timer = Timer::new(Duration::from_millis(1));
    /// timer.chan().recv().unwrap();
    /// assert!(start.elapsed() >= Duration::from_millis(1));
    /// ```
    #[doc(alias = "NewTimer")]
    pub fn new(duration: Duration) -> Timer {
        Timer {
            receiver: channel(due_after(duration), None),
            func: None,
        }
    }

    /// The channel. Its value is the moment for which the timer was set.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan::{self, select};
    /// use gort::time::{Duration, Timer};
    ///
    /// let answers = chan::never::<u32>();
    /// let timer = Timer::new(Duration::from_millis(1));
    /// let answer = select! {
    ///     recv(answers) -> answer => answer.ok(),
    ///     recv(timer.chan()) -> _ => None, // too late
    /// };
    /// assert_eq!(answer, None);
    /// ```
    pub fn chan(&self) -> &Receiver<Instant> {
        &self.receiver
    }

    /// Stops the timer. True if that kept it from firing: nothing will be received any more, the
    /// function will not run. False if it has fired or was stopped before.
    ///
    /// A channel's timer has fired once its value has been received, not before.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, Timer};
    ///
    /// let timer = Timer::new(Duration::ZERO);
    /// // Due, but not received: that can still be kept from happening.
    /// assert!(timer.stop());
    /// assert!(timer.chan().try_recv().is_err());
    /// assert!(!timer.stop());
    /// ```
    pub fn stop(&self) -> bool {
        match &self.func {
            Some(func) => func.stop(),
            None => timed::set(&self.receiver, None, None),
        }
    }

    /// Sets the timer for `duration` from now, whether it has fired or not. The answer is
    /// [`stop`](Self::stop)'s.
    ///
    /// A value that was due for the earlier moment is not received any more. Whoever waits on the
    /// channel waits for the new moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan;
    /// use gort::time::{Duration, Timer};
    ///
    /// // A timeout that begins anew with each value.
    /// let (tx, values) = chan::unbounded();
    /// tx.send(1).unwrap();
    /// tx.send(2).unwrap();
    /// let timer = Timer::new(Duration::from_millis(5));
    /// let mut sum = 0;
    /// loop {
    ///     chan::select! {
    ///         recv(values) -> value => {
    ///             sum += value.unwrap();
    ///             timer.reset(Duration::from_millis(5));
    ///         }
    ///         recv(timer.chan()) -> _ => break,
    ///     }
    /// }
    /// assert!(sum <= 3);
    /// ```
    pub fn reset(&self, duration: Duration) -> bool {
        let due_ns = due_after(duration);
        match &self.func {
            Some(func) => func.reset(due_ns),
            None => timed::set(&self.receiver, Some(due_ns), None),
        }
    }

    /// Lets the timer go on without its handle: the function runs, or clones of the channel get the
    /// value.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::time::{Duration, after_func};
    ///
    /// let (tx, rx) = gort::chan::bounded(1);
    /// after_func(Duration::from_millis(1), move || tx.send("fired").unwrap()).detach();
    /// assert_eq!(rx.recv(), Ok("fired"));
    /// ```
    pub fn detach(self) {
        // The parts are given up one by one, so that `drop` does not stop it.
        let mut this = mem::ManuallyDrop::new(self);
        drop(mem::replace(&mut this.receiver, chan::never()));
        drop(this.func.take());
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("runs_function", &self.func.is_some())
            .finish_non_exhaustive()
    }
}

//! [`ErrGroup`]: goroutines that work on one thing, and the first error among them.
//!
//! E1. A member is counted from before it starts until after its outcome is kept and its place is free:
//!     so whoever waits sees the outcome, and may drop everything.
//!
//! *Panics.* In Go, a panic in a member ends the process at once; `Wait` handed it on in some versions of
//! 2025, which was taken back, as it came late, or never where nobody waited. Here a
//! panic is printed when it happens and then contained in its goroutine, so the group hands it on: it is
//! what an error is, and more. With `PanicPolicy::Abort` it ends the process where it happens, as in Go.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::raw_semaphore::PERMITS_MAX;
use super::{Mutex, OnceLock, Semaphore, WaitGroup, runtime, sched};
use crate::context::{Cancel, Context};

/// Goroutines whose first error is the result of all. Go's `errgroup.Group`.
///
/// Dropping it without [`wait`](Self::wait) detaches the goroutines. A member that calls `goexit` has
/// ended without an error.
///
/// # Examples
///
/// ```
/// use gort::sync::ErrGroup;
///
/// let group = ErrGroup::new().limit(2);
/// for (name, number) in [("one", "1"), ("two", "zwei"), ("three", "3")] {
///     group.go(move || match number.parse::<u32>() {
///         Ok(_) => Ok(()),
///         Err(error) => Err(format!("{name}: {error}")),
///     });
/// }
/// assert_eq!(group.wait(), Err("two: invalid digit found in string".to_owned()));
/// ```
#[doc(alias = "errgroup.Group")]
pub struct ErrGroup<E> {
    shared: Arc<Shared<E>>,
}

// Members run in goroutines of their own, and what they leave comes out of `wait` alone.
impl<E> UnwindSafe for ErrGroup<E> {}
impl<E> RefUnwindSafe for ErrGroup<E> {}

/// What members know of their group.
struct Shared<E> {
    members: WaitGroup,
    /// As many places as there may be members at once; none for no limit.
    places: OnceLock<Semaphore>,
    first: Mutex<Outcome<E>>,
    /// Of the group's context, if it has one.
    cancel: Option<Cancel>,
}

/// How the group has fared so far.
enum Outcome<E> {
    Good,
    Failed(E),
    /// Comes before any error.
    Panicked(Box<dyn Any + Send>),
}

/// One member, from before it starts; its place and its count end with it.
struct Member<E> {
    shared: Arc<Shared<E>>,
}

impl<E: Send + 'static> ErrGroup<E> {
    /// A group without members, and without a limit.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = gort::sync::ErrGroup::<String>::new();
    /// assert_eq!(group.wait(), Ok(()));
    /// ```
    pub fn new() -> ErrGroup<E> {
        ErrGroup::with_cancel(None)
    }

    /// A group, and a context of its own, which is cancelled when a member fails or panics, when
    /// [`wait`](Self::wait) returns, or when the group and its members are gone, whichever is first.
    ///
    /// The members stop only if they look at the context. Its cause is that it was cancelled; the error is
    /// what `wait` gives.
    ///
    /// ```
    /// use gort::sync::ErrGroup;
    ///
    /// let (group, ctx) = ErrGroup::with_context(&gort::context::background());
    /// group.go(move || ctx.done().recv().map_err(|_| "told to stop"));
    /// group.go(|| Err("failed"));
    /// assert_eq!(group.wait(), Err("failed"));
    /// ```
    #[doc(alias = "WithContext")]
    pub fn with_context(ctx: &Context) -> (ErrGroup<E>, Context) {
        let (ctx, cancel) = ctx.with_cancel();
        (ErrGroup::with_cancel(Some(cancel)), ctx)
    }

    fn with_cancel(cancel: Option<Cancel>) -> ErrGroup<E> {
        ErrGroup {
            shared: Arc::new(Shared {
                members: WaitGroup::new(),
                places: OnceLock::new(),
                first: Mutex::new(Outcome::Good),
                cancel,
            }),
        }
    }

    /// At most `n` members at once; with 0 there can be none, with `usize::MAX` there is no limit. Go's `SetLimit`.
    ///
    /// # Panics
    ///
    /// If the group has a limit, or a member already (only where that is noticed: a member may have ended).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use gort::sync::ErrGroup;
    ///
    /// let group = ErrGroup::<()>::new().limit(2);
    /// let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    /// for _ in 0..10 {
    ///     let (now, most) = (Arc::clone(&now), Arc::clone(&most));
    ///     group.go(move || {
    ///         most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    ///         gort::yield_now();
    ///         now.fetch_sub(1, Ordering::SeqCst);
    ///         Ok(())
    ///     });
    /// }
    /// group.wait().unwrap();
    /// assert!(most.load(Ordering::SeqCst) <= 2);
    /// ```
    #[must_use = "the group comes back"]
    #[track_caller]
    #[doc(alias = "SetLimit")]
    pub fn limit(self, n: usize) -> ErrGroup<E> {
        assert!(
            self.shared.members.count() == 0,
            "errgroup: modify limit while goroutines in the group are still active"
        );
        // There are never so many members that the difference shows.
        let places = (n as u64).min(PERMITS_MAX);
        if self.shared.places.set(Semaphore::new(places)).is_err() {
            panic!("errgroup: the group has a limit");
        }
        self
    }

    /// Starts a member; parks until there is a place, if there is a limit.
    ///
    /// # Panics
    ///
    /// As [`gort::go`](crate::go); the group is then as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::sync::ErrGroup;
    ///
    /// let group = ErrGroup::new();
    /// for text in ["1", "2", "x"] {
    ///     group.go(move || text.parse::<u32>().map(drop));
    /// }
    /// assert_eq!(group.wait().unwrap_err().to_string(), "invalid digit found in string");
    /// ```
    #[track_caller]
    pub fn go(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) {
        if let Some(places) = self.shared.places.get() {
            places.acquire(1).forget();
        }
        self.start(f);
    }

    /// Starts a member if there is a place now; true if so.
    ///
    /// # Panics
    ///
    /// As [`go`](Self::go).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::{chan, sync::ErrGroup};
    ///
    /// let group = ErrGroup::new().limit(1);
    /// let (tx, rx) = chan::bounded::<()>(0);
    /// assert!(group.try_go(move || rx.recv()));
    /// assert!(!group.try_go(|| Ok(())));
    /// drop(tx);
    /// assert!(group.wait().is_err());
    /// ```
    #[track_caller]
    pub fn try_go(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) -> bool {
        if let Some(places) = self.shared.places.get() {
            match places.try_acquire(1) {
                Some(place) => place.forget(),
                None => return false,
            }
        }
        self.start(f);
        true
    }

    /// With a place taken.
    #[track_caller]
    fn start(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) {
        self.shared.members.add(1);
        let member = Member {
            shared: self.shared.clone(),
        };
        drop(crate::go(move || member.run(f)));
    }

    /// Parks until all members have ended.
    ///
    /// # Errors
    ///
    /// The first that a member returned.
    ///
    /// # Panics
    ///
    /// If a member panicked, with the payload of the first that did.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs;
    /// use std::io;
    ///
    /// use gort::sync::ErrGroup;
    ///
    /// let group = ErrGroup::<io::Error>::new();
    /// group.go(|| fs::metadata("/proc").map(drop));
    /// group.go(|| fs::metadata("/proc/no such file").map(drop));
    /// assert_eq!(group.wait().unwrap_err().kind(), io::ErrorKind::NotFound);
    /// ```
    #[track_caller]
    pub fn wait(self) -> Result<(), E> {
        self.shared.members.wait();
        self.shared.cancel();
        let outcome = std::mem::replace(&mut *self.shared.first.lock(), Outcome::Good);
        match outcome {
            Outcome::Good => Ok(()),
            Outcome::Failed(error) => Err(error),
            Outcome::Panicked(payload) => panic::resume_unwind(payload),
        }
    }
}

impl<E> Member<E> {
    fn run(self, f: impl FnOnce() -> Result<(), E>) {
        match panic::catch_unwind(AssertUnwindSafe(f)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.shared.keep(Outcome::Failed(error)),
            Err(payload) if sched::exiting(&*payload) || runtime::panics_abort() => {
                panic::resume_unwind(payload)
            }
            Err(payload) => self.shared.keep(Outcome::Panicked(payload)),
        }
    }
}

impl<E> Shared<E> {
    /// Keeps it if it is the first of its kind. What is not kept is dropped once the lock is free.
    fn keep(&self, new: Outcome<E>) {
        let mut first = self.first.lock();
        let is_worse = match (&*first, &new) {
            (Outcome::Good, _) => true,
            (Outcome::Failed(_), Outcome::Panicked(_)) => true,
            (Outcome::Failed(_) | Outcome::Panicked(_), _) => false,
        };
        let gone = if is_worse {
            std::mem::replace(&mut *first, new)
        } else {
            new
        };
        drop(first);
        self.cancel();
        drop(gone);
    }

    /// Tells the members to stop.
    fn cancel(&self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}

impl<E> Drop for Member<E> {
    fn drop(&mut self) {
        if let Some(places) = self.shared.places.get() {
            places.add_permits(1);
        }
        self.shared.members.done();
    }
}

impl<E: Send + 'static> Default for ErrGroup<E> {
    fn default() -> Self {
        ErrGroup::new()
    }
}

impl<E> fmt::Debug for ErrGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrGroup")
            .field("members", &self.shared.members.count())
            .finish_non_exhaustive()
    }
}

//! Starting goroutines, waiting for them, and what a goroutine can do about itself.
//!
//! Here: [`go`] and [`go_async`], who a goroutine is, and what it does about itself. `builder` has the settings it
//! can be started with, `handle` the ways to wait for it and how it can end, `scope` those that may borrow.

mod builder;
mod handle;
mod scope;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

use gort_core::g::{self, GRef};
use gort_core::runtime;
use gort_core::sched::{self, SpawnOptions};

pub use builder::Builder;
pub(crate) use handle::message_of;
pub use handle::{JoinError, JoinHandle};
pub use scope::{Scope, ScopedJoinHandle, scope};

/// Starts a goroutine: runs `f` beside the caller.
///
/// Never blocks. The closure runs on a stack of its own of the configured size (256 KiB of address
/// space in release builds, 1 MiB with debug assertions), committed page by page. Dropping the handle
/// detaches the goroutine. When the program's main function returns, goroutines that still run stop
/// where they are.
///
/// A future is started by [`go_async`], or awaited in a goroutine: `go(|| block_on(future))`. (`go(|| async { … })`
/// makes one and does not run it.)
///
/// # Panics
///
/// If no stack can be had, or the runtime [has been shut down](crate::runtime::shutdown_timeout);
/// [`Builder::go`] gives an error instead.
///
/// # Examples
///
/// ```
/// let handle = gort::go(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
#[track_caller]
#[doc(alias = "goroutine")]
#[doc(alias = "newproc")]
#[doc(alias = "spawn")]
pub fn go<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    runtime::ensure_started();
    match sched::spawn(f, SpawnOptions::new()) {
        Ok(inner) => JoinHandle::new(inner),
        Err(error) => panic!("cannot start a goroutine: {error}"),
    }
}

/// Starts an async goroutine: runs `future` beside the caller, on the same processors and in the same queues
/// as the goroutines of [`go`].
///
/// Never blocks. It has a stack only while it is polled; between polls it takes the size of the future and some
/// 200 bytes. So it is the form for very many that wait for what has an async interface: channels
/// ([`recv_async`](crate::chan::Receiver::recv_async)), [`time::timeout`](crate::time::timeout), join
/// handles, futures of other crates that bring their own reactor. In all else it is a goroutine: it has a
/// number, name, labels and a handle, is listed and counted, its panics are contained.
///
/// Code in it may block as in any goroutine, in gort's primitives or in calls that block the thread: then it keeps
/// the stack it is polled on for so long, and others get another
/// ([`Metrics::blocked_polls`](crate::runtime::Metrics::blocked_polls) counts the former).
///
/// Thread-locals, though, are those of the stack: the next poll may find others. A
/// [`lock_os_thread`] ends with the poll at the latest.
///
/// A future that is never woken again stays, as a goroutine that is parked for ever does: there is no
/// abort, and dropping the handle detaches.
///
/// # Panics
///
/// If there is no memory for it; [`Builder::go_async`] gives an error instead.
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::unbounded();
/// let sum = gort::go_async(async move {
///     let mut sum = 0;
///     while let Ok(n) = rx.recv_async().await {
///         sum += n;
///     }
///     sum
/// });
/// for n in 1..=3 {
///     tx.send(n).unwrap();
/// }
/// drop(tx);
/// assert_eq!(sum.join().unwrap(), 6);
/// ```
#[track_caller]
#[doc(alias = "spawn")]
pub fn go_async<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match Builder::new().go_async(future) {
        Ok(handle) => handle,
        Err(error) => panic!("cannot start a goroutine: {error}"),
    }
}

/// The number of a goroutine: unique in the process, never reused. For diagnostics.
///
/// # Examples
///
/// ```
/// let (one, other) = (gort::go(|| ()), gort::go(|| ()));
/// assert_ne!(one.goroutine().id(), other.goroutine().id());
/// println!("goroutine {}", one.goroutine().id()); // goroutine 7
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GoroutineId(u64);

impl GoroutineId {
    pub(crate) fn from_u64(id: u64) -> GoroutineId {
        GoroutineId(id)
    }

    /// The number; the first goroutine has 1.
    ///
    /// # Examples
    ///
    /// ```
    /// let id = gort::run(|| gort::current().id());
    /// assert!(id.as_u64() >= 1);
    /// assert_eq!(id.as_u64().to_string(), id.to_string());
    /// ```
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for GoroutineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A goroutine, as far as others may know it.
///
/// Name and labels are there as long as the goroutine lives (or its join handle does).
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::bounded::<()>(0);
/// let handle = gort::Builder::new().name("clerk").label("desk", "3").go(move || rx.recv())?;
/// let clerk = handle.goroutine().clone();
/// assert_eq!(clerk.name().as_deref(), Some("clerk"));
/// assert_eq!(clerk.labels(), [("desk".to_owned(), "3".to_owned())]);
/// println!("goroutine {} waits", clerk.id());
/// drop(tx);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Goroutine {
    /// Serves the next goroutine after this one: `id` says whether it is still the same.
    gp: GRef,
    id: GoroutineId,
}

// It says who a goroutine is, and shows nothing that a panic could have left half done.
impl UnwindSafe for Goroutine {}
impl RefUnwindSafe for Goroutine {}

impl Goroutine {
    fn new(gp: GRef) -> Goroutine {
        let id = GoroutineId(gp.id());
        Goroutine { gp, id }
    }

    /// Its number.
    ///
    /// # Examples
    ///
    /// ```
    /// gort::run(|| {
    ///     let me = gort::current().id();
    ///     assert_ne!(gort::go(|| gort::current().id()).join().unwrap(), me);
    /// });
    /// ```
    pub fn id(&self) -> GoroutineId {
        self.id
    }

    /// Its name, if [`Builder::name`] gave one.
    ///
    /// # Examples
    ///
    /// ```
    /// let clerk = gort::Builder::new().name("clerk").go(|| ())?;
    /// assert_eq!(clerk.goroutine().name().as_deref(), Some("clerk"));
    /// let nobody = gort::go(|| ());
    /// assert_eq!(nobody.goroutine().name(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        self.gp.name(self.id.0)
    }

    /// Its labels, inherited ones first.
    ///
    /// # Examples
    ///
    /// ```
    /// let clerk = gort::Builder::new().label("desk", "3").label("shift", "late").go(|| ())?;
    /// let labels = clerk.goroutine().labels();
    /// assert_eq!(labels[1], ("shift".to_owned(), "late".to_owned()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn labels(&self) -> Vec<(String, String)> {
        self.gp.labels(self.id.0)
    }
}

/// The current goroutine.
///
/// # Panics
///
/// On a plain OS thread; see [`try_current`].
///
/// # Examples
///
/// ```
/// let handle = gort::go(|| gort::current().id());
/// let id = handle.goroutine().id();
/// assert_eq!(handle.join().unwrap(), id);
/// ```
#[track_caller]
pub fn current() -> Goroutine {
    try_current().expect("not in a goroutine: this is a plain OS thread")
}

/// The current goroutine; `None` on a plain OS thread.
///
/// # Examples
///
/// ```
/// assert!(gort::try_current().is_none()); // `main` is a plain thread here
/// assert!(gort::run(|| gort::try_current().is_some()));
/// ```
pub fn try_current() -> Option<Goroutine> {
    g::current_goroutine().map(Goroutine::new)
}

/// Lets other goroutines run: the caller goes to the end of the global queue. With several processors each keeps a part
/// of that for those that yield there, and the others take from it too, so that in the long run all that do nothing but
/// yield have as many turns.
///
/// On a plain OS thread it yields to the kernel's scheduler.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// gort::run(|| {
///     let is_set = Arc::new(AtomicBool::new(false));
///     let set = Arc::clone(&is_set);
///     gort::go(move || set.store(true, Ordering::Release));
///     while !is_set.load(Ordering::Acquire) {
///         gort::yield_now();
///     }
/// });
/// ```
#[doc(alias = "Gosched")]
pub fn yield_now() {
    sched::yield_now();
}

/// Yields if the goroutine has used up its time slice (10 ms) or a timer is due; a few nanoseconds
/// otherwise. For long computations that call nothing of gort.
///
/// # Examples
///
/// ```
/// let sum = gort::go(|| {
///     let mut sum = 0_u64;
///     for n in 0..100_000 {
///         sum += n;
///         if n % 1_000 == 0 {
///             gort::checkpoint();
///         }
///     }
///     sum
/// });
/// assert_eq!(sum.join().unwrap(), 4_999_950_000);
/// ```
pub fn checkpoint() {
    sched::checkpoint();
}

/// Ends the current goroutine from any depth of calls: destructors run, nothing is printed, and `join`
/// gives an error that says so.
///
/// It is an unwind: a `catch_unwind` on the way sees it, and may resume it. Where nothing can be unwound
/// the program ends with status 2 and a text: in a destructor that a panic runs, in the destructor of
/// a thread-local (the goroutine is ending already), and with `panic = "abort"`.
///
/// # Panics
///
/// On a plain OS thread.
///
/// # Examples
///
/// ```
/// fn parse(text: &str) -> u32 {
///     text.parse().unwrap_or_else(|_| gort::goexit())
/// }
///
/// assert_eq!(gort::go(|| parse("7")).join().unwrap(), 7);
/// assert!(gort::go(|| parse("seven")).join().unwrap_err().is_goexit());
/// ```
#[doc(alias = "Goexit")]
#[track_caller]
pub fn goexit() -> ! {
    sched::goexit()
}

/// Announces a call that blocks the OS thread: the right to run goes to another thread at once, and
/// is asked back when `f` has returned.
///
/// Legal everywhere; on a plain OS thread it just calls `f`.
///
/// # Examples
///
/// ```
/// let text = gort::go(|| gort::blocking(|| std::fs::read_to_string("/proc/self/comm")));
/// assert!(text.join().unwrap().is_ok());
/// ```
#[doc(alias = "entersyscall")]
pub fn blocking<T>(f: impl FnOnce() -> T) -> T {
    sched::blocking(f)
}

/// Keeps the goroutine on its OS thread, and other goroutines off it; see [`lock_os_thread`].
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     let me = gort::current().id();
///     let guard = gort::lock_os_thread();
///     let all = gort::debug::goroutines();
///     assert!(all.iter().any(|info| info.id == me && info.locked_to_thread));
///     drop(guard); // from here on any thread will do
/// });
/// ```
#[derive(Debug)]
#[must_use = "dropping the guard unlocks the goroutine from its thread"]
#[doc(alias = "UnlockOSThread")]
pub struct OsThreadGuard {
    /// The id of the goroutine, unless it is a plain thread. Async goroutines may leave each other values in a
    /// thread-local.
    locked: Option<u64>,
    /// The lock belongs to the goroutine that took it: neither Send nor Sync.
    goroutine: PhantomData<*mut ()>,
}

/// Locks the current goroutine to the OS thread it runs on, until the guard is dropped: it runs on no
/// other thread, and nothing else runs on this one. Nests.
///
/// For code that depends on the kernel's per-thread state (namespaces, priorities, affinity). On a
/// plain OS thread it has no effect.
///
/// If the goroutine ends while it is locked (the guard was forgotten), its thread ends with it: for code
/// that cannot set right again what it has changed about the thread. Other threads inherit nothing of it.
///
/// A goroutine whose signal mask or alternate signal stack differs from that of its thread's start is
/// kept on it in the same way, as long as it differs.
///
/// # Examples
///
/// ```
/// let thread = || std::fs::read_link("/proc/thread-self").unwrap();
/// let stayed = gort::go(move || {
///     let _locked = gort::lock_os_thread();
///     let before = thread();
///     gort::yield_now();
///     before == thread()
/// });
/// assert!(stayed.join().unwrap());
/// ```
#[doc(alias = "LockOSThread")]
pub fn lock_os_thread() -> OsThreadGuard {
    OsThreadGuard {
        locked: sched::lock_os_thread().then(g::current_id),
        goroutine: PhantomData,
    }
}

impl Drop for OsThreadGuard {
    fn drop(&mut self) {
        if self.locked.is_some_and(|id| id == g::current_id()) {
            sched::unlock_os_thread();
        }
    }
}

//! Starting goroutines, waiting for them, and what a goroutine can do about itself.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use gort_core::clock;
use gort_core::g::{self, GRef};
use gort_core::runtime;
use gort_core::sched::join::Outcome;
use gort_core::sched::{self, SpawnOptions, scope as core_scope};

use crate::context;
use crate::task;

/// Starts a goroutine: runs `f` beside the caller.
///
/// Never blocks. The closure runs on a stack of its own of the configured size (256 KiB of address
/// space in release builds, 1 MiB with debug assertions), committed page by page. Dropping the handle
/// detaches the goroutine. When the program's main function returns, goroutines that still run stop
/// where they are.
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
        Ok(inner) => JoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        },
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

/// How a goroutine is to be started: name, labels, stack size, a thread of its own, a current context.
///
/// # Examples
///
/// ```
/// let handle = gort::Builder::new()
///     .name("parser")
///     .stack_size(4 << 20)
///     .go(|| gort::current().name().unwrap())?;
/// assert_eq!(handle.join().unwrap(), "parser");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct Builder {
    name: Option<String>,
    labels: Vec<(String, String)>,
    stack_bytes: Option<usize>,
    own_thread: bool,
    context: Option<context::Context>,
}

impl Builder {
    /// The defaults of [`go`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the goroutine, for dumps and panic messages.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Adds a label. Goroutines inherit their creator's labels.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Bytes of stack, rounded up to a power of two of at least 64 KiB. It is address space: memory
    /// is committed page by page, as it is used.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Gives the goroutine an OS thread of its own for its whole life: for code that depends on the
    /// kernel's per-thread state.
    pub fn own_thread(mut self) -> Builder {
        self.own_thread = true;
        self
    }

    /// Starts the goroutine with `ctx` as its current context: all of it runs as in
    /// [`Context::enter`](context::Context::enter).
    ///
    /// Without this it has none, whatever its creator's is: it may outlive what that is for.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::context;
    /// use std::time::{Duration, Instant};
    ///
    /// let (ctx, cancel) = context::background().with_cancel();
    /// let sleeper = gort::Builder::new()
    ///     .context(&ctx)
    ///     .go(|| gort::time::sleep(Duration::from_secs(3600)))?;
    /// cancel.cancel();
    /// sleeper.join().unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn context(mut self, ctx: &context::Context) -> Builder {
        self.context = Some(ctx.clone());
        self
    }

    /// Starts a goroutine.
    ///
    /// # Errors
    ///
    /// No memory or address space for the stack ([`io::ErrorKind::OutOfMemory`]), or a stack size that
    /// cannot be ([`io::ErrorKind::InvalidInput`]: 0, or more than 1 GiB), or a runtime that
    /// [has been shut down](crate::runtime::shutdown_timeout). Goroutines that run go on.
    #[track_caller]
    pub fn go<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        runtime::ensure_started();
        let (context, options) = self.into_parts();
        let inner = match context {
            None => sched::spawn(f, options)?,
            Some(context) => sched::spawn(move || context.enter(f), options)?,
        };
        Ok(JoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        })
    }

    /// Starts an async goroutine; see [`go_async`].
    ///
    /// A stack size is of no use to it. With [`own_thread`](Self::own_thread) it is polled on that thread.
    ///
    /// # Errors
    ///
    /// There is no memory for it ([`io::ErrorKind::OutOfMemory`]).
    ///
    /// # Examples
    ///
    /// ```
    /// let named = gort::Builder::new()
    ///     .name("answer")
    ///     .go_async(async { gort::current().name() })?;
    /// assert_eq!(named.join().unwrap().as_deref(), Some("answer"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn go_async<F>(self, future: F) -> io::Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.own_thread {
            return self.go(move || task::block_on(future));
        }
        runtime::ensure_started();
        let (context, options) = self.into_parts();
        let inner = match context {
            None => sched::spawn_async(future, options)?,
            Some(context) => {
                let mut future = Box::pin(future);
                let poll =
                    move |task: &mut Context<'_>| context.enter(|| future.as_mut().poll(task));
                sched::spawn_async(std::future::poll_fn(poll), options)?
            }
        };
        Ok(JoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        })
    }

    /// Starts a goroutine whose closure may borrow.
    ///
    /// # Safety
    ///
    /// What the closure and its result borrow outlives the goroutine.
    #[track_caller]
    pub(crate) unsafe fn go_unchecked<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        runtime::ensure_started();
        let (context, options) = self.into_parts();
        // SAFETY: the caller's contract is the same; there is no scope.
        let inner = unsafe {
            match context {
                None => sched::spawn_unchecked(f, options, None),
                Some(context) => sched::spawn_unchecked(move || context.enter(f), options, None),
            }
        }?;
        Ok(JoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        })
    }

    /// Starts a goroutine in a scope.
    ///
    /// # Errors
    ///
    /// As [`Builder::go`].
    #[track_caller]
    pub fn go_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        runtime::ensure_started();
        let (context, options) = self.into_parts();
        let inner = match context {
            None => scope.as_core().spawn(f, options)?,
            Some(context) => scope.as_core().spawn(move || context.enter(f), options)?,
        };
        Ok(ScopedJoinHandle {
            goroutine: Goroutine::new(inner.goroutine()),
            inner,
        })
    }

    #[track_caller]
    fn into_parts(self) -> (Option<context::Context>, SpawnOptions) {
        let options = SpawnOptions {
            stack_bytes: self.stack_bytes,
            name: self.name,
            labels: self.labels,
            own_thread: self.own_thread,
            location: Location::caller(),
            ..SpawnOptions::new()
        };
        (self.context, options)
    }
}

/// Waits for a goroutine. Dropping it detaches the goroutine, which runs on.
///
/// It is a future as well: awaiting it gives what [`join`](JoinHandle::join) gives. In the goroutine itself
/// it is pending for ever; it does not panic as `join` does, for the task that awaits it may be one of many.
///
/// There is no abort:
/// a goroutine is ordinary code, and ending it at an arbitrary point would leave its locks held and its
/// invariants broken. Tell it to stop, by a channel or a [context](crate::context).
#[derive(Debug)]
pub struct JoinHandle<T> {
    inner: sched::JoinHandle<T>,
    goroutine: Goroutine,
}

impl<T> JoinHandle<T> {
    /// Parks until the goroutine has ended, its thread-local destructors included, and gives its
    /// result.
    ///
    /// # Errors
    ///
    /// It panicked, or called [`goexit`].
    ///
    /// # Panics
    ///
    /// In the goroutine itself: it would wait for ever. And if it was awaited, and has given its result.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        result_of(self.inner.join())
    }

    /// As [`join`](Self::join), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The handle back, if the goroutine has not ended by then.
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, JoinHandle<T>> {
        match self.inner.join_until(clock::deadline_after(timeout)) {
            Ok(outcome) => Ok(result_of(outcome)),
            Err(inner) => Err(JoinHandle {
                goroutine: Goroutine::new(inner.goroutine()),
                inner,
            }),
        }
    }

    /// Whether the goroutine has ended; then `join` does not park.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// The goroutine.
    pub fn goroutine(&self) -> &Goroutine {
        &self.goroutine
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.poll_join(cx).map(result_of)
    }
}

fn result_of<T>(outcome: Outcome<T>) -> Result<T, JoinError> {
    match outcome {
        Outcome::Returned(value) => Ok(value),
        Outcome::Panicked(payload) => Err(JoinError {
            payload: Some(payload),
        }),
        Outcome::Exited => Err(JoinError { payload: None }),
    }
}

/// Why a goroutine has no result.
pub struct JoinError {
    /// `None` for a goexit.
    payload: Option<Box<dyn Any + Send>>,
}

impl JoinError {
    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        self.payload.is_some()
    }

    /// Whether it called [`goexit`].
    pub fn is_goexit(&self) -> bool {
        self.payload.is_none()
    }

    /// The panic's payload, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    ///
    /// If it did not panic.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        self.payload
            .expect("the goroutine did not panic: it called goexit")
    }

    fn message(&self) -> Option<&str> {
        let payload = self.payload.as_deref()?;
        payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.payload, self.message()) {
            (None, _) => f.write_str("JoinError::Goexit"),
            (Some(_), Some(message)) => write!(f, "JoinError::Panic({message:?})"),
            (Some(_), None) => f.write_str("JoinError::Panic(..)"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.payload, self.message()) {
            (None, _) => f.write_str("the goroutine called goexit"),
            (Some(_), Some(message)) => write!(f, "the goroutine panicked: {message}"),
            (Some(_), None) => f.write_str("the goroutine panicked"),
        }
    }
}

impl std::error::Error for JoinError {}

/// The number of a goroutine: unique in the process, never reused. For diagnostics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GoroutineId(u64);

impl GoroutineId {
    pub(crate) fn from_u64(id: u64) -> GoroutineId {
        GoroutineId(id)
    }

    /// The number; the first goroutine has 1.
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Goroutine {
    /// Serves the next goroutine after this one: `id` says whether it is still the same.
    gp: GRef,
    id: GoroutineId,
}

impl Goroutine {
    fn new(gp: GRef) -> Goroutine {
        let id = GoroutineId(gp.id());
        Goroutine { gp, id }
    }

    /// Its number.
    pub fn id(&self) -> GoroutineId {
        self.id
    }

    /// Its name, if [`Builder::name`] gave one.
    pub fn name(&self) -> Option<String> {
        self.gp.name(self.id.0)
    }

    /// Its labels, inherited ones first.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.gp.labels(self.id.0)
    }
}

/// The current goroutine.
///
/// # Panics
///
/// On a plain OS thread; see [`try_current`].
#[track_caller]
pub fn current() -> Goroutine {
    try_current().expect("not in a goroutine: this is a plain OS thread")
}

/// The current goroutine; `None` on a plain OS thread.
pub fn try_current() -> Option<Goroutine> {
    g::current_goroutine().map(Goroutine::new)
}

/// A scope whose goroutines may borrow from outside it; see [`scope`].
#[derive(Debug)]
#[repr(transparent)]
pub struct Scope<'scope, 'env: 'scope>(core_scope::Scope<'scope, 'env>);

/// Runs `f` with a scope in which goroutines may borrow local values, and waits for all of them.
///
/// As `std::thread::scope`: all goroutines of the scope have ended when it returns, on every path.
///
/// # Panics
///
/// If `f` panics, with its payload; or if a goroutine of the scope panicked and was not joined.
///
/// # Examples
///
/// ```
/// let mut parts = vec![1, 2, 3, 4];
/// gort::scope(|s| {
///     for part in &mut parts {
///         s.go(move || *part *= 10);
///     }
/// });
/// assert_eq!(parts, [10, 20, 30, 40]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    core_scope::scope(|scope| f(Scope::from_core(scope)))
}

impl<'scope, 'env> Scope<'scope, 'env> {
    fn from_core(scope: &'scope core_scope::Scope<'scope, 'env>) -> &'scope Self {
        // SAFETY: `Scope` is a transparent wrapper, so a reference to one is a reference to the other,
        // of the same lifetime.
        unsafe { &*std::ptr::from_ref(scope).cast() }
    }

    fn as_core(&'scope self) -> &'scope core_scope::Scope<'scope, 'env> {
        &self.0
    }

    /// Starts a goroutine in the scope; see [`go`].
    ///
    /// # Panics
    ///
    /// If no stack can be had; [`Builder::go_scoped`] gives an error instead.
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().go_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("cannot start a goroutine: {error}"),
        }
    }
}

/// Waits for a goroutine of a scope.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    inner: core_scope::ScopedHandle<'scope, T>,
    goroutine: Goroutine,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Parks until the goroutine has ended, and gives its result.
    ///
    /// # Errors
    ///
    /// It panicked, or called [`goexit`].
    ///
    /// # Panics
    ///
    /// In the goroutine itself.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        result_of(self.inner.join())
    }

    /// Whether the goroutine has ended.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// The goroutine.
    pub fn goroutine(&self) -> &Goroutine {
        &self.goroutine
    }
}

/// Lets other goroutines run: the caller goes to the end of the global queue.
///
/// On a plain OS thread it yields to the kernel's scheduler.
#[doc(alias = "Gosched")]
pub fn yield_now() {
    sched::yield_now();
}

/// Yields if the goroutine has used up its time slice (10 ms) or a timer is due; a few nanoseconds
/// otherwise. For long computations that call nothing of gort.
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
#[derive(Debug)]
#[must_use = "dropping the guard unlocks the goroutine from its thread"]
pub struct OsThreadGuard {
    is_locked: bool,
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
#[doc(alias = "LockOSThread")]
pub fn lock_os_thread() -> OsThreadGuard {
    OsThreadGuard {
        is_locked: sched::lock_os_thread(),
        goroutine: PhantomData,
    }
}

impl Drop for OsThreadGuard {
    fn drop(&mut self) {
        if self.is_locked {
            sched::unlock_os_thread();
        }
    }
}

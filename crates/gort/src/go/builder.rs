//! The settings a goroutine can be started with, and all ways to start one.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::task::Context;

use gort_core::runtime;
use gort_core::sched::{self, SpawnOptions};

use super::{JoinHandle, Scope, ScopedJoinHandle};
use crate::{context, task};

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
    /// The defaults of [`go`](super::go()).
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::Builder::new().go(|| 1 + 1)?;
    /// assert_eq!(handle.join().unwrap(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the goroutine, for dumps and panic messages.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::Builder::new().name("parser").go(|| gort::current().name())?;
    /// assert_eq!(handle.join().unwrap().as_deref(), Some("parser"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Adds a label. Goroutines inherit their creator's labels.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::Builder::new().label("request", "7").go(|| {
    ///     gort::go(|| gort::current().labels()).join().unwrap()
    /// })?;
    /// assert_eq!(handle.join().unwrap(), [("request".to_owned(), "7".to_owned())]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Bytes of stack, rounded up to a power of two of at least 64 KiB. It is address space: memory
    /// is committed page by page, as it is used.
    ///
    /// # Examples
    ///
    /// ```
    /// fn depth(n: u32) -> u32 {
    ///     if n == 0 { 0 } else { 1 + depth(n - 1) }
    /// }
    ///
    /// let deep = gort::Builder::new().stack_size(64 << 20).go(|| depth(100_000))?;
    /// assert_eq!(deep.join().unwrap(), 100_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Gives the goroutine an OS thread of its own for its whole life: for code that depends on the
    /// kernel's per-thread state.
    ///
    /// # Examples
    ///
    /// ```
    /// // `unshare` and its like change the thread: no other goroutine meets the change.
    /// let thread = gort::Builder::new()
    ///     .own_thread()
    ///     .go(|| std::fs::read_link("/proc/thread-self").unwrap())?;
    /// let main = std::fs::read_link("/proc/thread-self")?;
    /// assert_ne!(thread.join().unwrap(), main);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::Builder::new().name("adder").go(|| 1 + 1)?;
    /// assert_eq!(handle.join().unwrap(), 2);
    ///
    /// let error = gort::Builder::new().stack_size(0).go(|| ()).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        Ok(JoinHandle::new(inner))
    }

    /// Starts an async goroutine; see [`go_async`](super::go_async).
    ///
    /// A stack size is of no use to it. With [`own_thread`](Self::own_thread) it is polled on that thread.
    ///
    /// # Errors
    ///
    /// There is no memory for it ([`io::ErrorKind::OutOfMemory`]), or the runtime
    /// [has been shut down](crate::runtime::shutdown_timeout).
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
        Ok(JoinHandle::new(inner))
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
        Ok(JoinHandle::new(inner))
    }

    /// Starts a goroutine in a scope.
    ///
    /// # Errors
    ///
    /// As [`Builder::go`].
    ///
    /// # Examples
    ///
    /// ```
    /// let numbers = [1, 2, 3];
    /// let sum = gort::scope(|s| {
    ///     let handle = gort::Builder::new().name("adder").go_scoped(s, || numbers.iter().sum::<i32>())?;
    ///     Ok::<_, std::io::Error>(handle.join().unwrap())
    /// })?;
    /// assert_eq!(sum, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        Ok(ScopedJoinHandle::new(inner))
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

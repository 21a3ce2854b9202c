//! Starting a goroutine with a name and a stack size.

use std::io;

use super::current::Thread;
use super::handle::{JoinHandle, ScopedJoinHandle};
use super::scope::Scope;
use crate::go;

/// Starts a goroutine; see [`gort::go`](crate::go). Never blocks.
///
/// # Panics
///
/// If no stack can be had; [`Builder::spawn`] gives an error instead.
///
/// # Examples
///
/// ```
/// let handle = gort::thread::spawn(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
#[track_caller]
#[doc(alias = "go")]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Builder::new().spawn(f) {
        Ok(handle) => handle,
        Err(error) => panic!("failed to spawn thread: {error}"),
    }
}

/// How a goroutine is to be started: name and stack size.
///
/// [`gort::Builder`](crate::Builder) has more.
///
/// # Examples
///
/// ```
/// let handle = gort::thread::Builder::new()
///     .name("worker".to_owned())
///     .stack_size(1 << 20)
///     .spawn(|| gort::thread::current().name().map(str::to_owned))?;
/// assert_eq!(handle.join().unwrap().as_deref(), Some("worker"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct Builder {
    name: Option<String>,
    stack_bytes: Option<usize>,
}

impl Builder {
    /// The defaults of [`spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::thread::Builder::new().spawn(|| gort::thread::current().name().is_none())?;
    /// assert!(handle.join().unwrap()); // it has no name
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the goroutine, for dumps, panic messages and [`Thread::name`].
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::thread::Builder::new()
    ///     .name("adder".to_owned())
    ///     .spawn(|| gort::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(handle.join().unwrap().as_deref(), Some("adder"));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Bytes of stack, rounded up to a power of two of at least 64 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::thread::Builder::new().stack_size(4 << 20).spawn(|| {
    ///     let ones = [1_u8; 1 << 20]; // a megabyte on the stack
    ///     ones.iter().map(|one| u32::from(*one)).sum::<u32>()
    /// })?;
    /// assert_eq!(handle.join().unwrap(), 1 << 20);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stack_size(mut self, size: usize) -> Builder {
        // std has no size that is too small.
        self.stack_bytes = Some(size.max(1));
        self
    }

    /// Starts a goroutine.
    ///
    /// # Errors
    ///
    /// No memory or address space for the stack ([`io::ErrorKind::OutOfMemory`]), or more than 1 GiB of it
    /// was asked for ([`io::ErrorKind::InvalidInput`]).
    ///
    /// # Panics
    ///
    /// If the name contains a zero byte, as in std.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = gort::thread::Builder::new().spawn(|| 1 + 1)?;
    /// assert_eq!(handle.join().unwrap(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (builder, thread) = self.into_parts();
        let inner = builder.go(run_as(&thread, f))?;
        Ok(JoinHandle::new(inner, thread))
    }

    /// Starts a goroutine whose closure may borrow, and leaves it to the caller that it ends in time.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Safety
    ///
    /// What the closure and its result borrow must outlive the goroutine: the caller joins it before, or
    /// borrows nothing but what is `'static`.
    ///
    /// # Examples
    ///
    /// ```
    /// let x = 1;
    /// let builder = gort::thread::Builder::new();
    /// // SAFETY: joined while `x` is there.
    /// let handle = unsafe { builder.spawn_unchecked(|| x + 1) }?;
    /// assert_eq!(handle.join().unwrap(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub unsafe fn spawn_unchecked<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let (builder, thread) = self.into_parts();
        // SAFETY: the caller's contract is the same; what we add to the closure is 'static.
        let inner = unsafe { builder.go_unchecked(run_as(&thread, f)) }?;
        Ok(JoinHandle::new(inner, thread))
    }

    /// Starts a goroutine in a scope.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::thread;
    ///
    /// let numbers = vec![1, 2, 3];
    /// let sum = thread::scope(|s| {
    ///     let adding = thread::Builder::new()
    ///         .name("adding".to_owned())
    ///         .spawn_scoped(s, || numbers.iter().sum::<i32>());
    ///     adding.unwrap().join().unwrap()
    /// });
    /// assert_eq!(sum, 6);
    /// ```
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let (builder, thread) = self.into_parts();
        let inner = builder.go_scoped(scope.as_go(), run_as(&thread, f))?;
        Ok(ScopedJoinHandle::new(inner, thread))
    }

    #[track_caller]
    fn into_parts(self) -> (go::Builder, Thread) {
        let mut builder = go::Builder::new();
        if let Some(name) = &self.name {
            assert!(
                !name.contains('\0'),
                "thread name may not contain interior null bytes"
            );
            builder = builder.name(name.as_str());
        }
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        (builder, Thread::new(self.name.map(String::into_boxed_str)))
    }
}

/// `f`, run as what `thread` stands for.
fn run_as<F: FnOnce() -> T, T>(thread: &Thread, f: F) -> impl FnOnce() -> T + use<F, T> {
    let thread = thread.clone();
    move || {
        thread.set_current();
        drop(thread);
        f()
    }
}

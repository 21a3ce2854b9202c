//! Who runs here, and parking with a token.
//!
//! A [`Thread`] is made for whoever asks for it first: the spawner, for the goroutine's handle, or the
//! goroutine or plain thread itself. It is kept with the descriptor (`g::attach`), not in a thread-local: so
//! it is there in destructors of thread-locals too.
//!
//! Elsewhere: the token, and who may wake whom (`token`).

use std::fmt;
use std::num::NonZero;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gort_core::clock::{self, NEVER};
use gort_core::g;

use super::token::Token;
use crate::go;

/// A goroutine or plain thread, for [`unpark`](Thread::unpark).
///
/// From [`current`] or [`JoinHandle::thread`](super::JoinHandle::thread). It may outlive what it stands for.
///
/// # Examples
///
/// ```
/// use gort::thread;
///
/// let parked = thread::spawn(|| thread::park());
/// assert_ne!(parked.thread().id(), thread::current().id());
/// parked.thread().unpark();
/// parked.join().unwrap();
/// ```
#[derive(Clone)]
pub struct Thread {
    inner: Arc<Inner>,
}

struct Inner {
    id: ThreadId,
    name: Option<Box<str>>,
    token: Token,
}

// As std's: no code of the user's runs while the token changes.
impl UnwindSafe for Thread {}
impl RefUnwindSafe for Thread {}

impl Thread {
    /// One that nobody runs as yet.
    pub(super) fn new(name: Option<Box<str>>) -> Thread {
        Thread {
            inner: Arc::new(Inner {
                id: ThreadId::new(),
                name,
                token: Token::new(),
            }),
        }
    }

    /// Makes it the current one, for the goroutine that calls.
    pub(super) fn set_current(&self) {
        g::attach(Arc::clone(&self.inner) as _);
    }

    /// Gives it the token: its current or next [`park`] returns. There is one token at most. Never blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// let me = gort::thread::current();
    /// me.unpark();
    /// gort::thread::park();
    /// ```
    pub fn unpark(&self) {
        self.inner.token.give();
    }

    /// Its number.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::thread;
    ///
    /// let other = thread::spawn(|| thread::current().id());
    /// assert_ne!(other.join().unwrap(), thread::current().id());
    /// ```
    #[must_use]
    pub fn id(&self) -> ThreadId {
        self.inner.id
    }

    /// Its name: what a builder gave, or the plain thread's.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::thread;
    ///
    /// let named = thread::Builder::new()
    ///     .name("reader".to_owned())
    ///     .spawn(|| assert_eq!(thread::current().name(), Some("reader")))?;
    /// assert_eq!(named.thread().name(), Some("reader"));
    /// named.join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The number of a goroutine or plain thread as a [`Thread`]: unique in the process, never reused.
///
/// Not the number in dumps, which is a [`GoroutineId`](crate::GoroutineId).
///
/// # Examples
///
/// ```
/// use gort::thread;
///
/// assert_eq!(thread::current().id(), thread::current().id());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ThreadId(NonZero<u64>);

impl ThreadId {
    fn new() -> ThreadId {
        /// Writers: whoever makes a `Thread`; nothing else hangs on it.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        ThreadId(NonZero::new(number).expect("2^64 threads are not made"))
    }
}

/// The goroutine, or plain thread, that calls.
///
/// In a future that [`go_async`](crate::go_async) runs it is that goroutine, whoever polls it.
///
/// # Panics
///
/// If a plain thread calls it for the first time so late in its end that std has forgotten the thread: as
/// std's does, in the destructor of a pthread key.
///
/// # Examples
///
/// ```
/// use gort::thread;
///
/// let me = thread::current();
/// let other = thread::spawn(move || me.unpark());
/// thread::park();
/// other.join().unwrap();
/// ```
#[must_use]
pub fn current() -> Thread {
    if let Some(Ok(inner)) = g::attached().map(Arc::downcast::<Inner>) {
        return Thread { inner };
    }
    let name = match go::try_current() {
        Some(goroutine) => goroutine.name(),
        None => std::thread::current().name().map(str::to_owned),
    };
    let new = Thread::new(name.map(String::into_boxed_str));
    new.set_current();
    new
}

/// Parks until there is a token for this goroutine (or plain thread), and takes it: one that
/// [`Thread::unpark`] has given since the last time, or will give.
///
/// It may return without a token, as std's: look at what you wait for, and park again.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use gort::thread;
///
/// let is_set = Arc::new(AtomicBool::new(false));
/// let waiting = {
///     let is_set = is_set.clone();
///     thread::spawn(move || {
///         while !is_set.load(Ordering::Acquire) {
///             thread::park();
///         }
///     })
/// };
/// is_set.store(true, Ordering::Release);
/// waiting.thread().unpark();
/// waiting.join().unwrap();
/// ```
#[doc(alias = "gopark")]
#[track_caller]
pub fn park() {
    current().inner.token.take(NEVER);
}

/// As [`park`], for at most `timeout`.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let begin = Instant::now();
/// gort::thread::park_timeout(Duration::from_millis(2));
/// assert!(begin.elapsed() >= Duration::from_millis(2));
/// ```
#[track_caller]
pub fn park_timeout(timeout: Duration) {
    current().inner.token.take(clock::deadline_after(timeout));
}

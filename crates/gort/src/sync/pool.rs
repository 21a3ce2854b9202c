//! [`Pool`]: things that are used again instead of made anew. Go's `sync.Pool`.
//!
//! A shelf for each P: one place, and a queue for what comes while that is taken. `put` goes to the
//! caller's own shelf. `get` takes from its place, else the newest of its queue, else the oldest of
//! another's shelf, else what is stale: Go's order.
//!
//! *What bounds it.* Go's pools are emptied by its garbage collector: what was not used between two
//! collections goes. Here the clock of the runtime stands for it: when a generation is [`AGE_NS`] old,
//! what is on the shelves becomes stale, and what was stale is dropped. So a thing that is not used is
//! dropped after one to two such times. The clock is looked at by every sixteenth `put` to a shelf: a pool
//! that nobody uses keeps what it has, until it is cleared or dropped. (A timer could empty it, but
//! while one is pending no deadlock could be told from a wait for it.)
//!
//! P1. The lock of a shelf is held to move things, never while user code runs: what is made is made before,
//!     what is dropped is dropped after.
//! P2. `count` is written under the shelf's lock; who reads it without may find it too small or too
//!     large, but sees every `put` that happened before.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::striped::Striped;
use super::{Mutex, clock};

/// How old a generation gets. Go collects at least every two minutes, busy programs many times a second.
const AGE_NS: u64 = 10_000_000_000;
/// A look at the clock costs as much as the rest of a `put`.
const PUTS_BETWEEN_LOOKS: u32 = 16;

/// A set of things that may be used again. Go's `sync.Pool`.
///
/// `get` gives one that somebody has put back, or a new one. It gives things as they were put: clear
/// them, or let what you put be clear. The pool may drop what was not used for ten seconds, whenever
/// it is used; there is no bound but that on how many it keeps.
///
/// It never blocks but for other callers' moves, each some nanoseconds. It may be a `static`, and used
/// from plain threads.
///
/// # Examples
///
/// ```
/// use gort::sync::Pool;
///
/// static BUFFERS: Pool<Vec<u8>> = Pool::new(Vec::new);
///
/// let mut buffer = BUFFERS.get();
/// buffer.clear();
/// buffer.extend_from_slice(b"hello");
/// assert_eq!(buffer.len(), 5);
/// // Dropped, it goes back.
/// ```
#[doc(alias = "sync.Pool")]
pub struct Pool<T, F = fn() -> T> {
    make: F,
    shelves: Shelves<T>,
}

// A shelf is whole whatever panics (P1), and what a panic found in use does not come back.
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for Pool<T, F> {}
impl<T: UnwindSafe, F: RefUnwindSafe> RefUnwindSafe for Pool<T, F> {}

/// A thing from a [`Pool`], which goes back when this is dropped, unless a panic is unwinding: what that
/// has left half done is nobody's. `Send` if the thing is.
///
/// # Examples
///
/// ```
/// let pool = gort::sync::Pool::new(String::new);
/// let mut text = pool.get();
/// text.push_str("mine");
/// // Taken out, it does not go back.
/// let text: String = text.into_inner();
/// assert_eq!(text, "mine");
/// assert!(pool.try_get().is_none());
/// ```
pub struct PoolGuard<'a, T> {
    /// Always there, but in `into_inner` and `drop`.
    thing: Option<T>,
    shelves: &'a Shelves<T>,
}

/// All that a pool keeps.
struct Shelves<T> {
    shelves: Striped<Shelf<T>>,
    /// When the generation began; 0 before the first look.
    began_ns: AtomicU64,
}

/// What is kept for one P.
struct Shelf<T> {
    /// P2: how many things there are, stale ones included.
    count: AtomicUsize,
    things: Mutex<Things<T>>,
}

struct Things<T> {
    first: Option<T>,
    others: VecDeque<T>,
    /// What the last generation has left.
    stale: Vec<T>,
    puts: u32,
}

impl<T, F: Fn() -> T> Pool<T, F> {
    /// An empty pool, which makes new things with `make`.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gort::sync::Pool::new(|| Vec::<u8>::with_capacity(4096));
    /// assert_eq!(pool.get().capacity(), 4096);
    /// ```
    pub const fn new(make: F) -> Pool<T, F> {
        Pool {
            make,
            shelves: Shelves {
                shelves: Striped::new(),
                began_ns: AtomicU64::new(0),
            },
        }
    }

    /// A thing that was put back, else a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gort::sync::Pool::new(String::new);
    /// let mut text = pool.get(); // a new one
    /// text.push_str("left");
    /// drop(text);
    /// assert_eq!(*pool.get(), "left"); // the same, as it was
    /// ```
    #[inline]
    pub fn get(&self) -> PoolGuard<'_, T> {
        self.shelves
            .guard(self.shelves.take().unwrap_or_else(|| (self.make)()))
    }
}

impl<T, F> Pool<T, F> {
    /// A thing that was put back, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gort::sync::Pool::new(Vec::<u8>::new);
    /// assert!(pool.try_get().is_none());
    /// pool.put(Vec::with_capacity(4096));
    /// assert_eq!(pool.try_get().unwrap().capacity(), 4096);
    /// ```
    #[inline]
    pub fn try_get(&self) -> Option<PoolGuard<'_, T>> {
        self.shelves.take().map(|thing| self.shelves.guard(thing))
    }

    /// Keeps a thing for those who `get` one. It need not be from this pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gort::sync::Pool::new(Vec::<u8>::new);
    /// pool.put(vec![1, 2, 3]);
    /// assert_eq!(*pool.get(), [1, 2, 3]);
    /// ```
    #[inline]
    pub fn put(&self, thing: T) {
        self.shelves.put(thing, clock::now_ns);
    }

    /// Drops all that is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gort::sync::Pool::new(Vec::<u8>::new);
    /// pool.put(Vec::with_capacity(1 << 20));
    /// pool.clear();
    /// assert!(pool.try_get().is_none());
    /// ```
    pub fn clear(&self) {
        self.shelves.age();
        self.shelves.age();
    }
}

impl<T> Shelves<T> {
    fn guard(&self, thing: T) -> PoolGuard<'_, T> {
        PoolGuard {
            thing: Some(thing),
            shelves: self,
        }
    }

    fn put(&self, thing: T, now_ns: impl FnOnce() -> u64) {
        let must_look = self.shelves.own().with(|things| {
            match things.first {
                None => things.first = Some(thing),
                Some(_) => things.others.push_back(thing),
            }
            things.puts = things.puts.wrapping_add(1);
            things.puts % PUTS_BETWEEN_LOOKS == 0
        });
        if must_look {
            self.age_if_due(now_ns());
        }
    }

    fn take(&self) -> Option<T> {
        let own = self.shelves.own();
        own.take(|things| things.first.take().or_else(|| things.others.pop_back()))
            .or_else(|| {
                self.take_from_any(|things| {
                    things.others.pop_front().or_else(|| things.first.take())
                })
            })
            .or_else(|| self.take_from_any(|things| things.stale.pop()))
    }

    fn take_from_any(&self, pick: impl Fn(&mut Things<T>) -> Option<T>) -> Option<T> {
        self.shelves.all().find_map(|shelf| shelf.take(&pick))
    }

    /// Begins a new generation if the time has come. Of several who see that, one does it.
    fn age_if_due(&self, now_ns: u64) {
        let began_ns = self.began_ns.load(Ordering::Relaxed);
        if began_ns != 0 && now_ns.saturating_sub(began_ns) < AGE_NS {
            return;
        }
        let is_ours = self
            .began_ns
            .compare_exchange(began_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_ours && began_ns != 0 {
            self.age();
        }
    }

    fn age(&self) {
        for shelf in self.shelves.all() {
            let gone = shelf.with(|things| {
                let mut fresh: Vec<T> = mem::take(&mut things.others).into();
                fresh.extend(things.first.take());
                mem::replace(&mut things.stale, fresh)
            });
            drop(gone);
        }
    }
}

impl<T> Shelf<T> {
    /// Runs `f`, which moves things and no more (P1), with the shelf locked.
    fn with<R>(&self, f: impl FnOnce(&mut Things<T>) -> R) -> R {
        let mut things = self.things.lock();
        let result = f(&mut things);
        let count = usize::from(things.first.is_some()) + things.others.len() + things.stale.len();
        self.count.store(count, Ordering::Relaxed);
        result
    }

    fn take(&self, pick: impl FnOnce(&mut Things<T>) -> Option<T>) -> Option<T> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.with(pick)
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf {
            count: AtomicUsize::new(0),
            things: Mutex::new(Things {
                first: None,
                others: VecDeque::new(),
                stale: Vec::new(),
                puts: 0,
            }),
        }
    }
}

impl<T> PoolGuard<'_, T> {
    /// The thing, which does not go back.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gort::sync::Pool::new(Vec::<u8>::new);
    /// let buffer: Vec<u8> = pool.get().into_inner(); // ours for good
    /// drop(buffer);
    /// assert!(pool.try_get().is_none());
    /// ```
    pub fn into_inner(mut self) -> T {
        self.thing.take().expect("it is there until now")
    }
}

impl<T> Deref for PoolGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until the drop")
    }
}

impl<T> DerefMut for PoolGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until the drop")
    }
}

impl<T> Drop for PoolGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(thing) = self.thing.take().filter(|_| !thread::panicking()) {
            self.shelves.put(thing, clock::now_ns);
        }
    }
}

impl<T, F> fmt::Debug for Pool<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: usize = self
            .shelves
            .shelves
            .all()
            .map(|shelf| shelf.count.load(Ordering::Relaxed))
            .sum();
        f.debug_struct("Pool")
            .field("kept", &kept)
            .finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for PoolGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What is not used for a generation is dropped, after two; what is used stays.
    #[test]
    fn what_is_not_used_is_dropped_after_two_generations() {
        let pool: Pool<Arc<()>, _> = Pool::new(|| unreachable!("there is one"));
        let (idle, used) = (Arc::new(()), Arc::new(()));
        let mut now = 1;
        let puts = |now: u64| {
            // So many that one looks at the clock, whichever shelf they go to.
            for _ in 0..PUTS_BETWEEN_LOOKS {
                let thing = pool.shelves.take().expect("there is one");
                pool.shelves.put(thing, || now);
            }
        };
        pool.put(idle.clone());
        pool.put(used.clone());
        puts(now);
        assert_eq!((Arc::strong_count(&idle), Arc::strong_count(&used)), (2, 2));
        for _ in 0..4 {
            now += AGE_NS;
            puts(now);
        }
        let left = Arc::strong_count(&idle) + Arc::strong_count(&used) - 2;
        assert_eq!(left, 1, "one was used all the time, the other never");
        puts(now + AGE_NS - 1);
        assert_eq!(
            Arc::strong_count(&idle) + Arc::strong_count(&used) - 2,
            1,
            "the generation is not that old"
        );
        pool.clear();
        assert!(pool.try_get().is_none());
        assert_eq!(Arc::strong_count(&idle) + Arc::strong_count(&used), 2);
    }
}

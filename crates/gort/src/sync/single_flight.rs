//! [`SingleFlight`]: one run for all who ask for the same thing at once.
//!
//! F1. Callers join a flight by adding 1 to `joined` while it is not CLOSED; who closes it knows how many
//!     there are, and none comes after. So `shared` is exact, and a value that nobody else wants is not
//!     cloned.
//! F2. A flight is closed after it was taken out of the map, except where the user's `Eq` panics: then
//!     those who find it there take it out.
//! F3. A flight lands on every path: whoever has joined is woken, with an outcome.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Map, OnceLock, WaitGroup, g, sched};
use crate::go::message_of;

/// Runs a function once for all who ask for the same key at the same time. Go's `singleflight.Group`.
///
/// # Examples
///
/// ```
/// use gort::sync::SingleFlight;
///
/// static PAGES: std::sync::LazyLock<SingleFlight<String, usize>> =
///     std::sync::LazyLock::new(SingleFlight::new);
///
/// let (length, _shared) = PAGES.run("/index".to_owned(), || "<html>".len());
/// assert_eq!(length, 6);
/// ```
#[doc(alias = "singleflight.Group")]
pub struct SingleFlight<K, V> {
    flights: Map<K, Flight<V>>,
}

/// One run, and those who wait for it.
struct Flight<V>(Arc<State<V>>);

struct State<V> {
    /// How many have joined, and CLOSED.
    joined: AtomicU64,
    /// Counts the run.
    running: WaitGroup,
    /// Written by the run before `running` ends, if anybody has joined.
    outcome: OnceLock<Outcome<V>>,
}

enum Outcome<V> {
    Value(V),
    Panicked(String),
    Exited,
}

const CLOSED: u64 = 1 << 63;

impl<K: Hash + Eq + Clone, V: Clone> SingleFlight<K, V> {
    /// A group that runs nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let pages = gort::sync::SingleFlight::new();
    /// assert_eq!(pages.run("/index", || "<html>"), ("<html>", false));
    /// ```
    pub fn new() -> SingleFlight<K, V> {
        SingleFlight {
            flights: Map::new(),
        }
    }

    /// Runs `f`; or, if somebody is running a function for this key, waits for that and gives a clone of
    /// its result. True: the result was given to more than one caller.
    ///
    /// Calling it for the same key inside `f` waits for ever.
    ///
    /// # Panics
    ///
    /// If the function that is run does: who runs it with its payload, who waits with a text that has the
    /// payload's. If it calls `goexit`, all of them exit (a plain thread panics). The next caller runs its
    /// own function.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use gort::sync::SingleFlight;
    ///
    /// let pages = SingleFlight::new();
    /// let fetches = AtomicU32::new(0);
    /// gort::scope(|s| {
    ///     for _ in 0..10 {
    ///         s.go(|| {
    ///             let (page, _shared) = pages.run("/index", || {
    ///                 fetches.fetch_add(1, Ordering::Relaxed);
    ///                 gort::yield_now(); // the network
    ///                 "<html>"
    ///             });
    ///             assert_eq!(page, "<html>");
    ///         });
    ///     }
    /// });
    /// assert!((1..=10).contains(&fetches.into_inner()));
    /// ```
    #[track_caller]
    pub fn run(&self, key: K, f: impl FnOnce() -> V) -> (V, bool) {
        let flight = loop {
            let (flight, is_mine) = self.find_or_start(&key);
            if is_mine {
                break flight;
            }
            if flight.join() {
                return (flight.wait(), true);
            }
            // It has landed just now (F2).
            self.flights.compare_and_delete(&key, &flight);
        };
        let lands = Lands(&flight);
        let result = panic::catch_unwind(AssertUnwindSafe(f));
        self.flights.compare_and_delete(&key, &flight);
        let is_shared = flight.close();
        if is_shared {
            flight.publish(match &result {
                Ok(value) => Outcome::Value(value.clone()),
                Err(payload) if sched::exiting(&**payload) => Outcome::Exited,
                Err(payload) => {
                    let message = message_of(&**payload).unwrap_or("a payload that is no text");
                    Outcome::Panicked(message.to_owned())
                }
            });
        }
        drop(lands);
        match result {
            Ok(value) => (value, is_shared),
            Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// The flight for the key. True: it is a new one, for the caller to run.
    fn find_or_start(&self, key: &K) -> (Flight<V>, bool) {
        if let Some(flight) = self.flights.load(key) {
            return (flight, false);
        }
        let (flight, is_loaded) = self.flights.load_or_store(key.clone(), Flight::start());
        (flight, !is_loaded)
    }

    /// Lets the next caller run its own function, even if one is running for this key. Those who wait get
    /// that one's result.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::chan;
    /// use gort::sync::SingleFlight;
    ///
    /// let prices = SingleFlight::new();
    /// let (begun, begins) = chan::bounded(0);
    /// let (goes_on, go_on) = chan::bounded::<()>(0);
    /// gort::scope(|s| {
    ///     let old = s.go(|| {
    ///         prices.run("bread", || {
    ///             begun.send(()).unwrap();
    ///             go_on.recv().ok();
    ///             3
    ///         })
    ///     });
    ///     begins.recv().unwrap();
    ///     // What is being fetched is out of date: fetch it again.
    ///     prices.forget("bread");
    ///     assert_eq!(prices.run("bread", || 4).0, 4);
    ///     drop(goes_on);
    ///     assert_eq!(old.join().unwrap().0, 3);
    /// });
    /// ```
    pub fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.flights.delete(key);
    }
}

impl<V> Flight<V> {
    fn start() -> Flight<V> {
        let running = WaitGroup::new();
        running.add(1);
        Flight(Arc::new(State {
            joined: AtomicU64::new(0),
            running,
            outcome: OnceLock::new(),
        }))
    }

    /// Has it tell us its outcome, if it has not closed.
    fn join(&self) -> bool {
        // The outcome comes by `running`; this is a count.
        let join = |joined| (joined & CLOSED == 0).then_some(joined + 1);
        self.0
            .joined
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, join)
            .is_ok()
    }

    /// Lets nobody join any more; whether anybody has.
    fn close(&self) -> bool {
        self.0.joined.fetch_or(CLOSED, Ordering::Relaxed) & !CLOSED != 0
    }

    /// Says how it ended; the first time counts.
    fn publish(&self, outcome: Outcome<V>) {
        let _ = self.0.outcome.set(outcome);
    }
}

impl<V: Clone> Flight<V> {
    /// The value of a flight that we have joined.
    #[track_caller]
    fn wait(&self) -> V {
        self.0.running.wait();
        match self.0.outcome.get().expect("F3: it has landed") {
            Outcome::Value(value) => value.clone(),
            Outcome::Panicked(text) => panic!("singleflight: the function panicked: {text}"),
            Outcome::Exited if g::current_goroutine().is_some() => sched::goexit(),
            Outcome::Exited => panic!("singleflight: the function called goexit"),
        }
    }
}

/// F3.
struct Lands<'a, V>(&'a Flight<V>);

impl<V> Drop for Lands<'_, V> {
    fn drop(&mut self) {
        if self.0.close() && self.0.0.outcome.get().is_none() {
            // The user's `Eq` or `Clone` unwinds.
            self.0.publish(Outcome::Panicked(
                "its key or value could not be compared or cloned".to_owned(),
            ));
        }
        self.0.0.running.done();
    }
}

impl<V> Clone for Flight<V> {
    fn clone(&self) -> Self {
        Flight(self.0.clone())
    }
}

/// The same flight.
impl<V> PartialEq for Flight<V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Default for SingleFlight<K, V> {
    fn default() -> Self {
        SingleFlight::new()
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight")
            .field("flights", &self.flights.len())
            .finish_non_exhaustive()
    }
}

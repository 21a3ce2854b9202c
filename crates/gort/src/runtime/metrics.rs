//! What the runtime counts, and the places where goroutines kept others waiting.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use gort_core::{hibernate, runtime as core, sched, snapshot, stall};

use crate::debug::{self, Frame};

/// Counters of the scheduler, facts about its set-up, and the places where goroutines kept others waiting.
///
/// Takes a lock that other callers may hold for some microseconds; does not park.
///
/// # Stalls
///
/// A goroutine that blocks its thread in a call of any library, or computes for long, loses its turn to others
/// who want one, but each such loss costs some time, and while no other thread is free they do wait. So
/// the runtime notes who held its turn for more than 10 ms without giving it up, by place:
/// [`Metrics::stalls`]. What helps: [`blocking`](crate::blocking) around the call,
/// [`checkpoint`](crate::checkpoint) in the computation, or the types of this crate instead of those that block.
///
/// With `GORT_STALL=log` in the environment each new place is also reported on stderr, in one line:
///
/// ```text
/// gort: stall: blocking read in app::load (src/main.rs:57), 312 ms; goroutine 7, created at src/main.rs:12:9
/// ```
///
/// One that goes on for a second is reported then, as it may never end.
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     // Blocks the thread, instead of parking the goroutine as `gort::time::sleep` does.
///     gort::go(|| std::thread::sleep(std::time::Duration::from_millis(50))).join().unwrap();
///     for stall in gort::runtime::metrics().stalls {
///         println!("{stall}");
///     }
/// });
/// ```
pub fn metrics() -> Metrics {
    let report = core::report();
    let counters = snapshot::counters();
    let preempted = gort_core::preempt::counters();
    let hibernation = hibernate::report();
    let (stalls, stalls_left_out) = stall::sites();
    Metrics {
        tls_mode: if core::has_own_tls() {
            TlsMode::Own
        } else {
            TlsMode::Thread
        },
        tls_reason: report.tls.reason.clone(),
        gomaxprocs: counters.procs as usize,
        gomaxprocs_source: report.procs_source.to_string(),
        idle_procs: counters.idle_procs as usize,
        threads: counters.threads as usize,
        goroutines: counters.goroutines,
        hibernating: hibernation.goroutines,
        hibernating_bytes: hibernation.bytes,
        global_queue: counters.global_queue,
        local_queues: counters.local_queues,
        timers: counters.timers,
        switches: counters.switches,
        retakes: preempted.retakes,
        retake_races: preempted.retake_races,
        preemptions: preempted.preemptions,
        blocked_polls: sched::stackless::blocked_polls(),
        stalls: stalls.into_iter().map(Stall).collect(),
        stalls_left_out,
    }
}

/// Whose thread-locals a goroutine has.
///
/// # Examples
///
/// ```standalone_crate
/// use gort::runtime::{TlsMode, metrics};
///
/// let mode = gort::Config::new().tls(TlsMode::Thread).run(|| metrics().tls_mode)?;
/// assert_eq!(mode, TlsMode::Thread);
/// # Ok::<(), gort::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsMode {
    /// A block of its own, on a stack of its own.
    Own,
    /// Those of an OS thread of its own.
    Thread,
}

/// See [`metrics`].
///
/// # Examples
///
/// ```
/// use gort::runtime::{TlsMode, metrics};
///
/// let metrics = metrics();
/// assert!(metrics.idle_procs <= metrics.gomaxprocs);
/// println!("{} Ps, from {}", metrics.gomaxprocs, metrics.gomaxprocs_source);
/// if metrics.tls_mode == TlsMode::Thread {
///     println!("a thread for each goroutine: {}", metrics.tls_reason);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// Whose thread-locals a goroutine has.
    pub tls_mode: TlsMode,
    /// Why.
    pub tls_reason: String,
    /// How many goroutines may run at once.
    pub gomaxprocs: usize,
    /// Where that number came from.
    pub gomaxprocs_source: String,
    /// How many more could run at this moment.
    pub idle_procs: usize,
    /// OS threads that run goroutines, sleeping ones included.
    pub threads: usize,
    /// Goroutines.
    pub goroutines: usize,
    /// Those of them whose stacks have given their memory back; see [`Config::hibernate`](super::Config::hibernate).
    pub hibernating: usize,
    /// What is kept of these, in bytes.
    pub hibernating_bytes: usize,
    /// Runnable goroutines in the global queue, those included that yielded.
    pub global_queue: usize,
    /// Runnable goroutines in the processors' own queues.
    pub local_queues: usize,
    /// Timers waiting.
    pub timers: u64,
    /// Switches between goroutines so far.
    pub switches: u64,
    /// How often a turn was taken from a goroutine that blocked its thread or computed for long.
    pub retakes: u64,
    /// How often one that was about to lose its turn came back at that moment.
    pub retake_races: u64,
    /// How often a goroutine that computed was stopped by a signal, until its next turn.
    pub preemptions: u64,
    /// How many polls of [`go_async`](crate::go_async) futures parked, in a lock or channel, say, instead of
    /// returning: each kept a stack for so long. What blocks the thread counts as `retakes`.
    pub blocked_polls: u64,
    /// Where goroutines held their turns for more than 10 ms without giving them up, in the order in which
    /// the places were found; at most 64.
    pub stalls: Vec<Stall>,
    /// How many more such stalls there were, at other places or at too many at once.
    pub stalls_left_out: u64,
}

/// A place where goroutines held their turns for more than 10 ms without giving them up; see [`metrics`].
///
/// Stalls are of one place if they have the same kind, and their goroutines the same stack and creation
/// site. They are counted when they are over, or have gone on for a second: then with the time so far, to which the
/// end, if there is one, adds the rest. Of those under 20 ms some are missed, as the runtime looks every 10 ms if it
/// has nothing else to do.
///
/// As text it is one line: kind, function, time (`so far`, if one goes on), goroutine.
///
/// # Examples
///
/// ```
/// for stall in gort::runtime::metrics().stalls {
///     println!("{} times, {:?} at most: {stall}", stall.count(), stall.longest());
///     for frame in stall.frames() {
///         println!("    {} in line {:?}", frame.function, frame.line);
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Stall(stall::Site);

/// What a stalled goroutine was doing.
///
/// # Examples
///
/// ```
/// use gort::runtime::{StallKind, metrics};
///
/// let stalls = metrics().stalls;
/// let computed = stalls.iter().filter(|stall| stall.kind() == StallKind::Computing);
/// assert!(computed.count() <= stalls.len());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StallKind {
    /// Its thread was asleep in the kernel when it was looked at. As text: `blocking read`, with the system call.
    Blocked {
        /// The number of the system call; -1 is a page fault.
        call: i64,
    },
    /// It computed, or its thread waited for a processor that others used.
    Computing,
}

impl StallKind {
    fn to_core(self) -> stall::Kind {
        match self {
            StallKind::Blocked { call } => stall::Kind::Blocked(call),
            StallKind::Computing => stall::Kind::Computing,
        }
    }
}

impl fmt::Display for StallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_core().fmt(f)
    }
}

impl Stall {
    /// What the goroutines did.
    ///
    /// # Examples
    ///
    /// ```
    /// for stall in gort::runtime::metrics().stalls {
    ///     println!("{}: {}", stall.kind(), stall.count());
    /// }
    /// ```
    pub fn kind(&self) -> StallKind {
        match self.0.kind {
            stall::Kind::Blocked(call) => StallKind::Blocked { call },
            stall::Kind::Computing => StallKind::Computing,
        }
    }

    /// How often it happened.
    ///
    /// # Examples
    ///
    /// ```
    /// let stalls = gort::runtime::metrics().stalls;
    /// assert!(stalls.iter().all(|stall| stall.count() > 0));
    /// ```
    pub fn count(&self) -> u64 {
        self.0.count
    }

    /// For how long, together: from the last switch that was seen before to the return to the runtime, for a
    /// blocked one without what it computed after the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let stalls = gort::runtime::metrics().stalls;
    /// let lost: Duration = stalls.iter().map(|stall| stall.total()).sum();
    /// println!("{lost:?} of turns were not given up in time");
    /// ```
    pub fn total(&self) -> Duration {
        self.0.total
    }

    /// The longest.
    ///
    /// # Examples
    ///
    /// ```
    /// let stalls = gort::runtime::metrics().stalls;
    /// assert!(stalls.iter().all(|stall| stall.longest() <= stall.total()));
    /// ```
    pub fn longest(&self) -> Duration {
        self.0.longest
    }

    /// Where the goroutines were started.
    ///
    /// # Examples
    ///
    /// ```
    /// for stall in gort::runtime::metrics().stalls {
    ///     println!("started at {}", stall.created_at());
    /// }
    /// ```
    pub fn created_at(&self) -> &'static Location<'static> {
        // Set before a goroutine runs; this place stands in for none.
        self.0.created_at.unwrap_or(Location::caller())
    }

    /// The stack of the first of them in the call or computation, innermost function first. If it could not be
    /// had there, the one with which it came back to the runtime.
    ///
    /// The first time an address is met this reads the program's debug information.
    ///
    /// # Examples
    ///
    /// ```
    /// for stall in gort::runtime::metrics().stalls {
    ///     if let Some(frame) = stall.frames().first() {
    ///         println!("in {}", frame.function);
    ///     }
    /// }
    /// ```
    pub fn frames(&self) -> Vec<Frame> {
        debug::frames_of(&self.0.stack)
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stall")
            .field("kind", &self.kind())
            .field("count", &self.count())
            .field("total", &self.total())
            .field("longest", &self.longest())
            .field("created_at", &self.created_at())
            .finish_non_exhaustive()
    }
}

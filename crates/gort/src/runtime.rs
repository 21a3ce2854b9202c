//! Starting the runtime, its settings, and what it says about itself.

#![forbid(unsafe_code)]

mod metrics;
mod policy;
mod test;

use std::fmt;
use std::panic::{self, Location};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use gort_core::sched;
use gort_core::sched::join::Outcome;
use gort_core::{clock, deadlock, runtime as core, snapshot};

use crate::debug::GoroutineInfo;

pub use metrics::{Metrics, Stall, StallKind, TlsMode, metrics};
pub use policy::{ConfigError, DeadlockPolicy, PanicPolicy};
#[doc(hidden)]
pub use test::{TestOptions, run_test};

/// Runs `f` as a goroutine with a main thread's stack (8 MiB, or more if all goroutines are to have more)
/// while the calling thread waits.
///
/// `f` may borrow. The runtime stays up for later calls; other goroutines that `f` started go on.
/// Inside a goroutine it just calls `f`.
///
/// While a thread waits here, the runtime watches for deadlock. If all goroutines are parked, and there is no
/// timer, no descriptor waited for, no call that blocks its thread and no other OS thread that could
/// wake one of them, then nothing can ever happen again: the program says `fatal error: all
/// goroutines are asleep - deadlock!`, lists the goroutines and ends with status 2, or what the
/// [`DeadlockPolicy`] says instead.
///
/// # Panics
///
/// A panic of `f` resumes in the caller. If `f` calls [`goexit`](crate::goexit), the others run on
/// until the last has ended, and then the process ends, as in Go.
///
/// # Examples
///
/// ```
/// let mut total = 0;
/// gort::run(|| {
///     total = gort::go(|| 40).join().unwrap() + 2;
/// });
/// assert_eq!(total, 42);
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if gort_core::g::current_goroutine().is_some() {
        return f();
    }
    if !core::is_started() {
        core::ensure_started();
        core::begin_program();
    }
    deadlock::set_describe(crate::deadlock::describe);
    match core::run_main(f, Location::caller()) {
        Ok(Outcome::Returned(value)) => value,
        Ok(Outcome::Panicked(payload)) => panic::resume_unwind(payload),
        Ok(Outcome::Exited) => deadlock::wait_after_main_exited(),
        Err(error) => panic!("cannot start the main goroutine: {error}"),
    }
}

/// Settings of the runtime, for programs that do not take them from the environment.
///
/// # Examples
///
/// ```
/// let sum = gort::Config::new().procs(2).run(|| gort::go(|| 1).join().unwrap() + 1)?;
/// assert_eq!(sum, 2);
/// # Ok::<(), gort::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a Config does nothing until `run` or `start`"]
pub struct Config(core::Config);

impl Config {
    /// The environment's settings, or the defaults.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// // As the environment says (`GOMAXPROCS`, `GORT_TLS` and others), but for what is set here.
    /// gort::Config::new().run(|| assert!(gort::runtime::gomaxprocs() > 0))?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn new() -> Config {
        Config::default()
    }

    /// How many goroutines may run at once (`GOMAXPROCS`).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// gort::Config::new().procs(1).start()?;
    /// assert_eq!(gort::runtime::gomaxprocs(), 1);
    /// // Later it is changed with `set_gomaxprocs`.
    /// assert_eq!(gort::runtime::set_gomaxprocs(2), 1);
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn procs(mut self, n: usize) -> Config {
        self.0.procs = Some(n);
        self
    }

    /// Bytes of stack of goroutines that ask for none.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// // Deep recursion in most goroutines; one alone gets its stack from `Builder::stack_size`.
    /// gort::Config::new().stack_size(4 << 20).run(|| {
    ///     fn depth(n: u32) -> u32 {
    ///         let room = std::hint::black_box([n; 256]);
    ///         if n == 0 { 0 } else { depth(n - 1) + 1 + room[0] - n }
    ///     }
    ///     assert_eq!(gort::go(|| depth(1_000)).join().unwrap(), 1_000);
    /// })?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Config {
        self.0.stack_bytes = Some(bytes);
        self
    }

    /// What happens when a goroutine panics.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use gort::PanicPolicy;
    ///
    /// // A panic ends only its goroutine; with `Abort`, Go's rule, it ends the program.
    /// gort::Config::new().panic(PanicPolicy::Contain).run(|| {
    ///     assert!(gort::go(|| panic!("contained")).join().is_err());
    /// })?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn panic(mut self, policy: PanicPolicy) -> Config {
        self.0.panic = Some(policy);
        self
    }

    /// Whose thread-locals goroutines have (`GORT_TLS`).
    ///
    /// Without this, and with [`TlsMode::Own`], each has a block and a stack of its own where that can
    /// be had; where it cannot, the runtime starts in thread mode, and says why in one line on stderr.
    /// A program that asks for [`TlsMode::Thread`] gets it, without that line.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use gort::runtime::{TlsMode, metrics};
    ///
    /// gort::Config::new().tls(TlsMode::Thread).start()?;
    /// assert_eq!(metrics().tls_mode, TlsMode::Thread);
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn tls(mut self, mode: TlsMode) -> Config {
        self.0.tls = Some(match mode {
            TlsMode::Own => core::TlsRequest::Own,
            TlsMode::Thread => core::TlsRequest::Thread,
        });
        self
    }

    /// Whether a goroutine that computes for long without calling gort may be stopped by a signal
    /// (SIGURG), so that others get its turn; true unless said otherwise.
    ///
    /// Without it the runtime does not handle SIGURG, and such a goroutine keeps one of the GOMAXPROCS turns
    /// until it is done; nor can it be asked for its stack, which dumps then lack. Goroutines whose threads block
    /// are not affected: their turns go to others in any case, without signals.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    ///
    /// // One turn, and nobody loses it to a signal: the loop has to yield.
    /// gort::Config::new().procs(1).preempt(false).run(|| {
    ///     static DONE: AtomicBool = AtomicBool::new(false);
    ///     gort::go(|| DONE.store(true, Relaxed));
    ///     while !DONE.load(Relaxed) {
    ///         gort::yield_now();
    ///     }
    /// })?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn preempt(mut self, on: bool) -> Config {
        self.0.preempt = Some(on);
        self
    }

    /// Whether the runtime may handle SIGSEGV, SIGBUS and SIGQUIT; true unless said otherwise.
    ///
    /// A stack overflow is a SIGSEGV (or SIGBUS) on the guard below a goroutine's stack; its handler says which
    /// goroutine it was, and how to give it more. All other faults go to the handlers that were there before, or
    /// came later. A program that begins with [`run`], [`Config::run`] or `#[gort::main]` and has left
    /// SIGQUIT alone answers it as Go's do: with all goroutines' stacks and exit status 2. A runtime that
    /// was started in any other way takes no SIGQUIT.
    ///
    /// Without it an overflow still ends the process, by the signal and with no word from the runtime, or in the
    /// handler that the program has for it. SIGURG is [`preempt`](Self::preempt)'s: with both switched off the runtime
    /// handles no signal.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// // For a program whose own handlers report faults.
    /// gort::Config::new().signals(false).run(|| {
    ///     assert_eq!(gort::go(|| 6 * 7).join().unwrap(), 42);
    /// })?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn signals(mut self, on: bool) -> Config {
        self.0.signals = Some(on);
        self
    }

    /// What happens when all goroutines are asleep; see [`run`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::DeadlockPolicy;
    ///
    /// // A program whose goroutines may all wait, for what the runtime does not know of.
    /// gort::Config::new().deadlock(DeadlockPolicy::Off).run(|| ())?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn deadlock(mut self, policy: DeadlockPolicy) -> Config {
        self.0.deadlock = Some(policy);
        self
    }

    /// How many threads calls of [`fs`](crate::fs) may block at once, 512 unless said otherwise. A
    /// goroutine whose call would be one more parks until another call is done, in the order of their
    /// coming.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// // A slow file system is asked four things at once, not more.
    /// gort::Config::new().blocking_threads(4).run(|| {
    ///     let asks: Vec<_> = (0..100)
    ///         .map(|_| gort::go(|| gort::fs::metadata(".").unwrap().is_dir()))
    ///         .collect();
    ///     assert!(asks.into_iter().all(|ask| ask.join().unwrap()));
    /// })?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn blocking_threads(mut self, n: usize) -> Config {
        self.0.blocking_threads = Some(n);
        self
    }

    /// Stacks of goroutines that have been parked for `after` give their memory back, but for what is in use: a
    /// few hundred bytes instead of a page or more. It comes back by itself when it is touched, by whoever wakes the
    /// goroutine or has borrowed from it, at some 5 µs. Zero is never, and so is nothing said, here or by
    /// `GORT_HIBERNATE` (`500ms`, `10s`, `2m` or `off`).
    ///
    /// For programs with very many goroutines that wait for long. It wants Linux 6.6 and a `userfaultfd`; where
    /// that cannot be had, one line on stderr says so, and all goes on without. What it asks of the program, above all
    /// of system calls with addresses on other goroutines' stacks, is in `docs/stack-sizes.md`. Only stacks of up to 64 KiB in
    /// use are put away, and `after` counts in steps of 10 ms.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    ///
    /// gort::Config::new().hibernate(Duration::from_millis(20)).run(|| {
    ///     let (tx, rx) = gort::chan::bounded::<u32>(0);
    ///     let waiting = gort::go(move || rx.recv());
    ///     gort::time::sleep(Duration::from_millis(100));
    ///     tx.send(7).unwrap();
    ///     assert_eq!(waiting.join().unwrap(), Ok(7));
    /// })?;
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn hibernate(mut self, after: Duration) -> Config {
        self.0.hibernate = Some(after);
        self
    }

    /// Starts the runtime with these settings and runs `f` as [`run`] does.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Panics
    ///
    /// If `f` does, with its payload.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// let config = gort::Config::new().procs(2).stack_size(512 << 10).blocking_threads(64);
    /// let quiet = config.preempt(false).signals(false); // handles no signal
    /// assert_eq!(quiet.run(gort::runtime::gomaxprocs)?, 2);
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    #[track_caller]
    pub fn run<F, T>(self, f: F) -> Result<T, ConfigError>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let begins = !core::is_started();
        self.start()?;
        if begins {
            core::begin_program();
        }
        Ok(run(f))
    }

    /// Starts the runtime with these settings.
    ///
    /// # Errors
    ///
    /// It runs with other settings already; a setting is out of range; a thread cannot be had.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// // Before anything else of gort's is used.
    /// gort::Config::new().procs(2).start()?;
    /// assert_eq!(gort::runtime::gomaxprocs(), 2);
    /// // It runs with other settings now.
    /// assert!(gort::Config::new().procs(3).start().is_err());
    /// # Ok::<(), gort::ConfigError>(())
    /// ```
    pub fn start(self) -> Result<(), ConfigError> {
        core::start(self.0)
    }
}

/// How many goroutines there are; the runtime's own do not count.
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     let before = gort::runtime::num_goroutine(); // the main goroutine, at least
///     let (tx, rx) = gort::chan::bounded::<()>(0);
///     let waits = gort::go(move || rx.recv());
///     assert!(gort::runtime::num_goroutine() > before);
///     drop(tx);
///     assert!(waits.join().unwrap().is_err());
/// });
/// ```
#[doc(alias = "NumGoroutine")]
pub fn num_goroutine() -> usize {
    snapshot::num_goroutine()
}

/// How many goroutines may run at once.
///
/// # Examples
///
/// ```
/// assert!(gort::runtime::gomaxprocs() >= 1);
/// ```
#[doc(alias = "GOMAXPROCS")]
pub fn gomaxprocs() -> usize {
    set_gomaxprocs(0)
}

/// Changes how many goroutines may run at once, 4,096 at most; returns the old number. 0 only asks.
///
/// Without this, [`Config::procs`] and the environment's `GORT_PROCS` and `GOMAXPROCS`, it is what the
/// affinity mask and the CPU quota of the control groups (rounded up) leave to the process; both are
/// read again about once a second while goroutines run. After this it is what was set here.
///
/// It takes effect as the goroutines that run above a lowered number reach their next scheduling
/// point.
///
/// # Examples
///
/// ```standalone_crate
/// let old = gort::runtime::set_gomaxprocs(1);
/// assert_eq!(gort::runtime::gomaxprocs(), 1);
/// assert_eq!(gort::runtime::set_gomaxprocs(old), 1);
/// ```
#[doc(alias = "GOMAXPROCS")]
pub fn set_gomaxprocs(n: usize) -> usize {
    core::set_gomaxprocs(n)
}

/// Refuses new goroutines from now on, and waits until all others have ended, for at most `timeout`.
///
/// Parks the goroutine, or blocks the plain thread, that calls it; the caller itself is not waited for. It is
/// for the end of a program that wants to know whether everybody got done: tell them to stop first (a
/// [context](crate::context), a channel).
///
/// The refusal is for good, also after an error; a second call waits again. [`go`](crate::go) panics then,
/// and [`Builder::go`](crate::Builder::go) gives an error; functions of timers and contexts that would run in
/// a new goroutine are dropped. Everything else goes on: goroutines run, and wake each other. Nothing is ever
/// done to a goroutine that stays: its stack and what lies on it are left alone, for others may point
/// there.
///
/// A goroutine that a plain thread starts in the moment of the call may escape the count.
///
/// # Errors
///
/// [`StillRunning`], with those that have not ended in time.
///
/// # Examples
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// gort::go(|| gort::yield_now());
/// gort::runtime::shutdown_timeout(Duration::from_secs(10))?;
/// assert!(gort::Builder::new().go(|| ()).is_err());
/// # Ok::<(), gort::runtime::StillRunning>(())
/// ```
#[track_caller]
pub fn shutdown_timeout(timeout: Duration) -> Result<(), StillRunning> {
    core::shut();
    let deadline_ns = clock::deadline_after(timeout);
    let me = gort_core::g::current_id();
    // Goroutines are counted by the Ps that they start and end on, so nobody sees the last one go: a count
    // for all would be fought for at each start and end. Looking now and then costs nothing but the time
    // from the last end to the next look.
    let mut pause_ns = SHUTDOWN_LOOKS_NS.start;
    while num_goroutine() > usize::from(me != 0) {
        let now_ns = clock::now_ns();
        if now_ns >= deadline_ns {
            let mut left = crate::debug::goroutines();
            left.retain(|goroutine| goroutine.id.as_u64() != me);
            if left.is_empty() {
                // They have ended since.
                return Ok(());
            }
            return Err(StillRunning(left));
        }
        sched::sleep_until(deadline_ns.min(now_ns + pause_ns));
        pause_ns = (pause_ns * 2).min(SHUTDOWN_LOOKS_NS.end);
    }
    Ok(())
}

/// The shortest and the longest pause between two looks of [`shutdown_timeout`].
const SHUTDOWN_LOOKS_NS: std::ops::Range<u64> = 10_000..10_000_000;

/// The error of [`shutdown_timeout`]: goroutines that have not ended in time.
///
/// # Examples
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// let (_tx, rx) = gort::chan::bounded::<()>(0);
/// let _stays = gort::Builder::new().name("clerk").go(move || rx.recv())?;
/// let left = gort::runtime::shutdown_timeout(Duration::from_millis(5)).unwrap_err();
/// assert_eq!(left.0[0].name.as_deref(), Some("clerk"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct StillRunning(pub Vec<GoroutineInfo>);

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would not be read.
        const SHOWN_MAX: usize = 10;
        let (shown, rest) = self.0.split_at(self.0.len().min(SHOWN_MAX));
        write!(f, "{} goroutine(s) still running:", self.0.len())?;
        for goroutine in shown {
            write!(f, " goroutine {}", goroutine.id)?;
            if let Some(name) = &goroutine.name {
                write!(f, " {name:?}")?;
            }
            match goroutine.wait_reason {
                Some(reason) => write!(f, " [{reason}]")?,
                None => write!(f, " [{}]", goroutine.state)?,
            }
            write!(f, " created at {};", goroutine.created_at)?;
        }
        match rest.len() {
            0 => Ok(()),
            count => write!(f, " and {count} more"),
        }
    }
}

impl std::error::Error for StillRunning {}

/// The text of all goroutines in Go's form: what each does or waits for, and since when; its stack; where
/// it was created. The same as [`debug::stacks`](crate::debug::stacks), which says more.
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     let (sender, receiver) = gort::chan::bounded::<()>(0);
///     let waits = gort::go(move || receiver.recv());
///     while !gort::runtime::stacks().contains("[chan receive") {
///         gort::yield_now();
///     }
///     drop(sender);
///     assert!(waits.join().unwrap().is_err());
/// });
/// ```
#[doc(alias = "Stack")]
pub fn stacks() -> String {
    crate::dump::all()
}

/// Runs the body of a `#[gort::main]` function.
#[doc(hidden)]
#[track_caller]
pub fn run_main<T: Termination>(body: fn() -> T) -> ExitCode {
    run(move || body().report())
}

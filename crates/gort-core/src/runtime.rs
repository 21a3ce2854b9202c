//! Start, configuration, and what there is one of per process.
//!
//! The runtime starts at first need, or explicitly with a [`Config`]; it is never torn down. Threads:
//! sysmon, the factory that makes Ms, and the Ms, as many as are needed.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use gort_arch::stack::Class;
use gort_arch::tls::{self, Mode, Request};

use crate::clock;
use crate::g::{self, GRef};
use crate::lock::Mutex;
use crate::os::{cgroup, thread};
use crate::sched::join::Outcome;
use crate::sched::{self, SCHED, SpawnOptions, m, p, wake};
use crate::timer::{self, Deferred, Hooks, ReadyList, Timers};
use crate::wait_reason::WaitReason;
use crate::{netpoll, snapshot, sysmon};

/// Stack of the main goroutine: the size of std's main thread.
pub const MAIN_STACK_BYTES: usize = 8 << 20;

/// Default stack: address space, committed page by page. Debug frames are several times larger.
const STACK_BYTES: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    256 << 10
};

/// What happens when a goroutine panics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PanicPolicy {
    /// The goroutine ends; `join` tells. As with std's threads.
    #[default]
    Contain,
    /// The process ends with status 2, as in Go.
    Abort,
}

/// How the runtime is to be set up. `None` is the environment's answer, or the default.
#[derive(Clone, Default, Debug)]
pub struct Config {
    /// GOMAXPROCS.
    pub procs: Option<usize>,
    /// Bytes of stack of goroutines that ask for none.
    pub stack_bytes: Option<usize>,
    /// What happens when a goroutine panics.
    pub panic: Option<PanicPolicy>,
}

/// Why the runtime could not be set up as asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// It runs already, with other settings.
    AlreadyStarted,
    /// `procs` is 0 or more than can be had.
    Procs(usize),
    /// No goroutine can have this stack.
    StackSize(String),
    /// A thread of the runtime could not be made.
    Thread(std::io::Error),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::AlreadyStarted => f.write_str(
                "the runtime runs already, with other settings: configure it before the first goroutine",
            ),
            ConfigError::Procs(n) => {
                write!(f, "procs({n}): must be 1 to {}", p::PROCS_MAX)
            }
            ConfigError::StackSize(text) => f.write_str(text),
            ConfigError::Thread(error) => write!(f, "no thread for the runtime: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Where GOMAXPROCS came from, for `doctor`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcsSource {
    /// `Config::procs`.
    Config,
    /// `GORT_PROCS`.
    GortProcs,
    /// `GOMAXPROCS`.
    Gomaxprocs,
    /// The processors this process may use.
    Affinity,
    /// The cgroup's CPU quota.
    Cgroup,
    /// `set_gomaxprocs`.
    Set,
}

impl fmt::Display for ProcsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProcsSource::Config => "Config::procs",
            ProcsSource::GortProcs => "GORT_PROCS",
            ProcsSource::Gomaxprocs => "GOMAXPROCS",
            ProcsSource::Affinity => "usable processors",
            ProcsSource::Cgroup => "cgroup CPU quota",
            ProcsSource::Set => "set_gomaxprocs",
        })
    }
}

/// What was decided at start.
#[derive(Clone, Debug)]
struct Settings {
    config: Config,
    source: ProcsSource,
}

static SETTINGS: Mutex<Option<Settings>> = Mutex::new(None);
/// 1 once goroutines can be started. Written once, after everything else (release).
static STARTED: AtomicBool = AtomicBool::new(false);
static OWN_TLS: AtomicBool = AtomicBool::new(false);
static PANICS_ABORT: AtomicBool = AtomicBool::new(false);
static DEFAULT_CLASS: AtomicU8 = AtomicU8::new(0);

/// Starts the runtime with the environment's settings, unless it runs.
#[inline]
pub fn ensure_started() {
    if !STARTED.load(Ordering::Acquire) {
        start_default();
    }
}

#[cold]
fn start_default() {
    match start(Config::default()) {
        Ok(()) | Err(ConfigError::AlreadyStarted) => {}
        Err(error) => fatal!("the runtime cannot start: {error}"),
    }
}

/// Whether it runs.
pub fn is_started() -> bool {
    STARTED.load(Ordering::Acquire)
}

/// Starts the runtime.
///
/// # Errors
///
/// It runs already with other settings, a setting is nonsense, or a thread cannot be had.
pub fn start(config: Config) -> Result<(), ConfigError> {
    let mut settings = SETTINGS.lock();
    if let Some(known) = &*settings {
        let differs = config.procs.is_some_and(|n| n as u32 != gomaxprocs())
            || config.stack_bytes.is_some() && config.stack_bytes != known.config.stack_bytes
            || config.panic.is_some() && config.panic != known.config.panic;
        return if differs {
            Err(ConfigError::AlreadyStarted)
        } else {
            Ok(())
        };
    }
    let (procs, source) = choose_procs(config.procs)?;
    let class = choose_class(config.stack_bytes)?;
    if let Some(seed) = env_number("GORT_SHAKE") {
        SCHED.shake.store(seed.max(1), Ordering::Relaxed);
    }
    let support = tls::init(tls_request());
    OWN_TLS.store(!matches!(support.mode, Mode::Thread), Ordering::Relaxed);
    DEFAULT_CLASS.store(class.index() as u8, Ordering::Relaxed);
    PANICS_ABORT.store(config.panic == Some(PanicPolicy::Abort), Ordering::Relaxed);
    timer::install(Hooks {
        local: local_timers,
        earlier: earlier_timer,
    });
    // 0 would say that somebody sleeps in the poller.
    SCHED.last_poll_ns.store(clock::now_ns(), Ordering::SeqCst);
    SCHED.procs.store(procs as u32, Ordering::Relaxed);
    p::make(&mut SCHED.global.lock(), procs);
    m::factory::start().map_err(ConfigError::Thread)?;
    sysmon::start().map_err(ConfigError::Thread)?;
    *settings = Some(Settings { config, source });
    drop(settings);
    STARTED.store(true, Ordering::Release);
    start_callbacks();
    Ok(())
}

fn tls_request() -> Request {
    match std::env::var("GORT_TLS").as_deref() {
        Err(_) | Ok("auto" | "") => Request::Auto,
        Ok("own") => Request::Own,
        Ok("thread") => Request::Thread,
        Ok(other) => {
            crate::fatal::write_line(format_args!(
                "gort: GORT_TLS={other} is not own, thread or auto; using auto"
            ));
            Request::Auto
        }
    }
}

fn choose_procs(asked: Option<usize>) -> Result<(usize, ProcsSource), ConfigError> {
    if let Some(n) = asked {
        if n == 0 || n > p::PROCS_MAX {
            return Err(ConfigError::Procs(n));
        }
        return Ok((n, ProcsSource::Config));
    }
    for (name, source) in [
        ("GORT_PROCS", ProcsSource::GortProcs),
        ("GOMAXPROCS", ProcsSource::Gomaxprocs),
    ] {
        let Ok(text) = std::env::var(name) else {
            continue;
        };
        match text.trim().parse::<usize>() {
            Ok(n) if (1..=p::PROCS_MAX).contains(&n) => return Ok((n, source)),
            _ => {
                let (n, source) = default_procs();
                crate::fatal::write_line(format_args!(
                    "gort: {name}={text} is not a number from 1 to {}; using {n} ({source})",
                    p::PROCS_MAX
                ));
            }
        }
    }
    Ok(default_procs())
}

/// The processors this process may use: its affinity mask, cut to the cgroup's quota (rounded up).
fn default_procs() -> (usize, ProcsSource) {
    let usable = thread::affinity_count();
    match cgroup::cpu_quota() {
        Some(quota) if (quota.ceil() as usize).max(1) < usable => {
            ((quota.ceil() as usize).max(1), ProcsSource::Cgroup)
        }
        _ => (usable.min(p::PROCS_MAX), ProcsSource::Affinity),
    }
}

fn choose_class(asked: Option<usize>) -> Result<Class, ConfigError> {
    if let Some(bytes) = asked {
        return Class::for_size(bytes).map_err(|e| ConfigError::StackSize(e.to_string()));
    }
    let mut bytes = STACK_BYTES;
    if let Some(asked) = env_number("GORT_STACK") {
        match Class::for_size(asked as usize) {
            Ok(_) => bytes = asked as usize,
            Err(error) => crate::fatal::write_line(format_args!(
                "gort: GORT_STACK={asked}: {error}; using {STACK_BYTES}"
            )),
        }
    }
    if let Ok(least) = std::env::var("RUST_MIN_STACK")
        && let Ok(least) = least.parse::<usize>()
        && Class::for_size(least).is_ok()
    {
        bytes = bytes.max(least);
    }
    Class::for_size(bytes).map_err(|e| ConfigError::StackSize(e.to_string()))
}

fn env_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    match text.trim().parse() {
        Ok(number) => Some(number),
        Err(_) => {
            crate::fatal::write_line(format_args!(
                "gort: {name}={text} is not a number; it is ignored"
            ));
            None
        }
    }
}

/// Whether goroutines have stacks and TLS blocks of their own (else each has a thread).
#[inline]
pub fn has_own_tls() -> bool {
    OWN_TLS.load(Ordering::Relaxed)
}

pub(crate) fn panics_abort() -> bool {
    PANICS_ABORT.load(Ordering::Relaxed)
}

#[inline]
pub(crate) fn default_class() -> Class {
    let index = usize::from(DEFAULT_CLASS.load(Ordering::Relaxed));
    Class::from_index(index).expect("an index is stored only from a class")
}

/// Bytes of a goroutine's default stack slot.
pub fn default_stack_bytes() -> usize {
    ensure_started();
    default_class().slot_bytes()
}

// ---- GOMAXPROCS ----

/// How many goroutines may run at once.
pub fn gomaxprocs() -> u32 {
    SCHED.procs.load(Ordering::Relaxed)
}

/// Where that number came from.
pub fn gomaxprocs_source() -> ProcsSource {
    ensure_started();
    SETTINGS
        .lock()
        .as_ref()
        .map_or(ProcsSource::Affinity, |settings| settings.source)
}

/// Changes GOMAXPROCS; returns the old value. 0 only asks; more than can be had is cut.
///
/// Ps above a lowered number give up their goroutines to the others at their next scheduling point.
pub fn set_gomaxprocs(n: usize) -> usize {
    ensure_started();
    let old = gomaxprocs() as usize;
    if n == 0 {
        return old;
    }
    let n = n.min(p::PROCS_MAX);
    let mut settings = SETTINGS.lock();
    let mut global = SCHED.global.lock();
    let old = SCHED.procs.swap(n as u32, Ordering::SeqCst) as usize;
    if n != old {
        // Those that are idle are sorted anew: `put_idle` empties what is not covered any more.
        let idle = global.take_all_idle();
        for pp in idle.into_iter().rev() {
            global.put_idle(pp);
        }
        for pp in p::all() {
            if pp.is_retired() {
                pp.ask(p::attention::RETIRE);
            } else if pp.index as usize >= old && !pp.is_idle.load(Ordering::Relaxed) {
                global.revive(pp);
            }
        }
        p::make(&mut global, n);
    }
    drop(global);
    if let Some(settings) = &mut *settings {
        settings.source = ProcsSource::Set;
    }
    drop(settings);
    wake::submitted();
    old
}

// ---- hooks of the timers ----

fn local_timers() -> &'static Timers {
    ensure_started();
    match m::current().and_then(|mp| mp.p.get()) {
        Some(pp) => &pp.timers,
        None => &p::get(0).expect("P 0 is made at start").timers,
    }
}

/// A timer that is started on a P wakes nobody: the P sees to it at its next scheduling point, or
/// sysmon does. One started from elsewhere may have to shorten somebody's sleep.
fn earlier_timer(when_ns: u64) {
    if m::current().is_none_or(|mp| mp.p.get().is_none()) {
        wake::poller_earlier(when_ns);
    }
}

// ---- deferred work ----

struct Callbacks {
    tasks: ReadyList,
    /// The goroutine that runs the tasks, while it is parked.
    idle: Option<GRef>,
}
// SAFETY: the tasks are handed from thread to thread by their makers' contract (`Deferred::new`).
unsafe impl Send for Callbacks {}

static CALLBACKS: Mutex<Callbacks> = Mutex::new(Callbacks {
    tasks: ReadyList::new(),
    idle: None,
});

/// Hands what a source of work has deferred to the goroutine that runs such things.
pub(crate) fn defer_all(list: &mut ReadyList) {
    if !list.has_deferred() {
        return;
    }
    let idle = {
        let mut callbacks = CALLBACKS.lock();
        callbacks.tasks.append_deferred(list);
        callbacks.idle.take()
    };
    if let Some(gp) = idle {
        sched::ready(gp);
    }
}

/// Defers one task; from anywhere that holds no lock of the runtime.
pub fn defer(task: std::ptr::NonNull<Deferred>) {
    ensure_started();
    let mut list = ReadyList::new();
    list.defer(task);
    defer_all(&mut list);
}

fn start_callbacks() {
    let options = SpawnOptions {
        name: Some("callbacks".into()),
        system: true,
        group: Some(0),
        ..SpawnOptions::new()
    };
    if let Err(error) = sched::spawn(run_callbacks, options) {
        fatal!("no goroutine for callbacks: {error}");
    }
}

/// Runs deferred tasks for ever, one after the other.
fn run_callbacks() {
    loop {
        let task = {
            let mut callbacks = CALLBACKS.lock();
            let task = callbacks.tasks.pop_deferred();
            if task.is_none() {
                callbacks.idle = Some(g::current());
            }
            task
        };
        match task {
            // SAFETY: the task was just popped, and is run once.
            Some(task) => {
                let run = std::panic::AssertUnwindSafe(|| unsafe { timer::run_deferred(task) });
                // A waker that panics has been reported by the hook; the others still want theirs.
                let _ = std::panic::catch_unwind(run);
            }
            None => sched::park(WaitReason::SystemIdle),
        }
    }
}

// ---- the main goroutine ----

/// Runs `f` as a goroutine with a main thread's stack, while the calling plain thread waits.
///
/// # Errors
///
/// No stack can be had.
pub fn run_main<F, T>(f: F, location: &'static Location<'static>) -> std::io::Result<Outcome<T>>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let options = SpawnOptions {
        stack_bytes: Some(MAIN_STACK_BYTES),
        location,
        ..SpawnOptions::new()
    };
    // SAFETY: what `f` borrows outlives this call, and the join below returns only after the
    // goroutine has dropped closure and result and run its destructors; nothing between can unwind.
    let handle = unsafe { sched::spawn_unchecked(f, options, None) }?;
    Ok(handle.join())
}

/// The main goroutine called `goexit`: the others run on; when there is none left, nothing can ever
/// happen again, and the process ends as Go's does.
pub fn wait_after_main_exited() -> ! {
    // Looks rather than waits for an event: this is the last minute of a program that chose an odd
    // way to end, and counting ends costs every goroutine.
    while snapshot::num_goroutine() != 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    crate::fatal::exit_with(format_args!(
        "no goroutines (main called runtime.Goexit) - deadlock!"
    ))
}

/// Facts for `doctor` and `metrics`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Own TLS or thread mode, and why.
    pub tls: &'static tls::Support,
    /// GOMAXPROCS.
    pub procs: u32,
    /// Where that came from.
    pub procs_source: ProcsSource,
    /// Default stack slot in bytes.
    pub stack_bytes: usize,
    /// Guards and slots.
    pub stacks: gort_arch::stack::StackReport,
    /// Whether the poller exists.
    pub netpoll: bool,
}

/// Collects them; starts the runtime.
pub fn report() -> Report {
    ensure_started();
    Report {
        tls: tls::support().expect("set at start"),
        procs: gomaxprocs(),
        procs_source: gomaxprocs_source(),
        stack_bytes: default_class().slot_bytes(),
        stacks: gort_arch::stack::report(),
        netpoll: netpoll::is_started(),
    }
}

/// For tests that need many Ps on few processors: nothing but the count of Ms.
#[doc(hidden)]
pub fn thread_count() -> u32 {
    m::count()
}

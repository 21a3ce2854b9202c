//! Start, configuration, and what there is one of per process.
//!
//! The runtime starts at first need, or explicitly with a [`Config`]; it is never torn down. Threads:
//! sysmon, the factory that makes Ms, and the Ms, as many as are needed.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gort_arch::stack::Class;
pub use gort_arch::tls::Request as TlsRequest;
use gort_arch::tls::{self, Mode};

use crate::clock;
use crate::limits::{self, Usable};
use crate::lock::Mutex;
use crate::os::signal;
use crate::sched::join::Outcome;
use crate::sched::{self, SCHED, SpawnOptions, callbacks, m, p, shake, syscall, wake};
use crate::timer::{self, Hooks, Timers};
use crate::{
    deadlock, fork, hibernate, netpoll, overflow, preempt, report, reporter, settings, stall,
    sysmon,
};

pub use crate::deadlock::DeadlockPolicy;

/// Stack of the main goroutine: the size of std's main thread. More, if all are to have more.
pub use crate::overflow::MAIN_STACK_BYTES;

/// Default stack: address space, committed page by page. Debug frames are several times larger.
const STACK_BYTES: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    256 << 10
};

/// Calls into the file system at once, if nobody has said: as many as tokio allows.
const BLOCKING_THREADS: usize = 512;

// Its docs are where `gort` re-exports it, as their example needs `gort`; so are `ConfigError`'s.
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
    /// Whether goroutines have thread-local blocks of their own, or OS threads.
    pub tls: Option<TlsRequest>,
    /// Whether goroutines that compute without end may be stopped by a signal.
    pub preempt: Option<bool>,
    /// Whether SIGSEGV and SIGBUS are handled, and SIGQUIT where the program begins with `run`.
    pub signals: Option<bool>,
    /// What happens when all goroutines are asleep.
    pub deadlock: Option<DeadlockPolicy>,
    /// How many threads calls into the file system may block at once.
    pub blocking_threads: Option<usize>,
    /// After how long a parked goroutine's stack gives its memory back; zero for never.
    pub hibernate: Option<Duration>,
}

impl Config {
    /// As asked, or the default.
    fn blocking_threads(&self) -> usize {
        self.blocking_threads.unwrap_or(BLOCKING_THREADS)
    }
}

#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// It runs already, with other settings.
    AlreadyStarted,
    /// `procs` is 0 or more than can be had.
    Procs(usize),
    /// No goroutine can have this stack.
    StackSize(String),
    /// `blocking_threads` is 0.
    BlockingThreads,
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
            ConfigError::BlockingThreads => f.write_str("blocking_threads(0): must be at least 1"),
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

impl ProcsSource {
    /// Whether the number follows what the system allows while the program runs.
    fn is_limit(self) -> bool {
        matches!(self, ProcsSource::Affinity | ProcsSource::Cgroup)
    }
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
/// Starts the runtime with the environment's settings, unless it runs.
#[inline]
pub fn ensure_started() {
    if !settings::is_started() {
        start_default();
    }
}

#[cold]
fn start_default() {
    fork::check("a goroutine or timer was started");
    match start(Config::default()) {
        Ok(()) | Err(ConfigError::AlreadyStarted) => {}
        Err(error) => fatal!("the runtime cannot start: {error}"),
    }
}

/// Whether it runs.
pub fn is_started() -> bool {
    settings::is_started()
}

/// Refuses new goroutines from here on, but for the runtime's own.
pub fn shut() {
    ensure_started();
    settings::set_shut();
}

/// Whether new goroutines are refused.
pub fn is_shut() -> bool {
    settings::is_started() && !settings::is_open()
}

/// Starts the runtime.
///
/// # Errors
///
/// It runs already with other settings, a setting is nonsense, or a thread cannot be had.
pub fn start(mut config: Config) -> Result<(), ConfigError> {
    fork::check("the runtime was started");
    let mut settings = SETTINGS.lock();
    if let Some(known) = &*settings {
        let differs = config.procs.is_some_and(|n| n as u32 != gomaxprocs())
            || config.stack_bytes.is_some() && config.stack_bytes != known.config.stack_bytes
            || config.panic.is_some() && config.panic != known.config.panic
            || config.tls.is_some_and(|tls| !is_met(tls, known.config.tls))
            || config.preempt.is_some() && config.preempt != known.config.preempt
            || config.signals.is_some() && config.signals != known.config.signals
            || config.deadlock.is_some() && config.deadlock != known.config.deadlock
            || config
                .hibernate
                .is_some_and(|after| after != known.config.hibernate.unwrap_or_default())
            || config
                .blocking_threads
                .is_some_and(|n| n != known.config.blocking_threads());
        return if differs {
            Err(ConfigError::AlreadyStarted)
        } else {
            Ok(())
        };
    }
    let (procs, source) = choose_procs(config.procs)?;
    let stack_bytes = choose_stack(config.stack_bytes)?;
    if config.blocking_threads() == 0 {
        return Err(ConfigError::BlockingThreads);
    }
    let migrate = env_number("GORT_SHAKE_MIGRATE").is_some_and(|number| number != 0);
    shake::set(env_number("GORT_SHAKE"), migrate);
    let tls = tls_request(config.tls);
    let support = tls::init(tls);
    // Only now it is known how large a block each stack's slot holds beside it.
    let class = class_for(stack_bytes)?;
    tls::set_current_hook(m::current_slot);
    tls::set_signals_hook(syscall::signals_changed);
    let own_tls = !matches!(support.mode, Mode::Thread);
    settings::set(own_tls, class, config.panic == Some(PanicPolicy::Abort));
    deadlock::configure(config.deadlock.unwrap_or_default());
    preempt::start(config.preempt != Some(false));
    timer::install(Hooks {
        local: local_timers,
        earlier: earlier_timer,
    });
    // Before the first park; from here on sysmon does.
    clock::set_coarse(clock::now_ns());
    // 0 would say that somebody sleeps in the poller.
    SCHED.last_poll_ns.store(clock::now_ns(), Ordering::SeqCst);
    // What can fail comes before the first P: the next try may ask for fewer.
    reporter::start().map_err(ConfigError::Thread)?;
    stall::start();
    m::factory::start().map_err(ConfigError::Thread)?;
    if source.is_limit() {
        limits::start(follow_limits).map_err(ConfigError::Thread)?;
    }
    sysmon::start().map_err(ConfigError::Thread)?;
    SCHED.procs.store(procs as u32, Ordering::Relaxed);
    let mut fresh = p::make(procs);
    p::add(&mut SCHED.global.lock(), &mut fresh);
    let takes_signals = config.signals != Some(false);
    let hibernate_after = hibernate_after(config.hibernate);
    config.hibernate = Some(hibernate_after);
    *settings = Some(Settings { config, source });
    limits::set_followed(source.is_limit());
    guard_forks();
    if takes_signals {
        overflow::start();
    }
    if !hibernate_after.is_zero() {
        let started = if takes_signals {
            hibernate::start(hibernate_after)
        } else {
            Err("Config::signals(false) leaves SIGBUS and SIGSEGV alone".to_owned())
        };
        if let Err(why) = started {
            crate::fatal::write_line(format_args!(
                "gort: parked stacks keep their memory, though Config::hibernate or GORT_HIBERNATE asks for less: {why}"
            ));
        }
    }
    // Under the lock: who finds the settings made may start goroutines.
    settings::set_started();
    drop(settings);
    if !own_tls && tls != TlsRequest::Thread {
        // Only now: a start that fails may be repeated, and the line comes once.
        crate::fatal::write_line(format_args!(
            "gort: each goroutine has an OS thread of its own: {} (GORT_TLS=thread asks for that)",
            support.reason.trim_start_matches("thread: ")
        ));
    }
    settings::set_stall_log(wants_stall_log());
    read_wishes();
    report::install_panic_hook();
    callbacks::start();
    Ok(())
}

/// A variable whose name is settled, but not yet what it turns on. Silence would look like a result.
fn read_wishes() {
    let Some(text) = std::env::var_os("GORT_TRACE") else {
        return;
    };
    let text = text.to_string_lossy();
    if !matches!(text.trim(), "" | "0" | "off") {
        crate::fatal::write_line(format_args!(
            "gort: GORT_TRACE={text} is not there yet; nothing is traced"
        ));
    }
}

/// After how long parked stacks give their memory back; zero for never.
fn hibernate_after(asked: Option<Duration>) -> Duration {
    if let Some(asked) = asked {
        return asked;
    }
    let Some(text) = std::env::var_os("GORT_HIBERNATE") else {
        return Duration::ZERO;
    };
    let text = text.to_string_lossy();
    parse_duration(text.trim()).unwrap_or_else(|| {
        crate::fatal::write_line(format_args!(
            "gort: GORT_HIBERNATE={text} is not a time as 500ms, 10s or 2m, or off; parked stacks keep their memory"
        ));
        Duration::ZERO
    })
}

/// A whole number of milliseconds, seconds or minutes; zero for none.
fn parse_duration(text: &str) -> Option<Duration> {
    if matches!(text, "" | "0" | "off") {
        return Some(Duration::ZERO);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

fn wants_stall_log() -> bool {
    let Some(text) = std::env::var_os("GORT_STALL") else {
        return false;
    };
    let text = text.to_string_lossy();
    match text.trim() {
        "log" => true,
        "" | "0" | "off" => false,
        _ => {
            crate::fatal::write_line(format_args!(
                "gort: GORT_STALL={text} is not log or off; stalls are not logged"
            ));
            false
        }
    }
}

/// Whether the runtime, which was started with the wish `known`, is as another wish wants it.
fn is_met(wish: TlsRequest, known: Option<TlsRequest>) -> bool {
    known == Some(wish)
        || match wish {
            TlsRequest::Auto => true,
            TlsRequest::Own => settings::has_own_tls(),
            TlsRequest::Thread => !settings::has_own_tls(),
        }
}

/// The program has begun with `run` or `#[gort::main]`: it is ours to end, and SIGQUIT is too, unless the
/// settings say no.
pub fn begin_program() {
    let settings = SETTINGS.lock();
    let allowed = settings.as_ref().and_then(|known| known.config.signals);
    drop(settings);
    if allowed != Some(false) {
        report::take_sigquit();
    }
}

/// Has children of `fork` know what they are.
fn guard_forks() {
    unsafe extern "C" fn before() {
        hibernate::before_fork();
    }
    unsafe extern "C" fn in_parent() {
        hibernate::after_fork();
    }
    unsafe extern "C" fn in_child() {
        fork::set_forked();
        settings::set_stopped();
        shake::set_always_on();
    }
    // SAFETY: the child's handler is async-signal-safe, as a child of many threads demands.
    let error = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if error != 0 {
        fatal!("no memory for a handler of forks: error {error}");
    }
}

fn tls_request(asked: Option<TlsRequest>) -> TlsRequest {
    if let Some(asked) = asked {
        return asked;
    }
    match std::env::var("GORT_TLS").as_deref() {
        Err(_) | Ok("auto" | "") => TlsRequest::Auto,
        Ok("own") => TlsRequest::Own,
        Ok("thread") => TlsRequest::Thread,
        Ok("shared-for-tests") if cfg!(gort_fault = "shared_tls") => TlsRequest::Auto,
        Ok(other) => {
            crate::fatal::write_line(format_args!(
                "gort: GORT_TLS={other} is not own, thread or auto; using auto"
            ));
            TlsRequest::Auto
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
    let mut bad = Vec::new();
    let chosen = [
        ("GORT_PROCS", ProcsSource::GortProcs),
        ("GOMAXPROCS", ProcsSource::Gomaxprocs),
    ]
    .into_iter()
    .find_map(|(name, source)| {
        let text = std::env::var(name).ok()?;
        match text.trim().parse::<usize>() {
            Ok(n) if (1..=p::PROCS_MAX).contains(&n) => Some((n, source)),
            _ => {
                bad.push((name, text));
                None
            }
        }
    });
    let (n, source) = chosen.unwrap_or_else(default_procs);
    for (name, text) in bad {
        crate::fatal::write_line(format_args!(
            "gort: {name}={text} is not a number from 1 to {}; using {n} ({source})",
            p::PROCS_MAX
        ));
    }
    Ok((n, source))
}

/// GOMAXPROCS if nobody has said.
fn default_procs() -> (usize, ProcsSource) {
    procs_for(limits::usable())
}

fn procs_for(usable: Usable) -> (usize, ProcsSource) {
    let source = if usable.by_quota {
        ProcsSource::Cgroup
    } else {
        ProcsSource::Affinity
    };
    (usable.procs.min(p::PROCS_MAX), source)
}

/// Bytes of a default stack, for which there is a class.
fn choose_stack(asked: Option<usize>) -> Result<usize, ConfigError> {
    if let Some(bytes) = asked {
        return class_for(bytes).map(|_| bytes);
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
    class_for(bytes).map(|_| bytes)
}

fn class_for(stack_bytes: usize) -> Result<Class, ConfigError> {
    Class::for_size(stack_bytes).map_err(|e| ConfigError::StackSize(e.to_string()))
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
pub fn has_own_tls() -> bool {
    ensure_started();
    settings::has_own_tls()
}

/// How many threads calls into the file system may block at once.
pub fn blocking_threads() -> usize {
    ensure_started();
    SETTINGS
        .lock()
        .as_ref()
        .map_or(BLOCKING_THREADS, |known| known.config.blocking_threads())
}

/// Bytes of a goroutine's default stack slot.
pub fn default_stack_bytes() -> usize {
    ensure_started();
    settings::default_class().slot_bytes()
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
/// From then on the number no longer follows the process's limits.
///
/// Ps above a lowered number give up their goroutines to the others at their next scheduling point.
pub fn set_gomaxprocs(n: usize) -> usize {
    ensure_started();
    if n == 0 {
        return gomaxprocs() as usize;
    }
    let n = n.min(p::PROCS_MAX);
    // Before the locks, under which nothing is allocated or freed.
    let mut fresh = p::make(n);
    let mut settings = SETTINGS.lock();
    let old = change_procs(n, &mut fresh);
    if let Some(settings) = &mut *settings {
        settings.source = ProcsSource::Set;
        limits::set_followed(false);
    }
    drop(settings);
    wake::submitted();
    old
}

/// The limits were read. On a thread without a P.
fn follow_limits(usable: Usable) {
    let (n, source) = procs_for(usable);
    let mut fresh = p::make(n);
    let mut settings = SETTINGS.lock();
    // Somebody may have set the number meanwhile.
    let known = settings.as_mut().filter(|known| known.source.is_limit());
    let Some(known) = known else {
        return;
    };
    known.source = source;
    let old = change_procs(n, &mut fresh);
    drop(settings);
    if n != old {
        wake::submitted();
    }
}

/// Changes GOMAXPROCS; gives the old number. Under the lock of the settings, so that one change comes after the other. `fresh` is what
/// `p::make(n)` gave.
fn change_procs(n: usize, fresh: &mut Vec<Box<p::P>>) -> usize {
    let mut global = SCHED.global.lock();
    let old = SCHED.procs.swap(n as u32, Ordering::SeqCst) as usize;
    if n == old {
        return old;
    }
    global.sort_idle();
    for pp in p::all() {
        if pp.is_retired() {
            pp.ask(p::attention::RETIRE);
        } else if pp.index as usize >= old && !pp.is_idle.load(Ordering::Relaxed) {
            global.revive(pp);
        }
    }
    p::add(&mut global, fresh);
    old
}

// ---- hooks of the timers ----

fn local_timers() -> &'static Timers {
    ensure_started();
    // Under a lock of the timers' own, so inside: the P is ours, and does not stay behind with the timer.
    match m::current_p() {
        Some(pp) => &pp.timers,
        None => &p::get(0).expect("P 0 is made at start").timers,
    }
}

/// A timer that is started on a P wakes nobody: the P sees to it at its next scheduling point, or
/// sysmon does. One started from elsewhere may have to shorten somebody's sleep.
fn earlier_timer(when_ns: u64) {
    if m::current_p().is_none() {
        wake::poller_earlier(when_ns);
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
        stack_bytes: Some(MAIN_STACK_BYTES.max(settings::default_class().slot_bytes())),
        location,
        ..SpawnOptions::new()
    };
    // std has one for the main thread, which `std::process::exit` unmaps, whoever calls it: a signal that came to the main
    // thread after that would end the process with SIGSEGV. Before `f` begins, which may call it.
    let _handlers = signal::alternate_stack();
    // SAFETY: what `f` borrows outlives this call, and the join below returns only after the
    // goroutine has dropped closure and result and run its destructors; nothing between can unwind.
    let handle = unsafe { sched::spawn_unchecked(f, options, None) }?;
    Ok(deadlock::waiting_in_run(|| handle.join()))
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
        stack_bytes: settings::default_class().slot_bytes(),
        stacks: gort_arch::stack::report(),
        netpoll: netpoll::is_started(),
    }
}

/// For tests that set the number of Ps: waits until nobody runs goroutines with one that was put away by that. A
/// second at most, as a goroutine of somebody else's may keep one.
#[doc(hidden)]
pub fn await_retirement() {
    let deadline_ns = clock::deadline_after(Duration::from_secs(1));
    let is_away = |pp: &p::P| {
        let is_away = pp.is_idle.load(Ordering::Relaxed) || pp.is_parked.load(Ordering::Relaxed);
        is_away || !pp.is_retired()
    };
    while !p::all().all(is_away) && clock::now_ns() < deadline_ns {
        // waits: looks again, until the deadline
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// For tests with a seed: leaves the order of goroutines to chance as `GORT_SHAKE` does, or no longer;
/// gives what was before. One caller at a time.
#[doc(hidden)]
pub fn shake(seed: Option<u64>) -> Option<u64> {
    ensure_started();
    shake::reseed(seed)
}

/// Whether a panic that leaves its goroutine ends the process, for those who catch panics and hand them on.
#[doc(hidden)]
pub fn panics_abort() -> bool {
    settings::panics_abort()
}

/// The number of the P that the caller holds: for caches per P, and for tests about who runs where. It may
/// be another's by the time it is used.
#[doc(hidden)]
pub fn current_p() -> Option<u32> {
    Some(m::current_p()?.index)
}

/// For tests: how many threads goroutines can have at most.
#[doc(hidden)]
pub fn set_thread_limit(count: u32) {
    m::set_max(count);
}

/// For tests that need many Ps on few processors: nothing but the count of Ms.
#[doc(hidden)]
pub fn thread_count() -> u32 {
    m::count()
}

//! What every goroutine is doing: who, in which state, why and since when it waits, on which stack.
//!
//! Parked goroutines are not woken for this: they are walked where they are. A goroutine whose wake-up comes
//! just while its stack is walked goes on some microseconds later. Of one that is ready to run the stack is copied,
//! and shown if it has not run meanwhile; one that has not run yet has none. One that uses a processor is interrupted
//! by a signal, for some microseconds too, to walk its own. One whose thread sleeps in a system call is left
//! alone, since a signal would end some calls early, and is shown without a stack; so is one that does not
//! answer within 100 ms.
//!
//! Tools from outside see goroutines as what runs on threads: `gdb` (`thread apply all bt`) and `perf record
//! --call-graph dwarf` show their stacks whole, from the innermost function to the goroutine's entry, also of one
//! that was stopped by the signal of preemption (`gdb`, below `<signal handler called>`). Parked goroutines
//! are on no thread; their stacks are in the texts from here. `perf` without `dwarf` needs frame pointers
//! (`-C force-frame-pointers=yes`).

#![forbid(unsafe_code)]

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use gort_core::trace::Stack;
use gort_core::{dump, snapshot};
use gort_queue::status;

/// Why a goroutine is parked: Go's words where Go has the wait.
///
/// # Examples
///
/// ```
/// use gort::debug::{WaitReason, goroutines};
///
/// let (tx, rx) = gort::chan::bounded::<()>(0);
/// gort::Builder::new().name("clerk").go(move || rx.recv())?;
/// while !goroutines().iter().any(|goroutine| {
///     goroutine.name.as_deref() == Some("clerk")
///         && goroutine.wait_reason == Some(WaitReason::ChanReceive)
/// }) {
///     gort::yield_now();
/// }
/// assert_eq!(WaitReason::ChanReceive.as_str(), "chan receive"); // as dumps have it
/// assert_eq!(WaitReason::MutexLock.to_string(), "sync.Mutex.Lock");
/// drop(tx);
/// # Ok::<(), std::io::Error>(())
/// ```
pub use gort_core::wait_reason::WaitReason;

use crate::go::GoroutineId;

/// All goroutines, by number; the runtime's own are not listed. Does not park.
///
/// Others go on meanwhile: one that is just starting or ending may be missing.
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     let (tx, rx) = gort::chan::bounded::<()>(0);
///     let reader = gort::Builder::new().name("reader").go(move || rx.recv()).unwrap();
///     let info = loop {
///         let mut all = gort::debug::goroutines().into_iter();
///         let info = all.find(|info| info.name.as_deref() == Some("reader")).unwrap();
///         if info.wait_reason.is_some() {
///             break info;
///         }
///         gort::yield_now();
///     };
///     assert_eq!(info.wait_reason, Some(gort::debug::WaitReason::ChanReceive));
///     drop(tx);
///     reader.join().unwrap().unwrap_err();
/// });
/// ```
pub fn goroutines() -> Vec<GoroutineInfo> {
    let all = snapshot::goroutines_with_stacks().into_iter();
    all.map(GoroutineInfo::new).collect()
}

/// The text of all goroutines in Go's form: what each does or waits for, and since when; its stack; where
/// and by whom it was created.
///
/// More than ten goroutines that differ only in their numbers and creators are shown once, with the numbers of the others. Frames of the runtime itself are left out, unless `RUST_BACKTRACE` is `full`. Names and lines
/// come from the program's debug information, as far as it has any. Does not park.
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     let text = gort::debug::stacks();
///     assert!(text.starts_with("goroutine "));
/// });
/// ```
#[doc(alias = "Stack")]
pub fn stacks() -> String {
    crate::dump::all()
}

/// What a goroutine is doing.
///
/// # Examples
///
/// ```
/// use gort::debug::{State, goroutines};
///
/// gort::run(|| {
///     let me = gort::current().id();
///     let found = goroutines().into_iter().find(|goroutine| goroutine.id == me).unwrap();
///     assert_eq!(found.state, State::Running);
///     assert_eq!(found.state.as_str(), "running");
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum State {
    /// Ready to run, waiting for its turn.
    Runnable,
    /// Running.
    Running,
    /// In a call that was announced with [`blocking`](crate::blocking).
    Syscall,
    /// Parked.
    Waiting,
    /// Interrupted because its time slice was over; its thread waits for its next turn.
    Preempted,
}

impl State {
    fn new(state: status::State) -> State {
        match state {
            status::State::Runnable | status::State::Idle => State::Runnable,
            status::State::Running | status::State::Dead => State::Running,
            status::State::Syscall => State::Syscall,
            status::State::Waiting | status::State::Traced => State::Waiting,
            status::State::Preempted => State::Preempted,
        }
    }

    /// The word for it in dumps: Go's where Go has the state.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::debug::State;
    ///
    /// assert_eq!(State::Waiting.as_str(), "waiting");
    /// assert_eq!(State::Syscall.as_str(), State::Syscall.to_string());
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            State::Runnable => "runnable",
            State::Running => "running",
            State::Syscall => "syscall",
            State::Waiting => "waiting",
            State::Preempted => "preempted",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One goroutine, as it was while [`goroutines`] looked at it.
///
/// # Examples
///
/// ```
/// let (tx, rx) = gort::chan::bounded::<()>(0);
/// gort::Builder::new().name("clerk").go(move || rx.recv())?;
/// let clerk = loop {
///     let mut all = gort::debug::goroutines();
///     all.retain(|goroutine| goroutine.name.as_deref() == Some("clerk"));
///     match all.pop() {
///         Some(clerk) if clerk.state == gort::debug::State::Waiting => break clerk,
///         _ => gort::yield_now(),
///     }
/// };
/// assert_eq!(clerk.wait_reason.unwrap().to_string(), "chan receive");
/// for frame in clerk.frames() {
///     println!("{} in line {:?}", frame.function, frame.line);
/// }
/// drop(tx);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GoroutineInfo {
    /// Its number.
    pub id: GoroutineId,
    /// Its name, if [`Builder::name`](crate::Builder::name) gave one.
    pub name: Option<String>,
    /// Its labels, inherited ones first.
    pub labels: Vec<(String, String)>,
    /// What it is doing.
    pub state: State,
    /// Why it waits, if it does.
    pub wait_reason: Option<WaitReason>,
    /// For how long it has been waiting, in steps of 10 ms.
    pub waited: Option<Duration>,
    /// Where it was started.
    pub created_at: &'static Location<'static>,
    /// The number of the goroutine that started it; `None` if a plain thread or the runtime did.
    pub created_by: Option<GoroutineId>,
    /// Where it parked, the last time it did; where it was started, if it never did.
    pub parked_at: &'static Location<'static>,
    /// Whether it has an OS thread to itself, by [`lock_os_thread`](crate::lock_os_thread) or from its
    /// start.
    pub locked_to_thread: bool,
    stack: Option<Stack>,
}

impl GoroutineInfo {
    fn new(goroutine: snapshot::Goroutine) -> GoroutineInfo {
        // Set before a goroutine is listed; this place stands in for none.
        let created_at = goroutine.created_at.unwrap_or(Location::caller());
        GoroutineInfo {
            id: GoroutineId::from_u64(goroutine.id),
            name: goroutine.name,
            labels: goroutine.labels,
            state: State::new(goroutine.state),
            wait_reason: goroutine.wait_reason,
            waited: goroutine.waited,
            created_at,
            created_by: goroutine.created_by.map(GoroutineId::from_u64),
            parked_at: goroutine.last_parked_at.unwrap_or(created_at),
            locked_to_thread: goroutine.locked_to_thread,
            stack: goroutine.stack,
        }
    }

    /// Its stack, innermost function first, as in [`stacks`]; empty if it could not be had.
    ///
    /// The first time an address is met this reads the program's debug information.
    ///
    /// # Examples
    ///
    /// ```
    /// gort::run(|| {
    ///     let me = gort::current().id();
    ///     let all = gort::debug::goroutines();
    ///     let info = all.iter().find(|info| info.id == me).unwrap();
    ///     assert!(!info.frames().is_empty()); // the first is the innermost function
    /// });
    /// ```
    pub fn frames(&self) -> Vec<Frame> {
        self.stack.as_ref().map(frames_of).unwrap_or_default()
    }

    /// The return addresses on its stack, innermost first, the runtime's included; empty if they could not
    /// be had.
    ///
    /// # Examples
    ///
    /// ```
    /// gort::run(|| {
    ///     let me = gort::current().id();
    ///     let all = gort::debug::goroutines();
    ///     let info = all.iter().find(|info| info.id == me).unwrap();
    ///     assert!(!info.addresses().is_empty()); // for `addr2line`, say
    /// });
    /// ```
    pub fn addresses(&self) -> &[usize] {
        self.stack.as_ref().map_or(&[], |stack| &stack.addresses)
    }
}

/// The calls on a stack, without the runtime's own.
pub(crate) fn frames_of(stack: &Stack) -> Vec<Frame> {
    let frames = dump::frames(stack).into_iter();
    frames
        .map(|symbol| Frame {
            function: symbol.function,
            file: symbol.file,
            line: symbol.line,
        })
        .collect()
}

/// A call on a stack.
///
/// # Examples
///
/// ```
/// gort::run(|| {
///     for goroutine in gort::debug::goroutines() {
///         for frame in goroutine.frames() {
///             println!("{} at {:?}:{:?}", frame.function, frame.file, frame.line);
///         }
///     }
/// });
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Frame {
    /// The path of the function; its address, if no name is known.
    pub function: String,
    /// Its source file.
    pub file: Option<String>,
    /// The line of the call.
    pub line: Option<u32>,
}

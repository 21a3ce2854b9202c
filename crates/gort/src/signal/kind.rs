//! [`Signal`]: which signal.
#![forbid(unsafe_code)]

use std::ffi::c_int;
use std::fmt;

use gort_core::os::signal as os;

/// A signal of the system.
///
/// Shown by [`Display`](fmt::Display) it is described as in Go ("interrupt"), by [`Debug`](fmt::Debug) called by
/// its name ("SIGINT").
///
/// # Examples
///
/// ```
/// use gort::signal::Signal;
///
/// assert_eq!(Signal::from_raw(2), Some(Signal::SIGINT));
/// assert_eq!(format!("{} {:?}", Signal::SIGTERM, Signal::SIGTERM), "terminated SIGTERM");
/// assert_eq!(Signal::from_raw(0), None);
/// ```
#[doc(alias = "os.Signal")]
#[doc(alias = "syscall.Signal")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(c_int);

macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        impl Signal {
            $($(#[$doc])* pub const $name: Signal = Signal(os::number::$name);)*

            /// The name and Go's description; none for what has only a number.
            fn words(self) -> Option<(&'static str, &'static str)> {
                match self {
                    $(Signal::$name => Some((stringify!($name), $text)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    /// The terminal is gone, or "read your configuration again".
    SIGHUP = "hangup",
    /// Control-C.
    #[doc(alias = "os.Interrupt")]
    SIGINT = "interrupt",
    /// Control-\. The runtime's, in a program that began with [`run`](crate::run): it dumps the goroutines.
    SIGQUIT = "quit",
    /// An invalid instruction. Cannot be subscribed to.
    SIGILL = "illegal instruction",
    /// A debugger's. Cannot be subscribed to.
    SIGTRAP = "trace/breakpoint trap",
    /// Sent by `abort`, which ends the process in any case.
    SIGABRT = "aborted",
    /// An access to memory that a file does not have. Cannot be subscribed to.
    SIGBUS = "bus error",
    /// A division by zero, mostly. Cannot be subscribed to.
    SIGFPE = "floating point exception",
    /// Ends the process. Cannot be subscribed to.
    #[doc(alias = "os.Kill")]
    SIGKILL = "killed",
    /// For the program's own use.
    SIGUSR1 = "user defined signal 1",
    /// An invalid access to memory. Cannot be subscribed to.
    SIGSEGV = "segmentation fault",
    /// For the program's own use.
    SIGUSR2 = "user defined signal 2",
    /// A write to a pipe or socket that nobody reads any more. Rust has it ignored, and the write fails with
    /// `BrokenPipe`.
    SIGPIPE = "broken pipe",
    /// From `alarm`.
    SIGALRM = "alarm clock",
    /// "End, please."
    SIGTERM = "terminated",
    /// A child has ended or stopped.
    SIGCHLD = "child exited",
    /// The process goes on after it was stopped.
    SIGCONT = "continued",
    /// Stops the process. Cannot be subscribed to.
    SIGSTOP = "stopped (signal)",
    /// Control-Z.
    SIGTSTP = "stopped",
    /// A read from the terminal, in the background.
    SIGTTIN = "stopped (tty input)",
    /// A write to the terminal, in the background.
    SIGTTOU = "stopped (tty output)",
    /// Urgent data at a socket. The runtime's, for preemption: cannot be subscribed to.
    SIGURG = "urgent I/O condition",
    /// The limit of processor time is reached.
    SIGXCPU = "CPU time limit exceeded",
    /// The limit of a file's size is reached.
    SIGXFSZ = "file size limit exceeded",
    /// From a timer of processor time in the program itself.
    SIGVTALRM = "virtual timer expired",
    /// From a profiler's timer.
    SIGPROF = "profiling timer expired",
    /// The terminal has another size.
    SIGWINCH = "window changed",
    /// A descriptor can be used, for those who asked.
    SIGIO = "I/O possible",
    /// The power fails.
    SIGPWR = "power failure",
    /// A system call that is not there or not allowed.
    SIGSYS = "bad system call",
}

impl Signal {
    /// The signal of that number, if there is one: 1 to 64, without those that libc keeps for itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::signal::Signal;
    ///
    /// assert_eq!(Signal::from_raw(15), Some(Signal::SIGTERM));
    /// assert_eq!(Signal::from_raw(0), None);
    /// ```
    pub fn from_raw(number: i32) -> Option<Signal> {
        os::is_signal(number).then_some(Signal(number))
    }

    /// Its number.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(gort::signal::Signal::SIGTERM.as_raw(), 15);
    /// ```
    pub fn as_raw(self) -> i32 {
        self.0
    }

    /// All there are.
    pub(super) fn all() -> impl Iterator<Item = Signal> {
        (1..=os::LAST).filter_map(Signal::from_raw)
    }

    /// Why nobody may subscribe to it; none if one may.
    pub(super) fn refusal(self) -> Option<&'static str> {
        match self {
            Signal::SIGKILL | Signal::SIGSTOP => Some("the kernel lets nobody catch it"),
            Signal::SIGSEGV
            | Signal::SIGBUS
            | Signal::SIGFPE
            | Signal::SIGILL
            | Signal::SIGTRAP => {
                Some("an instruction has failed, and cannot go on until somebody was told")
            }
            Signal::SIGURG => Some("the runtime preempts goroutines by it"),
            _ => None,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some((_, text)) => f.pad(text),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some((name, _)) => f.pad(name),
            None => write!(f, "Signal({})", self.0),
        }
    }
}

//! Programs that must die, and what is to be seen of them then.
//!
//! Each program in `src/bin` dies its own way, or goes on where another runtime would die; its header
//! says which way. The tests run them as child processes and look at exit status and text, in both
//! thread-local modes. What differs between a debug and a release build shows in the build that the
//! tests themselves are: `ci/test.sh` runs both.
//!
//! ```no_run
//! # use gort_crash::Program;
//! let ended = Program::at("target/debug/deadlock_main_alone").run();
//! ended.assert_status(2);
//! ended.assert_says("fatal error: all goroutines are asleep - deadlock!");
//! ```
//!
//! To add a program: a file in `src/bin`, its lines in `Cargo.toml`, and a test in the file of `tests`
//! for its kind.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take to die before it counts as hung.
const HUNG: Duration = Duration::from_secs(60);
/// Time for what a program must not do once it has said what it must.
const MORE: Duration = Duration::from_secs(1);

/// A program that is going to run.
#[derive(Debug)]
#[must_use = "a program runs when `run` is called"]
pub struct Program {
    command: Command,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
    /// It had to be killed.
    is_hung: bool,
}

impl Program {
    /// The program at `path`: a `CARGO_BIN_EXE_…` of this package.
    pub fn at(path: &str) -> Program {
        let mut command = Command::new(path);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What a developer has set for other programs.
            .env_remove("RUST_BACKTRACE")
            .env_remove("GORT_SHAKE")
            .env_remove("GORT_SHAKE_MIGRATE");
        // SAFETY: between fork and exec only `signal` and `setrlimit` are called, which are async-signal-safe.
        unsafe { command.pre_exec(|| die_of_signals().and_then(|()| leave_no_core())) };
        Program { command }
    }

    /// As [`at`](Self::at), but built with `panic = "abort"` (the profile `abort`), which is done here, once.
    ///
    /// # Panics
    ///
    /// It does not build.
    pub fn without_unwinding(path: &str) -> Program {
        static BUILT: Once = Once::new();
        let path = Path::new(path);
        let (folder, name) = (path.parent(), path.file_name());
        let target = folder.and_then(Path::parent).expect("target/PROFILE/NAME");
        BUILT.call_once(|| {
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--profile=abort",
                    "--bins",
                    "--manifest-path",
                ])
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
                .arg("--target-dir")
                .arg(target)
                .status();
            assert!(built.expect("cargo is there").success());
        });
        let name = name.expect("target/PROFILE/NAME");
        Program::at(&target.join("abort").join(name).to_string_lossy())
    }

    /// Sets an environment variable.
    pub fn var(mut self, name: &str, value: impl ToString) -> Program {
        self.command.env(name, value.to_string());
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, text: &str) -> Program {
        self.command.arg(text);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// It cannot be started.
    pub fn run(self) -> Ended {
        self.run_looking(|_, _| ())
    }

    /// Runs it until `text` is in its standard error, and a second longer; then `signo` is sent to it, once, which
    /// should end it.
    ///
    /// # Panics
    ///
    /// It cannot be started.
    pub fn run_until_it_says(self, text: &str, signo: i32) -> Ended {
        let mut said: Option<Instant> = None;
        let mut is_sent = false;
        self.run_looking(|child, stderr| {
            let is_over = match said {
                None => {
                    if stderr.text().contains(text) {
                        said = Some(Instant::now());
                    }
                    false
                }
                Some(said) => !is_sent && said.elapsed() > MORE,
            };
            if is_over {
                is_sent = true;
                // SAFETY: a signal to our child, which has not been waited for.
                unsafe { libc::kill(child.id() as libc::pid_t, signo) };
            }
        })
    }

    /// Runs it to its end; `look` is called again and again meanwhile, with what it has written to its standard error.
    fn run_looking(mut self, mut look: impl FnMut(&Child, &Reader)) -> Ended {
        let started = Instant::now();
        let mut child = self.command.spawn().expect("the program can be started");
        let stdout = Reader::of(child.stdout.take().expect("piped"));
        let stderr = Reader::of(child.stderr.take().expect("piped"));
        let mut is_hung = false;
        let status = loop {
            if let Some(status) = child.try_wait().expect("the child is ours") {
                break status;
            }
            if started.elapsed() > HUNG {
                is_hung = true;
                child.kill().expect("the child is ours");
                break child.wait().expect("the child is ours");
            }
            look(&child, &stderr);
            // waits: looks again, until the deadline
            thread::sleep(Duration::from_millis(2));
        };
        Ended {
            status,
            elapsed: started.elapsed(),
            stdout: stdout.all(),
            stderr: stderr.all(),
            is_hung,
        }
    }
}

/// Reads a pipe to its end.
struct Reader {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

impl Reader {
    fn of(mut pipe: impl Read + Send + 'static) -> Reader {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut part = [0; 8192];
            // What could be read until an error is shown all the same.
            while let Ok(len @ 1..) = pipe.read(&mut part) {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                read.extend_from_slice(&part[..len]);
            }
        });
        Reader { bytes, thread }
    }

    /// What has been read.
    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What there was until the end.
    fn all(self) -> String {
        let Reader { bytes, thread } = self;
        thread.join().expect("reading does not panic");
        let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A shell starts what is to run in the background with these ignored, and so the tests.
fn die_of_signals() -> io::Result<()> {
    for signo in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: installs no handler.
        if unsafe { libc::signal(signo, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Those that abort do so on purpose.
fn leave_no_core() -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the limit.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Ended {
    /// It exited with this status.
    #[track_caller]
    pub fn assert_status(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{self}");
    }

    /// It was ended by this signal.
    #[track_caller]
    pub fn assert_signal(&self, signal: i32) {
        assert!(!self.is_hung, "{self}");
        assert_eq!(self.status.signal(), Some(signal), "{self}");
    }

    /// It wrote `text` to its standard error.
    #[track_caller]
    pub fn assert_says(&self, text: &str) {
        assert!(self.stderr.contains(text), "no {text:?} in {self}");
    }

    /// It did not write `text` to its standard error.
    #[track_caller]
    pub fn assert_silent_about(&self, text: &str) {
        assert!(!self.stderr.contains(text), "{text:?} in {self}");
    }

    /// It wrote the line `text` to its standard output.
    #[track_caller]
    pub fn assert_prints(&self, text: &str) {
        let printed = self.stdout.lines().any(|line| line == text);
        assert!(printed, "no line {text:?} in {self}");
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended {
            status,
            stdout,
            stderr,
            elapsed,
            is_hung,
        } = self;
        let hung = if *is_hung { ", hung and killed" } else { "" };
        write!(
            f,
            "{status}{hung}, after {elapsed:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}"
        )
    }
}

/// For the programs: allows the process `more` bytes of address space beside what it has.
///
/// # Panics
///
/// There is no `/proc`, or the limit is refused.
pub fn limit_memory(more: u64) {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
    let pages = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    // SAFETY: asks for a number.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let bytes = pages.expect("the first field") * page_bytes + more;
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: reads the limit.
    let answer = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(answer, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

/// For the programs: from now on the kernel refuses the process any other thread, as at a limit of their number.
///
/// # Panics
///
/// The kernel takes no filter of system calls.
pub fn refuse_threads() {
    let instruction = |code: u32, k: u32, skipped: u8| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skipped,
        k,
    };
    let refuse = |call: libc::c_long| {
        [
            // The number of the call is the first word of `seccomp_data`.
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1),
            instruction(
                libc::BPF_RET | libc::BPF_K,
                libc::SECCOMP_RET_ERRNO | libc::EAGAIN as u32,
                0,
            ),
        ]
    };
    let mut filter = [refuse(libc::SYS_clone), refuse(libc::SYS_clone3)].concat();
    filter.push(instruction(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ALLOW,
        0,
    ));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the kernel reads the program, which lives during the call.
    let answer = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // The threads that are there, too.
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    assert_eq!(answer, 0, "seccomp: {}", io::Error::last_os_error());
}

/// Makes a test of a check for each thread-local mode: `own` and `thread`.
///
/// ```text
/// in_both_modes! {
///     fn it_dies(program) { program(env!("CARGO_BIN_EXE_it")).run().assert_status(2); }
/// }
/// ```
#[macro_export]
macro_rules! in_both_modes {
    ($($(#[$attr:meta])* fn $name:ident($program:ident) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn check($program: impl Fn(&str) -> $crate::Program) $body

            $(#[$attr])*
            #[test]
            fn own() {
                check(|path| $crate::Program::at(path).var("GORT_TLS", "auto"));
            }

            $(#[$attr])*
            #[test]
            fn thread() {
                check(|path| $crate::Program::at(path).var("GORT_TLS", "thread"));
            }
        }
    )+};
}

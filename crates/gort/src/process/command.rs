//! [`Command`]: what to run, and how.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{self, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

use gort_core::sched;

use super::Child;

/// A program to run; as [`std::process::Command`], but waiting parks the goroutine.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use gort::process::{Command, Stdio};
///
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut stdin = child.stdin.take().unwrap();
/// gort::go(move || stdin.write_all(b"round and round"));
/// let mut text = String::new();
/// child.stdout.take().unwrap().read_to_string(&mut text)?;
/// assert_eq!(text, "round and round");
/// assert!(child.wait()?.success());
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "exec.Cmd")]
pub struct Command {
    pub(super) inner: process::Command,
    /// Which of standard input, output and error the user has set: std does not tell, and what is not
    /// set is another thing for `output`.
    is_set: [bool; 3],
}

/// What a child gets that the user has not set.
type Default = fn() -> Stdio;

impl Command {
    /// A program, looked for as std does, with the arguments, environment and folder to be set.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::Command;
    ///
    /// assert!(Command::new("true").status()?.success());
    /// let error = Command::new("/there/is/no/such").status().unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "exec.Command")]
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        Command {
            inner: process::Command::new(program),
            is_set: [false; 3],
        }
    }

    /// Adds an argument.
    ///
    /// # Examples
    ///
    /// ```
    /// // No shell looks at it.
    /// let output = gort::process::Command::new("echo").arg("$HOME *").output()?;
    /// assert_eq!(output.stdout, b"$HOME *\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// let output = gort::process::Command::new("echo").args(["a", "b"]).output()?;
    /// assert_eq!(output.stdout, b"a b\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn args<I, S>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// let output = gort::process::Command::new("env").env_clear().env("KEY", "value").output()?;
    /// assert_eq!(output.stdout, b"KEY=value\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn env<K, V>(&mut self, key: K, value: V) -> &mut Command
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.env(key, value);
        self
    }

    /// Sets variables of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::Command;
    ///
    /// let output = Command::new("sh")
    ///     .envs([("GREETING", "hello"), ("NAME", "ann")])
    ///     .args(["-c", "echo $GREETING, $NAME"])
    ///     .output()?;
    /// assert_eq!(output.stdout, b"hello, ann\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(vars);
        self
    }

    /// Takes a variable out of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::Command;
    ///
    /// let output = Command::new("sh").env_remove("HOME").args(["-c", "echo $HOME"]).output()?;
    /// assert_eq!(output.stdout, b"\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Command {
        self.inner.env_remove(key);
        self
    }

    /// Takes everything out of the environment, and inherits nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::Command;
    ///
    /// let output = Command::new("/usr/bin/env").env_clear().env("ONLY", "this").output()?;
    /// assert_eq!(output.stdout, b"ONLY=this\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// The folder in which the program begins.
    ///
    /// # Examples
    ///
    /// ```
    /// let output = gort::process::Command::new("pwd").current_dir("/").output()?;
    /// assert_eq!(output.stdout, b"/\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn current_dir<P: AsRef<Path>>(&mut self, dir: P) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// The standard input: inherited unless set, and empty for [`output`](Command::output).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    /// child.stdin.take().unwrap().write_all(b"text")?;
    /// assert_eq!(child.wait_with_output()?.stdout, b"text");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stdin<T: Into<Stdio>>(&mut self, stdin: T) -> &mut Command {
        self.inner.stdin(stdin);
        self.is_set[0] = true;
        self
    }

    /// The standard output: inherited unless set, and a pipe for [`output`](Command::output).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut echo = Command::new("echo").arg("text").stdout(Stdio::piped()).spawn()?;
    /// let output = Command::new("cat").stdin(echo.stdout.take().unwrap()).output()?;
    /// assert_eq!(output.stdout, b"text\n");
    /// assert!(echo.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stdout<T: Into<Stdio>>(&mut self, stdout: T) -> &mut Command {
        self.inner.stdout(stdout);
        self.is_set[1] = true;
        self
    }

    /// The standard error: inherited unless set, and a pipe for [`output`](Command::output).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "echo text; echo noise >&2"]).stderr(Stdio::null());
    /// let output = command.output()?;
    /// assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"text\n"[..], &b""[..]));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stderr<T: Into<Stdio>>(&mut self, stderr: T) -> &mut Command {
        self.inner.stderr(stderr);
        self.is_set[2] = true;
        self
    }

    /// Starts the program. Returns when it runs, which takes a millisecond or so, while other goroutines run.
    ///
    /// # Errors
    ///
    /// There is no such program, or it cannot be started; those of the system. If a pipe to it cannot be
    /// registered with the poller, the child is killed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::process::{Command, Stdio};
    ///
    /// let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    /// let mut input = sort.stdin.take().unwrap();
    /// gort::go(move || input.write_all(b"b\na\n"));
    /// let output = sort.wait_with_output()?;
    /// assert_eq!(output.stdout, b"a\nb\n");
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Start")]
    #[track_caller]
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.set_rest([Stdio::inherit; 3]);
        self.start()
    }

    /// Runs the program to its end and gives its output. Parks until then.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Command::spawn) and [`Child::wait_with_output`]. A program that reports failure is no
    /// error: see the status.
    ///
    /// # Examples
    ///
    /// ```
    /// let output = gort::process::Command::new("sh").args(["-c", "echo no >&2; exit 3"]).output()?;
    /// assert_eq!(output.stderr, b"no\n");
    /// assert_eq!(output.status.code(), Some(3));
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "CombinedOutput")]
    #[track_caller]
    pub fn output(&mut self) -> io::Result<Output> {
        self.set_rest([Stdio::null, Stdio::piped, Stdio::piped]);
        self.start()?.wait_with_output()
    }

    /// Runs the program to its end and gives its status. Parks until then.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Command::spawn) and [`Child::wait`]. When the wait fails, as the [current
    /// context](crate::context::Context::enter) is done, the program is killed.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(gort::process::Command::new("true").status()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Run")]
    #[doc(alias = "CommandContext")]
    #[track_caller]
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait_or_end()
    }

    /// Sets what the user has not.
    pub(super) fn set_rest(&mut self, defaults: [Default; 3]) {
        let set = [
            process::Command::stdin::<Stdio>,
            process::Command::stdout,
            process::Command::stderr,
        ];
        for (i, default) in defaults.into_iter().enumerate() {
            if !self.is_set[i] {
                set[i](&mut self.inner, default());
            }
        }
    }

    #[track_caller]
    fn start(&mut self) -> io::Result<Child> {
        // Forking copies page tables, and the caller sleeps until the child has become the program.
        let child = sched::blocking(|| self.inner.spawn())?;
        Child::adopt(child)
    }

    /// The program.
    ///
    /// # Examples
    ///
    /// ```
    /// let command = gort::process::Command::new("ls");
    /// assert_eq!(command.get_program(), "ls");
    /// ```
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// The arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut command = gort::process::Command::new("ls");
    /// command.arg("-l").arg("/proc");
    /// assert_eq!(command.get_args().collect::<Vec<_>>(), ["-l", "/proc"]);
    /// ```
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// What is set or removed in the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ffi::OsStr;
    ///
    /// let mut command = gort::process::Command::new("ls");
    /// command.env("LANG", "C").env_remove("HOME");
    /// let envs: Vec<_> = command.get_envs().collect();
    /// assert!(envs.contains(&(OsStr::new("LANG"), Some(OsStr::new("C")))));
    /// assert!(envs.contains(&(OsStr::new("HOME"), None)));
    /// ```
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// The folder, if one is set.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// let mut command = gort::process::Command::new("ls");
    /// assert_eq!(command.get_current_dir(), None);
    /// command.current_dir("/proc");
    /// assert_eq!(command.get_current_dir(), Some(Path::new("/proc")));
    /// ```
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

//! [`CommandExt`]: what a command has on Unix alone. The only unsafe code of `process`: a function of the user's
//! that runs in the child.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use super::Command;

/// What a [`Command`] has on Unix alone; as [`std::os::unix::process::CommandExt`], which nobody but std can
/// implement.
///
/// # Examples
///
/// ```
/// use gort::process::{Command, CommandExt};
///
/// // The first argument is the name by which the program is called, and none of its options.
/// let output = Command::new("sh").arg0("caller").args(["-c", "echo $0"]).output()?;
/// assert_eq!(output.stdout, b"caller\n");
/// # std::io::Result::Ok(())
/// ```
pub trait CommandExt: sealed::Sealed {
    /// Sets the child's user.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::fs::MetadataExt;
    ///
    /// use gort::process::{Command, CommandExt};
    ///
    /// // Another than one's own takes privileges.
    /// let id = gort::fs::metadata("/proc/self")?.uid();
    /// let output = Command::new("id").arg("-u").uid(id).output()?;
    /// assert_eq!(output.stdout, format!("{id}\n").into_bytes());
    /// # std::io::Result::Ok(())
    /// ```
    fn uid(&mut self, id: u32) -> &mut Command;

    /// Sets the child's group.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::fs::MetadataExt;
    ///
    /// use gort::process::{Command, CommandExt};
    ///
    /// // Another than one's own takes privileges.
    /// let id = gort::fs::metadata("/proc/self")?.gid();
    /// let output = Command::new("id").arg("-g").gid(id).output()?;
    /// assert_eq!(output.stdout, format!("{id}\n").into_bytes());
    /// # std::io::Result::Ok(())
    /// ```
    fn gid(&mut self, id: u32) -> &mut Command;

    /// Has `f` called in the child, before it becomes the program.
    ///
    /// # Safety
    ///
    /// As [`std::os::unix::process::CommandExt::pre_exec`]: the child has one thread of the many that the parent
    /// has, so `f` may do only what is async-signal-safe. That leaves out everything of gort's; what
    /// waits, starts a goroutine or takes a contended lock ends the child with a text.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, CommandExt};
    ///
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "umask"]);
    /// // SAFETY: it runs in the child of a fork, where `umask` is allowed.
    /// unsafe {
    ///     command.pre_exec(|| {
    ///         libc::umask(0o077);
    ///         Ok(())
    ///     });
    /// }
    /// assert_eq!(command.output()?.stdout, b"0077\n");
    /// # std::io::Result::Ok(())
    /// ```
    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static;

    /// Becomes the program: all goroutines are gone. Returns only if that fails.
    ///
    /// What this process has set up of signals goes with it, as far as the kernel keeps it: ignored ones stay
    /// ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, CommandExt};
    ///
    /// // Comes back only if it fails.
    /// let error = Command::new("/no/such/program").exec();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    #[doc(alias = "syscall.Exec")]
    fn exec(&mut self) -> io::Error;

    /// Sets the name by which the program is called, its argument 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, CommandExt};
    ///
    /// let output = Command::new("sh").arg0("other").args(["-c", "echo $0"]).output()?;
    /// assert_eq!(output.stdout, b"other\n");
    /// # std::io::Result::Ok(())
    /// ```
    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command;

    /// Sets the child's process group; 0 is a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::process::{Command, CommandExt};
    ///
    /// // A group of its own: Control-C at the terminal does not reach it.
    /// assert!(Command::new("true").process_group(0).status()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Setpgid")]
    fn process_group(&mut self, pgroup: i32) -> &mut Command;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Command {}
}

impl CommandExt for Command {
    fn uid(&mut self, id: u32) -> &mut Command {
        self.inner.uid(id);
        self
    }

    fn gid(&mut self, id: u32) -> &mut Command {
        self.inner.gid(id);
        self
    }

    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: std demands what we demand, and the caller has promised it.
        unsafe { self.inner.pre_exec(f) };
        self
    }

    fn exec(&mut self) -> io::Error {
        self.set_rest([Stdio::inherit; 3]);
        self.inner.exec()
    }

    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.inner.arg0(arg);
        self
    }

    fn process_group(&mut self, pgroup: i32) -> &mut Command {
        self.inner.process_group(pgroup);
        self
    }
}

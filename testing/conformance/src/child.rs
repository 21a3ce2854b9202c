//! Running a case in a process of its own.
//!
//! A case is alone in its process if it counts what a process has (threads, stacks, goroutines), sets
//! what the runtime reads at its start, asks for an order that other goroutines would disturb, or ends
//! the process. The process is the test binary once more, told to run the one test; in it the call
//! that would start the process runs the case instead.
//!
//! ```
//! # use gort_conformance::child;
//! # fn case() {
//! let output = child::of(|| println!("{}", gort::runtime::gomaxprocs())).var("GOMAXPROCS", "3").passes();
//! assert!(output.stdout.contains("3\n"));
//! # }
//! ```
//!
//! A child that does not end prints its goroutines and aborts.

use std::process::{self, Command, ExitStatus};
use std::time::Duration;
use std::{any, env, thread};

use gort_test_support::patience;

/// Names the test that the process was started for.
const CASE: &str = "GORT_CONFORMANCE_CASE";
/// The last line of a case that came to its end.
const END: &str = "gort-conformance: the case has ended";
/// How long a case may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(100);

/// A case that is going to run in a process of its own; see the [module](self).
#[derive(Debug)]
#[must_use = "a child runs when it is asked for its output"]
pub struct Child<F> {
    case: F,
    /// What the environment differs in; `None` takes a variable away.
    variables: Vec<(&'static str, Option<String>)>,
}

/// What a child wrote, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, the harness's lines among it.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A process of its own for `case`. The case is a closure written in the test itself: the test's name
/// is taken from it.
pub fn of<F: FnOnce()>(case: F) -> Child<F> {
    Child {
        case,
        variables: Vec::new(),
    }
}

impl<F: FnOnce()> Child<F> {
    /// Sets an environment variable.
    pub fn var(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.push((name, Some(value.to_string())));
        self
    }

    /// Takes an environment variable away.
    pub fn without(mut self, name: &'static str) -> Self {
        self.variables.push((name, None));
        self
    }

    /// Sets GOMAXPROCS.
    pub fn procs(self, count: usize) -> Self {
        self.var("GORT_PROCS", count)
    }

    /// Leaves the order of goroutines to the rules alone: for cases that are about that order.
    pub fn unshaken(self) -> Self {
        self.without("GORT_SHAKE").without("GORT_SHAKE_MIGRATE")
    }

    /// Runs the case in its process, however that ends.
    #[track_caller]
    pub fn output(self) -> Output {
        let name = test_name::<F>();
        if env::var(CASE).is_ok_and(|case| case == name) {
            thread::spawn(watch);
            (self.case)();
            println!("\n{END}");
            process::exit(0);
        }
        let mut command = Command::new(env::current_exe().expect("a test has a file"));
        command
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(CASE, name);
        for (name, value) in self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.output().expect("a test binary can be run again");
        let output = Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(
            output.stdout.contains("running 1 test"),
            "no test is called {name}:\n{output}"
        );
        output
    }

    /// Runs the case in its process, which has to come to the case's end.
    #[track_caller]
    pub fn passes(self) -> Output {
        let output = self.output();
        assert!(
            output.status.success() && output.stdout.contains(END),
            "{output}"
        );
        output
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output {
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{status}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

/// The name of the test that the closure was written in: the closure's type is
/// `crate::module::test::{{closure}}`.
fn test_name<F>() -> &'static str {
    let path = any::type_name::<F>();
    let path = path.strip_suffix("::{{closure}}").unwrap_or(path);
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// Ends a process whose case hangs.
fn watch() {
    // waits: the limit itself, after which there is nothing to wait for
    thread::sleep(patience(HUNG));
    eprintln!("hung; its goroutines:\n\n{}", gort::runtime::stacks());
    process::abort();
}

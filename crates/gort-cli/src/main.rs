//! The `gort` command: shows the runtime at work, and serves and loads real connections with it.
//!
//! One file per subcommand; each parses its own options and gets the words after its name. All of
//! them run as the main goroutine. Results go to standard output, everything else to standard error.
//!
//! The exit status is 0 for done, 1 for failed (a check of `tour`, a lost byte in `load`, a port in
//! use), 2 for a command line that makes no sense. Ctrl-C ends the process by the default action: no
//! subcommand changes the terminal's state.

#![forbid(unsafe_code)]

mod address;
mod client;
mod doctor;
mod echo;
mod http;
mod limits;
mod load;
mod machine;
mod number;
mod progress;
mod server;
mod tour;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

const HELP: &str = "\
gort: goroutines for Rust

usage: gort COMMAND [options]

  tour      half a minute with the runtime: what it can do, measured on this machine
  echo      serve TCP: send back what comes, a goroutine per connection
  load      load an echo server, or an HTTP server, and check every answer
  doctor    what this machine gives the runtime, and what to mend

`gort COMMAND --help` tells more.";

/// Why a subcommand did not do what it was asked.
#[derive(Debug)]
enum Failure {
    /// The command line makes no sense: status 2.
    Usage(String),
    /// It could not be done: status 1.
    Failed(String),
}

impl Failure {
    fn failed(why: impl Into<String>) -> Failure {
        Failure::Failed(why.into())
    }
}

impl From<lexopt::Error> for Failure {
    fn from(err: lexopt::Error) -> Failure {
        Failure::Usage(err.to_string())
    }
}

/// Prints a result on standard output, and sees to it that it is out.
///
/// A reader that has seen enough (`gort doctor | head`) ends the process without a complaint.
fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(err) => Err(Failure::failed(format!("cannot write the result: {err}"))),
    }
}

/// Says on standard error what is the matter. One that cannot be written to has nobody who looks.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let command = words.next().unwrap_or_default();
    let rest: Vec<OsString> = words.collect();
    let result = match command.to_str() {
        Some("tour") => tour::main(rest),
        Some("echo") => echo::main(rest),
        Some("load") => load::main(rest),
        Some("doctor") => doctor::main(rest),
        Some("help" | "--help" | "-h") => print(HELP),
        Some("--version" | "-V") => print(concat!("gort ", env!("CARGO_PKG_VERSION"))),
        Some("") => Err(Failure::Usage(
            "no command given; `gort help` lists them".into(),
        )),
        _ => Err(Failure::Usage(format!(
            "unknown command {}; `gort help` lists them",
            command.to_string_lossy()
        ))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => {
            complain(format_args!("gort: {why}"));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(why)) => {
            complain(format_args!("gort: {why}"));
            ExitCode::from(2)
        }
    }
}

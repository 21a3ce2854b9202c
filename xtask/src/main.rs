//! Checks of the workspace, run as `cargo xtask COMMAND`.
//!
//! * `tidy`: layers, module headers, dead files and other rules that the compiler does not know.
//! * `conformance`: the table of Go's semantics in `testing/conformance/README.md`.
//! * `std-examples`: std's own doc examples, with gort in std's place.
//!
//! Only std is used, so that the checks build in a second and cannot be broken by a dependency.
//! Source is read through `lexer`: rules look at tokens and not at text, and so are not misled by
//! comments and strings. Every rule has a test with a fixture that it must find something in.

#![forbid(unsafe_code)]

mod conformance;
mod lexer;
mod std_examples;
mod tidy;
mod tree;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy                    check layers, headers, dead files, links, forbidden words
  conformance             write testing/conformance/README.md from the tests and their results
  conformance --forget    the same, though tests that once passed are gone
  conformance --check     fail if that file is out of date or a test that once passed is gone
  conformance --packages  print the packages that hold conformance tests, for `cargo test`
  conformance --filters   print the names of the conformance tests, for `cargo test`
  std-examples            build and run std's doc examples of thread, mpsc and net with `gort::` for `std::`";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace");
    let result = match args[..] {
        ["tidy"] => tidy::run(root),
        ["std-examples"] => std_examples::run(root),
        ["conformance"] => conformance::write(root, false),
        ["conformance", "--forget"] => conformance::write(root, true),
        ["conformance", "--check"] => conformance::check(root),
        ["conformance", "--packages"] => conformance::print_packages(root),
        ["conformance", "--filters"] => conformance::print_filters(root),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

//! Checks of the workspace, run as `cargo xtask COMMAND`.
//!
//! * `tidy`: layers, module headers, dead files and other rules that the compiler does not know.
//!
//! Only std is used, so that the checks build in a second and cannot be broken by a dependency.
//! Source is read through `lexer`: rules look at tokens and not at text, and so are not misled by
//! comments and strings. Every rule has a test with a fixture that it must find something in.

#![forbid(unsafe_code)]

mod lexer;
mod tidy;
mod tree;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy                    check layers, headers, dead files, links, forbidden words";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace");
    let result = match args[..] {
        ["tidy"] => tidy::run(root),
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

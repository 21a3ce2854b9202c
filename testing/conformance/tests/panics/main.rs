//! Deadlocks, goexit, panics, and what is deferred: GO-SEMANTICS.md, PN, with S98 and S137 to S140.
//!
//! What ends the process is a program of `src/bin/dies.rs` if it needs a main of its own, else a case in a
//! process of its own (`gort_conformance::child`).

mod deadlock;
mod defer;
mod goexit;
mod panics;

use gort_crash::Program;

/// The program of that name, under the configuration that the tests run in.
fn program(name: &str) -> Program {
    let program = Program::at(env!("CARGO_BIN_EXE_dies")).arg(name);
    match std::env::var("GORT_SHAKE") {
        Ok(seed) => program.var("GORT_SHAKE", seed),
        Err(_) => program,
    }
}

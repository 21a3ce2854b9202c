//! The sixteen pitfalls of the article, each by its number, and what becomes of it here.
//!
//! ```text
//! cargo run --example pitfalls -- 4
//! ```
//!
//! Each function says what Go does. Those that wait for ever end the program with status 2 and the list of who
//! waits for what, as in Go; the others print what they see. Pitfall 14, the shared loop variable, does
//! not compile when it is borrowed (`tests/ui/s136_a_borrowed_loop_variable.rs`).

#![forbid(unsafe_code)]

mod channels;
mod language;
mod locks;

use std::process::ExitCode;

#[gort::main]
fn main() -> ExitCode {
    let number = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let pitfall = match number {
        Some(1) => channels::read_past_the_end,
        Some(2) => channels::give_up_on_a_worker,
        Some(3) => channels::read_the_result_too_early,
        Some(4) => channels::lock_around_a_send,
        Some(5) => locks::return_without_unlock,
        Some(6) => locks::writer_before_later_readers,
        Some(7) => locks::read_lock_twice,
        Some(8) => locks::panic_in_once,
        Some(9) => locks::add_inside,
        Some(10) => locks::notify_before_the_wait,
        Some(11) => language::arguments_of_defer,
        Some(12) => language::defer_after_the_result,
        Some(13) => language::defer_changes_the_result,
        Some(14) => language::shared_loop_variable,
        Some(15) => language::shadowing,
        Some(16) => channels::timeout_made_anew,
        _ => {
            eprintln!("usage: pitfalls 1..16");
            return ExitCode::FAILURE;
        }
    };
    pitfall();
    ExitCode::SUCCESS
}

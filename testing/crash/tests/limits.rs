//! Limits of the process that are met.

use gort_crash::Program;

/// With goroutines on stacks of their own; threads would meet the limit before descriptors do.
#[test]
fn no_memory_for_descriptors_is_an_error_and_the_others_go_on() {
    let ended = Program::at(env!("CARGO_BIN_EXE_descriptors_limit"))
        .var("GORT_TLS", "own")
        // More of them reserve more for themselves, stacks among it.
        .var("GORT_PROCS", 2)
        .run();
    ended.assert_status(0);
    ended.assert_prints("after more: true");
    ended.assert_prints("kind: OutOfMemory");
    ended.assert_says("no memory for the descriptors of more goroutines");
    ended.assert_says("ulimit -v");
    ended.assert_prints("all have ended");
}

//! Stack overflows, and faults that are none.

use gort_crash::{Ended, Program, in_both_modes};

#[track_caller]
fn assert_reported(ended: &Ended, who: &str) {
    ended.assert_signal(libc::SIGABRT);
    ended.assert_says(who);
    ended.assert_says("created at testing/crash/src/bin/overflow.rs:");
    ended.assert_says("to raise it: Builder::new().stack_size(");
    ended.assert_says("GORT_STACK=");
    ended.assert_silent_about("it cannot be walked");
    ended.assert_silent_about("has overflowed its stack");
}

/// Both ends of the stack are there, and not all of it.
#[track_caller]
fn assert_short_stack(ended: &Ended, outermost: &str) {
    ended.assert_says(" times more\n");
    let (inner, outer) = ended
        .stderr
        .split_once(" frames elided...\n")
        .unwrap_or_else(|| panic!("not all frames, and not in one piece: {ended}"));
    // How much of a function's path is known depends on the build.
    let is_shown = |part: &str, function: &str, frames_max: usize| {
        let lines = part.lines().zip(part.lines().skip(1));
        let frames = lines.filter(|(line, _)| line.contains(function));
        let mut first = frames.take(frames_max);
        first.any(|(_, at)| at.contains("src/bin/overflow.rs:"))
    };
    // The innermost frame may have no place, but no other: some of its instructions are of no line, and which of them
    // is the one too many depends on where the stack begins.
    assert!(is_shown(inner, "recurse(...)", 2), "{ended}");
    assert!(is_shown(outer, "recurse(...)", 1), "{ended}");
    // Who called it first, and the goroutine's first frame.
    assert!(outer.contains(outermost), "no {outermost:?} in {ended}");
    let count = ended.stderr.lines().count();
    assert!((10..200).contains(&count), "{count} lines: {ended}");
}

in_both_modes! {
    fn s062_an_overflow_names_the_goroutine_and_its_limit(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow"))
            .arg("goroutine")
            .var("GORT_STACK", 256 << 10)
            .run();
        assert_reported(&ended, "gort: goroutine 2 overflowed its stack of 256 KiB\n");
        ended.assert_says(" in goroutine 1\nto raise it: ");
        ended.assert_says("GORT_STACK=1048576");
        assert_short_stack(&ended, "contain");
    }

    fn the_default_stack_is_the_builds(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("goroutine").run();
        let size = if cfg!(debug_assertions) { "1 MiB" } else { "256 KiB" };
        assert_reported(&ended, &format!("goroutine 2 overflowed its stack of {size}\n"));
    }

    fn a_name_is_shown_on_one_line(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("named").run();
        assert_reported(
            &ended,
            "gort: goroutine 2 (\"deep\\nthinker\") overflowed its stack of 64 KiB\n",
        );
    }

    fn recursion_in_main_is_the_main_goroutines(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("main").run();
        assert_reported(&ended, "gort: goroutine 1 overflowed its stack of 8 MiB\n");
        assert_short_stack(&ended, "contain");
    }

    fn the_main_goroutines_stack_can_be_raised(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow"))
            .arg("main")
            .var("GORT_STACK", 16 << 20)
            .run();
        assert_reported(&ended, "gort: goroutine 1 overflowed its stack of 16 MiB\n");
    }

    fn a_goroutine_with_its_own_thread_has_its_own_size(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("own_thread").run();
        assert_reported(&ended, "gort: goroutine 2 overflowed its stack of 256 KiB\n");
        ended.assert_says(" in goroutine 1\nto raise it: ");
        assert_short_stack(&ended, "contain");
    }

    fn a_frame_without_probes_does_not_jump_the_guard(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("without_probes").run();
        assert_reported(&ended, "gort: goroutine 2 overflowed its stack of 1 MiB\n");
    }

    fn a_thread_locals_destructor_overflows_the_goroutines_stack(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("destructor").run();
        assert_reported(&ended, "gort: goroutine 2 overflowed its stack of ");
        assert_short_stack(&ended, "call_tls_dtors");
    }

    fn of_several_overflows_the_first_is_reported(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("two").var("GORT_PROCS", 3).run();
        assert_reported(&ended, "overflowed its stack of ");
        assert_eq!(ended.stderr.matches("overflowed its stack").count(), 1, "{ended}");
    }

    fn a_stack_that_was_put_away_has_its_guard(program) {
        let hibernates = program(env!("CARGO_BIN_EXE_overflow")).arg("hibernated");
        assert_reported(&hibernates.var("GORT_HIBERNATE", "10ms").run(), "overflowed its stack of ");
    }

    fn a_plain_threads_overflow_is_stds_to_report(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("plain_thread").run();
        ended.assert_signal(libc::SIGABRT);
        ended.assert_says("thread 'plain'");
        ended.assert_says("has overflowed its stack");
        ended.assert_silent_about("gort: goroutine");
    }

    fn a_fault_that_is_no_overflow_ends_the_program_as_ever(program) {
        let ended = program(env!("CARGO_BIN_EXE_overflow")).arg("null").run();
        ended.assert_signal(libc::SIGSEGV);
        assert_eq!(ended.stderr, "", "{ended}");
    }

    fn a_users_handler_is_called_whenever_it_was_installed(program) {
        for way in ["users_handler_before", "users_handler_after"] {
            let ended = program(env!("CARGO_BIN_EXE_overflow")).arg(way).run();
            ended.assert_status(42);
            ended.assert_prints("the user's handler");
        }
    }
}

/// The goroutine has come to its stack over other threads than the one it began on.
#[test]
fn shaken_or_not_it_is_the_same() {
    let ended = Program::at(env!("CARGO_BIN_EXE_overflow"))
        .arg("goroutine")
        .var("GORT_SHAKE", 7)
        .var("GORT_SHAKE_MIGRATE", 1)
        .run();
    assert_reported(&ended, "overflowed its stack of ");
}

//! Children of `fork` that use the runtime, which stayed with the parent.

use std::time::Duration;

use gort_crash::in_both_modes;

const ADVICE: &str = "after fork without exec: the child has none of the runtime's threads; only \
                      async-signal-safe calls are allowed there, until exec or _exit";

/// For the reporter one waits for 20 s.
const WAITED: Duration = Duration::from_secs(20);

in_both_modes! {
    fn a_child_that_needs_the_scheduler_dies_with_a_text(program) {
        for (way, what) in [
            ("go", "a goroutine or timer was started"),
            ("receive", "a wait began"),
            ("sleep", "a goroutine or timer was started"),
            ("lock", "a wait began"),
            ("plain_thread", "a wait began"),
        ] {
            let ended = program(env!("CARGO_BIN_EXE_fork")).arg(way).run();
            ended.assert_status(128 + libc::SIGABRT);
            ended.assert_says(&format!("gort: fatal: {what} {ADVICE}"));
        }
    }

    fn a_child_that_leaves_its_goroutine_dies_with_a_text(program) {
        for way in ["yield", "return"] {
            let ended = program(env!("CARGO_BIN_EXE_fork")).arg(way).run();
            ended.assert_status(128 + libc::SIGABRT);
            ended.assert_says(ADVICE);
        }
    }

    fn a_childs_overflow_is_reported_without_the_reporter(program) {
        let has_waited = || {
            let ended = program(env!("CARGO_BIN_EXE_fork")).arg("overflow").run();
            ended.assert_status(128 + libc::SIGABRT);
            ended.assert_says("gort: goroutine 1 overflowed its stack of 8 MiB");
            ended.assert_says("frames elided...");
            ended.elapsed >= WAITED
        };
        // One that waits does so each time; a machine that stands still does not.
        assert!((0..3).any(|_| !has_waited()), "it waited");
    }

    fn a_child_that_needs_nothing_ends_as_it_likes(program) {
        for (way, status) in [
            ("nothing", 7),
            ("blocking", 7),
            ("socket", 7),
            ("turn is over", 7),
            ("turn is taken", 7),
            ("command", 0),
            ("pre_exec", 5),
        ] {
            let ended = program(env!("CARGO_BIN_EXE_fork")).arg(way).run();
            ended.assert_status(status);
            assert_eq!(ended.stderr, "", "{ended}");
        }
    }
}

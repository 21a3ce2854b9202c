//! Programs that end by a panic, by `goexit`, or by what the runtime cannot go on after.

use gort_crash::{Program, in_both_modes};

in_both_modes! {
    fn pn03_goexit_in_main_lets_the_others_finish(program) {
        let ended = program(env!("CARGO_BIN_EXE_goexit_in_main")).run();
        ended.assert_status(2);
        for i in 0..3 {
            ended.assert_prints(&format!("finished {i}"));
        }
        ended.assert_prints("main's destructors");
        ended.assert_says("fatal error: no goroutines (main called runtime.Goexit) - deadlock!");
    }

    fn a_panic_ends_the_program_where_that_is_the_policy(program) {
        let ended = program(env!("CARGO_BIN_EXE_panic_abort_policy")).run();
        ended.assert_status(2);
        ended.assert_says("杰克穷死");
        assert_eq!(ended.stdout, "", "{ended}");
    }

    fn a_panic_ends_its_goroutine_alone(program) {
        let ended = program(env!("CARGO_BIN_EXE_panic_contained")).run();
        ended.assert_status(0);
        ended.assert_says("杰克穷死");
        ended.assert_prints("is_panic: true");
        ended.assert_prints("payload: 杰克穷死");
    }

    fn a_panic_while_another_unwinds_aborts(program) {
        let ended = program(env!("CARGO_BIN_EXE_panic_in_drop")).run();
        ended.assert_signal(libc::SIGABRT);
        ended.assert_says("from the body");
        ended.assert_says("from the destructor");
        assert_eq!(ended.stdout, "", "{ended}");
    }

    fn an_unlock_of_what_is_not_locked_aborts(program) {
        let ended = program(env!("CARGO_BIN_EXE_fatal_unlock")).run();
        ended.assert_signal(libc::SIGABRT);
        ended.assert_says("gort: fatal: sync: unlock of unlocked mutex\n");
        assert_eq!(ended.stdout, "", "{ended}");
    }
}

/// Where there are own blocks. A thread that starts when there is no memory left is ended by std or libc: they need
/// some for a signal stack and for destructors, and give no error.
#[test]
fn goroutines_that_find_no_room_are_an_error_and_the_others_go_on() {
    let program = Program::at(env!("CARGO_BIN_EXE_memory_limit"));
    let ended = program.var("GORT_TLS", "own").run();
    ended.assert_status(0);
    ended.assert_prints("all went on");
    assert!(
        ended.stdout.contains("no address space for a stack"),
        "{ended}"
    );
    assert_eq!(ended.stderr, "", "{ended}");
}

/// Where there are own blocks: a goroutine that has a thread anyway needs no other to block in.
#[test]
fn sc20_no_more_threads_end_the_program() {
    let program = Program::at(env!("CARGO_BIN_EXE_thread_limit"));
    let ended = program.var("GORT_TLS", "own").run();
    ended.assert_status(2);
    ended.assert_says("runtime: cannot make a thread: ");
    ended.assert_says("\nfatal error: thread exhaustion\n");
}

in_both_modes! {
    fn goexit_in_a_thread_locals_destructor_says_so(program) {
        let ended = program(env!("CARGO_BIN_EXE_goexit_in_destructor")).run();
        ended.assert_status(2);
        ended.assert_prints("the closure has ended");
        ended.assert_says(
            "fatal error: goexit in a thread-local's destructor: the goroutine is ending already",
        );
    }
}

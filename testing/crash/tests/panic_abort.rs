//! Programs built with `panic = "abort"`: all works but what needs unwinding, and that says so.

use gort_crash::Program;

const MODES: [&str; 2] = ["auto", "thread"];

fn in_each_mode(path: &str, check: impl Fn(Program)) {
    for mode in MODES {
        check(Program::without_unwinding(path).var("GORT_TLS", mode));
    }
}

#[test]
fn a_panic_aborts() {
    in_each_mode(env!("CARGO_BIN_EXE_panic_contained"), |program| {
        let ended = program.run();
        ended.assert_signal(libc::SIGABRT);
        ended.assert_says("杰克穷死");
        assert_eq!(ended.stdout, "", "{ended}");
    });
}

#[test]
fn goexit_says_that_it_needs_unwinding() {
    in_each_mode(env!("CARGO_BIN_EXE_goexit_in_main"), |program| {
        let ended = program.run();
        ended.assert_status(2);
        ended.assert_says("fatal error: goexit needs unwinding");
    });
}

#[test]
fn goroutines_run_and_wait() {
    for waker in ["timer", "thread", "blocking", "socket"] {
        in_each_mode(env!("CARGO_BIN_EXE_alive"), |program| {
            let ended = program.arg(waker).run();
            ended.assert_status(0);
            ended.assert_prints("woken");
        });
    }
}

#[test]
fn a_deadlock_is_reported() {
    in_each_mode(env!("CARGO_BIN_EXE_deadlock_main_alone"), |program| {
        let ended = program.run();
        ended.assert_status(2);
        ended.assert_says("fatal error: all goroutines are asleep - deadlock!");
    });
}

#[test]
fn an_implicit_runtime_never_ends_the_process() {
    in_each_mode(env!("CARGO_BIN_EXE_implicit_runtime"), |program| {
        let ended = program.run();
        ended.assert_signal(libc::SIGALRM);
        assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""), "{ended}");
    });
}

//! Programs that end by a panic, by `goexit`, or by what the runtime cannot go on after.

use gort_crash::in_both_modes;

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
}

//! Programs that had subscribed to signals, and then had not: everything is as before.

use gort_crash::in_both_modes;

in_both_modes! {
    fn a_signal_ends_the_program_again_once_nobody_is_subscribed(program) {
        let ended = program(env!("CARGO_BIN_EXE_signals")).arg("default").run();
        ended.assert_signal(libc::SIGTERM);
        assert_eq!(ended.stdout, "received SIGTERM\n", "{ended}");
    }

    fn sigquit_is_the_runtimes_again_once_nobody_is_subscribed(program) {
        let ended = program(env!("CARGO_BIN_EXE_signals")).arg("quit").run();
        ended.assert_status(2);
        assert_eq!(ended.stdout, "received SIGQUIT\n", "{ended}");
        ended.assert_says("SIGQUIT: quit\n\n");
        ended.assert_says("src/bin/signals.rs:");
    }

    fn a_deadlock_is_found_once_nobody_is_subscribed(program) {
        let ended = program(env!("CARGO_BIN_EXE_signals")).arg("deadlock").run();
        ended.assert_status(2);
        assert_eq!(ended.stdout, "received SIGTERM\n", "{ended}");
        ended.assert_says("fatal error: all goroutines are asleep - deadlock!");
    }
}

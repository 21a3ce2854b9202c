//! Thread mode as a setting of the program. The runtime starts once, so this is alone in its binary, and
//! what it must not print is looked for in a process of its own.

use std::process::Command;

use gort::runtime::{TlsMode, metrics};

const MARK: &str = "THREAD_MODE_TEST_CHILD";

#[test]
fn a_program_that_asks_for_thread_mode_gets_it_without_a_word() {
    if std::env::var_os(MARK).is_some() {
        return assert_that_it_is_had();
    }
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", "--nocapture"])
        .arg("a_program_that_asks_for_thread_mode_gets_it_without_a_word")
        .env(MARK, "1")
        // The program wins.
        .env("GORT_TLS", "auto")
        .output()
        .expect("the test runs once more");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("gort: "), "{errors}");
}

fn assert_that_it_is_had() {
    let thread_mode = || gort::Config::new().tls(TlsMode::Thread);
    thread_mode().start().expect("a first start");
    assert_eq!(metrics().tls_mode, TlsMode::Thread);
    assert_eq!(metrics().tls_reason, "thread: asked for by the program");
    assert_eq!(gort::go(|| 7).join().expect("no panic"), 7);
    thread_mode().start().expect("the same once more");
    let other = gort::Config::new().tls(TlsMode::Own).start();
    assert!(
        matches!(other, Err(gort::ConfigError::AlreadyStarted)),
        "{other:?}"
    );
}

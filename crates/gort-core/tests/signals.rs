//! Which signals the runtime takes, by its settings. A process has one runtime, so each case is a process of its own.

use std::process::Command;

use gort_core::runtime::{self, Config};

/// Which case to be.
const CASE: &str = "GORT_TEST_CASE";

/// The handlers of these signals, as addresses.
fn handlers() -> [usize; 4] {
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGQUIT, libc::SIGURG].map(|signo| {
        // SAFETY: all zero is a valid `sigaction`, which is written; nothing is set.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(signo, std::ptr::null(), &raw mut action), 0);
            action.sa_sigaction
        }
    })
}

/// Runs this test of this program again, as the case `name`.
#[track_caller]
fn assert_case(name: &str) {
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", "the_case", "--nocapture"])
        .env(CASE, name)
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
}

/// Run in the child.
#[test]
fn the_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    let (signals, preempt) = match &*case {
        "all" => (None, None),
        "no preemption" => (Some(true), Some(false)),
        "no signals" => (Some(false), None),
        "none" => (Some(false), Some(false)),
        other => panic!("no case {other}"),
    };
    // A shell starts what is to run in the background with SIGQUIT ignored, and so this test; then it is left so.
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGQUIT, libc::SIG_DFL) };
    let before = handlers();
    let config = Config {
        signals,
        preempt,
        ..Config::default()
    };
    runtime::start(config).expect("it is the first start");
    runtime::begin_program();
    let after = handlers();
    let takes = |on: Option<bool>| on != Some(false);
    let expected = [
        takes(signals),
        takes(signals),
        takes(signals),
        takes(preempt),
    ];
    let taken: Vec<bool> = (0..4).map(|i| before[i] != after[i]).collect();
    assert_eq!(taken, expected, "SIGSEGV, SIGBUS, SIGQUIT, SIGURG");
}

#[test]
fn each_setting_says_which_signals_are_taken() {
    for case in ["all", "no preemption", "no signals", "none"] {
        assert_case(case);
    }
}

//! Sending signals, and looking at what is done with them.

use std::env;
use std::process::Command;
use std::time::Duration;

use gort::chan::Receiver;
use gort::signal::Signal;

/// Within this a signal must have come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Sends `signal` to this process.
pub(crate) fn send(signal: Signal) {
    // SAFETY: `kill` takes any numbers.
    let answer = unsafe { libc::kill(libc::getpid(), signal.as_raw()) };
    assert_eq!(answer, 0);
}

#[track_caller]
pub(crate) fn receive(receiver: &Receiver<Signal>) -> Signal {
    match receiver.recv_timeout(SOON) {
        Ok(signal) => signal,
        Err(error) => panic!("{error}:\n{}", gort::debug::stacks()),
    }
}

/// The address of what is called for `signal`, or SIG_DFL or SIG_IGN.
pub(crate) fn action(signal: Signal) -> usize {
    // SAFETY: zero is a valid `sigaction`, and `sigaction` fills it in, changing nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let answer = libc::sigaction(signal.as_raw(), std::ptr::null(), &mut action);
        assert_eq!(answer, 0);
        action.sa_sigaction
    }
}

/// Runs the case `name` (with its path) in a process of its own.
#[track_caller]
pub(crate) fn alone(name: &str, case: impl FnOnce()) {
    const ALONE: &str = "GORT_TEST_ALONE";
    if env::var(ALONE).is_ok_and(|alone| alone == name) {
        return case();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{error}",
        output.status
    );
    assert!(text.contains("1 passed"), "the case did not run:\n{text}");
}

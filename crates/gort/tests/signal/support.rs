//! Sending signals, and looking at what is done with them.

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

//! A deadlock under the policy that the argument names: with `off` the program hangs until its alarm clock ends it,
//! with `report` until somebody who has read the report does.

use gort::DeadlockPolicy;

fn main() {
    let policy = match std::env::args().nth(1).as_deref() {
        Some("report") => DeadlockPolicy::Report,
        Some("off") => DeadlockPolicy::Off,
        other => panic!("no policy: {other:?}"),
    };
    if policy == DeadlockPolicy::Off {
        // SAFETY: sets a timer whose signal ends the process.
        unsafe { libc::alarm(1) };
    }
    let never = gort::Config::new().deadlock(policy).run(|| {
        let (_sender, receiver) = gort::chan::bounded::<()>(0);
        let _ = receiver.recv();
    });
    println!("run returned {never:?}");
}

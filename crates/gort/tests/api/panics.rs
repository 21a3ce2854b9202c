//! What a panic prints, and what it holds while it does.

use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use gort_core::snapshot;
use gort_test_support::{SOON, alone, eventually};

/// A goroutine that has lost its P to others needs one when it enters the runtime. The line about the goroutine
/// comes from there; whoever waits for a P with stderr locked keeps all who print waiting as well.
#[test]
fn nobody_waits_for_a_p_with_stderr_locked() {
    static HOG: AtomicBool = AtomicBool::new(false);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    let state_of = |name: &str| {
        let all = snapshot::goroutines().into_iter();
        let mut named = all.filter(|goroutine| goroutine.name.as_deref() == Some(name));
        named
            .next()
            .map(|goroutine| format!("{:?}", goroutine.state))
    };
    alone("panics::nobody_waits_for_a_p_with_stderr_locked", || {
        // The message itself comes from std, which asks the runtime for nothing.
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if gort::try_current().is_none() {
                before(info);
            }
        }));
        // One that computes without a P is not made to wait by a signal either.
        gort::Config::new().procs(1).preempt(false).start().unwrap();
        let stderr = io::stderr().lock();
        let panics = gort::Builder::new().name("panics");
        let panics = panics.go(|| panic!("to be told")).unwrap();
        // It has the P until it waits for stderr, and only then this one runs.
        gort::go(|| {
            HOG.store(true, Ordering::Relaxed);
            while !IS_OVER.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        eventually("the P is taken", || HOG.load(Ordering::Relaxed));
        drop(stderr);
        eventually("it waits for a P", || {
            state_of("panics").as_deref() == Some("Runnable")
        });
        let (sender, locked) = mpsc::channel();
        thread::spawn(move || {
            drop(io::stderr().lock());
            sender.send(())
        });
        let locked = locked.recv_timeout(SOON);
        IS_OVER.store(true, Ordering::Relaxed);
        assert!(
            locked.is_ok(),
            "stderr is locked by {:?}",
            state_of("panics")
        );
        panics.join().unwrap_err();
    });
}

//! `runtime::shutdown_timeout`: a process can do it once, so this is one test in a binary of its own.

use std::panic;
use std::time::{Duration, Instant};

use gort::chan;
use gort::context::background;
use gort::debug::WaitReason;
use gort::runtime::shutdown_timeout;
use gort::time::after_func;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn shutting_down_refuses_what_is_new_and_waits_for_the_rest() {
    let (tx, rx) = chan::bounded::<u64>(0);
    let parked = gort::Builder::new().name("parked").go(move || {
        // On its stack, which must stay as it is.
        let before: [u64; 64] = std::array::from_fn(|i| i as u64);
        let received = rx.recv().unwrap();
        before.iter().sum::<u64>() + received
    });
    let parked = parked.unwrap();
    let (shut_tx, shut_rx) = chan::bounded::<()>(0);
    let from_inside = gort::go(move || {
        shut_rx.recv().unwrap();
        shutdown_timeout(SOON)
    });
    let (ctx, cancel) = background().with_cancel();
    let stop = ctx.after_func(|| panic!("a goroutine was started"));

    let start = Instant::now();
    let timeout = Duration::from_millis(50);
    // The two are running, and soon parked.
    let still = loop {
        let still = shutdown_timeout(timeout).unwrap_err();
        let mut left = still.0.iter();
        if left.all(|g| g.wait_reason == Some(WaitReason::ChanReceive)) {
            break still;
        }
        assert!(start.elapsed() < SOON, "{still}");
    };
    assert!(start.elapsed() >= timeout);
    assert_eq!(still.0.len(), 2, "{still}");
    let text = still.to_string();
    assert!(text.starts_with("2 goroutine(s) still running: "), "{text}");
    assert!(
        text.contains("\"parked\" [chan receive] created at "),
        "{text}"
    );

    // Nothing new.
    let error = gort::Builder::new().go(|| ()).unwrap_err();
    assert_eq!(error.to_string(), "the runtime has been shut down");
    let own_thread = gort::Builder::new().own_thread();
    assert!(own_thread.go(|| ()).is_err());
    let error = gort::Builder::new().go_async(async {}).unwrap_err();
    assert_eq!(error.to_string(), "the runtime has been shut down");
    let refused = panic::catch_unwind(|| drop(gort::go(|| ())));
    assert!(refused.is_err());
    let refused = panic::catch_unwind(|| gort::scope(|s| drop(s.go(|| ()))));
    assert!(refused.is_err());
    // What would start one by itself does not, and harms nobody.
    cancel.cancel();
    assert!(!stop.stop());
    let (dropped_tx, dropped_rx) = chan::bounded::<()>(0);
    let timer = after_func(Duration::from_millis(1), move || {
        dropped_tx.send(()).unwrap();
    });
    timer.detach();
    assert!(dropped_rx.recv().is_err(), "dropped, not run");

    // What is there goes on: timers, wakers, channels, the parked goroutine.
    // waits: that timers go on is what is tested.
    gort::time::sleep(Duration::from_millis(1));
    let (late, _cancel) = background().with_timeout(Duration::from_millis(1));
    assert!(gort::block_on(late.done().recv_async()).is_err());
    assert!(shutdown_timeout(Duration::ZERO).is_err());
    tx.send(7).unwrap();
    assert_eq!(parked.join().unwrap(), 2016 + 7);
    // It does not wait for itself, nor is it in anybody's way.
    shut_tx.send(()).unwrap();
    from_inside.join().unwrap().unwrap();
    shutdown_timeout(SOON).unwrap();
    assert_eq!(gort::runtime::num_goroutine(), 0);
}

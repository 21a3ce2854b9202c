//! What goroutines are doing.

use super::Needs::{Nothing, Start};
use super::{Call, call};

pub(super) fn calls() -> Vec<Call> {
    vec![
        call(
            "debug::goroutines",
            "debug::goroutines debug::State::as_str",
            Nothing,
            || {
                for info in gort::debug::goroutines() {
                    assert!(!info.state.as_str().is_empty());
                }
            },
        ),
        call(
            "debug::goroutines, with frames",
            "debug::goroutines debug::GoroutineInfo::frames debug::GoroutineInfo::addresses",
            Start,
            || {
                let (s, r) = gort::chan::bounded::<()>(0);
                let waits = gort::Builder::new().name("waits").go(move || r.recv());
                let id = waits.as_ref().unwrap().goroutine().id();
                let info = loop {
                    let mut all = gort::debug::goroutines().into_iter();
                    let info = all.find(|info| info.id == id).unwrap();
                    if info.wait_reason.is_some() {
                        break info;
                    }
                    gort::yield_now();
                };
                // A thread that sleeps or is slow to answer has none to show.
                assert_eq!(info.frames().is_empty(), info.addresses().is_empty());
                drop(s);
                waits.unwrap().join().unwrap().unwrap_err();
            },
        ),
        call("debug::stacks", "debug::stacks", Nothing, || {
            let _ = gort::debug::stacks();
        }),
    ]
}

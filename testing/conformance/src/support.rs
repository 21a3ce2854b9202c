//! Waiting for conditions, and looking at goroutines.

use std::time::{Duration, Instant};

pub use gort_test_support::{SOON, eventually, eventually_parked, go_named};

/// How long something must go on not happening to be taken for blocked.
pub const A_WHILE: Duration = Duration::from_millis(20);

/// Fails if `condition` comes true within [a while](A_WHILE).
#[track_caller]
pub fn assert_not_for_a_while(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + A_WHILE;
    while Instant::now() < deadline {
        assert!(!condition(), "too early: {what}");
        // waits: between two looks at what must not come true
        gort::time::sleep(Duration::from_micros(200));
    }
}

/// What the goroutine of that name waits for, or its state, in Go's words.
pub fn reason_of(name: &str) -> Option<String> {
    let quoted = format!("\"{name}\" [");
    let stacks = gort::runtime::stacks();
    let line = stacks.lines().find(|line| line.contains(&quoted))?;
    let reason = &line[line.find(&quoted)? + quoted.len()..];
    Some(reason[..reason.find([']', ','])?].to_owned())
}

/// The text of a panic.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .expect("a panic with a text")
}

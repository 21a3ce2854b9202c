//! Waiting for conditions, and looking at goroutines.

use std::time::{Duration, Instant};

/// Within this a condition must come true: Go's tests call it "soon".
pub const SOON: Duration = Duration::from_secs(10);

/// How long something must go on not happening to be taken for blocked.
pub const A_WHILE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds, letting others run meanwhile.
///
/// # Panics
///
/// If it does not come true [soon](SOON). The message names `what` and holds all goroutines.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        if Instant::now() >= deadline {
            panic!(
                "not within {SOON:?}: {what}; goroutines:\n\n{}",
                gort::runtime::stacks()
            );
        }
        // waits: between two looks at the condition
        gort::time::sleep(Duration::from_micros(50));
    }
}

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

/// Starts a goroutine that [`reason_of`] finds by its name.
#[track_caller]
pub fn go_named<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> gort::JoinHandle<T> {
    gort::Builder::new()
        .name(name)
        .go(f)
        .expect("a stack can be had")
}

/// What the goroutine of that name waits for, or its state, in Go's words.
pub fn reason_of(name: &str) -> Option<String> {
    let quoted = format!("\"{name}\" [");
    let stacks = gort::runtime::stacks();
    let line = stacks.lines().find(|line| line.contains(&quoted))?;
    let reason = &line[line.find(&quoted)? + quoted.len()..];
    Some(reason[..reason.find([']', ','])?].to_owned())
}

/// Waits until the goroutine of that name is parked for that reason.
#[track_caller]
pub fn eventually_parked(name: &str, reason: &str) {
    let what = format!("{name} is parked in {reason}");
    eventually(&what, || reason_of(name).as_deref() == Some(reason));
}

/// The text of a panic.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .expect("a panic with a text")
}
